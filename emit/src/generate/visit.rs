//! One person's visit: pages, uses of tools, and the pauses between them.

use std::borrow::Cow;
use std::cmp::Ordering;

use bson::oid::ObjectId;
use common::demo;
use common::event::{Action, Activity, Data, ToolUsage};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::people::{self, Origin, People};
use super::tooling::Tooling;

/// Visits that look at one page and leave.
const SHARE_OF_BOUNCES: f64 = 0.24;
/// Visits by programs, which use tools and see no pages.
const SHARE_OF_PROGRAMS: f64 = 0.08;
/// How many steps beyond the second a visit has on average.
const FURTHER_STEPS: f64 = 5.0;
/// A pause that makes one session two visits.
const SHARE_OF_LONG_PAUSES: f64 = 0.01;
const MINUTE_MS: i64 = 60 * 1_000;

const PAGES: [&str; 7] = ["/", "/tools", "/pricing", "/docs", "/account", "/changelog", "/blog/regex-tips"];

/// A visit under way. Ordered by the time of its next step.
#[derive(Debug)]
pub(super) struct Visit {
    next_at: i64,
    next: Step,
    steps_left: u64,
    user: Option<u32>,
    session_id: ObjectId,
    origin: Origin,
    is_program: bool,
    is_first_step: bool,
    /// The tool that is being looked at and used.
    tool: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    SignUp,
    LoginFailed,
    Login,
    Page,
    ToolPage,
    Use,
    Logout,
}

impl Visit {
    /// A visit of `most_steps` at most, and at least one.
    pub(super) fn begin(
        chance: &mut ChaCha8Rng,
        people: &People,
        tooling: &Tooling,
        start: i64,
        most_steps: u64,
    ) -> Self {
        let mut session_id = [0; 12];
        chance.fill(&mut session_id);
        // The first four bytes of an ObjectId are the second it was made in.
        session_id[..4].copy_from_slice(&((start / 1_000) as u32).to_be_bytes());
        let is_program = chance.random_bool(SHARE_OF_PROGRAMS);
        let user = if is_program { Some(people.user(chance)) } else { people.visitor(chance) };
        let origin = Origin::of(user, chance);
        let is_bounce = !is_program && chance.random_bool(SHARE_OF_BOUNCES);
        let further = -FURTHER_STEPS * (1.0 - chance.random::<f64>()).ln();
        let steps = if is_bounce { 1 } else { 2 + further as u64 };
        let next = match user {
            Some(_) if is_program => Step::Use,
            Some(_) if !is_bounce && chance.random_bool(0.25) => Step::Login,
            Some(_) if !is_bounce && chance.random_bool(0.03) => Step::LoginFailed,
            _ if chance.random_bool(0.6) => Step::ToolPage,
            _ => Step::Page,
        };
        Self {
            next_at: start,
            next,
            steps_left: steps.clamp(1, most_steps.max(1)),
            user,
            session_id: ObjectId::from_bytes(session_id),
            origin: if is_program { origin.as_program(chance) } else { origin },
            is_program,
            is_first_step: true,
            tool: tooling.wanted(chance),
        }
    }

    /// When its next step begins.
    pub(super) const fn next_at(&self) -> i64 {
        self.next_at
    }

    /// How many steps are still to come: as many events.
    pub(super) const fn steps_left(&self) -> u64 {
        self.steps_left
    }

    /// Takes the next step: the source, the time and the data of its event. Everything comes before `end`.
    pub(super) fn step(
        &mut self,
        chance: &mut ChaCha8Rng,
        people: &People,
        tooling: &Tooling,
        end: i64,
    ) -> (Cow<'static, str>, i64, Data<'static>) {
        let step = self.next;
        let (source, time, data) = match step {
            Step::Use => self.use_tool(chance, tooling, end),
            _ => self.activity(chance, people, tooling, step),
        };
        self.is_first_step = false;
        self.steps_left -= 1;
        self.next = self.after(chance, tooling, step);
        let pause = pause(chance, self.is_program);
        // What would come too late is brought forward, so that every planned step finds its place.
        let latest = time + (end - 1 - time) / (self.steps_left as i64 + 1);
        self.next_at = (time + pause).min(latest);
        (source, time, data)
    }

    fn use_tool(
        &self,
        chance: &mut ChaCha8Rng,
        tooling: &Tooling,
        end: i64,
    ) -> (Cow<'static, str>, i64, Data<'static>) {
        let (usage, performance) = tooling.usage(chance, self.tool, self.next_at, end);
        let tool = tooling.tool(self.tool);
        let time = usage.end_time.millis();
        let data = ToolUsage {
            user_id: self.user.map(demo::user_id),
            tool_id: tool.id,
            session_id: self.session_id,
            usage,
            context: Some(self.origin.context(None)),
            performance,
            metadata: chance.random_bool(0.9).then(|| tooling.metadata(chance, self.tool)),
        };
        (Cow::Owned(format!("/tools/{}", tool.slug)), time, Data::ToolUsage(Box::new(data)))
    }

    fn activity(
        &mut self,
        chance: &mut ChaCha8Rng,
        people: &People,
        tooling: &Tooling,
        step: Step,
    ) -> (Cow<'static, str>, i64, Data<'static>) {
        let (action, path) = match step {
            Step::SignUp => (Action::Signup, Some(Cow::Borrowed("/signup"))),
            Step::Login => (Action::Login, Some(Cow::Borrowed("/login"))),
            Step::LoginFailed => (Action::LoginFailed, Some(Cow::Borrowed("/login"))),
            Step::Logout => (Action::Logout, None),
            Step::ToolPage => (Action::PageView, Some(Cow::Owned(format!("/tools/{}", tooling.tool(self.tool).slug)))),
            Step::Page | Step::Use => {
                (Action::PageView, Some(Cow::Borrowed(PAGES[chance.random_range(0..PAGES.len())])))
            }
        };
        if step == Step::SignUp {
            self.user = Some(people.user(chance));
        }
        let referrer = if self.is_first_step { people::referrer(chance) } else { None };
        let data = Activity {
            // Who fails to log in is not known to be that user.
            user_id: if step == Step::LoginFailed { None } else { self.user.map(demo::user_id) },
            session_id: Some(self.session_id),
            action,
            path,
            context: Some(self.origin.context(referrer)),
        };
        (Cow::Borrowed("/web"), self.next_at, Data::Activity(Box::new(data)))
    }

    fn after(&mut self, chance: &mut ChaCha8Rng, tooling: &Tooling, step: Step) -> Step {
        if self.is_program {
            return Step::Use;
        }
        if self.steps_left == 1 && self.user.is_some() && chance.random_bool(0.1) {
            return Step::Logout;
        }
        let roll: f64 = chance.random();
        match step {
            Step::LoginFailed if roll < 0.2 => Step::LoginFailed,
            Step::LoginFailed => Step::Login,
            Step::ToolPage if roll < 0.85 => Step::Use,
            Step::Use if roll < 0.65 => Step::Use,
            _ if self.user.is_none() && roll > 0.97 => Step::SignUp,
            _ if roll > 0.87 => Step::Page,
            _ => {
                self.tool = tooling.wanted(chance);
                Step::ToolPage
            }
        }
    }
}

/// Milliseconds between two steps: mostly half a minute, sometimes lunch.
fn pause(chance: &mut ChaCha8Rng, is_program: bool) -> i64 {
    if chance.random_bool(SHARE_OF_LONG_PAUSES) {
        return chance.random_range(31..120) * MINUTE_MS;
    }
    let usual = if is_program { 2_000.0 } else { 28_000.0 };
    (-usual * (1.0 - chance.random::<f64>()).ln()) as i64 + 200
}

impl Ord for Visit {
    fn cmp(&self, other: &Self) -> Ordering {
        // Sessions differ, so the order, and with it every generated byte, is always the same.
        self.next_at.cmp(&other.next_at).then_with(|| self.session_id.cmp(&other.session_id))
    }
}

impl PartialOrd for Visit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Visit {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Visit {}
