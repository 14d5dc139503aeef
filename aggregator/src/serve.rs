//! Keeps every day rolled up: missed nights at the start, the day before when the schedule fires, and in between the days
//! that late events came for, and the day that is not over yet.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use common::day::Day;
use common::documents::rollup_day::Inputs;
use common::mongo;
use tokio_util::sync::CancellationToken;

use crate::lease::{self, Held};
use crate::rollup::{Rolled, Rollup};
use crate::schedule::{self, Schedule, due_days};
use crate::{counters, lookup, metrics, retry};

/// The wall clock is asked this often: a timer alone would be late after the machine slept or its clock was set.
const CLOCK_CHECK: Duration = Duration::from_secs(20);

/// A pass by day is at most a tenth of all time, however large today is.
const REST_PER_WORK: u32 = 9;

/// Works until `shutdown`; a day that is being rolled up then is dropped, which harms nothing. `refresh` is the time
/// between two looks at late days and at today.
pub async fn serve(rollup: &Rollup, schedule: &Schedule, refresh: Duration, shutdown: &CancellationToken) {
    let work = async {
        // At the start it is night: whatever was missed is due.
        let mut night = Utc::now();
        loop {
            let started = Instant::now();
            let is_night = Utc::now() >= night;
            let is_done = pass(rollup, is_night).await;
            // A night that failed as a whole, without a server, is not over.
            if is_night && is_done {
                night = schedule.next_after(Utc::now());
            }
            metrics::next_run(schedule.next_after(Utc::now()));
            let rest = refresh.max(started.elapsed() * REST_PER_WORK);
            let wake = (Utc::now() + rest).min(schedule.next_after(Utc::now()));
            tracing::debug!(%wake, "waiting");
            sleep_until(wake).await;
        }
    };
    shutdown.run_until_cancelled(work).await;
}

/// Does what is due, while no other aggregator does. False when MongoDB was away, or another took over.
async fn pass(rollup: &Rollup, is_night: bool) -> bool {
    let lease = match retry::passing_faults(|| lease::acquire(&rollup.database)).await {
        Ok(lease) => lease,
        Err(error) => {
            tracing::error!(error = mongo::in_words(&error), "the lease could not be taken");
            return false;
        }
    };
    let result = roll_what_is_due(rollup, &lease, is_night).await;
    lease.release().await;
    result.inspect_err(|error| tracing::error!(error = mongo::in_words(error), "not everything was done")).is_ok()
}

/// Rolls every due day up, newest first, then today.
async fn roll_what_is_due(rollup: &Rollup, lease: &Held, is_night: bool) -> anyhow::Result<()> {
    let database = &rollup.database;
    let today = Day::today();
    retry::passing_faults(|| counters::reset(database, lease, today)).await?;
    let first_event = retry::passing_faults(|| lookup::first_day_with_events(database)).await?;
    let states = retry::passing_faults(|| lookup::day_states(database)).await?;
    let settled = states.iter().filter(|day| schedule::is_settled(day)).map(|day| day.date).collect();
    let due = due_days(first_event, today, &settled);
    let given_up = |day: &Day| states.iter().any(|known| known.date == *day && schedule::is_given_up(known));
    let provisional = first_event.is_some_and(|first| first <= today).then_some(today);
    for day in due.into_iter().filter(|day| is_night || !given_up(day)).chain(provisional) {
        match rollup.day(lease, day).await {
            Ok(Rolled { inputs, took, provisional, .. }) => {
                let Inputs { tool_usage, activity, health_checks, unreadable } = inputs;
                tracing::info!(%day, tool_usage, activity, health_checks, unreadable, %took, provisional, "rolled up");
            }
            // One bad day must not stop the others; but without the server they would only wait as long again.
            Err(error) if retry::is_passing(&error) || lease::is_taken_over(&error) => return Err(error),
            Err(error) => tracing::error!(%day, error = mongo::in_words(&error), "not rolled up"),
        }
    }
    Ok(())
}

async fn sleep_until(wake: DateTime<Utc>) {
    while let Ok(left) = (wake - Utc::now()).to_std() {
        tokio::time::sleep(left.min(CLOCK_CHECK)).await;
    }
}
