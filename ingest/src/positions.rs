//! Where reading of each assigned partition stands: the offset that comes next, and the end that `--until-caught-up` waits for.
//! Plain code without I/O.
//!
//! An offset that is skipped was removed by retention, or is no message: a control record of a transaction, an aborted
//! message, or one that compaction removed. Only the partition's first offset tells which. An offset that was passed before
//! means another log: the partition was truncated, restored, or created again.

use rustc_hash::FxHashMap;

use crate::offsets::Partition;

/// What an offset says about the offset that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is the one that was expected, or nothing was known.
    Next,
    /// The offsets from `expected` to it were not delivered.
    Skipped {
        /// The offset that was expected.
        expected: i64,
    },
    /// It lies before `expected`.
    Back {
        /// The offset that was expected.
        expected: i64,
    },
}

/// The positions in the partitions that are assigned now.
#[derive(Debug, Default)]
pub struct Positions {
    /// By partition; `UNKNOWN` where nothing is known. A look at it is cheaper than one at a map, and each message takes one.
    next: Vec<i64>,
    /// Where each partition ended when it was assigned, until reading gets there.
    targets: FxHashMap<Partition, i64>,
}

const UNKNOWN: i64 = -1;

impl Positions {
    /// A partition is assigned. Reading begins at `next` and is caught up at `end`; an end that is not known is reached when
    /// the consumer reports the partition's end.
    pub fn assigned(&mut self, partition: Partition, next: Option<i64>, end: Option<i64>) {
        self.set(partition, next.unwrap_or(UNKNOWN));
        if end.is_some() && end == next {
            self.targets.remove(&partition);
        } else {
            self.targets.insert(partition, end.unwrap_or(i64::MAX));
        }
    }

    /// A partition is somebody else's.
    pub fn revoked(&mut self, partition: Partition) {
        self.set(partition, UNKNOWN);
        self.targets.remove(&partition);
    }

    /// The offset that comes next; none when nothing is known.
    pub fn next(&self, partition: Partition) -> Option<i64> {
        let next = usize::try_from(partition).ok().and_then(|at| self.next.get(at)).copied();
        next.filter(|next| *next != UNKNOWN)
    }

    /// A message came.
    pub fn message(&mut self, partition: Partition, offset: i64) -> Step {
        let step = self.step(partition, offset);
        self.set(partition, offset + 1);
        if !self.targets.is_empty() && self.targets.get(&partition).is_some_and(|end| offset + 1 >= *end) {
            self.targets.remove(&partition);
        }
        step
    }

    /// The consumer reports that the partition ends at `offset` for now.
    pub fn end(&mut self, partition: Partition, offset: i64) -> Step {
        let step = self.step(partition, offset);
        self.set(partition, offset);
        self.targets.remove(&partition);
        step
    }

    /// Whether everything that was there when the partitions were assigned is read.
    pub fn are_at_their_ends(&self) -> bool {
        self.targets.is_empty()
    }

    fn step(&self, partition: Partition, offset: i64) -> Step {
        let known = usize::try_from(partition).ok().and_then(|at| self.next.get(at));
        match known.copied().unwrap_or(UNKNOWN) {
            UNKNOWN => Step::Next,
            expected if offset > expected => Step::Skipped { expected },
            expected if offset < expected => Step::Back { expected },
            _ => Step::Next,
        }
    }

    fn set(&mut self, partition: Partition, next: i64) {
        let Ok(at) = usize::try_from(partition) else { return };
        if at >= self.next.len() {
            self.next.resize(at + 1, UNKNOWN);
        }
        self.next[at] = next;
    }
}

/// Of the offsets from `expected` to `came`, those that retention removed unread; `first` is the partition's first offset.
pub fn expired(expected: i64, came: i64, first: i64) -> Option<std::ops::Range<i64>> {
    let expired = expected..came.min(first);
    (!expired.is_empty()).then_some(expired)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_that_is_not_the_expected_one_is_told() {
        let mut positions = Positions::default();
        positions.assigned(3, Some(10), Some(20));
        assert_eq!(positions.message(3, 10), Step::Next);
        assert_eq!(positions.message(3, 15), Step::Skipped { expected: 11 });
        assert_eq!(positions.message(3, 2), Step::Back { expected: 16 });
        assert_eq!(positions.message(0, 7), Step::Next, "nothing is known of the partition");
        positions.revoked(3);
        assert_eq!(positions.message(3, 40), Step::Next, "the position before the revocation is forgotten");
    }

    #[test]
    fn the_end_is_reached_by_a_message_or_by_the_consumers_report() {
        let mut positions = Positions::default();
        positions.assigned(0, Some(0), Some(2));
        positions.assigned(1, None, None);
        positions.assigned(2, Some(5), Some(5));
        positions.message(0, 0);
        assert!(!positions.are_at_their_ends());
        positions.message(0, 1);
        assert!(!positions.are_at_their_ends(), "partition 1 is not read yet");
        assert_eq!(positions.end(1, 9), Step::Next);
        assert!(positions.are_at_their_ends());
        assert_eq!(
            positions.end(0, 3),
            Step::Skipped { expected: 2 },
            "offset 2 is the control record of a transaction"
        );
        positions.assigned(0, Some(1_000), Some(50));
        assert!(
            !positions.are_at_their_ends(),
            "the partition was created again and is shorter than the committed offset"
        );
    }

    #[test]
    fn only_offsets_before_the_partitions_first_one_are_expired() {
        assert_eq!(expired(10, 30, 30), Some(10..30));
        assert_eq!(expired(10, 30, 25), Some(10..25), "from 25 on no message was left out by retention");
        assert_eq!(expired(10, 11, 0), None, "a control record");
    }
}
