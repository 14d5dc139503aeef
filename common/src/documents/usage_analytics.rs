//! `usage_analytics`: one use of one tool, as ingest stores it. Removed by the server a year after `timestamp`.

use bson::{DateTime, Document, oid::ObjectId};
use serde::{Deserialize, Serialize};

/// The collection's name.
pub const COLLECTION: &str = "usage_analytics";

/// One use of one tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageAnalytics {
    /// Made from the event alone, so that a repeated event is the same document.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// Absent when the tool was used without an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<ObjectId>,
    /// What was used.
    pub tool_id: ObjectId,
    /// The visit it belongs to.
    pub session_id: ObjectId,
    /// What happened.
    pub usage: Usage,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// What it cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub performance: Option<Performance>,
    /// What the tool says about itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// The event's `time`: decides about the day.
    pub timestamp: DateTime,
    /// True once the aggregator has replaced the ids by pseudonyms, and removed what names somebody; absent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymised: Option<bool>,
}

/// What happened in one use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Not after `end_time`.
    pub start_time: DateTime,
    /// When the tool answered or gave up.
    pub end_time: DateTime,
    /// Milliseconds.
    pub duration: i64,
    /// Bytes.
    pub input_size: i64,
    /// Bytes.
    pub output_size: i64,
    /// False: counts as a failure.
    pub success: bool,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
}

/// From where an event came; shared with `activity_logs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Context {
    /// As the browser names itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Its IP address, in the spelling of [`crate::address::canonical`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    /// The page that led here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referrer: Option<String>,
    /// Where the address is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
}

/// Where an address is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// ISO 3166 code, such as `US`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Such as `CA`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Such as `San Francisco`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
}

/// What one use cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Performance {
    /// Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_time: Option<f64>,
    /// Megabytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_usage: Option<f64>,
    /// Percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_usage: Option<f64>,
}

/// What a tool says about itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Of the tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What of it was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<String>>,
    /// Free-form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_data: Option<Document>,
}
