//! Times of the day, as cron expressions in UTC.

use chrono::{DateTime, TimeDelta, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::settings::SettingsError;

/// When something begins: a cron expression of five fields in UTC.
#[derive(Clone, Debug)]
pub struct Schedule(Cron);

impl Schedule {
    /// Reads the setting `key`.
    ///
    /// # Errors
    /// Not a cron expression of five fields, or one that never fires.
    pub fn parse(key: &'static str, expression: &str) -> Result<Self, SettingsError> {
        let unusable = |reason: String| {
            let expected = format!("a cron expression of five fields in UTC, such as \"10 0 * * *\" ({reason})");
            SettingsError::unusable(key, expression, expected)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn it_fires_in_utc_also_when_clocks_change_elsewhere() {
        let schedule = Schedule::parse("aggregator.schedule", "10 0 * * *").unwrap();
        assert_eq!(schedule.next_after(time("2024-03-10T00:09:59Z")), time("2024-03-10T00:10:00Z"));
        assert_eq!(schedule.next_after(time("2024-03-10T00:10:00Z")), time("2024-03-11T00:10:00Z"));
        assert_eq!(schedule.next_after(time("2024-10-27T00:10:00Z")), time("2024-10-28T00:10:00Z"));
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_an_example() {
        for expression in ["", "10 0 * *", "61 0 * * *", "0 10 0 * * *", "at ten", "0 0 30 2 *"] {
            let message = Schedule::parse("aggregator.schedule", expression).unwrap_err().to_string();
            assert!(message.contains("aggregator.schedule") && message.contains("10 0 * * *"), "{message}");
        }
    }
}
