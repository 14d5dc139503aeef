//! `admin storage`: which collection fills the disk, how fast, and when it is full.

use std::cmp::Reverse;
use std::time::Duration;

use anyhow::Context;
use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use common::day::Day;
use common::mongo::{self, Member};
use common::print_line;
use common::settings::Settings;
use common::terminal::{self, printable};
use futures::TryStreamExt;
use futures::future::{join_all, try_join_all};
use indicatif::{HumanBytes, HumanCount};
use mongodb::error::Error;
use mongodb::options::IndexOptions;
use mongodb::{Collection, Database, IndexModel};
use serde::{Deserialize, Serialize};

use crate::report;

/// Counting a day of a large collection in its index may take this long; then MongoDB gives up.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Show what fills the disk, and when it is full
///
/// The collections, largest first, and the disk of each member. Growth is what yesterday (in UTC) brought, less what its
/// time to live removes within the next day, each document at its present size on disk with its part of the indexes.
/// Yesterday's documents are known by the time in their _id.
#[derive(Args, Debug)]
pub struct Options {
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// As `--json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    collections: Vec<Size>,
    growth_bytes_per_day: i64,
    disks: Vec<Disk>,
    notes: Vec<String>,
}

/// A collection on the member that answers, the primary.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Size {
    collection: String,
    documents: i64,
    /// Uncompressed, as documents travel.
    average_document_bytes: i64,
    data_bytes: i64,
    /// Compressed, with the room that removed documents left for new ones.
    disk_bytes: i64,
    index_bytes: i64,
    new_documents_yesterday: i64,
    documents_expiring_within_a_day: i64,
    growth_bytes_per_day: i64,
}

impl Size {
    fn all_bytes(&self) -> i64 {
        self.disk_bytes + self.index_bytes
    }
}

/// The file system with a member's data; other things may lie on it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Disk {
    member: String,
    used_bytes: i64,
    total_bytes: i64,
    /// At this growth, in days from now; none when nothing grows.
    full_in_days: Option<i64>,
}

/// Runs the subcommand.
///
/// # Errors
/// MongoDB cannot be reached or refuses, or counting takes too long.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let database = mongo::connect(&settings.mongodb).await?;
    let names = database.run_cursor_command(doc! { "listCollections": 1, "filter": { "type": "collection" } }).await?;
    let names: Vec<Document> = names.try_collect().await.context("listing the collections failed")?;
    let names = names.iter().filter_map(|listed| listed.get_str("name").ok()).filter(|name| !is_internal(name));
    let now = Utc::now();
    let mut collections = try_join_all(names.map(|name| size(database.collection(name), now))).await?;
    collections.sort_by_key(|size| Reverse(size.all_bytes()));
    let growth_bytes_per_day = collections.iter().map(|size| size.growth_bytes_per_day).sum();

    let members = mongo::members(&settings.mongodb, &database).await?;
    let read = join_all(members.iter().map(|member| disk(&database, member, growth_bytes_per_day))).await;
    let (mut disks, mut notes) = (vec![], vec![]);
    for (member, disk) in members.iter().zip(read) {
        match disk {
            Ok(disk) => disks.push(disk),
            Err(error) => notes.push(format!("the disk of {} is not known: {}", member.name, mongo::reason(&error))),
        }
    }
    let report = Report { collections, growth_bytes_per_day, disks, notes };
    if options.json { terminal::print_json(&report) } else { print(&report, now) }
}

/// MongoDB's own, such as the profile, which not everybody may look into and which are small.
fn is_internal(collection: &str) -> bool {
    collection.starts_with("system.")
}

/// What `$collStats` says, added up over the shards of a cluster.
#[derive(Default, Deserialize)]
struct Stats {
    documents: Number,
    data: Number,
    disk: Number,
    indexes: Number,
}

/// MongoDB sends sizes in whichever of its numbers holds them.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(from = "Bson")]
struct Number(i64);

impl From<Bson> for Number {
    fn from(number: Bson) -> Self {
        Self(match number {
            Bson::Int32(number) => i64::from(number),
            Bson::Int64(number) => number,
            Bson::Double(number) => number as i64,
            _ => 0,
        })
    }
}

async fn size(collection: Collection<Document>, now: DateTime<Utc>) -> anyhow::Result<Size> {
    let failed = || format!("measuring the collection {} failed", collection.name());
    let sum = |field: &str| doc! { "$sum": format!("$storageStats.{field}") };
    let sums = doc! {
        "_id": null,
        "documents": sum("count"),
        "data": sum("size"),
        "disk": sum("storageSize"),
        "indexes": sum("totalIndexSize"),
    };
    let stats = collection.aggregate([doc! { "$collStats": { "storageStats": {} } }, doc! { "$group": sums }]);
    let stats = stats.await.with_context(failed)?.with_type::<Stats>().try_next().await.with_context(failed)?;
    let Stats { documents: Number(documents), data: Number(data), disk: Number(disk), indexes: Number(indexes) } =
        stats.unwrap_or_default();
    let new = count(&collection, ids_of(Day::of(now).previous())).await.with_context(failed)?;
    let expiring = expiring(&collection, now + TimeDelta::days(1)).await.with_context(failed)?;
    let per_document = (disk + indexes) as f64 / documents.max(1) as f64;
    Ok(Size {
        collection: collection.name().to_owned(),
        documents,
        average_document_bytes: data / documents.max(1),
        data_bytes: data,
        disk_bytes: disk,
        index_bytes: indexes,
        new_documents_yesterday: new,
        documents_expiring_within_a_day: expiring,
        growth_bytes_per_day: ((new - expiring) as f64 * per_document) as i64,
    })
}

/// Documents whose `_id` was made on a day: from the event's time, the day, or the moment.
fn ids_of(day: Day) -> Document {
    let first = |instant: DateTime<Utc>| {
        let mut id = [0; 12];
        id[..4].copy_from_slice(&u32::try_from(instant.timestamp()).unwrap_or(0).to_be_bytes());
        ObjectId::from_bytes(id)
    };
    doc! { "_id": { "$gte": first(day.start()), "$lt": first(day.end()) } }
}

/// Documents that an index with a time to live will have removed by `by`.
async fn expiring(collection: &Collection<Document>, by: DateTime<Utc>) -> Result<i64, Error> {
    let indexes: Vec<IndexModel> = collection.list_indexes().await?.try_collect().await?;
    let expiring = indexes.into_iter().find_map(|IndexModel { keys, options, .. }| {
        let IndexOptions { expire_after, .. } = options?;
        Some((keys.keys().next()?.clone(), TimeDelta::from_std(expire_after?).ok()?))
    });
    let Some((field, expire_after)) = expiring else { return Ok(0) };
    count(collection, doc! { field: { "$lt": bson::DateTime::from_chrono(by - expire_after) } }).await
}

async fn count(collection: &Collection<Document>, filter: Document) -> Result<i64, Error> {
    let count = collection.count_documents(filter).max_time(TIME_LIMIT).await?;
    Ok(i64::try_from(count).unwrap_or(i64::MAX))
}

async fn disk(database: &Database, member: &Member, growth_bytes_per_day: i64) -> Result<Disk, Error> {
    let stats = database.run_command(doc! { "dbStats": 1 }).selection_criteria(member.criteria()).await?;
    let size = |field: &str| Number::from(stats.get(field).cloned().unwrap_or(Bson::Null)).0;
    let (used_bytes, total_bytes) = (size("fsUsedSize"), size("fsTotalSize"));
    let full_in_days = (growth_bytes_per_day > 0).then(|| (total_bytes - used_bytes) / growth_bytes_per_day);
    Ok(Disk { member: member.name.clone(), used_bytes, total_bytes, full_in_days })
}

fn print(report: &Report, now: DateTime<Utc>) -> anyhow::Result<()> {
    let count = |number: i64| HumanCount(number.unsigned_abs()).to_string();
    let rows = report.collections.iter().map(|size| {
        [
            printable(&size.collection),
            count(size.documents),
            bytes(size.average_document_bytes),
            bytes(size.data_bytes),
            bytes(size.disk_bytes),
            bytes(size.index_bytes),
            count(size.new_documents_yesterday),
            count(size.documents_expiring_within_a_day),
            bytes(size.growth_bytes_per_day),
        ]
    });
    let header =
        ["collection", "documents", "average", "data", "on disk", "indexes", "new a day", "expiring", "growth a day"];
    let mut table = report::table(header, rows);
    report::align_right(&mut table, 1..=8);
    print_line!("{}\n", table.trim_fmt());
    let all: i64 = report.collections.iter().map(Size::all_bytes).sum();
    if let Some(largest) = report.collections.first().filter(|_| all > 0) {
        let share = largest.all_bytes() as f64 / all as f64 * 100.0;
        let (name, growth) = (printable(&largest.collection), bytes(report.growth_bytes_per_day));
        print_line!("all collections: {} on disk, {growth} more a day; {name} takes {share:.0} % of it", bytes(all));
    }
    for Disk { member, used_bytes, total_bytes, full_in_days } in &report.disks {
        let full = match full_in_days {
            Some(days) => format!("at this growth full in {} days{}", count(*days), date(now, *days)),
            None => "the database does not grow".to_owned(),
        };
        print_line!("disk of {member}: {} of {} used; {full}", bytes(*used_bytes), bytes(*total_bytes));
    }
    for note in &report.notes {
        print_line!("note: {}", printable(note));
    }
    Ok(())
}

/// `, 2026-01-15`, while calendars reach that far.
fn date(now: DateTime<Utc>, days: i64) -> String {
    const NOT_WORTH_A_DATE: i64 = 3_650;
    if days > NOT_WORTH_A_DATE { String::new() } else { format!(", {}", Day::of(now + TimeDelta::days(days))) }
}

fn bytes(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", HumanBytes(number.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_range_of_ids() {
        let day = Day::parse("2024-01-15").unwrap();
        let expected = doc! { "_id": {
            "$gte": ObjectId::parse_str("65a475800000000000000000").unwrap(),
            "$lt": ObjectId::parse_str("65a5c7000000000000000000").unwrap(),
        } };
        assert_eq!(ids_of(day), expected);
    }

    #[test]
    fn sizes_may_shrink() {
        assert_eq!([bytes(-2_048), bytes(0), bytes(1_536)], ["-2.00 KiB", "0 B", "1.50 KiB"]);
    }
}
