//! Suggestions as moderators review them: one query behind page, CSV and JSON, and what may be changed.

use bson::{DateTime, Document, RawDocument, RawDocumentBuf, deserialize_from_slice, doc, oid::ObjectId};
use common::documents::suggestion::{self, Category, Effort, Implementation, Priority, Status, Suggestion, Type};
use common::documents::user::{self, Role};
use futures::TryStreamExt;
use futures::future::try_join_all;
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};

use crate::accounts::changed_meanwhile;
use crate::app::App;
use crate::failure::Failure;
use crate::names::Name;
use crate::plain;
use crate::query::{BadParameter, LISTED, address, once, one_of, read_limit};
use crate::record::{around, on_suggestion};
use crate::viewer::Viewer;

/// People to whom work can be assigned.
const MOST_STAFF: i64 = 200;

/// What a suggestion of one state may become: reviewed before it is decided, decided before it is done, and looked at anew.
pub const fn next_states(status: Status) -> &'static [Status] {
    match status {
        Status::Pending => &[Status::Reviewing],
        Status::Reviewing => &[Status::Approved, Status::Rejected, Status::Pending],
        Status::Approved => &[Status::Implemented, Status::Reviewing],
        Status::Rejected | Status::Implemented => &[Status::Reviewing],
    }
}

/// Which states are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that wait for a decision.
    Open,
    /// All.
    All,
    /// One.
    One(Status),
}

impl Which {
    /// All, in the order in which they are offered.
    pub const ALL: &'static [Self] = &[
        Self::Open,
        Self::One(Status::Pending),
        Self::One(Status::Reviewing),
        Self::One(Status::Approved),
        Self::One(Status::Rejected),
        Self::One(Status::Implemented),
        Self::All,
    ];

    /// As the address has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::All => "all",
            Self::One(status) => status.as_str(),
        }
    }

    /// The states.
    pub fn states(self) -> Vec<Status> {
        match self {
            Self::Open => vec![Status::Pending, Status::Reviewing],
            Self::All => Status::ALL.to_vec(),
            Self::One(status) => vec![status],
        }
    }
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Most votes for it.
    Votes,
    /// The latest.
    Newest,
    /// The longest wait.
    Oldest,
}

impl Order {
    /// All.
    pub const ALL: &'static [Self] = &[Self::Votes, Self::Newest, Self::Oldest];

    /// As the address has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Votes => "votes",
            Self::Newest => "newest",
            Self::Oldest => "oldest",
        }
    }

    const fn field(self) -> &'static str {
        match self {
            Self::Votes => "votes.upvotes",
            Self::Newest | Self::Oldest => "metadata.createdAt",
        }
    }

    const fn is_falling(self) -> bool {
        !matches!(self, Self::Oldest)
    }
}

/// Where an answer ended: the value that it is in the order of, and the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place(i64, ObjectId);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// The states.
    pub status: Which,
    /// The type.
    pub kind: Option<Type>,
    /// What it is about.
    pub category: Option<Category>,
    /// How much it matters.
    pub priority: Option<Priority>,
    /// Those that the viewer is to do.
    pub is_mine: bool,
    /// What comes first.
    pub order: Order,
    after: Option<Place>,
    limit: usize,
}

const PARAMETERS: [&str; 8] = ["status", "type", "category", "priority", "assigned", "sort", "after", "limit"];

impl Queue {
    /// Reads the part of an address after the question mark.
    ///
    /// # Errors
    /// A parameter cannot be used.
    pub fn parse(text: &str) -> Result<Self, BadParameter> {
        let pairs = form_urlencoded::parse(text.as_bytes()).into_owned();
        let [status, kind, category, priority, assigned, sort, after, limit] = once(pairs, PARAMETERS)?;
        Ok(Self {
            status: one_of("status", status, Which::ALL, Which::as_str)?.unwrap_or(Which::Open),
            kind: one_of("type", kind, Type::ALL, Type::as_str)?,
            category: one_of("category", category, Category::ALL, Category::as_str)?,
            priority: one_of("priority", priority, Priority::ALL, Priority::as_str)?,
            is_mine: one_of("assigned", assigned, &["me"], |me| me)?.is_some(),
            order: one_of("sort", sort, Order::ALL, Order::as_str)?.unwrap_or(Order::Votes),
            after: after.map(|text| read_place(&text)).transpose()?,
            limit: read_limit(limit)?,
        })
    }

    /// `path` with these parameters.
    pub fn address(&self, path: &str) -> String {
        let pairs = [
            ("status", (self.status != Which::Open).then(|| self.status.as_str().to_owned())),
            ("type", self.kind.map(|kind| kind.to_string())),
            ("category", self.category.map(|category| category.to_string())),
            ("priority", self.priority.map(|priority| priority.to_string())),
            ("assigned", self.is_mine.then(|| "me".to_owned())),
            ("sort", (self.order != Order::Votes).then(|| self.order.as_str().to_owned())),
            ("after", self.after.map(|Place(value, id)| format!("{value}-{id}"))),
            ("limit", (self.limit != LISTED).then(|| self.limit.to_string())),
        ];
        address(path, pairs.into_iter().filter_map(|(name, value)| Some((name, value?))))
    }

    /// The suggestions after this place.
    ///
    /// # Errors
    /// It is no place of an answer.
    pub fn after(&self, place: &str) -> Result<Self, BadParameter> {
        Ok(Self { after: Some(read_place(place)?), ..self.clone() })
    }

    /// The first suggestions in these states.
    #[must_use]
    pub fn with_status(&self, status: Which) -> Self {
        Self { status, after: None, ..self.clone() }
    }

    /// Whether this is where the answers begin.
    pub fn is_first(&self) -> bool {
        self.after.is_none()
    }

    fn filter(&self, viewer: ObjectId) -> Document {
        let states: Vec<_> = self.status.states().into_iter().map(Status::as_str).collect();
        let mut filter = doc! { "status": { "$in": states } };
        if let Some(kind) = self.kind {
            filter.insert("type", kind.as_str());
        }
        if let Some(category) = self.category {
            filter.insert("category", category.as_str());
        }
        if let Some(priority) = self.priority {
            filter.insert("priority", priority.as_str());
        }
        if self.is_mine {
            filter.insert("implementation.assignedTo", viewer);
        }
        if let Some(Place(value, id)) = self.after {
            let (field, beyond) = (self.order.field(), if self.order.is_falling() { "$lt" } else { "$gt" });
            let value = match self.order {
                Order::Votes => bson::Bson::Int64(value),
                Order::Newest | Order::Oldest => bson::Bson::DateTime(DateTime::from_millis(value)),
            };
            filter
                .insert("$or", vec![doc! { field: { beyond: &value } }, doc! { field: &value, "_id": { beyond: id } }]);
        }
        filter
    }

    /// Where this suggestion stands in the order; none where it says neither.
    fn place_of(&self, suggestion: &RawDocument) -> Option<String> {
        let value = match self.order {
            Order::Votes => suggestion.get_document("votes").ok()?.get_i64("upvotes").ok()?,
            Order::Newest | Order::Oldest => {
                suggestion.get_document("metadata").ok()?.get_datetime("createdAt").ok()?.timestamp_millis()
            }
        };
        Some(format!("{value}-{}", suggestion.get_object_id("_id").ok()?))
    }

    fn sort(&self) -> Document {
        let way = if self.order.is_falling() { -1 } else { 1 };
        doc! { self.order.field(): way, "_id": way }
    }
}

fn read_place(text: &str) -> Result<Place, BadParameter> {
    let place = text.rsplit_once('-').and_then(|(value, id)| Some(Place(value.parse().ok()?, id.parse().ok()?)));
    place.ok_or_else(|| BadParameter::new("after", text, "what the answer before has as next"))
}

/// Suggestions in the order of a queue.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// The suggestions.
    pub suggestions: Vec<Line>,
    /// Documents that are not as they should be, and are left out.
    pub unreadable: usize,
    /// What `after` is for the next ones; null where these are the last.
    pub next: Option<String>,
}

/// A suggestion, as a list shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// 24 hex digits.
    pub id: String,
    /// One line.
    pub title: String,
    /// What is suggested.
    pub r#type: Type,
    /// What it is about.
    pub category: Category,
    /// How much it matters.
    pub priority: Priority,
    /// What became of it.
    pub status: Status,
    /// For it.
    pub upvotes: i64,
    /// Against it.
    pub downvotes: i64,
    /// How much work it is.
    pub estimated_effort: Option<Effort>,
    /// When it is to appear.
    pub target_version: Option<String>,
    /// Whether its author has an answer.
    pub is_answered: bool,
    /// When it was made.
    #[serde(serialize_with = "plain::time")]
    pub created_at: DateTime,
}

fn all(database: &Database) -> Collection<Suggestion> {
    database.collection(suggestion::COLLECTION)
}

/// The suggestions of a queue.
///
/// # Errors
/// MongoDB does not answer.
pub async fn list(database: &Database, viewer: ObjectId, queue: &Queue) -> Result<Listed, Failure> {
    let limit = i64::try_from(queue.limit + 1).unwrap_or(i64::MAX);
    let mut found = raw(database, queue.filter(viewer), queue.sort(), limit).await?;
    let has_more = found.len() > queue.limit;
    found.truncate(queue.limit);
    let suggestions = readable(&found);
    let next = found.iter().rev().filter(|_| has_more).find_map(|last| queue.place_of(last));
    Ok(Listed { unreadable: found.len() - suggestions.len(), suggestions, next })
}

async fn raw(
    database: &Database,
    filter: Document,
    sort: Document,
    limit: i64,
) -> Result<Vec<RawDocumentBuf>, Failure> {
    let all = database.collection::<RawDocumentBuf>(suggestion::COLLECTION);
    // Everybody who voted is in the document, and not needed here.
    let find = all.find(filter).sort(sort).limit(limit).projection(doc! { "votes.voters": { "$slice": 0 } });
    Ok(find.await?.try_collect().await?)
}

fn readable(found: &[RawDocumentBuf]) -> Vec<Line> {
    found.iter().filter_map(|document| deserialize_from_slice(document.as_bytes()).ok()).map(line).collect()
}

fn line(suggestion: Suggestion) -> Line {
    let work = suggestion.implementation.unwrap_or_default();
    Line {
        id: suggestion.id.to_hex(),
        title: suggestion.title,
        r#type: suggestion.r#type,
        category: suggestion.category,
        priority: suggestion.priority,
        status: suggestion.status,
        upvotes: suggestion.votes.upvotes,
        downvotes: suggestion.votes.downvotes,
        estimated_effort: work.estimated_effort,
        target_version: work.target_version,
        is_answered: suggestion.admin_response.is_some(),
        created_at: suggestion.metadata.created_at,
    }
}

/// How many suggestions there are in each state.
///
/// # Errors
/// MongoDB does not answer.
pub async fn counts(database: &Database) -> Result<Vec<(Status, u64)>, Failure> {
    let all = all(database);
    let count = async |status: Status| {
        Ok::<_, Failure>((status, all.count_documents(doc! { "status": status.as_str() }).await?))
    };
    try_join_all(Status::ALL.iter().map(|status| count(*status))).await
}

/// One suggestion; the voters are left out.
///
/// # Errors
/// There is no such suggestion, or MongoDB does not answer.
pub async fn read(database: &Database, id: ObjectId) -> Result<Suggestion, Failure> {
    let found = all(database).find_one(doc! { "_id": id }).projection(doc! { "votes.voters": { "$slice": 0 } }).await?;
    found.ok_or_else(none_such)
}

/// The latest suggestions of a user, as far as they can be read.
///
/// # Errors
/// MongoDB does not answer.
pub async fn of_user(database: &Database, user: ObjectId, most: i64) -> Result<Vec<Line>, Failure> {
    let found = raw(database, doc! { "userId": user }, doc! { "metadata.createdAt": -1 }, most).await?;
    Ok(readable(&found))
}

fn none_such() -> Failure {
    Failure::NotFound("there is no suggestion with this id; /admin/suggestions lists them".to_owned())
}

/// Somebody, as far as a suggestion names them.
#[derive(Debug, Clone, Deserialize)]
pub struct Named {
    /// The user.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    profile: Name,
}

impl Named {
    /// First and last name.
    pub fn name(&self) -> String {
        self.profile.full()
    }
}

fn people(database: &Database) -> Collection<Named> {
    database.collection(user::COLLECTION)
}

/// These users, where they are there.
///
/// # Errors
/// MongoDB does not answer.
pub async fn named(database: &Database, ids: Vec<ObjectId>) -> Result<Vec<Named>, Failure> {
    let people = people(database);
    let find = people.find(doc! { "_id": { "$in": ids } });
    Ok(find.projection(doc! { "profile.firstName": 1, "profile.lastName": 1 }).await?.try_collect().await?)
}

/// Everybody to whom work can be assigned: moderators and admins, by name.
///
/// # Errors
/// MongoDB does not answer.
pub async fn staff(database: &Database) -> Result<Vec<Named>, Failure> {
    let people = people(database);
    let find = people.find(staff_filter()).limit(MOST_STAFF);
    let found = find.projection(doc! { "profile.firstName": 1, "profile.lastName": 1 }).await?;
    let mut found: Vec<Named> = found.try_collect().await?;
    found.sort_by_key(Named::name);
    Ok(found)
}

fn staff_filter() -> Document {
    doc! { "role": { "$in": [Role::Moderator.as_str(), Role::Admin.as_str()] } }
}

/// A change.
#[derive(Debug, Clone)]
pub enum Change {
    /// Another state.
    Status(Status),
    /// The answer that its author sees.
    Response(String),
    /// Who does what until when.
    Work {
        /// How much it matters.
        priority: Priority,
        /// The rest.
        work: Implementation,
    },
}

impl Change {
    /// For the audit log.
    fn detail(&self) -> String {
        match self {
            Self::Status(status) => format!("status {status}"),
            Self::Response(_) => "response".to_owned(),
            Self::Work { .. } => "work".to_owned(),
        }
    }

    fn update(&self, viewer: ObjectId, now: DateTime) -> Result<Document, Failure> {
        let mut set = doc! { "metadata.updatedAt": now };
        let mut unset = Document::new();
        match self {
            Self::Status(status) => {
                set.insert("status", status.as_str());
                if *status == Status::Implemented {
                    set.insert("metadata.implementedAt", now);
                } else {
                    unset.insert("metadata.implementedAt", "");
                }
            }
            Self::Response(message) => {
                let response = doc! { "message": message, "respondedBy": viewer, "respondedAt": now };
                set.insert("adminResponse", response);
            }
            Self::Work { priority, work } => {
                set.insert("priority", priority.as_str());
                set.insert("implementation", bson::serialize_to_document(work)?);
            }
        }
        let mut update = doc! { "$set": set };
        if !unset.is_empty() {
            update.insert("$unset", unset);
        }
        Ok(update)
    }
}

/// Changes the suggestion that was as `seen` says, which is its `metadata.updatedAt`.
///
/// # Errors
/// There is no such suggestion, somebody changed it meanwhile, the state cannot become the other one, or MongoDB does not answer.
pub async fn change(app: &App, viewer: &Viewer, id: ObjectId, seen: DateTime, change: Change) -> Result<(), Failure> {
    // Before the entry: the message names an id, and no entry may.
    if let Change::Work { work: Implementation { assigned_to: Some(person), .. }, .. } = &change {
        check_staff(&app.database, *person).await?;
    }
    around(app, viewer, on_suggestion(id, change.detail()), async {
        let before = read(&app.database, id).await?;
        if before.metadata.updated_at != seen {
            return Err(changed_meanwhile("suggestion"));
        }
        if let Change::Status(status) = &change
            && !next_states(before.status).contains(status)
        {
            let next: Vec<_> = next_states(before.status).iter().map(|status| status.as_str()).collect();
            let expected = format!("one of {}, because the suggestion is {}", next.join(", "), before.status);
            return Err(Failure::field("status", status.as_str(), expected));
        }
        let filter = doc! { "_id": id, "metadata.updatedAt": seen };
        let changed = all(&app.database).update_one(filter, change.update(viewer.user, DateTime::now())?).await?;
        if changed.matched_count == 0 { Err(changed_meanwhile("suggestion")) } else { Ok(()) }
    })
    .await
}

async fn check_staff(database: &Database, person: ObjectId) -> Result<(), Failure> {
    let mut filter = staff_filter();
    filter.insert("_id", person);
    if people(database).find_one(filter).projection(doc! { "profile": 1 }).await?.is_some() {
        return Ok(());
    }
    Err(Failure::field("assignedTo", &person.to_hex(), "the id of a moderator or an admin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_read_as_it_is_written() {
        for text in [
            "",
            "status=all&type=bug&category=ui&priority=high&assigned=me&sort=oldest&limit=3",
            "status=pending&after=17-0123456789abcdef01234567",
            "sort=newest&after=-5-0123456789abcdef01234567",
        ] {
            let queue = Queue::parse(text).unwrap();
            let address = queue.address("/x");
            assert_eq!(Queue::parse(address.trim_start_matches("/x").trim_start_matches('?')), Ok(queue), "{text}");
        }
        for (text, parameter) in [
            ("status=done", "status"),
            ("after=x", "after"),
            ("assigned=you", "assigned"),
            ("type[$in]=bug", "type[$in]"),
        ] {
            assert_eq!(Queue::parse(text).unwrap_err().parameter, parameter, "{text}");
        }
    }

    #[test]
    fn nothing_is_decided_before_it_was_reviewed_or_done_before_it_was_approved() {
        for status in Status::ALL {
            let next = next_states(*status);
            assert!(!next.contains(status) && !next.is_empty(), "{status}");
            let decides = next.contains(&Status::Approved) || next.contains(&Status::Rejected);
            assert_eq!(decides, *status == Status::Reviewing, "{status}");
            assert_eq!(next.contains(&Status::Implemented), *status == Status::Approved, "{status}");
        }
    }
}
