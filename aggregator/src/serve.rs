//! Keeps every finished day rolled up: at the start, and whenever the schedule fires.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use common::day::Day;
use common::documents::rollup_day::Inputs;
use tokio_util::sync::CancellationToken;

use crate::rollup::{Rolled, Rollup};
use crate::schedule::{Schedule, due_days};
use crate::{lookup, metrics, retry};

/// The wall clock is asked this often: a timer alone would be late after the machine slept or its clock was set.
const CLOCK_CHECK: Duration = Duration::from_secs(20);

/// Works until `shutdown`; a day that is being rolled up then is dropped, which harms nothing.
pub async fn serve(rollup: &Rollup, schedule: &Schedule, shutdown: &CancellationToken) {
    let work = async {
        loop {
            let left_undone = catch_up(rollup).await;
            let wake = schedule.next_wake(Utc::now(), left_undone);
            metrics::next_run(schedule.next_after(Utc::now()));
            tracing::info!(%wake, left_undone, "waiting");
            sleep_until(wake).await;
        }
    };
    shutdown.run_until_cancelled(work).await;
}

/// Rolls every due day up, newest first. True when days are left that should be tried again soon.
async fn catch_up(rollup: &Rollup) -> bool {
    let due = match retry::passing_faults(|| due(rollup)).await {
        Ok(due) => due,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the due days could not be found");
            return true;
        }
    };
    metrics::days_due(due.len());
    let mut left = due.len();
    for day in due {
        match rollup.day(day).await {
            Ok(Rolled { inputs, took, .. }) => {
                let Inputs { tool_usage, activity, health_checks, unreadable } = inputs;
                tracing::info!(%day, tool_usage, activity, health_checks, unreadable, ?took, "rolled up");
                left -= 1;
            }
            Err(error) => {
                tracing::error!(%day, error = format!("{error:#}"), "not rolled up");
                // One bad day must not stop the others; but without the server they would only wait as long again.
                if retry::is_passing(&error) {
                    break;
                }
            }
        }
        metrics::days_due(left);
    }
    left > 0
}

async fn due(rollup: &Rollup) -> anyhow::Result<Vec<Day>> {
    let rolled: BTreeSet<Day> = lookup::rolled_days(&rollup.database).await?;
    let first_event = lookup::first_day_with_events(&rollup.database).await?;
    Ok(due_days(first_event, Day::today(), &rolled))
}

async fn sleep_until(wake: DateTime<Utc>) {
    while let Ok(left) = (wake - Utc::now()).to_std() {
        tokio::time::sleep(left.min(CLOCK_CHECK)).await;
    }
}
