//! The engine that reads a day's events and folds them.

pub mod documents;
pub mod elements;
pub mod pass;

use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use bson::{DateTime, Document, doc};
use chrono::Utc;
use common::day::Day;
use common::documents::{activity_log, health_check, usage_analytics};
use mongodb::Database;
use tokio::task::spawn_blocking;

use self::pass::{Pass, Unread, pass};
use crate::fold::{Fold, Passes, Totals};
use crate::lookup;

/// Documents of one answer: some 2 MB, so that readers times answers stay small in memory.
pub const BATCH: u32 = 10_000;

/// The collections that a day is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `usage_analytics`.
    ToolUses,
    /// `activity_logs`.
    Activities,
    /// `health_checks`.
    HealthChecks,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ToolUses, Self::Activities, Self::HealthChecks];

    /// The collection's name.
    pub fn collection(self) -> &'static str {
        match self {
            Self::ToolUses => usage_analytics::COLLECTION,
            Self::Activities => activity_log::COLLECTION,
            Self::HealthChecks => health_check::COLLECTION,
        }
    }
}

/// What reading a day may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Queries at a time.
    pub readers: usize,
    /// Bytes of users and sessions held at a time. The answers of the queries come on top, some 10 MB for each reader.
    pub memory: usize,
}

/// What `day`'s events say, and how many of its active users were created before it began. `users` is the number of all
/// users.
///
/// # Errors
/// MongoDB fails, or a cursor returns what is not BSON.
pub async fn count(database: &Database, day: Day, limits: Limits, users: i64) -> anyhow::Result<(Totals, u64)> {
    let mut passes = Passes::default();
    let mut returning = 0;
    let mut unread = Unread::of_a_day();
    while let Some(held) = unread.next() {
        let is_first = held.start == 0;
        let Pass { part, shards, left_out } =
            pass::<Fold>(database, day, limits, held).await.context("reading the events")?;
        if is_first {
            left_out.report(day);
            passes.add_events(part, left_out.documents());
        }
        unread.done(day, &shards.held());
        let people = Arc::clone(&shards);
        let adding = spawn_blocking(move || {
            passes.add_people(&people, limits.readers);
            passes
        });
        returning += lookup::returning_users(database, day, &shards, users)
            .await
            .context("finding out which active users were there before")?;
        passes = adding.await.context("adding up users and sessions ended early")?;
    }
    Ok((passes.totals(), returning))
}

/// The filter for the events of `[from, to)`.
pub fn within(from: chrono::DateTime<Utc>, to: chrono::DateTime<Utc>) -> Document {
    doc! { "timestamp": { "$gte": DateTime::from_chrono(from), "$lt": DateTime::from_chrono(to) } }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.collection())
    }
}
