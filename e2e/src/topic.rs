//! Creating, filling, reading and deleting Kafka topics, for tests: whole, simple, and blocking where librdkafka blocks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use futures::future::try_join_all;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

const TIMEOUT: Duration = Duration::from_secs(30);

/// A message as it is to be produced, or as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its key, byte for byte.
    pub key: Option<Vec<u8>>,
    /// Its value, byte for byte; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since 1970. When produced without one, it is the time of sending.
    pub timestamp: Option<i64>,
    /// When produced, `None` lets the key decide.
    pub partition: Option<i32>,
    /// Its place in the partition; not used when produced.
    pub offset: i64,
}

impl Message {
    /// A message with a key and a value.
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: Some(key.into()), value: Some(value.into()), ..Self::default() }
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), Some(value.into())));
        self
    }

    /// The value of the first header called `name`, as text.
    pub fn header_text(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

fn admin(brokers: &str) -> anyhow::Result<AdminClient<DefaultClientContext>> {
    config(brokers).create().with_context(|| format!("cannot use Kafka at {brokers}"))
}

/// Creates topics with the broker's settings, and waits until clients see them.
///
/// # Errors
/// When the broker refuses one.
pub async fn create(brokers: &str, topics: &[(&str, i32)]) -> anyhow::Result<()> {
    let topics: Vec<_> = topics.iter().map(|(name, partitions)| (*name, *partitions, [].as_slice())).collect();
    create_with(brokers, &topics).await
}

/// Settings of a topic, by name.
pub type Config<'a> = &'a [(&'a str, &'a str)];

/// The same with settings of their own.
///
/// # Errors
/// When the broker refuses one.
pub async fn create_with(brokers: &str, topics: &[(&str, i32, Config<'_>)]) -> anyhow::Result<()> {
    let admin = admin(brokers)?;
    let new: Vec<NewTopic> = topics
        .iter()
        .map(|(name, partitions, config)| {
            let new = NewTopic::new(name, *partitions, TopicReplication::Fixed(1));
            config.iter().fold(new, |new, (key, value)| new.set(key, value))
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
    for result in admin.create_topics(&new, &options).await.context("cannot create topics")? {
        if let Err((topic, code)) = result {
            bail!("cannot create topic {topic}: {code}");
        }
    }
    for (name, partitions, _) in topics {
        crate::eventually::eventually(TIMEOUT, &format!("topic {name}"), async || {
            let metadata = admin.inner().fetch_metadata(Some(name), TIMEOUT).ok()?;
            let topic = metadata.topics().first()?;
            let led = topic.partitions().iter().filter(|partition| partition.leader() >= 0).count();
            (led == usize::try_from(*partitions).ok()?).then_some(())
        })
        .await;
    }
    Ok(())
}

/// Deletes topics; those that are not there are fine.
///
/// # Errors
/// When the broker refuses.
pub async fn delete(brokers: &str, topics: &[&str]) -> anyhow::Result<()> {
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
    for result in admin(brokers)?.delete_topics(topics, &options).await.context("cannot delete topics")? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {}
            Err((topic, code)) => bail!("cannot delete topic {topic}: {code}"),
        }
    }
    Ok(())
}

/// Sends messages in order, and waits until all of them are acknowledged.
///
/// # Errors
/// When one is not.
pub async fn produce(brokers: &str, topic: &str, messages: &[Message]) -> anyhow::Result<()> {
    produce_with(brokers, topic, messages, &[]).await
}

/// The same with settings of librdkafka, such as a compression.
///
/// # Errors
/// When a message is not acknowledged.
pub async fn produce_with(
    brokers: &str,
    topic: &str,
    messages: &[Message],
    settings: Config<'_>,
) -> anyhow::Result<()> {
    const AT_ONCE: usize = 10_000;
    let mut config = config(brokers);
    // Idempotence keeps the order within a partition also when a request has to be repeated.
    config.set("enable.idempotence", "true").set("linger.ms", "5").set("message.max.bytes", "4000000");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    let producer: FutureProducer = config.create()?;
    for chunk in messages.chunks(AT_ONCE) {
        let mut deliveries = Vec::with_capacity(chunk.len());
        for message in chunk {
            let headers = message.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: value.as_deref() })
            });
            let record = FutureRecord::<[u8], [u8]> {
                topic,
                partition: message.partition,
                key: message.key.as_deref(),
                payload: message.value.as_deref(),
                timestamp: message.timestamp,
                headers: Some(headers),
            };
            deliveries.push(producer.send_result(record).map_err(|(error, _)| error)?);
        }
        for delivery in try_join_all(deliveries).await? {
            delivery.map_err(|(error, _)| error).with_context(|| format!("not delivered to {topic}"))?;
        }
    }
    Ok(())
}

/// Sends messages in one transaction, which is committed or aborted.
///
/// # Errors
/// When the broker refuses.
pub async fn produce_in_transaction(
    brokers: &str,
    topic: &str,
    messages: &[Message],
    is_committed: bool,
) -> anyhow::Result<()> {
    let producer: FutureProducer =
        config(brokers).set("transactional.id", format!("{topic}-{:08x}", rand::random::<u32>())).create()?;
    let (topic, messages) = (topic.to_owned(), messages.to_vec());
    tokio::task::spawn_blocking(move || {
        producer.init_transactions(TIMEOUT)?;
        producer.begin_transaction()?;
        for message in &messages {
            let record = FutureRecord::<[u8], [u8]> {
                topic: &topic,
                partition: message.partition,
                key: message.key.as_deref(),
                payload: message.value.as_deref(),
                timestamp: message.timestamp,
                headers: None,
            };
            // An abort throws away what is not sent yet; the flush lets the topic have it first.
            drop(producer.send_result(record).map_err(|(error, _)| error)?);
        }
        producer.flush(TIMEOUT)?;
        if is_committed { producer.commit_transaction(TIMEOUT) } else { producer.abort_transaction(TIMEOUT) }
            .context("the transaction")
    })
    .await?
}

/// Sets settings of a topic; those that are not named get their default.
///
/// # Errors
/// When the broker refuses.
pub async fn set_config(brokers: &str, topic: &str, config: Config<'_>) -> anyhow::Result<()> {
    let new = AlterConfig::new(ResourceSpecifier::Topic(topic));
    let new = config.iter().fold(new, |new, (key, value)| new.set(key, value));
    let results = admin(brokers)?.alter_configs(&[new], &AdminOptions::new()).await?;
    results.into_iter().try_for_each(|result| result.map(drop)).map_err(|(topic, code)| anyhow!("{topic:?}: {code}"))
}

/// The settings of a topic, also those that are the broker's.
///
/// # Errors
/// When the broker does not tell.
pub async fn settings(brokers: &str, topic: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let asked = [ResourceSpecifier::Topic(topic)];
    let told = admin(brokers)?.describe_configs(&asked, &AdminOptions::new()).await?.pop();
    let entries = told.context("no answer")?.map_err(|code| anyhow!("{topic}: {code}"))?.entries;
    Ok(entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
}

/// Removes the messages of a partition before `offset`, as retention does.
///
/// # Errors
/// When the broker refuses.
pub async fn remove_before(brokers: &str, topic: &str, partition: i32, offset: i64) -> anyhow::Result<()> {
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    admin(brokers)?.delete_records(&before, &AdminOptions::new().operation_timeout(Some(TIMEOUT))).await?;
    Ok(())
}

/// Commits an offset for a group without members.
///
/// # Errors
/// When the broker refuses.
pub async fn commit(brokers: &str, topic: &str, group: &str, partition: i32, offset: i64) -> anyhow::Result<()> {
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    commit_all(brokers, group, offsets).await
}

/// What a group committed for every partition, with the text beside each offset.
///
/// # Errors
/// When the topic does not exist or the broker does not answer.
pub async fn commits(brokers: &str, topic: &str, group: &str) -> anyhow::Result<TopicPartitionList> {
    let mut config = config(brokers);
    config.set("group.id", group).set("enable.auto.commit", "false");
    let topic = topic.to_owned();
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config.create()?;
        let mut asked = TopicPartitionList::new();
        for partition in partitions(&consumer, &topic)? {
            asked.add_partition(&topic, partition);
        }
        committed_offsets(&consumer, &asked)
    })
    .await?
}

/// Commits these offsets, with their texts, for a group without members.
///
/// # Errors
/// When the broker refuses.
pub async fn commit_all(brokers: &str, group: &str, offsets: TopicPartitionList) -> anyhow::Result<()> {
    let consumer: BaseConsumer = config(brokers).set("group.id", group).set("enable.auto.commit", "false").create()?;
    tokio::task::spawn_blocking(move || {
        committed_offsets(&consumer, &offsets)?;
        Ok(consumer.commit(&offsets, rdkafka::consumer::CommitMode::Sync)?)
    })
    .await?
}

/// Every message of a topic, from the first to those that are there now; ordered by partition and offset.
///
/// # Errors
/// When the topic does not exist or the broker does not answer.
pub async fn read(brokers: &str, topic: &str) -> anyhow::Result<Vec<Message>> {
    let config = config(brokers);
    let topic = topic.to_owned();
    tokio::task::spawn_blocking(move || read_blocking(config, &topic)).await?
}

fn read_blocking(mut config: ClientConfig, topic: &str) -> anyhow::Result<Vec<Message>> {
    let consumer: BaseConsumer = config
        .set("group.id", "reads-without-committing")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        .create()?;
    let partitions = partitions(&consumer, topic)?;
    let mut assignment = TopicPartitionList::new();
    for partition in &partitions {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;

    let mut messages = Vec::new();
    let mut unfinished = partitions.len();
    while unfinished > 0 {
        match consumer.poll(TIMEOUT) {
            Some(Ok(message)) => messages.push(owned(&message)),
            Some(Err(KafkaError::PartitionEOF(_))) => unfinished -= 1,
            Some(Err(error)) => return Err(error).with_context(|| format!("cannot read {topic}")),
            None => bail!("{topic}: nothing from Kafka in {TIMEOUT:?}"),
        }
    }
    messages.sort_by_key(|message| (message.partition, message.offset));
    Ok(messages)
}

fn owned(message: &impl rdkafka::Message) -> Message {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    Message {
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
        timestamp: message.timestamp().to_millis(),
        partition: Some(message.partition()),
        offset: message.offset(),
    }
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> anyhow::Result<Vec<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let partitions: Vec<i32> =
        metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
    anyhow::ensure!(!partitions.is_empty(), "topic {topic} does not exist");
    Ok(partitions)
}

/// A group that is asked for the first time has no coordinator for a moment.
fn committed_offsets(consumer: &BaseConsumer, asked: &TopicPartitionList) -> anyhow::Result<TopicPartitionList> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match consumer.committed_offsets(asked.clone(), TIMEOUT) {
            Ok(committed) => return Ok(committed),
            Err(KafkaError::MetadataFetch(
                RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::CoordinatorLoadInProgress,
            )) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(100)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// What a group has still to read: for each partition the committed offset (`None` where nothing was committed) and the end.
///
/// # Errors
/// When the topic does not exist or the broker does not answer.
pub async fn progress(brokers: &str, topic: &str, group: &str) -> anyhow::Result<Vec<(Option<i64>, i64)>> {
    let committed = commits(brokers, topic, group).await?;
    let (consumer, topic): (BaseConsumer, _) = (config(brokers).create()?, topic.to_owned());
    tokio::task::spawn_blocking(move || {
        committed
            .elements()
            .iter()
            .map(|element| {
                let (_, end) = consumer.fetch_watermarks(&topic, element.partition(), TIMEOUT)?;
                let committed = match element.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                };
                Ok((committed, end))
            })
            .collect()
    })
    .await?
}

/// How many members a consumer group has, in the broker's view.
///
/// # Errors
/// When the broker does not answer.
pub async fn members(brokers: &str, group: &str) -> anyhow::Result<usize> {
    let (client, group): (BaseConsumer, _) = (config(brokers).create()?, group.to_owned());
    tokio::task::spawn_blocking(move || {
        let found = client.fetch_group_list(Some(&group), TIMEOUT)?;
        Ok(found.groups().iter().map(|group| group.members().len()).sum())
    })
    .await?
}

/// Waits until a broker answers.
///
/// # Errors
/// When it does not within `timeout`.
pub async fn ping(brokers: &str, timeout: Duration) -> anyhow::Result<()> {
    let client: BaseConsumer = config(brokers).create()?;
    tokio::task::spawn_blocking(move || client.fetch_metadata(None, timeout).map(drop))
        .await?
        .with_context(|| format!("Kafka at {brokers} does not answer"))
}
