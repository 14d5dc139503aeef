//! What is read of MongoDB for reports: roll-ups and indexed look-ups, never raw events.

use std::collections::BTreeMap;

use bson::{Document, doc, oid::ObjectId};
use common::day::Day;
use common::documents::{
    RollupDay, SystemAnalytics, ToolDay, rollup_day, system_analytics, tool, tool_category, tool_day,
};
use futures::TryStreamExt;
use mongodb::{Collection, Database};
use serde::Deserialize;

use crate::failure::Failure;
use crate::query::{BadParameter, Query, Segment, Span};
use crate::report::{Fold, Part, RolledDay, ToolName};

/// Tools that are listed at most.
const MOST_TOOLS: i64 = 5_000;

/// The database, as far as reports read it.
#[derive(Debug, Clone)]
pub struct Rollups {
    database: Database,
}

#[derive(Deserialize)]
struct StoredTool {
    #[serde(rename = "_id")]
    id: ObjectId,
    #[serde(default)]
    name: String,
    #[serde(default)]
    slug: String,
    #[serde(default)]
    category: String,
}

#[derive(Deserialize)]
struct StoredDay {
    date: Day,
    metrics: StoredMetrics,
    #[serde(default)]
    rollup: Option<StoredRollup>,
}

#[derive(Deserialize)]
struct StoredMetrics {
    tools: StoredUsers,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredUsers {
    unique_users: i64,
}

#[derive(Deserialize)]
struct StoredRollup {
    #[serde(default)]
    provisional: bool,
}

impl Rollups {
    /// Of this database.
    pub fn of(database: Database) -> Self {
        Self { database }
    }

    fn tools(&self) -> Collection<StoredTool> {
        self.database.collection(tool::COLLECTION)
    }

    /// The tools that a query names; all of them, if it names none.
    ///
    /// # Errors
    /// A tool or a category is unknown, or MongoDB does not answer.
    pub async fn tools_of(&self, query: &Query) -> Result<Vec<ToolName>, Failure> {
        let mut filter = tools_filter(&query.tools);
        if let Some(category) = &query.category {
            filter.insert("category", category);
        }
        let found = self.tools().find(filter).projection(tool_fields()).limit(MOST_TOOLS).await?;
        let found: Vec<ToolName> = found.map_ok(name_of).try_collect().await?;
        if let Some(slug) = query.tools.iter().find(|slug| !found.iter().any(|tool| tool.slug == **slug)) {
            let expected = match &query.category {
                Some(category) => format!("the slug of a tool of the category {category}"),
                None => "the slug of a tool that there is".to_owned(),
            };
            return Err(BadParameter::new("tool", slug, expected).into());
        }
        if let Some(category) = query.category.as_ref().filter(|_| found.is_empty()) {
            return Err(BadParameter::new("category", category, "the slug of a category with tools").into());
        }
        Ok(found)
    }

    /// The tool with this slug.
    ///
    /// # Errors
    /// MongoDB does not answer.
    pub async fn tool(&self, slug: &str) -> Result<Option<ToolName>, Failure> {
        let found = self.tools().find_one(doc! { "slug": slug }).projection(tool_fields()).await?;
        Ok(found.map(name_of))
    }

    /// The slugs and names of the categories, in the order of the names.
    ///
    /// # Errors
    /// MongoDB does not answer.
    pub async fn categories(&self) -> Result<Vec<(String, String)>, Failure> {
        #[derive(Deserialize)]
        struct Category {
            slug: String,
            #[serde(default)]
            name: String,
        }
        let categories = self.database.collection::<Category>(tool_category::COLLECTION);
        let found = categories.find(every_slug()).limit(MOST_TOOLS).await?;
        let mut found: Vec<_> = found.map_ok(|category| (category.slug, category.name)).try_collect::<Vec<_>>().await?;
        found.sort_by(|a, b| a.1.cmp(&b.1));
        Ok(found)
    }

    /// The rows of a span, added up as they arrive, and which of its days were rolled up.
    ///
    /// # Errors
    /// MongoDB does not answer, or a row is not as it should be.
    pub async fn part(&self, query: &Query, span: Span, tools: &[ToolName]) -> Result<Part, Failure> {
        let (fold, days) = tokio::try_join!(self.fold(query, span, tools), self.rolled_days(span))?;
        Ok(Part { fold, days })
    }

    async fn fold(&self, query: &Query, span: Span, tools: &[ToolName]) -> Result<Fold, Failure> {
        let mut filter = dates(span);
        if !query.is_of_all_tools() {
            filter.insert("toolId", doc! { "$in": tools.iter().map(|tool| tool.id).collect::<Vec<_>>() });
        }
        let rows = self.database.collection::<ToolDay>(tool_day::COLLECTION);
        let find = rows.find(filter).sort(doc! { "date": 1, "toolId": 1 }).batch_size(1_000);
        let mut rows = if query.segment == Segment::Everybody {
            find.await?
        } else {
            find.projection(doc! { "responseTime.histogram": { "$slice": 0 } }).await?
        };
        let mut fold = Fold::default();
        while let Some(row) = rows.try_next().await? {
            fold.add(&row, &query.segment);
        }
        Ok(fold)
    }

    async fn rolled_days(&self, span: Span) -> Result<BTreeMap<Day, RolledDay>, Failure> {
        let days = self.database.collection::<StoredDay>(system_analytics::COLLECTION);
        let fields = doc! { "date": 1, "metrics.tools.uniqueUsers": 1, "rollup.provisional": 1 };
        let days = days.find(dates(span)).projection(fields).await?;
        let rolled = days.map_ok(|day| {
            let provisional = day.rollup.is_some_and(|rollup| rollup.provisional);
            (day.date, RolledDay { unique_users: day.metrics.tools.unique_users, provisional })
        });
        Ok(rolled.try_collect().await?)
    }

    /// What the aggregator knows about the days of a span.
    ///
    /// # Errors
    /// MongoDB does not answer, or a document is not as it should be.
    pub async fn day_states(&self, span: Span) -> Result<Vec<RollupDay>, Failure> {
        let states = self.database.collection::<RollupDay>(rollup_day::COLLECTION);
        let filter = doc! { "_id": { "$gte": span.from.to_string(), "$lte": span.to.to_string() } };
        Ok(states.find(filter).sort(doc! { "_id": 1 }).await?.try_collect().await?)
    }

    /// The daily documents of a span, the earliest first.
    ///
    /// # Errors
    /// MongoDB does not answer, or a document is not as it should be.
    pub async fn daily_documents(&self, span: Span) -> Result<Vec<SystemAnalytics>, Failure> {
        let days = self.database.collection::<SystemAnalytics>(system_analytics::COLLECTION);
        Ok(days.find(dates(span)).sort(doc! { "date": 1 }).await?.try_collect().await?)
    }
}

fn tool_fields() -> Document {
    doc! { "name": 1, "slug": 1, "category": 1 }
}

fn name_of(stored: StoredTool) -> ToolName {
    let StoredTool { id, name, slug, category } = stored;
    ToolName { id, name, slug, category }
}

/// Every document, by way of the index on `slug`.
fn every_slug() -> Document {
    doc! { "slug": { "$gte": "" } }
}

fn tools_filter(slugs: &std::collections::BTreeSet<String>) -> Document {
    if slugs.is_empty() {
        every_slug()
    } else {
        doc! { "slug": { "$in": slugs.iter().collect::<Vec<_>>() } }
    }
}

fn dates(span: Span) -> Document {
    doc! { "date": { "$gte": span.from.to_string(), "$lte": span.to.to_string() } }
}
