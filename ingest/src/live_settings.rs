//! Limits that can be changed while the workers run, in `system_configuration`. A key that is missing or inactive leaves the
//! setting of the file in force; a value that cannot be used is reported, and the last good one stays.

use std::num::NonZeroU32;
use std::time::Duration;

use bson::{Document, doc};
use common::documents::system_configuration::{
    self, EVENTS_PER_SECOND, INGEST_LIMITS, SOURCE_EVENTS_PER_MINUTE, TOOL_EVENTS_PER_MINUTE, USER_EVENTS_PER_MINUTE,
};
use common::telemetry::{Part, Readiness};
use common::{configuration, mongo, settings};
use futures::TryStreamExt;
use mongodb::Database;
use tokio::sync::watch;

use crate::metrics;
use crate::throttle::Rates;

/// How often the collection is looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// An answer that takes longer will not come: a server that was stopped where it stands keeps its connections open.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// What the settings' file and environment say; 0 is no limit.
pub fn from_settings(settings: &settings::Ingest) -> Rates {
    Rates {
        events_per_second: NonZeroU32::new(settings.max_events_per_second),
        tool_events_per_minute: NonZeroU32::new(settings.tool_events_per_minute),
        source_events_per_minute: NonZeroU32::new(settings.source_events_per_minute),
        user_events_per_minute: NonZeroU32::new(settings.user_events_per_minute),
    }
}

/// A limit in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    key: &'static str,
    most: Option<NonZeroU32>,
    /// It is that of `system_configuration`, and otherwise that of the settings.
    is_live: bool,
}

impl Limit {
    fn show(&self) {
        metrics::limit(self.key, self.most, self.is_live);
        let from = if self.is_live { "system_configuration" } else { "settings" };
        match self.most {
            Some(most) => tracing::info!(key = self.key, %most, from, "a limit is in force"),
            None => tracing::info!(key = self.key, from, "no limit is in force"),
        }
    }
}

/// Looks at the collection from time to time, without end, and sends what is to be in force. So it knows also while there
/// are no events whether MongoDB answers, and tells `readiness`.
pub async fn follow(database: Database, settings: settings::Ingest, rates: watch::Sender<Rates>, readiness: Readiness) {
    let configured = from_settings(&settings);
    let mut shown = [
        (EVENTS_PER_SECOND, configured.events_per_second),
        (TOOL_EVENTS_PER_MINUTE, configured.tool_events_per_minute),
        (SOURCE_EVENTS_PER_MINUTE, configured.source_events_per_minute),
        (USER_EVENTS_PER_MINUTE, configured.user_events_per_minute),
    ]
    .map(|(key, most)| Limit { key, most, is_live: false });
    let configured = shown;
    shown.iter().for_each(Limit::show);
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        let answer = match tokio::time::timeout(TIME_LIMIT, read(&database, &settings.environment)).await {
            Ok(answer) => answer.map_err(|error| mongo::reason(&error)),
            Err(_) => Err(format!("no answer within {} s", TIME_LIMIT.as_secs())),
        };
        readiness.set(Part::Mongodb, answer.as_ref().map(drop).map_err(|why| format!("does not answer: {why}")));
        let documents = match answer {
            Ok(documents) => documents,
            Err(why) => {
                tracing::warn!(why, "the live limits were not read; the last ones stay");
                continue;
            }
        };
        for (limit, configured) in shown.iter_mut().zip(configured) {
            match find(&documents, limit.key) {
                Ok(found) => {
                    let now = found.map_or(configured, |(_, most)| Limit { most, is_live: true, ..configured });
                    if std::mem::replace(limit, now) != now {
                        now.show();
                    }
                }
                Err(problem) => report(limit.key, &problem),
            }
        }
        let [events_per_second, tool_events_per_minute, source_events_per_minute, user_events_per_minute] =
            shown.map(|limit| limit.most);
        let wanted =
            Rates { events_per_second, tool_events_per_minute, source_events_per_minute, user_events_per_minute };
        rates.send_if_modified(|now| std::mem::replace(now, wanted) != wanted);
    }
}

/// The active documents of the limits for `environment`.
///
/// # Errors
/// MongoDB fails.
pub async fn read(database: &Database, environment: &str) -> Result<Vec<Document>, mongodb::error::Error> {
    let filter =
        doc! { "key": { "$in": INGEST_LIMITS }, "isActive": true, "environment": { "$in": [environment, "all"] } };
    database.collection(system_configuration::COLLECTION).find(filter).await?.try_collect().await
}

/// A document, and the limit that it says.
type Found<'a> = (&'a Document, Option<NonZeroU32>);

/// The limit of a key; `None` when there is no document of it.
///
/// # Errors
/// Why the document cannot be used.
pub fn find<'a>(documents: &'a [Document], key: &str) -> Result<Option<Found<'a>>, String> {
    let document = documents.iter().find(|document| document.get_str("key").is_ok_and(|found| found == key));
    document.map(|document| Ok((document, limit(document)?))).transpose()
}

/// The limit in a configuration document; 0 is none.
fn limit(document: &Document) -> Result<Option<NonZeroU32>, String> {
    let value = configuration::checked_value(document).map_err(|why| why.to_string())?;
    let value = configuration::as_number(value).ok_or("dataType is not \"number\"")?;
    if value.fract() != 0.0 || !(0.0..=f64::from(u32::MAX)).contains(&value) {
        return Err(format!("value is {value}, expected a whole number from 0 to {}", u32::MAX));
    }
    Ok(NonZeroU32::new(value as u32))
}

fn report(key: &'static str, problem: &str) {
    metrics::bad_live_setting(key);
    tracing::warn!(
        key,
        problem,
        "a document of system_configuration cannot be used; the last good value stays in force"
    );
}

#[cfg(test)]
mod tests {
    use bson::Bson;

    use super::*;

    #[test]
    fn only_a_number_within_its_own_rules_is_a_limit() {
        let document =
            |value: Bson, validation: Document| doc! { "dataType": "number", "value": value, "validation": validation };
        assert_eq!(limit(&document(5.into(), doc! { "min": 1, "max": Bson::Null })), Ok(NonZeroU32::new(5)));
        assert_eq!(limit(&document(Bson::Double(7.0), doc! {})), Ok(NonZeroU32::new(7)));
        assert_eq!(limit(&document(0.into(), doc! {})), Ok(None));
        for bad in [
            document(5.into(), doc! { "max": 4 }),
            document(5.into(), doc! { "min": 6.5 }),
            document("5".into(), doc! {}),
            document(Bson::Double(1.5), doc! {}),
            document((-1).into(), doc! {}),
            document(5.into(), doc! { "enum": [4, 6] }),
        ] {
            assert!(limit(&bad).is_err(), "{bad}");
        }
        assert!(limit(&doc! { "dataType": "string", "value": 5 }).is_err());
    }
}
