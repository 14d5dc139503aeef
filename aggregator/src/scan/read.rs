//! Reads a day's events into a [`Fold`].

use bson::{Document, doc};
use common::day::Day;

use super::documents::{self, Unreadable};
use super::pass::Part;
use crate::fold::shards::Found;
use crate::fold::tools::Known;
use crate::fold::{Fold, User};
use crate::source::Source;

impl Part for Fold {
    type User = User;
    type Owner = ();

    fn of(day: Day, known: &Known) -> Self {
        Self::new(day, known)
    }

    fn projection(source: Source) -> Document {
        match source {
            Source::ToolUses => doc! {
                "_id": 0, "userId": 1, "toolId": 1, "sessionId": 1, "usage.startTime": 1, "usage.endTime": 1,
                "usage.success": 1, "performance.responseTime": 1,
            },
            Source::Activities => doc! { "_id": 0, "userId": 1, "sessionId": 1, "action": 1, "timestamp": 1 },
            Source::HealthChecks => doc! { "_id": 0, "toolId": 1, "healthy": 1 },
        }
    }

    fn add(&mut self, source: Source, document: &[u8], found: &mut Found<User, ()>) -> Result<(), Unreadable> {
        match source {
            Source::ToolUses => documents::tool_use(document, |tool_use| self.add_tool_use(tool_use, found)),
            Source::Activities => documents::activity(document, |activity| self.add_activity(activity, found)),
            Source::HealthChecks => documents::health_check(document).map(|check| self.add_health_check(&check)),
        }
    }

    fn merge(&mut self, other: Self) {
        self.merge(other);
    }

    fn bytes(&self) -> usize {
        self.bytes()
    }
}
