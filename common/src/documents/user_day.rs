//! `user_days`: one user's day, written with the roll-up of that day; the ledger behind the counters in `users`.

use bson::{DateTime, oid::ObjectId};
use serde::{Deserialize, Serialize};

use crate::day::Day;

/// The collection's name.
pub const COLLECTION: &str = "user_days";

/// One user's day; unique by `date` and `user_id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserDay {
    /// Identifies the document.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// The UTC day.
    pub date: Day,
    /// The user.
    pub user_id: ObjectId,
    /// Tool uses.
    pub usage: i64,
    /// Of them, those that failed.
    pub failures: i64,
    /// Page views.
    pub page_views: i64,
    /// Visits.
    pub visits: i64,
    /// Length of the visits together, minutes.
    pub minutes: f64,
    /// When this was computed.
    pub updated_at: DateTime,
}
