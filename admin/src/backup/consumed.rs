//! How far ingest's consumer group is, and how it is set back.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use backup::manifest::Consumed;
use common::kafka::{self, Quiet};
use common::settings::Kafka;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use serde::Serialize;
use tokio::task::spawn_blocking;

const TIME_LIMIT: Duration = Duration::from_secs(10);

/// What became of a partition's offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rewound {
    /// The partition.
    pub partition: i32,
    /// Where the group was; none where it had committed nothing.
    pub before: Option<i64>,
    /// Where the group is now.
    pub after: i64,
    /// Messages that Kafka has removed, and that the database may lack.
    pub removed: i64,
}

/// The offsets that the group has committed.
///
/// # Errors
/// Kafka does not answer, or the topic does not exist.
pub async fn committed(settings: &Kafka) -> anyhow::Result<Consumed> {
    let settings = settings.clone();
    spawn_blocking(move || {
        let client = client(&settings)?;
        let topic_id = topic_id(&settings, &client);
        let offsets = committed_offsets(&settings, &client, topic_id.as_deref())?;
        Ok(Consumed { topic: settings.topic, topic_id, group: settings.group_id, offsets })
    })
    .await?
}

/// Fails while a worker is in the group: the worker would commit its own offsets over those of a rewind.
///
/// # Errors
/// There are workers, or Kafka does not answer.
pub async fn ensure_no_workers(settings: &Kafka) -> anyhow::Result<()> {
    let settings = settings.clone();
    spawn_blocking(move || no_workers(&settings, &client(&settings)?)).await?
}

/// Sets the group back to what was noted, or to the beginning of a partition of which nothing was noted. Nothing is set forward.
///
/// # Errors
/// There are workers in the group, or Kafka fails.
pub async fn rewind(settings: &Kafka, noted: Option<Consumed>, dry_run: bool) -> anyhow::Result<Vec<Rewound>> {
    let settings = settings.clone();
    spawn_blocking(move || {
        let client = client(&settings)?;
        no_workers(&settings, &client)?;
        let id = topic_id(&settings, &client);
        let wanted = (&settings.topic, &settings.group_id, &id);
        let noted = noted.filter(|noted| (&noted.topic, &noted.group, &noted.topic_id) == wanted);
        let noted = noted.map(|noted| noted.offsets).unwrap_or_default();
        let committed = committed_offsets(&settings, &client, id.as_deref())?;
        let mut rewound = Vec::new();
        for partition in partitions(&settings, &client)? {
            let (start, _) = client.fetch_watermarks(&settings.topic, partition, TIME_LIMIT)?;
            let (before, noted) = (committed.get(&partition).copied(), noted.get(&partition).copied());
            rewound.push(place(partition, before, noted, start));
        }
        if !dry_run {
            let mut offsets = TopicPartitionList::new();
            for Rewound { partition, after, .. } in &rewound {
                offsets.add_partition_offset(&settings.topic, *partition, Offset::Offset(*after))?;
                // As ingest does.
                if let (Some(id), Some(mut element)) = (&id, offsets.find_partition(&settings.topic, *partition)) {
                    element.set_metadata(id);
                }
            }
            client.commit(&offsets, CommitMode::Sync).context("Kafka does not take the group's offsets")?;
        }
        Ok(rewound)
    })
    .await?
}

/// Where a partition's reading begins again. Everything before the noted offset is in the backup.
fn place(partition: i32, before: Option<i64>, noted: Option<i64>, start: i64) -> Rewound {
    let noted = noted.unwrap_or(start);
    let wanted = before.map_or(noted, |before| before.min(noted));
    Rewound { partition, before, after: wanted.max(start), removed: (start - wanted).max(0) }
}

fn client(settings: &Kafka) -> anyhow::Result<BaseConsumer<Quiet>> {
    kafka::consumer_config(settings)
        .set("group.id", &settings.group_id)
        .set("enable.auto.commit", "false")
        .create_with_context(Quiet)
        .context("the [kafka] settings cannot be used")
}

fn partitions(settings: &Kafka, client: &BaseConsumer<Quiet>) -> anyhow::Result<Vec<i32>> {
    let count = kafka::partition_count(settings, client, &settings.topic)?;
    (0..count).map(|partition| Ok(i32::try_from(partition)?)).collect()
}

/// The topic's id; none where Kafka does not tell: then a topic that was created again is not noticed.
fn topic_id(settings: &Kafka, client: &BaseConsumer<Quiet>) -> Option<String> {
    let id = kafka::topic_id(client.client(), &settings.topic);
    id.inspect_err(|error| {
        tracing::warn!(error = format!("{error:#}"), "a topic that was created again is not noticed")
    })
    .ok()
}

/// Without those that were committed for another topic of the same name: ingest writes the topic's id beside its offsets.
fn committed_offsets(
    settings: &Kafka,
    client: &BaseConsumer<Quiet>,
    topic_id: Option<&str>,
) -> anyhow::Result<BTreeMap<i32, i64>> {
    let mut asked = TopicPartitionList::new();
    for partition in partitions(settings, client)? {
        asked.add_partition(&settings.topic, partition);
    }
    let committed = retried(|| client.committed_offsets(asked.clone(), TIME_LIMIT));
    let committed =
        committed.with_context(|| format!("the offsets of the group {} cannot be read", settings.group_id))?;
    let is_of_another = |partition| {
        let of = kafka::committed_text(&committed, &settings.topic, partition);
        of.zip(topic_id).is_some_and(|(of, id)| of != id)
    };
    let offsets = committed.elements().into_iter().filter_map(|element| match element.offset() {
        Offset::Offset(offset) if !is_of_another(element.partition()) => Some((element.partition(), offset)),
        _ => None,
    });
    Ok(offsets.collect())
}

/// A cluster that was started just now has no coordinator of the group yet.
fn retried<T>(ask: impl Fn() -> KafkaResult<T>) -> KafkaResult<T> {
    const ATTEMPTS: usize = 8;
    for _ in 1..ATTEMPTS {
        if let Ok(answer) = ask() {
            return Ok(answer);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    ask()
}

fn no_workers(settings: &Kafka, client: &BaseConsumer<Quiet>) -> anyhow::Result<()> {
    // The first answer tells whether a broker is there at all.
    partitions(settings, client)?;
    let groups = client.fetch_group_list(Some(&settings.group_id), TIME_LIMIT)?;
    let members: usize = groups.groups().iter().map(|group| group.members().len()).sum();
    ensure!(
        members == 0,
        "{members} ingest workers are in the consumer group {}: stop them first, and `aggregator serve`; a worker that was killed \
         leaves the group within 45 seconds",
        settings.group_id
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_set_back_and_never_forward() {
        let after = |before, noted, start| {
            let rewound = place(0, before, noted, start);
            (rewound.after, rewound.removed)
        };
        assert_eq!(after(Some(90), Some(50), 0), (50, 0));
        assert_eq!(after(Some(40), Some(50), 0), (40, 0), "what was never read is not skipped");
        assert_eq!(after(Some(90), Some(50), 60), (60, 10), "Kafka removed ten");
        assert_eq!(after(Some(90), None, 10), (10, 0), "nothing was noted");
        assert_eq!(after(None, None, 0), (0, 0));
    }
}
