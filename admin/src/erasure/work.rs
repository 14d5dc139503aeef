//! Does what a request asks for, from its state on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use chrono::TimeDelta;
use common::day::Day;
use common::documents::privacy_request::{Mode, Numbers, PrivacyRequest, State};
use common::documents::{activity_log, rollup_day, session, system_analytics, usage_analytics};
use common::pseudonym::{Key, SECRET_BYTES};
use common::tombstones::Subject;
use futures::TryStreamExt as _;
use indicatif::ProgressBar;

use super::{Context, account, events, requests};

/// The collections of events that name people.
pub(super) const EVENTS: [&str; 2] = [usage_analytics::COLLECTION, activity_log::COLLECTION];

/// Sessions whose events are looked for at once.
const SESSIONS_AT_ONCE: usize = 500;

/// After the tombstone is written: by then every worker drops the person's events, and what a worker had taken before is stored.
const SETTLING: Duration = Duration::from_secs(10);

/// Works a request off, and returns it complete: the receipt.
///
/// # Errors
/// MongoDB or Kafka fails, or the keyring lacks the request's key. The request stays, and [`run`] goes on with it.
pub async fn run(
    context: &Context,
    mut request: PrivacyRequest,
    progress: &ProgressBar,
) -> anyhow::Result<PrivacyRequest> {
    while request.state != State::Complete {
        let id = requests::person(context, &request)?;
        let pseudonyms = Key::of(&requests::secret(context, &request)?)?;
        let next = match request.state {
            State::Requested => {
                requests::note_kafka(context, &mut request).await?;
                requests::bury(context, &[Subject::User(id)], request.requested_at).await?;
                State::Sessions
            }
            State::Sessions => {
                let sessions = sessions_of(context, id).await.context("finding the person's sessions")?;
                erase_sessions(context, &request, &sessions, &pseudonyms, progress).await?;
                State::Events
            }
            State::Events => {
                erase_events(context, &request, id, &pseudonyms, progress).await?;
                State::Account
            }
            State::Account => {
                account::erase(context, &request, id, &pseudonyms).await?;
                State::Settling
            }
            State::Settling => {
                settle(&request).await;
                let sessions = sessions_of(context, id).await?;
                erase_sessions(context, &request, &sessions, &pseudonyms, progress).await?;
                erase_events(context, &request, id, &pseudonyms, progress).await?;
                account::erase(context, &request, id, &pseudonyms).await?;
                State::Complete
            }
            State::Complete => break,
        };
        if next == State::Complete {
            return requests::complete(context, &request).await;
        }
        requests::advance(context, &mut request, next).await?;
    }
    Ok(request)
}

/// Waits until what ingest had in hand when the tombstone was written is stored.
async fn settle(request: &PrivacyRequest) {
    let since = DateTime::now().saturating_duration_since(request.requested_at);
    if let Some(rest) = SETTLING.checked_sub(since) {
        tokio::time::sleep(rest).await;
    }
}

async fn erase_events(
    context: &Context,
    request: &PrivacyRequest,
    id: ObjectId,
    pseudonyms: &Key,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    for collection in EVENTS {
        let of_person = doc! { "userId": id };
        note_days(context, request, collection, &of_person).await.context("noting the days of the person's events")?;
        let erased = events::erase(context, request, pseudonyms, collection, &of_person, |batch| progress.inc(batch));
        erased.await.with_context(|| format!("erasing the person's events in {collection}"))?;
    }
    Ok(())
}

/// A person's sessions, and when they were.
#[derive(Debug, Default)]
struct Sessions {
    ids: Vec<ObjectId>,
    first: Option<DateTime>,
    last: Option<DateTime>,
}

impl Sessions {
    fn span(&mut self, from: Option<DateTime>, to: Option<DateTime>) {
        self.first = [self.first, from].into_iter().flatten().min();
        self.last = [self.last, to].into_iter().flatten().max();
    }
}

/// Of the sessions that are stored, and those that the person's events name.
async fn sessions_of(context: &Context, id: ObjectId) -> anyhow::Result<Sessions> {
    let mut sessions = Sessions::default();
    let stored = context.database.collection::<Document>(session::COLLECTION);
    let mut stored =
        stored.find(doc! { "userId": id }).projection(doc! { "createdAt": 1, "lastAccessedAt": 1 }).await?;
    while let Some(session) = stored.try_next().await? {
        sessions.ids.push(session.get_object_id("_id")?);
        sessions.span(
            session.get_datetime("createdAt").ok().copied(),
            session.get_datetime("lastAccessedAt").ok().copied(),
        );
    }
    for collection in EVENTS {
        let group = doc! { "$group": {
            "_id": "$sessionId", "first": { "$min": "$timestamp" }, "last": { "$max": "$timestamp" },
        } };
        let of_person = doc! { "$match": { "userId": id, "sessionId": { "$type": "objectId" } } };
        let events = context.database.collection::<Document>(collection);
        let mut found = events.aggregate([of_person, group]).allow_disk_use(true).await?;
        while let Some(session) = found.try_next().await? {
            sessions.ids.push(session.get_object_id("_id")?);
            sessions.span(session.get_datetime("first").ok().copied(), session.get_datetime("last").ok().copied());
        }
    }
    sessions.ids.sort_unstable();
    sessions.ids.dedup();
    Ok(sessions)
}

/// Erases the events of the sessions that name no user: what the person did before logging in. The sessions get tombstones first.
async fn erase_sessions(
    context: &Context,
    request: &PrivacyRequest,
    sessions: &Sessions,
    pseudonyms: &Key,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let Some((first, last)) = sessions.first.zip(sessions.last) else { return Ok(()) };
    let day = TimeDelta::days(1);
    let (from, to) = (first.to_chrono() - day, last.to_chrono() + day);
    for ids in sessions.ids.chunks(SESSIONS_AT_ONCE) {
        let subjects: Vec<_> = ids.iter().map(|id| Subject::Session(*id)).collect();
        requests::bury(context, &subjects, request.requested_at).await?;
        for collection in EVENTS {
            // Served by the index on userId and timestamp.
            let without_user = doc! {
                "userId": { "$exists": false },
                "timestamp": { "$gte": DateTime::from(from), "$lte": DateTime::from(to) },
                "sessionId": { "$in": ids },
            };
            note_days(context, request, collection, &without_user).await.context("noting the days of the sessions")?;
            let erased =
                events::erase(context, request, pseudonyms, collection, &without_user, |batch| progress.inc(batch));
            erased.await.with_context(|| format!("erasing events of the person's sessions in {collection}"))?;
        }
    }
    Ok(())
}

/// Removes the events without a user of sessions that have tombstones, and returns how many there were. Nobody knows any more whose
/// sessions they were, so there is no request: after a kill, whoever looks again finds what is left.
///
/// # Errors
/// MongoDB fails.
pub async fn erase_sessions_alone(
    context: &Context,
    sessions: &BTreeSet<ObjectId>,
    progress: &ProgressBar,
) -> anyhow::Result<u64> {
    let nobodys = PrivacyRequest {
        id: ObjectId::new(),
        subject: String::new(),
        mode: Mode::Delete,
        keep_suggestions: false,
        state: State::Events,
        sealed_id: None,
        sealed_secret: None,
        requested_at: DateTime::now(),
        completed_at: None,
        documents: BTreeMap::new(),
        days: BTreeMap::new(),
        kafka_holds_until: BTreeMap::new(),
    };
    let unused = Key::of(&[0; SECRET_BYTES])?;
    let sessions: Vec<ObjectId> = sessions.iter().copied().collect();
    let mut erased = 0;
    for ids in sessions.chunks(SESSIONS_AT_ONCE) {
        for collection in EVENTS {
            let without_user = doc! { "userId": { "$exists": false }, "sessionId": { "$in": ids } };
            let count = |batch| progress.inc(batch);
            let events = events::erase(context, &nobodys, &unused, collection, &without_user, count).await;
            erased += events.with_context(|| format!("erasing events of erased people's sessions in {collection}"))?;
        }
    }
    Ok(erased)
}

/// Notes each day that has events which `filter` finds in the request, with its numbers as they are now. A day that is noted keeps
/// its numbers: they are those before the erasure.
async fn note_days(
    context: &Context,
    request: &PrivacyRequest,
    collection: &str,
    filter: &Document,
) -> anyhow::Result<()> {
    let day = doc! { "$dateToString": { "date": "$timestamp", "format": "%Y-%m-%d" } };
    let pipeline = [doc! { "$match": filter }, doc! { "$group": { "_id": day } }];
    let events = context.database.collection::<Document>(collection);
    let mut found = events.aggregate(pipeline).allow_disk_use(true).await?;
    while let Some(day) = found.try_next().await? {
        let day = Day::parse(day.get_str("_id")?)?;
        if request.days.contains_key(&day) {
            continue;
        }
        let field = format!("days.{day}");
        let mut set = doc! { format!("{field}.isSealed"): is_sealed(context, day).await? };
        if let Some(before) = numbers(context, day).await? {
            set.insert(format!("{field}.before"), bson::serialize_to_bson(&before)?);
        }
        let unless_noted = doc! { "_id": request.id, format!("{field}.isSealed"): { "$exists": false } };
        requests::collection(&context.database).update_one(unless_noted, doc! { "$set": set }).await?;
    }
    Ok(())
}

async fn is_sealed(context: &Context, day: Day) -> anyhow::Result<bool> {
    let states = context.database.collection::<Document>(rollup_day::COLLECTION);
    let sealed = doc! { "_id": day.to_string(), "sealedAt": { "$lte": DateTime::now() } };
    Ok(states.find_one(sealed).await?.is_some())
}

/// The numbers of a day as they are published now; none where the day has no document.
///
/// # Errors
/// MongoDB fails.
pub async fn numbers(context: &Context, day: Day) -> anyhow::Result<Option<Numbers>> {
    let daily = context.database.collection::<Document>(system_analytics::COLLECTION);
    let Some(document) = daily.find_one(doc! { "date": day.to_string() }).await? else { return Ok(None) };
    let metrics = document.get_document("metrics")?;
    let count = |group: &str, name: &str| {
        metrics.get_document(group).ok().and_then(|group| match group.get(name) {
            Some(bson::Bson::Int64(count)) => Some(*count),
            Some(bson::Bson::Int32(count)) => Some(i64::from(*count)),
            _ => None,
        })
    };
    Ok(Some(Numbers {
        total_usage: count("tools", "totalUsage").unwrap_or_default(),
        active_users: count("users", "active").unwrap_or_default(),
        page_views: count("engagement", "pageViews"),
    }))
}

/// Whether the day was rolled up after the request's events were gone.
///
/// # Errors
/// MongoDB fails.
pub async fn is_rolled_again(context: &Context, day: Day) -> anyhow::Result<bool> {
    let states = context.database.collection::<Document>(rollup_day::COLLECTION);
    let state = states.find_one(doc! { "_id": day.to_string() }).await?;
    Ok(state.is_some_and(|state| !state.contains_key("dirtySince")))
}

/// Refuses an id that no document holds: nothing would be erased, and a slip of the pen would go unnoticed.
///
/// # Errors
/// Nobody has the id, or MongoDB fails.
pub async fn ensure_known(context: &Context, id: ObjectId) -> anyhow::Result<Vec<(super::person::Place, u64)>> {
    let found = super::person::count(&context.database, id).await?;
    ensure!(
        !found.is_empty(),
        "no document in database {} names the user {id}: there is nothing to erase; check the id",
        context.settings.mongodb.database
    );
    Ok(found)
}
