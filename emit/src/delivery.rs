//! What became of each event: counted, and told when it is bad news.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use serde::Serialize;

/// How often the log may say the same thing at most.
const BETWEEN_LOG_LINES: Duration = Duration::from_secs(10);

/// Trouble with connections within this time of the start is not logged.
const SHORT_TROUBLE: Duration = Duration::from_secs(15);

/// What became of the events so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Acknowledged by all in-sync replicas.
    pub delivered: u64,
    /// Taken into the queue, then given up: no broker took them in time, or one refused them.
    pub failed: u64,
    /// Turned away at once because the queue was full or the producer unusable.
    pub not_sent: u64,
    /// Turned away at once because ingest would not take them.
    pub refused: u64,
    /// In the queue or on their way.
    pub waiting: u64,
}

/// An event that was taken into the queue and could not be delivered.
#[derive(Debug)]
pub struct Undelivered<'a> {
    /// Its Kafka key.
    pub key: &'a [u8],
    /// Its JSON: a tool may keep it and send it later.
    pub value: &'a [u8],
    /// Why.
    pub error: &'a KafkaError,
}

/// Called on the emitter's own thread for each event that could not be delivered; must not block.
pub type OnUndelivered = dyn Fn(&Undelivered<'_>) + Send + Sync;

/// The counters behind [`Counts`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) queued: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) not_sent: AtomicU64,
    pub(crate) refused: AtomicU64,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        // Those done are read before those queued: the other way round an event could be done and not yet queued.
        let (delivered, failed) = (read(&self.delivered), read(&self.failed));
        let waiting = read(&self.queued).saturating_sub(delivered + failed);
        Counts { delivered, failed, not_sent: read(&self.not_sent), refused: read(&self.refused), waiting }
    }
}

/// What librdkafka calls back.
pub(crate) struct Reports {
    pub(crate) counters: Arc<Counters>,
    pub(crate) on_undelivered: Option<Box<OnUndelivered>>,
    undelivered_log: Occasionally,
    connection_log: Occasionally,
}

impl Reports {
    pub(crate) fn new(counters: Arc<Counters>, on_undelivered: Option<Box<OnUndelivered>>) -> Self {
        Self {
            counters,
            on_undelivered,
            undelivered_log: Occasionally::from_now(Duration::ZERO),
            // A broker that is just being started, or asked for by `Emitter::check`, is no news yet.
            connection_log: Occasionally::from_now(SHORT_TROUBLE),
        }
    }
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reports").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl ClientContext for Reports {
    // librdkafka logs the same troubles that it reports as errors.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(left_out) = self.connection_log.ask() {
            tracing::warn!(%error, why = reason, left_out, "Kafka is in trouble");
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let (error, message) = match result {
            Ok(_) => {
                self.counters.delivered.fetch_add(1, Ordering::Release);
                return;
            }
            Err((error, message)) => (error, message),
        };
        self.counters.failed.fetch_add(1, Ordering::Release);
        if let Some(left_out) = self.undelivered_log.ask() {
            tracing::warn!(%error, left_out, "an event was not delivered");
        }
        if let Some(on_undelivered) = &self.on_undelivered {
            let (key, value) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
            on_undelivered(&Undelivered { key, value, error });
        }
    }
}

/// Lets one log line through in a while, and knows how many it held back.
#[derive(Debug)]
struct Occasionally {
    start: Instant,
    /// Milliseconds after `start`.
    next: AtomicI64,
    left_out: AtomicU64,
}

impl Occasionally {
    /// The first line comes `silence` from now at the earliest.
    fn from_now(silence: Duration) -> Self {
        Self { start: Instant::now(), next: AtomicI64::new(silence.as_millis() as i64), left_out: AtomicU64::new(0) }
    }

    /// How many were left out since the last one, when it is time for another.
    fn ask(&self) -> Option<u64> {
        let now = self.start.elapsed().as_millis() as i64;
        let next = self.next.load(Ordering::Relaxed);
        let after = now + BETWEEN_LOG_LINES.as_millis() as i64;
        if now < next || self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_a_while_says_how_many_were_left_out() {
        let mut log = Occasionally::from_now(Duration::ZERO);
        assert_eq!(log.ask(), Some(0));
        assert_eq!([log.ask(), log.ask(), log.ask()], [None, None, None]);
        log.start -= BETWEEN_LOG_LINES;
        assert_eq!(log.ask(), Some(3));
        assert_eq!(log.ask(), None);
    }
}
