//! What was written: `manifest.json`.

use chrono::{DateTime, Utc};
use common::event::IDENTITY_DEFINITION;
use serde::Serialize;

use super::subject::Subject;

/// Rises when the files of an export get another form.
const FORMAT: u32 = 1;

/// `manifest.json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    format: u32,
    program: &'static str,
    /// When the documents were as they are in the files.
    pub exported_at: DateTime<Utc>,
    /// In hex.
    pub user_id: String,
    /// False for somebody whose account is gone.
    pub has_account: bool,
    /// Which definition makes an event's `_id` of the event.
    identity_definition: u32,
    /// The latest migration; null in a database without one.
    schema: Option<Schema>,
    read_concern: &'static str,
    pub collections: Vec<Part>,
    pub summary: Option<Part>,
    /// Fields that are not in the register of personal fields, and were left out.
    pub not_classified: Vec<String>,
}

/// The state of the schema.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Schema {
    /// Of the `admin migrate` that changed it last.
    pub program_version: String,
    /// When.
    pub applied_at: DateTime<Utc>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Part {
    /// The collection that it is of; none for the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection: Option<&'static str>,
    /// Its name.
    pub file: String,
    /// How many documents are in it, one a line; none for the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documents: Option<u64>,
    /// Its size.
    pub bytes: u64,
    /// Of its content, in hex.
    pub sha256: String,
}

impl Manifest {
    pub fn new(person: &Subject, schema: Option<Schema>) -> Self {
        Self {
            format: FORMAT,
            program: concat!("admin ", env!("CARGO_PKG_VERSION")),
            exported_at: Utc::now(),
            user_id: person.id.to_hex(),
            has_account: person.has_account,
            identity_definition: IDENTITY_DEFINITION,
            schema,
            read_concern: "snapshot",
            collections: Vec::new(),
            summary: None,
            not_classified: Vec::new(),
        }
    }
}
