//! Rows of `tool_days`, as reports add them up: small, and with numbers in place of names.

use bson::oid::ObjectId;
use common::documents::ToolDay;
use common::documents::user::Plan;

use crate::query::Segment;

/// How many plans there are.
pub const PLANS: usize = Plan::ALL.len();
/// Bits of a bucket's bound below those that tell it from others: there are sixteen buckets to a doubling.
const SHIFT: u32 = 48;
/// The bucket of 1 ms.
const FIRST: u64 = 1.0_f64.to_bits() >> SHIFT;
/// The country of all texts that are none.
const OTHER: u16 = 26 * 26;

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Whose row.
    pub tool: ObjectId,
    /// Tool uses.
    pub usage: i64,
    /// Of them, those that failed.
    pub failures: i64,
    /// Distinct users.
    pub users: i64,
    /// Uses with a response time.
    pub response_times: i64,
    /// Their sum, milliseconds.
    pub response_time: f64,
    /// The filled buckets of the response times, as [`bound`] numbers them.
    pub histogram: Box<[(u16, u32)]>,
    /// Uses of each plan.
    pub by_plan: [i64; PLANS],
    /// Uses of each country, as [`country`] numbers them.
    pub by_country: Box<[(u16, u32)]>,
    /// Health checks; none where they had expired.
    pub checks: Option<i64>,
    /// Of them, those that were good.
    pub healthy: Option<i64>,
}

impl Row {
    /// Of a document.
    pub fn of(row: &ToolDay) -> Self {
        let small = |count: i64| u32::try_from(count).unwrap_or(u32::MAX);
        let buckets = row.response_time.histogram.iter();
        let countries = row.by_country.iter();
        Self {
            tool: row.tool_id,
            usage: row.usage,
            failures: row.failures,
            users: row.unique_users,
            response_times: row.response_time.count,
            response_time: row.response_time.total,
            histogram: buckets.map(|bucket| (bucket_of(bucket.up_to), small(bucket.count))).collect(),
            by_plan: std::array::from_fn(|plan| row.by_plan.get(Plan::NAMES[plan]).copied().unwrap_or(0)),
            by_country: countries.filter_map(|(name, count)| Some((number_of(name)?, small(*count)))).collect(),
            checks: row.health_checks,
            healthy: row.healthy_checks,
        }
    }

    /// The uses that belong to the segment.
    pub fn usage_of(&self, segment: &Segment) -> i64 {
        match segment {
            Segment::Everybody => self.usage,
            Segment::Plan(plan) => Plan::ALL.iter().position(|known| known == plan).map_or(0, |at| self.by_plan[at]),
            Segment::Country(name) => {
                let number = number_of(name);
                let found = self.by_country.iter().find(|(known, _)| Some(*known) == number);
                found.map_or(0, |(_, uses)| i64::from(*uses))
            }
        }
    }
}

fn bucket_of(bound: f64) -> u16 {
    // One less puts a bound into its own bucket.
    (((bound.max(1.0).to_bits() - 1) >> SHIFT) + 1 - FIRST) as u16
}

/// The upper bound of a bucket, milliseconds.
pub fn bound(bucket: usize) -> f64 {
    f64::from_bits((FIRST + bucket as u64) << SHIFT)
}

fn number_of(country: &str) -> Option<u16> {
    match country.as_bytes() {
        b"other" => Some(OTHER),
        [a @ b'A'..=b'Z', b @ b'A'..=b'Z'] => Some(u16::from(a - b'A') * 26 + u16::from(b - b'A')),
        _ => None,
    }
}

/// The country of a number.
pub fn country(number: u16) -> String {
    let letter = |number: u16| char::from(b'A' + (number % 26) as u8);
    if number >= OTHER { "other".to_owned() } else { [letter(number / 26), letter(number)].into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use aggregator::ledger::histogram::Histogram;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_keeps_its_bound(value in 0.0..4e9_f64) {
            let mut histogram = Histogram::default();
            histogram.add(value);
            let (up_to, _) = histogram.buckets().next().unwrap();
            prop_assert_eq!(bound(usize::from(bucket_of(up_to))), up_to);
        }
    }

    #[test]
    fn a_country_keeps_its_name() {
        for name in ["AA", "AZ", "DE", "US", "ZZ", "other"] {
            assert_eq!(country(number_of(name).unwrap()), name);
        }
        assert_eq!((number_of("de"), number_of("DEU"), number_of("")), (None, None, None));
    }
}
