//! Waiting for something to become true, instead of sleeping and hoping.

use std::time::{Duration, Instant};

/// How long a test waits for what must come: much longer than that takes, for many tests share a machine.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Asks `probe` again and again until it has an answer, which is returned.
///
/// # Panics
/// When there is none after `deadline`; the message says that `what` did not come.
pub async fn eventually<T>(deadline: Duration, what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    const LONGEST_PAUSE: Duration = Duration::from_millis(200);
    let start = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(start.elapsed() < deadline, "after {deadline:?} still no {what}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
