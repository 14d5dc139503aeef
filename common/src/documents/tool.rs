//! `tools`: what DevToolkit offers, how each tool is configured, and how it is doing.

use bson::{DateTime, oid::ObjectId};
use serde::{Deserialize, Serialize};

/// The collection's name.
pub const COLLECTION: &str = "tools";

/// One tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tool {
    /// The `toolId` of events.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// For people.
    pub name: String,
    /// For addresses; unique.
    pub slug: String,
    /// One sentence.
    pub description: String,
    /// The `slug` of a tool category.
    pub category: String,
    /// Finer than the category.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subcategory: Option<String>,
    /// Search words.
    pub tags: Vec<String>,
    /// About the tool's program.
    pub metadata: Metadata,
    /// What it can do.
    pub features: Features,
    /// Who sees it.
    pub configuration: Configuration,
    /// How often it is used.
    pub usage: Usage,
    /// How well it runs.
    pub performance: Performance,
    /// How it looks.
    pub ui: Ui,
    /// What it is built on.
    pub dependencies: Dependencies,
    /// What one user may do with it.
    pub limits: Limits,
    /// Its life.
    pub timestamps: Timestamps,
}

/// About a tool's program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Semantic version.
    pub version: String,
    /// Who maintains it.
    pub author: String,
    /// SPDX identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Address of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Address of the manual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documentation: Option<String>,
    /// What `version` brought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changelog: Option<String>,
}

/// What a tool can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    /// Asks a model.
    pub ai_powered: bool,
    /// Answers while one types.
    pub real_time: bool,
    /// Several people at once.
    pub collaborative: bool,
    /// Works without a network.
    pub offline: bool,
    /// Can be called by programs.
    pub api_access: bool,
}

/// Who sees a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// Whether it can be used.
    pub is_active: bool,
    /// Whether it is listed.
    pub is_public: bool,
    /// Whether it is on the front page.
    pub is_featured: bool,
    /// False: events of it may lack a `userId`.
    pub requires_auth: bool,
    /// Only for paying users.
    pub requires_pro: bool,
    /// Shown, but off.
    pub maintenance_mode: bool,
}

/// How often a tool is used. The counts are kept by the aggregator, the ratings by the application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Uses ever.
    pub total_usage: i64,
    /// Uses in the current day.
    pub daily_usage: i64,
    /// Uses in the current week.
    pub weekly_usage: i64,
    /// Uses in the current month.
    pub monthly_usage: i64,
    /// 1 to 5; absent while nobody rated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_rating: Option<f64>,
    /// How many rated.
    pub total_ratings: i64,
}

/// How well a tool runs: absent where nothing was measured yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Performance {
    /// Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_response_time: Option<f64>,
    /// Percent of health checks that were healthy, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime: Option<f64>,
    /// Failed uses / uses, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// Time of the newest health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_health_check: Option<DateTime>,
}

/// How a tool looks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ui {
    /// Name of an icon.
    pub icon: String,
    /// `#RRGGBB`.
    pub color: String,
    /// Addresses of pictures.
    pub screenshots: Vec<String>,
    /// Address of a demonstration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demo_url: Option<String>,
}

/// What a tool is built on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependencies {
    /// Names of packages.
    pub external: Vec<String>,
    /// Other tools.
    pub internal: Vec<ObjectId>,
}

/// What one user may do with a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Uses a day.
    pub daily_limit: i64,
    /// Uses a month.
    pub monthly_limit: i64,
    /// Uses a minute.
    pub rate_limit_per_minute: i64,
    /// Bytes.
    pub max_file_size: i64,
}

/// A tool's life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timestamps {
    /// When it was added.
    pub created_at: DateTime,
    /// When the document last changed by hand.
    pub updated_at: DateTime,
    /// Absent until the first use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used: Option<DateTime>,
    /// Absent unless it is on its way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated_at: Option<DateTime>,
}
