//! `health_checks`: one probe of one tool; the source of `uptime`. Removed by the server 90 days after `timestamp`.

use bson::{DateTime, oid::ObjectId};
use serde::{Deserialize, Serialize};

/// The collection's name.
pub const COLLECTION: &str = "health_checks";

/// One probe of one tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// Made from the event alone, so that a repeated event is the same document.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// What was probed.
    pub tool_id: ObjectId,
    /// The result.
    pub healthy: bool,
    /// Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_time: Option<f64>,
    /// Why it is not healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The event's `time`: decides about the day.
    pub timestamp: DateTime,
}
