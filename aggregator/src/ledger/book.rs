//! Folds a day into each tool's and each user's part of it.
//!
//! Invariant: like the day's [`Fold`](crate::fold::Fold), it does not know in which order, slices or readers its events came. It
//! takes 48 bytes a session, 77 a user, times the slack of a hash table, and 16 for each tool that a user used, times the slack
//! of a list.

use bson::oid::ObjectId;
use common::day::Day;
use common::documents::activity_log::Action;
use rustc_hash::FxHashMap;

use super::histogram::Histogram;
use crate::fold::exact::Mean;
use crate::fold::ids::table_bytes;
use crate::fold::shards::{self, Found, Shards};
use crate::fold::tools::{self, Known, Tools};
use crate::fold::visits::Visit;
use crate::fold::{Activity, HealthCheck, ToolUse, since};

/// Two capital letters of ASCII; any other text is [`OTHER_COUNTRY`], so that no sender can make a day's list long.
pub type Country = [u8; 2];

/// Written `other`.
pub const OTHER_COUNTRY: Country = *b"??";

/// One reader's part of a day: what is not counted by user or session.
#[derive(Debug)]
pub struct Book {
    day_start: i64,
    /// Every tool that was used or checked.
    pub tools: Tools<Tool>,
}

/// The users and sessions of a day, as far as its rows need them.
pub type People = Shards<User, Option<ObjectId>>;

/// One tool's part of the day.
#[derive(Clone, Debug, Default)]
pub struct Tool {
    /// Its uses.
    pub uses: u64,
    /// Of them, those that failed.
    pub failures: u64,
    /// Of the uses that have one.
    pub response_time: Mean,
    /// The same, by size.
    pub response_times: Histogram,
    /// Sum of the durations, milliseconds.
    pub duration: u128,
    /// Shortest and longest; none without uses.
    pub durations: Option<(u64, u64)>,
    /// Uses by country, of those that have one.
    pub countries: FxHashMap<Country, u64>,
    /// Latest use, milliseconds since 1970; none without uses.
    pub last_use: Option<i64>,
    /// Health checks.
    pub checks: u64,
    /// Of them, those that were good.
    pub healthy_checks: u64,
    /// Latest check, milliseconds since 1970.
    pub last_check: Option<i64>,
}

/// One user's part of the day.
#[derive(Clone, Debug, Default)]
pub struct User {
    /// Uses by tool, in the order of the tools' ids.
    pub uses: Vec<(ObjectId, u32)>,
    /// Of the uses, those that failed.
    pub failures: u32,
    /// Page views.
    pub page_views: u32,
    /// Latest use, milliseconds since 1970.
    pub last_use: Option<i64>,
    /// Latest use or activity, milliseconds since 1970.
    pub last_activity: Option<i64>,
}

/// What a tool use adds besides what the day's fold takes of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Details {
    /// Its `timestamp`, milliseconds since 1970.
    pub at: i64,
    /// Milliseconds.
    pub duration: u64,
    /// Where it came from, if that is known.
    pub country: Option<Country>,
}

/// What an event adds to a user.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Uses of one tool; none for an activity.
    uses: Option<(ObjectId, u32)>,
    failures: u32,
    page_views: u32,
    last_use: Option<i64>,
    last_activity: i64,
}

impl Book {
    /// Nothing of `day` yet.
    pub fn new(day: Day, known: &Known) -> Self {
        Self { day_start: day.start().timestamp_millis(), tools: Tools::new(known) }
    }

    /// Adds a tool use.
    pub fn add_tool_use(&mut self, tool_use: &ToolUse, details: &Details, found: &mut Found<User, Option<ObjectId>>) {
        let tool = self.tools.entry(tool_use.tool);
        tool.uses += 1;
        tool.failures += u64::from(!tool_use.success);
        if let Some(response_time) = tool_use.response_time {
            tool.response_time.add(response_time);
            tool.response_times.add(response_time);
        }
        tool.duration += u128::from(details.duration);
        tool.durations = joined(tool.durations, Some((details.duration, details.duration)));
        tool.last_use = tool.last_use.max(Some(details.at));
        if let Some(country) = details.country {
            *tool.countries.entry(country).or_default() += 1;
        }
        let start = since(self.day_start, tool_use.start);
        let end = since(self.day_start, tool_use.end).max(start);
        let change = Change {
            uses: Some((self.tools.counted_as(tool_use.tool), 1)),
            failures: u32::from(!tool_use.success),
            page_views: 0,
            last_use: Some(details.at),
            last_activity: details.at,
        };
        let visit = Visit { start, end, page_views: 0, tool_uses: 1 };
        found.add(tool_use.session, tool_use.user, visit, tool_use.user.map(|user| (user, change)));
    }

    /// Adds an activity. Whoever failed to log in is not known to be who he says.
    pub fn add_activity(&mut self, activity: &Activity, found: &mut Found<User, Option<ObjectId>>) {
        if activity.action == Action::LoginFailed {
            return;
        }
        let page_views = u8::from(activity.action == Action::PageView);
        let at = since(self.day_start, activity.at);
        let change = Change {
            uses: None,
            failures: 0,
            page_views: page_views.into(),
            last_use: None,
            last_activity: activity.at,
        };
        let visit = Visit { start: at, end: at, page_views, tool_uses: 0 };
        found.add(activity.session, activity.user, visit, activity.user.map(|user| (user, change)));
    }

    /// Adds a health check of this time.
    pub fn add_health_check(&mut self, check: &HealthCheck, at: i64) {
        let tool = self.tools.entry(check.tool);
        tool.checks += 1;
        tool.healthy_checks += u64::from(check.healthy);
        tool.last_check = tool.last_check.max(Some(at));
    }
}

impl tools::Tool for Tool {
    fn merge(&mut self, other: Self) {
        self.uses += other.uses;
        self.failures += other.failures;
        self.response_time.merge(other.response_time);
        self.response_times.merge(&other.response_times);
        self.duration += other.duration;
        self.durations = joined(self.durations, other.durations);
        for (country, uses) in other.countries {
            *self.countries.entry(country).or_default() += uses;
        }
        self.last_use = self.last_use.max(other.last_use);
        self.checks += other.checks;
        self.healthy_checks += other.healthy_checks;
        self.last_check = self.last_check.max(other.last_check);
    }

    fn heap_bytes(&self) -> usize {
        let countries = table_bytes(self.countries.capacity(), size_of::<(Country, u64)>());
        self.response_times.heap_bytes() + countries
    }
}

impl shards::User for User {
    type Change = Change;

    fn apply(&mut self, change: Change) {
        if let Some((tool, uses)) = change.uses {
            match self.uses.binary_search_by_key(&tool, |(id, _)| *id) {
                Ok(at) => self.uses[at].1 += uses,
                Err(at) => self.uses.insert(at, (tool, uses)),
            }
        }
        self.failures += change.failures;
        self.page_views += change.page_views;
        self.last_use = self.last_use.max(change.last_use);
        self.last_activity = self.last_activity.max(Some(change.last_activity));
    }

    fn heap_bytes(&self) -> usize {
        self.uses.capacity() * size_of::<(ObjectId, u32)>()
    }
}

impl shards::Change for Change {
    fn take(&mut self, other: Self) -> Option<Self> {
        match (&mut self.uses, other.uses) {
            (Some((tool, uses)), Some((other, more))) if *tool == other => *uses += more,
            (Some(_), Some(_)) => return Some(other),
            (uses, more) => *uses = uses.or(more),
        }
        self.failures += other.failures;
        self.page_views += other.page_views;
        self.last_use = self.last_use.max(other.last_use);
        self.last_activity = self.last_activity.max(other.last_activity);
        None
    }
}

fn joined(one: Option<(u64, u64)>, other: Option<(u64, u64)>) -> Option<(u64, u64)> {
    one.into_iter().chain(other).reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::shards::SHARDS;

    #[test]
    fn a_session_takes_no_more_than_promised() {
        let day = Day::parse("2024-01-15").unwrap();
        let start = day.start().timestamp_millis();
        let (mut book, mut found) = (Book::new(day, &Known::default()), Found::default());
        let people = People::new(0..SHARDS, usize::MAX);
        let sessions = 100_000_u64;
        for number in 0..sessions {
            let mut id = [0; 12];
            id[4..].copy_from_slice(&number.to_be_bytes());
            let session = Some(ObjectId::from_bytes(id));
            // To the last millisecond of the day.
            let at = start + i64::try_from(number).unwrap() * 864;
            book.add_activity(&Activity { user: None, session, action: Action::PageView, at }, &mut found);
        }
        found.end_slice();
        people.take(&mut found);
        // And the slack of a list that grows in chunks.
        assert!(people.bytes() < 48 * (usize::try_from(sessions).unwrap() + SHARDS * 256), "{}", people.bytes());
    }
}
