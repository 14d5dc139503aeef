//! Publishes a day in one transaction: its document, the trends of the day after, and that it is done.
//!
//! Invariant: a day whose state is `rolled` has its whole document and all its rows, for the rows are written before. A kill
//! in between leaves a day that is rolled up again, with the same result.

use std::time::Instant;

use anyhow::ensure;
use bson::{Bson, DateTime, doc};
use chrono::Utc;
use common::day::Day;
use common::documents::rollup_day::{self, Inputs, RollupDay, State};
use common::documents::system_analytics::{self, SystemAnalytics};
use common::mongo;
use mongodb::{ClientSession, Collection, Database};

use crate::daily;
use crate::lease::Held;
use crate::retention::Refused;

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
        let states = states(database);
        trends_of_the_day_after(&documents, &states, session, document).await?;
        rolled(&states, session, document, dirty_marks, started).await
    };
    lease.transaction(publish).await
}

/// Computes the trends of the day after anew, where that day has a document already and is not sealed.
async fn trends_of_the_day_after(
    documents: &Collection<SystemAnalytics>,
    states: &Collection<RollupDay>,
    session: &mut ClientSession,
    document: &SystemAnalytics,
) -> anyhow::Result<()> {
    let date = doc! { "date": document.date.next().to_string() };
    let Some(next) = documents.find_one(date.clone()).session(&mut *session).await? else { return Ok(()) };
    let state = states.find_one(doc! { "_id": next.date.to_string() }).session(&mut *session).await?;
    if state.is_some_and(|state| state.is_sealed(Utc::now())) {
        return Ok(());
    }
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
    ensure!(known.as_ref().is_none_or(|known| !known.is_sealed(Utc::now())), Refused::Sealed(document.date));
    let rollup = document.rollup.as_ref();
    let is_provisional = rollup.is_some_and(|rollup| rollup.provisional);
    let set = doc! {
        "state": if is_provisional { State::Provisional } else { State::Rolled }.as_str(),
        "rolledAt": document.updated_at,
        "inputs": bson::serialize_to_bson(&rollup.map_or_else(Inputs::default, |rollup| rollup.inputs))?,
        "durationMs": i64::try_from(started.elapsed().as_millis())?,
        "attempts": 0_i64,
        "expired": rollup.map_or(&[][..], |rollup| &rollup.expired),
    };
    let mut unset = doc! { "lastError": "" };
    // If `dirtyMarks` changed, an event may have arrived after our scan: keep `dirtySince`.
    if known.is_none_or(|known| known.dirty_marks == dirty_marks) {
        unset.insert("dirtySince", Bson::from(""));
    }
    states.update_one(id, doc! { "$set": set, "$unset": unset }).upsert(true).session(session).await?;
    Ok(())
}

/// Counts an attempt at the day before the attempt begins; publishing the day sets the count back to 0. So a day that kills the
/// process is given up like a day that fails.
///
/// # Errors
/// MongoDB fails, or the lease is lost.
pub async fn begun(database: &Database, lease: &Held, day: Day) -> anyhow::Result<()> {
    let note = async |session: &mut ClientSession| {
        let change = doc! {
            "$inc": { "attempts": 1_i64 },
            "$set": { "lastError": "it has not ended: it goes on, or the aggregator was stopped or killed in it" },
        };
        states(database).update_one(doc! { "_id": day.to_string() }, change).upsert(true).session(session).await?;
        Ok(())
    };
    lease.transaction(note).await
}

/// Seals the day from `at` on. Ingest refuses its events as soon as it sees `sealedAt`; after `at` nobody computes the day. A day
/// that has `sealedAt` keeps it.
///
/// # Errors
/// MongoDB fails, or the lease is lost.
pub async fn seal(database: &Database, lease: &Held, day: Day, at: DateTime) -> anyhow::Result<()> {
    let seal = async |session: &mut ClientSession| {
        let change = vec![doc! { "$set": { "sealedAt": { "$ifNull": ["$sealedAt", at] } } }];
        states(database).update_one(doc! { "_id": day.to_string() }, change).upsert(true).session(session).await?;
        Ok(())
    };
    lease.transaction(seal).await
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
        if known.is_some_and(|known| known.is_sealed(Utc::now())) {
            return Ok(());
        }
        let set = doc! { "state": State::Failed.as_str(), "lastError": mongo::in_words(reason) };
        states.update_one(id, doc! { "$set": set }).upsert(true).session(session).await?;
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
