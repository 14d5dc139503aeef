//! An instant in milliseconds, as BSON keeps it, and which instants are accepted.

use std::fmt;
use std::time::Duration;

use bson::DateTime;
use chrono::{Timelike, Utc};

use super::{Data, Event, EventType, Invalid, Reason};
use crate::settings::Retention;

/// Milliseconds since 1970-01-01T00:00:00Z. Finer digits of an RFC 3339 text are cut off, as BSON keeps milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since 1970.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The instant it is now.
    pub fn now() -> Self {
        Self(Utc::now().timestamp_millis())
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Reads an RFC 3339 date and time; none when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_common(text.as_bytes()).or_else(|| {
            // chrono also takes a space for the T, which RFC 3339 allows and JSON Schema's date-time does not, and the minus
            // sign of typographers.
            let separator = *text.as_bytes().get(10)?;
            if !matches!(separator, b'T' | b't') || !text.is_ascii() {
                return None;
            }
            let instant = chrono::DateTime::parse_from_rfc3339(text).ok()?.to_utc();
            // It takes a leap second in every minute, too; they come only before midnight.
            let is_leap_second = instant.nanosecond() >= 1_000_000_000;
            let is_before_midnight = (instant.hour(), instant.minute()) == (23, 59);
            (!is_leap_second || is_before_midnight).then(|| Self(instant.timestamp_millis()))
        })
    }

    /// The form nearly every producer writes, `2024-01-15T10:30:00[.mmm…]Z`; anything else is left to chrono. It is on
    /// the hot path three times an event, and five times as fast.
    #[inline]
    pub(super) fn parse_common(text: &[u8]) -> Option<Self> {
        let (head, tail) = text.split_at_checked(19)?;
        let separators = head[4] == b'-' && head[7] == b'-' && head[10] == b'T' && head[13] == b':' && head[16] == b':';
        // One test for all digits, after the last, instead of a branch for each.
        let mut has_others = false;
        let mut number = |digits: &[u8]| {
            digits.iter().fold(0_i64, |sum, byte| {
                let digit = byte.wrapping_sub(b'0');
                has_others |= digit > 9;
                sum * 10 + i64::from(digit)
            })
        };
        let (year, month, day) = (number(&head[..4]), number(&head[5..7]), number(&head[8..10]));
        let (hour, minute, second) = (number(&head[11..13]), number(&head[14..16]), number(&head[17..]));
        // Days 29 to 31 exist in some months only, second 60 in few minutes: chrono knows.
        if !separators
            || has_others
            || !(1..=12).contains(&month)
            || !(1..=28).contains(&day)
            || hour > 23
            || minute > 59
            || second > 59
        {
            return None;
        }
        let fraction = match tail {
            [b'Z'] => 0,
            [b'.', digits @ .., b'Z'] if (1..=9).contains(&digits.len()) => {
                let mut millis = 0;
                for at in 0..3 {
                    millis = millis * 10 + digits.get(at).map_or(0, |digit| i64::from(digit.wrapping_sub(b'0')));
                }
                if !digits.iter().all(u8::is_ascii_digit) {
                    return None;
                }
                millis
            }
            _ => return None,
        };
        let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
        Some(Self(seconds * 1_000 + fraction))
    }

    /// RFC 3339 in UTC with milliseconds; none outside chrono's calendar.
    pub fn to_rfc3339(self) -> Option<String> {
        chrono::DateTime::from_timestamp_millis(self.0)
            .map(|instant| instant.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar: the algorithm `days_from_civil` of Howard Hinnant's
/// "chrono-Compatible Low-Level Date Algorithms".
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

impl From<Timestamp> for DateTime {
    fn from(timestamp: Timestamp) -> Self {
        Self::from_millis(timestamp.0)
    }
}

impl From<chrono::DateTime<Utc>> for Timestamp {
    fn from(instant: chrono::DateTime<Utc>) -> Self {
        Self(instant.timestamp_millis())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_rfc3339() {
            Some(text) => f.write_str(&text),
            None => write!(f, "{} ms", self.0),
        }
    }
}

/// The instants that are accepted at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Accepted {
    now: Timestamp,
    max_age: Duration,
    max_future: Duration,
    retention: Retention,
}

impl Accepted {
    /// At `now`: not older than `max_age`, not further ahead than `max_future`.
    pub const fn at(now: Timestamp, max_age: Duration, max_future: Duration) -> Self {
        Self { now, max_age, max_future, retention: Retention::DEFAULT }
    }

    /// The same, where the collections keep their documents for other times than by default.
    #[must_use]
    pub const fn kept(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Checks an event's `time`, and the start and end of a tool use.
    ///
    /// An event is too old, too, when its collection's TTL would remove the document as soon as it is written: that loss
    /// would be silent.
    ///
    /// # Errors
    /// [`Reason::TooOld`] or [`Reason::InFuture`], with the field.
    pub fn check(&self, event: &Event<'_>) -> Result<(), Box<Invalid>> {
        let kept = match event.event_type() {
            EventType::ToolUsage => self.retention.usage_analytics,
            EventType::Activity => self.retention.activity_logs,
            EventType::HealthCheck => self.retention.health_checks,
        };
        let max_age = self.max_age.min(kept);
        let oldest = self.now.0 - max_age.as_millis() as i64;
        let latest = self.now.0 + self.max_future.as_millis() as i64;
        check_one("time", event.time, oldest, latest, max_age, self.max_future)?;
        if let Data::ToolUsage(usage) = &event.data {
            // A use may have begun before the oldest accepted event and ended within; only its end is held to the limits.
            check_one("data.usage.endTime", usage.usage.end_time, oldest, latest, max_age, self.max_future)?;
        }
        Ok(())
    }
}

fn check_one(
    field: &str,
    instant: Timestamp,
    oldest: i64,
    latest: i64,
    max_age: Duration,
    max_future: Duration,
) -> Result<(), Box<Invalid>> {
    if instant.0 < oldest {
        let days = max_age.as_secs() as f64 / 86_400.0;
        return Err(Invalid::at(
            field,
            Reason::TooOld,
            format!("{instant} is older than the {days} days that are accepted"),
        ));
    }
    if instant.0 > latest {
        let seconds = max_future.as_secs();
        let problem = format!(
            "{instant} is more than {seconds} s ahead of the clock; check the clock of the machine that sent it"
        );
        return Err(Invalid::at(field, Reason::InFuture, problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_a_date_and_time_is_refused() {
        for text in [
            "",
            "2024-01-15",
            "2024-01-15T10:30:00",
            "2024-01-15 10:30:00Z",
            "2024-02-30T00:00:00Z",
            "2024-01-15T24:00:00Z",
            "2024-01-15T10:30:00.Z",
            "2024-01-15T10:30:00.1234x6Z",
            "20240115T103000Z",
            "2024-01-15T10:30:00+25:00",
            "１０24-01-15T10:30:00Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn offsets_and_fine_fractions_are_read() {
        let expected = Timestamp::parse("2024-01-15T10:30:00.123Z").unwrap();
        for text in [
            "2024-01-15T12:30:00.123+02:00",
            "2024-01-15t10:30:00.123z",
            "2024-01-15T10:30:00.123999999Z",
            "2024-01-15T10:30:00.1234567891Z",
        ] {
            assert_eq!(Timestamp::parse(text), Some(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_common_form_reads_as_chrono_does(millis in 0_i64..4_102_444_800_000, digits in 0_usize..10) {
            let instant = chrono::DateTime::from_timestamp_millis(millis).unwrap();
            let text = format!("{}.{:0<digits$}Z", instant.format("%Y-%m-%dT%H:%M:%S"), instant.timestamp_subsec_millis(), digits = digits.max(1));
            let by_chrono = chrono::DateTime::parse_from_rfc3339(&text).unwrap().timestamp_millis();
            prop_assert_eq!(Timestamp::parse(&text), Some(Timestamp(by_chrono)));
            prop_assert_eq!(Timestamp::parse(&Timestamp(millis).to_rfc3339().unwrap()), Some(Timestamp(millis)));
        }
    }
}
