//! `admin audit list`.

use std::collections::HashMap;

use anyhow::Context;
use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use chrono::Utc;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use common::audit::{self, Action, AuditEntry, Outcome, Phase, Target, Who};
use common::documents::audit_entry;
use common::keyring::Keyring;
use common::settings::Settings;
use common::terminal::printable;
use common::text::shortened;
use common::{mongo, print_line, terminal};
use futures::TryStreamExt as _;
use mongodb::Database;
use serde::Serialize;

use crate::report;
use crate::since;
use crate::text::{id_parser, instant_text};

/// Letters of a digest that the table shows; --json has all.
const DIGEST_SHOWN: usize = 17;

/// Show who did what, the latest first
///
/// One line for each act, with its result. "no result" says that the act is under way, or that the program was killed. A person is
/// shown as the beginning of a digest: the same digest is the same person.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Only acts that began since then: 2024-01-15T10:30:00Z, or 30m, 2h, 7d back from now
    #[arg(long, value_name = "TIME", value_parser = since::parse)]
    since: Option<chrono::DateTime<Utc>>,
    /// Only these actions
    #[arg(long, value_name = "ACTION", value_parser = action_parser())]
    action: Vec<String>,
    /// Only what this user of DevToolkit did, and what was done on this user: 24 hexadecimal digits. Needs the keyring
    #[arg(long, value_name = "ID", value_parser = id_parser)]
    user: Option<ObjectId>,
    /// Most acts to show
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

fn action_parser() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(Action::NAMES.iter().copied())
}

/// An act, as `--json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Act {
    number: i64,
    began: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
    who: Who,
    action: String,
    target: Target,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Absent while the act is under way, and where the program was killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let filter = filter(settings, options)?;
    let database = mongo::connect(&settings.mongodb).await?;
    let acts = read(&database, filter, options.limit).await?;
    if options.json {
        return terminal::print_json(&acts);
    }
    print(&acts);
    Ok(())
}

fn filter(settings: &Settings, options: &Options) -> anyhow::Result<Document> {
    let mut filter = doc! { "phase": Phase::Begun.as_str() };
    if let Some(since) = options.since {
        filter.insert("at", doc! { "$gte": DateTime::from_chrono(since) });
    }
    if !options.action.is_empty() {
        filter.insert("action", doc! { "$in": &options.action });
    }
    if let Some(user) = options.user {
        let keyring =
            Keyring::from_settings(settings).context("--user needs the keyring: the log has digests of ids")?;
        let digests = audit::digests(&keyring, user);
        filter.insert(
            "$or",
            [doc! { "who.user": { "$in": &digests } }, doc! { "target.subject": { "$in": &digests } }].to_vec(),
        );
    }
    Ok(filter)
}

async fn read(database: &Database, filter: Document, limit: u32) -> anyhow::Result<Vec<Act>> {
    let entries = database.collection::<AuditEntry>(audit_entry::COLLECTION);
    let latest_first = entries.find(filter).sort(doc! { "_id": -1 }).limit(i64::from(limit));
    let begun: Vec<AuditEntry> =
        latest_first.await.context("reading audit_log")?.try_collect().await.context("reading audit_log")?;
    let Some(first) = begun.last().map(|entry| entry.number) else { return Ok(Vec::new()) };
    let numbers: Vec<i64> = begun.iter().map(|entry| entry.number).collect();
    // An end comes after its beginning: the index on _id leaves the entries before out.
    let of_these = doc! { "_id": { "$gt": first }, "begun": { "$in": numbers } };
    let ended: Vec<AuditEntry> = entries.find(of_these).await?.try_collect().await.context("reading audit_log")?;
    let mut ended: HashMap<i64, AuditEntry> =
        ended.into_iter().filter_map(|entry| Some((entry.begun?, entry))).collect();
    Ok(begun
        .into_iter()
        .map(|entry| {
            let ended = ended.remove(&entry.number);
            act(entry, ended)
        })
        .collect())
}

fn act(begun: AuditEntry, ended: Option<AuditEntry>) -> Act {
    let time = |entry: &AuditEntry| instant_text(entry.at.to_chrono());
    Act {
        number: begun.number,
        began: time(&begun),
        ended: ended.as_ref().map(time),
        who: begun.who,
        action: begun.action,
        target: begun.target,
        detail: begun.detail,
        outcome: ended.as_ref().and_then(|entry| entry.outcome),
        error: ended.and_then(|entry| entry.error),
    }
}

fn print(acts: &[Act]) {
    if acts.is_empty() {
        print_line!("no entry of the audit log fits");
        return;
    }
    let rows = acts.iter().map(|act| {
        [
            act.number.to_string(),
            act.began.clone(),
            printable(&who(&act.who)),
            printable(&act.action),
            printable(&on(&act.target)),
            printable(act.detail.as_deref().unwrap_or_default()),
            printable(&result(act)),
        ]
    });
    let mut table = report::table(["entry", "when", "who", "what", "on", "how", "result"], rows);
    report::align_right(&mut table, [0]);
    print_line!("{}", table.trim_fmt());
}

fn who(who: &Who) -> String {
    let mut text = format!("{} on {}", who.system_user, who.host);
    if let Some(user) = &who.database_user {
        text += &format!(", MongoDB's {user}");
    }
    if let Some(user) = &who.user {
        text += &format!(", for the user {}", shortened(user, DIGEST_SHOWN));
    }
    text
}

fn on(target: &Target) -> String {
    match (&target.name, &target.subject) {
        (Some(name), _) => format!("{} {name}", target.kind),
        (None, Some(subject)) => format!("{} {}", target.kind, shortened(subject, DIGEST_SHOWN)),
        (None, None) => format!("{}, not known which: no keyring was set", target.kind),
    }
}

fn result(act: &Act) -> String {
    match (act.outcome, &act.error) {
        (Some(outcome), Some(error)) => format!("{outcome}: {error}"),
        (Some(outcome), None) => outcome.to_string(),
        (None, _) => "no result".to_owned(),
    }
}
