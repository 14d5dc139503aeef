//! What happens when partitions come and go.
//!
//! Invariant: nothing that is known of a partition outlives its assignment, but for what is harmless: batches in flight, whose
//! offsets are not committed, and marks of late days, which another worker sets again.

use std::time::{Duration, Instant};

use common::kafka::{committed_text, topic_id};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};

use super::Worker;
use crate::messages::{Messages, first_offset};
use crate::metrics;
use crate::offsets::Partition;
use crate::rebalance::{give_back, take_over};

/// How long the broker is waited for when partitions are assigned. Polling stands still meanwhile.
const BROKER_ANSWER: Duration = Duration::from_secs(10);

impl Worker<'_> {
    /// Takes partitions over.
    pub(super) fn assign(&mut self, messages: &Messages, partitions: &TopicPartitionList) -> anyhow::Result<()> {
        let numbers = numbers(partitions);
        tracing::info!(partitions = ?numbers, "assigned");
        match topic_id(self.consumer.client(), &self.settings.kafka.topic) {
            Ok(id) => self.note_topic(id)?,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "a topic that was created again is not noticed");
            }
        }
        let start = self.start(partitions);
        messages.forward(partitions)?;
        take_over(&self.consumer, &start)?;
        self.tracker.assign(numbers);
        self.assigned_at.get_or_insert_with(Instant::now);
        self.is_waiting_for_assignment = false;
        // librdkafka keeps a partition's pause after the partition is lost, so its pause is set anew.
        self.tell(self.flow.on_assigned(), partitions)?;
        metrics::rebalanced("assigned", self.tracker.partitions().count());
        Ok(())
    }

    /// Kafka says that the topic has this id. Where it is another one than before, the topic was deleted and created again: what is
    /// known of its partitions, and what was committed, is of the former one.
    pub(super) fn note_topic(&mut self, id: String) -> anyhow::Result<()> {
        let Some(former) = self.topic_id.replace(id.clone()).filter(|former| *former != id) else { return Ok(()) };
        let topic = &self.settings.kafka.topic;
        tracing::warn!(topic, former, id, "the topic was deleted and created again: it is read from its start");
        self.seal();
        let assigned = self.assignment();
        self.tracker.assign(numbers(&assigned));
        let mut start = self.start(&assigned);
        if start.elements().iter().any(|element| element.offset() == Offset::Invalid) {
            start.set_all_offsets(Offset::Beginning)?;
        }
        let sought = self.consumer.seek_partitions(start, BROKER_ANSWER)?;
        sought.elements().iter().try_for_each(TopicPartitionListElem::error)?;
        Ok(())
    }

    /// Where reading begins, and notes where the partitions end now. A partition without a committed offset begins at its
    /// first message: said as a number, that saves the half second after which librdkafka asks for it.
    fn start(&mut self, partitions: &TopicPartitionList) -> TopicPartitionList {
        let topic = &self.settings.kafka.topic;
        let deadline = Instant::now() + BROKER_ANSWER;
        let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
        let committed = self.consumer.committed_offsets(partitions.clone(), BROKER_ANSWER);
        let start = partitions.clone();
        for partition in numbers(partitions) {
            let known = committed.as_ref().ok().and_then(|committed| committed.find_partition(topic, partition));
            let known = known.map(|element| element.offset());
            let known = if self.is_of_another_topic(committed.as_ref().ok(), partition) {
                Some(Offset::Invalid)
            } else {
                known
            };
            let ends = self.consumer.fetch_watermarks(topic, partition, left());
            let (next, end) = match (known, ends) {
                (Some(Offset::Offset(committed)), ends) => (Some(committed), ends.ok().map(|(_, high)| high)),
                (Some(Offset::Invalid), Ok((low, high))) => {
                    // Committed even where there is nothing to read: what retention removes from now on is missed then.
                    self.open.read_to(partition, low);
                    (Some(low), Some(high))
                }
                // librdkafka finds the start.
                (_, ends) => (None, ends.ok().map(|(_, high)| high)),
            };
            if let (Some(next), Some(mut element)) = (next, start.find_partition(topic, partition)) {
                // A number is always taken; were it not, librdkafka would find the start by itself.
                let _ = element.set_offset(Offset::Offset(next));
            }
            self.positions.assigned(partition, next, end);
            self.lag.assigned(partition, next, end);
            self.unread.forget(partition);
        }
        start
    }

    /// Whether the committed offset says that it is of a topic with the same name and another id.
    fn is_of_another_topic(&self, committed: Option<&TopicPartitionList>, partition: Partition) -> bool {
        let topic = &self.settings.kafka.topic;
        let of = committed.and_then(|committed| committed_text(committed, topic, partition));
        let (Some(of), Some(id)) = (of, &self.topic_id) else { return false };
        if of != *id {
            tracing::warn!(
                topic,
                partition,
                former = of,
                id,
                "the committed offset is of a topic that was deleted: the partition is read from its start"
            );
        }
        of != *id
    }

    /// Stores and commits what was read, then gives the partitions back. When they are already lost, somebody else reads
    /// them from the last commit: what is not yet handed over is dropped, and what is in flight is not committed.
    pub(super) fn revoke(&mut self, partitions: &TopicPartitionList) -> anyhow::Result<()> {
        let numbers = numbers(partitions);
        let is_lost = self.consumer.assignment_lost();
        if is_lost {
            tracing::warn!(partitions = ?numbers, "lost: this worker was silent for too long, and the group took the partitions away; they are read again from the last commit");
            self.is_waiting_for_assignment = true;
        } else {
            tracing::info!(partitions = ?numbers, "revoked");
        }
        if is_lost && self.tracker.partitions().all(|partition| numbers.contains(&partition)) {
            self.open.clear();
        } else {
            self.seal();
        }
        if !is_lost {
            self.drain();
            self.commit(CommitMode::Sync);
        }
        give_back(&self.consumer, partitions)?;
        for partition in &numbers {
            self.positions.revoked(*partition);
            self.lag.revoked(*partition);
            self.unread.forget(*partition);
            self.parts.decoder.forget_partition(*partition);
        }
        self.tracker.revoke(numbers);
        metrics::rebalanced(if is_lost { "lost" } else { "revoked" }, self.tracker.partitions().count());
        Ok(())
    }

    /// The partition's first offset. What the last fetch said is asked first: it costs nothing.
    pub(super) fn first_offset(&self, partition: Partition) -> i64 {
        let topic = &self.settings.kafka.topic;
        let fetched = first_offset(&self.consumer, topic, partition);
        fetched
            .or_else(|| self.consumer.fetch_watermarks(topic, partition, BROKER_ANSWER).ok().map(|(low, _)| low))
            .unwrap_or(0)
    }
}

fn numbers(partitions: &TopicPartitionList) -> Vec<Partition> {
    partitions.elements().iter().map(TopicPartitionListElem::partition).collect()
}
