//! How much goes on when: the share of all visits that each stretch of time gets.

use chrono::{Datelike, Weekday};
use common::day::Day;

use super::DAY_MS;

/// The level of each hour of a UTC day: people in Europe and America, few at night.
const HOURS: [f64; 24] = [
    0.42, 0.34, 0.27, 0.22, 0.20, 0.24, 0.36, 0.58, 0.82, 0.97, 1.02, 0.98, 0.92, 1.05, 1.18, 1.20, 1.12, 1.00, 0.90,
    0.84, 0.80, 0.74, 0.64, 0.52,
];
const WEEKEND: f64 = 0.55;
const STRETCHES_PER_DAY: usize = 288;

/// A stretch of time, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) start: i64,
    pub(super) end: i64,
    /// Of all visits, those that have begun when it ends.
    pub(super) share_until_its_end: f64,
}

/// Stretches of five minutes, one after the other.
#[derive(Debug)]
pub(super) struct Curve {
    start: i64,
    end: i64,
    /// For each stretch the sum of the levels up to its end.
    levels_until: Vec<f64>,
    next: usize,
}

impl Curve {
    /// Day and night, workdays and weekends.
    pub(super) fn of_days(first: Day, last: Day) -> Self {
        let levels = Day::range_inclusive(first, last).flat_map(|day| {
            let is_weekend = matches!(day.start().weekday(), Weekday::Sat | Weekday::Sun);
            let level_of_day = if is_weekend { WEEKEND } else { 1.0 };
            (0..STRETCHES_PER_DAY).map(move |stretch| level_of_day * level_of_hour(stretch))
        });
        Self::new(first.start().timestamp_millis(), last.end().timestamp_millis(), levels)
    }

    /// The same level from `start` to `end`.
    pub(super) fn flat(start: i64, end: i64) -> Self {
        let stretches = (end - start) / (DAY_MS / STRETCHES_PER_DAY as i64);
        Self::new(start, end, (0..stretches.max(1)).map(|_| 1.0))
    }

    fn new(start: i64, end: i64, levels: impl Iterator<Item = f64>) -> Self {
        let levels_until = levels.scan(0.0, |sum, level| {
            *sum += level;
            Some(*sum)
        });
        Self { start, end, levels_until: levels_until.collect(), next: 0 }
    }

    pub(super) const fn start(&self) -> i64 {
        self.start
    }

    pub(super) const fn end(&self) -> i64 {
        self.end
    }

    /// Where the next stretch begins; the end when none is left.
    pub(super) fn position(&self) -> i64 {
        let stretches = self.levels_until.len() as i64;
        self.start + (self.end - self.start) / stretches.max(1) * self.next as i64
    }

    pub(super) fn next_stretch(&mut self) -> Option<Stretch> {
        let level_until = *self.levels_until.get(self.next)?;
        let total = self.levels_until.last().copied().unwrap_or(1.0);
        let start = self.position();
        self.next += 1;
        Some(Stretch { start, end: self.position(), share_until_its_end: level_until / total })
    }
}

/// Between the full hours the level changes evenly.
fn level_of_hour(stretch: usize) -> f64 {
    let per_hour = STRETCHES_PER_DAY / HOURS.len();
    let (hour, part) = (stretch / per_hour, (stretch % per_hour) as f64 / per_hour as f64);
    HOURS[hour] * (1.0 - part) + HOURS[(hour + 1) % HOURS.len()] * part
}
