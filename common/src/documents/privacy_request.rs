//! `privacy_requests`: erasures of people, under way and complete. A complete request is the receipt of the erasure.

use std::collections::BTreeMap;

use bson::{DateTime, oid::ObjectId};
use serde::{Deserialize, Serialize};

use crate::day::Day;
use crate::keyring::{Keyring, Purpose, Sealed};
use crate::pseudonym::SECRET_BYTES;
use crate::tombstones::Subject;

/// The collection's name.
pub const COLLECTION: &str = "privacy_requests";

enumeration! {
    /// What happens to the person's events.
    Mode { Delete = "delete", Anonymise = "anonymise" }
}

enumeration! {
    /// What is done next. The order is the order of the work: a request that was interrupted goes on with its state.
    State {
        Requested = "requested",
        Sessions = "sessions",
        Events = "events",
        Account = "account",
        Settling = "settling",
        Complete = "complete",
    }
}

/// One erasure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrivacyRequest {
    /// Identifies the request.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// Keyed digest of the person's id, as in `erasures`.
    pub subject: String,
    /// What happens to the person's events.
    pub mode: Mode,
    /// Suggestions keep their text, without their author.
    pub keep_suggestions: bool,
    /// What is done next.
    pub state: State,
    /// The person's id, encrypted under the current key; removed when the request is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed_id: Option<String>,
    /// What pseudonyms are made with, encrypted under the current key; removed when the request is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed_secret: Option<String>,
    /// When the erasure was asked for.
    pub requested_at: DateTime,
    /// When nothing was left to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<DateTime>,
    /// Documents that were removed or changed so far, by collection.
    pub documents: BTreeMap<String, i64>,
    /// The days of the person's events.
    pub days: BTreeMap<Day, AffectedDay>,
    /// Until when Kafka holds what the person's tools sent, by topic; absent where the topic keeps messages for ever. Empty until
    /// somebody works the request off.
    pub kafka_holds_until: BTreeMap<String, Option<DateTime>>,
}

impl PrivacyRequest {
    /// A request that nobody has begun to work off.
    ///
    /// # Errors
    /// There are no random bytes, or the keyring seals nothing more.
    pub fn new(keyring: &Keyring, person: ObjectId, mode: Mode, keep_suggestions: bool) -> anyhow::Result<Self> {
        let id = ObjectId::new();
        let mut secret = [0_u8; SECRET_BYTES];
        getrandom::fill(&mut secret)?;
        let seal = |plain: &[u8]| -> anyhow::Result<Option<String>> {
            let sealed: Sealed = keyring.seal(&id.bytes(), plain)?;
            Ok(Some(sealed.to_string()))
        };
        Ok(Self {
            id,
            subject: keyring.digest(Purpose::Subject, &Subject::User(person).bytes()),
            mode,
            keep_suggestions,
            state: State::Requested,
            sealed_id: seal(&person.bytes())?,
            sealed_secret: seal(&secret)?,
            requested_at: DateTime::now(),
            completed_at: None,
            documents: BTreeMap::new(),
            days: BTreeMap::new(),
            kafka_holds_until: BTreeMap::new(),
        })
    }
}

/// A day that had events of the person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AffectedDay {
    /// Whether the day's numbers are final, and stay as they are.
    pub is_sealed: bool,
    /// The day's numbers before the erasure; absent where the day had no document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Numbers>,
    /// Events that were removed or changed.
    #[serde(default)]
    pub events: i64,
}

/// The numbers of a day that show an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Numbers {
    /// `metrics.tools.totalUsage`.
    pub total_usage: i64,
    /// `metrics.users.active`.
    pub active_users: i64,
    /// `metrics.engagement.pageViews`; absent where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_views: Option<i64>,
}
