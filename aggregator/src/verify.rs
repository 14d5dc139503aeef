//! `aggregator verify`: computes a day with both engines, and holds them and the stored document to each other.

use bson::{Bson, Document};
use chrono::{DateTime, Utc};
use comfy_table::{Cell, Table};
use common::day::Day;
use common::documents::rollup_day::RollupDay;
use common::documents::system_analytics::{Engine, SystemAnalytics};
use common::terminal::printable;
use serde::Serialize;

use crate::retention::{self, Fate};
use crate::rollup::Rollup;
use crate::{lookup, table};

/// Stands in the table for what is not there.
const ABSENT: &str = "–";

/// What became of one day.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// The day.
    pub day: Day,
    /// Why it was not computed: it is sealed, or its events are not whole any more.
    pub not_whole: Option<String>,
    /// Which events that its last roll-up counted are gone, though none have expired.
    pub removed: Option<String>,
    /// Whether it has a daily document.
    pub stored: bool,
    /// Fields that were compared.
    pub compared: usize,
    /// Those that differ.
    pub differences: Vec<Difference>,
    /// Fields of a day with anonymised events that nobody can compute any more.
    pub not_compared: Vec<&'static str>,
}

/// What an anonymised day's events do not say: who returned needs the ids in `users`; users and names of tools may have changed
/// since; trends are against a day before that may have been rolled up later.
const NOT_IN_ANONYMISED: [&str; 7] = [
    "metrics.users.total",
    "metrics.users.new",
    "metrics.users.verified",
    "metrics.users.premium",
    "metrics.engagement.returnUserRate",
    "metrics.tools.mostUsedTools.*.toolName",
    "trends",
];

/// Whether `path` is one of [`NOT_IN_ANONYMISED`].
fn is_not_in_anonymised(path: &str) -> bool {
    NOT_IN_ANONYMISED.iter().any(|unknown| match unknown.split_once(".*.") {
        Some((list, field)) => path.starts_with(list) && path.ends_with(field),
        None => path.strip_prefix(unknown).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
    })
}

/// A field on which not all agree. Values are relaxed Extended JSON, none where the field is not there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Its path in the document.
    pub field: String,
    /// As the scan engine computes it now.
    pub scan: Option<serde_json::Value>,
    /// As the pushdown engine computes it now.
    pub pushdown: Option<serde_json::Value>,
    /// As the daily document has it.
    pub stored: Option<serde_json::Value>,
}

impl Verified {
    /// Whether the day is as it should be: nothing differs, and it has a document.
    pub fn is_right(&self) -> bool {
        self.not_whole.is_some() || (self.stored && self.removed.is_none() && self.differences.is_empty())
    }
}

/// Computes `day` with both engines and compares; writes nothing.
///
/// # Errors
/// MongoDB fails.
pub async fn day(rollup: &Rollup, day: Day) -> anyhow::Result<Verified> {
    let stored = lookup::daily_document(&rollup.database, day).await?;
    let is_stored = stored.is_some();
    let mut verified = Verified {
        day,
        not_whole: None,
        removed: None,
        stored: is_stored,
        compared: 0,
        differences: Vec::new(),
        not_compared: Vec::new(),
    };
    let (state, now) = (lookup::day_state(&rollup.database, day).await?, Utc::now());
    let is_anonymised = state.as_ref().is_some_and(RollupDay::is_anonymised);
    if let Some(why) = state.as_ref().and_then(|state| why_not_compared(state, now)) {
        verified.not_whole = Some(why);
        return Ok(verified);
    }
    let expired = match lookup::retention(&rollup.database).await?.fate(day, state.as_ref(), now) {
        Fate::Open(expired) | Fate::Seal(expired) => expired,
        Fate::Lost(sources) => {
            let names = retention::names(&sources);
            verified.not_whole = Some(format!("not whole any more, events in {names} have expired or are about to"));
            return Ok(verified);
        }
    };
    let computed = rollup.compute(day, Engine::Scan, &expired).await?;
    if let (Some(counted), Some(rollup)) = (state.and_then(|state| state.inputs), &computed.rollup) {
        verified.removed = retention::removed(&counted, &rollup.inputs, &expired);
    }
    let mut scan = fields(&computed)?;
    let mut pushdown = fields(&rollup.compute(day, Engine::Pushdown, &expired).await?)?;
    // Without a document there is one thing to say, not forty.
    let mut stored = stored.map_or_else(|| Ok(scan.clone()), |stored| fields(&stored))?;
    if is_anonymised {
        verified.not_compared = NOT_IN_ANONYMISED.to_vec();
        for fields in [&mut scan, &mut pushdown, &mut stored] {
            fields.retain(|(path, _)| !is_not_in_anonymised(path));
        }
    }
    (verified.compared, verified.differences) = compare(&scan, &pushdown, &stored);
    Ok(verified)
}

/// Why the day's events cannot be compared with its numbers.
fn why_not_compared(state: &RollupDay, now: DateTime<Utc>) -> Option<String> {
    let anonymisation = state.anonymisation.as_ref();
    if anonymisation.is_some_and(|anonymisation| anonymisation.key.is_some()) {
        return Some("its events are being anonymised".to_owned());
    }
    if !state.is_anonymised() {
        return state.is_sealed(now).then(|| "sealed".to_owned());
    }
    let uncounted = anonymisation.and_then(|anonymisation| anonymisation.documents).map_or(0, |it| it.uncounted);
    (uncounted > 0).then(|| format!("anonymised, with {uncounted} events that came after its numbers were final"))
}

/// The differences of all days as a table; none when there are none.
pub fn table(verified: &[Verified]) -> Option<Table> {
    let mut table = table::new(["Day", "Field", "Scan", "Pushdown", "Stored"], 2..=4);
    for day in verified.iter().filter(|day| !day.is_right()) {
        if !day.stored {
            let none = [day.day.to_string(), "(no daily document)".into(), String::new(), String::new(), ABSENT.into()];
            table.add_row(none);
        }
        for Difference { field, scan, pushdown, stored } in &day.differences {
            let values = [scan, pushdown, stored].map(|value| {
                Cell::new(value.as_ref().map_or_else(|| ABSENT.to_owned(), |value| printable(&value.to_string())))
            });
            table.add_row([Cell::new(day.day), Cell::new(printable(field))].into_iter().chain(values));
        }
    }
    (table.row_count() > 0).then_some(table)
}

/// One line about a day.
pub fn summary(verified: &Verified) -> String {
    let Verified { day, compared, differences, .. } = verified;
    if let Some(why) = &verified.not_whole {
        return format!("{day}: {why}; its numbers are final, and cannot be compared with its events");
    }
    let stored = match (verified.stored, differences.len()) {
        _ if verified.removed.is_some() => {
            let removed = verified.removed.as_deref().unwrap_or_default();
            format!("; events are gone that the last roll-up counted ({removed}), so a roll-up would lose numbers")
        }
        (false, _) => format!("; it has no daily document, make it with: aggregator run --date {day}"),
        (true, 0) => String::new(),
        (true, _) => format!("; if events came late, roll it up again with: aggregator run --date {day}"),
    };
    let stored = match (verified.not_compared.is_empty(), stored.as_str()) {
        (true, _) => stored,
        (false, "") => {
            format!("; recomputed from anonymised events, which do not say: {}", verified.not_compared.join(", "))
        }
        (false, _) => "; its events were anonymised, and its numbers are final".to_owned(),
    };
    format!("{day}: {} of {compared} fields differ{stored}", differences.len())
}

type Fields = Vec<(String, Bson)>;

/// Every number of the document, by its path. Left out is what may differ: who computed it, and when.
fn fields(document: &SystemAnalytics) -> anyhow::Result<Fields> {
    let mut document = bson::serialize_to_document(document)?;
    for name in ["_id", "date", "createdAt", "updatedAt"] {
        document.remove(name);
    }
    if let Ok(rollup) = document.get_document_mut("rollup") {
        for name in ["engine", "computedAt", "provisional"] {
            rollup.remove(name);
        }
    }
    let mut fields = Vec::new();
    flatten("", &document, &mut fields);
    Ok(fields)
}

fn flatten(path: &str, document: &Document, fields: &mut Fields) {
    for (name, value) in document {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Bson::Document(inner) => flatten(&path, inner, fields),
            Bson::Array(values) => {
                let elements = values.iter().enumerate().map(|(index, value)| (index.to_string(), value.clone()));
                flatten(&path, &elements.collect(), fields);
            }
            value => fields.push((path, value.clone())),
        }
    }
}

/// How many fields there are, and those that are not the same three times.
fn compare(scan: &Fields, pushdown: &Fields, stored: &Fields) -> (usize, Vec<Difference>) {
    let mut paths: Vec<&String> = Vec::new();
    for (path, _) in [scan, pushdown, stored].into_iter().flatten() {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    let differences = paths.iter().filter_map(|path| {
        let find = |fields: &Fields| fields.iter().find(|(name, _)| name == *path).map(|(_, value)| value.clone());
        let values @ [scan, pushdown, stored] = &[scan, pushdown, stored].map(find);
        if scan == pushdown && scan == stored {
            return None;
        }
        let [scan, pushdown, stored] = values.clone().map(|value| value.map(Bson::into_relaxed_extjson));
        Some(Difference { field: (*path).clone(), scan, pushdown, stored })
    });
    (paths.len(), differences.collect())
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn flat(document: &Document) -> Fields {
        let mut fields = Vec::new();
        flatten("", document, &mut fields);
        fields
    }

    #[test]
    fn what_anonymised_events_do_not_say_is_not_compared() {
        for path in ["metrics.users.total", "metrics.tools.mostUsedTools.3.toolName", "trends.userGrowth", "trends"] {
            assert!(is_not_in_anonymised(path), "{path}");
        }
        for path in ["metrics.users.active", "metrics.tools.mostUsedTools.3.usageCount", "metrics.tools.totalUsage"] {
            assert!(!is_not_in_anonymised(path), "{path}");
        }
    }

    #[test]
    fn a_difference_in_the_last_bit_or_in_what_is_there_is_found() {
        let scan = flat(&doc! { "a": { "b": 0.1 + 0.2, "c": [1, { "d": Bson::Null }] } });
        let pushdown = flat(&doc! { "a": { "b": 0.3, "c": [1, { "d": Bson::Null }] } });
        let stored = flat(&doc! { "a": { "b": 0.1 + 0.2, "c": [1] } });
        let (compared, differences) = compare(&scan, &pushdown, &stored);
        let named: Vec<_> = differences.iter().map(|difference| difference.field.as_str()).collect();
        assert_eq!((compared, named), (3, vec!["a.b", "a.c.1.d"]));
        assert_eq!(differences[1].scan, Some(serde_json::Value::Null));
        assert_eq!(differences[1].stored, None);
        assert_eq!(compare(&scan, &scan, &scan).1, []);
    }
}
