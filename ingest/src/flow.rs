//! How many batches are in flight, and when reading pauses. Plain code without I/O: the poll loop asks, and tells librdkafka.
//!
//! Invariant: each assigned partition is paused in librdkafka exactly while the worker is paused. librdkafka keeps the pause
//! of a partition after the partition is revoked or lost, so [`FlowControl::on_assigned`] says for every assignment what
//! librdkafka must be told.

use std::time::{Duration, Instant};

use crate::window::Window;

/// The partitions are paused when the worker has been full for this long. A shorter wait is no stall.
pub const STALL: Duration = Duration::from_secs(1);

/// Bytes of dead letters that may wait to be taken before the worker reads no more.
const MOST_WAITING: usize = 16 * 1024 * 1024;

/// What librdkafka must be told about assigned partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Pause them.
    Pause,
    /// Resume them.
    Resume,
}

/// The flow control of one worker.
#[derive(Debug)]
pub struct FlowControl {
    window: Window,
    /// Batches being written.
    in_flight: usize,
    /// Bytes of dead letters that the topic has not taken, of batches that are stored.
    waiting: usize,
    /// When the worker became full, while it is full.
    full_since: Option<Instant>,
    is_paused: bool,
}

impl FlowControl {
    /// Allows at most `largest` batches in flight; `largest` is at least 1.
    pub const fn new(largest: usize) -> Self {
        Self { window: Window::new(largest), in_flight: 0, waiting: 0, full_since: None, is_paused: false }
    }

    /// A batch was handed to the writer.
    pub const fn batch_sealed(&mut self) {
        self.in_flight += 1;
    }

    /// A batch is stored; `retries` counts its commands that were sent again.
    pub fn batch_stored(&mut self, retries: usize) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.window.acknowledged(retries);
    }

    /// Dead letters of a batch that is stored wait to be taken.
    pub const fn letters_wait(&mut self, bytes: usize) {
        self.waiting += bytes;
    }

    /// They are taken.
    pub const fn letters_taken(&mut self, bytes: usize) {
        self.waiting = self.waiting.saturating_sub(bytes);
    }

    /// Batches being written now.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Batches that may be written at the same time now.
    pub const fn window(&self) -> usize {
        self.window.size()
    }

    /// Whether the worker must wait for an acknowledgement before it reads on.
    pub const fn is_full(&self) -> bool {
        self.in_flight >= self.window.size() || self.is_full_of_letters()
    }

    /// Whether it must wait until the dead-letter topic takes letters.
    pub const fn is_full_of_letters(&self) -> bool {
        self.waiting >= MOST_WAITING
    }

    /// Looks at the state at `now`, and says what librdkafka must be told about all assigned partitions, if anything.
    pub fn look(&mut self, now: Instant) -> Option<Reading> {
        if !self.is_full() {
            self.full_since = None;
            return std::mem::take(&mut self.is_paused).then_some(Reading::Resume);
        }
        let since = *self.full_since.get_or_insert(now);
        if self.is_paused || now.saturating_duration_since(since) < STALL {
            return None;
        }
        self.is_paused = true;
        Some(Reading::Pause)
    }

    /// What librdkafka must be told about partitions that were just assigned, whatever it remembers of them.
    pub const fn on_assigned(&self) -> Reading {
        if self.is_paused { Reading::Pause } else { Reading::Resume }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    type Partition = i32;

    /// librdkafka as far as pauses go: `assign` does not touch the pause of a partition, and neither does a loss.
    #[derive(Debug, Default)]
    struct Librdkafka {
        assigned: BTreeSet<Partition>,
        paused: BTreeSet<Partition>,
    }

    impl Librdkafka {
        fn tell(&mut self, reading: Reading, partitions: &BTreeSet<Partition>) {
            match reading {
                Reading::Pause => self.paused.extend(partitions),
                Reading::Resume => self.paused.retain(|partition| !partitions.contains(partition)),
            }
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Seal,
        Store { retries: usize },
        LettersWait { bytes: usize },
        LettersTaken,
        Look { after: Duration },
        Assign(BTreeSet<Partition>),
        RevokeOrLose(BTreeSet<Partition>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let partitions = || prop::collection::btree_set(0..4_i32, 0..4);
        let step = prop_oneof![
            4 => Just(Step::Seal),
            3 => (0..2_usize).prop_map(|retries| Step::Store { retries }),
            1 => (0..MOST_WAITING * 2).prop_map(|bytes| Step::LettersWait { bytes }),
            1 => Just(Step::LettersTaken),
            4 => (0..1_500_u64).prop_map(|millis| Step::Look { after: Duration::from_millis(millis) }),
            2 => partitions().prop_map(Step::Assign),
            2 => partitions().prop_map(Step::RevokeOrLose),
        ];
        prop::collection::vec(step, 1..60)
    }

    proptest! {
        #[test]
        fn each_assigned_partition_is_paused_exactly_while_the_worker_is(largest in 1..5_usize, steps in steps()) {
            let mut flow = FlowControl::new(largest);
            let mut librdkafka = Librdkafka::default();
            let mut now = Instant::now();
            let mut waiting = Vec::new();
            for step in steps {
                match step {
                    Step::Seal if flow.is_full() => {}
                    Step::Seal => flow.batch_sealed(),
                    Step::Store { .. } if flow.in_flight() == 0 => {}
                    Step::Store { retries } => flow.batch_stored(retries),
                    Step::LettersWait { bytes } => {
                        waiting.push(bytes);
                        flow.letters_wait(bytes);
                    }
                    Step::LettersTaken => flow.letters_taken(waiting.pop().unwrap_or(0)),
                    Step::Look { after } => {
                        now += after;
                        if let Some(reading) = flow.look(now) {
                            let assigned = librdkafka.assigned.clone();
                            librdkafka.tell(reading, &assigned);
                        }
                        prop_assert!(flow.is_full() || flow.on_assigned() == Reading::Resume);
                    }
                    Step::Assign(partitions) => {
                        librdkafka.assigned.extend(&partitions);
                        librdkafka.tell(flow.on_assigned(), &partitions);
                    }
                    Step::RevokeOrLose(partitions) => {
                        librdkafka.assigned.retain(|partition| !partitions.contains(partition));
                    }
                }
                for partition in &librdkafka.assigned {
                    let is_paused = flow.on_assigned() == Reading::Pause;
                    prop_assert_eq!(librdkafka.paused.contains(partition), is_paused, "partition {}", partition);
                }
            }
            while flow.in_flight() > 0 {
                flow.batch_stored(0);
            }
            waiting.into_iter().for_each(|bytes| flow.letters_taken(bytes));
            if let Some(reading) = flow.look(now) {
                let assigned = librdkafka.assigned.clone();
                librdkafka.tell(reading, &assigned);
            }
            prop_assert!(librdkafka.assigned.is_disjoint(&librdkafka.paused), "an assigned partition stays unread");
        }
    }
}
