//! Whether the database is of the definition of an event's identity that this version of ingest stores events by, and what
//! another definition means.

use anyhow::Context;
use bson::{Document, doc};
use common::documents::migration::{self, AppliedChange};
use common::event::{EventType, IDENTITY_DEFINITION};
use mongodb::Database;

const WHAT: &str = "identity of events";

/// What is to be recorded in `migrations`; none when it is recorded already.
///
/// # Errors
/// MongoDB fails.
pub async fn difference(database: &Database) -> anyhow::Result<Option<AppliedChange>> {
    let detail = format!("definition {IDENTITY_DEFINITION}");
    let recorded = doc! { "changes": { "$elemMatch": { "what": WHAT, "detail": &detail } } };
    let recorded = database.collection::<Document>(migration::COLLECTION).find_one(recorded).await;
    let is_recorded = recorded.context("the collection migrations cannot be read")?.is_some();
    Ok((!is_recorded).then(|| AppliedChange { what: WHAT.to_owned(), change: "set".to_owned(), detail }))
}

/// What the change means for events that are stored, where there are any; `retention` is the topic's `retention.ms`.
///
/// # Errors
/// MongoDB fails.
pub async fn note(database: &Database, topic: &str, retention: Option<&str>) -> anyhow::Result<Option<String>> {
    for event_type in EventType::ALL {
        let events = database.collection::<Document>(event_type.collection());
        let first = events.find_one(doc! {}).projection(doc! { "_id": 1 }).await;
        if first.with_context(|| format!("{} cannot be read", event_type.collection()))?.is_some() {
            return Ok(Some(meaning(topic, retention)));
        }
    }
    Ok(None)
}

fn meaning(topic: &str, retention: Option<&str>) -> String {
    let until = match retention.and_then(|millis| millis.parse::<i64>().ok()) {
        Some(millis) if millis >= 0 => {
            let days = millis as f64 / 86_400_000.0;
            format!("this matters for {days:.1} days (the topic's retention.ms): then no older message is left")
        }
        Some(_) => "this matters for ever: the topic's retention.ms is -1".to_owned(),
        None => "this matters as long as the topic keeps such messages (its retention.ms)".to_owned(),
    };
    format!(
        "from this version on, ingest stores events by definition {IDENTITY_DEFINITION} of their identity. An event that is \
         stored by an earlier definition gets another _id: if ingest reads its message again, the event is stored and counted \
         a second time. Before the first ingest of this version starts, end every older one by SIGTERM and wait until it has \
         ended. Do not let the consumer group read messages of {topic} again that an older ingest has read; {until}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_until_when_older_messages_are_there() {
        let says = |retention: Option<&str>| meaning("events", retention);
        assert!(
            says(Some("604800000"))
                .ends_with("this matters for 7.0 days (the topic's retention.ms): then no older message is left")
        );
        assert!(says(Some("-1")).ends_with("this matters for ever: the topic's retention.ms is -1"));
        assert!(says(None).contains("messages of events again"));
    }
}
