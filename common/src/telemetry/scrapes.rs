//! The text of `/metrics`. Making it takes the longer the more series there are, so asking for it again and again must not
//! take the CPU from the program's work.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::metrics;

/// After a text was made, the next one waits this many times as long: at most a tenth of a core is spent.
const REST: u32 = 9;
/// One text that took unusually long, on a busy machine, does not hold up the next scrape for longer.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Makes the text, once at a time.
pub(super) struct Scrapes {
    recorder: PrometheusHandle,
    /// When the next text may be made.
    next: Mutex<Instant>,
}

impl Scrapes {
    pub(super) fn of(recorder: PrometheusHandle) -> Self {
        Self { recorder, next: Mutex::new(Instant::now()) }
    }

    /// The text as it is now. It is made anew for each request: a text of before would hide what has just happened.
    pub(super) async fn text(&self) -> String {
        let mut next = self.next.lock().await;
        tokio::time::sleep_until(*next).await;
        let start = Instant::now();
        metrics::collect_process();
        let text = self.recorder.render();
        *next = Instant::now() + (start.elapsed() * REST).min(LONGEST_REST);
        text
    }
}
