//! Reads a day's events into a [`Book`]. What the day's scan leaves out as unreadable is left out here by the same rules.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use bson::oid::ObjectId;
use bson::raw::{RawBsonRef, RawDocument};
use bson::{Document, RawDocumentBuf, doc};
use chrono::TimeDelta;
use common::day::Day;
use common::documents::activity_log::Action;
use futures::TryStreamExt;
use mongodb::Database;
use mongodb::options::ReadConcern;
use tokio::task::JoinSet;

use super::book::{Book, Country, Details, OTHER_COUNTRY};
use crate::fold::exact::Mean;
use crate::fold::{Activity, ToolUse};
use crate::scan::{Source, within};

const SLICE: TimeDelta = TimeDelta::minutes(60);
const SLICES: usize = 24;

/// All events of `day`, with `readers` queries at a time.
///
/// # Errors
/// MongoDB fails, or a cursor returns what is not BSON.
pub async fn book(database: &Database, day: Day, readers: usize) -> anyhow::Result<Book> {
    let taken = Arc::new(AtomicUsize::new(0));
    let mut running = JoinSet::new();
    for _ in 0..readers {
        let (database, taken) = (database.clone(), Arc::clone(&taken));
        running.spawn(async move {
            let mut book = Book::default();
            loop {
                let slice = taken.fetch_add(1, Ordering::Relaxed);
                let Some(source) = Source::ALL.get(slice / SLICES) else { return anyhow::Ok(book) };
                read_slice(&database, day, *source, slice % SLICES, &mut book).await?;
            }
        });
    }
    let mut whole = Book::default();
    while let Some(finished) = running.join_next().await {
        whole = whole.merged(finished.context("a reader ended early")??);
    }
    Ok(whole)
}

async fn read_slice(
    database: &Database,
    day: Day,
    source: Source,
    slice: usize,
    book: &mut Book,
) -> anyhow::Result<()> {
    let from = day.start() + SLICE * i32::try_from(slice)?;
    let mut batches = database
        .collection::<RawDocumentBuf>(source.collection())
        .find(within(from, from + SLICE))
        .projection(projection(source))
        .read_concern(ReadConcern::majority())
        .batch()
        .await?;
    while let Some(batch) = batches.try_next().await? {
        for document in batch.doc_slices()? {
            let RawBsonRef::Document(document) = document? else { continue };
            // None is what the scan reports as left out.
            let _ = add(source, document, book);
        }
    }
    Ok(())
}

fn projection(source: Source) -> Document {
    match source {
        Source::ToolUses => doc! {
            "_id": 0, "userId": 1, "toolId": 1, "sessionId": 1, "usage.startTime": 1, "usage.endTime": 1,
            "usage.success": 1, "usage.duration": 1, "performance.responseTime": 1, "context.location.country": 1,
            "timestamp": 1,
        },
        Source::Activities => doc! { "_id": 0, "userId": 1, "sessionId": 1, "action": 1, "timestamp": 1 },
        Source::HealthChecks => doc! { "_id": 0, "toolId": 1, "healthy": 1, "timestamp": 1 },
    }
}

fn add(source: Source, document: &RawDocument, book: &mut Book) -> Option<()> {
    match source {
        Source::ToolUses => {
            let (tool_use, details) = tool_use(document)?;
            book.add_tool_use(&tool_use, details);
        }
        Source::Activities => {
            let action = document.get_str("action").ok()?;
            book.add_activity(&Activity {
                user: optional_id(document, "userId")?,
                session: optional_id(document, "sessionId")?,
                action: *Action::ALL.iter().find(|known| known.as_str() == action)?,
                at: millis(document, "timestamp")?,
            });
        }
        Source::HealthChecks => {
            let healthy = document.get_bool("healthy").ok()?;
            book.add_health_check(document.get_object_id("toolId").ok()?, healthy, millis(document, "timestamp")?);
        }
    }
    Some(())
}

fn tool_use(document: &RawDocument) -> Option<(ToolUse, Details)> {
    let usage = document.get_document("usage").ok()?;
    let end = millis(usage, "endTime")?;
    let tool_use = ToolUse {
        user: optional_id(document, "userId")?,
        tool: document.get_object_id("toolId").ok()?,
        session: optional_id(document, "sessionId")?,
        start: millis(usage, "startTime")?,
        end,
        success: usage.get_bool("success").ok()?,
        response_time: response_time(document)?,
    };
    let details = Details {
        at: millis(document, "timestamp").unwrap_or(end),
        duration: usage.get("duration").ok().flatten().map_or(0, whole_millis),
        country: country(document),
    };
    Some((tool_use, details))
}

fn millis(document: &RawDocument, field: &str) -> Option<i64> {
    Some(document.get_datetime(field).ok()?.timestamp_millis())
}

/// Missing and null are no id; the outer none is any other type.
fn optional_id(document: &RawDocument, field: &str) -> Option<Option<ObjectId>> {
    match document.get(field).ok()? {
        None | Some(RawBsonRef::Null) => Some(None),
        Some(value) => value.as_object_id().map(Some),
    }
}

fn response_time(document: &RawDocument) -> Option<Option<f64>> {
    let value = match document.get("performance").ok()? {
        None | Some(RawBsonRef::Null) => return Some(None),
        Some(performance) => performance.as_document()?.get("responseTime").ok()?,
    };
    let millis = match value {
        None | Some(RawBsonRef::Null) => return Some(None),
        Some(RawBsonRef::Double(millis)) => millis,
        Some(RawBsonRef::Int32(millis)) => millis.into(),
        Some(RawBsonRef::Int64(millis)) => millis as f64,
        Some(_) => return None,
    };
    Mean::takes(millis).then_some(Some(millis))
}

/// A length of time that counts in sums only: what is none is 0, so that it never keeps a document out of the day.
fn whole_millis(value: RawBsonRef<'_>) -> u64 {
    match value {
        RawBsonRef::Int32(millis) => u64::try_from(millis).unwrap_or(0),
        RawBsonRef::Int64(millis) => u64::try_from(millis).unwrap_or(0),
        RawBsonRef::Double(millis) => millis as u64,
        _ => 0,
    }
}

/// `context.location.country` as far as it is a text; what is around it may be anything.
fn country(document: &RawDocument) -> Option<Country> {
    let location = document.get_document("context").ok()?.get_document("location").ok()?;
    Some(match location.get_str("country").ok()?.as_bytes() {
        [first, second] if first.is_ascii_alphabetic() && second.is_ascii_alphabetic() => {
            [first.to_ascii_uppercase(), second.to_ascii_uppercase()]
        }
        _ => OTHER_COUNTRY,
    })
}
