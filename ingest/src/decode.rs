//! From a Kafka message to a document in the batch, or to a dead letter in it.

use common::event::{self, Accepted, Event, Invalid, Timestamp};
use common::settings;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};

use crate::batch::{Batch, Origin};
use crate::dead_letter::{DeadLetter, Stage};
use crate::metrics;
use crate::offsets::Partition;
use crate::presence::Presence;
use crate::throttle::{Rates, Throttle};
use crate::tools::ToolSeries;

/// Decides about every message, and counts what the live dashboards show.
pub struct Decoder {
    settings: settings::Ingest,
    now: Timestamp,
    throttle: Throttle,
    presence: Presence,
    tools: ToolSeries,
}

impl Decoder {
    /// With the limits of the settings.
    pub fn new(settings: settings::Ingest, tools: ToolSeries) -> Self {
        Self { settings, now: Timestamp::now(), throttle: Throttle::default(), presence: Presence::default(), tools }
    }

    /// Looks at the clock. Between two looks the same moment decides: a round takes milliseconds, the limits are minutes.
    pub fn look_at_clock(&mut self) {
        self.now = Timestamp::now();
    }

    /// Takes other rates over.
    pub fn set_rates(&mut self, rates: Rates) {
        self.throttle.set(rates);
    }

    /// How long the next message must wait before it may be read; none when it need not.
    pub fn wait(&self) -> Option<std::time::Duration> {
        self.throttle.wait()
    }

    /// Adds a message to the batch.
    pub fn take(&mut self, batch: &mut Batch, message: &BorrowedMessage<'_>) {
        match self.decode(message) {
            Ok(event) => {
                self.presence.note(&event, message.partition(), self.now);
                self.tools.note(&event);
                batch.push(&event, Origin { partition: message.partition(), offset: message.offset() });
            }
            Err(invalid) => batch.reject(DeadLetter::new(message, Stage::Decode, invalid.reason, invalid.to_string())),
        }
    }

    fn decode<'a>(&self, message: &'a BorrowedMessage<'_>) -> Result<Event<'a>, Box<Invalid>> {
        let headers =
            message.headers().into_iter().flat_map(|headers| headers.iter().map(|header| (header.key, header.value)));
        let event = event::Message { value: message.payload(), headers }.decode()?;
        Accepted::at(self.now, self.settings.max_age, self.settings.max_future).check(&event)?;
        self.throttle.check(&event, self.now)?;
        Ok(event)
    }

    /// The partition is somebody else's from now on.
    pub fn forget_partition(&mut self, partition: Partition) {
        self.presence.forget_partition(partition);
    }

    /// What is due every few seconds: gauges are set, what is over is forgotten, changed tools are taken over.
    pub fn tidy(&mut self) {
        self.look_at_clock();
        metrics::active_users(self.presence.count(self.now));
        self.throttle.forget_quiet_tools();
        self.tools.refresh();
    }
}
