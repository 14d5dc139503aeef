//! Refused messages, handed to the dead-letter topic with everything needed to understand and to replay them.

use std::time::Duration;

use common::event::{Reason, Traceparent};
use common::{kafka, settings};
use rdkafka::Message;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedHeaders, Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::OnceCell;
use tracing::field::display;

use crate::metrics;
use crate::offsets::Origin;
use crate::retry::{MAX_RETRY_DELAY, retry_delays};

/// Where in ingest a message was refused: `__connect.errors.stage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its bytes are no acceptable event.
    Decode,
    /// MongoDB would not have its document.
    Write,
}

impl Stage {
    /// The text of the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Write => "write",
        }
    }
}

/// The header that holds the time of the refused message, in milliseconds since 1970. The letter's own time is that of its
/// arrival: by the message's time Kafka would remove the letter of an old message within minutes.
const TIMESTAMP: &str = "devtoolkit.timestamp";

/// A refused message with its reason. The header names are those of Kafka Connect's dead letter queues.
#[derive(Debug)]
pub struct DeadLetter {
    /// Where it stood.
    pub origin: Origin,
    /// Why it was refused.
    pub reason: Reason,
    stage: Stage,
    /// The trace that the message says it belongs to.
    traceparent: Option<Traceparent>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: OwnedHeaders,
}

impl DeadLetter {
    /// A copy of `message`, byte for byte, with headers that say why and where it was refused.
    pub fn new(message: &impl Message<Headers = BorrowedHeaders>, stage: Stage, reason: Reason, why: String) -> Self {
        let origin = Origin { partition: message.partition(), offset: message.offset() };
        let original = message.headers().map_or_else(OwnedHeaders::new, BorrowedHeaders::detach);
        let timestamp = message.timestamp().to_millis().map(|millis| (TIMESTAMP, millis.to_string()));
        let headers = [
            ("__connect.errors.topic", message.topic().to_owned()),
            ("__connect.errors.partition", origin.partition.to_string()),
            ("__connect.errors.offset", origin.offset.to_string()),
            ("__connect.errors.stage", stage.as_str().to_owned()),
            ("__connect.errors.exception.class.name", reason.to_string()),
            ("__connect.errors.exception.message", why),
        ]
        .into_iter()
        .chain(timestamp)
        .fold(original, |headers, (key, value)| headers.insert(Header { key, value: Some(&value) }));
        Self {
            origin,
            reason,
            stage,
            traceparent: kafka::as_sent(message).traceparent(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
        }
    }

    /// About how much memory it holds.
    pub fn bytes(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        length(&self.key) + length(&self.value) + 512
    }

    fn record<'a>(&'a self, topic: &'a str) -> FutureRecord<'a, [u8], [u8]> {
        FutureRecord {
            topic,
            partition: None,
            payload: self.value.as_deref(),
            key: self.key.as_deref(),
            timestamp: None,
            headers: Some(self.headers.clone()),
        }
    }
}

/// The dead-letter topic.
pub struct DeadLetters {
    topic: String,
    settings: settings::Kafka,
    /// Made for the first letter: a producer that sends nothing still costs a polling thread, 0.1 us of CPU per event.
    producer: OnceCell<FutureProducer>,
}

impl DeadLetters {
    /// The dead-letter topic of the settings.
    pub fn new(settings: settings::Kafka) -> Self {
        Self { topic: settings.dead_letter_topic(), settings, producer: OnceCell::new() }
    }

    async fn producer(&self) -> Result<&FutureProducer, KafkaError> {
        let make = || async {
            kafka::client_config(&self.settings)
                .set("acks", "all")
                .set("enable.idempotence", "true")
                .set("compression.type", "lz4")
                // A letter carries its message whole, and headers beside it.
                .set("message.max.bytes", "2097152")
                .set("message.timeout.ms", "30000")
                .set("linger.ms", "5")
                .create()
        };
        self.producer.get_or_try_init(make).await
    }

    /// Hands the letters over; returns only when each delivery is reported, however long that takes.
    pub async fn send(&self, letters: &[DeadLetter]) {
        futures::future::join_all(letters.iter().map(|letter| self.send_one(letter))).await;
    }

    async fn send_one(&self, letter: &DeadLetter) {
        let Origin { partition, offset } = letter.origin;
        let mut delays = retry_delays();
        let mut attempt = 1_u64;
        while let Err(error) = self.try_send(letter).await {
            let topic = &self.topic;
            tracing::warn!(%error, topic, partition, offset, attempt, "a dead letter was not taken; trying again");
            attempt += 1;
            metrics::dead_letter_retried();
            tokio::time::sleep(delays.next().unwrap_or(MAX_RETRY_DELAY)).await;
        }
        let (reason, stage) = (letter.reason.as_str(), letter.stage.as_str());
        let trace_id = letter.traceparent.map(|traceparent| display(traceparent.trace_id()));
        tracing::info!(partition, offset, stage, reason, trace_id, "refused, and kept as a dead letter");
    }

    async fn try_send(&self, letter: &DeadLetter) -> Result<(), KafkaError> {
        let sent = self.producer().await?.send(letter.record(&self.topic), Duration::from_secs(30)).await;
        sent.map(drop).map_err(|(error, _)| error)
    }
}
