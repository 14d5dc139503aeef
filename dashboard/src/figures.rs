//! The numbers of a tool, of a day or of all together: summed up from rows of `tool_days`, and how they are read and written.

use aggregator::numbers::{Better, Kind};
use serde::Serialize;

use crate::query::Segment;
use crate::rows::{Row, bound};

/// What rows add up to.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    usage: i64,
    failures: i64,
    /// Distinct users of each day, added up over the days.
    user_days: i64,
    response_times: i64,
    response_time: f64,
    /// By the number of the bucket.
    histogram: Vec<i64>,
    /// None where they had expired on one of the days.
    checks: Option<i64>,
    healthy: Option<i64>,
}

impl Sum {
    /// Of nothing.
    pub fn empty() -> Self {
        Self { checks: Some(0), healthy: Some(0), ..Self::default() }
    }

    /// Adds a row; of a segment, only the uses are known.
    pub fn add(&mut self, row: &Row, segment: &Segment) {
        self.usage += row.usage_of(segment);
        if *segment != Segment::Everybody {
            return;
        }
        self.failures += row.failures;
        self.user_days += row.users;
        self.response_times += row.response_times;
        self.response_time += row.response_time;
        for (bucket, count) in &row.histogram {
            let bucket = usize::from(*bucket);
            if self.histogram.len() <= bucket {
                self.histogram.resize(bucket + 1, 0);
            }
            self.histogram[bucket] += i64::from(*count);
        }
        self.checks = plus(self.checks, row.checks);
        self.healthy = plus(self.healthy, row.healthy);
    }

    /// Adds all rows of another sum.
    pub fn merge(&mut self, other: &Self) {
        self.usage += other.usage;
        self.failures += other.failures;
        self.user_days += other.user_days;
        self.response_times += other.response_times;
        self.response_time += other.response_time;
        if self.histogram.len() < other.histogram.len() {
            self.histogram.resize(other.histogram.len(), 0);
        }
        self.histogram.iter_mut().zip(&other.histogram).for_each(|(sum, count)| *sum += count);
        self.checks = plus(self.checks, other.checks);
        self.healthy = plus(self.healthy, other.healthy);
    }

    /// The numbers over `days` days that were rolled up.
    pub fn figures(&self, days: usize, segment: &Segment) -> Figures {
        if *segment != Segment::Everybody {
            return Figures { usage: Some(self.usage), ..Figures::default() };
        }
        let ratio = |part: f64, whole: i64| (whole > 0).then(|| part / whole as f64);
        Figures {
            usage: Some(self.usage),
            failures: Some(self.failures),
            failure_rate: ratio(self.failures as f64, self.usage),
            users_per_day: (days > 0).then(|| self.user_days as f64 / days as f64),
            response_time_mean: ratio(self.response_time, self.response_times),
            response_time_p50: self.percentile(50),
            response_time_p95: self.percentile(95),
            response_time_p99: self.percentile(99),
            uptime: self.checks.zip(self.healthy).and_then(|(all, healthy)| ratio(100.0 * healthy as f64, all)),
        }
    }

    /// The upper bound of the bucket in which the value of this rank is: at most 1/16 too high.
    fn percentile(&self, percent: i64) -> Option<f64> {
        percentile(self.histogram.iter().enumerate().map(|(bucket, count)| (bound(bucket), *count)), percent)
    }
}

/// The upper bound of the bucket in which the value of this rank is, of buckets by rising bound: at most 1/16 too high.
pub fn percentile(buckets: impl Iterator<Item = (f64, i64)> + Clone, percent: i64) -> Option<f64> {
    let all: i64 = buckets.clone().map(|(_, count)| count).sum();
    let rank = (all * percent + 99) / 100;
    let mut seen = 0;
    let mut buckets = buckets;
    let bucket = buckets.find(|(_, count)| {
        seen += count;
        seen >= rank.max(1)
    });
    bucket.map(|(bound, _)| bound)
}

fn plus(known: Option<i64>, more: Option<i64>) -> Option<i64> {
    Some(known? + more?)
}

/// The numbers, as JSON has them. None is what nobody can know, or a ratio of nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Tool uses; none on a day that was not rolled up.
    pub usage: Option<i64>,
    /// Of them, those that failed.
    pub failures: Option<i64>,
    /// Failures / uses, 0 to 1.
    pub failure_rate: Option<f64>,
    /// Mean over the days of each day's distinct users.
    pub users_per_day: Option<f64>,
    /// Milliseconds.
    pub response_time_mean: Option<f64>,
    /// Milliseconds.
    pub response_time_p50: Option<f64>,
    /// Milliseconds.
    pub response_time_p95: Option<f64>,
    /// Milliseconds.
    pub response_time_p99: Option<f64>,
    /// Healthy checks / checks, 0 to 100.
    pub uptime: Option<f64>,
}

/// A column of numbers, on pages and in CSV.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// As JSON and CSV name it.
    pub key: &'static str,
    /// As people read it.
    pub title: &'static str,
    /// What it means, in a sentence.
    pub definition: &'static str,
    /// How it is written.
    pub kind: Kind,
    /// Which way is better.
    pub better: Better,
    /// The value.
    pub read: fn(&Figures) -> Option<f64>,
}

/// Every column, in order.
pub const COLUMNS: [Column; 9] = [
    Column {
        key: "usage",
        title: "Uses",
        definition: "Tool uses, with and without an account.",
        kind: Kind::Count,
        better: Better::More,
        read: |figures| figures.usage.map(|count| count as f64),
    },
    Column {
        key: "failures",
        title: "Failed",
        definition: "Tool uses that failed.",
        kind: Kind::Count,
        better: Better::Less,
        read: |figures| figures.failures.map(|count| count as f64),
    },
    Column {
        key: "failureRate",
        title: "Failed, share",
        definition: "Failed tool uses divided by tool uses.",
        kind: Kind::Share,
        better: Better::Less,
        read: |figures| figures.failure_rate,
    },
    Column {
        key: "usersPerDay",
        title: "Users a day",
        definition: "Distinct users of each day, as a mean over the days that were rolled up.",
        kind: Kind::Mean,
        better: Better::More,
        read: |figures| figures.users_per_day,
    },
    Column {
        key: "responseTimeMean",
        title: "Response, mean",
        definition: "Mean response time of the uses that have one.",
        kind: Kind::Millis,
        better: Better::Less,
        read: |figures| figures.response_time_mean,
    },
    Column {
        key: "responseTimeP50",
        title: "p50",
        definition: "Half of the uses answered within this time. Read from merged histograms: at most 1/16 too high.",
        kind: Kind::Millis,
        better: Better::Less,
        read: |figures| figures.response_time_p50,
    },
    Column {
        key: "responseTimeP95",
        title: "p95",
        definition: "95 of 100 uses answered within this time. Read from merged histograms: at most 1/16 too high.",
        kind: Kind::Millis,
        better: Better::Less,
        read: |figures| figures.response_time_p95,
    },
    Column {
        key: "responseTimeP99",
        title: "p99",
        definition: "99 of 100 uses answered within this time. Read from merged histograms: at most 1/16 too high.",
        kind: Kind::Millis,
        better: Better::Less,
        read: |figures| figures.response_time_p99,
    },
    Column {
        key: "uptime",
        title: "Uptime",
        definition: "Healthy checks divided by health checks.",
        kind: Kind::Percent,
        better: Better::More,
        read: |figures| figures.uptime,
    },
];

#[cfg(test)]
mod tests {
    use bson::{DateTime, oid::ObjectId};
    use common::day::Day;
    use common::documents::ToolDay;
    use common::documents::tool_day::{Bucket, Duration, ResponseTime};
    use common::documents::user::Plan;
    use proptest::prelude::*;

    use super::*;

    fn row(response_times: &[f64]) -> ToolDay {
        let mut histogram = aggregator::ledger::histogram::Histogram::default();
        response_times.iter().for_each(|value| histogram.add(*value));
        ToolDay {
            id: ObjectId::new(),
            date: Day::today(),
            tool_id: ObjectId::new(),
            usage: 10,
            failures: 3,
            unique_users: 4,
            duration: Duration::default(),
            response_time: ResponseTime {
                count: response_times.len() as i64,
                total: response_times.iter().sum(),
                histogram: histogram.buckets().map(|(up_to, count)| Bucket { up_to, count: count as i64 }).collect(),
            },
            by_plan: [("pro".to_owned(), 6)].into(),
            by_country: [("DE".to_owned(), 2)].into(),
            health_checks: Some(4),
            healthy_checks: Some(3),
            last_used_at: None,
            last_health_check_at: None,
            updated_at: DateTime::now(),
        }
    }

    fn sum(rows: &[ToolDay], segment: &Segment) -> Sum {
        let mut sum = Sum::empty();
        rows.iter().for_each(|row| sum.add(&Row::of(row), segment));
        sum
    }

    #[test]
    fn rows_add_up() {
        let figures = sum(&[row(&[1.0]), row(&[3.0])], &Segment::Everybody).figures(4, &Segment::Everybody);
        assert_eq!((figures.usage, figures.failures, figures.failure_rate), (Some(20), Some(6), Some(0.3)));
        assert_eq!((figures.users_per_day, figures.response_time_mean), (Some(2.0), Some(2.0)));
        assert_eq!(figures.uptime, Some(75.0));
    }

    #[test]
    fn of_a_segment_only_the_uses_are_known() {
        for (segment, uses) in
            [(Segment::Plan(Plan::Pro), 6), (Segment::Plan(Plan::Free), 0), (Segment::Country("DE".to_owned()), 2)]
        {
            let figures = sum(&[row(&[1.0])], &segment).figures(1, &segment);
            assert_eq!(figures, Figures { usage: Some(uses), ..Figures::default() });
        }
    }

    #[test]
    fn what_expired_on_one_day_is_unknown_of_all() {
        let expired = ToolDay { health_checks: None, healthy_checks: None, ..row(&[]) };
        assert_eq!(sum(&[row(&[]), expired], &Segment::Everybody).figures(2, &Segment::Everybody).uptime, None);
    }

    #[test]
    fn nothing_has_no_ratios() {
        let figures = Sum::empty().figures(0, &Segment::Everybody);
        assert_eq!(figures, Figures { usage: Some(0), failures: Some(0), ..Figures::default() });
    }

    #[test]
    fn columns_are_named_as_in_json() {
        let json = serde_json::to_value(Figures::default()).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, COLUMNS.map(|column| column.key));
    }

    proptest! {
        #[test]
        fn a_percentile_is_at_most_a_sixteenth_too_high(
            days in prop::collection::vec(prop::collection::vec(1.0..1e6_f64, 0..40), 1..4),
        ) {
            let rows: Vec<_> = days.iter().map(|values| row(values)).collect();
            let sum = sum(&rows, &Segment::Everybody);
            let mut values = days.concat();
            values.sort_by(f64::total_cmp);
            for percent in [50, 95, 99] {
                let rank = (values.len() * percent).div_ceil(100).max(1);
                let exact = values.get(rank - 1).copied();
                let read = sum.percentile(percent as i64);
                prop_assert_eq!(read.is_some(), exact.is_some());
                if let Some((read, exact)) = read.zip(exact) {
                    prop_assert!(read >= exact && read <= exact * (1.0 + 1.0 / 16.0), "{} for {}", read, exact);
                }
            }
        }
    }
}
