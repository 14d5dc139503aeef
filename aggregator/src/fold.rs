//! Folds the events of one day into state from which every number of the day follows.
//!
//! Invariant: a [`Fold`] does not know in which order, slices or folds its events came. Adding and merging are associative
//! and commutative down to the last bit, so a day can be read in parallel, in any cut, and gives one document.
//!
//! The state is proportional to users, sessions and tools, not to events: 32 bytes a session; 57 a user, times the slack
//! of a hash table (1.15 to 2.3), and 8 for each time of presence beyond a user's second. Users and sessions are divided
//! into [`SHARDS`] by a hash of their id. Two folds merge shard by shard, so that nothing is ever held twice; and a fold of
//! a day that does not fit can drop its last shards with [`Fold::keep`], for another pass over the events to fill.

pub mod exact;
pub mod presence;
pub mod sessions;
pub mod totals;
pub mod visits;

use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::hint::black_box;
use std::ops::Range;

use bson::oid::ObjectId;
use common::day::Day;
use common::documents::activity_log::Action;
use common::documents::rollup_day::Inputs;
use rustc_hash::FxHashMap;

use exact::Mean;
use presence::{Crowd, LINGER, Presence};
use sessions::Sessions;
use totals::Sums;
use visits::Visit;

pub use totals::Totals;

/// Times further than this from the start of the day are taken as this far, so that no sum of times overflows:
/// 36 million years, milliseconds.
pub const FARTHEST: i64 = 1 << 60;

/// Divisions of users and sessions: so many that one of them is small beside all, so few that empty ones cost nothing.
pub const SHARDS: usize = 64;

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

/// One document of any of the three, as far as the day's numbers need it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// Of `usage_analytics`.
    ToolUse(ToolUse),
    /// Of `activity_logs`.
    Activity(Activity),
    /// Of `health_checks`.
    HealthCheck(HealthCheck),
}

/// Part of a day, or all of it.
#[derive(Debug)]
pub struct Fold {
    day_start: i64,
    inputs: Inputs,
    page_views: u64,
    tools: FxHashMap<ObjectId, Tool>,
    /// Which of all shards it has. Users and sessions of others are passed over.
    held: Range<usize>,
    users: Vec<Users>,
    sessions: Sessions<()>,
}

/// The users of a shard.
#[derive(Debug, Default)]
struct Users {
    table: FxHashMap<ObjectId, User>,
    /// Bytes that they own outside of the table.
    heap: usize,
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
        Self::of_shards(day, 0..SHARDS)
    }

    /// Nothing of `day` yet, for a pass that takes only the users and sessions of `held`.
    pub fn of_shards(day: Day, held: Range<usize>) -> Self {
        Self {
            day_start: day.start().timestamp_millis(),
            inputs: Inputs::default(),
            page_views: 0,
            tools: FxHashMap::default(),
            users: held.clone().map(|_| Users::default()).collect(),
            sessions: Sessions::of_shards(held.clone()),
            held,
        }
    }

    /// The shards whose users and sessions it holds.
    pub fn held(&self) -> Range<usize> {
        self.held.clone()
    }

    /// Drops the shards from `end` on, and their memory.
    pub fn keep(&mut self, end: usize) {
        self.held.end = end.clamp(self.held.start, self.held.end);
        self.users.truncate(self.held.len());
        self.sessions.keep(end);
    }

    /// Bytes of its users and sessions.
    pub fn bytes(&self) -> usize {
        self.users.iter().map(Users::bytes).sum::<usize>() + self.sessions.bytes()
    }

    /// Looks at what adding the event will look at, so that it is in the cache by then.
    pub fn look_up(&self, event: &Event) {
        let (user, session) = event.user_and_session();
        if let Some(session) = session {
            self.sessions.look_up(&session);
        }
        if let Some(user) = user {
            black_box(self.user(&user).is_some_and(|user| user.used_a_tool));
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

    /// A slice of the day is over, and another one follows. Nothing changes but where its sessions are.
    pub fn end_slice(&mut self) {
        self.sessions.end_slice();
    }

    /// Adds a health check whose `timestamp` is in the day.
    pub fn add_health_check(&mut self, check: &HealthCheck) {
        self.inputs.health_checks += 1;
        let tool = self.tools.entry(check.tool).or_default();
        tool.checks += 1;
        tool.healthy_checks += u64::from(check.healthy);
    }

    /// Counts documents that cannot be read and are left out.
    pub fn add_unreadable(&mut self, documents: u64) {
        self.inputs.unreadable += i64::try_from(documents).unwrap_or(i64::MAX);
    }

    /// Adds everything that another part of the same day holds, as far as both hold the same shards.
    #[must_use]
    pub fn merged(mut self, mut other: Self) -> Self {
        debug_assert_eq!(self.day_start, other.day_start);
        debug_assert_eq!(self.held.start, other.held.start);
        let end = self.held.end.min(other.held.end);
        self.keep(end);
        other.keep(end);
        self.inputs.tool_usage += other.inputs.tool_usage;
        self.inputs.activity += other.inputs.activity;
        self.inputs.health_checks += other.inputs.health_checks;
        self.inputs.unreadable += other.inputs.unreadable;
        self.page_views += other.page_views;
        merge_maps(&mut self.tools, other.tools, Tool::merge);
        for (users, other) in self.users.iter_mut().zip(other.users) {
            users.merge(other);
        }
        self.sessions.merge(other.sessions);
        self
    }

    /// The distinct users of its shards, in no order.
    pub fn active_users(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.users.iter().flat_map(|users| users.table.keys().copied())
    }

    /// How many these are.
    pub fn active_user_count(&self) -> usize {
        self.users.iter().map(|users| users.table.len()).sum()
    }

    /// Whether this user, of one of its shards, did anything.
    pub fn is_active(&self, user: &ObjectId) -> bool {
        self.user(user).is_some()
    }

    fn user(&self, id: &ObjectId) -> Option<&User> {
        let index = shard_of(id).checked_sub(self.held.start)?;
        self.users.get(index)?.table.get(id)
    }

    /// What the fold says about its day; it must hold all shards.
    pub fn totals(self) -> Totals {
        let mut passes = Passes::default();
        passes.add(self);
        passes.totals()
    }

    fn since_midnight(&self, millis: i64) -> i64 {
        millis.saturating_sub(self.day_start).clamp(-FARTHEST, FARTHEST)
    }

    fn add_visit(&mut self, session: Option<ObjectId>, event: Visit) {
        if let Some(session) = session {
            self.sessions.add(session, (), event);
        }
    }

    fn add_presence(&mut self, user: Option<ObjectId>, start: i64, end: i64, used_a_tool: bool) {
        let Some(id) = user else { return };
        let index = shard_of(&id).checked_sub(self.held.start);
        let Some(users) = index.and_then(|index| self.users.get_mut(index)) else { return };
        let end = end + LINGER;
        match users.table.entry(id) {
            Entry::Occupied(mut user) => {
                let user = user.get_mut();
                user.used_a_tool |= used_a_tool;
                users.heap -= user.presence.heap_bytes();
                user.presence.add(start, end);
                users.heap += user.presence.heap_bytes();
            }
            Entry::Vacant(free) => drop(free.insert(User { used_a_tool, presence: Presence::of(start, end) })),
        }
    }
}

impl Event {
    /// Whose it is, and of which session.
    pub fn user_and_session(&self) -> (Option<ObjectId>, Option<ObjectId>) {
        match self {
            Self::ToolUse(tool_use) => (tool_use.user, tool_use.session),
            Self::Activity(activity) => (activity.user, activity.session),
            Self::HealthCheck(_) => (None, None),
        }
    }
}

/// Of bits that neither the seconds in an ObjectId nor the tables' own hash decide about.
pub(crate) fn shard_of(id: &ObjectId) -> usize {
    const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;
    let [_, _, _, _, tail @ ..] = id.bytes();
    (u64::from_be_bytes(tail).wrapping_mul(GOLDEN_RATIO) >> 32) as usize % SHARDS
}

/// The sums of a day over one or more passes, each of which held other shards.
#[derive(Debug, Default)]
pub struct Passes {
    sums: Sums,
    crowd: Crowd,
}

impl Passes {
    /// Adds a pass.
    pub fn add(&mut self, fold: Fold) {
        // Every pass sees all events; what is not counted by user or session is taken once.
        if fold.held.start == 0 {
            self.add_events(&fold);
        }
        let Fold { users, sessions, .. } = fold;
        let (sums, crowd) = (&mut self.sums, &mut self.crowd);
        let (visits, tool_visits) = (&mut sums.visits, &mut sums.tool_visits);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sessions.for_each(|(), session| {
                    session.visits().for_each(|visit| visits.add(&visit));
                    session.tool_visits().for_each(|visit| tool_visits.add(&visit));
                });
            });
            for users in users {
                sums.active_users += users.table.len() as u64;
                for user in users.table.values() {
                    sums.tool_users += u64::from(user.used_a_tool);
                    crowd.add(&user.presence);
                }
            }
        });
    }

    /// What all passes together say about the day.
    pub fn totals(mut self) -> Totals {
        self.sums.peak_users = self.crowd.peak();
        self.sums.totals()
    }

    fn add_events(&mut self, fold: &Fold) {
        let sums = &mut self.sums;
        sums.inputs = fold.inputs;
        sums.page_views = fold.page_views;
        for (id, tool) in &fold.tools {
            if tool.uses > 0 {
                sums.tools_by_use.push((*id, tool.uses));
            }
            sums.failures += tool.failures;
            sums.response_time.merge(tool.response_time);
            sums.checks += tool.checks;
            sums.healthy_checks += tool.healthy_checks;
        }
    }
}

impl Users {
    fn merge(&mut self, mut other: Self) {
        // The smaller into the larger: fewer moves, and a table filled in another one's order without room to spare
        // degenerates into long probes.
        if other.table.len() > self.table.len() {
            std::mem::swap(self, &mut other);
        }
        self.heap += other.heap;
        let heap = &mut self.heap;
        merge_maps(&mut self.table, other.table, |held, other| {
            *heap -= held.presence.heap_bytes() + other.presence.heap_bytes();
            held.merge(other);
            *heap += held.presence.heap_bytes();
        });
    }

    fn bytes(&self) -> usize {
        table_bytes(&self.table) + self.heap
    }
}

/// A table has 8 places, with a byte of its own each, for 7 entries.
pub(crate) fn table_bytes<K, V>(table: &FxHashMap<K, V>) -> usize {
    table.capacity() * 8 / 7 * (size_of::<(K, V)>() + 1)
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

/// Adds the entries of one map to another; `merge` joins what both have.
pub(crate) fn merge_maps<K: Hash + Eq, V>(
    into: &mut FxHashMap<K, V>,
    from: FxHashMap<K, V>,
    mut merge: impl FnMut(&mut V, V),
) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_as_small_as_promised() {
        assert_eq!(size_of::<(ObjectId, User)>() + 1, 57);
    }

    #[test]
    fn what_is_counted_as_held_on_the_heap_comes_back() {
        let day = Day::parse("2024-01-15").unwrap();
        let id = |number: u8| Some(ObjectId::from_bytes([number; 12]));
        let folded = |events: std::ops::Range<i64>| {
            let mut fold = Fold::new(day);
            for number in events {
                let at = day.start().timestamp_millis() + number * 31 * 60_000;
                fold.add_activity(&Activity { user: id((number % 3) as u8), session: None, action: Action::Login, at });
            }
            fold
        };
        let mut merged = folded(0..20).merged(folded(10..40));
        let users = merged.users.iter().flat_map(|users| users.table.values());
        let held: usize = users.map(|user| user.presence.heap_bytes()).sum();
        assert_eq!(merged.users.iter().map(|users| users.heap).sum::<usize>(), held);
        assert!(held > 0);
        merged.keep(0);
        assert_eq!(merged.bytes(), 0);
    }
}
