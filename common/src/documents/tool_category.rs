//! `tool_categories`: the shelves the tools stand on. A tool names its category by `slug`.

use bson::{DateTime, oid::ObjectId};
use serde::{Deserialize, Serialize};

/// The collection's name.
pub const COLLECTION: &str = "tool_categories";

/// One category.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolCategory {
    /// Identifies the document; tools refer to `slug`.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// Unique; the `category` of tools.
    pub slug: String,
    /// For people.
    pub name: String,
    /// One sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Name of an icon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// Place among the categories, smallest first.
    pub order: i64,
    /// Whether it is shown.
    pub is_active: bool,
    /// When it was added.
    pub created_at: DateTime,
    /// When it last changed.
    pub updated_at: DateTime,
}
