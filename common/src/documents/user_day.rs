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
    /// Made from day and user: [`Day::row_id`].
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
    /// Page views. As the next two null where activities had expired before the day was first rolled up.
    pub page_views: Option<i64>,
    /// Visits. Those of a session that several users share are the one's with the smallest id.
    pub visits: Option<i64>,
    /// Length of the visits together, minutes.
    pub minutes: Option<f64>,
    /// Time of the latest tool use; absent on a day without uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<DateTime>,
    /// Time of the latest tool use or activity, failed logins left out.
    pub last_activity_at: DateTime,
    /// When this was computed.
    pub updated_at: DateTime,
}
