//! A UTC day: the unit of every roll-up.

use std::fmt;
use std::str::FromStr;

use bson::oid::ObjectId;
use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, Utc};
use serde::{Deserialize, Serialize};

/// The day `[00:00, 24:00)` in UTC, written `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(NaiveDate);

/// Text that is not a day.
#[derive(Debug, Clone, thiserror::Error)]
#[error("'{0}' is not a day, expected YYYY-MM-DD such as 2024-01-15")]
pub struct NotADay(String);

impl Day {
    /// Reads `YYYY-MM-DD`, exactly so.
    ///
    /// # Errors
    /// Any other text, or a day that no calendar has.
    pub fn parse(text: &str) -> Result<Self, NotADay> {
        let is_shaped = text.len() == 10
            && text
                .bytes()
                .enumerate()
                .all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() });
        let date = if is_shaped { text.parse().ok() } else { None };
        date.map(Self).ok_or_else(|| NotADay(text.to_owned()))
    }

    /// The day an instant falls in.
    pub fn of(instant: DateTime<Utc>) -> Self {
        Self(instant.date_naive())
    }

    /// The day it is now.
    pub fn today() -> Self {
        Self::of(Utc::now())
    }

    /// The last day that is over.
    pub fn yesterday() -> Self {
        Self::today().previous()
    }

    /// Its first instant.
    pub fn start(self) -> DateTime<Utc> {
        self.0.and_time(NaiveTime::MIN).and_utc()
    }

    /// The first instant after it.
    pub fn end(self) -> DateTime<Utc> {
        self.next().start()
    }

    /// The day after. The last day of chrono's calendar (year 262142) has itself.
    pub fn next(self) -> Self {
        self.plus(1)
    }

    /// The day before. The first day of chrono's calendar has itself.
    pub fn previous(self) -> Self {
        self.minus(1)
    }

    /// The day `days` later.
    pub fn plus(self, days: u64) -> Self {
        Self(self.0.checked_add_days(Days::new(days)).unwrap_or(self.0))
    }

    /// The day `days` earlier.
    pub fn minus(self, days: u64) -> Self {
        Self(self.0.checked_sub_days(Days::new(days)).unwrap_or(self.0))
    }

    /// The first day of its month.
    pub fn month_start(self) -> Self {
        Self(self.0.with_day(1).unwrap_or(self.0))
    }

    /// The Monday on or before it.
    pub fn week_start(self) -> Self {
        self.minus(self.0.weekday().num_days_from_monday().into())
    }

    /// The `_id` of what a collection holds about this day and `of`: 4 bytes, the seconds of the day's start, then 8
    /// bytes, the xxh3-64 of `of`; both big endian. The same for everyone who writes it.
    pub fn row_id(self, of: ObjectId) -> ObjectId {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.start().timestamp().to_be_bytes()[4..]);
        bytes[4..].copy_from_slice(&xxhash_rust::xxh3::xxh3_64(&of.bytes()).to_be_bytes());
        ObjectId::from_bytes(bytes)
    }

    /// Every day from `from` to `to`, both included; none when `to` is earlier.
    pub fn range_inclusive(from: Self, to: Self) -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator {
        let days = usize::try_from((to.0 - from.0).num_days() + 1).unwrap_or(0);
        (0..days).map(move |offset| from.plus(offset as u64))
    }
}

const MILLIS_PER_DAY: i64 = 24 * 60 * 60 * 1_000;

/// A day as the number of days since 1970: what a time in milliseconds gives with one division.
pub type DayNumber = i64;

/// The day of a time in milliseconds since 1970.
pub const fn day_number(millis: i64) -> DayNumber {
    millis.div_euclid(MILLIS_PER_DAY)
}

/// The first millisecond of a day.
pub const fn start_of(day: DayNumber) -> i64 {
    day * MILLIS_PER_DAY
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Day {
    type Err = NotADay;

    fn from_str(text: &str) -> Result<Self, NotADay> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Day {
    type Error = NotADay;

    fn try_from(text: String) -> Result<Self, NotADay> {
        Self::parse(&text)
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_days_are_read() {
        assert_eq!(Day::parse("2024-02-29").unwrap().to_string(), "2024-02-29");
        for text in ["2023-02-29", "2024-1-15", "2024-01-15 ", "24-01-15", "2024-01-15T00:00", ""] {
            let message = Day::parse(text).unwrap_err().to_string();
            assert!(message.contains("YYYY-MM-DD"), "{message}");
        }
    }

    #[test]
    fn a_day_is_half_open_and_its_neighbours_touch() {
        let day = Day::parse("2024-12-31").unwrap();
        assert_eq!(day.end(), day.next().start());
        assert_eq!(Day::of(day.start()), day);
        assert_eq!(Day::of(day.end()), day.next());
        assert_eq!(day.next().previous(), day);
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        let day = |text| Day::parse(text).unwrap();
        assert_eq!(day("2024-03-03").week_start(), day("2024-02-26"));
        assert_eq!(day("2024-02-26").week_start(), day("2024-02-26"));
        assert_eq!(day("2024-02-29").month_start(), day("2024-02-01"));
        assert_eq!(day("2024-02-01").month_start(), day("2024-02-01"));
    }

    #[test]
    fn a_range_includes_both_ends() {
        let (from, to) = (Day::parse("2024-02-28").unwrap(), Day::parse("2024-03-01").unwrap());
        let days: Vec<_> = Day::range_inclusive(from, to).map(|day| day.to_string()).collect();
        assert_eq!(days, ["2024-02-28", "2024-02-29", "2024-03-01"]);
        assert_eq!(Day::range_inclusive(to, from).count(), 0);
    }
}
