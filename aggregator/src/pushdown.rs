//! Computes a day inside MongoDB: the other engine, with the same answer as [`scan`](crate::scan) to the last bit.
//!
//! Each pipeline begins with stages that every shard of a cluster runs on its own events (`$match`, `$project`, `$group`), and
//! these leave only what has to meet: a row for each tool, user, half hour of a session or five minutes of a user. What
//! follows, on one node, never holds more than a row at a time, and sorts and groups may spill to disk.
//!
//! Two things make that exact. Events of one session that start within the same half hour are always one visit, whatever
//! lies between them, so the shards may join them; likewise a user's events within five minutes. And nothing is summed as
//! a double: response times are cut into three integers of 32 bits, lengths of visits are decimals without a fraction.

use anyhow::Context;
use bson::oid::ObjectId;
use bson::{Bson, Decimal128, Document, doc};
use common::day::Day;
use common::documents::activity_log::{self, Action};
use common::documents::rollup_day::Inputs;
use common::documents::{health_check, usage_analytics, user};
use futures::TryStreamExt;
use mongodb::options::ReadConcern;
use mongodb::{Cursor, Database};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::fold::exact::{self, Mean};
use crate::fold::presence::LINGER;
use crate::fold::tools::{Known, Tool as _, Tools};
use crate::fold::totals::{Sums, VisitSums};
use crate::fold::visits::LONGEST_GAP;
use crate::fold::{self, FARTHEST, Totals};
use crate::lookup::{self, created_before};
use crate::source::within;

/// What `day`'s events say, and how many of its active users were created before it began.
///
/// # Errors
/// MongoDB fails.
pub async fn count(database: &Database, day: Day) -> anyhow::Result<(Totals, u64)> {
    let known = lookup::tools(database).await?;
    let ((tools, unreadable), activities, checks, people, visits, peak) = tokio::try_join!(
        tool_uses(database, day, &known),
        row::<Activities>(database, activity_log::COLLECTION, activities(day), "counting the activities"),
        row::<Checks>(database, health_check::COLLECTION, checks(day), "counting the health checks"),
        row::<People>(database, usage_analytics::COLLECTION, people(day), "counting the active users"),
        row::<Visits>(database, usage_analytics::COLLECTION, visits(day), "finding the visits"),
        row::<Peak>(database, usage_analytics::COLLECTION, peak(day), "finding the largest number of users at once"),
    )?;
    let mut sums = Sums {
        inputs: Inputs {
            tool_usage: 0,
            activity: activities.readable,
            health_checks: checks.readable,
            unreadable: unreadable + activities.unreadable + checks.unreadable,
        },
        active_users: unsigned(people.active),
        tool_users: unsigned(people.used_a_tool),
        page_views: unsigned(activities.page_views),
        checks: unsigned(checks.readable),
        healthy_checks: unsigned(checks.healthy),
        peak_users: unsigned(peak.users),
        ..Sums::default()
    };
    (sums.visits, sums.tool_visits) = visits.sums()?;
    sums.add_tools(&tools);
    let mut totals = sums.totals();
    totals.inputs.tool_usage = i64::try_from(totals.tool_uses).unwrap_or(i64::MAX);
    Ok((totals, unsigned(people.returning)))
}

/// The tool uses by tool, and how many documents cannot be read.
async fn tool_uses(database: &Database, day: Day, known: &Known) -> anyhow::Result<(Tools<fold::Tool>, i64)> {
    const PURPOSE: &str = "counting the tool uses";
    let (mut of_day, mut unreadable) = (Tools::<fold::Tool>::new(known), 0);
    let mut rows = rows::<Tool>(database, usage_analytics::COLLECTION, tools(day), PURPOSE).await?;
    while let Some(tool) = rows.try_next().await.context(PURPOSE)? {
        match tool.id {
            Some(id) => of_day.entry(id).merge(tool.counted()),
            None => unreadable += tool.uses,
        }
    }
    // Whether there are too many is known with the last.
    let mut settled = Tools::new(known);
    settled.merge(of_day);
    Ok((settled, unreadable))
}

async fn rows<T: DeserializeOwned + Send + Sync + Unpin>(
    database: &Database,
    collection: &str,
    pipeline: Vec<Document>,
    purpose: &'static str,
) -> anyhow::Result<Cursor<T>> {
    database
        .collection::<Document>(collection)
        .aggregate(pipeline)
        .allow_disk_use(true)
        .read_concern(ReadConcern::majority())
        .with_type::<T>()
        .await
        .context(purpose)
}

/// The one row of a pipeline that groups everything; of nothing it makes no row.
async fn row<T: DeserializeOwned + Default + Send + Sync + Unpin>(
    database: &Database,
    collection: &str,
    pipeline: Vec<Document>,
    purpose: &'static str,
) -> anyhow::Result<T> {
    let mut rows = rows(database, collection, pipeline, purpose).await?;
    Ok(rows.try_next().await.context(purpose)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct Tool {
    /// None for the documents that cannot be read.
    #[serde(rename = "_id")]
    id: Option<ObjectId>,
    uses: i64,
    failures: i64,
    timed: i64,
    whole: i64,
    upper: i64,
    lower: i64,
}

impl Tool {
    fn counted(&self) -> fold::Tool {
        fold::Tool {
            uses: unsigned(self.uses),
            failures: unsigned(self.failures),
            response_time: Mean::of_parts(unsigned(self.timed), [self.whole, self.upper, self.lower].map(unsigned)),
        }
    }
}

/// A row for each tool, and one for what cannot be read.
fn tools(day: Day) -> Vec<Document> {
    const WORD: f64 = (1_u64 << 32) as f64;
    let tail_of = |value: &str, floor: Document| doc! { "$multiply": [{ "$subtract": [value, floor] }, WORD] };
    let floor = |value: &str| doc! { "$floor": value };
    let sum = |expression: Document| doc! { "$sum": { "$toLong": expression } };
    vec![
        doc! { "$match": within(day.start(), day.end()) },
        doc! { "$project": {
            "readable": readable_tool_use(), "toolId": 1, "success": "$usage.success", "time": "$performance.responseTime",
        } },
        doc! { "$project": {
            "tool": { "$cond": ["$readable", "$toolId", Bson::Null] },
            "failed": { "$not": "$success" },
            // Of what is readable it is a number or nothing, and nothing stays nothing in all that follows.
            "time": { "$cond": ["$readable", { "$toDouble": "$time" }, Bson::Null] },
        } },
        doc! { "$set": { "tail": tail_of("$time", floor("$time")) } },
        doc! { "$group": {
            "_id": "$tool",
            "uses": { "$sum": 1_i64 },
            "failures": count_if("$failed"),
            "timed": count_if(doc! { "$ne": ["$time", Bson::Null] }),
            "whole": sum(floor("$time")),
            "upper": sum(floor("$tail")),
            "lower": sum(doc! { "$floor": tail_of("$tail", floor("$tail")) }),
        } },
    ]
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Activities {
    readable: i64,
    unreadable: i64,
    page_views: i64,
}

fn activities(day: Day) -> Vec<Document> {
    vec![
        doc! { "$match": within(day.start(), day.end()) },
        doc! { "$project": { "readable": readable_activity(), "action": 1 } },
        doc! { "$group": {
            "_id": Bson::Null,
            "readable": count_if("$readable"),
            "unreadable": count_if(doc! { "$not": "$readable" }),
            "pageViews": count_if(doc! { "$and": ["$readable", is_page_view()] }),
        } },
    ]
}

#[derive(Default, Deserialize)]
struct Checks {
    readable: i64,
    unreadable: i64,
    healthy: i64,
}

fn checks(day: Day) -> Vec<Document> {
    vec![
        doc! { "$match": within(day.start(), day.end()) },
        doc! { "$project": { "readable": readable_check(), "healthy": 1 } },
        doc! { "$group": {
            "_id": Bson::Null,
            "readable": count_if("$readable"),
            "unreadable": count_if(doc! { "$not": "$readable" }),
            "healthy": count_if(doc! { "$and": ["$readable", "$healthy"] }),
        } },
    ]
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct People {
    active: i64,
    used_a_tool: i64,
    returning: i64,
}

/// Who was active meets who existed in one more group, rather than in a lookup for each of them.
fn people(day: Day) -> Vec<Document> {
    let each = |active: i64, used_a_tool: i64| {
        doc! { "$group": {
            "_id": "$user",
            "active": { "$max": active }, "usedATool": { "$max": used_a_tool }, "existed": { "$max": 0_i64 },
        } }
    };
    let of_a_user = || doc! { "$match": { "user": { "$ne": Bson::Null } } };
    let mut of_activities = activity_spans(day);
    of_activities.extend([of_a_user(), each(1, 0)]);
    let existed =
        vec![doc! { "$match": created_before(day) }, doc! { "$project": { "existed": { "$literal": 1_i64 } } }];
    let mut pipeline = tool_use_spans(day);
    pipeline.extend([
        of_a_user(),
        each(1, 1),
        union(activity_log::COLLECTION, of_activities),
        union(user::COLLECTION, existed),
        doc! { "$group": {
            "_id": "$_id",
            "active": { "$max": "$active" }, "usedATool": { "$max": "$usedATool" }, "existed": { "$max": "$existed" },
        } },
        doc! { "$match": { "active": 1 } },
        doc! { "$group": {
            "_id": Bson::Null,
            "active": { "$sum": 1_i64 }, "usedATool": { "$sum": "$usedATool" }, "returning": { "$sum": "$existed" },
        } },
    ]);
    pipeline
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Visits {
    visits: i64,
    millis: Option<Decimal128>,
    with_page_view: i64,
    bounces: i64,
    tool_visits: i64,
    tool_millis: Option<Decimal128>,
}

impl Visits {
    /// All visits, and those of tool use alone.
    fn sums(&self) -> anyhow::Result<(VisitSums, VisitSums)> {
        let millis = |sum: Option<Decimal128>| -> anyhow::Result<u128> {
            let text = sum.map_or_else(|| "0".to_owned(), |sum| sum.to_string());
            text.parse().with_context(|| format!("the lengths of the visits add up to {text}, expected a whole number"))
        };
        let all = VisitSums {
            count: unsigned(self.visits),
            millis: millis(self.millis)?,
            with_page_view: unsigned(self.with_page_view),
            bounces: unsigned(self.bounces),
        };
        let tool_visits =
            VisitSums { count: unsigned(self.tool_visits), millis: millis(self.tool_millis)?, ..VisitSums::default() };
        Ok((all, tool_visits))
    }
}

/// The events of a session by start; where one starts too long after the latest end so far, a visit begins.
fn visits(day: Day) -> Vec<Document> {
    let joined = |page_views: Bson, tool_uses: i64| {
        [
            doc! { "$match": { "session": { "$ne": Bson::Null } } },
            doc! { "$group": {
                "_id": { "session": "$session", "slot": slot("$start", LONGEST_GAP) },
                "start": { "$min": "$start" },
                "end": { "$max": "$end" },
                "pageViews": { "$sum": page_views },
                "toolUses": { "$sum": tool_uses },
            } },
        ]
    };
    let mut of_activities = activity_spans(day);
    of_activities.extend(joined(doc! { "$cond": [is_page_view(), 1_i64, 0_i64] }.into(), 0));
    let window = |output: Document| {
        doc! { "$setWindowFields": { "partitionBy": "$_id.session", "sortBy": { "start": 1 }, "output": output } }
    };
    let is_tool_use = doc! { "$gt": ["$toolUses", 0] };
    // Before the first there is no latest end, and every number is greater than null.
    let begins = |latest: &str| doc! { "$gt": ["$start", { "$add": [latest, LONGEST_GAP] }] };
    let begins_of_tools = doc! { "$and": [is_tool_use.clone(), begins("$latestToolEnd")] };
    // A visit of tool use alone is not grouped: each event adds what it makes its visit longer.
    let longer = doc! { "$switch": {
        "branches": [
            { "case": { "$not": is_tool_use.clone() }, "then": 0_i64 },
            { "case": begins("$latestToolEnd"), "then": { "$subtract": ["$end", "$start"] } },
        ],
        "default": { "$subtract": [{ "$max": ["$end", "$latestToolEnd"] }, "$latestToolEnd"] },
    } };
    let is_bounce = doc! { "$and": [{ "$eq": ["$pageViews", 1] }, { "$eq": ["$toolUses", 0] }] };
    let mut pipeline = tool_use_spans(day);
    pipeline.extend(joined(0_i64.into(), 1));
    pipeline.extend([
        union(activity_log::COLLECTION, of_activities),
        window(doc! {
            "latestEnd": { "$max": "$end", "window": { "documents": ["unbounded", -1] } },
            "latestToolEnd": {
                "$max": { "$cond": [is_tool_use, "$end", Bson::Null] },
                "window": { "documents": ["unbounded", -1] },
            },
        }),
        window(doc! { "visit": {
            "$sum": { "$cond": [begins("$latestEnd"), 1_i64, 0_i64] },
            "window": { "documents": ["unbounded", "current"] },
        } }),
        doc! { "$group": {
            "_id": { "session": "$_id.session", "visit": "$visit" },
            "start": { "$min": "$start" },
            "end": { "$max": "$end" },
            "pageViews": { "$sum": "$pageViews" },
            "toolUses": { "$sum": "$toolUses" },
            "toolVisits": count_if(begins_of_tools),
            "toolMillis": { "$sum": { "$toDecimal": longer } },
        } },
        doc! { "$group": {
            "_id": Bson::Null,
            "visits": { "$sum": 1_i64 },
            "millis": { "$sum": { "$toDecimal": { "$subtract": ["$end", "$start"] } } },
            "withPageView": count_if(doc! { "$gt": ["$pageViews", 0] }),
            "bounces": count_if(is_bounce),
            "toolVisits": { "$sum": "$toolVisits" },
            "toolMillis": { "$sum": "$toolMillis" },
        } },
    ]);
    pipeline
}

#[derive(Default, Deserialize)]
struct Peak {
    users: i64,
}

/// Each user's times of presence, cut so that they do not overlap; who comes counts 1, who leaves -1, in order of time.
fn peak(day: Day) -> Vec<Document> {
    let joined = [
        doc! { "$match": { "user": { "$ne": Bson::Null } } },
        doc! { "$group": {
            "_id": { "user": "$user", "slot": slot("$start", LINGER) },
            "from": { "$min": "$start" },
            "until": { "$max": { "$add": ["$end", LINGER] } },
        } },
    ];
    let mut of_activities = activity_spans(day);
    of_activities.extend(joined.clone());
    let mut pipeline = tool_use_spans(day);
    pipeline.extend(joined);
    pipeline.extend([
        union(activity_log::COLLECTION, of_activities),
        doc! { "$setWindowFields": {
            "partitionBy": "$_id.user",
            "sortBy": { "from": 1 },
            "output": { "before": { "$max": "$until", "window": { "documents": ["unbounded", -1] } } },
        } },
        doc! { "$match": { "$expr": { "$gt": ["$until", "$before"] } } },
        doc! { "$project": { "_id": 0, "edges": [
            { "at": { "$max": ["$from", "$before"] }, "change": 1_i64 },
            { "at": "$until", "change": -1_i64 },
        ] } },
        doc! { "$unwind": "$edges" },
        doc! { "$group": { "_id": "$edges.at", "change": { "$sum": "$edges.change" } } },
        doc! { "$setWindowFields": {
            "sortBy": { "_id": 1 },
            "output": { "users": { "$sum": "$change", "window": { "documents": ["unbounded", "current"] } } },
        } },
        doc! { "$group": { "_id": Bson::Null, "users": { "$max": "$users" } } },
    ]);
    pipeline
}

/// Rows `user`, `session`, `start`, `end` of the tool uses; times in milliseconds since midnight.
fn tool_use_spans(day: Day) -> Vec<Document> {
    let start = since_midnight(day, "$usage.startTime");
    let end = since_midnight(day, "$usage.endTime");
    vec![
        doc! { "$match": within(day.start(), day.end()) },
        doc! { "$match": { "$expr": readable_tool_use() } },
        doc! { "$project": {
            "_id": 0, "user": "$userId", "session": "$sessionId", "start": start.clone(), "end": { "$max": [start, end] },
        } },
    ]
}

/// The same of the activities, and `action`; without failed logins.
fn activity_spans(day: Day) -> Vec<Document> {
    let at = since_midnight(day, "$timestamp");
    vec![
        doc! { "$match": within(day.start(), day.end()) },
        doc! { "$match": {
            "$expr": { "$and": [readable_activity(), { "$ne": ["$action", Action::LoginFailed.as_str()] }] },
        } },
        doc! { "$project": {
            "_id": 0, "user": "$userId", "session": "$sessionId", "start": at.clone(), "end": at, "action": 1,
        } },
    ]
}

fn since_midnight(day: Day, date: &str) -> Document {
    let midnight = day.start().timestamp_millis();
    let millis = doc! { "$toLong": date };
    let clamped = doc! { "$min": [{ "$max": [millis, midnight - FARTHEST] }, midnight + FARTHEST] };
    doc! { "$subtract": [clamped, midnight] }
}

/// The number of the span of `length` that `time` lies in. By remainder, because a quotient would be a double.
fn slot(time: &str, length: i64) -> Document {
    // Remainders of negative numbers would make the span around 0 twice as long.
    let positive = doc! { "$add": [time, FARTHEST] };
    doc! { "$subtract": [positive.clone(), { "$mod": [positive, length] }] }
}

fn readable_tool_use() -> Document {
    let response_time = "$performance.responseTime";
    doc! { "$and": [
        is_of_type("$toolId", &["objectId"]),
        is_of_type("$userId", OPTIONAL_ID),
        is_of_type("$sessionId", OPTIONAL_ID),
        is_of_type("$usage.startTime", &["date"]),
        is_of_type("$usage.endTime", &["date"]),
        is_of_type("$usage.success", &["bool"]),
        { "$ne": [{ "$type": "$performance" }, "array"] },
        { "$or": [
            is_of_type(response_time, &["null", "missing"]),
            { "$and": [
                is_of_type(response_time, &["double", "int", "long"]),
                { "$gte": [response_time, 0] },
                { "$lte": [response_time, exact::LARGEST] },
            ] },
        ] },
    ] }
}

fn readable_activity() -> Document {
    doc! { "$and": [
        is_of_type("$userId", OPTIONAL_ID),
        is_of_type("$sessionId", OPTIONAL_ID),
        { "$in": ["$action", Action::NAMES] },
        is_of_type("$timestamp", &["date"]),
    ] }
}

fn readable_check() -> Document {
    doc! { "$and": [is_of_type("$toolId", &["objectId"]), is_of_type("$healthy", &["bool"])] }
}

const OPTIONAL_ID: &[&str] = &["objectId", "null", "missing"];

fn is_of_type(field: &str, types: &[&str]) -> Document {
    doc! { "$in": [{ "$type": field }, types] }
}

fn is_page_view() -> Document {
    doc! { "$eq": ["$action", Action::PageView.as_str()] }
}

fn count_if(condition: impl Into<Bson>) -> Document {
    doc! { "$sum": { "$cond": [condition.into(), 1_i64, 0_i64] } }
}

fn union(collection: &str, pipeline: Vec<Document>) -> Document {
    doc! { "$unionWith": { "coll": collection, "pipeline": pipeline } }
}

fn unsigned(count: i64) -> u64 {
    count.unsigned_abs()
}
