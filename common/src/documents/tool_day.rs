//! `tool_days`: one tool's day, written with the roll-up of that day.

use std::collections::BTreeMap;

use bson::{DateTime, oid::ObjectId};
use serde::{Deserialize, Serialize};

use crate::day::Day;

/// The collection's name.
pub const COLLECTION: &str = "tool_days";

/// One tool's day; unique by `date` and `tool_id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolDay {
    /// Identifies the document.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// The UTC day.
    pub date: Day,
    /// The tool.
    pub tool_id: ObjectId,
    /// Tool uses.
    pub usage: i64,
    /// Of them, those that failed.
    pub failures: i64,
    /// Distinct users in them.
    pub unique_users: i64,
    /// `usage.duration` over all uses.
    pub duration: Duration,
    /// `performance.responseTime` over the uses that have it.
    pub response_time: ResponseTime,
    /// Uses by the user's plan; uses without an account are in none.
    pub by_plan: BTreeMap<String, i64>,
    /// Uses by country; uses without one are in none.
    pub by_country: BTreeMap<String, i64>,
    /// When this was computed.
    pub updated_at: DateTime,
}

/// Durations of a tool's day, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Duration {
    /// Sum; the mean is `total` / `usage`.
    pub total: i64,
    /// Absent on a day without uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// Absent on a day without uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
}

/// Response times of a tool's day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResponseTime {
    /// Uses that have one.
    pub count: i64,
    /// Their sum, milliseconds.
    pub total: f64,
    /// Filled buckets only, by rising bound; their counts add up to `count`.
    pub histogram: Vec<Bucket>,
}

/// One bucket of a histogram.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bucket {
    /// Upper bound in milliseconds, itself included.
    pub up_to: f64,
    /// Uses above the bound before and up to this one.
    pub count: i64,
}
