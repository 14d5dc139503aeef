//! The collections that a day is made of.

use std::fmt;

use bson::{DateTime, Document, doc};
use chrono::Utc;
use common::documents::rollup_day::Inputs;
use common::documents::{activity_log, health_check, usage_analytics};

/// Documents of one answer: some 2 MB, so that readers times answers stay small in memory.
pub const BATCH: u32 = 10_000;

/// The collections that a day is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `usage_analytics`.
    ToolUses,
    /// `activity_logs`.
    Activities,
    /// `health_checks`.
    HealthChecks,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ToolUses, Self::Activities, Self::HealthChecks];

    /// How many of its documents a day was computed from.
    pub fn input(self, inputs: &mut Inputs) -> &mut i64 {
        match self {
            Self::ToolUses => &mut inputs.tool_usage,
            Self::Activities => &mut inputs.activity,
            Self::HealthChecks => &mut inputs.health_checks,
        }
    }

    /// The collection's name.
    pub fn collection(self) -> &'static str {
        match self {
            Self::ToolUses => usage_analytics::COLLECTION,
            Self::Activities => activity_log::COLLECTION,
            Self::HealthChecks => health_check::COLLECTION,
        }
    }
}

/// The filter for the events of `[from, to)`.
pub fn within(from: chrono::DateTime<Utc>, to: chrono::DateTime<Utc>) -> Document {
    doc! { "timestamp": { "$gte": DateTime::from_chrono(from), "$lt": DateTime::from_chrono(to) } }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.collection())
    }
}
