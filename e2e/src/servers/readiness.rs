//! Waiting until a server that was just started really answers.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::process::{Process, describe, log_tail};

/// How long a server may take from its start to its first answer, on a machine that is busy with other tests.
const DEADLINE: Duration = Duration::from_secs(180);

/// Waits until something listens on `port`.
///
/// # Errors
/// When the process ends first (with the end of its log), or the deadline passes.
pub async fn listening(process: &mut Process, what: &str, port: u16) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        if let Some(status) = process.exited()? {
            bail!("{what} ended with {} instead of starting; {}", describe(status), log_tail(process.log()));
        }
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return Ok(());
        }
        if start.elapsed() > DEADLINE {
            bail!("{what} does not listen on port {port} after {DEADLINE:?}; {}", log_tail(process.log()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until `probe` answers with something; its errors are only reported when the deadline passes.
///
/// # Errors
/// When the deadline passes, with the last answer and the end of `log`.
pub async fn answering<T>(
    what: &str,
    log: &Path,
    mut probe: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        let answer = probe().await;
        if let Ok(Some(found)) = answer {
            return Ok(found);
        }
        if start.elapsed() > DEADLINE {
            let last = answer.err().map_or_else(|| "not yet".to_owned(), |error| format!("{error:#}"));
            bail!("{what} is not ready after {DEADLINE:?} (it last said: {last}); {}", log_tail(log));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
