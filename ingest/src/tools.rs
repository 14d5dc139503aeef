//! Use, errors and response times by tool, for the live dashboards. Labels are bounded: the tools of the collection, at most
//! [`MAX_TOOLS`]. Tools beyond these are counted as `other`, and ids that are in no document as `unknown`.

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

/// Most tools with series of their own. Each has 3 counters and a histogram of 13 buckets.
pub const MAX_TOOLS: usize = 500;

/// Most unknown ids that the log names: a sender may make up any number.
const MOST_TOLD: usize = 100;

/// Most characters of a sender's `source` in the log.
const MOST_OF_A_SOURCE: usize = 200;

/// Bytes of a refused message in which the tool is looked for.
const MOST_SEARCHED: usize = 65_536;

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
    unknown: ToolMetrics,
    none: ToolMetrics,
    /// Every tool of the collection is in `series`: any other id is unknown.
    is_complete: bool,
    /// Unknown ids that the log has named.
    told: HashSet<ObjectId>,
    /// The log may name an unknown id: one between two calls of [`ToolSeries::refresh`].
    may_tell: bool,
}

impl ToolSeries {
    /// With the tools as they are now and as they become.
    pub fn new(slugs: watch::Receiver<Arc<Slugs>>) -> Self {
        let [other, unknown, none] = ["other", "unknown", "none"].map(ToolMetrics::new);
        let (series, given, told) = (FxHashMap::default(), HashSet::new(), HashSet::new());
        Self { slugs, series, given, other, unknown, none, is_complete: false, told, may_tell: true }
    }

    /// Takes changed tools over.
    pub fn refresh(&mut self) {
        self.may_tell = true;
        if self.slugs.has_changed().unwrap_or(false) {
            let slugs = Arc::clone(&self.slugs.borrow_and_update());
            self.series.clear();
            for (id, slug) in slugs.iter() {
                if self.given.contains(slug) || self.given.len() < MAX_TOOLS {
                    self.given.insert(slug.clone());
                    self.series.insert(*id, ToolMetrics::new(slug));
                }
            }
            // Of a collection without a tool, or of more tools than have series, nobody knows what is missing.
            self.is_complete = (1..MAX_TOOLS).contains(&slugs.len()) && self.series.len() == slugs.len();
        }
    }

    /// Counts a tool use, and tells of a tool that is unknown.
    pub fn note(&mut self, event: &Event<'_>) {
        let (tool, series) = match &event.data {
            Data::ToolUsage(usage) => {
                let series = self.series.get(&usage.tool_id);
                let response_time = usage.performance.and_then(|performance| performance.response_time);
                series.unwrap_or(self.without_series()).note(usage.usage.success, response_time);
                (usage.tool_id, series)
            }
            Data::HealthCheck(check) => (check.tool_id, self.series.get(&check.tool_id)),
            Data::Activity(_) => return,
        };
        if series.is_none() && self.is_complete && self.may_tell {
            self.tell_unknown(tool, &event.source);
        }
    }

    /// Counts a refused message by the tool that it names; a message that cannot be decoded may name one too.
    pub fn note_refused(&self, payload: &[u8]) {
        let series = |tool| self.series.get(&tool).unwrap_or(self.without_series());
        tool_id(payload).map_or(&self.none, series).note_refused();
    }

    /// Where tools are counted that have no series of their own.
    fn without_series(&self) -> &ToolMetrics {
        if self.is_complete { &self.unknown } else { &self.other }
    }

    /// Once for each id.
    #[cold]
    fn tell_unknown(&mut self, tool: ObjectId, source: &str) {
        if self.told.len() < MOST_TOLD && self.told.insert(tool) {
            self.may_tell = false;
            tracing::warn!(
                tool_id = %tool,
                source = source.chars().take(MOST_OF_A_SOURCE).collect::<String>(),
                "an event names a tool that is not in the collection `tools`: it is stored, and the boards count it as `unknown`; correct the sender, or add the tool"
            );
        }
    }
}

/// The tool that a message names, whether it is an event or not.
fn tool_id(payload: &[u8]) -> Option<ObjectId> {
    const NAME: &[u8] = b"\"toolId\"";
    let payload = &payload[..payload.len().min(MOST_SEARCHED)];
    let end = payload.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    let value = payload[end..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    ObjectId::parse_str(std::str::from_utf8(value.get(..24)?).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_no_event_names_its_tool() {
        let id = "65a000000000000000000001";
        for text in [
            format!(r#"{{"toolId":"{id}"}}"#),
            format!(r#"{{"data": {{ "toolId" : "{id}", "newField": 1 }}}}"#),
            format!(r#"{{"toolId":"{id}","usage":{{"#),
        ] {
            assert_eq!(tool_id(text.as_bytes()), ObjectId::parse_str(id).ok(), "{text}");
        }
        for text in ["", r#""toolId""#, r#""toolId":"65a0""#, r#""toolId":7"#, r#""toolId":"zza000000000000000000001""#]
        {
            assert_eq!(tool_id(text.as_bytes()), None, "{text}");
        }
    }
}
