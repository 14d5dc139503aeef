//! Folds the events of one day into state from which every number of the day follows.
//!
//! Invariant: what is folded does not know in which order, slices or readers its events came. Adding and merging are
//! associative and commutative down to the last bit, so a day can be read in parallel, in any cut, and gives one document.
//!
//! The state is proportional to users, sessions and tools, not to events: 32 bytes a session; 57 a user, times the slack
//! of a hash table (1.15 to 2.3), and 8 for each time of presence beyond a user's second. Each reader has a [`Fold`] of what
//! is not counted by user or session; users and sessions are in [`shards`], which all readers share. Of tools that nobody
//! knows, [`tools`] bounds the number.

pub mod exact;
pub mod ids;
pub mod presence;
pub mod sessions;
pub mod shards;
pub mod tools;
pub mod totals;
pub mod visits;

use std::thread;

use bson::oid::ObjectId;
use common::day::Day;
use common::documents::activity_log::Action;
use common::documents::rollup_day::Inputs;

use exact::Mean;
use presence::{Crowd, LINGER, Presence, Stay};
use shards::{Found, Shards};
use tools::{Known, Tools};
use totals::Sums;
use visits::Visit;

pub use totals::Totals;

/// Times further than this from the start of the day are taken as this far, so that no sum of times overflows:
/// 36 million years, milliseconds.
pub const FARTHEST: i64 = 1 << 60;

/// One document of `usage_analytics`, as far as the day's numbers need it. Times are milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ToolUse {
    /// Absent without an account.
    pub user: Option<ObjectId>,
    /// What was used.
    pub tool: ObjectId,
    /// Absent: belongs to no visit.
    pub session: Option<ObjectId>,
    /// May lie before midnight.
    pub start: i64,
    /// An end before the start is taken as the start.
    pub end: i64,
    /// Or it counts as failed.
    pub success: bool,
    /// Milliseconds; must be one that [`Mean::takes`].
    pub response_time: Option<f64>,
}

/// One document of `activity_logs`, as far as the day's numbers need it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activity {
    /// Absent while nobody is signed in.
    pub user: Option<ObjectId>,
    /// Absent: belongs to no visit.
    pub session: Option<ObjectId>,
    /// What was done.
    pub action: Action,
    /// When, milliseconds since 1970.
    pub at: i64,
}

/// One document of `health_checks`, as far as the day's numbers need it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HealthCheck {
    /// What was probed.
    pub tool: ObjectId,
    /// The result.
    pub healthy: bool,
}

/// One reader's part of a day: what is not counted by user or session.
#[derive(Clone, Debug)]
pub struct Fold {
    day_start: i64,
    inputs: Inputs,
    page_views: u64,
    healthy_checks: u64,
    tools: Tools<Tool>,
}

/// One tool's uses of the day.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tool {
    /// How many.
    pub uses: u64,
    /// Of them, those that failed.
    pub failures: u64,
    /// Of the uses that have one.
    pub response_time: Mean,
}

/// One user's part of the day.
#[derive(Clone, Debug, Default)]
pub struct User {
    used_a_tool: bool,
    presence: Presence,
}

/// What an event adds to a user.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    used_a_tool: bool,
    stay: Stay,
}

/// The users and sessions of a day, as far as its document needs them.
pub type People = Shards<User, ()>;

impl Fold {
    /// Nothing of `day` yet.
    pub fn new(day: Day, known: &Known) -> Self {
        let day_start = day.start().timestamp_millis();
        Self { day_start, inputs: Inputs::default(), page_views: 0, healthy_checks: 0, tools: Tools::new(known) }
    }

    /// Takes in what another reader has.
    pub fn merge(&mut self, other: Self) {
        self.inputs.tool_usage += other.inputs.tool_usage;
        self.inputs.activity += other.inputs.activity;
        self.inputs.health_checks += other.inputs.health_checks;
        self.page_views += other.page_views;
        self.healthy_checks += other.healthy_checks;
        self.tools.merge(other.tools);
    }

    /// About the bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.tools.bytes()
    }

    /// Adds a tool use.
    #[inline]
    pub fn add_tool_use(&mut self, tool_use: &ToolUse, found: &mut Found<User, ()>) {
        self.inputs.tool_usage += 1;
        let tool = self.tools.entry(tool_use.tool);
        tool.uses += 1;
        tool.failures += u64::from(!tool_use.success);
        if let Some(response_time) = tool_use.response_time {
            tool.response_time.add(response_time);
        }
        let start = since(self.day_start, tool_use.start);
        let end = since(self.day_start, tool_use.end).max(start);
        let change = Change { used_a_tool: true, stay: Stay { start, end: end + LINGER } };
        let visit = Visit { start, end, page_views: 0, tool_uses: 1 };
        found.add(tool_use.session, (), visit, tool_use.user.map(|user| (user, change)));
    }

    /// Adds an activity.
    #[inline]
    pub fn add_activity(&mut self, activity: &Activity, found: &mut Found<User, ()>) {
        self.inputs.activity += 1;
        let is_page_view = match activity.action {
            // Whoever failed to log in is not known to be who he says.
            Action::LoginFailed => return,
            Action::PageView => true,
            Action::Signup | Action::Login | Action::Logout => false,
        };
        self.page_views += u64::from(is_page_view);
        let at = since(self.day_start, activity.at);
        let change = Change { used_a_tool: false, stay: Stay { start: at, end: at + LINGER } };
        let visit = Visit { start: at, end: at, page_views: is_page_view.into(), tool_uses: 0 };
        found.add(activity.session, (), visit, activity.user.map(|user| (user, change)));
    }

    /// Adds a health check.
    #[inline]
    pub fn add_health_check(&mut self, check: &HealthCheck) {
        self.inputs.health_checks += 1;
        self.healthy_checks += u64::from(check.healthy);
    }
}

/// Milliseconds from the start of the day; nearly always few enough for 32 bits, which is what makes sessions and times of
/// presence small.
pub fn since(day_start: i64, millis: i64) -> i64 {
    millis.saturating_sub(day_start).clamp(-FARTHEST, FARTHEST)
}

/// The sums of a day over one or more passes, each of which held other shards.
#[derive(Debug, Default)]
pub struct Passes {
    sums: Sums,
    crowd: Crowd,
}

impl Passes {
    /// Adds what is not counted by user or session. Every pass sees all events, so of one of them alone.
    pub fn add_events(&mut self, fold: Fold, unreadable: u64) {
        let sums = &mut self.sums;
        sums.inputs = Inputs { unreadable: i64::try_from(unreadable).unwrap_or(i64::MAX), ..fold.inputs };
        sums.page_views = fold.page_views;
        sums.checks = sums.inputs.health_checks.unsigned_abs();
        sums.healthy_checks = fold.healthy_checks;
        sums.add_tools(&fold.tools);
    }

    /// Adds the users and sessions of a pass, with so many threads. Takes the sessions out.
    pub fn add_people(&mut self, people: &People, threads: usize) {
        thread::scope(|scope| {
            let threads = threads.max(1);
            let parts: Vec<_> = (0..threads)
                .map(|first| {
                    scope.spawn(move || {
                        let mut part = Self::default();
                        people.held().skip(first).step_by(threads).for_each(|shard| part.add_shard(people, shard));
                        part
                    })
                })
                .collect();
            for part in parts {
                match part.join() {
                    Ok(part) => self.merge_people(part),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
    }

    /// What all passes together say about the day.
    pub fn totals(mut self) -> Totals {
        self.sums.peak_users = self.crowd.peak();
        self.sums.totals()
    }

    fn add_shard(&mut self, people: &People, number: usize) {
        let Self { sums, crowd } = self;
        let sessions = people.with(number, |shard| {
            sums.active_users += shard.users.len() as u64;
            for user in shard.users.values() {
                sums.tool_users += u64::from(user.used_a_tool);
                crowd.add(&user.presence);
            }
            std::mem::take(&mut shard.sessions)
        });
        sessions.unwrap_or_default().for_each(|(), session| {
            session.visits().for_each(|visit| sums.visits.add(&visit));
            session.tool_visits().for_each(|visit| sums.tool_visits.add(&visit));
        });
    }

    fn merge_people(&mut self, other: Self) {
        self.sums.active_users += other.sums.active_users;
        self.sums.tool_users += other.sums.tool_users;
        self.sums.visits.merge(other.sums.visits);
        self.sums.tool_visits.merge(other.sums.tool_visits);
        self.crowd.merge(other.crowd);
    }
}

impl tools::Tool for Tool {
    fn merge(&mut self, other: Self) {
        self.uses += other.uses;
        self.failures += other.failures;
        self.response_time.merge(other.response_time);
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

impl shards::User for User {
    type Change = Change;

    fn apply(&mut self, change: Change) {
        self.used_a_tool |= change.used_a_tool;
        self.presence.add(change.stay);
    }

    fn heap_bytes(&self) -> usize {
        self.presence.heap_bytes()
    }
}

impl shards::Change for Change {
    fn take(&mut self, other: Self) -> Option<Self> {
        match self.stay.joined(other.stay) {
            Some(stay) => {
                *self = Self { used_a_tool: self.used_a_tool | other.used_a_tool, stay };
                None
            }
            None => Some(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;

    #[test]
    fn a_user_is_as_small_as_promised() {
        assert_eq!(size_of::<(ObjectId, User)>() + 1, 57);
    }
}
