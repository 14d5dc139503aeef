//! Keeps every day rolled up: missed nights at the start, the day before when the schedule fires, and in between the days
//! that late events came for, and the day that is not over yet. Between two passes it anonymises the days that are old enough.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use common::cron::Schedule;
use common::day::Day;
use common::documents::rollup_day::{Inputs, RollupDay};
use common::mongo;
use tokio_util::sync::CancellationToken;

use crate::anonymise::Anonymiser;
use crate::lease::{self, Held};
use crate::retention::{self, Fate, SEAL_GRACE};
use crate::rolled::Rolled;
use crate::rollup::Rollup;
use crate::schedule::{self, Due, Work, due_days};
use crate::{counters, lookup, metrics, publish, retry};

/// The wall clock is asked this often: a timer alone would be late after the machine slept or its clock was set.
const CLOCK_CHECK: Duration = Duration::from_secs(20);

/// Works until `shutdown`; a day that is being rolled up then is dropped, which harms nothing. `refresh` is the time
/// between two looks at late days and at today.
pub async fn serve(
    rollup: &Rollup,
    mut anonymiser: Anonymiser,
    schedule: &Schedule,
    refresh: Duration,
    shutdown: &CancellationToken,
) {
    let work = async {
        // At the start whatever was missed is due.
        let (mut night, mut is_first) = (Utc::now(), true);
        loop {
            let began = Utc::now();
            let is_night = began >= night;
            let next_night = if is_night { schedule.next_after(began) } else { night };
            let work = match (is_first, is_night) {
                (true, _) => Work::Missed,
                (false, true) => Work::Night,
                (false, false) => Work::Late,
            };
            let worked = pass(rollup, work, next_night).await;
            // A night that failed as a whole, without a server, is not over.
            if worked.is_some() {
                (night, is_first) = (next_night, false);
            }
            metrics::next_run(schedule.next_after(Utc::now()));
            let wake = schedule::next_pass(Utc::now(), worked.unwrap_or_default(), refresh, next_night);
            // Between two passes, so that neither today's numbers nor the night's wait for it.
            anonymiser.work(wake, is_night).await;
            tracing::debug!(%wake, "waiting");
            sleep_until(wake).await;
        }
    };
    shutdown.run_until_cancelled(work).await;
}

/// Does what is due, while no other aggregator does, and begins no day after `next_night`. Returns how long the work took, without the
/// wait for MongoDB before the work; none when MongoDB was away, or another took over.
async fn pass(rollup: &Rollup, work: Work, next_night: DateTime<Utc>) -> Option<Duration> {
    let lease = match retry::passing_faults(|| lease::acquire(&rollup.database)).await {
        Ok(lease) => lease,
        Err(error) => {
            tracing::error!(error = mongo::in_words(&error), "the lease could not be taken");
            return None;
        }
    };
    let started = Instant::now();
    let result = roll_what_is_due(rollup, &lease, work, next_night).await;
    lease.release().await;
    result.inspect_err(|error| tracing::error!(error = mongo::in_words(error), "not everything was done")).ok()?;
    Some(started.elapsed())
}

/// Seals what has to be sealed, rolls the due days up, newest first, then today.
async fn roll_what_is_due(rollup: &Rollup, lease: &Held, work: Work, next_night: DateTime<Utc>) -> anyhow::Result<()> {
    let database = &rollup.database;
    let today = Day::today();
    seal_what_expires(rollup, lease).await?;
    retry::passing_faults(|| counters::reset(database, lease, today)).await?;
    let first_event = retry::passing_faults(|| lookup::first_day_with_events(database)).await?;
    let states = retry::passing_faults(|| lookup::day_states(database)).await?;
    let now = Utc::now();
    let dates = |is: &dyn Fn(&RollupDay) -> bool| states.iter().filter(|day| is(day)).map(|day| day.date).collect();
    let settled = dates(&|day| schedule::is_settled(day, now));
    let due = Due {
        days: due_days(first_event, today, &settled),
        today: first_event.is_some_and(|first| first <= today).then_some(today),
        given_up: dates(&schedule::is_given_up),
        closing: dates(&|day| day.sealed_at.is_some()),
    };
    for day in schedule::days_of_a_pass(work, due) {
        if Utc::now() >= next_night {
            tracing::info!(%day, "the schedule fired: this day and older ones wait for the night's pass");
            break;
        }
        match rollup.day(lease, day).await {
            Ok(Rolled { inputs, took, provisional, .. }) => {
                let Inputs { tool_usage, activity, health_checks, unreadable } = inputs;
                tracing::info!(%day, tool_usage, activity, health_checks, unreadable, %took, provisional, "rolled up");
            }
            Err(error) if retention::is_refused(&error) => {
                tracing::warn!(%day, reason = mongo::in_words(&error), "not rolled up; it is not tried again");
            }
            // One bad day must not stop the others; but without the server they would only wait as long again.
            Err(error) if retry::is_passing(&error) || lease::is_taken_over(&error) => return Err(error),
            Err(error) => tracing::error!(%day, error = mongo::in_words(&error), "not rolled up"),
        }
    }
    Ok(())
}

/// Seals each day that was rolled up and of which events expire soon: its numbers are final before they could change. What ingest
/// accepted before it sees the seal is still counted, for the seal lies ahead. A day for which it is too late keeps its numbers.
async fn seal_what_expires(rollup: &Rollup, lease: &Held) -> anyhow::Result<()> {
    let database = &rollup.database;
    let retention = retry::passing_faults(|| lookup::retention(database)).await?;
    let states = retry::passing_faults(|| lookup::day_states(database)).await?;
    for known in states.iter().filter(|known| known.sealed_at.is_none()) {
        let (day, now) = (known.date, Utc::now());
        let at = match retention.fate(day, Some(known), now) {
            Fate::Seal(_) if retention::was_rolled(known) => now + SEAL_GRACE,
            Fate::Lost(sources) => {
                let (expired, has_late_events) = (retention::names(&sources), known.dirty_since.is_some());
                tracing::warn!(%day, expired, has_late_events, "sealed too late: its late events, if any, are not counted");
                now
            }
            Fate::Seal(_) | Fate::Open(_) => continue,
        };
        retry::passing_faults(|| publish::seal(database, lease, day, at.into())).await?;
        tracing::info!(%day, %at, "sealed: ingest refuses its events, and its numbers are final from then on");
    }
    Ok(())
}

async fn sleep_until(wake: DateTime<Utc>) {
    while let Ok(left) = (wake - Utc::now()).to_std() {
        tokio::time::sleep(left.min(CLOCK_CHECK)).await;
    }
}
