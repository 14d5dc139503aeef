//! Refused messages, handed to the dead-letter topic with everything needed to understand and to replay them.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::event::{Reason, Traceparent};
use common::{kafka, settings};
use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, Header};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::OnceCell;
use tracing::field::display;

use crate::kept::{self, Kept};
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

/// The most of a reason's text: MongoDB's own may repeat what a document holds.
const MOST_WHY: usize = 4_096;

/// A letter that keeps no more than this is not cut further: a topic that refuses the letter has a mistake in its settings, and takes
/// the whole letter when somebody has mended them.
const LEAST_CUT: usize = 16 * 1024;

/// What librdkafka and this program need for a letter beside what it keeps of its message.
const LETTER: usize = 1_024;

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
    /// The headers that say why and where it was refused.
    why: Vec<(&'static str, String)>,
    kept: Kept,
}

impl DeadLetter {
    /// A copy of `message`, byte for byte where it fits, with headers that say why and where it was refused.
    pub fn new(message: &impl Message<Headers = BorrowedHeaders>, stage: Stage, reason: Reason, why: String) -> Self {
        let origin = Origin { partition: message.partition(), offset: message.offset() };
        let timestamp = message.timestamp().to_millis().map(|millis| (TIMESTAMP, millis.to_string()));
        Self {
            origin,
            reason,
            stage,
            traceparent: kafka::as_sent(message).traceparent(),
            why: why_headers(message.topic(), origin, stage, reason, why).into_iter().chain(timestamp).collect(),
            kept: Kept::of(message, kept::MOST),
        }
    }

    /// About how much memory it holds.
    pub const fn bytes(&self) -> usize {
        self.kept.bytes() + LETTER
    }

    /// The letter of a message that is not on its topic any more.
    pub fn without_message(topic: &str, origin: Origin, stage: Stage, reason: Reason, why: &str) -> Self {
        let why = format!("{why}; the letter is empty, because Kafka has removed the message since");
        Self {
            origin,
            reason,
            stage,
            traceparent: None,
            why: why_headers(topic, origin, stage, reason, why).to_vec(),
            kept: Kept::nothing(),
        }
    }

    fn record<'a>(&'a self, topic: &'a str, kept: &'a Kept) -> FutureRecord<'a, [u8], [u8]> {
        // What ingest says comes last: whoever reads the letter believes the last header of a name.
        let why = self.why.iter().map(|(name, text)| ((*name).to_owned(), text.clone()));
        let headers = why.chain(kept.originals()).fold(kept.headers.clone(), |headers, (key, value)| {
            headers.insert(Header { key: &key, value: Some(&value) })
        });
        FutureRecord {
            topic,
            partition: None,
            payload: kept.value.as_deref(),
            key: kept.key.as_deref(),
            timestamp: None,
            headers: Some(headers),
        }
    }
}

fn why_headers(topic: &str, origin: Origin, stage: Stage, reason: Reason, why: String) -> [(&'static str, String); 6] {
    [
        ("__connect.errors.topic", topic.to_owned()),
        ("__connect.errors.partition", origin.partition.to_string()),
        ("__connect.errors.offset", origin.offset.to_string()),
        ("__connect.errors.stage", stage.as_str().to_owned()),
        ("__connect.errors.exception.class.name", reason.to_string()),
        ("__connect.errors.exception.message", shortened(why)),
    ]
}

fn shortened(mut text: String) -> String {
    if text.len() > MOST_WHY {
        text.truncate(text.floor_char_boundary(MOST_WHY));
        text.push('…');
    }
    text
}

/// The dead-letter topic.
pub struct DeadLetters {
    topic: String,
    settings: settings::Kafka,
    /// Made for the first letter: a producer that sends nothing still costs a polling thread, 0.1 us of CPU per event.
    producer: OnceCell<FutureProducer>,
    /// Sends each letter in a request of its own: the brokers refuse a request for its size as a whole. Made for the first
    /// letter that needs it.
    one_by_one: OnceCell<FutureProducer>,
    /// Why a letter was not taken, of the last one.
    last_error: Mutex<String>,
}

/// How a letter is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Together with others.
    Together,
    /// In a request of its own.
    Alone,
}

impl DeadLetters {
    /// The dead-letter topic of the settings.
    pub fn new(settings: settings::Kafka) -> Self {
        let topic = settings.dead_letter_topic();
        Self { topic, settings, producer: OnceCell::new(), one_by_one: OnceCell::new(), last_error: Mutex::default() }
    }

    /// That letters are not taken, and why, for people.
    pub fn trouble(&self) -> String {
        let error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let error = if error.is_empty() { "no answer".to_owned() } else { error };
        format!("topic {} does not take letters: {error}", self.topic)
    }

    async fn producer(&self, way: Way) -> Result<&FutureProducer, KafkaError> {
        let make = |most_messages| async move {
            let mut config = kafka::client_config(&self.settings);
            config
                .set("acks", "all")
                .set("enable.idempotence", "true")
                .set("compression.type", "lz4")
                // What a letter keeps of its message, and headers beside it.
                .set("message.max.bytes", "2097152")
                .set("batch.num.messages", most_messages)
                .set("message.timeout.ms", "30000")
                .set("linger.ms", "5");
            // librdkafka waits for its new thread by the wall clock: for minutes when the clock is set back meanwhile.
            let made = tokio::task::spawn_blocking(move || config.create());
            made.await.unwrap_or_else(|error| Err(KafkaError::ClientCreation(error.to_string())))
        };
        match way {
            Way::Together => self.producer.get_or_try_init(|| make("10000")).await,
            Way::Alone => self.one_by_one.get_or_try_init(|| make("1")).await,
        }
    }

    /// Hands the letters over; returns only when each delivery is reported, however long that takes.
    pub async fn send(&self, letters: &[DeadLetter]) {
        futures::future::join_all(letters.iter().map(|letter| self.send_one(letter))).await;
    }

    async fn send_one(&self, letter: &DeadLetter) {
        let Origin { partition, offset } = letter.origin;
        let topic = &self.topic;
        let mut delays = retry_delays();
        let mut attempt = 1_u64;
        let mut way = Way::Together;
        let mut kept = Cow::Borrowed(&letter.kept);
        while let Err(error) = self.try_send(letter, &kept, way).await {
            metrics::dead_letter_retried();
            if is_too_large(&error) {
                if way == Way::Together {
                    way = Way::Alone;
                    continue;
                }
                // The topic's own limit is lower than `admin migrate` sets it.
                if kept.bytes() > LEAST_CUT {
                    kept = Cow::Owned(kept.cut((kept.bytes() / 2).max(LEAST_CUT)));
                    continue;
                }
                kept = Cow::Borrowed(&letter.kept);
            }
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error.to_string();
            tracing::warn!(%error, topic, partition, offset, attempt, "a dead letter was not taken; trying again");
            attempt += 1;
            tokio::time::sleep(delays.next().unwrap_or(MAX_RETRY_DELAY)).await;
        }
        let (reason, stage) = (letter.reason.as_str(), letter.stage.as_str());
        let trace_id = letter.traceparent.map(|traceparent| display(traceparent.trace_id()));
        if kept.is_cut() {
            metrics::dead_letter_cut();
            tracing::warn!(partition, offset, stage, reason, trace_id, "refused, and what fits kept as a dead letter");
        } else {
            tracing::info!(partition, offset, stage, reason, trace_id, "refused, and kept as a dead letter");
        }
    }

    async fn try_send(&self, letter: &DeadLetter, kept: &Kept, way: Way) -> Result<(), KafkaError> {
        let record = letter.record(&self.topic, kept);
        let sent = self.producer(way).await?.send(record, Duration::from_secs(30)).await;
        sent.map(drop).map_err(|(error, _)| error)
    }
}

/// Whether a request was refused for its size, or a letter before it was sent.
fn is_too_large(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{InvalidMessageSize, MessageSizeTooLarge};
    matches!(error.rdkafka_error_code(), Some(MessageSizeTooLarge | InvalidMessageSize))
}
