//! Which topic a name stands for: Kafka gives each topic an id when the topic is created.
//!
//! A topic that is deleted and created again has the same name, and offsets that mean other messages. librdkafka goes on at the
//! old offset when the new topic is longer (librdkafka#3255), and skips the messages before.
#![allow(unsafe_code, reason = "rust-rdkafka has no safe way to ask for a topic's id; each block says why it is sound")]

use std::ffi::{CStr, CString};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rdkafka::bindings as librdkafka;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{IsError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;

/// How long the brokers are waited for.
const ANSWER: Duration = Duration::from_secs(10);

/// The id of `topic`, as Kafka's tools print it. Blocks.
///
/// # Errors
/// No broker answers in ten seconds, the topic does not exist, or the brokers know no ids (before Kafka 2.8).
pub fn topic_id<C: ClientContext>(client: &Client<C>, topic: &str) -> anyhow::Result<String> {
    let client = client.native_ptr();
    let name = CString::new(topic)?;
    let mut names = [name.as_ptr()];
    let wait = i32::try_from(ANSWER.as_millis())?;
    // SAFETY: the client is borrowed; librdkafka copies the names. Whatever is made here is given back once; an event that is
    // null may be given back as well.
    unsafe {
        let topics = librdkafka::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let queue = librdkafka::rd_kafka_queue_new(client);
        librdkafka::rd_kafka_DescribeTopics(client, topics, std::ptr::null(), queue);
        let event = librdkafka::rd_kafka_queue_poll(queue, wait);
        let id = if event.is_null() { Err(anyhow::anyhow!("no broker answers")) } else { id_in(event) };
        librdkafka::rd_kafka_event_destroy(event);
        librdkafka::rd_kafka_queue_destroy(queue);
        librdkafka::rd_kafka_TopicCollection_destroy(topics);
        id
    }
    .with_context(|| format!("the id of topic {topic} cannot be read"))
}

/// The id in the answer to a question for one topic.
///
/// # Safety
/// `event` is alive.
unsafe fn id_in(event: *mut librdkafka::rd_kafka_event_t) -> anyhow::Result<String> {
    // SAFETY: the event is alive, and so is what it holds. The pointers are checked before they are followed.
    unsafe {
        check(librdkafka::rd_kafka_event_error(event))?;
        let result = librdkafka::rd_kafka_event_DescribeTopics_result(event);
        ensure!(!result.is_null(), "the brokers gave another answer");
        let mut count = 0;
        let topics = librdkafka::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        ensure!(count == 1 && !topics.is_null(), "the brokers answered for {count} topics, not for one");
        let topic = *topics;
        let error = librdkafka::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() {
            check(librdkafka::rd_kafka_error_code(error))?;
        }
        let id = librdkafka::rd_kafka_TopicDescription_topic_id(topic);
        ensure!(!id.is_null(), "the brokers know no topic ids");
        let text = librdkafka::rd_kafka_Uuid_base64str(id);
        ensure!(!text.is_null(), "the brokers know no topic ids");
        Ok(CStr::from_ptr(text).to_str()?.to_owned())
    }
}

fn check(code: librdkafka::rd_kafka_resp_err_t) -> anyhow::Result<()> {
    if code.is_error() {
        bail!("{}", RDKafkaErrorCode::from(code));
    }
    Ok(())
}

/// The text that was committed together with a partition's offset. Whoever committed the offset chose its bytes; rust-rdkafka's own
/// way to them panics where they are no UTF-8.
pub fn committed_text(committed: &TopicPartitionList, topic: &str, partition: i32) -> Option<String> {
    let name = CString::new(topic).ok()?;
    // SAFETY: list and name are alive. The element, if there is one, and its bytes live as long as the list.
    let bytes = unsafe {
        let element =
            librdkafka::rd_kafka_topic_partition_list_find(committed.ptr(), name.as_ptr(), partition).as_ref()?;
        if element.metadata.is_null() {
            return None;
        }
        std::slice::from_raw_parts(element.metadata.cast::<u8>(), element.metadata_size)
    };
    Some(String::from_utf8_lossy(bytes).into_owned()).filter(|text| !text.is_empty())
}
