//! Messages whose documents MongoDB refused. Only the document is held in memory by then; the message, which the dead
//! letter must carry byte for byte, is read again from its place on the topic.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use common::event::Reason;
use common::{kafka, settings};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::dead_letter::{DeadLetter, Stage};
use crate::offsets::Origin;

/// How long one message is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads the messages at `refused` again and makes dead letters of them. Blocks.
///
/// # Errors
/// Kafka does not answer, or no longer has one of them.
pub fn read_again(settings: &settings::Kafka, refused: &[(Origin, String)]) -> anyhow::Result<Vec<DeadLetter>> {
    let consumer: BaseConsumer<kafka::Quiet> = kafka::client_config(settings)
        .set("group.id", &settings.group_id)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .create_with_context(kafka::Quiet)?;
    refused.iter().map(|(origin, why)| read_one(settings, &consumer, *origin, why)).collect()
}

fn read_one(
    settings: &settings::Kafka,
    consumer: &BaseConsumer<kafka::Quiet>,
    origin: Origin,
    why: &str,
) -> anyhow::Result<DeadLetter> {
    let Origin { partition, offset } = origin;
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(&settings.topic, partition, Offset::Offset(offset))?;
    consumer.assign(&place)?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.with_context(|| {
            format!("the refused message at partition {partition}, offset {offset} cannot be read again")
        })?;
        if message.offset() == offset && message.partition() == partition {
            return Ok(DeadLetter::new(&message, Stage::Write, Reason::RefusedByDatabase, why.to_owned()));
        }
    }
    bail!("the refused message at partition {partition}, offset {offset} did not come within {} s", PATIENCE.as_secs())
}
