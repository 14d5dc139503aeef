//! The Kafka topics: the one of the events and the one of the dead letters.

use std::time::Duration;

use anyhow::{Context, bail};
use common::kafka::{self, unreachable_brokers};
use common::settings;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;

const TIMEOUT: Duration = Duration::from_secs(15);

/// Dead letters wait for a person, who may be on holiday; events are read within seconds.
const DEAD_LETTER_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A dead letter is the whole message plus headers that say why: at the broker's default limit of 1 MiB for both
/// topics, a message that just fitted would not fit any more.
const DEAD_LETTER_MAX_BYTES: usize = 2 * 1024 * 1024;

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
pub fn wanted(settings: &settings::Kafka) -> [Topic; 2] {
    let topic = |name: String, config| Topic {
        name,
        partitions: settings.partitions,
        replication_factor: settings.replication_factor,
        config,
    };
    let dead_letters = vec![
        ("retention.ms", DEAD_LETTER_RETENTION.as_millis().to_string()),
        ("max.message.bytes", DEAD_LETTER_MAX_BYTES.to_string()),
    ];
    [topic(settings.topic.clone(), vec![]), topic(settings.dead_letter_topic(), dead_letters)]
}

/// What Kafka lacks, and what it has otherwise.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// To be created.
    pub missing: Vec<Topic>,
    /// To be reported: a topic that is there is never changed, because more partitions would send the events of a user
    /// to another partition than before, and fewer are impossible.
    pub notes: Vec<String>,
}

/// Compares the topics that are wanted with the partition counts of those that are there.
pub fn diff(wanted: &[Topic], actual: &[(String, usize)]) -> Difference {
    let mut difference = Difference::default();
    for topic in wanted {
        match actual.iter().find(|(name, _)| *name == topic.name) {
            None => difference.missing.push(topic.clone()),
            Some((name, partitions)) if usize::try_from(topic.partitions) != Ok(*partitions) => {
                difference.notes.push(format!(
                    "topic {name} has {partitions} partitions, setting kafka.partitions is {}: left as it is",
                    topic.partitions
                ));
            }
            Some(_) => {}
        }
    }
    difference
}

/// Reads and creates topics.
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

    /// Name and partition count of every topic.
    ///
    /// # Errors
    /// No broker answers.
    pub fn read(&self) -> anyhow::Result<Vec<(String, usize)>> {
        // All topics: to ask for one by name may create it, with the broker's defaults.
        let metadata = self
            .client
            .inner()
            .fetch_metadata(None, TIMEOUT)
            .map_err(|error| unreachable_brokers(&self.settings, &error))?;
        Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect())
    }

    /// How long the topic keeps a message; None is for ever.
    ///
    /// # Errors
    /// The brokers do not tell.
    pub async fn retention(&self, topic: &str) -> anyhow::Result<Option<Duration>> {
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        let asked = [ResourceSpecifier::Topic(topic)];
        let told = self.client.describe_configs(&asked, &options).await?.pop().context("no answer")??;
        let entry = told.get("retention.ms").and_then(|entry| entry.value.as_deref()).context("no retention.ms")?;
        let milliseconds: i64 = entry.parse().with_context(|| format!("retention.ms={entry} is not a number"))?;
        // -1 is for ever.
        Ok(u64::try_from(milliseconds).ok().map(Duration::from_millis))
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
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
        let results = self
            .client
            .create_topics([&new], &options)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_topics_are_created_and_others_left_alone() {
        let settings = settings::Kafka::default();
        let wanted = wanted(&settings);
        assert_eq!(diff(&wanted, &[]).missing, wanted);

        let actual = [(settings.topic.clone(), 7), ("other".to_owned(), 1)];
        let difference = diff(&wanted, &actual);
        assert_eq!(difference.missing, [wanted[1].clone()]);
        let note = "topic devtoolkit.usage-events.v1 has 7 partitions, setting kafka.partitions is 4: left as it is";
        assert_eq!(difference.notes, [note]);

        let complete = wanted.each_ref().map(|topic| (topic.name.clone(), 4));
        assert_eq!(diff(&wanted, &complete), Difference::default());
    }

    #[test]
    fn dead_letters_have_room_for_a_message_and_its_reasons() {
        let [events, dead_letters] = wanted(&settings::Kafka::default());
        assert_eq!(events.config, []);
        assert_eq!(
            dead_letters.detail(),
            "4 partitions, the broker's default of replicas, retention.ms=2592000000, max.message.bytes=2097152"
        );
    }
}
