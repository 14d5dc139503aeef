//! `activity_logs`: page views, sign-ups, sign-ins and failed ones. Removed by the server 90 days after `timestamp`.

use bson::{DateTime, oid::ObjectId};
use serde::{Deserialize, Serialize};

use super::usage_analytics::Context;

/// The collection's name.
pub const COLLECTION: &str = "activity_logs";

enumeration! {
    /// What somebody did.
    Action {
        PageView = "page_view",
        Signup = "signup",
        Login = "login",
        LoginFailed = "login_failed",
        Logout = "logout",
    }
}

/// One activity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActivityLog {
    /// Made from the event alone, so that a repeated event is the same document.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// Absent while nobody is signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<ObjectId>,
    /// Absent outside a visit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<ObjectId>,
    /// What was done.
    pub action: Action,
    /// The page; always there for a page view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// The event's `source`, which claims that somebody signed in or failed to: of a login or a failed one. Absent for other
    /// actions, and in documents from before it was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The event's `time`: decides about the day.
    pub timestamp: DateTime,
    /// True once the aggregator has replaced the ids by pseudonyms, and removed what names somebody; absent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymised: Option<bool>,
}
