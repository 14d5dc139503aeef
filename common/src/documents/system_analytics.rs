//! `system_analytics`: the daily document, written by the aggregator and kept for ever.

use bson::{DateTime, oid::ObjectId};
use serde::{Deserialize, Serialize};

use super::rollup_day::Inputs;
use crate::day::Day;

/// The collection's name.
pub const COLLECTION: &str = "system_analytics";

/// One day of the whole system; unique by `date`.
///
/// A ratio or mean of nothing, and a trend without a yesterday, is stored as null: the field is always there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemAnalytics {
    /// Made from the date.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// The UTC day.
    pub date: Day,
    /// The numbers of the day.
    pub metrics: Metrics,
    /// The day against the day before.
    pub trends: Trends,
    /// From what, how and when the numbers were computed. Absent in a document that the aggregator did not write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollup: Option<Rollup>,
    /// When the day was first rolled up.
    pub created_at: DateTime,
    /// When this document was last written.
    pub updated_at: DateTime,
}

/// The numbers of a day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Who there is and who came.
    pub users: Users,
    /// What was used.
    pub tools: Tools,
    /// How well it went.
    pub performance: Performance,
    /// How people moved about.
    pub engagement: Engagement,
}

/// Who there is and who came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Users {
    /// Users created before the end of the day.
    pub total: i64,
    /// Distinct users of tool uses and activities; null where activities had expired.
    pub active: Option<i64>,
    /// Users created within the day.
    pub new: i64,
    /// Of `total`, the verified ones when the day was first rolled up.
    pub verified: i64,
    /// Of `total`, those with an active pro or enterprise plan when the day was first rolled up.
    pub premium: i64,
}

/// What was used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tools {
    /// Tool uses.
    pub total_usage: i64,
    /// Distinct users of them.
    pub unique_users: i64,
    /// Mean length of the visits made of tool use alone, minutes.
    pub average_session_duration: Option<f64>,
    /// At most ten, the most used first; equally used ones by rising `toolId`.
    pub most_used_tools: Vec<MostUsedTool>,
}

/// One of the most used tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MostUsedTool {
    /// The tool.
    pub tool_id: ObjectId,
    /// Its name, or `(unknown tool)`.
    pub tool_name: String,
    /// Its uses.
    pub usage_count: i64,
}

/// How well it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Performance {
    /// Mean response time of the uses that have one, milliseconds.
    pub average_response_time: Option<f64>,
    /// Failed uses / uses, 0 to 1.
    pub error_rate: Option<f64>,
    /// Healthy checks / checks, 0 to 100.
    pub uptime: Option<f64>,
    /// The largest number of distinct users present at one instant; null where activities had expired.
    pub peak_concurrent_users: Option<i64>,
}

/// How people moved about. All of it is null where activities had expired.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Engagement {
    /// Page views.
    pub page_views: Option<i64>,
    /// Of the visits with a page view, those with exactly one and no tool use, 0 to 1.
    pub bounce_rate: Option<f64>,
    /// Mean length of all visits, minutes.
    pub average_session_duration: Option<f64>,
    /// Of the active users, those created before the day, 0 to 1.
    pub return_user_rate: Option<f64>,
}

/// (today - yesterday) / yesterday.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trends {
    /// Of `users.total`.
    pub user_growth: Option<f64>,
    /// Of `tools.totalUsage`.
    pub usage_growth: Option<f64>,
    /// Of `performance.averageResponseTime`: negative is faster.
    pub performance_change: Option<f64>,
}

enumeration! {
    /// What computed a day.
    Engine {
        Scan = "scan",
        Pushdown = "pushdown",
    }
}

/// From what, how and when the numbers were computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollup {
    /// Rises when a number's definition changes, so that old and new documents can be told apart.
    pub definition_version: i64,
    /// What computed them.
    pub engine: Engine,
    /// The constants of the definitions.
    pub settings: RollupSettings,
    /// How many documents were read.
    pub inputs: Inputs,
    /// Collections whose events of the day had begun to expire before it was first rolled up: what needs them is null, and
    /// their inputs are 0. Absent on a day that was whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expired: Vec<String>,
    /// When.
    pub computed_at: DateTime,
    /// True while the day is not over: the numbers will still change.
    pub provisional: bool,
}

/// The constants of the definitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RollupSettings {
    /// A longer gap cuts a visit in two.
    pub visit_gap_minutes: i64,
    /// How long after an event its user counts as present.
    pub presence_minutes: i64,
    /// Length limit of `mostUsedTools`.
    pub most_used_tools: i64,
}
