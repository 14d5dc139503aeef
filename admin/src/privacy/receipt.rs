//! How a request is shown: what was erased where, and what became of the numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use bson::DateTime;
use common::day::Day;
use common::documents::privacy_request::{Numbers, PrivacyRequest, State};
use common::{print_line, terminal};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::erasure::{Context, work};
use crate::report;

/// As `--json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Receipt {
    request: String,
    /// Keyed digest of the person's id.
    subject: String,
    mode: &'static str,
    state: &'static str,
    requested_at: String,
    completed_at: Option<String>,
    /// Documents that were removed or changed, by collection.
    documents: BTreeMap<String, i64>,
    days: Vec<AffectedDay>,
    /// Until when Kafka holds what was sent before; null where a topic keeps messages for ever.
    kafka_holds_until: BTreeMap<String, Option<String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AffectedDay {
    date: Day,
    sealed: bool,
    events: i64,
    before: Option<Numbers>,
    /// Null until the day is rolled up again.
    after: Option<Numbers>,
}

/// A progress bar; nothing where there is no terminal.
pub(super) fn progress(doing: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_prefix(doing);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}: {human_pos}, {per_sec}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

pub(super) fn time(at: DateTime) -> String {
    at.to_chrono().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Receipt {
    pub(super) async fn of(context: &Context, request: &PrivacyRequest) -> anyhow::Result<Self> {
        let mut days = Vec::new();
        for (date, day) in &request.days {
            let is_final = day.is_sealed || work::is_rolled_again(context, *date).await?;
            let after = if is_final { work::numbers(context, *date).await? } else { None };
            days.push(AffectedDay {
                date: *date,
                sealed: day.is_sealed,
                events: day.events,
                before: day.before,
                after,
            });
        }
        let kafka_holds_until =
            request.kafka_holds_until.iter().map(|(topic, at)| (topic.clone(), at.map(time))).collect();
        Ok(Self {
            request: request.id.to_hex(),
            subject: request.subject.clone(),
            mode: request.mode.as_str(),
            state: request.state.as_str(),
            requested_at: time(request.requested_at),
            completed_at: request.completed_at.map(time),
            documents: request.documents.clone(),
            days,
            kafka_holds_until,
        })
    }
}

/// Prints a request.
pub(super) async fn print(context: &Context, request: &PrivacyRequest, json: bool) -> anyhow::Result<()> {
    let receipt = Receipt::of(context, request).await?;
    if json {
        return terminal::print_json(&receipt);
    }
    let Receipt { request: id, subject, mode, state, requested_at, .. } = &receipt;
    print_line!("request {id} ({mode}) of {requested_at}: {state}");
    print_line!("person  {subject}");
    print_line!("");
    let rows = receipt.documents.iter().map(|(collection, documents)| [collection.clone(), documents.to_string()]);
    let mut table = report::table(["collection", "documents"], rows);
    report::align_right(&mut table, [1]);
    print_line!("{}", table.trim_fmt());
    if !receipt.days.is_empty() {
        print_line!("");
        print_line!("{}", days(&receipt.days));
    }
    print_line!("");
    for (topic, until) in &receipt.kafka_holds_until {
        match until {
            Some(until) => print_line!("Kafka holds what was sent to {topic} until {until}; ingest drops it"),
            None => print_line!(
                "Kafka holds what was sent to {topic} for ever, because the topic has no retention; ingest drops it"
            ),
        }
    }
    print_line!("backups of before {requested_at} hold the person; after restoring one, run `admin privacy reapply`");
    if request.state != State::Complete {
        print_line!("the erasure is under way or was interrupted; `admin privacy resume` goes on with it");
    }
    Ok(())
}

fn days(days: &[AffectedDay]) -> String {
    let number = |numbers: Option<Numbers>, of: fn(Numbers) -> i64| {
        numbers.map_or("-".to_owned(), |numbers| of(numbers).to_string())
    };
    let rows = days.iter().map(|day| {
        let after = match (day.sealed, day.after) {
            (true, _) => "sealed: stays",
            (false, None) => "when rolled up again",
            (false, Some(_)) => "",
        };
        let of_after = |of: fn(Numbers) -> i64| if after.is_empty() { number(day.after, of) } else { String::new() };
        [
            day.date.to_string(),
            day.events.to_string(),
            number(day.before, |numbers| numbers.total_usage),
            of_after(|numbers| numbers.total_usage),
            number(day.before, |numbers| numbers.active_users),
            of_after(|numbers| numbers.active_users),
            after.to_owned(),
        ]
    });
    let header = ["day", "events", "tool uses before", "after", "active users before", "after", ""];
    let mut table = report::table(header, rows);
    report::align_right(&mut table, 1..6);
    table.trim_fmt()
}
