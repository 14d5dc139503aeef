//! Reads a day's events into a [`Book`]. What the day's scan leaves out as unreadable is left out here by the same rules.

use bson::oid::ObjectId;
use bson::{Document, doc};
use common::day::Day;

use super::book::{Book, Country, Details, OTHER_COUNTRY, User};
use crate::fold::ToolUse;
use crate::fold::shards::Found;
use crate::fold::tools::Known;
use crate::scan::documents::{self, Unreadable};
use crate::scan::elements::{Elements, Value};
use crate::scan::pass::Part;
use crate::source::Source;

impl Part for Book {
    type User = User;
    type Owner = Option<ObjectId>;

    fn of(day: Day, known: &Known) -> Self {
        Self::new(day, known)
    }

    fn projection(source: Source) -> Document {
        match source {
            Source::ToolUses => doc! {
                "_id": 0, "userId": 1, "toolId": 1, "sessionId": 1, "usage.startTime": 1, "usage.endTime": 1,
                "usage.success": 1, "usage.duration": 1, "performance.responseTime": 1, "context.location.country": 1,
                "timestamp": 1,
            },
            Source::Activities => doc! { "_id": 0, "userId": 1, "sessionId": 1, "action": 1, "timestamp": 1 },
            Source::HealthChecks => doc! { "_id": 0, "toolId": 1, "healthy": 1, "timestamp": 1 },
        }
    }

    fn add(
        &mut self,
        source: Source,
        document: &[u8],
        found: &mut Found<User, Option<ObjectId>>,
    ) -> Result<(), Unreadable> {
        match source {
            Source::ToolUses => documents::tool_use(document, |tool_use| {
                self.add_tool_use(tool_use, &details(document, tool_use), found);
            }),
            Source::Activities => documents::activity(document, |activity| self.add_activity(activity, found)),
            Source::HealthChecks => documents::health_check(document)
                .map(|check| self.add_health_check(&check, timestamp(document).unwrap_or_default())),
        }
    }

    fn merge(&mut self, other: Self) {
        self.tools.merge(other.tools);
    }

    fn bytes(&self) -> usize {
        self.tools.bytes()
    }
}

/// None of them keeps a document out of the day: what is missing or of another type counts as if it were not there.
fn details(document: &[u8], tool_use: &ToolUse) -> Details {
    let location = inner(document, b"context").and_then(|context| inner(context, b"location"));
    Details {
        at: timestamp(document).unwrap_or(tool_use.end),
        duration: inner(document, b"usage").and_then(|usage| field(usage, b"duration")).map_or(0, whole_millis),
        country: location.and_then(|location| field(location, b"country")).and_then(country),
    }
}

fn timestamp(document: &[u8]) -> Option<i64> {
    match field(document, b"timestamp")? {
        Value::DateTime(millis) => Some(millis),
        _ => None,
    }
}

fn whole_millis(value: Value<'_>) -> u64 {
    match value {
        Value::Int32(millis) => u64::try_from(millis).unwrap_or(0),
        Value::Int64(millis) => u64::try_from(millis).unwrap_or(0),
        Value::Double(millis) => millis as u64,
        _ => 0,
    }
}

fn country(value: Value<'_>) -> Option<Country> {
    let Value::Text(text) = value else { return None };
    Some(match text {
        [first, second] if first.is_ascii_alphabetic() && second.is_ascii_alphabetic() => {
            [first.to_ascii_uppercase(), second.to_ascii_uppercase()]
        }
        _ => OTHER_COUNTRY,
    })
}

fn inner<'a>(document: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match field(document, name)? {
        Value::Document(document) => Some(document),
        _ => None,
    }
}

fn field<'a>(document: &'a [u8], name: &[u8]) -> Option<Value<'a>> {
    Elements::of(document).ok()?.flatten().find(|(found, _)| *found == name).map(|(_, value)| value)
}
