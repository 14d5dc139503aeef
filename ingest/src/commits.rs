//! Commits offsets without waiting, and hears of the commits that fail.
//!
//! rust-rdkafka's own `commit` with `CommitMode::Async` has no queue for the answer: librdkafka only logs a commit that fails, as
//! each commit does that is sent while the group rebalances.
#![allow(unsafe_code, reason = "rust-rdkafka has no safe way to name the queue of the answer")]

use rdkafka::bindings as librdkafka;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{IsError, KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::rebalance::Context;

/// Sends a commit. Its result comes to [`Context`]'s `commit_callback` from a later poll of the consumer.
///
/// # Errors
/// librdkafka does not send it.
pub fn send(consumer: &BaseConsumer<Context>, offsets: &TopicPartitionList) -> KafkaResult<()> {
    let client = consumer.client().native_ptr();
    // SAFETY: client and list are alive, and librdkafka copies the list. The reference to the queue is given back once; the
    // commit keeps one of its own. Without a callback, the result is an event of the queue.
    let error = unsafe {
        let queue = librdkafka::rd_kafka_queue_get_consumer(client);
        let error = librdkafka::rd_kafka_commit_queue(client, offsets.ptr(), queue, None, std::ptr::null_mut());
        librdkafka::rd_kafka_queue_destroy(queue);
        error
    };
    if error.is_error() { Err(KafkaError::ConsumerCommit(error.into())) } else { Ok(()) }
}
