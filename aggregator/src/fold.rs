//! Folds the events of one day into state from which every number of the day follows.
//!
//! Invariant: a [`Fold`] does not know in which order, slices or folds its events came. Adding and merging are associative
//! and commutative down to the last bit, so a day can be read in parallel, in any cut, and gives one document. The state
//! is proportional to users, sessions and tools, not to events: about 60 bytes a user and 41 a session, times the slack of
//! a hash table.

pub mod exact;
pub mod presence;
pub mod totals;
pub mod visits;

use std::hash::Hash;

use bson::oid::ObjectId;
use common::day::Day;
use common::documents::activity_log::Action;
use common::documents::rollup_day::Inputs;
use rustc_hash::FxHashMap;

use exact::Mean;
use presence::{LINGER, Presence};
use totals::Sums;
use visits::{Session, Visit};

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

/// Part of a day, or all of it.
#[derive(Debug)]
pub struct Fold {
    day_start: i64,
    inputs: Inputs,
    page_views: u64,
    tools: FxHashMap<ObjectId, Tool>,
    users: FxHashMap<ObjectId, User>,
    sessions: FxHashMap<ObjectId, Session>,
}

/// One tool's part of the day.
#[derive(Clone, Debug, Default)]
struct Tool {
    uses: u64,
    failures: u64,
    response_time: Mean,
    checks: u64,
    healthy_checks: u64,
}

/// One user's part of the day.
#[derive(Clone, Debug)]
struct User {
    used_a_tool: bool,
    presence: Presence,
}

impl Fold {
    /// Nothing of `day` yet.
    pub fn new(day: Day) -> Self {
        Self {
            day_start: day.start().timestamp_millis(),
            inputs: Inputs::default(),
            page_views: 0,
            tools: FxHashMap::default(),
            users: FxHashMap::default(),
            sessions: FxHashMap::default(),
        }
    }

    /// Adds a tool use whose `timestamp` is in the day.
    pub fn add_tool_use(&mut self, tool_use: &ToolUse) {
        self.inputs.tool_usage += 1;
        let tool = self.tools.entry(tool_use.tool).or_default();
        tool.uses += 1;
        tool.failures += u64::from(!tool_use.success);
        if let Some(response_time) = tool_use.response_time {
            tool.response_time.add(response_time);
        }
        let start = self.since_midnight(tool_use.start);
        let end = self.since_midnight(tool_use.end).max(start);
        self.add_visit(tool_use.session, Visit { start, end, page_views: 0, tool_uses: 1 });
        self.add_presence(tool_use.user, start, end, true);
    }

    /// Adds an activity whose `timestamp` is in the day.
    pub fn add_activity(&mut self, activity: &Activity) {
        self.inputs.activity += 1;
        let is_page_view = match activity.action {
            // Whoever failed to log in is not known to be who he says.
            Action::LoginFailed => return,
            Action::PageView => true,
            Action::Signup | Action::Login | Action::Logout => false,
        };
        self.page_views += u64::from(is_page_view);
        let at = self.since_midnight(activity.at);
        self.add_visit(activity.session, Visit { start: at, end: at, page_views: is_page_view.into(), tool_uses: 0 });
        self.add_presence(activity.user, at, at, false);
    }

    /// Adds a health check whose `timestamp` is in the day.
    pub fn add_health_check(&mut self, check: &HealthCheck) {
        self.inputs.health_checks += 1;
        let tool = self.tools.entry(check.tool).or_default();
        tool.checks += 1;
        tool.healthy_checks += u64::from(check.healthy);
    }

    /// Counts a document that cannot be read and is left out.
    pub fn add_unreadable(&mut self) {
        self.inputs.unreadable += 1;
    }

    /// Adds everything that another part of the same day holds.
    #[must_use]
    pub fn merged(mut self, mut other: Self) -> Self {
        debug_assert_eq!(self.day_start, other.day_start);
        // The smaller into the larger: fewer moves, and a table filled in another one's order without room to spare
        // degenerates into long probes.
        if other.users.len() + other.sessions.len() > self.users.len() + self.sessions.len() {
            std::mem::swap(&mut self, &mut other);
        }
        self.inputs.tool_usage += other.inputs.tool_usage;
        self.inputs.activity += other.inputs.activity;
        self.inputs.health_checks += other.inputs.health_checks;
        self.inputs.unreadable += other.inputs.unreadable;
        self.page_views += other.page_views;
        merge_maps(&mut self.tools, other.tools, Tool::merge);
        merge_maps(&mut self.users, other.users, User::merge);
        merge_maps(&mut self.sessions, other.sessions, Session::merge);
        self
    }

    /// The distinct users, in no order.
    pub fn active_users(&self) -> impl ExactSizeIterator<Item = ObjectId> + '_ {
        self.users.keys().copied()
    }

    /// Whether this user did anything.
    pub fn is_active(&self, user: &ObjectId) -> bool {
        self.users.contains_key(user)
    }

    /// What the fold says about its day.
    pub fn totals(&self) -> Totals {
        let mut sums = Sums {
            inputs: self.inputs,
            active_users: self.users.len() as u64,
            tool_users: self.users.values().filter(|user| user.used_a_tool).count() as u64,
            peak_users: presence::peak(self.users.values().map(|user| &user.presence)),
            page_views: self.page_views,
            ..Sums::default()
        };
        for (id, tool) in &self.tools {
            if tool.uses > 0 {
                sums.tools_by_use.push((*id, tool.uses));
            }
            sums.failures += tool.failures;
            sums.response_time.merge(tool.response_time);
            sums.checks += tool.checks;
            sums.healthy_checks += tool.healthy_checks;
        }
        for session in self.sessions.values() {
            session.visits().for_each(|visit| sums.visits.add(&visit));
            session.tool_visits().for_each(|visit| sums.tool_visits.add(&visit));
        }
        sums.totals()
    }

    fn since_midnight(&self, millis: i64) -> i64 {
        millis.saturating_sub(self.day_start).clamp(-FARTHEST, FARTHEST)
    }

    fn add_visit(&mut self, session: Option<ObjectId>, event: Visit) {
        let Some(session) = session else { return };
        self.sessions.entry(session).and_modify(|session| session.add(event)).or_insert_with(|| Session::of(event));
    }

    fn add_presence(&mut self, user: Option<ObjectId>, start: i64, end: i64, used_a_tool: bool) {
        let Some(user) = user else { return };
        let end = end + LINGER;
        self.users
            .entry(user)
            .and_modify(|user| {
                user.used_a_tool |= used_a_tool;
                user.presence.add(start, end);
            })
            .or_insert_with(|| User { used_a_tool, presence: Presence::of(start, end) });
    }
}

impl Tool {
    fn merge(&mut self, other: Self) {
        self.uses += other.uses;
        self.failures += other.failures;
        self.response_time.merge(other.response_time);
        self.checks += other.checks;
        self.healthy_checks += other.healthy_checks;
    }
}

impl User {
    fn merge(&mut self, other: Self) {
        self.used_a_tool |= other.used_a_tool;
        self.presence.merge(other.presence);
    }
}

fn merge_maps<K: Hash + Eq, V>(into: &mut FxHashMap<K, V>, from: FxHashMap<K, V>, merge: impl Fn(&mut V, V)) {
    use std::collections::hash_map::Entry;
    into.reserve(from.len());
    for (key, value) in from {
        match into.entry(key) {
            Entry::Occupied(mut held) => merge(held.get_mut(), value),
            Entry::Vacant(free) => {
                free.insert(value);
            }
        }
    }
}
