//! What is asked of MongoDB besides a day's events: its users, the names of its tools, the documents around it, and which
//! days were rolled up.

use std::collections::BTreeSet;

use anyhow::Context;
use bson::oid::ObjectId;
use bson::raw::RawBsonRef;
use bson::{DateTime, Document, RawDocumentBuf, doc};
use chrono::{TimeDelta, Utc};
use common::day::Day;
use common::documents::rollup_day::{self, RollupDay};
use common::documents::system_analytics::SystemAnalytics;
use common::documents::user::Plan;
use common::documents::{system_analytics, tool, user};
use common::schema;
use futures::TryStreamExt;
use mongodb::error::ErrorKind;
use mongodb::options::{ReadConcern, SelectionCriteria};
use mongodb::raw_batch_cursor::RawBatchCursor;
use mongodb::{Collection, Database, IndexModel};
use serde::Deserialize;

use crate::fold::People;
use crate::fold::ids::IdMap;
use crate::fold::tools::Known;
use crate::retention::Retention;
use crate::schedule;
use crate::source::{Source, within};

/// Ids of one `$in`: far below the limit of a command.
const IDS_OF_A_QUERY: usize = 20_000;

/// Looking one id up costs the server about as much as streaming this many.
const STREAMED_PER_LOOKED_UP: u64 = 4;

/// Codes of the server.
const NOT_ALLOWED: i32 = 13;
const NO_COLLECTION: i32 = 26;

/// Counts over `users`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct UserCounts {
    /// Created before the end of the day.
    pub total: i64,
    /// Created within the day.
    pub new: i64,
    /// Of `total`, verified now.
    pub verified: i64,
    /// Of `total`, with an active pro or enterprise plan now.
    pub premium: i64,
}

/// Counts the users that existed at the end of `day`.
///
/// # Errors
/// MongoDB fails.
pub async fn user_counts(database: &Database, day: Day) -> anyhow::Result<UserCounts> {
    let count_if = |condition: Document| doc! { "$sum": { "$cond": [condition, 1_i64, 0_i64] } };
    let pipeline = [
        doc! { "$match": { "metadata.createdAt": { "$lt": DateTime::from_chrono(day.end()) } } },
        doc! { "$group": {
            "_id": null,
            "total": { "$sum": 1_i64 },
            "new": count_if(doc! { "$gte": ["$metadata.createdAt", DateTime::from_chrono(day.start())] }),
            "verified": count_if(doc! { "$eq": ["$authentication.isVerified", true] }),
            "premium": count_if(doc! { "$and": [
                { "$in": ["$subscription.plan", ["pro", "enterprise"]] },
                { "$eq": ["$subscription.status", "active"] },
            ] }),
        } },
    ];
    let mut groups = users(database)
        .aggregate(pipeline)
        .read_concern(ReadConcern::majority())
        .with_type::<UserCounts>()
        .await
        .context("counting the users")?;
    Ok(groups.try_next().await?.unwrap_or_default())
}

/// Of `people`, how many were created before `day` began. `total` is the number of users, by which the
/// cheaper way to find out is chosen.
///
/// # Errors
/// MongoDB fails.
pub async fn returning_users(database: &Database, day: Day, people: &People, total: i64) -> anyhow::Result<u64> {
    let active = people.user_count() as u64;
    if active.saturating_mul(STREAMED_PER_LOOKED_UP) < total.unsigned_abs() {
        returning_looked_up(database, day, people).await
    } else {
        returning_streamed(database, day, people).await
    }
}

async fn returning_looked_up(database: &Database, day: Day, people: &People) -> anyhow::Result<u64> {
    let mut active = Vec::new();
    people.for_each_user(|id| active.push(*id));
    let mut returning = 0;
    for ids in active.chunks(IDS_OF_A_QUERY) {
        let mut filter = created_before(day);
        filter.insert("_id", doc! { "$in": ids });
        returning += users(database).count_documents(filter).read_concern(ReadConcern::majority()).await?;
    }
    Ok(returning)
}

async fn returning_streamed(database: &Database, day: Day, people: &People) -> anyhow::Result<u64> {
    let mut returning = 0;
    let mut batches = users_before(database, day).await?;
    while let Some(batch) = batches.try_next().await? {
        for document in batch.doc_slices()? {
            let RawBsonRef::Document(document) = document? else { continue };
            returning += u64::from(document.get_object_id("_id").is_ok_and(|id| people.has_user(&id)));
        }
    }
    Ok(returning)
}

/// The ids of the users created before `day` began.
///
/// # Errors
/// MongoDB fails.
pub async fn users_before(database: &Database, day: Day) -> mongodb::error::Result<RawBatchCursor> {
    let users = users(database);
    let ids = users.find(created_before(day)).projection(doc! { "_id": 1 });
    ids.read_concern(ReadConcern::majority()).batch().await
}

/// The filter for the users created before `day` began.
pub fn created_before(day: Day) -> Document {
    doc! { "metadata.createdAt": { "$lt": DateTime::from_chrono(day.start()) } }
}

fn users(database: &Database) -> Collection<RawDocumentBuf> {
    database.collection(user::COLLECTION)
}

/// The tools that there are.
///
/// # Errors
/// MongoDB fails.
pub async fn tools(database: &Database) -> anyhow::Result<Known> {
    let tools = database.collection::<RawDocumentBuf>(tool::COLLECTION);
    let mut batches = tools.find(doc! {}).projection(doc! { "_id": 1 }).batch().await.context("reading the tools")?;
    let mut ids = Vec::new();
    while let Some(batch) = batches.try_next().await.context("reading the tools")? {
        for document in batch.doc_slices()? {
            let RawBsonRef::Document(document) = document? else { continue };
            ids.extend(document.get_object_id("_id").ok());
        }
    }
    Ok(ids.into_iter().collect())
}

/// The names of those of `tools` that have one.
///
/// # Errors
/// MongoDB fails.
pub async fn tool_names(database: &Database, tools: &[ObjectId]) -> anyhow::Result<IdMap<String>> {
    let mut documents = database
        .collection::<RawDocumentBuf>(tool::COLLECTION)
        .find(doc! { "_id": { "$in": tools } })
        .projection(doc! { "name": 1 })
        .read_concern(ReadConcern::majority())
        .await
        .context("reading the tools' names")?;
    let mut names = IdMap::default();
    while documents.advance().await? {
        let document = documents.current();
        if let (Ok(id), Ok(name)) = (document.get_object_id("_id"), document.get_str("name")) {
            names.insert(id, name.to_owned());
        }
    }
    Ok(names)
}

/// The plans of those of `users` that have one.
///
/// # Errors
/// MongoDB fails.
pub async fn plans(database: &Database, ids: &[ObjectId]) -> anyhow::Result<IdMap<Plan>> {
    let mut plans = IdMap::default();
    for ids in ids.chunks(IDS_OF_A_QUERY) {
        let mut found = users(database)
            .find(doc! { "_id": { "$in": ids } })
            .projection(doc! { "subscription.plan": 1 })
            .read_concern(ReadConcern::majority())
            .await
            .context("reading the users' plans")?;
        while found.advance().await? {
            let user = found.current();
            let plan =
                user.get_document("subscription").ok().and_then(|subscription| subscription.get_str("plan").ok());
            let plan = plan.and_then(|name| Plan::ALL.iter().find(|plan| plan.as_str() == name));
            if let (Ok(id), Some(plan)) = (user.get_object_id("_id"), plan) {
                plans.insert(id, *plan);
            }
        }
    }
    Ok(plans)
}

/// What is known of `day`.
///
/// # Errors
/// MongoDB fails, or holds a document of another form.
pub async fn day_state(database: &Database, day: Day) -> anyhow::Result<Option<RollupDay>> {
    database
        .collection::<RollupDay>(rollup_day::COLLECTION)
        .find_one(doc! { "_id": day.to_string() })
        .selection_criteria(SelectionCriteria::ReadPreference(mongodb::options::ReadPreference::Primary))
        .read_concern(ReadConcern::majority())
        .await
        .with_context(|| format!("reading the state of {day}"))
}

/// The daily document of `day`, if it was rolled up.
///
/// # Errors
/// MongoDB fails, or holds a document of another form.
pub async fn daily_document(database: &Database, day: Day) -> anyhow::Result<Option<SystemAnalytics>> {
    database
        .collection::<SystemAnalytics>(system_analytics::COLLECTION)
        .find_one(doc! { "date": day.to_string() })
        .selection_criteria(SelectionCriteria::ReadPreference(mongodb::options::ReadPreference::Primary))
        .read_concern(ReadConcern::majority())
        .await
        .with_context(|| format!("reading the daily document of {day}"))
}

/// The daily documents from `from` to `to`, both included.
///
/// # Errors
/// MongoDB fails, or holds a document of another form.
pub async fn daily_documents(database: &Database, from: Day, to: Day) -> anyhow::Result<Vec<SystemAnalytics>> {
    let documents = database.collection::<SystemAnalytics>(system_analytics::COLLECTION);
    let range = doc! { "date": { "$gte": from.to_string(), "$lte": to.to_string() } };
    documents.find(range).await?.try_collect().await.context("reading the daily documents")
}

/// The daily document of the latest day whose numbers are final, whatever its form.
///
/// # Errors
/// MongoDB fails.
pub async fn latest_final_document(database: &Database) -> anyhow::Result<Option<Document>> {
    database
        .collection::<Document>(system_analytics::COLLECTION)
        .find_one(doc! { "rollup.provisional": { "$ne": true } })
        .sort(doc! { "date": -1 })
        .read_concern(ReadConcern::majority())
        .await
        .context("reading the latest daily document")
}

/// What is known of each day that was ever tried, by rising date.
///
/// # Errors
/// MongoDB fails, or holds a document of another form.
pub async fn day_states(database: &Database) -> anyhow::Result<Vec<RollupDay>> {
    let states = database.collection::<RollupDay>(rollup_day::COLLECTION);
    let states = states.find(doc! {}).sort(doc! { "_id": 1 }).read_concern(ReadConcern::majority()).await?;
    states.try_collect().await.context("reading the states of the days")
}

/// The days that need no roll-up: done and without late events since, or sealed.
///
/// # Errors
/// MongoDB fails, or holds a document of another form.
pub async fn settled_days(database: &Database) -> anyhow::Result<BTreeSet<Day>> {
    let states = day_states(database).await?;
    let now = Utc::now();
    Ok(states.into_iter().filter(|day| schedule::is_settled(day, now)).map(|day| day.date).collect())
}

/// How long each collection of events keeps them, by the indexes that the server has: an operator may have changed them.
///
/// # Errors
/// MongoDB fails.
pub async fn retention(database: &Database) -> anyhow::Result<Retention> {
    let [tool_uses, activities, health_checks] = Source::ALL.map(|source| expiry(database, source));
    let (tool_uses, activities, health_checks) = tokio::try_join!(tool_uses, activities, health_checks)?;
    Ok(Retention([tool_uses, activities, health_checks]))
}

async fn expiry(database: &Database, source: Source) -> anyhow::Result<Option<TimeDelta>> {
    let indexes = match database.collection::<RawDocumentBuf>(source.collection()).list_indexes().await {
        Ok(indexes) => indexes.try_collect().await,
        Err(error) => Err(error),
    };
    let indexes: Vec<IndexModel> = match indexes {
        Ok(indexes) => indexes,
        Err(error) if code(&error) == Some(NO_COLLECTION) => Vec::new(),
        // A role of before, which may not list indexes: what admin migrate makes.
        Err(error) if code(&error) == Some(NOT_ALLOWED) => {
            return Ok(TimeDelta::from_std(expiry_by_schema(source)).ok());
        }
        Err(error) => return Err(error).with_context(|| format!("reading the indexes of {source}")),
    };
    let on_timestamp = indexes.into_iter().filter(|index| index.keys.keys().eq(["timestamp"]));
    let after = on_timestamp.filter_map(|index| index.options?.expire_after).min();
    Ok(after.and_then(|after| TimeDelta::from_std(after).ok()))
}

fn expiry_by_schema(source: Source) -> std::time::Duration {
    match source {
        Source::ToolUses => schema::USAGE_ANALYTICS_TTL,
        Source::Activities => schema::ACTIVITY_LOGS_TTL,
        Source::HealthChecks => schema::HEALTH_CHECKS_TTL,
    }
}

fn code(error: &mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

/// How many events of `source` the day has.
///
/// # Errors
/// MongoDB fails.
pub async fn event_count(database: &Database, source: Source, day: Day) -> anyhow::Result<u64> {
    let events = database.collection::<RawDocumentBuf>(source.collection());
    let count = events.count_documents(within(day.start(), day.end())).read_concern(ReadConcern::majority());
    count.await.with_context(|| format!("counting {source} of {day}"))
}

/// The first day that is known: it has events, or was rolled up; none before the first event ever.
///
/// # Errors
/// MongoDB fails.
pub async fn first_known_day(database: &Database) -> anyhow::Result<Option<Day>> {
    let states = day_states(database).await?.into_iter().map(|known| known.date);
    Ok(states.chain(first_day_with_events(database).await?).min())
}

/// The day of the earliest event that is still there.
///
/// # Errors
/// MongoDB fails.
pub async fn first_day_with_events(database: &Database) -> anyhow::Result<Option<Day>> {
    let mut first = None;
    for source in Source::ALL {
        let earliest = database
            .collection::<RawDocumentBuf>(source.collection())
            .find_one(doc! { "timestamp": { "$type": "date" } })
            .sort(doc! { "timestamp": 1 })
            .projection(doc! { "_id": 0, "timestamp": 1 })
            .read_concern(ReadConcern::majority())
            .await
            .with_context(|| format!("looking for the first event of {source}"))?;
        let day = earliest.and_then(|event| event.get_datetime("timestamp").ok()).map(|time| Day::of(time.to_chrono()));
        first = match (first, day) {
            (Some(first), Some(day)) => Some(std::cmp::min(first, day)),
            (first, day) => first.or(day),
        };
    }
    Ok(first)
}
