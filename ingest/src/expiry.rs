//! How long Kafka still keeps the oldest event that this worker has not read: then the topic's retention removes it.

use std::time::Duration;

use common::settings;
use rdkafka::Message;

use crate::offsets::{Origin, Partition};
use crate::reread::Reader;

/// How long the topic keeps a message, by the message's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// Kafka has not said.
    Unknown,
    /// For ever, as far as time is concerned.
    Unlimited,
    /// So long.
    Limited(Duration),
}

impl Retention {
    /// In seconds: infinite when for ever, not a number when it is not known.
    pub const fn seconds(self) -> f64 {
        match self {
            Self::Unknown => f64::NAN,
            Self::Unlimited => f64::INFINITY,
            Self::Limited(retention) => retention.as_secs_f64(),
        }
    }
}

/// Of each assigned partition: no message that was not read yet has an earlier time, milliseconds since 1970. This is the time of
/// the last message that was read, or the moment when nothing more was there. Plain code without I/O.
#[derive(Debug, Default)]
pub struct Unread(Vec<i64>);

/// Nothing is known of a partition before its first message.
const UNKNOWN: i64 = i64::MIN;

impl Unread {
    /// Everything up to `millis` is read.
    pub fn read_to(&mut self, partition: Partition, millis: i64) {
        let Ok(at) = usize::try_from(partition) else { return };
        if at >= self.0.len() {
            self.0.resize(at + 1, UNKNOWN);
        }
        self.0[at] = millis;
    }

    /// The first unread message is of `millis`, as somebody else read it. What the worker itself has read since counts more.
    pub fn first_is_of(&mut self, partition: Partition, millis: i64) {
        if self.is_unknown(partition) {
            self.read_to(partition, millis);
        }
    }

    /// Whether nothing is known of the partition.
    pub fn is_unknown(&self, partition: Partition) -> bool {
        usize::try_from(partition).ok().and_then(|at| self.0.get(at)).is_none_or(|millis| *millis == UNKNOWN)
    }

    /// The partition is assigned anew, or somebody else's.
    pub fn forget(&mut self, partition: Partition) {
        self.read_to(partition, UNKNOWN);
    }

    /// Seconds until retention removes the oldest message of these partitions, where messages wait; negative when it may be gone.
    /// Infinite when none will be removed or nothing waits; not a number when nobody knows.
    pub fn left(&self, waiting: impl Iterator<Item = Partition>, retention: Retention, now: i64) -> f64 {
        let oldest = waiting
            .filter_map(|partition| self.0.get(usize::try_from(partition).ok()?).copied())
            .filter(|millis| *millis != UNKNOWN)
            .min();
        oldest.map_or(f64::INFINITY, |oldest| retention.seconds() - now.saturating_sub(oldest) as f64 / 1_000.0)
    }
}

/// The times that Kafka has for these messages, milliseconds since 1970; none of a message that is removed. Blocks.
///
/// # Errors
/// Kafka does not answer.
pub fn times(settings: &settings::Kafka, places: &[Origin]) -> anyhow::Result<Vec<(Partition, i64)>> {
    let reader = Reader::new(settings)?;
    let mut times = Vec::new();
    for place in places {
        let millis = reader.read(*place, |message| message.timestamp().to_millis())?.flatten();
        times.extend(millis.map(|millis| (place.partition, millis)));
    }
    Ok(times)
}

/// What the topic's `cleanup.policy` and `retention.ms` mean together.
pub fn retention(policy: Option<&str>, millis: Option<&str>) -> Option<Retention> {
    if policy.is_some_and(|policy| !policy.contains("delete")) {
        return Some(Retention::Unlimited);
    }
    let millis: i64 = millis?.parse().ok()?;
    Some(u64::try_from(millis).map_or(Retention::Unlimited, |millis| Retention::Limited(Duration::from_millis(millis))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Retention = Retention::Limited(Duration::from_secs(3_600));

    #[test]
    fn the_partition_whose_oldest_message_is_oldest_decides() {
        let mut unread = Unread::default();
        unread.read_to(0, 1_000_000);
        unread.read_to(2, 400_000);
        let left = |unread: &Unread, waiting: &[Partition], retention| {
            unread.left(waiting.iter().copied(), retention, 1_600_000)
        };
        assert_eq!(left(&unread, &[0, 2], HOUR), 3_600.0 - 1_200.0);
        assert_eq!(left(&unread, &[0], HOUR), 3_600.0 - 600.0);
        assert_eq!(left(&unread, &[], HOUR), f64::INFINITY, "nothing waits");
        assert_eq!(left(&unread, &[0, 2], Retention::Unlimited), f64::INFINITY);
        assert!(left(&unread, &[0, 2], Retention::Unknown).is_nan());
        assert_eq!(left(&unread, &[2], Retention::Limited(Duration::from_secs(60))), -1_140.0, "it may be gone");
        assert_eq!(left(&unread, &[1, 7], HOUR), f64::INFINITY, "of these nothing is read yet");
        unread.forget(2);
        assert_eq!(left(&unread, &[0, 2], HOUR), 3_600.0 - 600.0);
    }

    #[test]
    fn the_time_of_the_first_unread_message_counts_until_the_worker_reads_itself() {
        let mut unread = Unread::default();
        assert!(unread.is_unknown(3));
        unread.first_is_of(3, 400_000);
        assert_eq!(unread.left([3].into_iter(), HOUR, 1_600_000), 3_600.0 - 1_200.0);
        unread.read_to(3, 1_000_000);
        unread.first_is_of(3, 400_000);
        assert_eq!(unread.left([3].into_iter(), HOUR, 1_600_000), 3_600.0 - 600.0, "an answer that came late");
    }

    #[test]
    fn a_topic_keeps_messages_for_ever_or_for_a_time() {
        assert_eq!(retention(Some("delete"), Some("3600000")), Some(HOUR));
        assert_eq!(retention(Some("compact,delete"), Some("3600000")), Some(HOUR));
        assert_eq!(retention(Some("compact"), Some("3600000")), Some(Retention::Unlimited));
        assert_eq!(retention(None, Some("-1")), Some(Retention::Unlimited));
        assert_eq!(retention(Some("delete"), None), None);
        assert_eq!(retention(Some("delete"), Some("soon")), None);
    }
}
