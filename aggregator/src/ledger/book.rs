//! Folds a day into each tool's and each user's part of it.
//!
//! Invariant: like the day's [`Fold`](crate::fold::Fold), a [`Book`] does not know in which order or slices its events came.
//! It takes about 100 bytes a user, 16 for each tool that the user used, and 57 a session, times the slack of a hash table.

use bson::oid::ObjectId;
use common::documents::activity_log::Action;
use rustc_hash::FxHashMap;

use super::histogram::Histogram;
use crate::fold::exact::Mean;
use crate::fold::visits::{Session, Visit};
use crate::fold::{Activity, FARTHEST, ToolUse, merge_maps};

/// Two capital letters of ASCII; any other text is [`OTHER_COUNTRY`], so that no sender can make a day's list long.
pub type Country = [u8; 2];

/// Written `other`.
pub const OTHER_COUNTRY: Country = *b"??";

/// Part of a day, or all of it.
#[derive(Debug, Default)]
pub struct Book {
    /// Every tool that was used or checked.
    pub tools: FxHashMap<ObjectId, Tool>,
    /// Every active user.
    pub users: FxHashMap<ObjectId, User>,
    sessions: FxHashMap<ObjectId, UserSession>,
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

/// A session and whose it is. Where the events of several users name the same session, it is the one with the smallest
/// id: any rule will do that does not depend on the order of the events.
#[derive(Clone, Debug)]
struct UserSession {
    session: Session,
    user: Option<ObjectId>,
}

/// What a tool use adds besides what the day's fold takes of it.
#[derive(Clone, Copy, Debug)]
pub struct Details {
    /// Its `timestamp`, milliseconds since 1970.
    pub at: i64,
    /// Milliseconds.
    pub duration: u64,
    /// Where it came from, if that is known.
    pub country: Option<Country>,
}

impl Book {
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
        if let Some(user) = self.user(tool_use.user, details.at) {
            user.add_uses(tool_use.tool, 1);
            user.failures += u32::from(!tool_use.success);
            user.last_use = user.last_use.max(Some(details.at));
        }
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
        if let Some(user) = self.user(activity.user, activity.at) {
            user.page_views += u32::from(is_page_view);
        }
    }

    /// Adds a health check.
    pub fn add_health_check(&mut self, tool: ObjectId, healthy: bool, at: i64) {
        let tool = self.tools.entry(tool).or_default();
        tool.checks += 1;
        tool.healthy_checks += u64::from(healthy);
        tool.last_check = tool.last_check.max(Some(at));
    }

    /// Adds everything that another part of the same day holds.
    #[must_use]
    pub fn merged(mut self, other: Self) -> Self {
        merge_maps(&mut self.tools, other.tools, Tool::merge);
        merge_maps(&mut self.users, other.users, User::merge);
        merge_maps(&mut self.sessions, other.sessions, UserSession::merge);
        self
    }

    /// By user, the number of visits and their length together in milliseconds.
    pub fn visits_by_user(&self) -> FxHashMap<ObjectId, (u64, u64)> {
        let mut by_user: FxHashMap<ObjectId, (u64, u64)> = FxHashMap::default();
        for UserSession { session, user } in self.sessions.values() {
            let Some(user) = user else { continue };
            let sums = by_user.entry(*user).or_default();
            for visit in session.visits() {
                sums.0 += 1;
                sums.1 = sums.1.saturating_add(visit.duration());
            }
        }
        by_user
    }

    fn add_visit(&mut self, session: Option<ObjectId>, user: Option<ObjectId>, event: Visit) {
        let Some(session) = session else { return };
        self.sessions
            .entry(session)
            .and_modify(|known| {
                known.session.add(event);
                known.user = smallest(known.user, user);
            })
            .or_insert_with(|| UserSession { session: Session::of(event), user });
    }

    fn user(&mut self, user: Option<ObjectId>, at: i64) -> Option<&mut User> {
        let user = self.users.entry(user?).or_default();
        user.last_activity = user.last_activity.max(Some(at));
        Some(user)
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

impl UserSession {
    fn merge(&mut self, other: Self) {
        self.session.merge(other.session);
        self.user = smallest(self.user, other.user);
    }
}

fn smallest(one: Option<ObjectId>, other: Option<ObjectId>) -> Option<ObjectId> {
    one.into_iter().chain(other).min()
}

fn joined(one: Option<(u64, u64)>, other: Option<(u64, u64)>) -> Option<(u64, u64)> {
    one.into_iter().chain(other).reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
}
