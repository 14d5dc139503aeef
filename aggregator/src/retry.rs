//! Waits out what passes: a failover, a lost connection, a server that restarts.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use common::mongo;
use mongodb::error::{Error, ErrorKind, WriteFailure};

use crate::metrics;

const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// With the delays between them about half a minute, which an election takes at most.
const RETRIES: usize = 6;

/// Two writers that insert the same document: the second finds it on the next attempt.
const DUPLICATE_KEY: i32 = 11000;

/// A write that MongoDB reports inside of an answer that is one of success.
#[derive(Debug, thiserror::Error)]
#[error("MongoDB did not take it: {why} (code {code})")]
pub struct NotTaken {
    /// The server's code.
    pub code: i32,
    /// Its words, without values.
    pub why: String,
}

/// The write is done, and not yet acknowledged by as many members as were asked for.
const WRITE_CONCERN_FAILED: i32 = 64;

impl NotTaken {
    fn is_passing(&self) -> bool {
        self.code == WRITE_CONCERN_FAILED || mongo::is_passing_code(self.code)
    }
}

/// Runs `step`, which must be safe to repeat, until it succeeds, fails for good, or has failed too often.
///
/// # Errors
/// The last error of `step`.
pub async fn passing_faults<T, Fut>(step: impl FnMut() -> Fut) -> anyhow::Result<T>
where
    Fut: Future<Output = anyhow::Result<T>>,
{
    let delays = ExponentialBuilder::default().with_min_delay(FIRST_DELAY).with_max_delay(LONGEST_DELAY);
    with_delays(delays.with_jitter(), step).await
}

async fn with_delays<T, Fut>(delays: ExponentialBuilder, step: impl FnMut() -> Fut) -> anyhow::Result<T>
where
    Fut: Future<Output = anyhow::Result<T>>,
{
    let mut attempt = 0;
    step.retry(delays.with_max_times(RETRIES))
        .when(is_passing)
        .notify(|error, delay| {
            metrics::retried();
            attempt += 1;
            tracing::warn!(error = mongo::in_words(error), attempt, ?delay, "trying again");
        })
        .await
}

/// Whether the same step may succeed later.
pub fn is_passing(error: &anyhow::Error) -> bool {
    if error.chain().filter_map(|cause| cause.downcast_ref::<NotTaken>()).any(NotTaken::is_passing) {
        return true;
    }
    error.chain().filter_map(|cause| cause.downcast_ref::<Error>()).any(|error| {
        mongo::is_passing(error)
            || matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(write)) if write.code == DUPLICATE_KEY)
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const AT_ONCE: ExponentialBuilder =
        ExponentialBuilder::new().with_min_delay(Duration::ZERO).with_max_delay(Duration::ZERO);

    fn lost_connection() -> anyhow::Error {
        Error::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset)).into()
    }

    #[tokio::test]
    async fn a_lost_connection_is_tried_again_and_a_wrong_document_is_not() {
        let attempts = Cell::new(0);
        let count = |error: fn() -> anyhow::Error| {
            let attempts = &attempts;
            move || {
                attempts.set(attempts.get() + 1);
                async move { if attempts.get() < 3 { Err(error()) } else { Ok(()) } }
            }
        };
        with_delays(AT_ONCE, count(lost_connection)).await.unwrap();
        assert_eq!(attempts.take(), 3);
        with_delays(AT_ONCE, count(|| anyhow::anyhow!("not a document"))).await.unwrap_err();
        assert_eq!(attempts.take(), 1);
    }

    #[tokio::test]
    async fn it_ends() {
        let attempts = Cell::new(0);
        let never = || {
            attempts.set(attempts.get() + 1);
            async { Err::<(), _>(lost_connection().context("reading")) }
        };
        with_delays(AT_ONCE, never).await.unwrap_err();
        assert_eq!(attempts.get(), 1 + RETRIES);
    }
}
