//! Reading the dead-letter topic, up to where it ended when it was opened: what arrives meanwhile is for the next time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, bail};
use common::kafka::{self, unreachable_brokers};
use common::settings;
use indicatif::{ProgressBar, ProgressStyle};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::letter::{Letter, is_old_mark};

const BROKER_ANSWER: Duration = Duration::from_secs(10);
/// How long Kafka may be silent in the middle of a partition.
const SILENCE: Duration = Duration::from_secs(30);

/// Partitions, and the offsets of each that are to be read.
pub(super) type Offsets = BTreeMap<i32, Range<i64>>;

/// Every error, the end of a partition among them, also comes back from the poll: it is not logged twice.
struct OnlyPoll;

impl ClientContext for OnlyPoll {
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for OnlyPoll {}

pub(super) struct DeadLetterTopic {
    name: String,
    consumer: BaseConsumer<OnlyPoll>,
    offsets: Offsets,
}

impl DeadLetterTopic {
    /// # Errors
    /// No broker answers, or the topic does not exist.
    pub(super) fn open(settings: &settings::Kafka) -> anyhow::Result<Self> {
        let name = settings.dead_letter_topic();
        let consumer: BaseConsumer<OnlyPoll> = kafka::reader_config(settings, "dead-letters")
            .create_with_context(OnlyPoll)
            .context("the [kafka] settings cannot be used")?;
        let mut offsets = Offsets::new();
        for partition in 0..i32::try_from(kafka::partition_count(settings, &consumer, &name)?)? {
            let (first, end) = consumer
                .fetch_watermarks(&name, partition, BROKER_ANSWER)
                .map_err(|error| unreachable_brokers(settings, &error))?;
            offsets.insert(partition, first..end);
        }
        Ok(Self { name, consumer, offsets })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What it holds.
    pub(super) fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// The letters at these offsets, one after the other; in order within a partition.
    ///
    /// # Errors
    /// librdkafka does not take the offsets.
    pub(super) fn letters(&self, offsets: &Offsets, doing: &'static str) -> anyhow::Result<Letters<'_>> {
        Ok(Letters { messages: Messages::start(self, offsets, doing)?, old_marks: 0 })
    }
}

pub(super) struct Letters<'a> {
    messages: Messages<'a>,
    /// Marks that earlier versions left, so far: they are no letters, and nothing that they say is believed.
    pub old_marks: u64,
}

impl Letters<'_> {
    /// # Errors
    /// Kafka stops answering.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Letter>> {
        while let Some(message) = self.messages.next()? {
            if !is_old_mark(&message) {
                return Ok(Some(Letter::read(&message)));
            }
            self.old_marks += 1;
        }
        Ok(None)
    }
}

struct Messages<'a> {
    topic: &'a DeadLetterTopic,
    /// The end of each partition that has not been reached.
    ends: BTreeMap<i32, i64>,
    progress: ProgressBar,
}

impl<'a> Messages<'a> {
    fn start(topic: &'a DeadLetterTopic, offsets: &Offsets, doing: &'static str) -> anyhow::Result<Self> {
        let to_read = || offsets.iter().filter(|(_, offsets)| !offsets.is_empty());
        let mut assignment = TopicPartitionList::new();
        for (partition, offsets) in to_read() {
            assignment.add_partition_offset(&topic.name, *partition, Offset::Offset(offsets.start))?;
        }
        topic.consumer.assign(&assignment)?;
        let messages: i64 = to_read().map(|(_, offsets)| offsets.end - offsets.start).sum();
        let progress = ProgressBar::new(messages.unsigned_abs())
            .with_style(ProgressStyle::with_template("{prefix} {wide_bar} {human_pos}/{human_len}, {eta} left")?)
            .with_prefix(doing);
        Ok(Self { topic, ends: to_read().map(|(partition, offsets)| (*partition, offsets.end)).collect(), progress })
    }

    fn next(&mut self) -> anyhow::Result<Option<BorrowedMessage<'a>>> {
        while !self.ends.is_empty() {
            match self.topic.consumer.poll(SILENCE) {
                Some(Ok(message)) => {
                    let Some(end) = self.ends.get(&message.partition()).copied() else { continue };
                    if message.offset() + 1 >= end {
                        self.ends.remove(&message.partition());
                    }
                    if message.offset() < end {
                        self.progress.inc(1);
                        return Ok(Some(message));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(self.ends.remove(&partition)),
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                    return Err(error).with_context(|| format!("topic {} cannot be read", self.topic.name));
                }
                Some(Err(error)) => tracing::warn!(%error, topic = self.topic.name, "Kafka"),
                None => bail!("topic {}: nothing came from Kafka in {SILENCE:?}; try again", self.topic.name),
            }
        }
        self.progress.finish_and_clear();
        Ok(None)
    }
}
