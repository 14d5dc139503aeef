//! `ingest check-config`: after the settings, the limits in force, which may come from MongoDB.

use std::num::NonZeroU32;
use std::time::Duration;

use bson::Document;
use common::documents::system_configuration::{
    COLLECTION, EVENTS_PER_SECOND, SOURCE_EVENTS_PER_MINUTE, TOOL_EVENTS_PER_MINUTE, USER_EVENTS_PER_MINUTE,
};
use common::mongo;
use common::settings::{Settings, SettingsError};
use common::terminal::printable;

use crate::live_settings::{self, from_settings};

/// Whoever looks at the settings does not wait longer for a server that is away.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// The limits in force as comments of TOML: each with its value, where the value comes from, and since when. While MongoDB does
/// not answer, that, and the limits of the settings.
///
/// # Errors
/// The connection string cannot be used.
pub async fn limits(settings: &Settings) -> anyhow::Result<String> {
    let mut text = String::from(
        "# The limits in force. A document of MongoDB's collection system_configuration wins over the setting above.\n",
    );
    let documents = match tokio::time::timeout(TIME_LIMIT, read(settings)).await {
        Ok(Ok(documents)) => documents,
        Ok(Err(error)) if error.is::<SettingsError>() => return Err(error),
        Ok(Err(error)) => {
            text.push_str(&unknown(&error.to_string()));
            Vec::new()
        }
        Err(_) => {
            text.push_str(&unknown(&format!("no answer within {} s", TIME_LIMIT.as_secs())));
            Vec::new()
        }
    };
    let configured = from_settings(&settings.ingest);
    for (key, setting, configured) in [
        (EVENTS_PER_SECOND, "max_events_per_second", configured.events_per_second),
        (TOOL_EVENTS_PER_MINUTE, "tool_events_per_minute", configured.tool_events_per_minute),
        (SOURCE_EVENTS_PER_MINUTE, "source_events_per_minute", configured.source_events_per_minute),
        (USER_EVENTS_PER_MINUTE, "user_events_per_minute", configured.user_events_per_minute),
    ] {
        text.push_str(&line(&documents, key, setting, configured));
    }
    Ok(text)
}

async fn read(settings: &Settings) -> anyhow::Result<Vec<Document>> {
    let mut mongodb = settings.mongodb.clone();
    mongodb.server_selection_timeout = mongodb.server_selection_timeout.min(TIME_LIMIT / 2);
    let database = mongo::connect(&mongodb).await?;
    Ok(live_settings::read(&database, &settings.ingest.environment).await?)
}

fn unknown(why: &str) -> String {
    let why = printable(why);
    format!("# MongoDB was not read, so these are the limits of the settings; another may be in force there: {why}\n")
}

/// What is said of one limit.
fn line(documents: &[Document], key: &str, setting: &str, configured: Option<NonZeroU32>) -> String {
    let value = |most: Option<NonZeroU32>| most.map_or_else(|| "no limit".to_owned(), |most| most.to_string());
    let text = match live_settings::find(documents, key) {
        Ok(None) => format!("{}, from ingest.{setting}", value(configured)),
        Ok(Some((document, most))) => {
            let text = |name| document.get_str(name).map_or_else(|_| "(none)".to_owned(), printable);
            let since = document.get_datetime("updatedAt").ok().and_then(|date| date.try_to_rfc3339_string().ok());
            let since = since.unwrap_or_else(|| "a time that the document does not say".to_owned());
            let environment = text("environment");
            format!(
                "{}, from {COLLECTION} (environment {environment}), last changed {since} (updatedAt, which a change by hand may leave); not ingest.{setting}",
                value(most)
            )
        }
        Err(problem) => format!(
            "the document of {COLLECTION} cannot be used: {}; a worker keeps its last good value, and one that starts \
             takes {}, from ingest.{setting}",
            printable(&problem),
            value(configured)
        ),
    };
    format!("# {key}: {text}\n")
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_limit_is_shown_with_where_it_comes_from_and_since_when() {
        let document = |key: &str, value: i32| {
            doc! {
                "key": key, "dataType": "number", "value": value, "environment": "all",
                "updatedAt": bson::DateTime::from_millis(1_700_000_000_000),
            }
        };
        let documents = [document(EVENTS_PER_SECOND, 35), document(TOOL_EVENTS_PER_MINUTE, 0), document("other", 1)];
        let shown = |key, configured| line(&documents, key, "setting", NonZeroU32::new(configured));
        assert_eq!(
            shown(EVENTS_PER_SECOND, 0),
            "# ingest_max_events_per_second: 35, from system_configuration (environment all), last changed 2023-11-14T22:13:20Z (updatedAt, which a change by hand may leave); not ingest.setting\n"
        );
        assert!(shown(TOOL_EVENTS_PER_MINUTE, 7).contains(": no limit, from system_configuration"));
        let from_settings = "# ingest_user_events_per_minute: 7, from ingest.setting\n";
        assert_eq!(shown(USER_EVENTS_PER_MINUTE, 7), from_settings);
        let bad = [doc! { "key": EVENTS_PER_SECOND, "dataType": "string", "value": "35\u{1b}[2J" }];
        let text = line(&bad, EVENTS_PER_SECOND, "setting", None);
        assert!(
            text.contains("cannot be used: dataType is not \"number\"") && text.contains("takes no limit"),
            "{text}"
        );
    }
}
