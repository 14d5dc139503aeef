//! Events of days that are over: their day is marked dirty, so that the aggregator rolls it up again; or they are refused,
//! when the day is sealed and nothing may change its numbers any more.
//!
//! Invariant: the offsets of a batch are committed after the days of its documents are marked. The mark comes after the
//! documents are stored: a roll-up that finds no new mark when it is done began to read after them, or it saw them. Each mark
//! raises `dirtyMarks`, so a roll-up that began before it cannot take it away. One mark serves all batches that were stored
//! before it; none is remembered for later ones, for a roll-up may have cleared it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bson::{DateTime, doc};
use common::day::{Day, DayNumber, day_number, start_of};
use common::documents::rollup_day::{self, RollupDay};
use common::event::Timestamp;
use common::mongo::{self, clock};
use common::sealed_days::SealedDays;
use mongodb::Database;
use mongodb::error::Error;
use mongodb::options::WriteConcern;
use tokio::sync::watch;

use crate::metrics;
use crate::retry::{MAX_RETRY_DELAY, retry_delays};

/// How often the sealed days are looked at: whoever seals a day waits longer than this before he relies on it.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// Clocks differ. In the last minute of a day it counts as over already; to mark it too early harms nothing.
const CLOCK_DIFFERENCE_MS: i64 = 60 * 1_000;

/// A server that was stopped where it stands keeps its connections open, and never answers.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// By how many milliseconds MongoDB's clock is ahead of this machine's, at the last look; 0 when it is behind.
static MONGODB_AHEAD_MS: AtomicI64 = AtomicI64::new(0);

/// Those of `days` that are over by this machine's clock or by MongoDB's. The aggregator works only where its clock is MongoDB's.
pub fn over(days: &[DayNumber]) -> impl Iterator<Item = DayNumber> + '_ {
    let ahead = MONGODB_AHEAD_MS.load(Ordering::Relaxed) + CLOCK_DIFFERENCE_MS;
    let today = day_number(Timestamp::now().millis() + ahead);
    days.iter().copied().filter(move |day| *day < today)
}

/// Marks `days` dirty; returns only when that is acknowledged by a majority, however long it takes.
pub async fn mark(database: &Database, days: &BTreeSet<DayNumber>) {
    for day in days {
        let mut delays = retry_delays();
        for attempt in 1_u64.. {
            let why = match tokio::time::timeout(TIME_LIMIT, mark_one(database, *day)).await {
                Ok(Ok(())) => break,
                Ok(Err(error)) => mongo::reason(&error),
                Err(_) => format!("no answer within {} s", TIME_LIMIT.as_secs()),
            };
            metrics::mark_retried();
            let day = to_day(*day);
            tracing::warn!(%day, attempt, why, "a day with late events could not be marked; trying again");
            tokio::time::sleep(delays.next().unwrap_or(MAX_RETRY_DELAY)).await;
        }
    }
}

fn to_day(day: DayNumber) -> Day {
    Day::of(DateTime::from_millis(start_of(day)).to_chrono())
}

async fn mark_one(database: &Database, day: DayNumber) -> Result<(), Error> {
    let day = to_day(day);
    // The earlier of two times is kept: since then something waits.
    let since = doc! { "$ifNull": ["$dirtySince", DateTime::now()] };
    let marks = doc! { "$add": [{ "$ifNull": ["$dirtyMarks", 0_i64] }, 1_i64] };
    states(database)
        .update_one(
            doc! { "_id": day.to_string() },
            vec![doc! { "$set": { "dirtySince": since, "dirtyMarks": marks } }],
        )
        .upsert(true)
        .write_concern(WriteConcern::majority())
        .await?;
    Ok(())
}

/// Takes note of MongoDB's clock.
///
/// # Errors
/// MongoDB fails.
pub async fn look_at_clock(database: &Database) -> Result<(), Error> {
    let ahead = clock::ahead(database).await?;
    let millis = ahead.num_milliseconds();
    let before = MONGODB_AHEAD_MS.swap(millis.max(0), Ordering::Relaxed);
    if ahead > clock::MOST && before <= clock::MOST.num_milliseconds() {
        tracing::warn!(
            milliseconds = millis,
            "this machine's clock is behind MongoDB's: MongoDB's decides which days are over; set both clocks (NTP)"
        );
    }
    Ok(())
}

/// Looks at the sealed days and at MongoDB's clock from time to time, without end. While MongoDB does not answer, those known stay in force.
pub async fn follow(database: Database, sealed: watch::Sender<Arc<SealedDays>>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        // A server that hangs must not end the looking.
        let look = async {
            look_at_clock(&database).await?;
            SealedDays::read(&database).await
        };
        let answer = match tokio::time::timeout(TIME_LIMIT, look).await {
            Ok(answer) => answer.map_err(|error| mongo::reason(&error)),
            Err(_) => Err(format!("no answer within {} s", TIME_LIMIT.as_secs())),
        };
        match answer {
            Ok(days) => {
                sealed.send_if_modified(|known| {
                    **known != days && {
                        *known = Arc::new(days);
                        true
                    }
                });
            }
            Err(why) => {
                tracing::warn!(why, "the sealed days could not be read; those known stay in force");
            }
        }
    }
}

fn states(database: &Database) -> mongodb::Collection<RollupDay> {
    database.collection(rollup_day::COLLECTION)
}
