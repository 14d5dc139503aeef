//! What `admin migrate` says of raw events that are old enough to be anonymised.

use anyhow::Context;
use bson::{DateTime, Document, doc};
use chrono::{TimeDelta, Utc};
use common::day::Day;
use common::documents::{activity_log, usage_analytics};
use common::settings::Privacy;
use mongodb::Database;

/// What the settings mean for the events that are stored; none where none is older than `privacy.late_arrival`.
///
/// # Errors
/// MongoDB fails.
pub async fn note(database: &Database, settings: &Privacy) -> anyhow::Result<Option<String>> {
    let late_arrival = TimeDelta::from_std(settings.late_arrival).unwrap_or(TimeDelta::MAX);
    let Some(young) = Utc::now().checked_sub_signed(late_arrival + TimeDelta::days(1)) else { return Ok(None) };
    let old = doc! { "timestamp": { "$lt": DateTime::from_chrono(young) } };
    let mut first: Option<Day> = None;
    for collection in [usage_analytics::COLLECTION, activity_log::COLLECTION] {
        let events = database.collection::<Document>(collection);
        // The oldest day is anonymised first: to look at one event is enough.
        let fields = doc! { "timestamp": 1, "anonymised": 1 };
        let event = events.find_one(old.clone()).sort(doc! { "timestamp": 1 }).projection(fields).await;
        let event = event.with_context(|| format!("{collection} cannot be read"))?;
        let event = event.filter(|event| event.get_bool("anonymised").ok() != Some(true));
        let day = event.and_then(|event| event.get_datetime("timestamp").ok().map(|time| Day::of(time.to_chrono())));
        first = [first, day].into_iter().flatten().min();
    }
    Ok(first.map(|day| meaning(settings.anonymise, day)))
}

fn meaning(is_on: bool, first: Day) -> String {
    if is_on {
        return format!(
            "privacy.anonymise is true: aggregator serve removes from the raw events since {first} what names somebody, and this \
             cannot be undone (docs/ROLLUP.md, Anonymisation)"
        );
    }
    format!(
        "privacy.anonymise is false: the raw events since {first} name people until they expire. Nothing changes unless you set it to \
         true; then aggregator serve anonymises them for good, and ingest refuses events that come later than privacy.late_arrival \
         (docs/ROLLUP.md, Anonymisation)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_that_nothing_changes_by_itself_and_what_cannot_be_undone() {
        let day = Day::parse("2024-01-15").unwrap();
        assert!(meaning(false, day).contains("2024-01-15") && meaning(false, day).contains("Nothing changes unless"));
        assert!(meaning(true, day).contains("cannot be undone"));
    }
}
