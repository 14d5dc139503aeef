//! Times as people read them.

use bson::DateTime;
use common::day::Day;

/// A UTC day.
pub fn date(time: DateTime) -> String {
    Day::of(time.to_chrono()).to_string()
}

/// A UTC time to the minute.
pub fn minute(time: DateTime) -> String {
    time.to_chrono().format("%Y-%m-%d %H:%M").to_string()
}
