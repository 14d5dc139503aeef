//! Messages whose documents MongoDB refused. Only the document is held in memory by then; the message, which the dead
//! letter must carry byte for byte, is read again from its place on the topic. If Kafka has removed it since, the letter is
//! empty and says so.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use common::event::Reason;
use common::{kafka, settings};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::dead_letter::{DeadLetter, Stage};
use crate::offsets::Origin;

/// How long one message is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads the messages at `refused` again and makes dead letters of them. Blocks.
///
/// # Errors
/// Kafka does not answer.
pub fn read_again(settings: &settings::Kafka, refused: &[(Origin, String)]) -> anyhow::Result<Vec<DeadLetter>> {
    let consumer: BaseConsumer<kafka::Quiet> = kafka::client_config(settings)
        .set("group.id", &settings.group_id)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .create_with_context(kafka::Quiet)?;
    refused.iter().map(|(origin, why)| read_one(settings, &consumer, origin, why)).collect()
}

fn read_one(
    settings: &settings::Kafka,
    consumer: &BaseConsumer<kafka::Quiet>,
    origin: &Origin,
    why: &str,
) -> anyhow::Result<DeadLetter> {
    let Origin { partition, offset } = *origin;
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(&settings.topic, partition, Offset::Offset(offset))?;
    consumer.assign(&place)?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let is_gone = match consumer.poll(Duration::from_millis(100)) {
            None => continue,
            Some(Ok(message)) if message.offset() == offset && message.partition() == partition => {
                return Ok(DeadLetter::new(&message, Stage::Write, Reason::RefusedByDatabase, why.to_owned()));
            }
            // Of the partition that was assigned before, or after a message that compaction removed.
            Some(Ok(message)) => message.partition() == partition && message.offset() > offset,
            Some(Err(error)) if is_out_of_range(&error) => true,
            Some(Err(error)) => {
                return Err(error).with_context(|| {
                    format!("the refused message at partition {partition}, offset {offset} cannot be read again")
                });
            }
        };
        if is_gone {
            tracing::error!(partition, offset, "Kafka removed a refused message before it was read again");
            let topic = &settings.topic;
            return Ok(DeadLetter::without_message(topic, *origin, Stage::Write, Reason::RefusedByDatabase, why));
        }
    }
    bail!("the refused message at partition {partition}, offset {offset} did not come within {} s", PATIENCE.as_secs())
}

fn is_out_of_range(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AutoOffsetReset, OffsetOutOfRange};
    matches!(error.rdkafka_error_code(), Some(AutoOffsetReset | OffsetOutOfRange))
}
