//! `suggestions`: feedback, feature requests and bug reports of users.

use bson::{DateTime, oid::ObjectId};
use serde::{Deserialize, Serialize};

/// The collection's name.
pub const COLLECTION: &str = "suggestions";

enumeration! {
    /// What is suggested.
    Type { Feature = "feature", Improvement = "improvement", Bug = "bug", Feedback = "feedback" }
}

enumeration! {
    /// What it is about.
    Category { Tool = "tool", Ui = "ui", Performance = "performance", General = "general" }
}

enumeration! {
    /// How much it matters.
    Priority { Low = "low", Medium = "medium", High = "high", Critical = "critical" }
}

enumeration! {
    /// What became of it.
    Status {
        Pending = "pending",
        Reviewing = "reviewing",
        Approved = "approved",
        Rejected = "rejected",
        Implemented = "implemented",
    }
}

enumeration! {
    /// How much work it is.
    Effort { Small = "small", Medium = "medium", Large = "large" }
}

enumeration! {
    /// What is attached.
    AttachmentType { Image = "image", File = "file", Link = "link" }
}

/// One suggestion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suggestion {
    /// Identifies the document.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// Who suggests.
    pub user_id: ObjectId,
    /// What is suggested.
    pub r#type: Type,
    /// What it is about.
    pub category: Category,
    /// One line.
    pub title: String,
    /// All of it.
    pub description: String,
    /// How much it matters.
    pub priority: Priority,
    /// What became of it.
    pub status: Status,
    /// What others think of it.
    pub votes: Votes,
    /// Absent until somebody looked at the work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub implementation: Option<Implementation>,
    /// Absent until somebody answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_response: Option<AdminResponse>,
    /// What is attached; a document may lack the field when nothing is.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// Its life.
    pub metadata: Metadata,
}

/// What others think of a suggestion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Votes {
    /// For it.
    pub upvotes: i64,
    /// Against it.
    pub downvotes: i64,
    /// Users who voted.
    pub voters: Vec<ObjectId>,
}

/// The work a suggestion needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Implementation {
    /// How much it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_effort: Option<Effort>,
    /// The user who does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned_to: Option<ObjectId>,
    /// When it is to appear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_version: Option<String>,
    /// For colleagues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub implementation_notes: Option<String>,
}

/// The answer to a suggestion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdminResponse {
    /// The answer.
    pub message: String,
    /// The user who answered.
    pub responded_by: ObjectId,
    /// When.
    pub responded_at: DateTime,
}

/// Something attached to a suggestion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Its kind.
    pub r#type: AttachmentType,
    /// Where it is.
    pub url: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A suggestion's life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// When it was made.
    pub created_at: DateTime,
    /// When it last changed.
    pub updated_at: DateTime,
    /// Absent until done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub implemented_at: Option<DateTime>,
    /// Browser it was made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Address it was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
}
