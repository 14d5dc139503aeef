//! From a Kafka message to a document in the batch, or to a dead letter in it.

use std::sync::Arc;

use common::event::{Accepted, Event, Invalid, Reason, Timestamp, Traceparent};
use common::sealed_days::SealedDays;
use common::size::Size;
use common::tombstones::Tombstones;
use common::{kafka, settings};
use rdkafka::Message;
use rdkafka::message::BorrowedHeaders;
use tokio::sync::watch;
use tracing::field::display;

use crate::batch::Batch;
use crate::dead_letter::{DeadLetter, Stage};
use crate::metrics;
use crate::offsets::{Origin, Partition};
use crate::presence::Presence;
use crate::throttle::{Rates, Throttle};
use crate::tools::ToolSeries;

/// Decides about every message, and counts what the live dashboards show.
pub struct Decoder {
    settings: settings::Ingest,
    retention: settings::Retention,
    now: Timestamp,
    throttle: Throttle,
    presence: Presence,
    tools: ToolSeries,
    sealed: watch::Receiver<Arc<SealedDays>>,
    /// Only events before this time, milliseconds, can be of a sealed day: the end of the last one.
    sealed_until: i64,
    erased: watch::Receiver<Arc<Tombstones>>,
    /// What `erased` held at the last look at the clock.
    tombstones: Arc<Tombstones>,
}

impl Decoder {
    /// With the limits of the settings.
    pub fn new(
        settings: settings::Ingest,
        retention: settings::Retention,
        tools: ToolSeries,
        sealed: watch::Receiver<Arc<SealedDays>>,
        mut erased: watch::Receiver<Arc<Tombstones>>,
    ) -> Self {
        let tombstones = Arc::clone(&erased.borrow_and_update());
        let mut decoder = Self {
            settings,
            retention,
            now: Timestamp::now(),
            throttle: Throttle::default(),
            presence: Presence::default(),
            tools,
            sealed,
            sealed_until: i64::MIN,
            erased,
            tombstones,
        };
        decoder.look_at_sealed_days();
        decoder
    }

    fn look_at_sealed_days(&mut self) {
        self.sealed_until = self.sealed.borrow_and_update().end();
    }

    /// Looks at the clock. Between two looks the same moment decides: a round takes milliseconds, the limits are minutes.
    pub fn look_at_clock(&mut self) {
        self.now = Timestamp::now();
        if self.sealed.has_changed().unwrap_or(false) {
            self.look_at_sealed_days();
        }
        if self.erased.has_changed().unwrap_or(false) {
            self.tombstones = Arc::clone(&self.erased.borrow_and_update());
        }
    }

    /// Takes other rates over.
    pub fn set_rates(&mut self, rates: Rates) {
        self.throttle.set(rates);
    }

    /// How long the next message must wait before it may be read; none when it need not.
    pub fn wait(&mut self) -> Option<std::time::Duration> {
        self.throttle.wait()
    }

    /// Whether the rate of all events is limited.
    pub fn is_limited(&self) -> bool {
        self.throttle.is_limited()
    }

    /// Adds a message to the batch.
    pub fn take(&mut self, batch: &mut Batch, message: &impl Message<Headers = BorrowedHeaders>) {
        self.throttle.message_read();
        let (partition, offset) = (message.partition(), message.offset());
        match self.decode(message) {
            Ok(None) => batch.read_to(partition, offset + 1),
            Ok(Some(event)) => {
                let trace_id = |traceparent: Traceparent| display(traceparent.trace_id());
                tracing::debug!(partition, offset, trace_id = event.traceparent.map(trace_id), "accepted");
                self.presence.note(&event, partition, self.now);
                self.tools.note(&event);
                metrics::accepted(&event);
                batch.push(&event, Origin { partition, offset });
            }
            Err(invalid) => {
                self.reject(batch, message, &invalid);
            }
        }
    }

    /// Refuses a message whose headers cannot be read: what they say of it would be lost without a word.
    pub fn refuse_unreadable_headers(&mut self, batch: &mut Batch, message: &impl Message<Headers = BorrowedHeaders>) {
        self.throttle.message_read();
        let problem = "are more than 100000, or cannot be read; the letter has none of them";
        self.reject(batch, message, &Invalid::at("headers", Reason::TooLarge, problem));
    }

    fn reject(&self, batch: &mut Batch, message: &impl Message<Headers = BorrowedHeaders>, invalid: &Invalid) {
        self.tools.note_refused(message.payload().unwrap_or_default());
        batch.reject(DeadLetter::new(message, Stage::Decode, invalid.reason, invalid.to_string()));
    }

    /// The event of a message; none when the event is of an erased person.
    fn decode<'a>(
        &self,
        message: &'a impl Message<Headers = BorrowedHeaders>,
    ) -> Result<Option<Event<'a>>, Box<Invalid>> {
        Size::of(message).check(self.settings.max_message_bytes)?;
        let event = kafka::as_sent(message).decode()?;
        // Before every other rule: a dead letter would keep the event.
        if self.tombstones.contains_event(&event) {
            metrics::suppressed(&event);
            return Ok(None);
        }
        let accepted = Accepted::at(self.now, self.settings.max_age, self.settings.max_future);
        accepted.kept(self.retention).check(&event)?;
        if event.time.millis() < self.sealed_until {
            self.sealed.borrow().check(event.time)?;
        }
        self.throttle.check(&event, arrived(message), self.now)?;
        Ok(Some(event))
    }

    /// The partition is somebody else's from now on.
    pub fn forget_partition(&mut self, partition: Partition) {
        self.presence.forget_partition(partition);
    }

    /// What is due every few seconds: gauges are set, what is over is forgotten, changed tools are taken over.
    pub fn tidy(&mut self) {
        self.look_at_clock();
        metrics::active_users(self.presence.count(self.now));
        metrics::tombstones(self.tombstones.len());
        self.throttle.forget_the_quiet();
        self.tools.refresh();
    }
}

/// When the broker took the message; none where the topic keeps the sender's time.
fn arrived(message: &impl Message) -> Option<Timestamp> {
    match message.timestamp() {
        rdkafka::Timestamp::LogAppendTime(millis) => Some(Timestamp::from_millis(millis)),
        rdkafka::Timestamp::CreateTime(_) | rdkafka::Timestamp::NotAvailable => None,
    }
}
