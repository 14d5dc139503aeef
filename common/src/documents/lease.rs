//! `leases`: who may do what only one process may do at a time.

use bson::DateTime;
use serde::{Deserialize, Serialize};

/// The collection's name.
pub const COLLECTION: &str = "leases";

/// The right to do one thing, for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// What may be done, such as `aggregator`.
    #[serde(rename = "_id")]
    pub name: String,
    /// The process that may do it.
    pub holder: String,
    /// Rises by one with each new holder, so that a holder that slept through the end of its lease is recognised and its
    /// writes are refused.
    pub fence: i64,
    /// When the holder got it.
    pub acquired_at: DateTime,
    /// From then on another process may take it.
    pub expires_at: DateTime,
}
