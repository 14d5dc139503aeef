//! Until when Kafka holds what was sent before an erasure.

use std::collections::BTreeMap;

use bson::DateTime;
use common::kafka;
use common::settings::Kafka;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;

/// For the events' topic and the dead letters: when retention has removed everything that arrived before `now`; none where a topic
/// keeps messages for ever.
///
/// # Errors
/// The brokers do not tell.
pub(super) async fn holds_until(settings: &Kafka, now: DateTime) -> anyhow::Result<BTreeMap<String, Option<DateTime>>> {
    let client: AdminClient<DefaultClientContext> = kafka::client_config(settings).create()?;
    let mut until = BTreeMap::new();
    for topic in [settings.topic.clone(), settings.dead_letter_topic()] {
        let entries = kafka::topic_settings(&client, &topic).await?.entries;
        let value = |name| entries.iter().find(|entry| entry.name == name).and_then(|entry| entry.value.as_deref());
        let retention =
            value("retention.ms").and_then(|millis| millis.parse::<i64>().ok()).filter(|millis| *millis >= 0);
        // The broker removes whole segments, whose youngest message decides.
        let segment = value("segment.ms").and_then(|millis| millis.parse::<i64>().ok()).unwrap_or(0);
        let removed = |retention: i64| {
            DateTime::from_millis(now.timestamp_millis().saturating_add(retention).saturating_add(segment))
        };
        until.insert(topic, retention.map(removed));
    }
    Ok(until)
}
