//! Looks at MongoDB every few seconds, whoever rolls the days up, and shows what is there as metrics: how the days stand, and
//! the numbers of the latest one. So they are true also on a standby, and while the roll-up itself hangs or fails.

use std::time::Duration;

use bson::Document;
use chrono::{DateTime, Utc};
use common::day::Day;
use common::documents::rollup_day::{RollupDay, State};
use common::documents::system_analytics::SystemAnalytics;
use common::mongo;
use common::telemetry::{Part, Readiness};
use mongodb::Database;
use tokio::time::Instant;

use crate::lookup;
use crate::metrics::{self, DailyNumbers};
use crate::schedule::{self, due_days};

/// How often.
const INTERVAL: Duration = Duration::from_secs(15);

/// A server that was stopped where it stands keeps its connections open, and never answers.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// How the days stand.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Finished days that wait to be rolled up.
    pub days_due: usize,
    /// Days whose last attempt failed.
    pub days_failed: usize,
    /// Since when the day waits that has waited longest with late events.
    pub oldest_dirty: Option<DateTime<Utc>>,
    /// The latest day whose document is final.
    pub latest_day: Option<Day>,
}

/// Looks and shows.
#[derive(Debug)]
pub struct Observer {
    database: Database,
    readiness: Readiness,
    daily: DailyNumbers,
}

impl Observer {
    /// One that tells `readiness` whether MongoDB answers.
    pub fn new(database: Database, readiness: Readiness) -> Self {
        Self { database, readiness, daily: DailyNumbers::default() }
    }

    /// Looks from time to time, without end; the first time in a while.
    pub async fn follow(mut self) {
        let mut ticks = tokio::time::interval_at(Instant::now() + INTERVAL, INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
        }
    }

    /// Looks once. While MongoDB does not answer, what was shown last stays.
    pub async fn look(&mut self) {
        let why = match tokio::time::timeout(TIME_LIMIT, read(&self.database)).await {
            Ok(Ok((standing, latest))) => {
                self.readiness.set(Part::Mongodb, Ok(()));
                metrics::standing(&standing);
                match latest.map(bson::deserialize_from_document::<SystemAnalytics>).transpose() {
                    Ok(latest) => self.daily.show(latest.as_ref()),
                    Err(error) => {
                        tracing::warn!(%error, "the latest daily document cannot be read; the last numbers stay");
                    }
                }
                return;
            }
            Ok(Err(error)) => mongo::in_words(&error),
            Err(_) => format!("no answer within {} s", TIME_LIMIT.as_secs()),
        };
        self.readiness.set(Part::Mongodb, Err(format!("does not answer as it should: {why}")));
        tracing::warn!(why, "the days were not looked at; the last numbers stay");
    }
}

/// How the days stand, and the latest final document.
async fn read(database: &Database) -> anyhow::Result<(Standing, Option<Document>)> {
    let first_event = lookup::first_day_with_events(database).await?;
    let states = lookup::day_states(database).await?;
    let latest = lookup::latest_final_document(database).await?;
    let latest_day = latest.as_ref().and_then(|latest| Day::parse(latest.get_str("date").ok()?).ok());
    Ok((standing(first_event, &states, latest_day, Day::today()), latest))
}

fn standing(first_event: Option<Day>, states: &[RollupDay], latest_day: Option<Day>, today: Day) -> Standing {
    let settled = states.iter().filter(|day| schedule::is_settled(day)).map(|day| day.date).collect();
    let unsettled = || states.iter().filter(|day| !schedule::is_settled(day));
    Standing {
        days_due: due_days(first_event, today, &settled).len(),
        days_failed: unsettled().filter(|day| day.state == Some(State::Failed)).count(),
        oldest_dirty: unsettled().filter_map(|day| day.dirty_since).min().map(bson::DateTime::to_chrono),
        latest_day,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_due_failed_or_dirty_until_it_is_settled() {
        let day = |text: &str| Day::parse(text).unwrap();
        let state = |date: &str, state: Option<State>| RollupDay {
            date: day(date),
            state,
            rolled_at: None,
            inputs: None,
            duration_ms: None,
            attempts: 0,
            last_error: None,
            dirty_since: None,
            dirty_marks: 0,
            sealed_at: None,
        };
        let dirty = |date: &str, since: i64| RollupDay {
            dirty_since: Some(bson::DateTime::from_millis(since)),
            ..state(date, Some(State::Rolled))
        };
        let states = [
            state("2024-01-11", Some(State::Failed)),
            state("2024-01-12", Some(State::Rolled)),
            dirty("2024-01-13", 2_000),
            dirty("2024-01-14", 1_000),
            RollupDay { sealed_at: Some(bson::DateTime::from_millis(0)), ..dirty("2024-01-15", 500) },
            state("2024-01-17", Some(State::Provisional)),
        ];
        let found = standing(Some(day("2024-01-11")), &states, None, day("2024-01-17"));
        let oldest_dirty = DateTime::from_timestamp(1, 0);
        // The 16th was never tried.
        assert_eq!(found, Standing { days_due: 4, days_failed: 1, oldest_dirty, latest_day: None });
        assert_eq!(standing(None, &[], None, day("2024-01-17")), Standing::default());
    }
}
