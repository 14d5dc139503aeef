//! `migrations`: what `admin migrate` changed, one document per run that changed something.

use bson::{DateTime, oid::ObjectId};
use serde::{Deserialize, Serialize};

/// The collection's name.
pub const COLLECTION: &str = "migrations";

/// One run of `admin migrate` that changed something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Migration {
    /// Identifies the document.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// When the run ended.
    pub applied_at: DateTime,
    /// Version of the program that did it.
    pub program_version: String,
    /// What it changed, in order; never empty.
    pub changes: Vec<AppliedChange>,
    /// Why the run stopped early; absent when it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One thing that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedChange {
    /// Such as `index users.email_1`.
    pub what: String,
    /// Such as `created`.
    pub change: String,
    /// How it is now, and how it was before.
    pub detail: String,
}
