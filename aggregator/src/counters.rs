//! Writes a day's rows of `tool_days` and `user_days` and moves the counters in `tools` and `users` with them.
//!
//! Invariant: a transaction writes the rows of some tools or users, and moves their counters by the difference to the rows
//! that were there. So rows and counters agree whenever one looks, whatever was killed in between, and a day that is
//! rolled up again, or half rolled up, moves only what is missing. What the counters mean is in `docs/ROLLUP.md`.

use anyhow::{Context, bail};
use bson::oid::ObjectId;
use bson::raw::RawDocumentBuf;
use bson::{Bson, DateTime, Document, doc};
use common::day::Day;
use common::documents::tool_day::{self, ToolDay};
use common::documents::user_day::{self, UserDay};
use common::documents::{tool, user};
use common::mongo;
use futures::TryStreamExt;
use mongodb::{ClientSession, Collection, Database};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::fold::ids::IdMap;
use crate::lease::Held;
use crate::ledger::Ledger;
use crate::retry::passing_faults;

/// Rows of a transaction: small beside the server's limit of 60 s and large beside the cost of a commit.
const CHUNK: usize = 500;

/// `tools.performance` covers this many days, the current one included.
pub const PERFORMANCE_DAYS: u64 = 30;

/// Replaces the day's rows by those of `ledger` and moves the counters. `today` is the current day of the counters.
///
/// # Errors
/// MongoDB fails, or the lease is lost.
pub async fn write(database: &Database, lease: &Held, ledger: &Ledger, today: Day) -> anyhow::Result<()> {
    let day = ledger.day;
    let new: IdMap<&UserDay> = ledger.users.iter().map(|row| (row.user_id, row)).collect();
    for ids in ids_with_rows(database, day, user_day::COLLECTION, "userId", new.keys()).await?.chunks(CHUNK) {
        let rows = async |session: &mut ClientSession| write_users(database, session, day, ids, &new, today).await;
        passing_faults(|| lease.transaction(rows)).await.context("writing user_days and the users' counters")?;
    }
    let new: IdMap<&ToolDay> = ledger.tools.iter().map(|row| (row.tool_id, row)).collect();
    for ids in ids_with_rows(database, day, tool_day::COLLECTION, "toolId", new.keys()).await?.chunks(CHUNK) {
        let rows = async |session: &mut ClientSession| write_tools(database, session, day, ids, &new, today).await;
        passing_faults(|| lease.transaction(rows)).await.context("writing tool_days and the tools' counters")?;
    }
    Ok(())
}

/// Starts the counters of `today` where they still are those of an earlier day, week or month.
///
/// # Errors
/// MongoDB fails, or the lease is lost.
pub async fn reset(database: &Database, lease: &Held, today: Day) -> anyhow::Result<()> {
    let users = database.collection::<Document>(user::COLLECTION);
    let mut outdated = doc! { "usage.lastResetDate": { "$lt": start(today) } };
    outdated.extend(countable(user::COLLECTION));
    let reset = vec![move_user(today, today, &Difference::default())];
    passing_faults(async || Ok(users.update_many(outdated.clone(), reset.clone()).await?)).await?;
    let mut tools =
        database.collection::<Document>(tool::COLLECTION).find(doc! {}).projection(doc! { "_id": 1 }).await?;
    let mut ids = Vec::new();
    while tools.advance().await? {
        ids.extend(tools.current().get_object_id("_id"));
    }
    for ids in ids.chunks(CHUNK) {
        let none = IdMap::default();
        let count = async |session: &mut ClientSession| move_tools(database, session, ids, &none, today).await;
        passing_faults(|| lease.transaction(count)).await.context("counting the tools' current periods")?;
    }
    Ok(())
}

/// The ids of the new rows and of those that are there, in order.
async fn ids_with_rows(
    database: &Database,
    day: Day,
    collection: &str,
    field: &str,
    new: impl Iterator<Item = &ObjectId>,
) -> anyhow::Result<Vec<ObjectId>> {
    let mut ids: Vec<ObjectId> = new.copied().collect();
    let rows = database.collection::<RawDocumentBuf>(collection);
    let mut rows = rows.find(doc! { "date": day.to_string() }).projection(doc! { "_id": 0, (field): 1 }).await?;
    while rows.advance().await? {
        ids.push(rows.current().get_object_id(field)?);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// What one day's row of a user changes.
#[derive(Default)]
struct Difference {
    usage: i64,
    last_used_at: Option<DateTime>,
    last_activity_at: Option<DateTime>,
}

async fn write_users(
    database: &Database,
    session: &mut ClientSession,
    day: Day,
    ids: &[ObjectId],
    new: &IdMap<&UserDay>,
    today: Day,
) -> anyhow::Result<()> {
    let rows = database.collection::<UserDay>(user_day::COLLECTION);
    let old: IdMap<UserDay> =
        stored(&rows, session, day, "userId", ids).await?.into_iter().map(|row| (row.user_id, row)).collect();
    let mut changes = Changes::default();
    let mut moves = Vec::new();
    for id in ids {
        let (old, new) = (old.get(id), new.get(id).copied());
        let same = old.zip(new).is_some_and(|(old, new)| UserDay { updated_at: new.updated_at, ..old.clone() } == *new);
        if same {
            continue;
        }
        changes.add(old.map(|row| row.id), new);
        let difference = Difference {
            usage: new.map_or(0, |row| row.usage) - old.map_or(0, |row| row.usage),
            last_used_at: new.and_then(|row| row.last_used_at),
            last_activity_at: new.map(|row| row.last_activity_at),
        };
        moves.push(Move { id: *id, change: Bson::Array(vec![move_user(day, today, &difference).into()]) });
    }
    changes.write(&rows, session).await?;
    update(database, session, user::COLLECTION, moves).await
}

/// The stage that moves a user's counters, and starts them anew where their day is over.
///
/// `usage.lastResetDate` says which day the counters are of. No row is of a later day, for whoever writes a row moves
/// the counters of its user to a day that is not earlier: so counters of a new day, or of a new month, start at 0.
fn move_user(day: Day, today: Day, difference: &Difference) -> Document {
    let truncated = |date: Bson, unit: &str| doc! { "$dateTrunc": { "date": date, "unit": unit } };
    let reset = doc! { "$ifNull": ["$usage.lastResetDate", DateTime::from_millis(0)] };
    let current = truncated(doc! { "$max": [&reset, start(today)] }.into(), "day");
    let month = truncated(current.clone().into(), "month");
    let counter = |field: &str| doc! { "$ifNull": [field, 0_i64] };
    let moved = |is_current: Document, field: &str, counts: Document| {
        let before = doc! { "$cond": [is_current, counter(field), 0_i64] };
        doc! { "$max": [0_i64, { "$add": [before, { "$cond": [counts, difference.usage, 0_i64] }] }] }
    };
    let mut set = doc! {
        "usage.dailyCount": moved(
            doc! { "$gte": [&reset, &current] }, "$usage.dailyCount", doc! { "$eq": [start(day), &current] },
        ),
        "usage.monthlyCount": moved(
            doc! { "$gte": [&reset, &month] }, "$usage.monthlyCount", doc! { "$gte": [start(day), &month] },
        ),
        "usage.totalCount": { "$max": [0_i64, { "$add": [counter("$usage.totalCount"), difference.usage] }] },
        "usage.lastResetDate": { "$max": [&reset, start(today)] },
    };
    if let Some(at) = difference.last_used_at {
        set.insert("usage.lastUsageDate", doc! { "$max": ["$usage.lastUsageDate", at] });
    }
    if let Some(at) = difference.last_activity_at {
        set.insert("status.lastActivity", doc! { "$max": ["$status.lastActivity", at] });
    }
    doc! { "$set": set }
}

async fn write_tools(
    database: &Database,
    session: &mut ClientSession,
    day: Day,
    ids: &[ObjectId],
    new: &IdMap<&ToolDay>,
    today: Day,
) -> anyhow::Result<()> {
    let rows = database.collection::<ToolDay>(tool_day::COLLECTION);
    let old: IdMap<ToolDay> =
        stored(&rows, session, day, "toolId", ids).await?.into_iter().map(|row| (row.tool_id, row)).collect();
    let mut changes = Changes::default();
    let mut moved = IdMap::default();
    for id in ids {
        let (old, new) = (old.get(id), new.get(id).copied());
        let same = old.zip(new).is_some_and(|(old, new)| ToolDay { updated_at: new.updated_at, ..old.clone() } == *new);
        if !same {
            changes.add(old.map(|row| row.id), new);
            moved.insert(*id, new.map_or(0, |row| row.usage) - old.map_or(0, |row| row.usage));
        }
    }
    changes.write(&rows, session).await?;
    let changed: Vec<ObjectId> = moved.keys().copied().collect();
    move_tools(database, session, &changed, &moved, today).await
}

/// A tool's current periods, counted from its rows.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Periods {
    #[serde(rename = "_id")]
    tool_id: ObjectId,
    daily: i64,
    weekly: i64,
    monthly: i64,
    usage: i64,
    failures: i64,
    response_times: i64,
    response_time: f64,
    checks: i64,
    healthy_checks: i64,
    last_used_at: Option<DateTime>,
    last_health_check_at: Option<DateTime>,
}

/// Moves the total of each tool by what is in `moved`, and counts everything else of it anew: a tool has few rows.
async fn move_tools(
    database: &Database,
    session: &mut ClientSession,
    ids: &[ObjectId],
    moved: &IdMap<i64>,
    today: Day,
) -> anyhow::Result<()> {
    let mut periods: IdMap<Periods> = IdMap::default();
    if !ids.is_empty() {
        let mut counted = database
            .collection::<Document>(tool_day::COLLECTION)
            .aggregate(count_periods(ids, today))
            .session(&mut *session)
            .with_type::<Periods>()
            .await?;
        while let Some(of_tool) = counted.next(session).await.transpose()? {
            periods.insert(of_tool.tool_id, of_tool);
        }
    }
    let moves = ids.iter().map(|id| {
        let usage = moved.get(id).copied().unwrap_or(0);
        Move { id: *id, change: move_tool(usage, periods.get(id)).into() }
    });
    update(database, session, tool::COLLECTION, moves.collect()).await
}

fn count_periods(ids: &[ObjectId], today: Day) -> [Document; 2] {
    let performance = today.minus(PERFORMANCE_DAYS - 1);
    let from = performance.min(today.month_start()).min(today.week_start());
    let sum_since = |first: Day, field: &str| {
        doc! { "$sum": { "$cond": [{ "$gte": ["$date", first.to_string()] }, field, 0_i64] } }
    };
    let measured = |field: &str| sum_since(performance, field);
    [
        doc! { "$match": {
            "toolId": { "$in": ids },
            "date": { "$gte": from.to_string(), "$lte": today.to_string() },
        } },
        doc! { "$group": {
            "_id": "$toolId",
            "daily": sum_since(today, "$usage"),
            "weekly": sum_since(today.week_start(), "$usage"),
            "monthly": sum_since(today.month_start(), "$usage"),
            "usage": measured("$usage"),
            "failures": measured("$failures"),
            "responseTimes": measured("$responseTime.count"),
            "responseTime": { "$sum": { "$cond": [
                { "$gte": ["$date", performance.to_string()] }, "$responseTime.total", 0.0,
            ] } },
            "checks": measured("$healthChecks"),
            "healthyChecks": measured("$healthyChecks"),
            "lastUsedAt": { "$max": "$lastUsedAt" },
            "lastHealthCheckAt": { "$max": "$lastHealthCheckAt" },
        } },
    ]
}

fn move_tool(usage: i64, periods: Option<&Periods>) -> Document {
    let count = |read: fn(&Periods) -> i64| periods.map_or(0, read);
    let mut set = doc! {
        "usage.dailyUsage": count(|of| of.daily),
        "usage.weeklyUsage": count(|of| of.weekly),
        "usage.monthlyUsage": count(|of| of.monthly),
    };
    let mut unset = Document::new();
    let mut latest = Document::new();
    let share = |part: f64, whole: i64| (whole > 0).then(|| part / whole as f64);
    let measures = [
        ("performance.averageResponseTime", periods.and_then(|of| share(of.response_time, of.response_times))),
        ("performance.errorRate", periods.and_then(|of| share(of.failures as f64, of.usage))),
        ("performance.uptime", periods.and_then(|of| share(100.0 * of.healthy_checks as f64, of.checks))),
    ];
    for (field, measure) in measures {
        match measure {
            Some(measure) => set.insert(field, measure),
            None => unset.insert(field, ""),
        };
    }
    for (field, at) in [
        ("timestamps.lastUsed", periods.and_then(|of| of.last_used_at)),
        ("performance.lastHealthCheck", periods.and_then(|of| of.last_health_check_at)),
    ] {
        if let Some(at) = at {
            latest.insert(field, at);
        }
    }
    let mut change = doc! { "$inc": { "usage.totalUsage": usage }, "$set": set };
    for (operator, fields) in [("$unset", unset), ("$max", latest)] {
        if !fields.is_empty() {
            change.insert(operator, fields);
        }
    }
    change
}

/// Rows of one day that take the place of others.
struct Changes<'a, T> {
    old: Vec<ObjectId>,
    new: Vec<&'a T>,
}

impl<T> Default for Changes<'_, T> {
    fn default() -> Self {
        Self { old: Vec::new(), new: Vec::new() }
    }
}

impl<'a, T: serde::Serialize + Send + Sync> Changes<'a, T> {
    fn add(&mut self, old: Option<ObjectId>, new: Option<&'a T>) {
        self.old.extend(old);
        self.new.extend(new);
    }

    async fn write(self, rows: &Collection<T>, session: &mut ClientSession) -> anyhow::Result<()> {
        if !self.old.is_empty() {
            rows.delete_many(doc! { "_id": { "$in": self.old } }).session(&mut *session).await?;
        }
        if !self.new.is_empty() {
            rows.insert_many(self.new).session(session).await?;
        }
        Ok(())
    }
}

async fn stored<T: DeserializeOwned + Send + Sync>(
    rows: &Collection<T>,
    session: &mut ClientSession,
    day: Day,
    field: &str,
    ids: &[ObjectId],
) -> anyhow::Result<Vec<T>> {
    let mut cursor =
        rows.find(doc! { "date": day.to_string(), (field): { "$in": ids } }).session(&mut *session).await?;
    let found = cursor.stream(session).try_collect().await;
    found.with_context(|| format!("reading the rows of {day} in {}", rows.name()))
}

/// What happens to the counters of one tool or user.
struct Move {
    id: ObjectId,
    change: Bson,
}

/// A counter beyond this is a mistake, and close to where its type ends.
const MOST_COUNTED: i64 = 1 << 62;

/// The documents of `collection` whose counters can be moved. One document whose fields have wrong types, which somebody wrote past the
/// validator, must not keep all others from being counted.
fn countable(collection: &str) -> Document {
    let is = |field: &str, types: &[&str]| doc! { "$in": [{ "$type": field }, types] };
    let object = ["object", "missing"];
    // `$inc`, by which tools are counted, refuses null.
    let number = ["int", "long", "double", "decimal", "missing", "null"];
    let (counters, parts, number): (&[&str], &[&str], &[&str]) = if collection == user::COLLECTION {
        (&["$usage.dailyCount", "$usage.monthlyCount", "$usage.totalCount"], &["$usage", "$status"], &number)
    } else {
        (&["$usage.totalUsage"], &["$usage", "$performance", "$timestamps"], &number[..5])
    };
    let mut conditions: Vec<Document> = parts.iter().map(|part| is(part, &object)).collect();
    for counter in counters {
        conditions.push(is(counter, number));
        conditions.push(doc! { "$lt": [{ "$ifNull": [counter, 0_i64] }, MOST_COUNTED] });
    }
    if collection == user::COLLECTION {
        conditions.push(is("$usage.lastResetDate", &["date", "null", "missing"]));
    }
    doc! { "$expr": { "$and": conditions } }
}

/// Sends many different updates in one command; the driver's own way for this needs a newer server. Documents that are not
/// [`countable`] stay as they are.
async fn update(
    database: &Database,
    session: &mut ClientSession,
    collection: &str,
    mut moves: Vec<Move>,
) -> anyhow::Result<()> {
    let uncountable = uncountable(database, session, collection, &moves).await?;
    moves.retain(|of_one| !uncountable.contains(&of_one.id));
    if moves.is_empty() {
        return Ok(());
    }
    let ids: Vec<ObjectId> = moves.iter().map(|of_one| of_one.id).collect();
    let updates: Vec<Document> =
        moves.into_iter().map(|Move { id, change }| doc! { "q": { "_id": id }, "u": change }).collect();
    let reply = database.run_command(doc! { "update": collection, "updates": updates }).session(session).await?;
    // The driver takes such a reply for success.
    if let Some(error) = reply.get_array("writeErrors").ok().and_then(|errors| errors.first()?.as_document()) {
        let id = error.get_i32("index").ok().and_then(|index| ids.get(usize::try_from(index).ok()?));
        let id = id.map_or_else(|| "of an unknown document".to_owned(), ToString::to_string);
        let why = error.get_str("errmsg").unwrap_or("no reason given");
        bail!("{collection} refused the counters of {id}: {}", mongo::without_values(why));
    }
    Ok(())
}

/// The documents among those of `moves` that are not [`countable`]. The log names each.
async fn uncountable(
    database: &Database,
    session: &mut ClientSession,
    collection: &str,
    moves: &[Move],
) -> anyhow::Result<Vec<ObjectId>> {
    let ids: Vec<ObjectId> = moves.iter().map(|of_one| of_one.id).collect();
    let theirs = doc! { "_id": { "$in": ids }, "$nor": [countable(collection)] };
    let documents = database.collection::<Document>(collection);
    let mut found = documents.find(theirs).projection(doc! { "_id": 1 }).session(&mut *session).await?;
    let mut ids = Vec::new();
    while let Some(document) = found.next(session).await.transpose()? {
        let id = document.get_object_id("_id")?;
        tracing::error!(
            collection,
            id = %id,
            "the counters of this document stand still, because a field of usage, status, performance or timestamps has a wrong \
             type: mend the document"
        );
        ids.push(id);
    }
    Ok(ids)
}

fn start(day: Day) -> DateTime {
    DateTime::from_chrono(day.start())
}
