//! The Kafka topics: those of the events, of the dead letters and of the tombstones of erased people.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use common::kafka::{self, unreachable_brokers};
use common::settings;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;

const TIMEOUT: Duration = Duration::from_secs(15);

/// Dead letters wait for a person, who may be on holiday; events are read within seconds.
const DEAD_LETTER_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Bytes of a batch of events: the broker's default, whatever this broker's is.
const EVENT_MAX_BYTES: usize = 1_048_588;

/// A dead letter is the whole message plus headers that say why: at the limit of the events' topic, a message that just
/// fitted would not fit any more.
const DEAD_LETTER_MAX_BYTES: usize = 2 * 1024 * 1024;

/// Kafka compares `max.message.bytes` with a batch as its sender compressed it: a megabyte may hold a gigabyte, which every
/// reader has to inflate. Of a topic that is not compressed the broker inflates the batch first, and refuses what is too large.
const COMPRESSION: &str = "compression.type";

/// The one setting that is also brought in order on a topic that exists. With the sender's time, which is Kafka's default,
/// retention removes an old or wrongly dated message within minutes, read or not.
const TIMESTAMP_TYPE: &str = "message.timestamp.type";

/// A topic as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many workers can share it, at most.
    pub partitions: i32,
    /// Brokers that hold a copy; -1 takes the broker's default.
    pub replication_factor: i32,
    /// Its settings where they differ from the broker's.
    pub config: Vec<(&'static str, String)>,
}

impl Topic {
    /// One line for the report.
    pub fn detail(&self) -> String {
        let mut detail = format!("{} partitions", self.partitions);
        match self.replication_factor {
            -1 => detail.push_str(", the broker's default of replicas"),
            1 => detail.push_str(", 1 replica"),
            replicas => detail.push_str(&format!(", {replicas} replicas")),
        }
        for (key, value) in &self.config {
            detail.push_str(&format!(", {key}={value}"));
        }
        detail
    }
}

/// The topics of the settings.
pub fn wanted(settings: &settings::Kafka) -> [Topic; 3] {
    let topic = |name: String, config| Topic {
        name,
        partitions: settings.partitions,
        replication_factor: settings.replication_factor,
        config,
    };
    let time_of_arrival = (TIMESTAMP_TYPE, "LogAppendTime".to_owned());
    let not_compressed = (COMPRESSION, "uncompressed".to_owned());
    let events =
        vec![time_of_arrival.clone(), not_compressed.clone(), ("max.message.bytes", EVENT_MAX_BYTES.to_string())];
    let dead_letters = vec![
        time_of_arrival,
        not_compressed,
        ("retention.ms", DEAD_LETTER_RETENTION.as_millis().to_string()),
        ("max.message.bytes", DEAD_LETTER_MAX_BYTES.to_string()),
    ];
    // Compacted, so that no tombstone is ever removed. One partition: all are read at the start of each program.
    let erasures = vec![("cleanup.policy", "compact".to_owned())];
    [
        topic(settings.topic.clone(), events),
        topic(settings.dead_letter_topic(), dead_letters),
        Topic { partitions: 1, ..topic(settings.erasures_topic(), erasures) },
    ]
}

/// A topic as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// The number of its partitions.
    pub partitions: usize,
    /// All of its settings, also those that are the broker's.
    pub config: BTreeMap<String, String>,
}

/// A setting that is to be set on a topic that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The topic.
    pub topic: String,
    /// The setting's name.
    pub key: &'static str,
    /// Its value now.
    pub from: String,
    /// The value that it gets.
    pub to: String,
}

impl Change {
    /// One line for the report.
    pub fn detail(&self) -> String {
        let Self { key, from, to, .. } = self;
        format!("{key}={to}, was {from}")
    }
}

/// What Kafka lacks, and what it has otherwise.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// To be created.
    pub missing: Vec<Topic>,
    /// To be set on topics that exist.
    pub changes: Vec<Change>,
    /// To be reported only. More partitions would send the events of a user to another partition than before, and fewer are
    /// impossible; how long and how large is for the operator to say.
    pub notes: Vec<String>,
}

/// Compares the topics that are wanted with those that are there.
pub fn diff(wanted: &[Topic], actual: &[Found]) -> Difference {
    let mut difference = Difference::default();
    for topic in wanted {
        let Some(found) = actual.iter().find(|found| found.name == topic.name) else {
            difference.missing.push(topic.clone());
            continue;
        };
        let Found { name, partitions, config } = found;
        if usize::try_from(topic.partitions) != Ok(*partitions) {
            let wanted = topic.partitions;
            difference.notes.push(format!(
                "topic {name} has {partitions} partitions, setting kafka.partitions is {wanted}: left as it is"
            ));
        }
        for (key, to) in &topic.config {
            let from = config.get(*key).map_or("not set", String::as_str);
            if from == to {
                continue;
            }
            if *key == TIMESTAMP_TYPE {
                let (from, to) = (from.to_owned(), to.clone());
                difference.changes.push(Change { topic: name.clone(), key, from, to });
            } else {
                let mut note = format!("topic {name} has {key}={from}, a new one would have {key}={to}: left as it is");
                if *key == COMPRESSION {
                    note.push_str("; until it is changed, a message of a megabyte can take a gigabyte of each reader's memory (docs/SECURITY.md)");
                }
                difference.notes.push(note);
            }
        }
    }
    difference
}

/// Reads, creates and changes topics.
pub struct Topics {
    settings: settings::Kafka,
    client: AdminClient<DefaultClientContext>,
}

impl Topics {
    /// Prepares a connection; nothing is sent yet.
    ///
    /// # Errors
    /// Settings that librdkafka does not take.
    pub fn new(settings: &settings::Kafka) -> anyhow::Result<Self> {
        let client = kafka::client_config(settings).create().context("the [kafka] settings cannot be used")?;
        Ok(Self { settings: settings.clone(), client })
    }

    /// Those of the topics called `names` that exist.
    ///
    /// # Errors
    /// No broker answers, or it does not tell a topic's settings.
    pub async fn read(&self, names: &[&str]) -> anyhow::Result<Vec<Found>> {
        // All topics: to ask for one by name may create it, with the broker's defaults.
        let metadata = self
            .client
            .inner()
            .fetch_metadata(None, TIMEOUT)
            .map_err(|error| unreachable_brokers(&self.settings, &error))?;
        let mut found = Vec::new();
        for topic in metadata.topics().iter().filter(|topic| names.contains(&topic.name())) {
            let (name, partitions) = (topic.name().to_owned(), topic.partitions().len());
            let entries = kafka::topic_settings(&self.client, &name).await?.entries.into_iter();
            let config = entries.filter_map(|entry| Some((entry.name, entry.value?))).collect();
            found.push(Found { name, partitions, config });
        }
        Ok(found)
    }

    /// Sets what differs on a topic that exists.
    ///
    /// # Errors
    /// The brokers refuse.
    pub async fn change(&self, change: &Change) -> anyhow::Result<()> {
        let Change { topic, key, to, .. } = change;
        // rust-rdkafka knows only the request that replaces all settings of a topic: the others go with it.
        let entries = kafka::topic_settings(&self.client, topic).await?.entries;
        let others: Vec<_> = entries
            .iter()
            .filter(|entry| matches!(entry.source, ConfigSource::DynamicTopic) && entry.name != *key)
            .filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?)))
            .collect();
        let all = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, to);
        let all = others.iter().fold(all, |all, (key, value)| all.set(key, value));
        let changed = async {
            let mut answers = self.client.alter_configs(&[all], &options()).await?;
            answers.pop().context("Kafka did not answer")?.map_err(|(_, code)| anyhow::anyhow!("{code}"))
        };
        changed.await.map(drop).with_context(|| format!("{key}={to} cannot be set on topic {topic}"))
    }

    /// Creates a topic; false when somebody else just did.
    ///
    /// # Errors
    /// The brokers refuse.
    pub async fn create(&self, topic: &Topic) -> anyhow::Result<bool> {
        let mut new = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(topic.replication_factor));
        for (key, value) in &topic.config {
            new = new.set(key, value);
        }
        let results = self
            .client
            .create_topics([&new], &options().operation_timeout(Some(TIMEOUT)))
            .await
            .with_context(|| format!("topic {} cannot be created", topic.name))?;
        for result in results {
            match result {
                Ok(_) => {}
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => return Ok(false),
                Err((name, RDKafkaErrorCode::InvalidReplicationFactor)) => bail!(
                    "topic {name} cannot be created with {} replicas: Kafka at {} has fewer brokers; set \
                     kafka.replication_factor (DEVTOOLKIT__KAFKA__REPLICATION_FACTOR) to their number or less",
                    topic.replication_factor,
                    self.settings.brokers
                ),
                Err((name, code)) => bail!("topic {name} cannot be created ({}): {code}", topic.detail()),
            }
        }
        Ok(true)
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(topic: &Topic) -> Found {
        let config = topic.config.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        Found { name: topic.name.clone(), partitions: topic.partitions as usize, config }
    }

    #[test]
    fn missing_topics_are_created_and_what_differs_is_reported() {
        let settings = settings::Kafka::default();
        let wanted = wanted(&settings);
        assert_eq!(diff(&wanted, &[]).missing, wanted);

        let difference = diff(&wanted, &[Found { partitions: 7, ..found(&wanted[0]) }]);
        assert_eq!(difference.missing, wanted[1..]);
        let note = "topic devtoolkit.usage-events.v1 has 7 partitions, setting kafka.partitions is 4: left as it is";
        assert_eq!(difference.notes, [note]);

        assert_eq!(diff(&wanted, &wanted.each_ref().map(found)), Difference::default());
    }

    #[test]
    fn the_time_of_arrival_is_set_on_topics_that_exist_and_other_settings_are_only_reported() {
        let wanted = wanted(&settings::Kafka::default());
        let mut actual = wanted.each_ref().map(found);
        for topic in &mut actual {
            topic.config.insert(TIMESTAMP_TYPE.to_owned(), "CreateTime".to_owned());
        }
        actual[1].config.insert("retention.ms".to_owned(), "1000".to_owned());
        let difference = diff(&wanted, &actual);
        let changed = difference.changes.iter().map(|change| format!("{}: {}", change.topic, change.detail()));
        assert_eq!(
            changed.collect::<Vec<_>>(),
            [
                "devtoolkit.usage-events.v1: message.timestamp.type=LogAppendTime, was CreateTime",
                "devtoolkit.usage-events.v1.dlq: message.timestamp.type=LogAppendTime, was CreateTime",
            ]
        );
        let note = "topic devtoolkit.usage-events.v1.dlq has retention.ms=1000, a new one would have \
                    retention.ms=2592000000: left as it is";
        assert_eq!(difference.notes, [note]);
    }

    #[test]
    fn dead_letters_have_room_for_a_message_and_its_reasons() {
        let [_, dead_letters, _] = wanted(&settings::Kafka::default());
        assert_eq!(
            dead_letters.detail(),
            "4 partitions, the broker's default of replicas, message.timestamp.type=LogAppendTime, \
             compression.type=uncompressed, retention.ms=2592000000, max.message.bytes=2097152"
        );
    }
}
