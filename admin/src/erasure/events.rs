//! A person's events. Each batch is one transaction: the events go, the request counts them, and the days that they were in are marked
//! dirty, so that a kill between two batches leaves nothing uncounted and no day with the old numbers.

use std::collections::BTreeMap;

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, doc};
use common::day::Day;
use common::documents::privacy_request::{Mode, PrivacyRequest};
use common::documents::{activity_log, rollup_day, usage_analytics};
use common::personal::{self, Action, Kind, Place};
use common::pseudonym::{Key, Kind as PseudonymOf};
use mongodb::ClientSession;
use mongodb::error::Result;

use super::{Context, requests};

/// Events of a transaction: small beside the server's limits of 60 s and 16 MiB.
const BATCH: i64 = 1_000;

/// Which of the inputs that a roll-up counted are of which collection.
const INPUTS: [(&str, &str); 2] = [(usage_analytics::COLLECTION, "toolUsage"), (activity_log::COLLECTION, "activity")];

/// Removes or anonymises all events that `filter` finds, and returns how many there were. `each` hears of each batch.
///
/// # Errors
/// MongoDB fails.
pub(super) async fn erase(
    context: &Context,
    request: &PrivacyRequest,
    pseudonyms: &Key,
    collection: &'static str,
    filter: &Document,
    mut each: impl FnMut(u64),
) -> anyhow::Result<u64> {
    let mut erased = 0;
    loop {
        let batch = Batch::read(context, collection, filter).await?;
        if batch.ids.is_empty() {
            return Ok(erased);
        }
        context
            .transaction(async |session| {
                match request.mode {
                    Mode::Delete => batch.delete(context, session).await?,
                    Mode::Anonymise => batch.anonymise(context, session, pseudonyms).await?,
                }
                batch.count(context, session, request).await
            })
            .await?;
        erased += batch.ids.len() as u64;
        each(batch.ids.len() as u64);
    }
}

struct Batch {
    collection: &'static str,
    ids: Vec<ObjectId>,
    /// The events' user and session, with their ids.
    people: BTreeMap<(Option<ObjectId>, Option<ObjectId>), Vec<ObjectId>>,
    days: BTreeMap<Day, i64>,
}

impl Batch {
    async fn read(context: &Context, collection: &'static str, filter: &Document) -> Result<Self> {
        let mut batch = Self { collection, ids: Vec::new(), people: BTreeMap::new(), days: BTreeMap::new() };
        let events = context.database.collection::<Document>(collection);
        let fields = doc! { "timestamp": 1, "userId": 1, "sessionId": 1 };
        let mut found = events.find(filter.clone()).projection(fields).limit(BATCH).await?;
        while found.advance().await? {
            let event = found.current();
            let Ok(id) = event.get_object_id("_id") else { continue };
            batch.ids.push(id);
            let person = (event.get_object_id("userId").ok(), event.get_object_id("sessionId").ok());
            batch.people.entry(person).or_default().push(id);
            if let Ok(timestamp) = event.get_datetime("timestamp") {
                *batch.days.entry(Day::of(timestamp.to_chrono())).or_default() += 1;
            }
        }
        Ok(batch)
    }

    async fn delete(&self, context: &Context, session: &mut ClientSession) -> Result<()> {
        let events = context.database.collection::<Document>(self.collection);
        events.delete_many(doc! { "_id": { "$in": &self.ids } }).session(session).await?;
        Ok(())
    }

    async fn anonymise(&self, context: &Context, session: &mut ClientSession, pseudonyms: &Key) -> Result<()> {
        let events = context.database.collection::<Document>(self.collection);
        for ((user, of_session), ids) in &self.people {
            let mut set = Document::new();
            if let Some(user) = user {
                set.insert("userId", pseudonyms.pseudonym(PseudonymOf::User, *user));
            }
            if let Some(of_session) = of_session {
                set.insert("sessionId", pseudonyms.pseudonym(PseudonymOf::Session, *of_session));
            }
            set.insert("path", path_without_query());
            let unset = personal_fields(self.collection);
            let allowed = &context.settings.privacy.custom_data_allowed;
            let update =
                vec![doc! { "$set": set }, doc! { "$set": allowed_custom_data(allowed) }, doc! { "$unset": unset }];
            events.update_many(doc! { "_id": { "$in": ids } }, update).session(&mut *session).await?;
        }
        Ok(())
    }

    /// Counts the batch in the request, and says in `rollup_days` that each day has to be computed again. The inputs that the last
    /// roll-up counted fall with the events, for a day that has fewer events than were counted is not rolled up.
    async fn count(&self, context: &Context, session: &mut ClientSession, request: &PrivacyRequest) -> Result<()> {
        let mut counts = doc! { format!("documents.{}", self.collection): self.ids.len() as i64 };
        let states = context.database.collection::<Document>(rollup_day::COLLECTION);
        for (day, events) in &self.days {
            counts.insert(format!("days.{day}.events"), events);
            // Where the counts stay no number changes, and today is computed again anyway.
            if request.mode == Mode::Anonymise || *day >= Day::today() {
                continue;
            }
            let mut set = doc! {
                "dirtySince": { "$ifNull": ["$dirtySince", DateTime::now()] },
                "dirtyMarks": { "$add": [{ "$ifNull": ["$dirtyMarks", 0_i64] }, 1_i64] },
            };
            if let Some((_, input)) = INPUTS.iter().find(|(collection, _)| *collection == self.collection) {
                let field = format!("$inputs.{input}");
                let left = doc! { (*input): { "$max": [0_i64, { "$subtract": [&field, events] }] } };
                let inputs = doc! { "$mergeObjects": ["$inputs", left] };
                set.insert("inputs", doc! { "$cond": [{ "$isNumber": field }, inputs, "$$REMOVE"] });
            }
            // A seal that lies ahead: until then the day is still rolled up.
            let not_sealed = doc! { "$not": { "$lte": DateTime::now() } };
            let open = doc! { "_id": day.to_string(), "rolledAt": { "$exists": true }, "sealedAt": not_sealed };
            states.update_one(open, vec![doc! { "$set": set }]).session(&mut *session).await?;
        }
        requests::collection(&context.database)
            .update_one(doc! { "_id": request.id }, doc! { "$inc": counts })
            .session(session)
            .await?;
        Ok(())
    }
}

/// The path up to its query or fragment, which may name somebody; nothing where there is no path.
fn path_without_query() -> Document {
    let before = |text: Bson, end: &str| doc! { "$arrayElemAt": [{ "$split": [text, end] }, 0] };
    let cut = before(before(Bson::from("$path"), "?").into(), "#");
    doc! { "$cond": [{ "$eq": [{ "$type": "$path" }, "string"] }, cut, "$$REMOVE"] }
}

/// Leaves of `metadata.customData` the keys that the settings allow, and nothing where none is left.
fn allowed_custom_data(allowed: &[String]) -> Document {
    let is_object = |path: &str| doc! { "$eq": [{ "$type": path }, "object"] };
    let custom_data = "$metadata.customData";
    let is_allowed = doc! { "$in": ["$$this.k", allowed] };
    let left = doc! { "$filter": { "input": { "$objectToArray": custom_data }, "cond": is_allowed } };
    let unless_empty = doc! { "$cond": [{ "$eq": ["$$left", []] }, "$$REMOVE", { "$arrayToObject": "$$left" }] };
    let left = doc! { "$let": { "vars": { "left": left }, "in": unless_empty } };
    let left = doc! { "$cond": [is_object(custom_data), left, "$$REMOVE"] };
    let metadata = doc! { "$setField": { "field": "customData", "input": "$metadata", "value": left } };
    doc! { "metadata": { "$cond": [is_object("$metadata"), metadata, "$metadata"] } }
}

/// The fields of the collection that say something about a person, besides the ids, the path and `customData`: those that the register of
/// personal fields takes out.
fn personal_fields(collection: &str) -> Vec<&'static str> {
    let fields = personal::place(Kind::Collection, collection).into_iter().flat_map(Place::fields);
    fields.filter(|(_, rule)| rule.anonymise == Action::RemoveField).map(|(path, _)| path).collect()
}
