//! The compacted topic `<topic>.erasures`: one partition, the key is a tombstone's digest, the value the tombstone as JSON.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

use super::Tombstone;
use crate::kafka::{self, Quiet};
use crate::settings::Kafka;

/// How long Kafka may be silent while the topic is read up to its end.
const SILENCE: Duration = Duration::from_secs(30);
/// How long the first answer of a broker is waited for.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// How long the brokers are waited for to take a tombstone.
const DELIVERY: Duration = Duration::from_secs(30);

/// Writes tombstones, and returns when all replicas in sync have them.
///
/// # Errors
/// The brokers do not take one of them; the others may be written.
pub async fn write(settings: &Kafka, tombstones: &[Tombstone]) -> anyhow::Result<()> {
    let topic = settings.erasures_topic();
    let producer: FutureProducer = kafka::client_config(settings)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", DELIVERY.as_millis().to_string())
        .create()
        .context("the [kafka] settings cannot be used")?;
    let mut sent = Vec::with_capacity(tombstones.len());
    for tombstone in tombstones {
        let value = serde_json::to_string(tombstone)?;
        let record = FutureRecord::to(&topic).key(&tombstone.digest).payload(&value).partition(0);
        sent.push(producer.send_result(record).map_err(|(error, _)| error));
    }
    for sent in sent {
        let answer = match sent {
            Ok(delivery) => {
                delivery.await.map_or(Err(KafkaError::Canceled), |answer| answer.map(drop).map_err(|(error, _)| error))
            }
            Err(error) => Err(error),
        };
        answer.with_context(|| {
            format!("Kafka did not take a tombstone on topic {topic}; run `admin migrate`, which creates the topic, and try again")
        })?;
    }
    Ok(())
}

/// Reads the topic from its start, and then what is added.
pub struct Reader {
    topic: String,
    consumer: BaseConsumer<Quiet>,
    is_at_end: bool,
}

impl Reader {
    /// Begins at the start of the topic; none where there is no such topic.
    ///
    /// # Errors
    /// No broker answers.
    pub fn open(settings: &Kafka) -> anyhow::Result<Option<Self>> {
        let topic = settings.erasures_topic();
        let consumer: BaseConsumer<Quiet> = kafka::reader_config(settings, "erasures")
            .create_with_context(Quiet)
            .context("the [kafka] settings cannot be used")?;
        // All topics: to ask for one by name may create it, with the broker's defaults.
        let metadata = consumer
            .fetch_metadata(None, FIRST_ANSWER)
            .map_err(|error| kafka::unreachable_brokers(settings, &error))?;
        if !metadata.topics().iter().any(|found| found.name() == topic) {
            return Ok(None);
        }
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(&topic, 0, Offset::Beginning)?;
        consumer.assign(&assignment)?;
        Ok(Some(Self { topic, consumer, is_at_end: false }))
    }

    /// Everything up to the end of the topic.
    ///
    /// # Errors
    /// Kafka stops answering.
    pub fn read_to_end(&mut self) -> anyhow::Result<Vec<Tombstone>> {
        let mut read = Vec::new();
        let started = Instant::now();
        self.is_at_end = false;
        while !self.is_at_end {
            if started.elapsed() > SILENCE && read.is_empty() {
                bail!("topic {}: nothing came from Kafka in {SILENCE:?}; try again", self.topic);
            }
            read.extend(self.poll(Duration::from_secs(1)));
        }
        Ok(read)
    }

    /// The next tombstone, if one comes within `timeout`. A message that is no tombstone is told of in the log.
    pub fn poll(&mut self, timeout: Duration) -> Option<Tombstone> {
        match self.consumer.poll(timeout)? {
            Ok(message) => {
                self.is_at_end = false;
                // The deletion of a key: the collection keeps the tombstone.
                let value = message.payload()?;
                let read = serde_json::from_slice::<Tombstone>(value);
                if let Err(error) = &read {
                    tracing::warn!(topic = self.topic, offset = message.offset(), %error, "this message is no tombstone");
                }
                read.ok()
            }
            Err(KafkaError::PartitionEOF(_)) => {
                self.is_at_end = true;
                None
            }
            Err(error) => {
                tracing::warn!(topic = self.topic, %error, "Kafka consumer error");
                None
            }
        }
    }
}
