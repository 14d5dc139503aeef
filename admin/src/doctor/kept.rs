//! How long data is kept.

use anyhow::Context;
use chrono::{TimeDelta, Utc};
use common::kept;
use common::schema::diff::{Change, UnknownIndex, diff};
use common::schema::{self, server};
use common::settings::Settings;
use mongodb::Database;

use super::finding::Finding;

const RETENTION: &str = "retention";
const OLDEST: &str = "oldest personal record";

/// MongoDB removes documents every minute; a backlog may take longer.
const SLACK: TimeDelta = TimeDelta::days(1);

pub(super) async fn check(settings: &Settings, database: &Database) -> Vec<Finding> {
    let mut findings =
        vec![retention(settings, database).await.unwrap_or_else(|error| Finding::unseen(RETENTION, &error))];
    for collection in kept::COLLECTIONS {
        let finding = oldest(settings, database, collection).await;
        findings.push(finding.unwrap_or_else(|error| Finding::unseen(OLDEST, &error)));
    }
    findings
}

async fn retention(settings: &Settings, database: &Database) -> anyhow::Result<Finding> {
    let wanted = schema::kept(schema::wanted(false), &settings.retention);
    let names: Vec<String> = wanted.iter().map(|collection| collection.name.clone()).collect();
    let difference = diff(&wanted, &server::read(database, &names).await?);
    // Validators and other indexes remove nothing.
    let concerns = |change: &&Change| change.detail().contains("expires");
    let differs: Vec<String> = difference
        .changes
        .iter()
        .filter(concerns)
        .map(|change| format!("{}: {}", change.what(), change.detail()))
        .collect();
    let foreign: Vec<String> = difference
        .unknown_indexes
        .iter()
        .filter(|UnknownIndex { index, .. }| index.expire_after.is_some())
        .map(|UnknownIndex { collection, index }| format!("{collection}.{}: {index}", index.name))
        .collect();
    if !foreign.is_empty() {
        let found = format!("somebody else's TTL index removes documents: {}", foreign.join("; "));
        let todo = "find out who made it, and drop it: db.COLLECTION.dropIndex(\"NAME\")";
        return Ok(Finding::red(RETENTION, found, todo));
    }
    if differs.is_empty() {
        return Ok(Finding::green(RETENTION, "the TTL indexes are those of [retention], and there are no others"));
    }
    Ok(Finding::red(RETENTION, format!("to be {}", differs.join("; ")), "run admin migrate"))
}

async fn oldest(settings: &Settings, database: &Database, collection: &'static str) -> anyhow::Result<Finding> {
    let oldest = kept::oldest(database, collection).await.with_context(|| format!("reading {collection}"))?;
    let Some(oldest) = oldest else { return Ok(Finding::green(OLDEST, format!("{collection}: none"))) };
    let kept = TimeDelta::from_std(settings.retention.of(collection).unwrap_or_default()).unwrap_or(TimeDelta::MAX);
    let age = Utc::now() - oldest;
    let found = match collection {
        "sessions" if age < TimeDelta::zero() => format!("{collection}: none has expired"),
        "sessions" => format!("{collection}: expired {} days ago", age.num_days()),
        _ => format!("{collection}: {} days old, kept for {}", age.num_days(), kept.num_days()),
    };
    if age > kept.checked_add(&SLACK).unwrap_or(TimeDelta::MAX) {
        let todo = "run admin migrate; if nothing differs, see RetentionStopped in docs/OPERATIONS.md";
        return Ok(Finding::red(OLDEST, found, todo));
    }
    Ok(Finding::green(OLDEST, found))
}
