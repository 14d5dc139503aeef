//! One person's visit: pages, uses of tools, and the pauses between them.

use std::borrow::Cow;
use std::cmp::Ordering;

use bson::oid::ObjectId;
use common::demo;
use common::event::{Action, Activity, Data, ToolUsage};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::World;
use super::people::{self, Origin};

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

/// Something that happens in a visit: an event but for its id.
#[derive(Debug)]
pub(super) struct Happening {
    pub(super) source: Cow<'static, str>,
    pub(super) time: i64,
    pub(super) data: Data<'static>,
}

/// A visit under way. Ordered by the time of its next event.
#[derive(Debug)]
pub(super) struct Visit {
    next: Happening,
    /// Those after `next`.
    steps_left: u64,
    step: Step,
    visitor: Visitor,
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

/// Who visits, and what with.
#[derive(Debug)]
struct Visitor {
    user: Option<u32>,
    session_id: ObjectId,
    origin: Origin,
    is_program: bool,
    referrer: Option<&'static str>,
    /// The tool that is being looked at and used.
    tool: u32,
}

impl Visit {
    /// A visit of `most_steps` at most, and at least one.
    pub(super) fn begin(chance: &mut ChaCha8Rng, world: &World, start: i64, most_steps: u64) -> Self {
        let mut visitor = Visitor::new(chance, world, start);
        let is_bounce = !visitor.is_program && chance.random_bool(SHARE_OF_BOUNCES);
        let further = -FURTHER_STEPS * (1.0 - chance.random::<f64>()).ln();
        let steps = if is_bounce { 1 } else { 2 + further as u64 };
        let step = match visitor.user {
            Some(_) if visitor.is_program => Step::Use,
            Some(_) if !is_bounce && chance.random_bool(0.25) => Step::Login,
            Some(_) if !is_bounce && chance.random_bool(0.03) => Step::LoginFailed,
            _ if chance.random_bool(0.6) => Step::ToolPage,
            _ => Step::Page,
        };
        let next = visitor.take(chance, world, step, start);
        Self { next, steps_left: steps.clamp(1, most_steps.max(1)) - 1, step, visitor }
    }

    /// When its next event happens.
    pub(super) const fn next_at(&self) -> i64 {
        self.next.time
    }

    /// How many events it still has.
    pub(super) const fn events_left(&self) -> u64 {
        self.steps_left + 1
    }

    /// Its next event, and the visit without it, unless that was the last. Everything comes before the end of the world.
    pub(super) fn advance(mut self, chance: &mut ChaCha8Rng, world: &World) -> (Happening, Option<Self>) {
        if self.steps_left == 0 {
            return (self.next, None);
        }
        self.step = self.after(chance, world, self.step);
        let now = self.next.time;
        // What would come too late is brought forward, so that every planned step finds its place.
        let latest = now + (world.end - 1 - now) / (self.steps_left as i64 + 1);
        let at = (now + pause(chance, self.visitor.is_program)).min(latest);
        let next = self.visitor.take(chance, world, self.step, at);
        self.steps_left -= 1;
        (std::mem::replace(&mut self.next, next), Some(self))
    }

    fn after(&mut self, chance: &mut ChaCha8Rng, world: &World, step: Step) -> Step {
        if self.visitor.is_program {
            return Step::Use;
        }
        if self.steps_left == 1 && self.visitor.user.is_some() && chance.random_bool(0.1) {
            return Step::Logout;
        }
        let roll: f64 = chance.random();
        match step {
            Step::LoginFailed if roll < 0.2 => Step::LoginFailed,
            Step::LoginFailed => Step::Login,
            Step::ToolPage if roll < 0.85 => Step::Use,
            Step::Use if roll < 0.65 => Step::Use,
            _ if self.visitor.user.is_none() && roll > 0.97 => Step::SignUp,
            _ if roll > 0.87 => Step::Page,
            _ => {
                self.visitor.tool = world.tooling.wanted(chance);
                Step::ToolPage
            }
        }
    }
}

impl Visitor {
    fn new(chance: &mut ChaCha8Rng, world: &World, start: i64) -> Self {
        let mut session_id = [0; 12];
        chance.fill(&mut session_id);
        // The first four bytes of an ObjectId are the second it was made in.
        session_id[..4].copy_from_slice(&((start / 1_000) as u32).to_be_bytes());
        let is_program = chance.random_bool(SHARE_OF_PROGRAMS);
        let user = if is_program { Some(world.people.user(chance)) } else { world.people.visitor(chance) };
        let origin = Origin::of(user, chance);
        Self {
            user,
            session_id: ObjectId::from_bytes(session_id),
            origin: if is_program { origin.as_program(chance) } else { origin },
            is_program,
            referrer: people::referrer(chance),
            tool: world.tooling.wanted(chance),
        }
    }

    fn take(&mut self, chance: &mut ChaCha8Rng, world: &World, step: Step, at: i64) -> Happening {
        if step == Step::Use { self.use_tool(chance, world, at) } else { self.act(chance, world, step, at) }
    }

    fn use_tool(&self, chance: &mut ChaCha8Rng, world: &World, at: i64) -> Happening {
        let (usage, performance) = world.tooling.usage(chance, self.tool, at, world.end);
        let tool = world.tooling.tool(self.tool);
        let time = usage.end_time.millis();
        let data = ToolUsage {
            user_id: self.user.map(demo::user_id),
            tool_id: tool.id,
            session_id: self.session_id,
            usage,
            context: Some(self.origin.context(None)),
            performance,
            metadata: chance.random_bool(0.9).then(|| world.tooling.metadata(chance, self.tool)),
        };
        Happening { source: format!("/tools/{}", tool.slug).into(), time, data: Data::ToolUsage(Box::new(data)) }
    }

    fn act(&mut self, chance: &mut ChaCha8Rng, world: &World, step: Step, at: i64) -> Happening {
        let (action, path) = match step {
            Step::SignUp => (Action::Signup, Some(Cow::Borrowed("/signup"))),
            Step::Login => (Action::Login, Some(Cow::Borrowed("/login"))),
            Step::LoginFailed => (Action::LoginFailed, Some(Cow::Borrowed("/login"))),
            Step::Logout => (Action::Logout, None),
            Step::ToolPage | Step::Use => {
                (Action::PageView, Some(format!("/tools/{}", world.tooling.tool(self.tool).slug).into()))
            }
            Step::Page => (Action::PageView, Some(Cow::Borrowed(PAGES[chance.random_range(0..PAGES.len())]))),
        };
        if step == Step::SignUp {
            self.user = Some(world.people.user(chance));
        }
        let data = Activity {
            // Who fails to log in is not known to be that user.
            user_id: if step == Step::LoginFailed { None } else { self.user.map(demo::user_id) },
            session_id: Some(self.session_id),
            action,
            path,
            // Only the first page was led to from elsewhere.
            context: Some(self.origin.context(self.referrer.take())),
        };
        Happening { source: Cow::Borrowed("/web"), time: at, data: Data::Activity(Box::new(data)) }
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
        let (own, others) = (&self.visitor.session_id, &other.visitor.session_id);
        self.next.time.cmp(&other.next.time).then_with(|| own.cmp(others))
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
