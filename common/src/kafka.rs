//! Connecting to Kafka.

use std::time::Duration;

use anyhow::{bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
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

/// What to say when no broker answers.
pub fn unreachable_brokers(settings: &Kafka, error: &rdkafka::error::KafkaError) -> anyhow::Error {
    anyhow::anyhow!(
        "Kafka at {} does not answer: {error}; check that it runs and that kafka.brokers (DEVTOOLKIT__KAFKA__BROKERS) is right",
        settings.brokers
    )
}

/// A client context without callbacks, for short-lived clients.
#[derive(Debug, Clone, Copy)]
pub struct Quiet;

impl ClientContext for Quiet {}
impl ConsumerContext for Quiet {}
