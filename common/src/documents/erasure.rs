//! `erasures`: the tombstones of erased people, as keyed digests only, so that replayed events and restored backups do not bring
//! them back. The compacted topic `<topic>.erasures` holds the same tombstones.

use bson::DateTime;
use serde::{Deserialize, Serialize};

/// The collection's name.
pub const COLLECTION: &str = "erasures";

enumeration! {
    /// What a tombstone is of.
    Kind { User = "user", Session = "session" }
}

/// The tombstone of one person, or of one session of that person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Erasure {
    /// `<key id>:<HMAC-SHA-256 in hexadecimal>` of the id: says nothing without the key.
    #[serde(rename = "_id")]
    pub digest: String,
    /// What the tombstone is of.
    pub kind: Kind,
    /// SipHash-1-3 of the id under the same key, as a signed number: a first look that costs ingest a few nanoseconds.
    pub tag: i64,
    /// When the erasure was asked for: from then on events of this person are dropped.
    pub requested_at: DateTime,
    /// When the erasure was complete; absent while the erasure is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<DateTime>,
}
