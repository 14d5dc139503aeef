//! `admin migrate`: brings collections, indexes, validators and topics in order, and says what it changed.

use std::time::Duration;

use anyhow::{Context, bail};
use bson::DateTime;
use bson::oid::ObjectId;
use clap::Args;
use common::audit::{self, Act, Action, TargetKind};
use common::documents::audit_entry;
use common::documents::migration::{self, AppliedChange, Migration};
use common::mongo;
use common::print_line;
use common::schema::{self, diff::Difference, diff::diff, server};
use common::settings::Settings;
use common::terminal::{self, printable};
use mongodb::Database;
use mongodb::options::WriteConcern;
use serde::Serialize;

use crate::anonymisation;
use crate::identity;
use crate::profiler;
use crate::report;
use crate::topics::{self, Topics};

/// Bring the database and the Kafka topics in order
///
/// Creates what is missing of collections, indexes, validators and topics, brings changed indexes and validators up to
/// date, sets the topics' message.timestamp.type to LogAppendTime, says when this version stores events by another definition
/// of their identity and what privacy.anonymise means for old events, and lets the profiler of each member keep operations over mongodb.slow_query_threshold. Nothing else is touched: unknown indexes, topics with another number of partitions or other
/// settings, and what the user may not do to the profiler, are only reported.
/// Run it before every new version; run again it changes nothing. What it changed is kept in the collection migrations.
#[derive(Args, Debug)]
pub struct Options {
    /// Show what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// The result of a run, as `--json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    dry_run: bool,
    changes: Vec<AppliedChange>,
    /// What differs and is left as it is.
    notes: Vec<String>,
    collections: usize,
    indexes: usize,
    validators: usize,
    topics: usize,
}

/// Runs the subcommand.
///
/// # Errors
/// A server cannot be reached or refuses a change. What was changed until then is recorded and printed nevertheless.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let database = mongo::connect(&settings.mongodb).await?;
    let topics = Topics::new(&settings.kafka)?;
    let wanted_topics = topics::wanted(&settings.kafka);
    // Read before anything is changed: with Kafka out of reach, nothing is.
    let found_topics = topics.read(&wanted_topics.each_ref().map(|topic| topic.name.as_str())).await?;
    let topic_difference = topics::diff(&wanted_topics, &found_topics);
    // Ingest, the only writer of the event collections, validates itself: docs/RELIABILITY.md has the measurement.
    let wanted = schema::kept(schema::wanted(false), &settings.retention);

    let (profilers, profiler_notes) = profiler::difference(&settings.mongodb, &database).await?;

    let (mut changes, mut notes) = (vec![], topic_difference.notes.clone());
    let identity = identity::difference(&database).await?;
    let events = found_topics.iter().find(|topic| topic.name == settings.kafka.topic);
    if let (Some(_), Some(topic)) = (&identity, events) {
        let retention = topic.config.get("retention.ms").map(String::as_str);
        notes.extend(identity::note(&database, &topic.name, retention).await?);
    }
    let outcome = if options.dry_run {
        read_difference(&database, &wanted).await.inspect(|difference| {
            changes.extend(difference.changes.iter().map(described));
            changes.extend(identity.clone());
            changes.extend(profilers.iter().map(described_profiler));
            changes.extend(topic_difference.missing.iter().map(described_topic));
            changes.extend(topic_difference.changes.iter().map(described_setting));
        })
    } else {
        let others = Others { identity, profilers: &profilers, topics: &topics, difference: &topic_difference };
        audited_change(&database, &wanted, &others, &mut changes, &mut notes).await
    };

    notes.extend(profiler_notes);
    if outcome.is_ok() {
        notes.extend(anonymisation::note(&database, &settings.privacy).await?);
    }
    if let Ok(difference) = &outcome {
        notes.extend(difference.unknown_indexes.iter().map(|unknown| {
            format!("index {}.{} is not ours: {}; left as it is", unknown.collection, unknown.index.name, unknown.index)
        }));
    }
    let report = Report {
        dry_run: options.dry_run,
        changes,
        notes,
        collections: wanted.len(),
        indexes: wanted.iter().map(|collection| collection.indexes.len()).sum(),
        validators: wanted.iter().filter(|collection| collection.validator.is_some()).count(),
        topics: wanted_topics.len(),
    };
    let is_worth_printing = outcome.is_ok() || !report.changes.is_empty();
    if is_worth_printing {
        print(&report, options.json, outcome.is_ok())?;
    }
    outcome.map(|_| ())
}

/// What is changed beside the schema.
struct Others<'a> {
    identity: Option<AppliedChange>,
    profilers: &'a [profiler::Change],
    topics: &'a Topics,
    difference: &'a topics::Difference,
}

impl Others<'_> {
    fn are_in_order(&self) -> bool {
        let topics = self.difference;
        self.identity.is_none() && self.profilers.is_empty() && topics.missing.is_empty() && topics.changes.is_empty()
    }
}

/// Changes what differs, between two entries of the audit log. The log's own collection comes first.
async fn audited_change(
    database: &Database,
    wanted: &[schema::Collection],
    others: &Others<'_>,
    changes: &mut Vec<AppliedChange>,
    notes: &mut Vec<String>,
) -> anyhow::Result<Difference> {
    let difference = read_difference(database, wanted).await?;
    if difference.changes.is_empty() && others.are_in_order() {
        return Ok(difference);
    }
    let is_log = |collection: &&schema::Collection| collection.name == audit_entry::COLLECTION;
    let log: Vec<_> = wanted.iter().filter(is_log).cloned().collect();
    change_schema(database, &log, changes).await?;
    let act = Act::on(Action::Migrate, TargetKind::Database, database.name());
    audit::around(database, act, change(database, wanted, others, changes, notes)).await
}

/// Changes what differs and records it in `migrations`, also when it stops halfway; returns what is left to report.
async fn change(
    database: &Database,
    wanted: &[schema::Collection],
    others: &Others<'_>,
    changes: &mut Vec<AppliedChange>,
    notes: &mut Vec<String>,
) -> anyhow::Result<Difference> {
    let outcome = async {
        let difference = change_schema(database, wanted, changes).await?;
        changes.extend(others.identity.clone());
        for change in others.profilers {
            match profiler::apply(database, change).await {
                Ok(_) => changes.push(described_profiler(change)),
                // Analytics works without it, and not every server lets everybody do it.
                Err(error) => notes.push(format!("{} is left as it is: {}", change.what(), profiler::reason(&error))),
            }
        }
        for topic in &others.difference.missing {
            if others.topics.create(topic).await? {
                changes.push(described_topic(topic));
            }
        }
        for change in &others.difference.changes {
            others.topics.change(change).await?;
            changes.push(described_setting(change));
        }
        anyhow::Ok(difference)
    }
    .await;
    if !changes.is_empty() {
        let error = outcome.as_ref().err().map(|error| format!("{error:#}"));
        let recorded = record(database, changes, error).await;
        // The first failure is the one to report.
        return outcome.and_then(|difference| recorded.map(|()| difference));
    }
    outcome
}

/// Compares and changes until nothing differs: another migration may be at work at the same time, and each round sees
/// what it did in the meantime.
async fn change_schema(
    database: &Database,
    wanted: &[schema::Collection],
    changes: &mut Vec<AppliedChange>,
) -> anyhow::Result<Difference> {
    const ROUNDS: u32 = 120;
    const PAUSE: Duration = Duration::from_millis(500);
    let mut contended = None;
    for _ in 0..ROUNDS {
        let difference = read_difference(database, wanted).await?;
        if difference.changes.is_empty() {
            return Ok(difference);
        }
        contended = None;
        for change in &difference.changes {
            match server::apply(database, change).await? {
                server::Outcome::Applied => changes.push(described(change)),
                server::Outcome::Contended => contended = Some(change.what()),
            }
        }
        if contended.is_some() {
            tokio::time::sleep(PAUSE).await;
        }
    }
    let what = contended.unwrap_or_else(|| "the schema".into());
    bail!(
        "{what} differs again after every change: another program keeps changing it; end other migrations (of another \
         version?), then run this one again"
    )
}

async fn read_difference(database: &Database, wanted: &[schema::Collection]) -> anyhow::Result<Difference> {
    let names: Vec<String> = wanted.iter().map(|collection| collection.name.clone()).collect();
    Ok(diff(wanted, &server::read(database, &names).await?))
}

fn described(change: &schema::diff::Change) -> AppliedChange {
    AppliedChange { what: change.what(), change: change.verb().to_owned(), detail: change.detail() }
}

fn described_topic(topic: &topics::Topic) -> AppliedChange {
    AppliedChange { what: format!("topic {}", topic.name), change: "created".into(), detail: topic.detail() }
}

fn described_setting(change: &topics::Change) -> AppliedChange {
    AppliedChange { what: format!("topic {}", change.topic), change: "set".into(), detail: change.detail() }
}

fn described_profiler(change: &profiler::Change) -> AppliedChange {
    AppliedChange { what: change.what(), change: "set".into(), detail: change.detail() }
}

async fn record(database: &Database, changes: &[AppliedChange], error: Option<String>) -> anyhow::Result<()> {
    let migration = Migration {
        id: ObjectId::new(),
        applied_at: DateTime::now(),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        changes: changes.to_vec(),
        error,
    };
    database
        .collection::<Migration>(migration::COLLECTION)
        .insert_one(migration)
        .write_concern(WriteConcern::majority())
        .await
        .context("the changes were made, but could not be recorded in the collection migrations")?;
    Ok(())
}

fn print(report: &Report, json: bool, is_complete: bool) -> anyhow::Result<()> {
    if json {
        return terminal::print_json(report);
    }
    let Report { collections, indexes, validators, topics, .. } = report;
    let but = if report.notes.is_empty() { "" } else { ", but for what is noted below" };
    if report.changes.is_empty() {
        print_line!(
            "nothing to change: {collections} collections, {indexes} indexes, {validators} validators, {topics} topics \
             are as they should be{but}"
        );
    } else {
        let rows = report
            .changes
            .iter()
            .map(|change| [&change.what, &change.change, &change.detail].map(|text| printable(text)));
        print_line!("{}", report::table(["what", "change", "detail"], rows).trim_fmt());
        let count = match report.changes.len() {
            1 => "1 change".to_owned(),
            count => format!("{count} changes"),
        };
        match (report.dry_run, is_complete) {
            (true, _) => print_line!("{count} would be made; dry run: nothing was changed"),
            (false, true) => print_line!(
                "{count} made: {collections} collections, {indexes} indexes, {validators} validators, {topics} \
                 topics are now as they should be{but}"
            ),
            (false, false) => print_line!("{count} made, then it stopped"),
        }
    }
    for note in &report.notes {
        print_line!("note: {}", printable(note));
    }
    Ok(())
}
