//! `rollup_days`: what the aggregator knows about each day.

use bson::{Binary, DateTime};
use serde::{Deserialize, Serialize};

use crate::day::Day;

/// The collection's name.
pub const COLLECTION: &str = "rollup_days";

enumeration! {
    /// How the last attempt at a day ended; provisional while the day was not over.
    State {
        Provisional = "provisional",
        Rolled = "rolled",
        Failed = "failed",
    }
}

/// One day's state. Written last, so a day that is `rolled` has its daily document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RollupDay {
    /// The UTC day.
    #[serde(rename = "_id")]
    pub date: Day,
    /// Absent while the day was only marked dirty and never rolled up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// When it was last rolled up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_at: Option<DateTime>,
    /// From how many documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Inputs>,
    /// How long that took, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    /// Attempts that were begun since it was last rolled up; each is counted before it is made.
    #[serde(default)]
    pub attempts: i64,
    /// Why the last of them failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Since when an event waits that the daily document does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dirty_since: Option<DateTime>,
    /// How often ingest has marked the day dirty. A roll-up that found this number before it read the events may clear
    /// `dirty_since` only if it still finds the same: otherwise an event came that it may not have seen.
    #[serde(default)]
    pub dirty_marks: i64,
    /// From when on the day is never computed again. Ingest refuses the day's events as soon as this is set, also where it
    /// lies ahead: until then the aggregator counts what ingest had accepted before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed_at: Option<DateTime>,
    /// Collections whose events of the day had begun to expire before it was first rolled up: its numbers know nothing of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expired: Vec<String>,
    /// How far the day is anonymised; absent while nobody has begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymisation: Option<Anonymisation>,
}

/// How far a day is anonymised.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Anonymisation {
    /// When the day was closed for late events, in order to anonymise it; absent where it was sealed before for another reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<DateTime>,
    /// When its events were first rewritten: from then on its numbers are final.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime>,
    /// What makes its pseudonyms. It is there only while events are being rewritten, so that whoever goes on after a kill makes
    /// the same ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Binary>,
    /// When the last event was rewritten, and the key destroyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime>,
    /// How many documents were anonymised then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documents: Option<Anonymised>,
}

/// How many documents of a day were anonymised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Anonymised {
    /// Of `usage_analytics`.
    pub tool_usage: i64,
    /// Of `activity_logs`.
    pub activity: i64,
    /// Those among them that were stored after the day's numbers were final, and are counted nowhere.
    pub uncounted: i64,
}

impl Anonymisation {
    /// Whether no event of the day names anybody any more, as far as it is known.
    pub fn is_finished(&self) -> bool {
        self.finished_at.is_some() && self.key.is_none()
    }
}

impl RollupDay {
    /// A day of which nothing is known.
    pub fn untried(date: Day) -> Self {
        Self {
            date,
            state: None,
            rolled_at: None,
            inputs: None,
            duration_ms: None,
            attempts: 0,
            last_error: None,
            dirty_since: None,
            dirty_marks: 0,
            sealed_at: None,
            expired: Vec::new(),
            anonymisation: None,
        }
    }

    /// Whether its events are anonymised.
    pub fn is_anonymised(&self) -> bool {
        self.anonymisation.as_ref().is_some_and(Anonymisation::is_finished)
    }

    /// Whether the day is never computed again.
    pub fn is_sealed(&self, now: chrono::DateTime<chrono::Utc>) -> bool {
        self.sealed_at.is_some_and(|at| at.to_chrono() <= now)
    }
}

/// How many documents a day was computed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inputs {
    /// Of `usage_analytics`.
    pub tool_usage: i64,
    /// Of `activity_logs`, failed logins included.
    pub activity: i64,
    /// Of `health_checks`.
    pub health_checks: i64,
    /// Of any of the three, left out because a field is missing or not of its type; not in the numbers above.
    pub unreadable: i64,
}
