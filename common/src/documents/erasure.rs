//! `erasures`: who was erased, as keyed hashes only, so that replayed events and restored backups do not bring them back.

use std::collections::BTreeMap;

use bson::DateTime;
use serde::{Deserialize, Serialize};

/// The collection's name.
pub const COLLECTION: &str = "erasures";

/// One erased person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Erasure {
    /// Keyed hash of the user's id, hexadecimal: says nothing without the key.
    #[serde(rename = "_id")]
    pub subject_hash: String,
    /// Which key made the hash.
    pub key_id: String,
    /// When the erasure was asked for: from then on events of this person are refused.
    pub requested_at: DateTime,
    /// Absent while the erasure is under way or was interrupted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<DateTime>,
    /// Documents removed or made anonymous so far, by collection: the receipt.
    pub documents: BTreeMap<String, i64>,
}
