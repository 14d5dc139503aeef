//! How many messages wait on the worker's partitions: from the offset that is committed to the last stable offset, up to which
//! messages may be read. librdkafka knows neither of a partition that nothing was committed of or fetched from yet, so both are
//! taken from wherever they are known.

use std::collections::HashMap;

use rdkafka::Statistics;

use crate::metrics;
use crate::offsets::Partition;

/// Of each partition that is this worker's.
#[derive(Debug, Default)]
pub struct Lag(HashMap<Partition, Known>);

/// Offsets of a partition, as far as they are known.
#[derive(Debug, Default)]
struct Known {
    committed: Option<i64>,
    /// As it was told last: it also goes back, when the partition is truncated or created again.
    end: Option<i64>,
}

impl Lag {
    /// A partition is this worker's from now on.
    pub fn assigned(&mut self, partition: Partition, committed: Option<i64>, end: Option<i64>) {
        self.0.insert(partition, Known { committed, end });
    }

    /// A partition is somebody else's.
    pub fn revoked(&mut self, partition: Partition) {
        self.0.remove(&partition);
        metrics::lag(partition, 0);
    }

    /// A commit was sent for these.
    pub fn committed(&mut self, offsets: &[(Partition, i64)]) {
        for (partition, offset) in offsets {
            if let Some(known) = self.0.get_mut(partition) {
                known.committed = Some(*offset);
            }
        }
    }

    /// Takes over which ends the broker told with the messages that were fetched.
    pub fn note_ends(&mut self, ends: &[(Partition, i64)]) {
        for (partition, end) in ends {
            if let Some(known) = self.0.get_mut(partition) {
                known.end = Some(*end);
            }
        }
    }

    /// Whether messages of a partition wait.
    pub fn waits(&self, partition: Partition) -> bool {
        self.0.get(&partition).is_some_and(|known| known.messages() > 0)
    }

    /// Sets the gauges, and returns the sum.
    pub fn show(&self) -> i64 {
        let mut sum = 0;
        for (partition, known) in &self.0 {
            let messages = known.messages();
            metrics::lag(*partition, messages);
            sum += messages;
        }
        sum
    }
}

impl Known {
    fn messages(&self) -> i64 {
        self.end.zip(self.committed).map_or(0, |(end, committed)| (end - committed).max(0))
    }
}

/// The ends that librdkafka has seen of the partitions of `topic`.
pub fn ends(statistics: &Statistics, topic: &str) -> Vec<(Partition, i64)> {
    let partitions = statistics.topics.get(topic).into_iter().flat_map(|topic| &topic.partitions);
    partitions.map(|(number, partition)| (*number, partition.ls_offset)).filter(|(_, end)| *end >= 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_known_before_anything_is_committed_or_fetched() {
        let mut lag = Lag::default();
        lag.assigned(0, Some(10), Some(110));
        lag.assigned(1, None, None);
        assert_eq!(lag.show(), 100);
        assert!(lag.waits(0) && !lag.waits(1) && !lag.waits(7));
        lag.note_ends(&[(0, 130), (1, 5), (7, 1_000)]);
        assert_eq!(lag.show(), 120);
        lag.committed(&[(0, 130), (1, 2), (7, 1)]);
        assert_eq!(lag.show(), 3);
        lag.revoked(1);
        assert_eq!(lag.show(), 0);
        lag.note_ends(&[(0, 60)]);
        lag.assigned(0, Some(10), None);
        lag.note_ends(&[(0, 60)]);
        assert_eq!(lag.show(), 50, "the partition was created again");
    }

    #[test]
    fn ends_are_those_of_the_topic() {
        let mut statistics = Statistics::default();
        for (topic, end) in [("events", 7), ("events.dlq", 9)] {
            let partition = rdkafka::statistics::Partition { hi_offset: end + 1, ls_offset: end, ..Default::default() };
            let unseen = rdkafka::statistics::Partition { ls_offset: -1_001, ..Default::default() };
            let partitions = HashMap::from([(0, partition), (-1, unseen)]);
            let topic_statistics = rdkafka::statistics::Topic { partitions, ..Default::default() };
            statistics.topics.insert(topic.to_owned(), topic_statistics);
        }
        assert_eq!(ends(&statistics, "events"), [(0, 7)]);
    }
}
