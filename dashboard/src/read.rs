//! What is read of MongoDB for reports: roll-ups and indexed look-ups, never raw events.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bson::{DateTime, Document, doc, oid::ObjectId};
use common::day::Day;
use common::documents::{
    RollupDay, SystemAnalytics, ToolDay, rollup_day, system_analytics, tool, tool_category, tool_day,
};
use futures::TryStreamExt;
use mongodb::{Collection, Cursor, Database};
use serde::Deserialize;

use crate::failure::Failure;
use crate::memory::{Memory, Whole};
use crate::query::{BadParameter, Query, Span};
use crate::report::{Fold, Part, RolledDay, ToolName};
use crate::rows::Row;

/// Tools that are listed at most.
const MOST_TOOLS: i64 = 5_000;

/// Rows of a few tools are read of MongoDB; more than these come with all rows of their days.
const FEW_ROWS: usize = 500;
/// Days of which the rows are read at once.
const DAYS_AT_ONCE: usize = 10;

/// The database, as far as reports read it.
#[derive(Debug)]
pub struct Rollups {
    database: Database,
    memory: Memory,
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
#[serde(rename_all = "camelCase")]
struct StoredRollup {
    #[serde(default)]
    provisional: bool,
    #[serde(default)]
    computed_at: Option<DateTime>,
}

impl Rollups {
    /// Of this database.
    pub fn of(database: Database) -> Self {
        Self { database, memory: Memory::default() }
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
        // First the days: the rows are then those of these roll-ups, or of later ones.
        let days = self.rolled_days(span).await?;
        let named: HashSet<ObjectId> = tools.iter().map(|tool| tool.id).collect();
        let mut fold = Fold::default();
        if query.is_of_all_tools() {
            for (day, whole) in self.wholes(&days).await? {
                fold.add_whole(day, &whole, &query.segment);
            }
        } else if named.len() * days.len() > FEW_ROWS {
            for (day, whole) in self.wholes(&days).await? {
                let rows = whole.rows.iter().filter(|row| named.contains(&row.tool));
                rows.for_each(|row| fold.add(day, row, &query.segment));
            }
        } else {
            let mut filter = dates(span);
            filter.insert("toolId", doc! { "$in": Vec::from_iter(named) });
            let mut rows = self.rows(filter).await?;
            while let Some(row) = rows.try_next().await? {
                if days.contains_key(&row.date) {
                    fold.add(row.date, &Row::of(&row), &query.segment);
                }
            }
        }
        Ok(Part { fold, days })
    }

    async fn rows(&self, filter: Document) -> Result<Cursor<ToolDay>, Failure> {
        let rows = self.database.collection::<ToolDay>(tool_day::COLLECTION);
        Ok(rows.find(filter).sort(doc! { "date": 1, "toolId": 1 }).batch_size(1_000).await?)
    }

    /// All rows of these days, in the order of the days; those that are not in memory are read.
    async fn wholes(&self, days: &BTreeMap<Day, RolledDay>) -> Result<BTreeMap<Day, Arc<Whole>>, Failure> {
        let known = |day: Day, rolled: &RolledDay| Some((day, self.memory.get(day, rolled.rolled?)?));
        let mut found: BTreeMap<Day, Arc<Whole>> =
            days.iter().filter_map(|(day, rolled)| known(*day, rolled)).collect();
        if found.len() == days.len() {
            return Ok(found);
        }
        let _reading = self.memory.reading.lock().await;
        let mut missing = Vec::new();
        for (day, rolled) in days.iter().filter(|(day, _)| !found.contains_key(day)).collect::<Vec<_>>() {
            match known(*day, rolled) {
                Some((day, whole)) => drop(found.insert(day, whole)),
                None => missing.push((*day, rolled.rolled)),
            }
        }
        for days in missing.chunks(DAYS_AT_ONCE) {
            let dates: Vec<String> = days.iter().map(|(day, _)| day.to_string()).collect();
            let mut read: BTreeMap<Day, Vec<Row>> = BTreeMap::new();
            let mut rows = self.rows(doc! { "date": { "$in": dates } }).await?;
            while let Some(row) = rows.try_next().await? {
                read.entry(row.date).or_default().push(Row::of(&row));
            }
            for (day, rolled) in days {
                let whole = Arc::new(Whole::of(read.remove(day).unwrap_or_default()));
                if let Some(rolled) = rolled {
                    self.memory.put(*day, *rolled, &whole);
                }
                found.insert(*day, whole);
            }
        }
        Ok(found)
    }

    async fn rolled_days(&self, span: Span) -> Result<BTreeMap<Day, RolledDay>, Failure> {
        let days = self.database.collection::<StoredDay>(system_analytics::COLLECTION);
        let fields =
            doc! { "date": 1, "metrics.tools.uniqueUsers": 1, "rollup.provisional": 1, "rollup.computedAt": 1 };
        let days = days.find(dates(span)).projection(fields).await?;
        let rolled = days.map_ok(|day| {
            let (provisional, rolled) =
                day.rollup.map_or((false, None), |rollup| (rollup.provisional, rollup.computed_at));
            (day.date, RolledDay { unique_users: day.metrics.tools.unique_users, provisional, rolled })
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
