//! How fast events are taken, as a whole, of one tool, of one source and of one user. Each limit can change while the worker
//! runs. Plain code without I/O.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use common::event::{Data, Event, Invalid, Reason, Timestamp};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::metrics;

/// An event that reached Kafka longer ago than this was held up, not sent too fast: after an outage of ingest a whole backlog
/// comes at once, and no sender is at fault.
const FRESH: Duration = Duration::from_secs(60);

/// Most tools, sources or users whose rates one limit remembers, each with some 50 bytes. A further one is not limited
/// while all of these are active: a sender with ever new names would otherwise exhaust the memory.
pub const MOST_KEYS: usize = 100_000;

/// How often a full table is searched for keys that are quiet again.
const SEARCH: Duration = Duration::from_secs(1);

/// The limits now in force; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Events of all kinds that the worker takes in a second.
    pub events_per_second: Option<NonZeroU32>,
    /// Tool uses and health checks of one tool that the worker takes in a minute.
    pub tool_events_per_minute: Option<NonZeroU32>,
    /// Events of one `source` that the worker takes in a minute.
    pub source_events_per_minute: Option<NonZeroU32>,
    /// Events of one user that the worker takes in a minute.
    pub user_events_per_minute: Option<NonZeroU32>,
}

/// The limiters of one worker.
#[derive(Default)]
pub struct Throttle {
    rates: Rates,
    overall: Option<DefaultDirectRateLimiter>,
    /// The next message may be read: a poll that found none leaves this for the next one.
    may_read: bool,
    tools: Option<Keyed>,
    sources: Option<Keyed>,
    users: Option<Keyed>,
}

/// A limit for each key.
struct Keyed {
    limit: NonZeroU32,
    limiter: DefaultKeyedRateLimiter<u64>,
    /// Keys are remembered as hashes, so that each takes the same memory. The state is random: no sender can choose a key
    /// whose hash is another's.
    hasher: RandomState,
    searched: Cell<Instant>,
}

impl Keyed {
    fn new(limit: NonZeroU32) -> Self {
        Self {
            limit,
            limiter: RateLimiter::keyed(Quota::per_minute(limit)),
            hasher: RandomState::new(),
            searched: Cell::new(Instant::now()),
        }
    }

    fn has_room(&self, key: &[u8]) -> bool {
        if self.limiter.len() >= MOST_KEYS {
            if self.searched.get().elapsed() < SEARCH {
                return true;
            }
            self.searched.set(Instant::now());
            self.limiter.retain_recent();
            if self.limiter.len() >= MOST_KEYS {
                return true;
            }
        }
        self.limiter.check_key(&self.hasher.hash_one(key)).is_ok()
    }

    fn check(&self, key: &[u8], field: &'static str, what: &str) -> Result<(), Box<Invalid>> {
        if self.has_room(key) {
            return Ok(());
        }
        let problem =
            format!("the {what} sent more than the {} events a minute that are accepted of one {what}", self.limit);
        Err(Invalid::at(field, Reason::RateLimited, problem))
    }
}

impl Throttle {
    /// Puts other limits in force; the same ones go on undisturbed.
    pub fn set(&mut self, rates: Rates) {
        if rates.events_per_second != self.rates.events_per_second {
            // A burst of a tenth of a second smooths, and is still a batch at high rates.
            let burst = |rate: NonZeroU32| NonZeroU32::new(rate.get() / 10).unwrap_or(NonZeroU32::MIN);
            self.overall = rates
                .events_per_second
                .map(|rate| RateLimiter::direct(Quota::per_second(rate).allow_burst(burst(rate))));
            self.may_read = false;
        }
        for (keyed, limit) in [
            (&mut self.tools, rates.tool_events_per_minute),
            (&mut self.sources, rates.source_events_per_minute),
            (&mut self.users, rates.user_events_per_minute),
        ] {
            if keyed.as_ref().map(|keyed| keyed.limit) != limit {
                *keyed = limit.map(Keyed::new);
            }
        }
        self.rates = rates;
    }

    /// Whether the rate of all events is limited.
    pub const fn is_limited(&self) -> bool {
        self.overall.is_some()
    }

    /// How long the next message must wait; none when it may be read now.
    pub fn wait(&mut self) -> Option<Duration> {
        let overall = self.overall.as_ref()?;
        if self.may_read {
            return None;
        }
        let not_until = overall.check().err();
        self.may_read = not_until.is_none();
        Some(not_until?.wait_time_from(DefaultClock::default().now()))
    }

    /// A message was read.
    pub const fn message_read(&mut self) {
        self.may_read = false;
    }

    /// Refuses an event of a tool, source or user that sends more than it may; others are untouched. `arrived` is when the
    /// broker says that the event reached Kafka, which no sender can choose; none when the topic keeps the senders' times.
    ///
    /// # Errors
    /// [`Reason::RateLimited`].
    pub fn check(&self, event: &Event<'_>, arrived: Option<Timestamp>, now: Timestamp) -> Result<(), Box<Invalid>> {
        let age = |arrived: Timestamp| now.millis().saturating_sub(arrived.millis());
        if arrived.is_some_and(|arrived| age(arrived) > FRESH.as_millis() as i64) {
            return Ok(());
        }
        let tool = match &event.data {
            Data::ToolUsage(usage) => Some(&usage.tool_id),
            Data::HealthCheck(check) => Some(&check.tool_id),
            Data::Activity(_) => None,
        };
        if let Some((tools, tool)) = self.tools.as_ref().zip(tool) {
            tools.check(&tool.bytes(), "data.toolId", "tool")?;
        }
        if let Some(sources) = &self.sources {
            sources.check(event.source.as_bytes(), "source", "source")?;
        }
        if let Some((users, user)) = self.users.as_ref().zip(event.user_id()) {
            users.check(&user.bytes(), "data.userId", "user")?;
        }
        Ok(())
    }

    /// Forgets tools, sources and users that have been quiet; governor itself never does.
    pub fn forget_the_quiet(&self) {
        let mut keys = 0;
        for keyed in [&self.tools, &self.sources, &self.users].into_iter().flatten() {
            keyed.limiter.retain_recent();
            keyed.limiter.shrink_to_fit();
            keys += keyed.limiter.len();
        }
        metrics::throttled(keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::oid::ObjectId;
    use common::documents::activity_log::Action;
    use common::event::{Activity, HealthCheck};

    fn check_of(tool: u32, source: &'static str, time: Timestamp) -> Event<'static> {
        let mut id = [7; 12];
        id[..4].copy_from_slice(&tool.to_be_bytes());
        let data = HealthCheck { tool_id: ObjectId::from_bytes(id), healthy: true, response_time: None, message: None };
        Event { id: "1".into(), source: source.into(), time, traceparent: None, data: Data::HealthCheck(data) }
    }

    fn page_view_of(user: u8) -> Event<'static> {
        let data = Activity {
            user_id: Some(ObjectId::from_bytes([user; 12])),
            session_id: None,
            action: Action::Login,
            path: None,
            context: None,
        };
        let time = Timestamp::now();
        Event { id: "1".into(), source: "/t".into(), time, traceparent: None, data: Data::Activity(Box::new(data)) }
    }

    fn accepted(
        throttle: &Throttle,
        events: impl Iterator<Item = Event<'static>>,
        arrived: Option<Timestamp>,
    ) -> usize {
        events.filter(|event| throttle.check(event, arrived, Timestamp::now()).is_ok()).count()
    }

    fn with(rates: Rates) -> Throttle {
        let mut throttle = Throttle::default();
        throttle.set(rates);
        throttle
    }

    #[test]
    fn a_runaway_tool_is_stopped_and_no_other() {
        let mut throttle = with(Rates { tool_events_per_minute: NonZeroU32::new(10), ..Rates::default() });
        let now = Timestamp::now();
        let sent = || (0..100).map(|_| check_of(1, "/t", now));
        assert!((10..=11).contains(&accepted(&throttle, sent(), Some(now))));
        assert!(throttle.check(&check_of(2, "/t", now), Some(now), now).is_ok());
        throttle.set(Rates::default());
        assert_eq!(accepted(&throttle, sent(), Some(now)), 100);
    }

    #[test]
    fn the_brokers_time_tells_a_backlog_and_the_senders_time_does_not() {
        let throttle = with(Rates { tool_events_per_minute: NonZeroU32::new(10), ..Rates::default() });
        let now = Timestamp::now();
        let old = Timestamp::from_millis(now.millis() - 61_000);
        let backdated = || (0..100).map(|_| check_of(1, "/t", old));
        assert_eq!(accepted(&throttle, backdated(), Some(old)), 100, "these were held up");
        assert!((10..=11).contains(&accepted(&throttle, backdated(), Some(now))), "these are backdated");
        assert_eq!(accepted(&throttle, backdated(), None), 0, "nobody but the sender says that these are old");
    }

    #[test]
    fn a_source_that_rotates_tools_is_stopped() {
        let throttle = with(Rates {
            tool_events_per_minute: NonZeroU32::new(10),
            source_events_per_minute: NonZeroU32::new(50),
            ..Rates::default()
        });
        let now = Timestamp::now();
        let rotated = (0..1_000).map(|tool| check_of(tool, "/runaway", now));
        assert!((50..=51).contains(&accepted(&throttle, rotated, None)));
        assert!(throttle.check(&check_of(1_001, "/other", now), None, now).is_ok());
    }

    #[test]
    fn activities_of_one_user_are_limited() {
        let throttle = with(Rates { user_events_per_minute: NonZeroU32::new(10), ..Rates::default() });
        assert!((10..=11).contains(&accepted(&throttle, (0..100).map(|_| page_view_of(1)), None)));
        assert_eq!(accepted(&throttle, (2..100).map(page_view_of), None), 98);
    }

    #[test]
    fn ever_new_tools_take_bounded_memory_and_refuse_nobody() {
        let throttle = with(Rates { tool_events_per_minute: NonZeroU32::new(10), ..Rates::default() });
        let now = Timestamp::now();
        let most = MOST_KEYS as u32 + 1_000;
        assert_eq!(accepted(&throttle, (0..most).map(|tool| check_of(tool, "/t", now)), None), most as usize);
        assert!(throttle.tools.is_some_and(|tools| tools.limiter.len() <= MOST_KEYS));
    }

    #[test]
    fn the_overall_rate_makes_the_next_message_wait_and_an_empty_poll_costs_nothing() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.wait(), None);
        throttle.set(Rates { events_per_second: NonZeroU32::new(10), ..Rates::default() });
        assert_eq!((throttle.wait(), throttle.wait()), (None, None), "the first poll found no message");
        throttle.message_read();
        assert!(throttle.wait().is_some_and(|wait| wait <= Duration::from_millis(100)));
    }
}
