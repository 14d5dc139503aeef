//! Takes messages from librdkafka many at a time.
//!
//! Where rebalances are events, rust-rdkafka gives one message for each poll, and what a poll does beside (clock, locks, an
//! event that is made and freed) took a sixth of ingest's CPU. Here the queues of the assigned partitions are forwarded to
//! one queue, whose messages librdkafka hands to a callback. What the group, the statistics and the client have to say stays
//! on the consumer's own queue, which must go on being polled.
//!
//! `rd_kafka_consume_batch_queue`, which fills an array, must not be used together with `enable.partition.eof`: it takes the
//! report of a partition's end for a message, so the partition's next message is skipped after the next pause, which each
//! rebalance is too (librdkafka 2.12.1, `rd_kafka_q_serve_rkmessages`).
//!
//! Invariant: a partition is forwarded before each of its assignments. librdkafka ends the forwarding when it stops fetching,
//! and never begins it again by itself once an application has done so: a partition that is assigned again would be silent.
#![allow(unsafe_code, reason = "rust-rdkafka has no safe way to take many messages; each block says why it is sound")]

use std::ffi::{CStr, CString, c_void};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as librdkafka;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{IsError, KafkaError};
use rdkafka::message::{BorrowedHeaders, Timestamp};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::rebalance::Context;

/// Messages taken between two looks at the clock and the acknowledgements.
pub const AT_ONCE: usize = 256;

/// What the queue of messages holds.
pub enum Taken<'a> {
    /// A message.
    Message(Message<'a>),
    /// Everything before `offset` of the partition is read, and nothing is there for now.
    End {
        /// The partition.
        partition: i32,
        /// The offset that the next message has at least.
        offset: i64,
    },
    /// The client has a problem with a partition.
    Error(KafkaError),
}

/// The first offset that the partition still has, as the last fetch told; none when it did not.
pub fn first_offset(consumer: &BaseConsumer<Context>, topic: &str, partition: i32) -> Option<i64> {
    let name = CString::new(topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: client and name are alive, and the function writes to the two numbers only while it runs.
    let result = unsafe {
        let client = consumer.client().native_ptr();
        librdkafka::rd_kafka_get_watermark_offsets(client, name.as_ptr(), partition, &mut low, &mut high)
    };
    (!result.is_error() && low >= 0).then_some(low)
}

/// The messages of all assigned partitions.
pub struct Messages {
    /// Ours alone until it is destroyed in `drop`.
    queue: *mut librdkafka::rd_kafka_queue_t,
    /// Lives longer than the queue, which is a part of it.
    consumer: Arc<BaseConsumer<Context>>,
}

impl Messages {
    /// Of the partitions that will be assigned to `consumer`.
    pub fn of(consumer: Arc<BaseConsumer<Context>>) -> Self {
        // SAFETY: the client lives as long as `consumer`. The function always returns a queue.
        let queue = unsafe { librdkafka::rd_kafka_queue_new(consumer.client().native_ptr()) };
        Self { queue, consumer }
    }

    /// Lets the messages of `partitions`, which are about to be assigned, come here.
    ///
    /// # Errors
    /// librdkafka does not know a partition.
    pub fn forward(&self, partitions: &TopicPartitionList) -> anyhow::Result<()> {
        let client = self.consumer.client().native_ptr();
        for element in partitions.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            let name = CString::new(topic)?;
            // SAFETY: client and name are alive; the function copies the name.
            let from = unsafe { librdkafka::rd_kafka_queue_get_partition(client, name.as_ptr(), partition) };
            anyhow::ensure!(!from.is_null(), "Kafka's client has no queue for partition {partition} of {topic}");
            // SAFETY: both queues are alive; what `from` refers to outlives this reference to it, which is given back once.
            unsafe {
                librdkafka::rd_kafka_queue_forward(from, self.queue);
                librdkafka::rd_kafka_queue_destroy(from);
            }
        }
        Ok(())
    }

    /// Hands what is there, at most `most`, to `each`; where nothing is there, waits for the first.
    ///
    /// # Errors
    /// librdkafka does not take the call.
    pub fn take<Each: FnMut(Taken<'_>)>(&self, wait: Duration, most: usize, each: Each) -> anyhow::Result<()> {
        let wait = i32::try_from(wait.as_millis())?;
        let mut taking = Taking { client: self.consumer.client().native_ptr(), each, left: most };
        let opaque = std::ptr::from_mut(&mut taking).cast();
        // SAFETY: the queue is alive. librdkafka calls `take_one` in this thread, with this `opaque`, and only before it
        // returns.
        let served =
            unsafe { librdkafka::rd_kafka_consume_callback_queue(self.queue, wait, Some(take_one::<Each>), opaque) };
        anyhow::ensure!(served >= 0, "Kafka's client does not give its messages");
        Ok(())
    }
}

/// One call of [`Messages::take`].
struct Taking<Each> {
    client: *mut librdkafka::rd_kafka_t,
    each: Each,
    left: usize,
}

unsafe extern "C" fn take_one<Each: FnMut(Taken<'_>)>(
    message: *mut librdkafka::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: `opaque` is what `take` handed over, and nobody else uses it meanwhile.
    let taking = unsafe { &mut *opaque.cast::<Taking<Each>>() };
    (taking.each)(Message { message, queue: PhantomData }.or_else());
    taking.left = taking.left.saturating_sub(1);
    if taking.left == 0 {
        // SAFETY: the client is alive, and this is one of its callbacks. What is left stays in the queue.
        unsafe { librdkafka::rd_kafka_yield(taking.client) };
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        // SAFETY: made in `of`, destroyed once, while the client is alive.
        unsafe { librdkafka::rd_kafka_queue_destroy(self.queue) };
    }
}

/// One message, which librdkafka takes back after it was handed over.
pub struct Message<'a> {
    message: *mut librdkafka::rd_kafka_message_t,
    queue: PhantomData<&'a Messages>,
}

impl<'a> Message<'a> {
    fn or_else(self) -> Taken<'a> {
        let message = self.read();
        match message.err {
            librdkafka::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                Taken::End { partition: message.partition, offset: message.offset }
            }
            error if error.is_error() => Taken::Error(KafkaError::MessageConsumption(error.into())),
            _ => Taken::Message(self),
        }
    }

    /// Whether it has headers that librdkafka does not read: more than 100,000, or none that Kafka's own clients write.
    pub fn has_unreadable_headers(&self) -> bool {
        self.native_headers().is_err()
    }

    /// Null when it has none.
    fn native_headers(&self) -> Result<*mut librdkafka::rd_kafka_headers_t, KafkaError> {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message is alive.
        let result = unsafe { librdkafka::rd_kafka_message_headers(self.message, &mut headers) };
        match result {
            librdkafka::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__NOENT => Ok(std::ptr::null_mut()),
            error if error.is_error() => Err(KafkaError::MessageConsumption(error.into())),
            _ => Ok(headers),
        }
    }

    fn read(&self) -> &librdkafka::rd_kafka_message_t {
        // SAFETY: the message is alive while `take` hands it over, and nobody can keep it longer.
        unsafe { &*self.message }
    }

    /// What a pointer and a length in it mean; null is none.
    fn bytes(&self, start: *const std::ffi::c_void, length: usize) -> Option<&[u8]> {
        // SAFETY: key and value lie in memory that the message owns, and are as long as it says.
        (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), length) })
    }
}

impl rdkafka::Message for Message<'_> {
    type Headers = BorrowedHeaders;

    fn key(&self) -> Option<&[u8]> {
        let message = self.read();
        self.bytes(message.key, message.key_len)
    }

    fn payload(&self) -> Option<&[u8]> {
        let message = self.read();
        self.bytes(message.payload, message.len)
    }

    unsafe fn payload_mut(&mut self) -> Option<&mut [u8]> {
        None
    }

    fn topic(&self) -> &str {
        // SAFETY: a message without an error has a topic, whose name is text of the client.
        let name = unsafe { CStr::from_ptr(librdkafka::rd_kafka_topic_name(self.read().rkt)) };
        // Kafka's names of topics are ASCII.
        name.to_str().unwrap_or_default()
    }

    fn partition(&self) -> i32 {
        self.read().partition
    }

    fn offset(&self) -> i64 {
        self.read().offset
    }

    fn timestamp(&self) -> Timestamp {
        use librdkafka::rd_kafka_timestamp_type_t as Type;
        let mut kind = Type::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        let millis = unsafe { librdkafka::rd_kafka_message_timestamp(self.message, &mut kind) };
        match kind {
            Type::RD_KAFKA_TIMESTAMP_CREATE_TIME => Timestamp::CreateTime(millis),
            Type::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => Timestamp::LogAppendTime(millis),
            Type::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => Timestamp::NotAvailable,
        }
    }

    fn headers(&self) -> Option<&BorrowedHeaders> {
        let headers = self.native_headers().ok()?;
        // SAFETY: the headers belong to the message; a reference to BorrowedHeaders is this pointer and nothing else.
        (!headers.is_null()).then(|| unsafe { &*headers.cast::<BorrowedHeaders>() })
    }
}
