//! Reads events of a stretch of time, by the index on `timestamp`.

use std::ops::Range;

use bson::{DateTime, Document, RawDocumentBuf, deserialize_from_slice, doc, oid::ObjectId};
use common::documents::{activity_log, usage_analytics};
use futures::TryStreamExt;
use mongodb::Database;
use serde::Deserialize;

use super::window::{Event, SLICE, Use};

const BATCH: u32 = 10_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredUse {
    #[serde(default)]
    user_id: Option<ObjectId>,
    tool_id: ObjectId,
    usage: Success,
    #[serde(default)]
    performance: Option<Performance>,
    timestamp: DateTime,
}

#[derive(Deserialize)]
struct Success {
    success: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Performance {
    #[serde(default)]
    response_time: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredActivity {
    #[serde(default)]
    user_id: Option<ObjectId>,
    action: activity_log::Action,
    timestamp: DateTime,
}

/// Every tool use and activity of these slices. A document that is not as it should be is left out, and the number of those returned.
///
/// # Errors
/// MongoDB does not answer.
pub async fn read(
    database: &Database,
    slices: &Range<i64>,
    mut each: impl FnMut(Event),
) -> mongodb::error::Result<usize> {
    let mut unreadable = 0;
    let uses =
        doc! { "_id": 0, "userId": 1, "toolId": 1, "usage.success": 1, "performance.responseTime": 1, "timestamp": 1 };
    let activities = doc! { "_id": 0, "userId": 1, "action": 1, "timestamp": 1 };
    for (collection, fields, parse) in [
        (usage_analytics::COLLECTION, uses, tool_use as fn(&[u8]) -> Option<Event>),
        (activity_log::COLLECTION, activities, activity),
    ] {
        let documents = database.collection::<RawDocumentBuf>(collection);
        let mut documents = documents.find(within(slices)).projection(fields).batch_size(BATCH).await?;
        while let Some(document) = documents.try_next().await? {
            match parse(document.as_bytes()) {
                Some(event) => each(event),
                None => unreadable += 1,
            }
        }
    }
    Ok(unreadable)
}

fn within(slices: &Range<i64>) -> Document {
    let (from, to) = (DateTime::from_millis(slices.start * SLICE), DateTime::from_millis(slices.end * SLICE));
    doc! { "timestamp": { "$gte": from, "$lt": to } }
}

fn tool_use(bytes: &[u8]) -> Option<Event> {
    let stored: StoredUse = deserialize_from_slice(bytes).ok()?;
    let response_time = stored.performance.and_then(|performance| performance.response_time);
    let used = Use { tool: stored.tool_id, success: stored.usage.success, response_time };
    Some(Event { at: stored.timestamp.timestamp_millis(), user: stored.user_id, used: Some(used) })
}

fn activity(bytes: &[u8]) -> Option<Event> {
    let stored: StoredActivity = deserialize_from_slice(bytes).ok()?;
    // Whoever fails to sign in has not shown to be that user.
    let user = stored.user_id.filter(|_| stored.action != activity_log::Action::LoginFailed);
    Some(Event { at: stored.timestamp.timestamp_millis(), user, used: None })
}
