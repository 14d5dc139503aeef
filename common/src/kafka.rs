//! Connecting to Kafka.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use secrecy::ExposeSecret;

use crate::settings::Kafka;

/// How long the first answer of a broker is waited for.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// Brokers and security of the settings; callers add what makes them a consumer or a producer.
pub fn client_config(settings: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.brokers);
    config.set("client.id", "devtoolkit-analytics");
    config.set("security.protocol", &settings.security_protocol);
    if !settings.ca_file.as_os_str().is_empty() {
        config.set("ssl.ca.location", settings.ca_file.to_string_lossy());
    }
    if settings.security_protocol.starts_with("sasl") {
        config.set("sasl.mechanism", &settings.sasl_mechanism);
        config.set("sasl.username", &settings.username);
        config.set("sasl.password", settings.password.expose_secret());
    }
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

/// What to say when no broker answers. Takes a second to ask librdkafka for the reason: its errors say no more than that
/// the transport failed.
pub fn unreachable_brokers(settings: &Kafka, error: &KafkaError) -> anyhow::Error {
    let (reason, advice) = match first_reason(settings) {
        Some((RDKafkaErrorCode::Authentication, reason)) => {
            (reason, "kafka.username, kafka.password and kafka.sasl_mechanism are those of a user on the brokers")
        }
        Some((RDKafkaErrorCode::SSL, reason)) => (
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

impl ClientContext for Quiet {}
impl ConsumerContext for Quiet {}
