//! Use, errors and response times by tool, for the live dashboards. Labels are bounded: the tools of the collection, at most
//! [`MAX_TOOLS`]; every other tool is counted as `other`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Document, doc};
use common::documents::tool;
use common::event::{Data, Event};
use common::mongo;
use futures::TryStreamExt;
use mongodb::Database;
use rustc_hash::FxHashMap;
use tokio::sync::watch;

use crate::metrics::ToolMetrics;

/// Most tools with series of their own. Each has 2 counters and a histogram of 13 buckets.
pub const MAX_TOOLS: usize = 500;

/// How often the collection is read.
const INTERVAL: Duration = Duration::from_secs(60);

/// The slug of each tool that has series of its own.
pub type Slugs = FxHashMap<ObjectId, String>;

/// Reads the tools from time to time, without end.
pub async fn follow(database: Database, slugs: watch::Sender<Arc<Slugs>>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        match read(&database).await {
            Ok(read) => {
                slugs.send_replace(Arc::new(read));
            }
            Err(error) => {
                tracing::warn!(why = mongo::reason(&error), "the tools' names were not read; the last ones stay");
            }
        }
    }
}

async fn read(database: &Database) -> mongodb::error::Result<Slugs> {
    let tools = database.collection::<Document>(tool::COLLECTION);
    let found =
        tools.find(doc! {}).projection(doc! { "slug": 1 }).sort(doc! { "_id": 1 }).limit(MAX_TOOLS as i64).await?;
    let entry = |tool: Document| Some((tool.get_object_id("_id").ok()?, tool.get_str("slug").ok()?.to_owned()));
    Ok(found.try_collect::<Vec<_>>().await?.into_iter().filter_map(entry).collect())
}

/// The series of each tool, found once and then by id: a name looked up for each event would cost more than decoding it.
pub struct ToolSeries {
    slugs: watch::Receiver<Arc<Slugs>>,
    series: FxHashMap<ObjectId, ToolMetrics>,
    /// Every slug that was given series: they stay until the program ends, so their number is bounded, not that of the tools.
    given: HashSet<String>,
    other: ToolMetrics,
}

impl ToolSeries {
    /// With the tools as they are now and as they become.
    pub fn new(slugs: watch::Receiver<Arc<Slugs>>) -> Self {
        Self { slugs, series: FxHashMap::default(), given: HashSet::new(), other: ToolMetrics::new("other") }
    }

    /// Takes changed tools over.
    pub fn refresh(&mut self) {
        if self.slugs.has_changed().unwrap_or(false) {
            let slugs = Arc::clone(&self.slugs.borrow_and_update());
            self.series.clear();
            for (id, slug) in slugs.iter() {
                if self.given.contains(slug) || self.given.len() < MAX_TOOLS {
                    self.given.insert(slug.clone());
                    self.series.insert(*id, ToolMetrics::new(slug));
                }
            }
        }
    }

    /// Counts a tool use.
    pub fn note(&self, event: &Event<'_>) {
        if let Data::ToolUsage(usage) = &event.data {
            let response_time = usage.performance.and_then(|performance| performance.response_time);
            self.series.get(&usage.tool_id).unwrap_or(&self.other).note(usage.usage.success, response_time);
        }
    }
}
