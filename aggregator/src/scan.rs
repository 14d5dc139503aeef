//! The engine that reads a day's events and folds them.

pub mod documents;
pub mod elements;
pub mod pass;

use std::fmt;
use std::ops::Range;

use anyhow::Context;
use bson::{DateTime, Document, doc};
use chrono::Utc;
use common::day::Day;
use common::documents::{activity_log, health_check, usage_analytics};
use mongodb::Database;

use self::documents::Unreadable;
use self::pass::{Part, Unread, pass};
use crate::fold::{Event, Fold, Passes, Totals};
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
    while let Some(shards) = unread.next() {
        let (mut fold, left_out) =
            pass::<Fold>(database, day, limits, shards.clone()).await.context("reading the events")?;
        // Every pass leaves out the same.
        if shards.start == 0 {
            left_out.report(day);
            fold.add_unreadable(left_out.documents());
        }
        returning += lookup::returning_users(database, day, &fold, users)
            .await
            .context("finding out which active users were there before")?;
        unread.done(day, &fold.held());
        passes.add(fold);
    }
    Ok((passes.totals(), returning))
}

impl Part for Fold {
    type Event = Event;

    fn of_shards(day: Day, shards: Range<usize>) -> Self {
        Self::of_shards(day, shards)
    }

    fn projection(source: Source) -> Document {
        match source {
            Source::ToolUses => doc! {
                "_id": 0, "userId": 1, "toolId": 1, "sessionId": 1, "usage.startTime": 1, "usage.endTime": 1,
                "usage.success": 1, "performance.responseTime": 1,
            },
            Source::Activities => doc! { "_id": 0, "userId": 1, "sessionId": 1, "action": 1, "timestamp": 1 },
            Source::HealthChecks => doc! { "_id": 0, "toolId": 1, "healthy": 1 },
        }
    }

    fn read(source: Source, document: &[u8]) -> Result<Event, Unreadable> {
        Ok(match source {
            Source::ToolUses => Event::ToolUse(documents::tool_use(document)?),
            Source::Activities => Event::Activity(documents::activity(document)?),
            Source::HealthChecks => Event::HealthCheck(documents::health_check(document)?),
        })
    }

    fn look_up(&self, event: &Event) {
        self.look_up(event);
    }

    fn add(&mut self, event: Event) {
        match event {
            Event::ToolUse(tool_use) => self.add_tool_use(&tool_use),
            Event::Activity(activity) => self.add_activity(&activity),
            Event::HealthCheck(check) => self.add_health_check(&check),
        }
    }

    fn end_slice(&mut self) {
        self.end_slice();
    }

    fn keep(&mut self, end: usize) {
        self.keep(end);
    }

    fn bytes(&self) -> usize {
        self.bytes()
    }

    fn merged(self, other: Self) -> Self {
        self.merged(other)
    }
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
