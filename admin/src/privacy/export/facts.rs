//! What the page for the person tells, seen while the documents go by. Bounded, whatever goes by.

use std::collections::BTreeMap;

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document};
use common::documents::{activity_log, suggestion, usage_analytics, user};
use common::personal::Place;

/// Suggestions that are listed; the file has all.
const MOST_SUGGESTIONS: usize = 500;
/// Tools that are told apart; the uses of others are counted together.
const MOST_TOOLS: usize = 10_000;

/// What was seen of each collection.
#[derive(Default)]
pub(super) struct Facts {
    /// The first and the last time, by collection.
    pub periods: BTreeMap<&'static str, (String, String)>,
    /// The account as it is exported.
    pub account: Option<Document>,
    /// By id.
    pub tools: BTreeMap<ObjectId, ToolUse>,
    /// Of tools beyond the most.
    pub other_tools: ToolUse,
    /// How often, by action.
    pub activities: BTreeMap<String, u64>,
    /// As they are exported.
    pub suggestions: Vec<Document>,
}

/// How often a tool was used.
#[derive(Default)]
pub(super) struct ToolUse {
    /// None for a tool that is not in `tools`.
    pub name: Option<String>,
    pub uses: u64,
    pub failures: u64,
}

impl Facts {
    /// Takes note of a document as it is written.
    pub fn see(&mut self, place: &'static Place, document: &Document) {
        if let Some(time) = time(document) {
            let (first, last) = self.periods.entry(place.name).or_insert_with(|| (time.clone(), time.clone()));
            if time < *first {
                *first = time;
            } else if time > *last {
                *last = time;
            }
        }
        match place.name {
            user::COLLECTION if document.contains_key("_id") => self.account = Some(document.clone()),
            usage_analytics::COLLECTION => self.see_tool(document),
            activity_log::COLLECTION => {
                let action = document.get_str("action").unwrap_or_default();
                match self.activities.get_mut(action) {
                    Some(count) => *count += 1,
                    None => _ = self.activities.insert(action.to_owned(), 1),
                }
            }
            suggestion::COLLECTION if self.suggestions.len() < MOST_SUGGESTIONS => {
                self.suggestions.push(document.clone())
            }
            _ => {}
        }
    }

    fn see_tool(&mut self, document: &Document) {
        let is_room = self.tools.len() < MOST_TOOLS;
        let tool = match document.get_object_id("toolId") {
            Ok(id) if is_room || self.tools.contains_key(&id) => self.tools.entry(id).or_default(),
            _ => &mut self.other_tools,
        };
        tool.uses += 1;
        let is_failure = |usage: &Document| usage.get_bool("success").is_ok_and(|success| !success);
        tool.failures += u64::from(document.get_document("usage").is_ok_and(is_failure));
    }
}

/// When the document is of: as text, which is in the order of time.
fn time(document: &Document) -> Option<String> {
    let metadata = document.get_document("metadata").ok();
    let time = document.get("timestamp").or_else(|| document.get("date")).or_else(|| document.get("createdAt"));
    match time.or_else(|| metadata?.get("createdAt"))? {
        Bson::DateTime(time) => Some(instant(*time)),
        Bson::String(day) => Some(day.clone()),
        _ => None,
    }
}

/// As the page shows it.
pub(super) fn instant(time: DateTime) -> String {
    time.to_chrono().format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
