//! How far each partition may be committed. Plain code without I/O.
//!
//! Invariant: what is committed never passes the contiguous prefix of batches whose writes are acknowledged, within the
//! assignment under which their messages were read. Batches finish in any order; a batch that is late holds back the
//! ones sealed after it, never the other way round.

use std::collections::{HashMap, VecDeque};

/// A partition of the events' topic.
pub type Partition = i32;

/// Where a message stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// The partition of the events' topic.
    pub partition: Partition,
    /// The offset in it.
    pub offset: i64,
}

/// A sealed batch that waits for its acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(u64);

/// One partition of the present assignment.
#[derive(Debug)]
struct Assigned {
    /// Told apart from earlier assignments of the same partition: what was read under those is not ours to commit.
    epoch: u64,
    /// The next offset after the acknowledged prefix.
    acknowledged: Option<i64>,
    /// The next offset as last committed.
    committed: Option<i64>,
}

#[derive(Debug)]
struct Sealed {
    id: BatchId,
    is_acknowledged: bool,
    ends: Vec<(Partition, u64, i64)>,
}

/// The offsets of one worker.
#[derive(Debug, Default)]
pub struct OffsetTracker {
    epoch: u64,
    next_id: u64,
    assigned: HashMap<Partition, Assigned>,
    sealed: VecDeque<Sealed>,
}

impl OffsetTracker {
    /// Partitions that are ours from now on.
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = Partition>) {
        self.epoch += 1;
        for partition in partitions {
            self.assigned.insert(partition, Assigned { epoch: self.epoch, acknowledged: None, committed: None });
        }
    }

    /// Partitions that are ours no more. Acknowledgements of what was read from them are ignored from now on.
    pub fn revoke(&mut self, partitions: impl IntoIterator<Item = Partition>) {
        for partition in partitions {
            self.assigned.remove(&partition);
        }
    }

    /// A batch is complete: for each partition in it, the offset after its last message. Batches must be told in the
    /// order in which their messages were read.
    pub fn seal(&mut self, ends: &[(Partition, i64)]) -> BatchId {
        let id = BatchId(self.next_id);
        self.next_id += 1;
        let ends = ends
            .iter()
            .filter_map(|(partition, end)| Some((*partition, self.assigned.get(partition)?.epoch, *end)))
            .collect();
        self.sealed.push_back(Sealed { id, is_acknowledged: false, ends });
        id
    }

    /// Everything in the batch is stored, or dead-lettered.
    pub fn acknowledge(&mut self, id: BatchId) {
        if let Ok(at) = self.sealed.binary_search_by_key(&id, |sealed| sealed.id) {
            self.sealed[at].is_acknowledged = true;
        }
        while self.sealed.front().is_some_and(|sealed| sealed.is_acknowledged) {
            let Some(sealed) = self.sealed.pop_front() else { return };
            for (partition, epoch, end) in sealed.ends {
                if let Some(assigned) = self.assigned.get_mut(&partition).filter(|assigned| assigned.epoch == epoch) {
                    assigned.acknowledged = assigned.acknowledged.max(Some(end));
                }
            }
        }
    }

    /// Batches that wait for their acknowledgement.
    pub fn in_flight(&self) -> usize {
        self.sealed.iter().filter(|sealed| !sealed.is_acknowledged).count()
    }

    /// The partitions with something to commit, each with the next offset to read.
    pub fn to_commit(&self) -> Vec<(Partition, i64)> {
        let advanced = |(partition, assigned): (&Partition, &Assigned)| {
            let end = assigned.acknowledged.filter(|_| assigned.acknowledged > assigned.committed)?;
            Some((*partition, end))
        };
        self.assigned.iter().filter_map(advanced).collect()
    }

    /// A commit was sent for these.
    pub fn committed(&mut self, offsets: &[(Partition, i64)]) {
        for (partition, offset) in offsets {
            if let Some(assigned) = self.assigned.get_mut(partition) {
                assigned.committed = Some(*offset);
            }
        }
    }

    /// A commit failed: everything acknowledged is to be committed again.
    pub fn commit_failed(&mut self) {
        for assigned in self.assigned.values_mut() {
            assigned.committed = None;
        }
    }

    /// The partitions that are ours.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> + '_ {
        self.assigned.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use bson::oid::ObjectId;
    use common::event::{Data, Event, HealthCheck, Timestamp};
    use proptest::prelude::*;

    /// What may happen to a worker, in any order.
    #[derive(Debug, Clone)]
    enum Step {
        Read { partition: Partition, messages: i64 },
        Seal,
        Acknowledge { pick: usize },
        Commit { fails: bool },
        Rebalance { keep: u8 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..3_i32, 1..5_i64).prop_map(|(partition, messages)| Step::Read { partition, messages }),
            3 => Just(Step::Seal),
            3 => any::<usize>().prop_map(|pick| Step::Acknowledge { pick }),
            2 => any::<bool>().prop_map(|fails| Step::Commit { fails }),
            1 => any::<u8>().prop_map(|keep| Step::Rebalance { keep }),
        ];
        prop::collection::vec(step, 1..60)
    }

    /// A model that remembers every single message: which assignment read it, and whether it is acknowledged.
    #[derive(Default)]
    struct Model {
        /// For each partition of the present assignment, where reading began and where it is.
        positions: HashMap<Partition, (i64, i64)>,
        acknowledged: HashMap<(Partition, u64), Vec<i64>>,
        assignment: HashMap<Partition, u64>,
        assignments: u64,
        /// What the broker holds.
        committed: HashMap<Partition, i64>,
    }

    impl Model {
        fn assign(&mut self, partition: Partition) {
            self.assignments += 1;
            self.assignment.insert(partition, self.assignments);
            let start = self.committed.get(&partition).copied().unwrap_or(0);
            self.positions.insert(partition, (start, start));
        }

        fn contiguous_end(&self, partition: Partition) -> i64 {
            let (start, _) = self.positions[&partition];
            let acknowledged = self.acknowledged.get(&(partition, self.assignment[&partition]));
            let mut end = start;
            while acknowledged.is_some_and(|offsets| offsets.contains(&end)) {
                end += 1;
            }
            end
        }
    }

    type Messages = Vec<(Partition, u64, i64)>;

    /// The real batch, and which messages went into it.
    #[derive(Default)]
    struct Open {
        batch: Batch,
        messages: Messages,
    }

    impl Open {
        fn read(&mut self, partition: Partition, assignment: u64, offset: i64) {
            let tool_id = ObjectId::from_bytes([7; 12]);
            let data = Data::HealthCheck(HealthCheck { tool_id, healthy: true, response_time: None, message: None });
            let event =
                Event { id: "1".into(), source: "/t".into(), time: Timestamp::from_millis(0), traceparent: None, data };
            self.batch.push(&event, Origin { partition, offset });
            self.messages.push((partition, assignment, offset));
        }

        fn seal(&mut self, tracker: &mut OffsetTracker) -> (BatchId, Messages) {
            let id = tracker.seal(self.batch.ends());
            self.batch.clear();
            (id, std::mem::take(&mut self.messages))
        }
    }

    fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
        let (mut tracker, mut model) = (OffsetTracker::default(), Model::default());
        let mut open = Open::default();
        let mut in_flight: Vec<(BatchId, Messages)> = Vec::new();
        for partition in 0..3 {
            model.assign(partition);
        }
        tracker.assign(0..3);
        let acknowledge = |tracker: &mut OffsetTracker, model: &mut Model, (id, messages): (BatchId, Messages)| {
            tracker.acknowledge(id);
            for (partition, assignment, offset) in messages {
                model.acknowledged.entry((partition, assignment)).or_default().push(offset);
            }
        };
        for step in steps {
            match step {
                Step::Read { partition, messages } => {
                    let Some((_, position)) = model.positions.get_mut(&partition) else { continue };
                    for _ in 0..messages {
                        open.read(partition, model.assignment[&partition], *position);
                        *position += 1;
                    }
                }
                Step::Seal => in_flight.push(open.seal(&mut tracker)),
                Step::Acknowledge { pick } if !in_flight.is_empty() => {
                    let batch = in_flight.remove(pick % in_flight.len());
                    acknowledge(&mut tracker, &mut model, batch);
                }
                Step::Acknowledge { .. } => {}
                Step::Commit { fails } => {
                    let offsets = tracker.to_commit();
                    tracker.committed(&offsets);
                    for (partition, offset) in offsets {
                        prop_assert!(
                            offset <= model.contiguous_end(partition),
                            "partition {partition} committed to {offset}"
                        );
                        if !fails {
                            model.committed.insert(partition, offset);
                        }
                    }
                    if fails {
                        tracker.commit_failed();
                    }
                }
                Step::Rebalance { keep } => {
                    // As the consumer does it: what is open is sealed first, so no batch spans two assignments.
                    in_flight.push(open.seal(&mut tracker));
                    let given_back: Vec<Partition> = (0..3).filter(|partition| keep >> partition & 1 == 0).collect();
                    tracker.revoke(given_back.clone());
                    tracker.assign(given_back.clone());
                    for partition in given_back {
                        model.assign(partition);
                    }
                }
            }
        }
        // Never behind for good: once everything is acknowledged, everything can be committed.
        in_flight.push(open.seal(&mut tracker));
        while let Some(batch) = in_flight.pop() {
            acknowledge(&mut tracker, &mut model, batch);
        }
        tracker.commit_failed();
        prop_assert_eq!(tracker.in_flight(), 0);
        let offsets: HashMap<_, _> = tracker.to_commit().into_iter().collect();
        for (partition, (start, position)) in &model.positions {
            if position > start {
                prop_assert_eq!(offsets.get(partition), Some(position));
            }
        }
        Ok(())
    }

    proptest! {
        // 1,000,000 schedules: `PROPTEST_CASES=1000000 cargo test --release -p ingest offsets`.
        #[test]
        fn the_committed_offset_never_passes_the_acknowledged_prefix_and_reaches_it(steps in steps()) {
            run(steps)?;
        }
    }
}
