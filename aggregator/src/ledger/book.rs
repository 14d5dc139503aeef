//! Folds a day into each tool's and each user's part of it.
//!
//! Invariant: like the day's [`Fold`](crate::fold::Fold), a [`Book`] does not know in which order or slices its events came, and
//! holds the users and sessions of some shards. It takes 48 bytes a session, 77 a user, times the slack of a hash table, and
//! 16 for each tool that a user used, times the slack of a list.

use std::hint::black_box;
use std::ops::Range;

use bson::oid::ObjectId;
use common::documents::activity_log::Action;
use rustc_hash::FxHashMap;

use super::histogram::Histogram;
use crate::fold::exact::Mean;
use crate::fold::sessions::Sessions;
use crate::fold::visits::Visit;
use crate::fold::{Activity, Event, FARTHEST, HealthCheck, ToolUse, merge_maps, shard_of, table_bytes};

/// Two capital letters of ASCII; any other text is [`OTHER_COUNTRY`], so that no sender can make a day's list long.
pub type Country = [u8; 2];

/// Written `other`.
pub const OTHER_COUNTRY: Country = *b"??";

/// Part of a day, or all of it.
#[derive(Debug)]
pub struct Book {
    /// Every tool that was used or checked.
    pub tools: FxHashMap<ObjectId, Tool>,
    held: Range<usize>,
    users: Vec<Users>,
    sessions: Sessions<Option<ObjectId>>,
}

/// The active users of a shard.
#[derive(Debug, Default)]
struct Users {
    table: FxHashMap<ObjectId, User>,
    /// Bytes of their lists of tools.
    heap: usize,
}

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

impl Book {
    /// Nothing yet, for a pass that takes only the users and sessions of `held`.
    pub fn of_shards(held: Range<usize>) -> Self {
        Self {
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
        let of_users = self.users.iter().map(|users| table_bytes(&users.table) + users.heap);
        of_users.sum::<usize>() + self.sessions.bytes()
    }

    /// Every active user of its shards.
    pub fn users(&self) -> impl Iterator<Item = (&ObjectId, &User)> {
        self.users.iter().flat_map(|users| &users.table)
    }

    /// Looks at what adding the event will look at, so that it is in the cache by then.
    pub fn look_up(&self, event: &Event) {
        let (user, session) = event.user_and_session();
        if let Some(session) = session {
            self.sessions.look_up(&session);
        }
        if let Some(user) = user {
            let index = shard_of(&user).checked_sub(self.held.start);
            let users = index.and_then(|index| self.users.get(index));
            black_box(users.is_some_and(|users| users.table.contains_key(&user)));
        }
    }

    /// Adds a tool use.
    pub fn add_tool_use(&mut self, tool_use: &ToolUse, details: Details) {
        let tool = self.tools.entry(tool_use.tool).or_default();
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
        let start = tool_use.start.clamp(-FARTHEST, FARTHEST);
        let end = tool_use.end.clamp(start, FARTHEST);
        self.add_visit(tool_use.session, tool_use.user, Visit { start, end, page_views: 0, tool_uses: 1 });
        self.change_user(tool_use.user, details.at, |user| {
            user.add_uses(tool_use.tool, 1);
            user.failures += u32::from(!tool_use.success);
            user.last_use = user.last_use.max(Some(details.at));
        });
    }

    /// Adds an activity. Whoever failed to log in is not known to be who he says.
    pub fn add_activity(&mut self, activity: &Activity) {
        if activity.action == Action::LoginFailed {
            return;
        }
        let is_page_view = activity.action == Action::PageView;
        let at = activity.at.clamp(-FARTHEST, FARTHEST);
        let visit = Visit { start: at, end: at, page_views: is_page_view.into(), tool_uses: 0 };
        self.add_visit(activity.session, activity.user, visit);
        self.change_user(activity.user, activity.at, |user| user.page_views += u32::from(is_page_view));
    }

    /// A slice of the day is over, and another one follows. Nothing changes but where its sessions are.
    pub fn end_slice(&mut self) {
        self.sessions.end_slice();
    }

    /// Adds a health check of this time.
    pub fn add_health_check(&mut self, check: &HealthCheck, at: i64) {
        let tool = self.tools.entry(check.tool).or_default();
        tool.checks += 1;
        tool.healthy_checks += u64::from(check.healthy);
        tool.last_check = tool.last_check.max(Some(at));
    }

    /// Adds everything that another part of the same day holds, as far as both hold the same shards.
    #[must_use]
    pub fn merged(mut self, mut other: Self) -> Self {
        let end = self.held.end.min(other.held.end);
        self.keep(end);
        other.keep(end);
        merge_maps(&mut self.tools, other.tools, Tool::merge);
        for (users, other) in self.users.iter_mut().zip(other.users) {
            users.merge(other);
        }
        self.sessions.merge(other.sessions);
        self
    }

    /// Adds the visits of its sessions to those of their users: how many, and their length together in milliseconds.
    pub fn add_visits_to(self, by_user: &mut FxHashMap<ObjectId, (u64, u64)>) {
        self.sessions.for_each(|user, session| {
            let Some(user) = user else { return };
            let sums = by_user.entry(user).or_default();
            for visit in session.visits() {
                sums.0 += 1;
                sums.1 = sums.1.saturating_add(visit.duration());
            }
        });
    }

    fn add_visit(&mut self, session: Option<ObjectId>, user: Option<ObjectId>, event: Visit) {
        if let Some(session) = session {
            self.sessions.add(session, user, event);
        }
    }

    fn change_user(&mut self, user: Option<ObjectId>, at: i64, change: impl FnOnce(&mut User)) {
        let Some(id) = user else { return };
        let index = shard_of(&id).checked_sub(self.held.start);
        let Some(users) = index.and_then(|index| self.users.get_mut(index)) else { return };
        let user = users.table.entry(id).or_default();
        users.heap -= user.heap_bytes();
        user.last_activity = user.last_activity.max(Some(at));
        change(user);
        users.heap += user.heap_bytes();
    }
}

impl Users {
    fn merge(&mut self, mut other: Self) {
        if other.table.len() > self.table.len() {
            std::mem::swap(self, &mut other);
        }
        self.heap += other.heap;
        let heap = &mut self.heap;
        merge_maps(&mut self.table, other.table, |held, other| {
            *heap -= held.heap_bytes() + other.heap_bytes();
            held.merge(other);
            *heap += held.heap_bytes();
        });
    }
}

impl Tool {
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
}

impl User {
    fn heap_bytes(&self) -> usize {
        self.uses.capacity() * size_of::<(ObjectId, u32)>()
    }

    fn add_uses(&mut self, tool: ObjectId, uses: u32) {
        match self.uses.binary_search_by_key(&tool, |(id, _)| *id) {
            Ok(at) => self.uses[at].1 += uses,
            Err(at) => self.uses.insert(at, (tool, uses)),
        }
    }

    fn merge(&mut self, other: Self) {
        for (tool, uses) in other.uses {
            self.add_uses(tool, uses);
        }
        self.failures += other.failures;
        self.page_views += other.page_views;
        self.last_use = self.last_use.max(other.last_use);
        self.last_activity = self.last_activity.max(other.last_activity);
    }
}

fn joined(one: Option<(u64, u64)>, other: Option<(u64, u64)>) -> Option<(u64, u64)> {
    one.into_iter().chain(other).reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
}
