//! The last hour, in slices of ten seconds. Pure: events in, numbers out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use aggregator::fold::exact::Mean;
use aggregator::ledger::histogram::Histogram;
use bson::{DateTime, oid::ObjectId};
use serde::Serialize;

use crate::figures::percentile;
use crate::plain;

/// Milliseconds of a slice.
pub const SLICE: i64 = 10_000;
/// Slices of an hour.
const SLICES: i64 = 360;
/// Slices of a minute.
pub const OF_MINUTE: i64 = 6;
/// Tools that are named.
const TOP: usize = 10;

/// An event, as far as the live page needs it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event {
    /// Milliseconds.
    pub at: i64,
    /// Who; none without an account, and of a failed sign-in, which anybody can cause.
    pub user: Option<ObjectId>,
    /// None: an activity.
    pub used: Option<Use>,
}

/// A tool use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Use {
    /// Which.
    pub tool: ObjectId,
    /// Whether it went well.
    pub success: bool,
    /// Milliseconds.
    pub response_time: Option<f64>,
}

#[derive(Debug, Default)]
struct Slice {
    events: i64,
    newest: i64,
    users: HashSet<ObjectId>,
    tools: HashMap<ObjectId, Uses>,
    response_times: Histogram,
    response_time: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Uses {
    all: i64,
    failed: i64,
}

/// The number of the slice that a time is in.
pub fn slice_of(millis: i64) -> i64 {
    millis.div_euclid(SLICE)
}

/// The slices of the hour that ends now.
pub fn hour(now: i64) -> Range<i64> {
    let last = slice_of(now);
    last - SLICES + 1..last + 1
}

/// The slices of the last hour that have events.
#[derive(Debug, Default)]
pub struct Window(BTreeMap<i64, Slice>);

impl Window {
    /// Takes what was read of these slices for what was known of them, and forgets everything that is over an hour old.
    pub fn put(&mut self, slices: &Range<i64>, read: Self, now: i64) {
        let hour = hour(now);
        self.0.retain(|slice, _| hour.contains(slice) && !slices.contains(slice));
        self.0.extend(read.0);
    }

    /// Counts an event.
    pub fn add(&mut self, event: Event) {
        let slice = self.0.entry(slice_of(event.at)).or_default();
        slice.events += 1;
        slice.newest = slice.newest.max(event.at);
        slice.users.extend(event.user);
        let Some(used) = event.used else { return };
        let uses = slice.tools.entry(used.tool).or_default();
        uses.all += 1;
        uses.failed += i64::from(!used.success);
        if let Some(time) = used.response_time.filter(|time| Mean::takes(*time)) {
            slice.response_times.add(time);
            slice.response_time += time;
        }
    }

    /// The numbers at this time.
    pub fn numbers(&self, now: i64) -> Numbers {
        let hour = hour(now);
        Numbers {
            newest_event: self.0.range(hour.clone()).next_back().map(|(_, slice)| DateTime::from_millis(slice.newest)),
            last_5_minutes: self.last(5, now),
            last_60_minutes: self.last(60, now),
            minutes: self.minutes(now),
        }
    }

    fn last(&self, minutes: i64, now: i64) -> Figures {
        let end = slice_of(now) + 1;
        let begin = end - minutes * OF_MINUTE;
        let mut users: HashSet<ObjectId> = HashSet::new();
        let mut tools: HashMap<ObjectId, Uses> = HashMap::new();
        let mut times = Histogram::default();
        let (mut events, mut time) = (0, 0.0);
        for slice in self.0.range(begin..end).map(|(_, slice)| slice) {
            events += slice.events;
            users.extend(slice.users.iter().copied());
            times.merge(&slice.response_times);
            time += slice.response_time;
            for (tool, uses) in &slice.tools {
                let sum = tools.entry(*tool).or_default();
                sum.all += uses.all;
                sum.failed += uses.failed;
            }
        }
        let (uses, failures) =
            tools.values().fold((0, 0), |(all, failed), tool| (all + tool.all, failed + tool.failed));
        // The last slice has just begun.
        let seconds = (now - begin * SLICE).max(1) as f64 / 1000.0;
        let buckets = || times.buckets().map(|(bound, count)| (bound, i64::try_from(count).unwrap_or(i64::MAX)));
        let timed: i64 = buckets().map(|(_, count)| count).sum();
        let percentile = |percent| percentile(buckets().collect::<Vec<_>>().into_iter(), percent);
        let mut top: Vec<(ObjectId, Uses)> = tools.into_iter().collect();
        top.sort_by_key(|(tool, uses)| (std::cmp::Reverse(uses.all), *tool));
        top.truncate(TOP);
        Figures {
            active_users: users.len() as i64,
            events,
            events_per_second: events as f64 / seconds,
            uses,
            failures,
            error_ratio: (uses > 0).then(|| failures as f64 / uses as f64),
            response_time_mean: (timed > 0).then(|| time / timed as f64),
            response_time_p50: percentile(50),
            response_time_p95: percentile(95),
            response_time_p99: percentile(99),
            top_tools: top
                .into_iter()
                .map(|(id, uses)| TopTool { id, usage: uses.all, failures: uses.failed })
                .collect(),
        }
    }

    /// The minutes of the hour that are over, each with its events.
    fn minutes(&self, now: i64) -> Vec<Minute> {
        let end = slice_of(now).div_euclid(OF_MINUTE);
        let minute = |minute: i64| {
            let slices = self.0.range(minute * OF_MINUTE..(minute + 1) * OF_MINUTE);
            Minute {
                start: DateTime::from_millis(minute * OF_MINUTE * SLICE),
                events: slices.map(|(_, slice)| slice.events).sum(),
            }
        };
        (end - 59..end).map(minute).collect()
    }
}

/// What the live page shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Numbers {
    /// The time of the latest event of the hour; null where there is none.
    #[serde(serialize_with = "plain::time_or_null")]
    pub newest_event: Option<DateTime>,
    /// Up to now.
    pub last_5_minutes: Figures,
    /// Up to now.
    pub last_60_minutes: Figures,
    /// The minutes of the hour that are over.
    pub minutes: Vec<Minute>,
}

/// The numbers of some minutes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Distinct users.
    pub active_users: i64,
    /// Tool uses and activities.
    pub events: i64,
    /// The mean.
    pub events_per_second: f64,
    /// Tool uses.
    pub uses: i64,
    /// Of them, those that failed.
    pub failures: i64,
    /// Failures divided by uses; null without uses.
    pub error_ratio: Option<f64>,
    /// Milliseconds; null without response times.
    pub response_time_mean: Option<f64>,
    /// At most 1/16 too high, as the others are.
    pub response_time_p50: Option<f64>,
    /// 95 of 100 uses answered within it.
    pub response_time_p95: Option<f64>,
    /// 99 of 100 uses answered within it.
    pub response_time_p99: Option<f64>,
    /// The most used, the most used first.
    pub top_tools: Vec<TopTool>,
}

/// A tool's uses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TopTool {
    /// Which.
    #[serde(serialize_with = "plain::id")]
    pub id: ObjectId,
    /// Uses.
    pub usage: i64,
    /// Of them, those that failed.
    pub failures: i64,
}

/// A minute's events.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Minute {
    /// Its beginning.
    #[serde(serialize_with = "plain::time")]
    pub start: DateTime,
    /// Tool uses and activities.
    pub events: i64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u8) -> ObjectId {
        ObjectId::from_bytes([number; 12])
    }

    fn event() -> impl Strategy<Value = Event> {
        let used = (0..5_u8, any::<bool>(), prop::option::of(0.0..1e5_f64))
            .prop_map(|(tool, success, response_time)| Use { tool: id(tool), success, response_time });
        (0..3 * 3_600_000_i64, prop::option::of(0..9_u8), prop::option::of(used)).prop_map(|(at, user, used)| Event {
            at,
            user: user.map(id),
            used,
        })
    }

    proptest! {
        #[test]
        fn the_numbers_are_those_of_a_recount(
            events in prop::collection::vec(event(), 0..300),
            now in 3_600_000..3 * 3_600_000_i64,
            minutes in prop::sample::select(vec![5_i64, 60]),
        ) {
            let mut window = Window::default();
            events.iter().for_each(|event| window.add(*event));
            let numbers = window.numbers(now);
            let shown = if minutes == 5 { numbers.last_5_minutes } else { numbers.last_60_minutes };
            let end = (now / SLICE + 1) * SLICE;
            let meant: Vec<_> = events.iter().filter(|event| (end - minutes * 60_000..end).contains(&event.at)).collect();
            let uses: Vec<_> = meant.iter().filter_map(|event| event.used).collect();
            prop_assert_eq!(shown.events, meant.len() as i64);
            prop_assert_eq!(shown.active_users, meant.iter().filter_map(|event| event.user).collect::<HashSet<_>>().len() as i64);
            prop_assert_eq!(shown.uses, uses.len() as i64);
            prop_assert_eq!(shown.failures, uses.iter().filter(|used| !used.success).count() as i64);
            prop_assert_eq!(shown.top_tools.iter().map(|tool| tool.usage).sum::<i64>(), shown.uses);
            prop_assert_eq!(shown.response_time_p99.is_some(), uses.iter().any(|used| used.response_time.is_some()));
        }

        #[test]
        fn reading_slices_again_counts_nothing_twice(
            events in prop::collection::vec(event(), 0..200), cut in 0..3 * 3_600_000_i64,
        ) {
            let now = 3 * 3_600_000 - 1;
            let hour = hour(now);
            let of_hour = || events.iter().filter(|event| hour.contains(&slice_of(event.at)));
            let (mut once, mut again, mut read) = (Window::default(), Window::default(), Window::default());
            of_hour().for_each(|event| once.add(*event));
            of_hour().for_each(|event| again.add(*event));
            let slices = slice_of(cut)..hour.end;
            of_hour().filter(|event| slices.contains(&slice_of(event.at))).for_each(|event| read.add(*event));
            again.put(&slices, read, now);
            let (once, again) = (once.numbers(now), again.numbers(now));
            prop_assert_eq!(once.last_60_minutes.events, again.last_60_minutes.events);
            prop_assert_eq!(once.last_5_minutes.top_tools, again.last_5_minutes.top_tools);
            prop_assert_eq!(once.newest_event, again.newest_event);
        }
    }
}
