//! Reads messages again from their place on the topic, when only their documents are held in memory.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use common::{kafka, settings};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::offsets::Origin;

/// How long one message is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A consumer beside the worker's own; it commits nothing.
pub struct Reader {
    topic: String,
    consumer: BaseConsumer<kafka::Quiet>,
}

impl Reader {
    /// Of the topic of the settings.
    ///
    /// # Errors
    /// librdkafka does not take the settings.
    pub fn new(settings: &settings::Kafka) -> anyhow::Result<Self> {
        let consumer = kafka::consumer_config(settings)
            .set("group.id", &settings.group_id)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .create_with_context(kafka::Quiet)?;
        Ok(Self { topic: settings.topic.clone(), consumer })
    }

    /// What `make` makes of the message at `origin`; none if Kafka has removed the message. Blocks.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn read<T>(&self, origin: Origin, make: impl FnOnce(&BorrowedMessage<'_>) -> T) -> anyhow::Result<Option<T>> {
        let Origin { partition, offset } = origin;
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(&self.topic, partition, Offset::Offset(offset))?;
        self.consumer.assign(&place)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let is_gone = match self.consumer.poll(Duration::from_millis(100)) {
                None => continue,
                Some(Ok(message)) if message.offset() == offset && message.partition() == partition => {
                    return Ok(Some(make(&message)));
                }
                // Of the partition that was assigned before, or after a message that compaction removed.
                Some(Ok(message)) => message.partition() == partition && message.offset() > offset,
                Some(Err(error)) if is_out_of_range(&error) => true,
                Some(Err(error)) => {
                    return Err(error).with_context(|| {
                        format!("the message at partition {partition}, offset {offset} cannot be read again")
                    });
                }
            };
            if is_gone {
                return Ok(None);
            }
        }
        bail!("the message at partition {partition}, offset {offset} did not come within {} s", PATIENCE.as_secs())
    }
}

fn is_out_of_range(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AutoOffsetReset, OffsetOutOfRange};
    matches!(error.rdkafka_error_code(), Some(AutoOffsetReset | OffsetOutOfRange))
}
