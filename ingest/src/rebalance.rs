//! Turns librdkafka's callbacks into messages that the poll loop handles itself: a revocation must seal, drain and
//! commit, which needs what only the loop has.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use common::telemetry::{Part, Readiness};
use rdkafka::bindings::rd_kafka_resp_err_t;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::{Statistics, error::KafkaError};

use crate::lag;
use crate::offsets::Partition;

/// What the group, or a commit, says.
#[derive(Debug)]
pub enum Event {
    /// These partitions are ours, from these offsets.
    Assign(TopicPartitionList),
    /// These partitions are to be given back.
    Revoke(TopicPartitionList),
    /// An asynchronous commit failed.
    CommitFailed(KafkaError),
}

/// The context of the worker's consumer.
pub struct Context {
    events: Mutex<VecDeque<Event>>,
    closing: AtomicBool,
    topic: String,
    /// Where the topic's partitions ended when librdkafka last told.
    ends: Mutex<Vec<(Partition, i64)>>,
    readiness: Readiness,
}

impl Context {
    /// Of a consumer of `topic`. `readiness` is told when no broker is there.
    pub fn new(topic: String, readiness: Readiness) -> Self {
        Self { events: Mutex::default(), closing: AtomicBool::new(false), topic, ends: Mutex::default(), readiness }
    }

    /// Where the topic's partitions ended a few seconds ago, of those that were fetched from.
    pub fn ends(&self) -> Vec<(Partition, i64)> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The oldest event not yet handled.
    pub fn next_event(&self) -> Option<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// From now on partitions are given back without the loop, which is about to end.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    fn push(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
    }
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = lag::ends(&statistics, &self.topic);
        let is_connected = statistics.brokers.values().any(|broker| broker.state == "UP");
        self.readiness.set(Part::Kafka, if is_connected { Ok(()) } else { Err("no broker is connected".to_owned()) });
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition comes this way as well as from the poll, and is no error.
        if matches!(error, KafkaError::Global(RDKafkaErrorCode::PartitionEOF)) {
            return;
        }
        if matches!(error, KafkaError::Global(RDKafkaErrorCode::AllBrokersDown)) {
            self.readiness.set(Part::Kafka, Err("no broker is connected".to_owned()));
        }
        tracing::warn!(%error, why = reason, "Kafka");
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: rd_kafka_resp_err_t, partitions: &mut TopicPartitionList) {
        let is_assignment = code == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            if let Err(error) = give_back(consumer, partitions) {
                tracing::warn!(%error, "the partitions could not be given back while closing");
            }
        } else if is_assignment {
            self.push(Event::Assign(partitions.clone()));
        } else {
            self.push(Event::Revoke(partitions.clone()));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        match result {
            // Nothing to commit is librdkafka's answer to an empty list, and no failure.
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => self.push(Event::CommitFailed(error)),
        }
    }
}

/// Takes partitions over, in the way of the group's protocol.
pub fn take_over(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> KafkaResult<()> {
    if is_cooperative(consumer) { consumer.incremental_assign(partitions) } else { consumer.assign(partitions) }
}

/// Gives partitions back, in the way of the group's protocol.
pub fn give_back(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> KafkaResult<()> {
    if is_cooperative(consumer) { consumer.incremental_unassign(partitions) } else { consumer.unassign() }
}

fn is_cooperative(consumer: &BaseConsumer<Context>) -> bool {
    matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative)
}
