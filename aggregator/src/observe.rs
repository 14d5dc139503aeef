//! Looks at MongoDB every few seconds, whoever rolls the days up, and shows what is there as metrics: how the days stand, the
//! numbers of the latest one, how old the oldest documents are, and failed logins that look like an attack. So they are true also on a standby, and while the
//! roll-up itself hangs or fails.

use std::time::Duration;

use bson::Document;
use chrono::{TimeDelta, Utc};
use common::day::Day;
use common::documents::rollup_day::RollupDay;
use common::documents::system_analytics::SystemAnalytics;
use common::settings::{Privacy, Security, Settings};
use common::suspicious;
use common::telemetry::{Part, Readiness};
use common::{kept, mongo};
use mongodb::Database;
use tokio::time::Instant;

use crate::anonymise::step;
use crate::lookup;
use crate::metrics::{self, DailyNumbers};
use crate::schedule::{self, Standing, due_days};

/// How often.
const INTERVAL: Duration = Duration::from_secs(15);

/// A server that was stopped where it stands keeps its connections open, and never answers. Less than [`INTERVAL`], so that one
/// that cannot keep up is not asked twice at a time.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Looks and shows.
#[derive(Debug)]
pub struct Observer {
    database: Database,
    days: Days,
    logins: FailedLogins,
    kept: Kept,
}

impl Observer {
    /// One that tells `readiness` whether MongoDB answers.
    pub fn new(database: Database, settings: &Settings, readiness: Readiness) -> Self {
        let days = Days { readiness, numbers: DailyNumbers::default(), privacy: settings.privacy.clone() };
        let logins = FailedLogins { thresholds: settings.security.clone(), is_attack: false, is_blind: false };
        for collection in kept::COLLECTIONS {
            metrics::retention(collection, settings.retention.of(collection).unwrap_or_default());
        }
        Self { database, days, logins, kept: Kept::default() }
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

    /// Looks once, side by side: what takes long to count keeps nothing else waiting.
    pub async fn look(&mut self) {
        let database = &self.database;
        tokio::join!(self.days.look(database), self.logins.look(database), self.kept.look(database));
    }
}

/// Awaits MongoDB's answer for [`TIME_LIMIT`] at most.
///
/// # Errors
/// Why there is none, in a line.
async fn answer<T, E: Into<anyhow::Error>>(question: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match tokio::time::timeout(TIME_LIMIT, question).await {
        Ok(answer) => answer.map_err(|error| mongo::in_words(&error.into())),
        Err(_) => Err(format!("no answer within {} s", TIME_LIMIT.as_secs())),
    }
}

#[derive(Debug)]
struct Days {
    readiness: Readiness,
    numbers: DailyNumbers,
    privacy: Privacy,
}

impl Days {
    /// While MongoDB does not answer, what was shown last stays: a day that was rolled up remains so.
    async fn look(&mut self, database: &Database) {
        match answer(read(database, &self.privacy)).await {
            Ok((standing, latest)) => {
                self.readiness.set(Part::Mongodb, Ok(()));
                metrics::standing(&standing);
                match latest.map(bson::deserialize_from_document::<SystemAnalytics>).transpose() {
                    Ok(latest) => self.numbers.show(latest.as_ref()),
                    Err(error) => {
                        tracing::warn!(%error, "the latest daily document cannot be read; the last numbers stay");
                    }
                }
            }
            Err(why) => {
                self.readiness.set(Part::Mongodb, Err(format!("does not answer as it should: {why}")));
                tracing::warn!(why, "the days were not looked at; the last numbers stay");
            }
        }
    }
}

/// Who failed to log in is asked with `admin suspicious`: neither accounts nor addresses belong into a label or a log.
#[derive(Debug)]
struct FailedLogins {
    thresholds: Security,
    /// Some were suspicious when they were last counted.
    is_attack: bool,
    /// They cannot be counted, which was told.
    is_blind: bool,
}

impl FailedLogins {
    /// While they cannot be counted nobody knows that all is well, and the numbers are none. An attack's numbers stay: one
    /// that has become too large to be counted in time is not over.
    async fn look(&mut self, database: &Database) {
        let since = Utc::now() - suspicious::WINDOW;
        match answer(suspicious::find(database, since, &self.thresholds, TIME_LIMIT)).await {
            Ok(found) => {
                metrics::suspicion(Some(&found));
                self.is_attack = found.accounts.count + found.addresses.count > 0;
                if std::mem::take(&mut self.is_blind) {
                    tracing::info!("failed logins are counted again");
                }
            }
            Err(why) => {
                if !self.is_attack {
                    metrics::suspicion(None);
                }
                if !std::mem::replace(&mut self.is_blind, true) {
                    tracing::warn!(why, "failed logins cannot be counted");
                }
            }
        }
    }
}

/// Whether MongoDB removes what has been kept long enough.
#[derive(Debug, Default)]
struct Kept {
    /// Somewhere it cannot be seen, which was told.
    is_blind: bool,
}

impl Kept {
    async fn look(&mut self, database: &Database) {
        let mut blind = None;
        for collection in kept::COLLECTIONS {
            let oldest = answer(kept::oldest(database, collection)).await;
            metrics::oldest_record(collection, oldest.as_ref().map(|oldest| *oldest).map_err(drop));
            if let Err(why) = oldest {
                blind = Some((collection, why));
            }
        }
        let was_blind = std::mem::replace(&mut self.is_blind, blind.is_some());
        match blind {
            Some((collection, why)) if !was_blind => {
                tracing::warn!(
                    collection,
                    why,
                    "the age of the oldest document cannot be read; RetentionStopped is blind"
                );
            }
            None if was_blind => tracing::info!("the age of the oldest documents is read again"),
            _ => {}
        }
    }
}

/// How the days stand, and the latest final document.
async fn read(database: &Database, privacy: &Privacy) -> anyhow::Result<(Standing, Option<Document>)> {
    let first_event = lookup::first_day_with_events(database).await?;
    let states = lookup::day_states(database).await?;
    let latest = lookup::latest_final_document(database).await?;
    let latest_day = latest.as_ref().and_then(|latest| Day::parse(latest.get_str("date").ok()?).ok());
    Ok((standing(first_event, &states, latest_day, Day::today(), privacy), latest))
}

fn standing(
    first_event: Option<Day>,
    states: &[RollupDay],
    latest_day: Option<Day>,
    today: Day,
    privacy: &Privacy,
) -> Standing {
    let now = Utc::now();
    let late_arrival = TimeDelta::from_std(privacy.late_arrival).unwrap_or(TimeDelta::MAX);
    let settled = states.iter().filter(|day| schedule::is_settled(day, now)).map(|day| day.date).collect();
    let unsettled = || states.iter().filter(|day| !schedule::is_settled(day, now));
    let failing = || unsettled().filter(|day| schedule::is_failing(day));
    Standing {
        days_due: due_days(first_event, today, &settled).len(),
        days_failed: failing().count(),
        latest_failed: failing().map(|day| day.date).max(),
        oldest_dirty: unsettled().filter_map(|day| day.dirty_since).min().map(bson::DateTime::to_chrono),
        anonymisation_due: step::waiting_since(states, privacy.anonymise, late_arrival, now),
        latest_day,
    }
}

#[cfg(test)]
mod tests {
    use common::documents::rollup_day::State;

    use super::*;

    #[test]
    fn a_day_is_due_failed_or_dirty_until_it_is_settled() {
        let day = |text: &str| Day::parse(text).unwrap();
        let state = |date: &str, state: Option<State>| RollupDay { state, ..RollupDay::untried(day(date)) };
        let dirty = |date: &str, since: i64| RollupDay {
            dirty_since: Some(bson::DateTime::from_millis(since)),
            ..state(date, Some(State::Rolled))
        };
        let states = [
            state("2024-01-11", Some(State::Failed)),
            state("2024-01-12", Some(State::Rolled)),
            dirty("2024-01-13", 2_000),
            RollupDay { attempts: 2, ..dirty("2024-01-14", 1_000) },
            RollupDay { sealed_at: Some(bson::DateTime::from_millis(0)), ..dirty("2024-01-15", 500) },
            state("2024-01-17", Some(State::Provisional)),
        ];
        let found = standing(Some(day("2024-01-11")), &states, None, day("2024-01-17"), &Privacy::default());
        let oldest_dirty = chrono::DateTime::from_timestamp(1, 0);
        // The 16th was never tried.
        let latest_failed = Some(day("2024-01-14"));
        let expected = Standing { days_due: 4, days_failed: 2, latest_failed, oldest_dirty, ..Standing::default() };
        assert_eq!(found, expected);
        assert_eq!(standing(None, &[], None, day("2024-01-17"), &Privacy::default()), Standing::default());
    }
}
