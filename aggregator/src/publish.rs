//! Publishes a day in one transaction: its document, the trends of the day after, and that it is done.
//!
//! Invariant: a day whose state is `rolled` has its whole document and all its rows, for the rows are written before. A kill
//! in between leaves a day that is rolled up again, with the same result.

use std::time::Instant;

use anyhow::ensure;
use bson::{Bson, doc};
use common::day::Day;
use common::documents::rollup_day::{self, Inputs, RollupDay, State};
use common::documents::system_analytics::{self, SystemAnalytics};
use common::mongo;
use mongodb::{ClientSession, Collection, Database};

use crate::daily;
use crate::lease::Held;

/// Publishes the day whose roll-up began at `started`, and found `dirty_marks` before it read the events.
///
/// # Errors
/// MongoDB fails or its validator refuses the document; the lease is lost; the day was sealed meanwhile.
pub async fn day(
    database: &Database,
    lease: &Held,
    document: &SystemAnalytics,
    dirty_marks: i64,
    started: Instant,
) -> anyhow::Result<()> {
    let publish = async |session: &mut ClientSession| {
        let documents = documents(database);
        let date = doc! { "date": document.date.to_string() };
        documents.replace_one(date, document).upsert(true).session(&mut *session).await?;
        trends_of_the_day_after(&documents, session, document).await?;
        rolled(&states(database), session, document, dirty_marks, started).await
    };
    lease.transaction(publish).await
}

/// Computes the trends of the day after anew, where that day has a document already.
async fn trends_of_the_day_after(
    documents: &Collection<SystemAnalytics>,
    session: &mut ClientSession,
    document: &SystemAnalytics,
) -> anyhow::Result<()> {
    let date = doc! { "date": document.date.next().to_string() };
    let Some(next) = documents.find_one(date.clone()).session(&mut *session).await? else { return Ok(()) };
    let trends = daily::trends(&next.metrics, Some(&document.metrics));
    if trends != next.trends {
        let set = doc! { "trends": bson::serialize_to_bson(&trends)?, "updatedAt": document.updated_at };
        documents.update_one(date, doc! { "$set": set }).session(session).await?;
    }
    Ok(())
}

async fn rolled(
    states: &Collection<RollupDay>,
    session: &mut ClientSession,
    document: &SystemAnalytics,
    dirty_marks: i64,
    started: Instant,
) -> anyhow::Result<()> {
    let id = doc! { "_id": document.date.to_string() };
    let known = states.find_one(id.clone()).session(&mut *session).await?;
    ensure!(
        known.as_ref().is_none_or(|known| known.sealed_at.is_none()),
        "{} was sealed while it was rolled up; its numbers stay as they were",
        document.date
    );
    let rollup = document.rollup.as_ref();
    let is_provisional = rollup.is_some_and(|rollup| rollup.provisional);
    let set = doc! {
        "state": if is_provisional { State::Provisional } else { State::Rolled }.as_str(),
        "rolledAt": document.updated_at,
        "inputs": bson::serialize_to_bson(&rollup.map_or_else(Inputs::default, |rollup| rollup.inputs))?,
        "durationMs": i64::try_from(started.elapsed().as_millis())?,
        "attempts": 0_i64,
    };
    let mut unset = doc! { "lastError": "" };
    // A mark of meanwhile is for an event that may have come too late for this reading.
    if known.is_none_or(|known| known.dirty_marks == dirty_marks) {
        unset.insert("dirtySince", Bson::from(""));
    }
    states.update_one(id, doc! { "$set": set, "$unset": unset }).upsert(true).session(session).await?;
    Ok(())
}

/// Notes why the day could not be rolled up. A document it already has stays, and so does a sealed day's state.
///
/// # Errors
/// MongoDB fails, or the lease is lost.
pub async fn failed(database: &Database, lease: &Held, day: Day, reason: &anyhow::Error) -> anyhow::Result<()> {
    let note = async |session: &mut ClientSession| {
        let states = states(database);
        let id = doc! { "_id": day.to_string() };
        let known = states.find_one(id.clone()).session(&mut *session).await?;
        if known.is_some_and(|known| known.sealed_at.is_some()) {
            return Ok(());
        }
        let set = doc! { "state": State::Failed.as_str(), "lastError": mongo::in_words(reason) };
        let change = doc! { "$set": set, "$inc": { "attempts": 1_i64 } };
        states.update_one(id, change).upsert(true).session(session).await?;
        Ok(())
    };
    lease.transaction(note).await
}

fn documents(database: &Database) -> Collection<SystemAnalytics> {
    database.collection(system_analytics::COLLECTION)
}

fn states(database: &Database) -> Collection<RollupDay> {
    database.collection(rollup_day::COLLECTION)
}
