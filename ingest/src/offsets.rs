//! How far each partition may be committed. Plain code without I/O.
//!
//! Invariant: what is committed of a partition never passes the contiguous prefix of its messages that are stored or
//! dead-lettered, within the assignment under which they were read. Batches finish in any order: one that is late holds back
//! those sealed after it, but only in the partitions that it has messages of. A dead letter that is not taken holds back its
//! own partition and no other.

use std::collections::{BTreeSet, HashMap, VecDeque};

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
#[derive(Debug, Default)]
struct Assigned {
    /// What the sealed batches have of it, in the order of reading.
    sealed: VecDeque<Sealed>,
    /// The next offset after the acknowledged prefix.
    acknowledged: Option<i64>,
    /// The next offset as last committed.
    committed: Option<i64>,
}

/// What one batch has of one partition.
#[derive(Debug)]
struct Sealed {
    batch: BatchId,
    end: i64,
    is_stored: bool,
    /// Whether a dead letter of it waits to be taken.
    is_held: bool,
}

impl Sealed {
    const fn is_done(&self) -> bool {
        self.is_stored && !self.is_held
    }
}

impl Assigned {
    fn change(&mut self, batch: BatchId, change: impl FnOnce(&mut Sealed)) {
        let Ok(at) = self.sealed.binary_search_by_key(&batch, |sealed| sealed.batch) else { return };
        change(&mut self.sealed[at]);
        // Behind one that is not done, of several that are done only the last says how far: a dead letter may wait for days.
        if self.sealed[at].is_done() {
            if self.sealed.get(at + 1).is_some_and(Sealed::is_done) {
                self.sealed.remove(at);
            }
            if at > 0 && self.sealed[at - 1].is_done() {
                self.sealed.remove(at - 1);
            }
        }
        while self.sealed.front().is_some_and(Sealed::is_done) {
            let end = self.sealed.pop_front().map(|sealed| sealed.end);
            self.acknowledged = self.acknowledged.max(end);
        }
    }
}

/// The offsets of one worker.
#[derive(Debug, Default)]
pub struct OffsetTracker {
    next_id: u64,
    assigned: HashMap<Partition, Assigned>,
}

impl OffsetTracker {
    /// Partitions that are ours from now on. What was read of them under earlier assignments is not ours to commit.
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = Partition>) {
        for partition in partitions {
            self.assigned.insert(partition, Assigned::default());
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
        let batch = BatchId(self.next_id);
        self.next_id += 1;
        for (partition, end) in ends {
            if let Some(assigned) = self.assigned.get_mut(partition) {
                assigned.sealed.push_back(Sealed { batch, end: *end, is_stored: false, is_held: false });
            }
        }
        batch
    }

    /// Everything in the batch is stored; what is refused is dead-lettered, but for what is held.
    pub fn acknowledge(&mut self, batch: BatchId) {
        for assigned in self.assigned.values_mut() {
            assigned.change(batch, |sealed| sealed.is_stored = true);
        }
    }

    /// Dead letters of these partitions in the batch wait to be taken. To be told before the batch is acknowledged.
    pub fn hold(&mut self, batch: BatchId, partitions: &[Partition]) {
        self.set_held(batch, partitions, true);
    }

    /// These dead letters are taken.
    pub fn release(&mut self, batch: BatchId, partitions: &[Partition]) {
        self.set_held(batch, partitions, false);
    }

    /// Batches that are not stored, or whose late days are not marked.
    pub fn being_written(&self) -> usize {
        self.count(|sealed| !sealed.is_stored)
    }

    fn set_held(&mut self, batch: BatchId, partitions: &[Partition], is_held: bool) {
        for partition in partitions {
            if let Some(assigned) = self.assigned.get_mut(partition) {
                assigned.change(batch, |sealed| sealed.is_held = is_held);
            }
        }
    }

    /// Batches that wait for their acknowledgement, or for a dead letter of theirs.
    pub fn in_flight(&self) -> usize {
        self.count(|sealed| !sealed.is_done())
    }

    fn count(&self, which: impl Fn(&Sealed) -> bool) -> usize {
        let sealed = self.assigned.values().flat_map(|assigned| &assigned.sealed);
        sealed.filter(|sealed| which(sealed)).map(|sealed| sealed.batch).collect::<BTreeSet<_>>().len()
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
        Read {
            partition: Partition,
            messages: i64,
        },
        Seal,
        /// With a letter of some of the partitions that waits.
        Acknowledge {
            pick: usize,
            held: u8,
        },
        /// Letters that waited are taken.
        Release {
            pick: usize,
        },
        Commit {
            fails: bool,
        },
        Rebalance {
            keep: u8,
        },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..3_i32, 1..5_i64).prop_map(|(partition, messages)| Step::Read { partition, messages }),
            3 => Just(Step::Seal),
            3 => (any::<usize>(), prop_oneof![3 => Just(0), 1 => any::<u8>()])
                .prop_map(|(pick, held)| Step::Acknowledge { pick, held }),
            1 => any::<usize>().prop_map(|pick| Step::Release { pick }),
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

        fn note(&mut self, acknowledged: Messages) {
            for (partition, assignment, offset) in acknowledged {
                self.acknowledged.entry((partition, assignment)).or_default().push(offset);
            }
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
        // What waits: of a batch, the partitions that are held, and their messages.
        let mut waiting: Vec<(BatchId, Vec<Partition>, Messages)> = Vec::new();
        let acknowledge =
            |tracker: &mut OffsetTracker, model: &mut Model, (id, messages): (BatchId, Messages), held: u8| {
                let is_held = |partition: &Partition| held >> partition & 1 == 1;
                let partitions: Vec<Partition> = (0..3).filter(is_held).collect();
                tracker.hold(id, &partitions);
                tracker.acknowledge(id);
                let (waits, is_done): (Messages, Messages) =
                    messages.into_iter().partition(|(partition, ..)| is_held(partition));
                model.note(is_done);
                (id, partitions, waits)
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
                Step::Acknowledge { pick, held } if !in_flight.is_empty() => {
                    let batch = in_flight.remove(pick % in_flight.len());
                    waiting.push(acknowledge(&mut tracker, &mut model, batch, held));
                }
                Step::Release { pick } if !waiting.is_empty() => {
                    let (id, partitions, messages) = waiting.remove(pick % waiting.len());
                    tracker.release(id, &partitions);
                    model.note(messages);
                }
                Step::Acknowledge { .. } | Step::Release { .. } => {}
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
            // Neither a late batch nor a waiting letter holds back what does not stand behind it in its own partition.
            for partition in 0..3 {
                let (start, _) = model.positions[&partition];
                let acknowledged = tracker.assigned[&partition].acknowledged.unwrap_or(start);
                prop_assert_eq!(acknowledged, model.contiguous_end(partition), "partition {}", partition);
            }
            let kept: usize = tracker.assigned.values().map(|assigned| assigned.sealed.len()).sum();
            prop_assert!(kept <= 2 * 3 * (in_flight.len() + waiting.len()), "{} entries are kept", kept);
        }
        // Never behind for good: once everything is acknowledged, everything can be committed.
        in_flight.push(open.seal(&mut tracker));
        while let Some(batch) = in_flight.pop() {
            waiting.push(acknowledge(&mut tracker, &mut model, batch, 0));
        }
        for (id, partitions, _) in waiting {
            tracker.release(id, &partitions);
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
