//! Ends a program whose own loop stands still, so that whatever keeps it running starts it again. Why, and why so late:
//! docs/decisions/0012-a-program-whose-loop-stands-still-ends-itself.md.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How often a watchdog looks. It counts its own looks instead of asking a clock: a process that was stopped (SIGSTOP) or a
/// machine that slept stops its watchdogs as well, and finds itself as patient as before.
const LOOK: Duration = Duration::from_secs(1);

/// How long the async runtime may stand still. Nothing in it may block.
const RUNTIME_PATIENCE: u32 = 60;

/// The sign of life of a loop. Its watchdog ends when it is dropped.
#[derive(Debug, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// The loop has come round again.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Watches the runtime that this is called on: the process ends when no task of it has run for a minute.
///
/// # Errors
/// The thread cannot be started.
pub fn watch_runtime() -> io::Result<()> {
    let heartbeat = watch("async runtime", RUNTIME_PATIENCE)?;
    tokio::spawn(beat_each(LOOK, heartbeat));
    Ok(())
}

/// Watches the loop that the heartbeat is given to: the process ends when it has not beaten for `seconds`.
///
/// # Errors
/// The thread cannot be started.
pub fn watch(name: &'static str, seconds: u32) -> io::Result<Heartbeat> {
    let heartbeat = Heartbeat::default();
    let watched = Arc::downgrade(&heartbeat.0);
    let watch = move || {
        if !stands_still(&watched, LOOK, seconds) {
            return;
        }
        // On a thread of its own, and not by the log: what stands still may hold the lock of either.
        std::thread::spawn(move || {
            crate::error_line!(
                "error: the {name} has stood still for {seconds} s; this program ends itself, so that it is started again. Nothing is lost. Keep this log, and the core file where there is one, for whoever repairs it"
            );
        });
        std::thread::sleep(LOOK);
        // No destructor is run: it may wait for what stands still.
        std::process::abort();
    };
    std::thread::Builder::new().name("watchdog".to_owned()).spawn(watch)?;
    Ok(heartbeat)
}

async fn beat_each(interval: Duration, heartbeat: Heartbeat) {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        heartbeat.beat();
    }
}

/// Returns true when the loop has not beaten between so many looks in turn, and false when the loop has ended.
fn stands_still(heartbeat: &Weak<AtomicU64>, look: Duration, most: u32) -> bool {
    let mut last = 0;
    let mut still = 0;
    while still < most {
        std::thread::sleep(look);
        let Some(heartbeat) = heartbeat.upgrade() else { return false };
        let now = heartbeat.load(Ordering::Relaxed);
        still = if now == last { still + 1 } else { 0 };
        last = now;
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};

    use super::*;

    const SOON: Duration = Duration::from_millis(10);

    #[test]
    fn a_runtime_that_is_blocked_is_noticed_and_one_that_waits_is_not() -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let heartbeat = Heartbeat::default();
        let watched = Arc::downgrade(&heartbeat.0);
        runtime.spawn(beat_each(SOON, heartbeat));
        let (tell, told) = channel();
        std::thread::spawn(move || tell.send(stands_still(&watched, SOON, 500)));
        assert_eq!(told.recv_timeout(Duration::from_secs(2)), Err(RecvTimeoutError::Timeout), "all is well");
        let (release, released) = channel::<()>();
        // What must not happen: a task that blocks the only worker.
        runtime.spawn(async move { released.recv() });
        assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok(true));
        drop(release);
        Ok(())
    }

    #[test]
    fn a_loop_that_has_ended_does_not_stand_still() {
        let heartbeat = Heartbeat::default();
        let watched = Arc::downgrade(&heartbeat.0);
        drop(heartbeat);
        assert!(!stands_still(&watched, SOON, 2));
    }
}
