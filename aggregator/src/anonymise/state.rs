//! What `rollup_days` says of a day's anonymisation. Each change is one transaction of the lease's holder.

use bson::{DateTime, Document, doc};
use chrono::Utc;
use common::day::Day;
use common::documents::rollup_day::{self, Anonymised, RollupDay};
use mongodb::{ClientSession, Collection, Database};

use super::pseudonym;
use crate::lease::Held;
use crate::retention::SEAL_GRACE;

/// Closes the day for late events: ingest refuses them as soon as it sees `sealedAt`.
///
/// # Errors
/// MongoDB fails, or the lease is lost.
pub async fn close(database: &Database, lease: &Held, day: Day) -> anyhow::Result<()> {
    let now = Utc::now();
    let set = doc! {
        "sealedAt": { "$ifNull": ["$sealedAt", DateTime::from_chrono(now + SEAL_GRACE)] },
        "anonymisation.closedAt": { "$ifNull": ["$anonymisation.closedAt", DateTime::from_chrono(now)] },
    };
    change(database, lease, day, set).await
}

/// Puts the seal of a day off that was closed and never begun: an event waits that its numbers do not count.
///
/// # Errors
/// MongoDB fails, or the lease is lost.
pub async fn put_off(database: &Database, lease: &Held, day: Day) -> anyhow::Result<()> {
    change(database, lease, day, doc! { "sealedAt": DateTime::from_chrono(Utc::now() + SEAL_GRACE) }).await
}

async fn change(database: &Database, lease: &Held, day: Day, set: Document) -> anyhow::Result<()> {
    let change = async |session: &mut ClientSession| {
        states(database).update_one(id(day), vec![doc! { "$set": set }]).session(session).await?;
        Ok(())
    };
    lease.transaction(change).await
}

/// Seals the day and makes its key: from now on its numbers are final. False, and nothing is done, when `counted` is the number of
/// marks that its numbers were found to count, and an event came meanwhile.
///
/// # Errors
/// MongoDB fails, or the lease is lost.
pub async fn begin(database: &Database, lease: &Held, day: Day, counted: Option<i64>) -> anyhow::Result<bool> {
    let begin = async |session: &mut ClientSession| {
        let states = states(database);
        let known = states.find_one(id(day)).session(&mut *session).await?;
        let is_counted = |known: &RollupDay, marks| known.dirty_since.is_none() && known.dirty_marks == marks;
        if counted.is_some_and(|marks| !known.as_ref().is_some_and(|known| is_counted(known, marks))) {
            return Ok(false);
        }
        let now = DateTime::now();
        let set = doc! {
            "sealedAt": { "$min": ["$sealedAt", now] },
            "anonymisation.startedAt": { "$ifNull": ["$anonymisation.startedAt", now] },
            "anonymisation.key": { "$ifNull": ["$anonymisation.key", pseudonym::random()] },
        };
        states.update_one(id(day), vec![doc! { "$set": set }]).session(session).await?;
        Ok(true)
    };
    lease.transaction(begin).await
}

/// Destroys the key, and says what was anonymised. `marks` were the day's marks before its events were last read: an event that
/// came later is found by the next one.
///
/// # Errors
/// MongoDB fails, or the lease is lost.
pub async fn finish(
    database: &Database,
    lease: &Held,
    day: Day,
    documents: Anonymised,
    marks: i64,
) -> anyhow::Result<()> {
    let finish = async |session: &mut ClientSession| {
        let states = states(database);
        let known = states.find_one(id(day)).session(&mut *session).await?;
        let set = doc! {
            "anonymisation.finishedAt": DateTime::now(),
            "anonymisation.documents": bson::serialize_to_bson(&documents)?,
        };
        let mut unset = doc! { "anonymisation.key": "" };
        if known.is_some_and(|known| known.dirty_marks == marks) {
            unset.insert("dirtySince", "");
        }
        states.update_one(id(day), doc! { "$set": set, "$unset": unset }).session(session).await?;
        Ok(())
    };
    lease.transaction(finish).await
}

fn id(day: Day) -> Document {
    doc! { "_id": day.to_string() }
}

fn states(database: &Database) -> Collection<RollupDay> {
    database.collection(rollup_day::COLLECTION)
}
