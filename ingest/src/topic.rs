//! What Kafka says of the events' topic while the worker runs: how long the topic keeps messages, and whether it is still the same one.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use common::kafka::topic_id;
use common::{kafka, settings};
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use tokio::sync::watch;

use crate::expiry::{self, Retention};

/// How often Kafka is asked. A topic that is created again under a worker may be read at a wrong place for that long; then the worker
/// reads the topic from its start.
const ASK: Duration = Duration::from_secs(20);

/// What Kafka said last.
#[derive(Debug, Clone)]
pub struct Topic {
    /// How long the topic keeps messages.
    pub retention: Retention,
    /// The topic's id; none until Kafka has told it.
    pub id: Option<String>,
}

impl Topic {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self { retention: Retention::Unknown, id: None };
}

/// Asks Kafka at once and then every 20 seconds, for ever.
pub async fn follow(settings: settings::Kafka, topic: watch::Sender<Topic>) {
    let settings = Arc::new(settings);
    let mut client = None;
    loop {
        let (asked, kept) = (Arc::clone(&settings), client.take());
        // Making a client, and asking for the id, block.
        let answer = tokio::task::spawn_blocking(move || {
            let client = match kept {
                Some(client) => client,
                None => kafka::client_config(&asked).create()?,
            };
            futures::executor::block_on(ask(&asked, &client)).map(|told| (client, told))
        });
        match answer.await.map_err(anyhow::Error::from).and_then(|answer| answer) {
            Ok((used, told)) => {
                client = Some(used);
                topic.send_replace(told);
            }
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "nobody knows how long Kafka keeps unread events: EventsExpireSoon is blind"
            ),
        }
        tokio::time::sleep(ASK).await;
    }
}

async fn ask(settings: &settings::Kafka, client: &AdminClient<DefaultClientContext>) -> anyhow::Result<Topic> {
    let entries = kafka::topic_settings(client, &settings.topic).await?.entries;
    let value = |name| entries.iter().find(|entry| entry.name == name).and_then(|entry| entry.value.as_deref());
    let retention = expiry::retention(value("cleanup.policy"), value("retention.ms"))
        .context("Kafka told no retention.ms of the topic")?;
    Ok(Topic { retention, id: topic_id(client.inner(), &settings.topic).ok() })
}
