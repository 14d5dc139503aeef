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
    /// Made from day and tool: [`Day::row_id`].
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
    /// Uses by the plan that the user has when the day is rolled up; uses without a known account are in none.
    pub by_plan: BTreeMap<String, i64>,
    /// Uses by country, two capital letters, `other` for any other text; uses without one are in none.
    pub by_country: BTreeMap<String, i64>,
    /// Health checks; null where they had expired before the day was first rolled up.
    #[serde(default = "none_yet")]
    pub health_checks: Option<i64>,
    /// Of them, those that were good.
    #[serde(default = "none_yet")]
    pub healthy_checks: Option<i64>,
    /// Time of the latest use; absent on a day without uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<DateTime>,
    /// Time of the latest health check; absent on a day without checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_health_check_at: Option<DateTime>,
    /// When this was computed.
    pub updated_at: DateTime,
}

/// Rows from before there were health checks have no such field.
fn none_yet() -> Option<i64> {
    Some(0)
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
    /// Filled buckets only, by rising bound; their counts add up to `count`. The bounds are the same for all tools and
    /// days, sixteen to a doubling, so histograms add up and a percentile is at most 1/16 too high.
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
