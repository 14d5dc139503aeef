//! `admin slow-queries`: what MongoDB's profiler kept, grouped by what the operations look like without their values.

mod shape;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use bson::{Bson, Document, doc};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use comfy_table::{Cell, Color};
use common::mongo::{self, Member};
use common::print_line;
use common::settings::Settings;
use common::terminal::{self, printable};
use futures::TryStreamExt;
use futures::future::join_all;
use indicatif::HumanCount;
use mongodb::Database;
use mongodb::error::Error;
use serde::Serialize;

use crate::profiler::{self, Profiler};
use crate::text::instant_text;
use crate::{report, since};

const PROFILE: &str = "system.profile";
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Show slow operations of the database by their shape
///
/// What MongoDB's profiler kept on each member, those first that took most time in all. A shape is the names of fields and
/// operators: values are never shown. COLLSCAN as the plan means that no index fits and every document is read; many
/// examined for few returned, that the index fits badly. The profiler keeps the last megabyte on each member; `admin migrate`
/// switches it on for operations over mongodb.slow_query_threshold.
#[derive(Args, Debug)]
pub struct Options {
    /// Only operations that ended at this time or later: 2024-01-15T10:30:00Z, or back from now, such as 2h or 7d [default: 1d]
    #[arg(long, value_name = "T", value_parser = since::parse)]
    since: Option<DateTime<Utc>>,
    /// How many shapes to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// As `--json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    since: DateTime<Utc>,
    members: Vec<MemberLine>,
    operations: usize,
    /// All that there are, however many.
    shapes: usize,
    queries: Vec<Query>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberLine {
    member: String,
    profiler: String,
    /// The oldest operation that is still there.
    oldest: Option<DateTime<Utc>>,
}

/// Operations of the same shape with the same plan.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Query {
    collection: String,
    operation: String,
    shape: String,
    /// As MongoDB summarises it; empty where nothing was looked for.
    plan: String,
    count: usize,
    median_ms: f64,
    max_ms: i64,
    total_ms: i64,
    docs_examined: i64,
    /// Returned, updated or deleted.
    returned: i64,
    /// None when nothing was returned.
    examined_per_returned: Option<f64>,
    /// For `planCacheStats` and MongoDB's log; MongoDB gives some operations none.
    query_hash: Option<String>,
    plan_cache_key: Option<String>,
    first: DateTime<Utc>,
    last: DateTime<Utc>,
}

/// Runs the subcommand.
///
/// # Errors
/// MongoDB cannot be reached, or no member lets its profile be read.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let database = mongo::connect(&settings.mongodb).await?;
    let since = options.since.unwrap_or_else(|| Utc::now() - TimeDelta::days(1));
    let members = mongo::members(&settings.mongodb, &database).await?;
    if members.is_empty() {
        bail!(
            "a sharded cluster's profiles are with its shards; name one shard's replica set with setting mongodb.uri"
        );
    }
    let read = join_all(members.iter().map(|member| read(&database, member, since))).await;

    let (mut lines, mut notes, mut groups, mut operations) = (vec![], vec![], Groups::default(), 0);
    for (member, read) in members.into_iter().zip(read) {
        let name = member.name;
        match read {
            Ok(Profile { profiler, oldest, kept }) => {
                if !profiler.is_on() {
                    notes.push(format!(
                        "the profiler of {name} is off: `admin migrate` switches it on; so that it stays on after a \
                         restart, start mongod with --profile 1 --slowms {}",
                        settings.mongodb.slow_query_threshold.as_millis()
                    ));
                }
                operations += kept.len();
                kept.iter().for_each(|profiled| groups.add(profiled));
                lines.push(MemberLine { member: name, profiler: profiler.to_string(), oldest });
            }
            Err(error) => notes.push(format!("{name} cannot be read: {}", profiler::reason(&error))),
        }
    }
    if lines.is_empty() {
        bail!(notes.join("; "));
    }
    let mut queries = groups.most_time_first();
    let shapes = queries.len();
    queries.truncate(options.limit);
    let report = Report { since, members: lines, operations, shapes, queries, notes };
    if options.json { terminal::print_json(&report) } else { print(&report) }
}

struct Profile {
    profiler: Profiler,
    oldest: Option<DateTime<Utc>>,
    kept: Vec<Document>,
}

async fn read(database: &Database, member: &Member, since: DateTime<Utc>) -> Result<Profile, Error> {
    let profile = database.collection::<Document>(PROFILE);
    let profiler = profiler::read(database, member).await?;
    let oldest = profile.find_one(doc! {}).sort(doc! { "$natural": 1 }).selection_criteria(member.criteria()).await?;
    let wanted = doc! {
        "ts": { "$gte": bson::DateTime::from_chrono(since) },
        // The exporter and this very command read it, too.
        "ns": { "$ne": format!("{}.{PROFILE}", database.name()) },
    };
    let kept = profile.find(wanted).max_time(TIME_LIMIT).selection_criteria(member.criteria()).await?;
    Ok(Profile { profiler, oldest: oldest.map(|oldest| ended(&oldest)), kept: kept.try_collect().await? })
}

fn ended(profiled: &Document) -> DateTime<Utc> {
    profiled.get_datetime("ts").map(|ts| ts.to_chrono()).unwrap_or_default()
}

/// By collection, operation, shape and plan.
#[derive(Default)]
struct Groups(BTreeMap<[String; 4], Group>);

#[derive(Default)]
struct Group {
    millis: Vec<i64>,
    docs_examined: i64,
    returned: i64,
    query_hash: Option<String>,
    plan_cache_key: Option<String>,
    times: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Groups {
    fn add(&mut self, profiled: &Document) {
        let text = |name: &str| profiled.get_str(name).ok().map(str::to_owned);
        let number = |name: &str| match profiled.get(name) {
            Some(Bson::Int32(number)) => i64::from(*number),
            Some(Bson::Int64(number)) => *number,
            _ => 0,
        };
        let namespace = text("ns").unwrap_or_default();
        let collection = namespace.split_once('.').map_or("", |(_, collection)| collection).to_owned();
        let (operation, shape) = shape::of(profiled);
        let key = [collection, operation, shape, text("planSummary").unwrap_or_default()];
        let group = self.0.entry(key).or_default();
        group.millis.push(number("millis"));
        group.docs_examined += number("docsExamined");
        group.returned += number("nreturned") + number("nMatched") + number("ndeleted");
        // MongoDB 8.0 renamed it.
        group.query_hash = group.query_hash.take().or(text("queryHash")).or(text("planCacheShapeHash"));
        group.plan_cache_key = group.plan_cache_key.take().or(text("planCacheKey"));
        let at = ended(profiled);
        let (first, last) = group.times.unwrap_or((at, at));
        group.times = Some((first.min(at), last.max(at)));
    }

    fn most_time_first(self) -> Vec<Query> {
        let mut queries: Vec<Query> = self.0.into_iter().map(|(key, group)| group.query(key)).collect();
        queries.sort_by_key(|query| Reverse(query.total_ms));
        queries
    }
}

impl Group {
    fn query(mut self, [collection, operation, shape, plan]: [String; 4]) -> Query {
        self.millis.sort_unstable();
        let Self { millis, docs_examined, returned, query_hash, plan_cache_key, times } = self;
        let (first, last) = times.unwrap_or_default();
        Query {
            collection,
            operation,
            shape,
            plan,
            count: millis.len(),
            median_ms: median(&millis),
            max_ms: millis.last().copied().unwrap_or(0),
            total_ms: millis.iter().sum(),
            docs_examined,
            returned,
            examined_per_returned: (returned > 0).then(|| docs_examined as f64 / returned as f64),
            query_hash,
            plan_cache_key,
            first,
            last,
        }
    }
}

fn median(sorted: &[i64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted {
        [] => 0.0,
        sorted if sorted.len() % 2 == 1 => sorted[middle] as f64,
        sorted => (sorted[middle - 1] + sorted[middle]) as f64 / 2.0,
    }
}

fn print(report: &Report) -> anyhow::Result<()> {
    let Report { since, members, operations, shapes, queries, notes } = report;
    let count = |number: i64| HumanCount(number.unsigned_abs()).to_string();
    if !queries.is_empty() {
        let rows = queries.iter().map(|query| {
            let reads_all = query.plan.contains("COLLSCAN");
            let plan = Cell::new(printable(&query.plan));
            [
                Cell::new(printable(&query.collection)),
                Cell::new(printable(&query.operation)),
                if reads_all { plan.fg(Color::Red) } else { plan },
                Cell::new(query.count),
                Cell::new(query.median_ms),
                Cell::new(query.max_ms),
                Cell::new(count(query.docs_examined)),
                Cell::new(count(query.returned)),
                Cell::new(query.examined_per_returned.map(|ratio| format!("{ratio:.1}")).unwrap_or_default()),
                Cell::new(printable(&query.shape)),
            ]
        });
        let header = [
            "collection",
            "operation",
            "plan",
            "count",
            "median ms",
            "max ms",
            "examined",
            "returned",
            "per returned",
            "shape",
        ];
        let mut table = report::table(header, rows);
        report::align_right(&mut table, 3..=8);
        print_line!("{}\n", table.trim_fmt());
    }
    print_line!("slow operations since {}: {operations}, of {shapes} shapes", instant_text(*since));
    if *shapes > queries.len() {
        print_line!("the {} that took most time are shown; --limit {shapes} shows all", queries.len());
    }
    for MemberLine { member, profiler, oldest } in members {
        let oldest = match oldest {
            Some(oldest) => format!("the oldest of {}", instant_text(*oldest)),
            None => "none yet".to_owned(),
        };
        print_line!("profiler of {member}: {profiler}; {oldest}");
    }
    for note in notes {
        print_line!("note: {}", printable(note));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!([median(&[]), median(&[5]), median(&[1, 9]), median(&[1, 2, 100])], [0.0, 5.0, 5.0, 2.0]);
    }
}
