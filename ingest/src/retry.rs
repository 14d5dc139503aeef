//! How long to wait before something that failed is tried again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// The longest pause between two tries: short enough that full rate is back within seconds of an outage's end.
pub const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

/// Pauses between tries: doubling from 100 ms, with jitter so that workers do not come back all at once, without end.
pub fn retry_delays() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(MAX_RETRY_DELAY)
        .with_jitter()
        .without_max_times()
        .build()
}
