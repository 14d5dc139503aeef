//! `system_configuration`: settings of the application that may change while it runs.

use bson::{Bson, DateTime, oid::ObjectId};
use serde::{Deserialize, Serialize};

/// The collection's name.
pub const COLLECTION: &str = "system_configuration";

/// The key of how many events each ingest worker takes in a second.
pub const EVENTS_PER_SECOND: &str = "ingest_max_events_per_second";
/// The key of how many events one tool may send in a minute.
pub const TOOL_EVENTS_PER_MINUTE: &str = "ingest_tool_events_per_minute";
/// The key of how many events one source may send in a minute.
pub const SOURCE_EVENTS_PER_MINUTE: &str = "ingest_source_events_per_minute";
/// The key of how many events one user may send in a minute.
pub const USER_EVENTS_PER_MINUTE: &str = "ingest_user_events_per_minute";
/// The keys of the limits that ingest looks for.
pub const INGEST_LIMITS: [&str; 4] =
    [EVENTS_PER_SECOND, TOOL_EVENTS_PER_MINUTE, SOURCE_EVENTS_PER_MINUTE, USER_EVENTS_PER_MINUTE];

enumeration! {
    /// What a setting is about.
    Category {
        FeatureFlags = "feature_flags",
        Limits = "limits",
        Integrations = "integrations",
        Ui = "ui",
        Security = "security",
    }
}

enumeration! {
    /// What `value` is to be.
    DataType { String = "string", Number = "number", Boolean = "boolean", Object = "object", Array = "array" }
}

enumeration! {
    /// Where a setting applies.
    Environment { Development = "development", Staging = "staging", Production = "production", All = "all" }
}

impl SystemConfiguration {
    /// What the value must pass, as it may be shown: the list of a secret's allowed values holds the secret.
    pub fn shown_validation(&self) -> Option<Validation> {
        let mut validation = self.validation.clone()?;
        if self.is_secret {
            validation.r#enum = None;
        }
        Some(validation)
    }
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemConfiguration {
    /// Identifies the document; programs look for `key`.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// Unique.
    pub key: String,
    /// To be of `data_type` and to pass `validation`: who reads it checks both. Of a secret, what [`crate::secrets`] seals.
    pub value: Bson,
    /// What it is about.
    pub category: Category,
    /// One sentence, with the unit.
    pub description: String,
    /// What `value` is to be.
    pub data_type: DataType,
    /// What `value` must pass; absent when any value will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
    /// Where it applies.
    pub environment: Environment,
    /// False: as if it were not there.
    pub is_active: bool,
    /// True: `value` is never shown.
    pub is_secret: bool,
    /// The user who changed it last; absent when a program made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified_by: Option<ObjectId>,
    /// Counts the changes.
    pub version: i64,
    /// When it was added.
    pub created_at: DateTime,
    /// When it last changed.
    pub updated_at: DateTime,
}

/// What a setting's value must pass. The reference stores what does not apply as null, and so does this.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Validation {
    /// Whether there must be a value.
    pub required: bool,
    /// Smallest number, itself allowed.
    pub min: Option<f64>,
    /// Largest number, itself allowed.
    pub max: Option<f64>,
    /// Regular expression for a string.
    pub pattern: Option<String>,
    /// The only values allowed.
    pub r#enum: Option<Vec<Bson>>,
}
