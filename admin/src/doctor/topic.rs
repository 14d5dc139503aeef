//! How far ingest is from the moment when Kafka removes events that nobody has read.

use std::time::Duration;

use anyhow::Context;
use chrono::Utc;
use common::kafka::{self, Quiet};
use common::settings::{Kafka, Settings};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::finding::Finding;
use crate::topics::Topics;

const CHECK: &str = "unread events";
const TIME_LIMIT: Duration = Duration::from_secs(15);

pub(super) async fn check(settings: &Settings) -> Finding {
    let todo = "start Kafka, or see KafkaUnreachable in docs/OPERATIONS.md";
    look(&settings.kafka)
        .await
        .unwrap_or_else(|error| Finding::amber(CHECK, format!("cannot be seen: {error:#}"), todo))
}

async fn look(settings: &Kafka) -> anyhow::Result<Finding> {
    let found = Topics::new(settings)?.read(&[settings.topic.as_str()]).await?;
    let Some(topic) = found.into_iter().next() else {
        return Ok(Finding::red(CHECK, format!("there is no topic {}", settings.topic), "run admin migrate"));
    };
    let retention = topic.config.get("retention.ms").and_then(|text| text.parse::<i64>().ok());
    let retention = retention.context("Kafka does not say the topic's retention.ms")?;
    if retention < 0 {
        return Ok(Finding::green(CHECK, "the topic keeps events for ever (retention.ms is -1)"));
    }
    let (settings, partitions) = (settings.clone(), topic.partitions);
    let read = move || unread(&settings, partitions, [retention / 2, retention / 10 * 9]);
    let [half, most] = tokio::task::spawn_blocking(read).await??;
    let days = retention as f64 / 86_400_000.0;
    let todo = "see IngestDelayed and EventsExpireSoon in docs/OPERATIONS.md; a longer retention.ms gives time";
    Ok(if most {
        Finding::red(CHECK, format!("Kafka removes the oldest within a tenth of its {days:.1} days"), todo)
    } else if half {
        Finding::amber(CHECK, format!("the oldest has waited for more than half of Kafka's {days:.1} days"), todo)
    } else {
        Finding::green(CHECK, format!("none has waited for half of the {days:.1} days that Kafka keeps it"))
    })
}

/// For each age in milliseconds, whether an event that is older has not been read. Blocks.
fn unread(settings: &Kafka, partitions: usize, ages: [i64; 2]) -> anyhow::Result<[bool; 2]> {
    let consumer: BaseConsumer<Quiet> = kafka::consumer_config(settings)
        .set("group.id", &settings.group_id)
        .set("enable.auto.commit", "false")
        .create_with_context(Quiet)
        .context("the [kafka] settings cannot be used")?;
    let mut asked = TopicPartitionList::new();
    for partition in 0..i32::try_from(partitions)? {
        asked.add_partition(&settings.topic, partition);
    }
    let committed = consumer.committed_offsets(asked, TIME_LIMIT).context("asking for the group's offsets")?;
    let mut older = [false; 2];
    for (is_older, age) in older.iter_mut().zip(ages) {
        let at = Utc::now().timestamp_millis() - age;
        let mut times = TopicPartitionList::new();
        for partition in 0..i32::try_from(partitions)? {
            times.add_partition_offset(&settings.topic, partition, Offset::Offset(at))?;
        }
        let first_since = consumer.offsets_for_times(times, TIME_LIMIT).context("asking for the offsets of a time")?;
        for found in first_since.elements() {
            let (low, high) = consumer.fetch_watermarks(&settings.topic, found.partition(), TIME_LIMIT)?;
            let since = match found.offset() {
                Offset::Offset(offset) => offset,
                _ => high,
            };
            let read = committed.find_partition(&settings.topic, found.partition()).map(|known| known.offset());
            let next = match read {
                Some(Offset::Offset(offset)) => offset,
                // Nothing was committed yet: the group begins at the start.
                _ => low,
            };
            *is_older |= next < since;
        }
    }
    Ok(older)
}
