//! Writes a day so that no reader sees half of it, and its state last.
//!
//! Invariant: a day whose state is `rolled` has its whole document, for the state is written after it. A kill in between
//! leaves a day that is rolled up again, with the same result.

use std::time::Duration;

use bson::{DateTime, doc};
use common::day::Day;
use common::documents::rollup_day::{self, Inputs, RollupDay, State};
use common::documents::system_analytics::{self, SystemAnalytics};
use mongodb::options::WriteConcern;
use mongodb::{Collection, Database};

use crate::{daily, lookup};

/// Replaces the day's document in one atomic write.
///
/// # Errors
/// MongoDB fails, or its validator refuses the document.
pub async fn document(database: &Database, document: &SystemAnalytics) -> anyhow::Result<()> {
    documents(database)
        .replace_one(doc! { "date": document.date.to_string() }, document)
        .upsert(true)
        .write_concern(WriteConcern::majority())
        .await?;
    Ok(())
}

/// Computes the trends of the day after anew, where that day has a document already.
///
/// # Errors
/// MongoDB fails.
pub async fn trends_of_the_day_after(database: &Database, document: &SystemAnalytics) -> anyhow::Result<()> {
    let Some(next) = lookup::daily_document(database, document.date.next()).await? else { return Ok(()) };
    let trends = daily::trends(&next.metrics, Some(&document.metrics));
    if trends == next.trends {
        return Ok(());
    }
    documents(database)
        .update_one(
            doc! { "date": next.date.to_string() },
            doc! { "$set": { "trends": bson::serialize_to_bson(&trends)?, "updatedAt": document.updated_at } },
        )
        .write_concern(WriteConcern::majority())
        .await?;
    Ok(())
}

/// Notes that the day's document is complete.
///
/// # Errors
/// MongoDB fails.
pub async fn rolled(database: &Database, day: Day, inputs: Inputs, took: Duration, at: DateTime) -> anyhow::Result<()> {
    let set = doc! {
        "state": State::Rolled.as_str(),
        "rolledAt": at,
        "inputs": bson::serialize_to_bson(&inputs)?,
        "durationMs": i64::try_from(took.as_millis())?,
        "attempts": 0_i64,
    };
    states(database)
        .update_one(doc! { "_id": day.to_string() }, doc! { "$set": set, "$unset": { "lastError": "" } })
        .upsert(true)
        .write_concern(WriteConcern::majority())
        .await?;
    Ok(())
}

/// Notes why the day could not be rolled up. A document it already has stays.
///
/// # Errors
/// MongoDB fails.
pub async fn failed(database: &Database, day: Day, reason: &anyhow::Error) -> anyhow::Result<()> {
    let set = doc! { "state": State::Failed.as_str(), "lastError": format!("{reason:#}") };
    states(database)
        .update_one(doc! { "_id": day.to_string() }, doc! { "$set": set, "$inc": { "attempts": 1_i64 } })
        .upsert(true)
        .write_concern(WriteConcern::majority())
        .await?;
    Ok(())
}

fn documents(database: &Database) -> Collection<SystemAnalytics> {
    database.collection(system_analytics::COLLECTION)
}

fn states(database: &Database) -> Collection<RollupDay> {
    database.collection(rollup_day::COLLECTION)
}
