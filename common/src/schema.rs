//! What the database is to look like: the collections with their indexes and validators, as `admin migrate` applies them.
//!
//! [`wanted`] is the schema of this program, [`server::read`] the one a server has, [`diff::diff`] the list of changes
//! from the second to the first, and [`server::apply`] carries one of them out. Only the server part does I/O.

pub mod diff;
pub mod json_schema;
pub mod server;
mod validators;

use std::time::Duration;

use bson::{Bson, Document};

use crate::documents::{
    activity_log, audit_entry, configuration_history, dead_letter_replay, erasure, health_check, lease, migration,
    privacy_request, rollup_day, session, suggestion, system_analytics, system_configuration, tool, tool_category,
    tool_day, usage_analytics, user, user_day,
};
use crate::settings::Retention;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long after its `timestamp` a document of `usage_analytics` is removed, by default.
pub const USAGE_ANALYTICS_TTL: Duration = Duration::from_secs(365 * DAY.as_secs());
/// How long after its `timestamp` a document of `activity_logs` is removed, by default.
pub const ACTIVITY_LOGS_TTL: Duration = Duration::from_secs(90 * DAY.as_secs());
/// How long after its `timestamp` a document of `health_checks` is removed, by default.
pub const HEALTH_CHECKS_TTL: Duration = Duration::from_secs(90 * DAY.as_secs());
/// How long after its `replayedAt` a document of `dead_letter_replays` is removed, by default: longer than any event is accepted.
pub const DEAD_LETTER_REPLAYS_TTL: Duration = Duration::from_secs(400 * DAY.as_secs());
/// How long after its `expiresAt` a document of `sessions` is removed, by default.
pub const SESSIONS_TTL: Duration = Duration::ZERO;

/// The locale of the indexes on names.
pub const NAMES_LOCALE: &str = "en";
/// Their strength: letters count, capitals and accents do not.
pub const NAMES_STRENGTH: i32 = 1;

/// A collection as it is to be, or as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Collection {
    /// Its name.
    pub name: String,
    /// Its indexes without the one on `_id`, which every collection has.
    pub indexes: Vec<Index>,
    /// What its documents must pass; `None` lets every document in.
    pub validator: Option<Validator>,
}

/// What the documents of a collection must pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Validator {
    /// `{ $jsonSchema: … }`.
    pub rule: Document,
    /// `strict` or `moderate`.
    pub level: String,
    /// `error` or `warn`.
    pub action: String,
}

impl Validator {
    /// Refuses what breaks `schema`. The level is moderate: a document that broke the rule before the rule came can
    /// still be updated, so that a migration never locks an old user out; every new document is checked.
    fn refusing(schema: Document) -> Self {
        let rule = bson::doc! { "$jsonSchema": schema };
        Self { rule, level: "moderate".into(), action: "error".into() }
    }
}

/// An index.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    /// By default made from the keys, as the server does: `userId_1_timestamp_1`.
    pub name: String,
    /// Fields in order, with `1`, `-1` or a kind such as `text`.
    pub keys: Vec<(String, Bson)>,
    /// No two documents have the same keys.
    pub unique: bool,
    /// Documents without the field are not in it.
    pub sparse: bool,
    /// Documents are removed this long after the date in the key.
    pub expire_after: Option<Duration>,
    /// Every other option, such as `partialFilterExpression`. Of the wanted indexes some have a `collation`.
    pub other: Document,
}

impl Index {
    fn on<const N: usize>(fields: [&str; N]) -> Self {
        Self {
            name: fields.map(|field| format!("{field}_1")).join("_"),
            keys: fields.iter().map(|field| ((*field).to_owned(), Bson::Int32(1))).collect(),
            unique: false,
            sparse: false,
            expire_after: None,
            other: Document::new(),
        }
    }

    fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    fn sparse(mut self) -> Self {
        self.sparse = true;
        self
    }

    /// With [`NAMES_LOCALE`] and [`NAMES_STRENGTH`], as the server lists it.
    fn for_names(mut self) -> Self {
        self.other.insert(
            "collation",
            bson::doc! {
                "locale": NAMES_LOCALE, "caseLevel": false, "caseFirst": "off", "strength": NAMES_STRENGTH, "numericOrdering": false,
                "alternate": "non-ignorable", "maxVariable": "punct", "normalization": false, "backwards": false, "version": "57.1",
            },
        );
        self
    }

    fn expiring(mut self, after: Duration) -> Self {
        self.expire_after = Some(after);
        self
    }
}

/// The same collections, whose documents expire as the settings say.
pub fn kept(mut collections: Vec<Collection>, retention: &Retention) -> Vec<Collection> {
    for collection in &mut collections {
        let Some(kept) = retention.of(&collection.name) else { continue };
        for index in collection.indexes.iter_mut().filter(|index| index.expire_after.is_some()) {
            index.expire_after = Some(kept);
        }
    }
    collections
}

/// Every collection as this program wants it, with the default [`Retention`].
///
/// `validator_on_event_collections` puts validators on `usage_analytics`, `activity_logs` and `health_checks` too. It is
/// off in production: ingest is their only writer and has checked every field before it writes.
pub fn wanted(validator_on_event_collections: bool) -> Vec<Collection> {
    let always = |name: &str, validator: Document, indexes: Vec<Index>| Collection {
        name: name.to_owned(),
        indexes,
        validator: Some(Validator::refusing(validator)),
    };
    let events = |name: &str, validator: Document, indexes: Vec<Index>| Collection {
        name: name.to_owned(),
        indexes,
        validator: validator_on_event_collections.then(|| Validator::refusing(validator)),
    };
    vec![
        always(
            user::COLLECTION,
            validators::users(),
            vec![
                Index::on(["email"]).unique(),
                // The reference writes `{ verificationToken: 1 }` and `{ resetToken: 1 }`, but its documents hold both
                // fields inside `authentication`: on the bare names these sparse indexes would stay empty.
                Index::on(["authentication.verificationToken"]).sparse(),
                Index::on(["authentication.resetToken"]).sparse(),
                Index::on(["role"]),
                Index::on(["subscription.plan"]),
                Index::on(["status.isActive"]),
                Index::on(["metadata.createdAt"]),
                // What an administrator looks for besides. Capitals and accents of names do not count.
                Index::on(["profile.lastName", "profile.firstName"]).for_names(),
                Index::on(["profile.firstName", "profile.lastName"]).for_names(),
                Index::on(["status.isSuspended", "email"]),
                Index::on(["authentication.isVerified", "email"]),
                Index::on(["authentication.lockedUntil"]).sparse(),
            ],
        ),
        always(
            session::COLLECTION,
            validators::sessions(),
            vec![
                Index::on(["userId"]),
                Index::on(["sessionToken"]).unique(),
                Index::on(["expiresAt"]).expiring(SESSIONS_TTL),
            ],
        ),
        always(
            tool::COLLECTION,
            validators::tools(),
            vec![
                Index::on(["slug"]).unique(),
                Index::on(["category"]),
                Index::on(["features.aiPowered"]),
                Index::on(["configuration.isActive"]),
                Index::on(["configuration.isFeatured"]),
                Index::on(["tags"]),
            ],
        ),
        events(
            usage_analytics::COLLECTION,
            validators::usage_analytics(),
            vec![
                Index::on(["userId", "timestamp"]),
                Index::on(["toolId", "timestamp"]),
                Index::on(["timestamp"]).expiring(USAGE_ANALYTICS_TTL),
                Index::on(["usage.success"]),
            ],
        ),
        always(
            system_analytics::COLLECTION,
            validators::system_analytics(),
            vec![Index::on(["date"]).unique(), Index::on(["metrics.users.total"]), Index::on(["createdAt"])],
        ),
        always(
            suggestion::COLLECTION,
            validators::suggestions(),
            vec![
                Index::on(["userId"]),
                Index::on(["status"]),
                Index::on(["type"]),
                Index::on(["priority"]),
                Index::on(["votes.upvotes"]),
                // The queue, by votes and by age.
                Index::on(["status", "votes.upvotes", "_id"]),
                Index::on(["status", "metadata.createdAt", "_id"]),
            ],
        ),
        always(
            system_configuration::COLLECTION,
            validators::system_configuration(),
            vec![
                Index::on(["key"]).unique(),
                Index::on(["category"]),
                Index::on(["environment"]),
                Index::on(["isActive"]),
            ],
        ),
        events(
            activity_log::COLLECTION,
            validators::activity_logs(),
            vec![
                Index::on(["userId", "timestamp"]),
                Index::on(["action", "timestamp"]),
                Index::on(["timestamp"]).expiring(ACTIVITY_LOGS_TTL),
            ],
        ),
        always(tool_category::COLLECTION, validators::tool_categories(), vec![Index::on(["slug"]).unique()]),
        events(
            health_check::COLLECTION,
            validators::health_checks(),
            vec![Index::on(["toolId", "timestamp"]), Index::on(["timestamp"]).expiring(HEALTH_CHECKS_TTL)],
        ),
        always(tool_day::COLLECTION, validators::tool_days(), vec![Index::on(["date", "toolId"]).unique()]),
        always(
            user_day::COLLECTION,
            validators::user_days(),
            vec![Index::on(["date", "userId"]).unique(), Index::on(["userId", "date"])],
        ),
        always(rollup_day::COLLECTION, validators::rollup_days(), vec![]),
        always(lease::COLLECTION, validators::leases(), vec![]),
        always(migration::COLLECTION, validators::migrations(), vec![]),
        always(erasure::COLLECTION, validators::erasures(), vec![]),
        always(privacy_request::COLLECTION, validators::privacy_requests(), vec![Index::on(["subject"])]),
        always(
            dead_letter_replay::COLLECTION,
            validators::dead_letter_replays(),
            vec![Index::on(["topic", "lastArrived"]), Index::on(["replayedAt"]).expiring(DEAD_LETTER_REPLAYS_TTL)],
        ),
        always(audit_entry::COLLECTION, validators::audit_log(), vec![]),
        always(
            configuration_history::COLLECTION,
            validators::configuration_history(),
            vec![Index::on(["key", "version"]).unique()],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let collections = wanted(true);
        let mut names: Vec<_> = collections.iter().map(|collection| &collection.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 20);
        for collection in &collections {
            let mut names: Vec<_> = collection.indexes.iter().map(|index| &index.name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), collection.indexes.len(), "{}", collection.name);
        }
    }

    #[test]
    fn event_collections_have_validators_only_on_demand() {
        let with_validator = |on| wanted(on).into_iter().filter(|collection| collection.validator.is_some()).count();
        assert_eq!((with_validator(false), with_validator(true)), (17, 20));
    }
}
