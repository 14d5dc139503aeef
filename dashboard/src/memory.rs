//! The rows of whole days in memory: a report of 90 days and 200 tools is made of 18,000 rows, too many to be read each time.
//!
//! A day's rows are written before its daily document, and change with the next roll-up of the day alone. So the time of the roll-up
//! in the daily document, read before the rows, says whether the rows in memory are those of now.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bson::DateTime;
use common::day::Day;

use crate::figures::Sum;
use crate::query::Segment;
use crate::rows::{PLANS, Row};

/// Rows in memory, each of about 1 KiB; those of the days that nobody asked for the longest are forgotten first.
const MOST_ROWS: usize = 200_000;

/// Uses by plan and by country, as [`crate::rows`] numbers them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shares {
    /// Uses of each plan.
    pub by_plan: [i64; PLANS],
    /// Uses of each country.
    pub by_country: BTreeMap<u16, i64>,
}

impl Shares {
    /// Adds a row.
    pub fn add(&mut self, row: &Row) {
        self.by_plan.iter_mut().zip(row.by_plan).for_each(|(sum, uses)| *sum += uses);
        for (country, uses) in &row.by_country {
            *self.by_country.entry(*country).or_default() += i64::from(*uses);
        }
    }

    /// Adds those of other rows.
    pub fn merge(&mut self, other: &Self) {
        self.by_plan.iter_mut().zip(other.by_plan).for_each(|(sum, uses)| *sum += uses);
        for (country, uses) in &other.by_country {
            *self.by_country.entry(*country).or_default() += uses;
        }
    }
}

/// The rows of a day, and what they add up to.
#[derive(Debug)]
pub struct Whole {
    /// In the order of their tools.
    pub rows: Vec<Row>,
    /// Of everybody.
    pub total: Sum,
    /// Of everybody.
    pub shares: Shares,
}

impl Whole {
    /// Of these rows.
    pub fn of(rows: Vec<Row>) -> Self {
        let (mut total, mut shares) = (Sum::empty(), Shares::default());
        for row in &rows {
            total.add(row, &Segment::Everybody);
            shares.add(row);
        }
        Self { rows, total, shares }
    }
}

#[derive(Debug)]
struct Kept {
    rolled: DateTime,
    used: u64,
    rows: Arc<Whole>,
}

#[derive(Debug, Default)]
struct Days {
    kept: BTreeMap<Day, Kept>,
    rows: usize,
    /// Rises with each use.
    clock: u64,
}

/// What is in memory.
#[derive(Debug, Default)]
pub struct Memory {
    days: Mutex<Days>,
    /// Held by who reads days that are not here: who waits for it finds them.
    pub reading: tokio::sync::Mutex<()>,
}

impl Memory {
    /// The rows of the day as they were rolled up at this time.
    pub fn get(&self, day: Day, rolled: DateTime) -> Option<Arc<Whole>> {
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        days.clock += 1;
        let clock = days.clock;
        let kept = days.kept.get_mut(&day).filter(|kept| kept.rolled == rolled)?;
        kept.used = clock;
        Some(Arc::clone(&kept.rows))
    }

    /// Keeps the rows of the day as they were rolled up at this time.
    pub fn put(&self, day: Day, rolled: DateTime, rows: &Arc<Whole>) {
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        days.clock += 1;
        let kept = Kept { rolled, used: days.clock, rows: Arc::clone(rows) };
        days.rows += rows.rows.len();
        if let Some(old) = days.kept.insert(day, kept) {
            days.rows -= old.rows.rows.len();
        }
        while days.rows > MOST_ROWS {
            let Some(oldest) = days.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(day, _)| *day) else { return };
            if let Some(old) = days.kept.remove(&oldest) {
                days.rows -= old.rows.rows.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;

    use super::*;

    fn rows(count: usize) -> Arc<Whole> {
        let row = Row {
            tool: ObjectId::new(),
            usage: 1,
            failures: 0,
            users: 1,
            response_times: 0,
            response_time: 0.0,
            histogram: Box::default(),
            by_plan: [0; PLANS],
            by_country: Box::default(),
            checks: None,
            healthy: None,
        };
        Arc::new(Whole::of(vec![row; count]))
    }

    #[test]
    fn a_day_is_known_as_it_was_rolled_up_and_no_other_way() {
        let (memory, day) = (Memory::default(), Day::today());
        let (then, now) = (DateTime::from_millis(1), DateTime::from_millis(2));
        memory.put(day, then, &rows(1));
        assert!(memory.get(day, then).is_some());
        assert!(memory.get(day, now).is_none() && memory.get(day.previous(), then).is_none());
        memory.put(day, now, &rows(2));
        assert_eq!(memory.get(day, now).unwrap().rows.len(), 2);
        assert!(memory.get(day, then).is_none());
        assert_eq!(memory.days.lock().unwrap().rows, 2);
    }

    #[test]
    fn the_days_that_nobody_asks_for_are_forgotten() {
        let (memory, last, at) = (Memory::default(), Day::today(), DateTime::from_millis(1));
        let many = rows(MOST_ROWS / 4);
        for back in 0..4 {
            memory.put(last.minus(back), at, &many);
        }
        assert!(memory.get(last, at).is_some());
        memory.put(last.minus(4), at, &many);
        let known: Vec<bool> = (0..5).map(|back| memory.get(last.minus(back), at).is_some()).collect();
        assert_eq!(known, [true, false, true, true, true]);
    }
}
