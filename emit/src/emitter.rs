//! Sending events without ever making the tool wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::event::{Accepted, Event, Invalid, Timestamp};
use common::settings::{self, Settings};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use crate::delivery::{Counters, Counts, OnUndelivered, Reports, Undelivered};

/// Marks a message as one whole CloudEvent in JSON.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// How an [`Emitter`] works. Everything but `kafka` has a default that suits a tool.
pub struct EmitterOptions {
    /// Where to: brokers, topic, security.
    pub kafka: settings::Kafka,
    /// Which events are too old for ingest.
    pub max_age: Duration,
    /// How long events are kept: an older one is too old, too.
    pub retention: settings::Retention,
    /// Which are too far ahead of the clock for it.
    pub max_future: Duration,
    /// Most events in the queue; more are not sent. The default, 100,000, is some 80 MB.
    pub queue_events: u32,
    /// Most bytes in the queue, in KiB. 64 MiB unless told otherwise.
    pub queue_kib: u32,
    /// How long an event may wait for its acknowledgement before it counts as failed. 2 minutes unless told otherwise.
    pub delivery_timeout: Duration,
    /// Called for each event that was not delivered in that time, on the emitter's own thread; must not block.
    pub on_undelivered: Option<Box<OnUndelivered>>,
}

impl EmitterOptions {
    /// The same with `callback` for each event that was not delivered.
    #[must_use]
    pub fn on_undelivered(mut self, callback: impl Fn(&Undelivered<'_>) + Send + Sync + 'static) -> Self {
        self.on_undelivered = Some(Box::new(callback));
        self
    }
}

impl From<&settings::Kafka> for EmitterOptions {
    fn from(kafka: &settings::Kafka) -> Self {
        let settings::Ingest { max_age, max_future, .. } = settings::Ingest::default();
        Self {
            kafka: kafka.clone(),
            max_age,
            retention: settings::Retention::default(),
            max_future,
            queue_events: 100_000,
            queue_kib: 64 * 1_024,
            delivery_timeout: Duration::from_secs(120),
            on_undelivered: None,
        }
    }
}

impl From<&Settings> for EmitterOptions {
    fn from(settings: &Settings) -> Self {
        let settings::Ingest { max_age, max_future, .. } = settings.ingest;
        Self { max_age, max_future, retention: settings.retention, ..Self::from(&settings.kafka) }
    }
}

/// Why an emitter cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// librdkafka does not take the settings.
    #[error("the Kafka settings cannot be used: {0}")]
    Settings(#[source] KafkaError),
    /// No broker answers.
    #[error(
        "Kafka at {brokers} does not answer: {error}; check that it runs and that kafka.brokers (DEVTOOLKIT__KAFKA__BROKERS) is right"
    )]
    Unreachable {
        /// Those that were asked.
        brokers: String,
        /// What librdkafka says.
        error: KafkaError,
    },
    /// The topic is not there.
    #[error("topic {topic} does not exist on Kafka at {brokers}; run `admin migrate`, which creates it")]
    NoTopic {
        /// The topic.
        topic: String,
        /// Those that were asked.
        brokers: String,
    },
}

/// Why an event was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Ingest would refuse it: a mistake of whoever made it.
    #[error("{0}")]
    Invalid(#[from] Box<Invalid>),
    /// As many events wait as may: Kafka is away, or slower than they come.
    #[error("the queue is full: Kafka is slower than the events come, or away")]
    QueueFull,
    /// Larger than a message may be.
    #[error("the event has {bytes} bytes, more than Kafka takes in one message")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Kafka's producer does not take it: the topic is not there, or the producer has ended for good and only a new
    /// [`Emitter`] can go on.
    #[error("Kafka's producer does not take it: {0}")]
    Producer(#[source] KafkaError),
}

/// Sends events to Kafka in the background. Cheap to share: every method takes `&self`, put it into an `Arc`.
///
/// [`Emitter::emit`] never blocks. What waits is bounded; what does not fit is refused and counted. A dropped emitter gives up
/// what still waits, so [`Emitter::flush`] first.
pub struct Emitter {
    // A thread of its own takes the delivery reports: a tool that emits nothing for an hour still learns of the last ones.
    producer: ThreadedProducer<Reports>,
    counters: Arc<Counters>,
    kafka: settings::Kafka,
    max_age: Duration,
    retention: settings::Retention,
    max_future: Duration,
}

impl Emitter {
    /// An emitter, at once: connections are made in the background, and made again for as long as it lives.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let settings = common::settings::Settings::load(None)?;
    /// let emitter = emit::Emitter::connect(&settings)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Unusable::Settings`]. Whether Kafka answers is for [`Emitter::check`] to say.
    pub fn connect(options: impl Into<EmitterOptions>) -> Result<Self, Unusable> {
        let EmitterOptions {
            kafka,
            max_age,
            retention,
            max_future,
            queue_events,
            queue_kib,
            delivery_timeout,
            on_undelivered,
        } = options.into();
        let counters = Arc::new(Counters::default());
        let producer = common::kafka::client_config(&kafka)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.codec", "lz4")
            .set("linger.ms", "20")
            // As Kafka's Java client and kafkajs place a key: a user's events must share a partition whoever sends them.
            .set("partitioner", "murmur2_random")
            .set("queue.buffering.max.messages", queue_events.to_string())
            .set("queue.buffering.max.kbytes", queue_kib.to_string())
            .set("message.timeout.ms", delivery_timeout.as_millis().to_string())
            .create_with_context(Reports::new(Arc::clone(&counters), on_undelivered))
            .map_err(Unusable::Settings)?;
        Ok(Self { producer, counters, kafka, max_age, retention, max_future })
    }

    /// Waits until Kafka answers and says that the topic is there: for programs that would rather end than go on in vain.
    ///
    /// # Errors
    /// No answer within `timeout`, or no such topic.
    pub fn check(&self, timeout: Duration) -> Result<(), Unusable> {
        let brokers = self.kafka.brokers.clone();
        let topic = self.kafka.topic.clone();
        let metadata = match self.producer.client().fetch_metadata(Some(&topic), timeout) {
            Ok(metadata) => metadata,
            Err(error) => return Err(Unusable::Unreachable { brokers, error }),
        };
        let is_there = metadata
            .topics()
            .iter()
            .any(|found| found.name() == topic && found.error().is_none() && !found.partitions().is_empty());
        if is_there { Ok(()) } else { Err(Unusable::NoTopic { topic, brokers }) }
    }

    /// Sends an event. Returns at once; the event is on its way, not yet delivered.
    ///
    /// An event that was not delivered may be sent again, any number of times: `source`, `id` and the second of `time`
    /// identify it, so keep all three. With another `time` it counts as another event.
    ///
    /// # Errors
    /// It was not taken, and is counted as refused or not sent.
    pub fn emit(&self, event: &Event<'_>) -> Result<(), Refused> {
        let json = self.to_acceptable_json(event)?;
        self.send(&event.key(), json.as_bytes()).inspect_err(|_| {
            self.counters.not_sent.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// As [`Emitter::emit`], but waits for room in the queue: for programs that have nothing better to do.
    ///
    /// # Errors
    /// It was not taken, and is counted as refused or not sent.
    pub fn emit_patiently(&self, event: &Event<'_>) -> Result<(), Refused> {
        let json = self.to_acceptable_json(event)?;
        self.send_patiently(&event.key(), json.as_bytes())
    }

    fn to_acceptable_json(&self, event: &Event<'_>) -> Result<String, Refused> {
        let checked = event.to_valid_json().and_then(|json| self.accepted_now().check(event).map(|()| json));
        checked.map_err(|invalid| {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            Refused::Invalid(invalid)
        })
    }

    /// Which instants ingest accepts now.
    pub fn accepted_now(&self) -> Accepted {
        Accepted::at(Timestamp::now(), self.max_age, self.max_future).kept(self.retention)
    }

    /// Sends one structured CloudEvent as it is, unchecked; waits for room in the queue.
    ///
    /// # Errors
    /// It was not taken, and is counted as not sent.
    pub fn send_patiently(&self, key: &str, value: &[u8]) -> Result<(), Refused> {
        const PAUSE: Duration = Duration::from_millis(2);
        loop {
            match self.send(key, value) {
                Err(Refused::QueueFull) => std::thread::sleep(PAUSE),
                Err(refused) => {
                    self.counters.not_sent.fetch_add(1, Ordering::Relaxed);
                    return Err(refused);
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    fn send(&self, key: &str, value: &[u8]) -> Result<(), Refused> {
        let headers =
            OwnedHeaders::new_with_capacity(1).insert(Header { key: "content-type", value: Some(CONTENT_TYPE) });
        let record = BaseRecord::to(&self.kafka.topic).key(key).payload(value).headers(headers);
        // Counted before it is sent, so that its delivery report never comes before it.
        self.counters.queued.fetch_add(1, Ordering::Release);
        let Err((error, _)) = self.producer.send(record) else { return Ok(()) };
        self.counters.queued.fetch_sub(1, Ordering::Release);
        Err(match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => Refused::QueueFull,
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => Refused::TooLarge { bytes: value.len() },
            _ => Refused::Producer(error),
        })
    }

    /// What became of the events so far.
    pub fn counts(&self) -> Counts {
        self.counters.snapshot()
    }

    /// Waits until every event taken so far is delivered or given up, `timeout` at most. Returns how many of all events that
    /// were taken into the queue since [`Emitter::connect`] are not delivered.
    pub fn flush(&self, timeout: Duration) -> u64 {
        // Its error says only that time is up, which the counts say as well.
        let _ = self.producer.flush(timeout);
        let Counts { failed, waiting, .. } = self.counts();
        failed + waiting
    }
}

impl std::fmt::Debug for Emitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emitter").field("kafka", &self.kafka).field("counts", &self.counts()).finish_non_exhaustive()
    }
}
