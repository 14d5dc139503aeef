//! When one user is present, and how many users are at once.

use std::thread;

use smallvec::{Array, SmallVec};

/// How long after its end an event keeps its user present, milliseconds.
pub const LINGER: i64 = 5 * 60 * 1000;

/// Present on `[start, end)`, milliseconds from the start of the day; not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// From this instant on.
    pub start: i64,
    /// Not any more at this one.
    pub end: i64,
}

impl Stay {
    /// Both as one, if they overlap or touch.
    pub fn joined(self, other: Self) -> Option<Self> {
        let touch = self.start <= other.end && other.start <= self.end;
        touch.then(|| Self { start: self.start.min(other.start), end: self.end.max(other.end) })
    }
}

/// The times at which one user is present: half-open intervals in milliseconds from the start of the day, sorted,
/// neither overlapping nor touching. Joined like that, a user counts once however much he does at a time, and the order
/// in which intervals come does not matter.
#[derive(Clone, Debug)]
pub enum Presence {
    /// All within 24 days of the day's start, which nearly every user's are.
    Near(SmallVec<[(i32, i32); 2]>),
    /// Anything else.
    Far(SmallVec<[(i64, i64); 1]>),
}

impl Default for Presence {
    fn default() -> Self {
        Self::Near(SmallVec::new())
    }
}

impl Presence {
    /// Present then too.
    pub fn add(&mut self, Stay { start, end }: Stay) {
        match (&mut *self, near(start, end)) {
            (Self::Near(intervals), Some(interval)) => insert(intervals, interval),
            (Self::Near(intervals), None) => {
                let mut far = intervals.iter().map(|(start, end)| (i64::from(*start), i64::from(*end))).collect();
                insert(&mut far, (start, end));
                *self = Self::Far(far);
            }
            (Self::Far(intervals), _) => insert(intervals, (start, end)),
        }
    }

    /// Bytes held outside of the value itself.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Near(intervals) if intervals.spilled() => intervals.capacity() * size_of::<(i32, i32)>(),
            Self::Far(intervals) if intervals.spilled() => intervals.capacity() * size_of::<(i64, i64)>(),
            Self::Near(_) | Self::Far(_) => 0,
        }
    }
}

fn near(start: i64, end: i64) -> Option<(i32, i32)> {
    Some((i32::try_from(start).ok()?, i32::try_from(end).ok()?))
}

fn insert<T: Ord + Copy, A: Array<Item = (T, T)>>(intervals: &mut SmallVec<A>, (mut start, mut end): (T, T)) {
    let from = intervals.partition_point(|interval| interval.1 < start);
    let to = intervals.partition_point(|interval| interval.0 <= end);
    match &mut intervals[from..to] {
        [] => intervals.insert(from, (start, end)),
        [only] => *only = (only.0.min(start), only.1.max(end)),
        [first, .., last] => {
            start = start.min(first.0);
            end = end.max(last.1);
            intervals[from] = (start, end);
            intervals.drain(from + 1..to);
        }
    }
}

/// The times of presence of many users, as far as counting them needs them: 8 bytes each.
#[derive(Debug, Default)]
pub struct Crowd {
    near: Edges<i32>,
    far: Edges<i64>,
}

impl Crowd {
    /// One more user.
    pub fn add(&mut self, user: &Presence) {
        match user {
            Presence::Near(intervals) => self.near.extend(intervals),
            Presence::Far(intervals) => self.far.extend(intervals),
        }
    }

    /// The users of another crowd, too.
    pub fn merge(&mut self, other: Self) {
        self.near.merge(other.near);
        self.far.merge(other.far);
    }

    /// The largest number of users present at one instant.
    pub fn peak(self) -> u64 {
        let Self { near, mut far } = self;
        if far.starts.is_empty() {
            return near.peak();
        }
        far.starts.extend(near.starts.into_iter().map(i64::from));
        far.ends.extend(near.ends.into_iter().map(i64::from));
        far.peak()
    }
}

/// Where intervals start and where they end; which start belongs to which end does not matter for counting.
#[derive(Debug)]
struct Edges<T> {
    starts: Vec<T>,
    ends: Vec<T>,
}

impl<T> Default for Edges<T> {
    fn default() -> Self {
        Self { starts: Vec::new(), ends: Vec::new() }
    }
}

impl<T: Ord + Copy + Send> Edges<T> {
    fn extend(&mut self, intervals: &[(T, T)]) {
        self.starts.extend(intervals.iter().map(|interval| interval.0));
        self.ends.extend(intervals.iter().map(|interval| interval.1));
    }

    fn merge(&mut self, mut other: Self) {
        self.starts.append(&mut other.starts);
        self.ends.append(&mut other.ends);
    }

    fn peak(mut self) -> u64 {
        thread::scope(|scope| {
            scope.spawn(|| self.starts.sort_unstable());
            self.ends.sort_unstable();
        });
        let mut ends = self.ends.iter().peekable();
        let mut present = 0;
        let mut peak = 0;
        for start in &self.starts {
            present += 1;
            // Half-open: who leaves at this instant is not present any more.
            while ends.next_if(|end| *end <= start).is_some() {
                present -= 1;
            }
            peak = peak.max(present);
        }
        peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peak<'a>(users: impl IntoIterator<Item = &'a Presence>) -> u64 {
        let mut crowd = Crowd::default();
        users.into_iter().for_each(|user| crowd.add(user));
        crowd.peak()
    }

    fn presence(intervals: &[(i64, i64)]) -> Presence {
        let mut presence = Presence::default();
        intervals.iter().for_each(|(start, end)| presence.add(Stay { start: *start, end: *end }));
        presence
    }

    #[test]
    fn who_leaves_as_another_comes_is_not_counted_with_him() {
        let [first, second] = [presence(&[(0, 10)]), presence(&[(10, 20)])];
        assert_eq!(peak([&first, &second]), 1);
        let overlapping = presence(&[(9, 20)]);
        assert_eq!(peak([&first, &overlapping]), 2);
    }

    #[test]
    fn a_user_counts_once_however_much_he_does() {
        let busy = presence(&[(0, 10), (5, 15), (30, 40), (12, 32), (100, 110)]);
        assert!(matches!(&busy, Presence::Near(intervals) if intervals.as_slice() == [(0, 40), (100, 110)]));
        assert_eq!(peak([&busy]), 1);
    }

    #[test]
    fn far_and_near_times_are_counted_together() {
        let (far, near) = (presence(&[(-1 << 62, 1 << 62)]), presence(&[(0, 10), (1 << 61, 1 << 62)]));
        assert_eq!(peak([&far, &near, &presence(&[(5, 6)])]), 3);
    }

    #[test]
    fn nobody_is_nobody() {
        assert_eq!(peak([]), 0);
    }
}
