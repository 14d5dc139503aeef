//! Decides which days are due and when to look again. Pure: the clock and the database are asked elsewhere.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use common::day::Day;
use common::documents::rollup_day::{RollupDay, State};
use common::settings::SettingsError;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// How often a day is tried before it is left for the night.
pub const MOST_ATTEMPTS: i64 = 5;

/// When the night's work starts: a cron expression in UTC.
#[derive(Clone, Debug)]
pub struct Schedule(Cron);

impl Schedule {
    /// Reads `aggregator.schedule`.
    ///
    /// # Errors
    /// Not a cron expression of five fields, or one that never fires.
    pub fn parse(expression: &str) -> Result<Self, SettingsError> {
        let unusable = |reason: String| {
            let expected = format!("a cron expression of five fields in UTC, such as \"10 0 * * *\" ({reason})");
            SettingsError::unusable("aggregator.schedule", expression, expected)
        };
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| unusable(error.to_string()))?;
        cron.find_next_occurrence(&Utc::now(), false).map_err(|_| unusable("this one never fires".into()))?;
        Ok(Self(cron))
    }

    /// The first time after `now` at which it fires.
    pub fn next_after(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        // A pattern that fired once fires again; should that ever fail, looking again soon is harmless.
        self.0.find_next_occurrence(&now, false).unwrap_or(now + TimeDelta::minutes(5))
    }
}

/// The finished days that have no roll-up yet, newest first: yesterday's numbers are wanted before last month's.
/// `first_event` is the first day with events; before it there is nothing to roll up.
pub fn due_days(first_event: Option<Day>, today: Day, rolled: &BTreeSet<Day>) -> Vec<Day> {
    let Some(first_event) = first_event else { return Vec::new() };
    Day::range_inclusive(first_event, today.previous()).rev().filter(|day| !rolled.contains(day)).collect()
}

/// Whether a day needs no roll-up: done and without late events since, or sealed.
pub fn is_settled(day: &RollupDay) -> bool {
    day.sealed_at.is_some() || (day.state == Some(State::Rolled) && day.dirty_since.is_none())
}

/// Whether a day failed so often that it is tried by night only: it needs somebody to look at it.
pub fn is_given_up(day: &RollupDay) -> bool {
    day.attempts >= MOST_ATTEMPTS
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
    fn it_fires_in_utc_also_when_clocks_change_elsewhere() {
        let schedule = Schedule::parse("10 0 * * *").unwrap();
        assert_eq!(schedule.next_after(time("2024-03-10T00:09:59Z")), time("2024-03-10T00:10:00Z"));
        assert_eq!(schedule.next_after(time("2024-03-10T00:10:00Z")), time("2024-03-11T00:10:00Z"));
        assert_eq!(schedule.next_after(time("2024-10-27T00:10:00Z")), time("2024-10-28T00:10:00Z"));
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_an_example() {
        for expression in ["", "10 0 * *", "61 0 * * *", "0 10 0 * * *", "at ten", "0 0 30 2 *"] {
            let message = Schedule::parse(expression).unwrap_err().to_string();
            assert!(message.contains("aggregator.schedule") && message.contains("10 0 * * *"), "{message}");
        }
    }

    #[test]
    fn settled_is_what_is_rolled_and_clean_or_sealed() {
        let mut state = RollupDay {
            date: day("2024-01-13"),
            state: Some(State::Rolled),
            rolled_at: None,
            inputs: None,
            duration_ms: None,
            attempts: 0,
            last_error: None,
            dirty_since: None,
            dirty_marks: 3,
            sealed_at: None,
        };
        assert!(is_settled(&state));
        state.dirty_since = Some(bson::DateTime::now());
        assert!(!is_settled(&state));
        state.sealed_at = Some(bson::DateTime::now());
        assert!(is_settled(&state));
        state = RollupDay { state: Some(State::Provisional), dirty_since: None, sealed_at: None, ..state };
        assert!(!is_settled(&state));
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
    fn a_day_is_over_at_midnight() {
        assert!(!is_over(day("2024-01-15"), time("2024-01-15T23:59:59.999Z")));
        assert!(is_over(day("2024-01-15"), time("2024-01-16T00:00:00Z")));
    }
}
