//! How fast events are taken over, as a whole and of one tool. Both limits can change while the worker runs.

use std::num::NonZeroU32;
use std::time::Duration;

use bson::oid::ObjectId;
use common::event::{Data, Event, Invalid, Reason, Timestamp};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::metrics;

/// An event that is older than this when it arrives was held up, not sent too fast: after an outage a whole backlog comes at
/// once, and that is no tool's fault.
const FRESH: Duration = Duration::from_secs(60);

/// The limits now in force; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Events of all kinds that the worker takes in a second.
    pub events_per_second: Option<NonZeroU32>,
    /// Events that one tool may send in a minute, for each worker.
    pub tool_events_per_minute: Option<NonZeroU32>,
}

/// The limiters of one worker.
#[derive(Default)]
pub struct Throttle {
    rates: Rates,
    overall: Option<DefaultDirectRateLimiter>,
    /// The next message may be taken: a look that found no message did not use it up.
    is_next_permitted: bool,
    by_tool: Option<DefaultKeyedRateLimiter<ObjectId>>,
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
        }
        if rates.tool_events_per_minute != self.rates.tool_events_per_minute {
            self.by_tool = rates.tool_events_per_minute.map(|rate| RateLimiter::keyed(Quota::per_minute(rate)));
        }
        self.rates = rates;
    }

    /// Whether the rate of all events is limited.
    pub const fn is_limited(&self) -> bool {
        self.overall.is_some()
    }

    /// How long the next message must wait; none when it may be taken now.
    pub fn wait(&mut self) -> Option<Duration> {
        if self.is_next_permitted {
            return None;
        }
        let Err(not_until) = self.overall.as_ref()?.check() else {
            self.is_next_permitted = true;
            return None;
        };
        Some(not_until.wait_time_from(DefaultClock::default().now()))
    }

    /// A message was taken.
    pub const fn message_taken(&mut self) {
        self.is_next_permitted = false;
    }

    /// Refuses an event of a tool that sends more than it may; other tools are untouched.
    ///
    /// # Errors
    /// [`Reason::RateLimited`].
    pub fn check(&self, event: &Event<'_>, now: Timestamp) -> Result<(), Box<Invalid>> {
        let Some(by_tool) = &self.by_tool else { return Ok(()) };
        let Data::ToolUsage(usage) = &event.data else { return Ok(()) };
        let age = now.millis().saturating_sub(event.time.millis());
        if age > FRESH.as_millis() as i64 || by_tool.check_key(&usage.tool_id).is_ok() {
            return Ok(());
        }
        let limit = self.rates.tool_events_per_minute.map_or(0, NonZeroU32::get);
        let problem = format!("the tool sent more than the {limit} events a minute that are accepted of one tool");
        Err(Invalid::at("data.toolId", Reason::RateLimited, problem))
    }

    /// Forgets tools that have been quiet; governor itself never does.
    pub fn forget_quiet_tools(&self) {
        if let Some(by_tool) = &self.by_tool {
            by_tool.retain_recent();
            by_tool.shrink_to_fit();
        }
        metrics::throttled_tools(self.by_tool.as_ref().map_or(0, RateLimiter::len));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::event::{ToolUsage, Usage};

    fn event(tool: u8, time: Timestamp) -> Event<'static> {
        let usage = Usage {
            start_time: time,
            end_time: time,
            duration: 0,
            input_size: 0,
            output_size: 0,
            success: true,
            error_message: None,
        };
        let [tool_id, session_id] = [tool, 9].map(|byte| ObjectId::from_bytes([byte; 12]));
        let data =
            ToolUsage { user_id: None, tool_id, session_id, usage, context: None, performance: None, metadata: None };
        Event { id: "1".into(), source: "/t".into(), time, traceparent: None, data: Data::ToolUsage(Box::new(data)) }
    }

    #[test]
    fn a_runaway_tool_is_stopped_and_no_other() {
        let mut throttle = Throttle::default();
        throttle.set(Rates { tool_events_per_minute: NonZeroU32::new(10), ..Rates::default() });
        let now = Timestamp::now();
        let accepted = (0..100).filter(|_| throttle.check(&event(1, now), now).is_ok()).count();
        assert!((10..=11).contains(&accepted), "{accepted}");
        assert!(throttle.check(&event(2, now), now).is_ok());
        let held_up = Timestamp::from_millis(now.millis() - 61_000);
        assert!(throttle.check(&event(1, held_up), now).is_ok(), "a backlog is no runaway tool");
        throttle.set(Rates::default());
        assert!(throttle.check(&event(1, now), now).is_ok());
    }

    #[test]
    fn the_overall_rate_makes_the_next_event_wait() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.wait(), None);
        throttle.set(Rates { events_per_second: NonZeroU32::new(10), ..Rates::default() });
        for empty_look in 0..5 {
            assert_eq!(throttle.wait(), None, "look {empty_look} found no message, so no message was taken");
        }
        throttle.message_taken();
        assert!(throttle.wait().is_some_and(|wait| wait <= Duration::from_millis(100)));
    }
}
