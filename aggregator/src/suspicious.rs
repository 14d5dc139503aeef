//! Counts failed logins, and the accounts and addresses with bursts of them, for the metrics. Who they are is asked with
//! `admin suspicious`: neither accounts nor addresses belong into a label or a log.

use std::time::Duration;

use chrono::Utc;
use common::settings::Security;
use common::suspicious::{self, Suspicion, WINDOW};
use mongodb::Database;
use mongodb::error::Error;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::metrics;

const INTERVAL: Duration = Duration::from_secs(15);

/// Less than [`INTERVAL`], so that a server that cannot keep up is not asked twice at a time.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// What the last [`WINDOW`] shows.
///
/// # Errors
/// MongoDB fails, or needs longer than 10 seconds.
pub async fn now(database: &Database, thresholds: &Security) -> Result<Suspicion, Error> {
    suspicious::find(database, Utc::now() - WINDOW, thresholds, TIME_LIMIT).await
}

/// Keeps the metrics up to date until `shutdown`, whichever aggregator holds the lease. In a flood that MongoDB cannot count
/// in time they stay where they were on its way up.
pub async fn watch(database: &Database, thresholds: &Security, shutdown: &CancellationToken) {
    let work = async {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match now(database, thresholds).await {
                Ok(found) => metrics::suspicion(&found),
                Err(error) => {
                    tracing::warn!(error = common::mongo::reason(&error), "failed logins could not be counted")
                }
            }
        }
    };
    shutdown.run_until_cancelled(work).await;
}
