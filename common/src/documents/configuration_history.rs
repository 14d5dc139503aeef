//! `configuration_history`: what each setting of `system_configuration` was before each change.

use bson::{Bson, DateTime, oid::ObjectId};
use serde::{Deserialize, Serialize};

use super::system_configuration::{Category, DataType, Environment, Validation};

/// The collection's name.
pub const COLLECTION: &str = "configuration_history";

/// A setting as it was until a change replaced it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FormerConfiguration {
    /// Identifies the document.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// The setting's key.
    pub key: String,
    /// The setting's version; with the key, unique.
    pub version: i64,
    /// What the value was; absent for a secret: whoever replaces a secret does not want the old one to stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Bson>,
    /// What it was about.
    pub category: Category,
    /// What it was for.
    pub description: String,
    /// What the value had to be.
    pub data_type: DataType,
    /// What the value had to pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
    /// Where it applied.
    pub environment: Environment,
    /// Whether it was in force.
    pub is_active: bool,
    /// Whether the value was never shown.
    pub is_secret: bool,
    /// The user who had made this version; absent when a program did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified_by: Option<ObjectId>,
    /// From when on it was like this.
    pub updated_at: DateTime,
    /// When the change came.
    pub replaced_at: DateTime,
}
