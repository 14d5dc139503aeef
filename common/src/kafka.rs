//! Connecting to Kafka.

mod topic_id;

use std::ffi::CStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::bindings::{rd_kafka_header_get_all, rd_kafka_headers_t};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{IsError, KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, Headers, OwnedHeaders};
use rdkafka::{ClientConfig, Message};
use secrecy::ExposeSecret;

use crate::event;
use crate::settings::Kafka;
use crate::tls;

pub use topic_id::{committed_text, topic_id};

/// How long the first answer of a broker is waited for.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// How long the brokers are waited for to tell a topic's settings.
const TOPIC_SETTINGS: Duration = Duration::from_secs(15);

/// librdkafka has no setting for the lowest version of TLS. This one concerns TLS 1.2 alone, and this cipher needs a shared secret, which
/// no broker has: TLS 1.2 cannot be agreed on. TLS 1.3 has ciphers of its own.
const NO_CIPHER_OF_TLS_1_2: &str = "PSK-AES128-GCM-SHA256";

/// Brokers and security of the settings; callers add what makes them a consumer or a producer.
pub fn client_config(settings: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.brokers);
    config.set("client.id", "devtoolkit-analytics");
    config.set("security.protocol", &settings.security_protocol);
    if !settings.ca_file.as_os_str().is_empty() {
        config.set("ssl.ca.location", settings.ca_file.to_string_lossy());
    }
    if settings.security_protocol.ends_with("ssl") && settings.tls_min_version == tls::NEWEST {
        config.set("ssl.cipher.suites", NO_CIPHER_OF_TLS_1_2);
    }
    if settings.security_protocol.starts_with("sasl") {
        config.set("sasl.mechanism", &settings.sasl_mechanism);
        config.set("sasl.username", &settings.username);
        config.set("sasl.password", settings.password.expose_secret());
    }
    config
}

/// The same for a consumer that keeps little of what it has not handed over yet, whatever is on the topic.
///
/// librdkafka counts only the bytes of values: a message without a value may have a megabyte of headers or key. So the number of
/// messages is bounded as well. A fetch begins while fewer wait, and brings at most 2 MiB, or one batch if that is larger.
pub fn consumer_config(settings: &Kafka) -> ClientConfig {
    let mut config = client_config(settings);
    config
        .set("queued.min.messages", "50")
        .set("queued.max.messages.kbytes", "2048")
        .set("fetch.max.bytes", "2097152")
        .set("fetch.message.max.bytes", "524288")
        // While as much waits as may, librdkafka looks again after this. The default of 1 s stalls the fetch.
        .set("fetch.queue.backoff.ms", "10")
        // The broker's checksum is the only word on whether the bytes are those that were sent; off by default.
        .set("check.crcs", "true");
    config
}

/// The same for a consumer that reads a topic from its start and belongs to no group; the end of a partition comes back from the poll.
pub fn reader_config(settings: &Kafka, purpose: &str) -> ClientConfig {
    let mut config = consumer_config(settings);
    config
        // A consumer must have one; as nothing is subscribed and committed, no group comes to be.
        .set("group.id", format!("{}-{purpose}", settings.group_id))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true");
    config
}

/// The partition count of `topic`.
///
/// # Errors
/// No broker answers, or the topic does not exist.
pub fn partition_count<C: ConsumerContext>(
    settings: &Kafka,
    consumer: &BaseConsumer<C>,
    topic: &str,
) -> anyhow::Result<usize> {
    let metadata =
        consumer.fetch_metadata(Some(topic), FIRST_ANSWER).map_err(|error| unreachable_brokers(settings, &error))?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        bail!("Kafka at {} says nothing of topic {topic}; run `admin migrate`, which creates it", settings.brokers);
    };
    ensure!(
        found.error().is_none() && !found.partitions().is_empty(),
        "topic {topic} does not exist on Kafka at {}; run `admin migrate`, which creates it",
        settings.brokers
    );
    Ok(found.partitions().len())
}

/// The settings of a topic, also those that are the broker's.
///
/// # Errors
/// The brokers do not tell.
pub async fn topic_settings(client: &AdminClient<DefaultClientContext>, topic: &str) -> anyhow::Result<ConfigResource> {
    let asked = [ResourceSpecifier::Topic(topic)];
    let told = async {
        let options = AdminOptions::new().request_timeout(Some(TOPIC_SETTINGS));
        let mut answers = client.describe_configs(&asked, &options).await?;
        anyhow::Ok(answers.pop().context("Kafka did not answer")??)
    };
    told.await.with_context(|| format!("the settings of topic {topic} cannot be read"))
}

/// What to say when no broker answers. Takes a second to ask librdkafka for the reason: its errors say no more than that
/// the transport failed.
pub fn unreachable_brokers(settings: &Kafka, error: &KafkaError) -> anyhow::Error {
    let (reason, advice) = match first_reason(settings) {
        Some((RDKafkaErrorCode::Authentication, reason)) => {
            (reason, "kafka.username, kafka.password and kafka.sasl_mechanism are those of a user on the brokers")
        }
        Some((_, reason))
            if reason.contains("alert handshake failure") || reason.contains("alert protocol version") =>
        {
            (reason, "the brokers speak TLS 1.3 (ssl.enabled.protocols), or that kafka.tls_min_version is TLSv1.2")
        }
        // librdkafka gives the same failure one of two codes, as its thread happens to see it.
        Some((code, reason)) if code == RDKafkaErrorCode::SSL || reason.contains("SSL routines") => (
            reason,
            "the brokers' certificate is valid and for this host name, and that kafka.ca_file is of the authority that signed it",
        ),
        Some((_, reason)) => (reason, "it runs and that kafka.brokers and kafka.security_protocol are right"),
        None => (error.to_string(), "it runs and that kafka.brokers (DEVTOOLKIT__KAFKA__BROKERS) is right"),
    };
    anyhow::anyhow!("Kafka at {} does not answer: {reason}; check that {advice}", settings.brokers)
}

/// What librdkafka says of the first connection that fails.
fn first_reason(settings: &Kafka) -> Option<(RDKafkaErrorCode, String)> {
    let consumer: BaseConsumer<Reasons> = client_config(settings).create_with_context(Reasons::default()).ok()?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        // Serves the callback below; there is nothing to consume.
        let _ = consumer.poll(Duration::from_millis(100));
        let first = consumer.context().0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if first.is_some() {
            return first;
        }
    }
    None
}

/// Keeps the first reason.
#[derive(Default)]
struct Reasons(Mutex<Option<(RDKafkaErrorCode, String)>>);

impl ClientContext for Reasons {
    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| (code, reason.to_owned()));
    }
}

impl ConsumerContext for Reasons {}

/// A client context without callbacks, for short-lived clients.
#[derive(Debug, Clone, Copy)]
pub struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is no error.
        if !matches!(error, KafkaError::Global(RDKafkaErrorCode::PartitionEOF)) {
            tracing::warn!(%error, why = reason, "Kafka");
        }
    }
}
impl ConsumerContext for Quiet {}

/// Headers that are librdkafka's own.
pub trait NativeHeaders: Headers {
    /// The headers, borrowed.
    fn borrowed(&self) -> &BorrowedHeaders;
}

impl NativeHeaders for BorrowedHeaders {
    fn borrowed(&self) -> &BorrowedHeaders {
        self
    }
}

impl NativeHeaders for OwnedHeaders {
    fn borrowed(&self) -> &BorrowedHeaders {
        self.as_borrowed()
    }
}

/// Name and value of each header of a message.
pub fn headers<M: Message<Headers: NativeHeaders>>(message: &M) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    each_header(message.headers().map(NativeHeaders::borrowed))
}

/// Name and value of each header. A name may be any bytes; rust-rdkafka's own way to read headers panics where it is not
/// UTF-8, and so whoever can send to a topic could end its readers.
#[allow(unsafe_code, reason = "librdkafka's function is the only other way to the names")]
pub fn each_header(headers: Option<&BorrowedHeaders>) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    (0..).map_while(move |index| {
        // A reference to BorrowedHeaders is librdkafka's own pointer.
        let headers = std::ptr::from_ref(headers?).cast::<rd_kafka_headers_t>();
        let (mut name, mut value, mut length) = (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: the headers are alive as long as they are borrowed.
        let found = unsafe { rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut length) };
        if found.is_error() {
            return None;
        }
        // SAFETY: a header that was found has a name that ends with a zero byte, and a value of this length or none; both
        // belong to the headers.
        unsafe {
            let name = CStr::from_ptr(name).to_bytes();
            Some((name, (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), length))))
        }
    })
}

/// A message in the terms of its sender. A header whose name is no text is no attribute of an event.
pub fn as_sent<'a>(
    message: &'a impl Message<Headers: NativeHeaders>,
) -> event::Message<'a, impl Iterator<Item = (&'a str, Option<&'a [u8]>)>> {
    let headers = headers(message).filter_map(|(name, value)| Some((str::from_utf8(name).ok()?, value)));
    event::Message { value: message.payload(), headers }
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;
    use rdkafka::bindings::rd_kafka_header_add;
    use rdkafka::message::{Header, OwnedMessage};

    use super::*;

    #[test]
    #[allow(unsafe_code, reason = "rust-rdkafka adds no such name")]
    fn a_name_that_is_no_text_is_read_as_bytes() {
        let headers = OwnedHeaders::new().insert(Header { key: "ce_id", value: Some("1") });
        let name = [0xff_u8, 0xfe];
        let native = std::ptr::from_ref(headers.as_borrowed()).cast_mut().cast::<rd_kafka_headers_t>();
        // SAFETY: the headers are alive, and nobody else has a reference to them; the function copies name and value.
        let added = unsafe { rd_kafka_header_add(native, name.as_ptr().cast(), 2, std::ptr::null(), 0) };
        assert!(!added.is_error());
        let message = OwnedMessage::new(None, None, "topic".to_owned(), Timestamp::NotAvailable, 0, 0, Some(headers));
        let read: Vec<_> = super::headers(&message).collect();
        assert_eq!(read, [(b"ce_id".as_slice(), Some(b"1".as_slice())), (name.as_slice(), None)]);
    }
}
