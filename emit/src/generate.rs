//! The events of a believable DevToolkit: people visit at day more than at night, look at pages, use popular tools more
//! than rare ones, wait, fail, come back; every tool is checked at intervals.
//!
//! ```text
//! curve (how many events when) -> visit (one person's steps) -> tooling (one use of a tool) -> events in order of time
//! ```
//!
//! Everything follows from [`Options`]: the same ones make the same events, byte for byte. Only the visits under way are
//! held, never the events.

mod curve;
mod people;
mod popularity;
mod tooling;
mod visit;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use common::day::Day;
use common::event::{Data, Event, HealthCheck, Timestamp};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use xxhash_rust::xxh3::xxh3_64;

use curve::Curve;
use people::People;
use tooling::Tooling;
use visit::{Happening, Visit};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// One event in so many is a health check.
const EVENTS_PER_HEALTH_CHECK: u64 = 25;

/// What to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many events, in all.
    pub events: u64,
    /// Over how many days, at least 1.
    pub days: u32,
    /// The last of them.
    pub until: Day,
    /// Another seed makes other events.
    pub seed: u64,
    /// How many users there are, at least 1: the first ones of [`common::demo`].
    pub users: u32,
    /// How many tools there are, at least 1: the first ones of [`common::demo`].
    pub tools: u32,
}

/// What every visit takes place in.
#[derive(Debug)]
struct World {
    people: People,
    tooling: Tooling,
    /// No event is at or after it, in milliseconds since 1970.
    end: i64,
}

/// Makes events, in order of their time.
#[derive(Debug)]
pub struct Generator {
    chance: ChaCha8Rng,
    world: World,
    curve: Curve,
    /// The visits under way, by the time of their next event.
    under_way: BinaryHeap<Reverse<Visit>>,
    /// Opens every id, and tells runs with other options apart.
    run: String,
    visit_events: u64,
    /// Of `visit_events`, those that belong to visits already begun.
    planned: u64,
    health_checks: u64,
    health_checks_made: u64,
    made: u64,
}

impl Generator {
    /// Events of whole days.
    pub fn new(options: &Options) -> Self {
        let first = options.until.minus(u64::from(options.days.max(1)) - 1);
        let curve = Curve::of_days(first, options.until);
        Self::along(options, curve, format!("{options:?}"))
    }

    /// Events of one day that begins at `start`, all hours alike: what [`Options::events`] a day look like live.
    pub fn from_instant(options: &Options, start: Timestamp) -> Self {
        let curve = Curve::flat(start.millis(), start.millis() + DAY_MS);
        Self::along(options, curve, format!("{options:?} from {start}"))
    }

    fn along(options: &Options, curve: Curve, run: String) -> Self {
        let health_checks = options.events / EVENTS_PER_HEALTH_CHECK;
        let mut chance = ChaCha8Rng::seed_from_u64(options.seed);
        Self {
            world: World {
                people: People::new(options.users),
                tooling: Tooling::new(options.tools, &curve, &mut chance),
                end: curve.end(),
            },
            curve,
            under_way: BinaryHeap::new(),
            run: format!("{:016x}", xxh3_64(run.as_bytes())),
            visit_events: options.events - health_checks,
            planned: 0,
            health_checks,
            health_checks_made: 0,
            made: 0,
            chance,
        }
    }

    /// Begins the visits of the next stretch of the curve; none is left when false.
    fn begin_visits(&mut self) -> bool {
        let Some(stretch) = self.curve.next_stretch() else { return false };
        let due = (self.visit_events as f64 * stretch.share_until_its_end).round() as u64;
        while self.planned < due.min(self.visit_events) {
            let start = self.chance.random_range(stretch.start..stretch.end);
            let left = self.visit_events - self.planned;
            let visit = Visit::begin(&mut self.chance, &self.world, start, left);
            self.planned += visit.events_left();
            self.under_way.push(Reverse(visit));
        }
        true
    }

    fn next_health_check(&self) -> Option<i64> {
        let (start, length) = (self.curve.start(), self.world.end - self.curve.start());
        let done = i128::from(self.health_checks_made);
        // In the middle of its share of the time; in i128, since milliseconds times events may pass 63 bits.
        let offset = i128::from(length) * (2 * done + 1) / (2 * i128::from(self.health_checks)).max(1);
        (self.health_checks_made < self.health_checks).then_some(start + offset as i64)
    }

    fn health_check(&mut self, at: i64) -> Event<'static> {
        let tool = (self.health_checks_made % u64::from(self.world.tooling.count())) as u32;
        self.health_checks_made += 1;
        let check: HealthCheck<'static> = self.world.tooling.health_check(&mut self.chance, tool, at);
        self.event(Cow::Borrowed("/health-monitor"), at, Data::HealthCheck(check))
    }

    fn event(&mut self, source: Cow<'static, str>, time: i64, data: Data<'static>) -> Event<'static> {
        self.made += 1;
        let id = Cow::Owned(format!("{}-{}", self.run, self.made));
        Event { id, source, time: Timestamp::from_millis(time), traceparent: None, data }
    }
}

impl Iterator for Generator {
    type Item = Event<'static>;

    fn next(&mut self) -> Option<Event<'static>> {
        loop {
            let next_in_visits = self.under_way.peek().map(|Reverse(visit)| visit.next_at());
            // A visit of the next stretch may have an event before the next one of those under way.
            if next_in_visits.is_none_or(|at| at >= self.curve.position()) && self.begin_visits() {
                continue;
            }
            if let Some(at) = self.next_health_check()
                && next_in_visits.is_none_or(|next| at <= next)
            {
                return Some(self.health_check(at));
            }
            let Reverse(visit) = self.under_way.pop()?;
            let (Happening { source, time, data }, rest) = visit.advance(&mut self.chance, &self.world);
            self.under_way.extend(rest.map(Reverse));
            return Some(self.event(source, time, data));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use common::event::{Action, EventType, ToolUsage};
    use proptest::prelude::*;

    use super::*;

    fn options(events: u64, days: u32) -> Options {
        Options { events, days, until: Day::parse("2026-03-15").unwrap(), seed: 7, users: 200, tools: 64 }
    }

    fn uses<'e>(events: &'e [Event<'static>]) -> Vec<&'e ToolUsage<'static>> {
        let uses = events.iter().filter_map(|event| match &event.data {
            Data::ToolUsage(usage) => Some(usage.as_ref()),
            _ => None,
        });
        uses.collect()
    }

    #[test]
    fn the_same_options_make_the_same_bytes_and_others_do_not() {
        let bytes = |options: &Options| Generator::new(options).map(|event| event.to_json() + "\n").collect::<String>();
        let original = options(5_000, 3);
        assert_eq!(bytes(&original), bytes(&original));
        assert_ne!(bytes(&original), bytes(&Options { seed: 8, ..original }));
    }

    #[test]
    fn it_looks_like_a_devtoolkit() {
        let events: Vec<_> = Generator::new(&options(50_000, 14)).collect();
        let uses = uses(&events);
        let share = |count: usize, of: usize| count as f64 / of as f64;

        let mut by_tool: HashMap<_, usize> = HashMap::new();
        uses.iter().for_each(|usage| *by_tool.entry(usage.tool_id).or_default() += 1);
        assert_eq!(by_tool.len(), 64, "every tool is used");
        assert!(by_tool.values().max() > by_tool.values().min().map(|least| least * 20).as_ref(), "{by_tool:?}");

        let failed = share(uses.iter().filter(|usage| !usage.usage.success).count(), uses.len());
        assert!((0.005..0.08).contains(&failed), "{failed}");
        let anonymous = share(uses.iter().filter(|usage| usage.user_id.is_none()).count(), uses.len());
        assert!((0.03..0.4).contains(&anonymous), "{anonymous}");
        for usage in &uses {
            assert_eq!(usage.usage.success, usage.usage.error_message.is_none());
        }

        let at_hour = |hours: std::ops::Range<i64>| {
            events.iter().filter(|event| hours.contains(&(event.time.millis() % DAY_MS / 3_600_000))).count()
        };
        assert!(at_hour(13..17) > 3 * at_hour(2..6));
        let on = |day: &str| events.iter().filter(|event| event.time.to_string().starts_with(day)).count();
        assert!(on("2026-03-11") as f64 > 1.3 * on("2026-03-15") as f64, "a Wednesday and a Sunday");

        let mut actions: HashMap<Action, usize> = HashMap::new();
        for event in &events {
            if let Data::Activity(activity) = &event.data {
                *actions.entry(activity.action).or_default() += 1;
            }
        }
        assert_eq!(actions.len(), Action::ALL.len(), "{actions:?}");
        let checked = events.iter().filter_map(|event| match &event.data {
            Data::HealthCheck(check) => Some(check.tool_id),
            _ => None,
        });
        assert_eq!(checked.collect::<HashSet<_>>().len(), 64, "every tool is checked");
    }

    #[test]
    fn the_order_is_that_of_time() {
        assert!(Generator::new(&options(20_000, 2)).is_sorted_by_key(|event| event.time));
    }

    #[test]
    fn live_events_come_at_an_even_rate() {
        let start = Timestamp::parse("2026-03-15T12:00:00Z").unwrap();
        let options = options(86_400 * 50, 1);
        let mut minutes = [0; 40];
        for event in Generator::from_instant(&options, start) {
            let minute = (event.time.millis() - start.millis()) / 60_000;
            let Some(count) = minutes.get_mut(minute as usize) else { break };
            *count += 1;
        }
        assert!(minutes[10..].iter().all(|count| (2_500..3_500).contains(count)), "{minutes:?}, expected about 3,000");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn exactly_as_many_as_asked_for_all_valid_and_within_the_days(
            events in 0_u64..3_000, days in 1_u32..40, seed: u64, users in 1_u32..500, tools in 1_u32..200,
        ) {
            let options = Options { events, days, seed, users, tools, ..options(0, 1) };
            let (start, end) = (options.until.minus(u64::from(days) - 1).start(), options.until.end());
            let mut ids = HashSet::new();
            let mut count = 0;
            for event in Generator::new(&options) {
                prop_assert!(event.to_valid_json().is_ok(), "{:?}: {}", event.to_valid_json(), event.to_json());
                prop_assert!((start.timestamp_millis()..end.timestamp_millis()).contains(&event.time.millis()), "{}", event.time);
                prop_assert!(ids.insert(event.document_id()));
                if event.event_type() == EventType::ToolUsage {
                    prop_assert!(event.key() != event.id);
                }
                count += 1;
            }
            prop_assert_eq!(count, events);
        }
    }
}
