//! Decides which days are due and when to look again. Pure: the clock and the database are asked elsewhere.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use common::day::Day;
use common::documents::rollup_day::{RollupDay, State};

/// How often a day is tried before it is left for the night.
pub const MOST_ATTEMPTS: i64 = 5;

/// How many due days a pass by day takes: one event for each of many days must not keep the newest of them waiting.
pub const MOST_LATE_DAYS: usize = 30;

/// A pass by day is at most a tenth of all time, however large today is.
const REST_PER_WORK: u32 = 9;

/// What a pass of `serve` is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The first pass: what was missed. Not the days given up: one of them may have killed the process just now.
    Missed,
    /// The schedule fired: every due day, those given up last.
    Night,
    /// Between two nights: the newest late days.
    Late,
}

/// The due days of a pass, newest first, and what else decides about their order.
#[derive(Debug, Default)]
pub struct Due {
    /// Days that are over and not settled, newest first.
    pub days: Vec<Day>,
    /// Today, when there are events.
    pub today: Option<Day>,
    /// Days that failed too often.
    pub given_up: BTreeSet<Day>,
    /// Days that will be sealed soon: their late events count now or never.
    pub closing: BTreeSet<Day>,
}

/// The days of a pass, in order: days that will be sealed soon, other due days, today, days that were given up.
pub fn days_of_a_pass(work: Work, due: Due) -> Vec<Day> {
    let Due { days, today, given_up, closing } = due;
    let (last, others): (Vec<Day>, Vec<Day>) = days.into_iter().partition(|day| given_up.contains(day));
    let (mut days, others): (Vec<Day>, Vec<Day>) = others.into_iter().partition(|day| closing.contains(day));
    days.extend(others);
    if work == Work::Late {
        days.truncate(MOST_LATE_DAYS);
    }
    days.extend(today.filter(|today| !given_up.contains(today)));
    if work == Work::Night {
        days.extend(last);
    }
    days
}

/// How the days stand.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Finished days that wait to be rolled up.
    pub days_due: usize,
    /// Days whose last attempt failed, or killed the process.
    pub days_failed: usize,
    /// The latest of them.
    pub latest_failed: Option<Day>,
    /// Since when the day waits that has waited longest with late events.
    pub oldest_dirty: Option<DateTime<Utc>>,
    /// Since when the day waits that has waited longest to be anonymised.
    pub anonymisation_due: Option<DateTime<Utc>>,
    /// The latest day whose document is final.
    pub latest_day: Option<Day>,
}

/// The finished days that have no roll-up yet, newest first: yesterday's numbers are wanted before last month's.
/// `first_event` is the first day with events; before it there is nothing to roll up.
pub fn due_days(first_event: Option<Day>, today: Day, rolled: &BTreeSet<Day>) -> Vec<Day> {
    let Some(first_event) = first_event else { return Vec::new() };
    Day::range_inclusive(first_event, today.previous()).rev().filter(|day| !rolled.contains(day)).collect()
}

/// Whether a day needs no roll-up: done and without late events since, or sealed.
pub fn is_settled(day: &RollupDay, now: DateTime<Utc>) -> bool {
    day.is_sealed(now) || (day.state == Some(State::Rolled) && day.dirty_since.is_none())
}

/// Whether a day failed so often that it is tried by night only: it needs somebody to look at it.
pub fn is_given_up(day: &RollupDay) -> bool {
    day.attempts >= MOST_ATTEMPTS
}

/// Whether the last attempt at a day failed, or one before the present attempt ended with the process.
pub fn is_failing(day: &RollupDay) -> bool {
    day.state == Some(State::Failed) || day.attempts > 1
}

/// When the next pass begins, of one that ended at `now` and took `worked`: after a rest of `refresh`, or longer after much work, but
/// no later than the night. So a night whose time came during the pass begins at once.
pub fn next_pass(now: DateTime<Utc>, worked: Duration, refresh: Duration, night: DateTime<Utc>) -> DateTime<Utc> {
    (now + refresh.max(worked * REST_PER_WORK)).min(night)
}

/// Whether a day is over, so that its numbers can be final.
pub fn is_over(day: Day, now: DateTime<Utc>) -> bool {
    day.end() <= now
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        Day::parse(text).unwrap()
    }

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn settled_is_what_is_rolled_and_clean_or_sealed() {
        let mut state =
            RollupDay { state: Some(State::Rolled), dirty_marks: 3, ..RollupDay::untried(day("2024-01-13")) };
        assert!(is_settled(&state, Utc::now()));
        state.dirty_since = Some(bson::DateTime::now());
        assert!(!is_settled(&state, Utc::now()));
        state.sealed_at = Some(bson::DateTime::now());
        assert!(is_settled(&state, Utc::now()));
        state = RollupDay { state: Some(State::Provisional), dirty_since: None, sealed_at: None, ..state };
        assert!(!is_settled(&state, Utc::now()));
    }

    #[test]
    fn due_are_finished_days_with_nothing_yet_newest_first() {
        let rolled = BTreeSet::from([day("2024-01-13")]);
        let due = due_days(Some(day("2024-01-11")), day("2024-01-15"), &rolled);
        assert_eq!(due, [day("2024-01-14"), day("2024-01-12"), day("2024-01-11")]);
        assert_eq!(due_days(None, day("2024-01-15"), &rolled), []);
        assert_eq!(due_days(Some(day("2024-01-15")), day("2024-01-15"), &rolled), []);
        assert_eq!(due_days(Some(day("2024-01-16")), day("2024-01-15"), &rolled), []);
    }

    #[test]
    fn a_day_that_is_given_up_comes_last_and_by_night_only() {
        let days = vec![day("2024-01-14"), day("2024-01-13"), day("2024-01-12")];
        let today = Some(day("2024-01-15"));
        let due = |given_up: &str| Due {
            days: days.clone(),
            today,
            given_up: BTreeSet::from([day(given_up)]),
            ..Due::default()
        };
        let others = [day("2024-01-13"), day("2024-01-12"), day("2024-01-15")];
        for work in [Work::Missed, Work::Late] {
            assert_eq!(days_of_a_pass(work, due("2024-01-14")), others);
        }
        let by_night = days_of_a_pass(Work::Night, due("2024-01-14"));
        assert_eq!(by_night, [&others[..], &[day("2024-01-14")]].concat());
        assert_eq!(days_of_a_pass(Work::Late, due("2024-01-15")), days);
    }

    #[test]
    fn a_pass_by_day_takes_the_newest_late_days_and_the_night_takes_all() {
        let days: Vec<Day> = Day::range_inclusive(day("2023-01-01"), day("2023-12-31")).rev().collect();
        let due = || Due { days: days.clone(), ..Due::default() };
        assert_eq!(days_of_a_pass(Work::Late, due()), days[..MOST_LATE_DAYS]);
        assert_eq!(days_of_a_pass(Work::Night, due()), days);
        let closing = BTreeSet::from([day("2023-01-01")]);
        let first = days_of_a_pass(Work::Late, Due { closing, ..due() });
        assert_eq!((first[0], first[1]), (day("2023-01-01"), day("2023-12-31")));
    }

    #[test]
    fn the_night_begins_at_once_when_its_time_came_during_a_pass() {
        let night = time("2024-01-16T00:10:00Z");
        let [minute, refresh] = [Duration::from_secs(60), Duration::from_secs(30)];
        let next = |now: &str, worked| next_pass(time(now), worked, refresh, night);
        assert_eq!(next("2024-01-15T12:00:00Z", Duration::ZERO), time("2024-01-15T12:00:30Z"));
        assert_eq!(next("2024-01-15T12:00:00Z", minute), time("2024-01-15T12:09:00Z"));
        assert_eq!(next("2024-01-16T00:09:50Z", minute), night);
        // The pass began before the night and ended after its time: no rest of nine times the work.
        assert_eq!(next("2024-01-16T00:20:00Z", 20 * minute), night);
    }

    #[test]
    fn a_day_fails_when_an_attempt_failed_or_killed_the_process() {
        let state = |attempts, state| RollupDay { attempts, state, ..RollupDay::untried(day("2024-01-15")) };
        assert!(is_failing(&state(1, Some(State::Failed))));
        assert!(!is_failing(&state(1, Some(State::Rolled))), "the first attempt goes on");
        assert!(is_failing(&state(2, Some(State::Rolled))) && is_failing(&state(2, None)));
    }

    #[test]
    fn a_day_is_over_at_midnight() {
        assert!(!is_over(day("2024-01-15"), time("2024-01-15T23:59:59.999Z")));
        assert!(is_over(day("2024-01-15"), time("2024-01-16T00:00:00Z")));
    }
}
