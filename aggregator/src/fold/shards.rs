//! The users and sessions of a day, which all of its readers share, divided by a hash of their id.
//!
//! A reader gathers what it finds and hands it over now and then, one shard after the other: so a user is held once however
//! many readers meet him, a shard's table is small while it is filled, and readers hardly wait for one another. What is
//! handed over may come in any order and any cut.
//!
//! When all shards together grow beyond the limit, the last half of them is let go, for another pass over the events.

use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bson::oid::ObjectId;

use super::ids::{IdMap, spread, table_bytes};
use super::sessions::{Owner, Part, Sessions};
use super::visits::{Session, Visit};

/// Divisions of users and sessions: so many that one of them is small beside all, so few that empty ones cost nothing.
pub const SHARDS: usize = 64;

/// Sessions that a reader holds before it sets them aside, also within a slice of time: as many as a hash table of
/// [`PLACES`] takes before it grows; at most 9 MB.
const MOST_GATHERED: usize = PLACES / 8 * 7;
const PLACES: usize = 1 << 16;

/// Changes of a shard that wait to be made together, so that the shard's table is fetched into the processor's cache once for
/// all of them: with a look-up at a time, a scan waits for the memory longer than it does anything else.
const WAITING: usize = 4096;

/// What is known of a user.
pub trait User: Default + Send + 'static {
    /// What an event adds to it.
    type Change: Change;

    /// Adds it. The order of changes must not show.
    fn apply(&mut self, change: Self::Change);

    /// Bytes held outside of the value itself.
    fn heap_bytes(&self) -> usize;
}

/// What an event adds to a user.
pub trait Change: Copy + Send + 'static {
    /// Takes another change of the same user in, if one change can stand for both, or gives it back.
    fn take(&mut self, other: Self) -> Option<Self>;
}

/// The shards of one pass over a day.
pub struct Shards<U: User, O> {
    start: usize,
    end: Mutex<usize>,
    /// From `start` on; none of what was let go.
    all: Vec<Mutex<Option<Shard<U, O>>>>,
    bytes: AtomicUsize,
    /// Bytes that the readers hold of tools.
    beside: AtomicUsize,
    limit: usize,
}

/// One of [`SHARDS`] parts of all users, and one of all sessions.
pub struct Shard<U: User, O> {
    /// The users.
    pub users: IdMap<U>,
    /// The sessions. Their users are of any shard.
    pub sessions: Sessions<O>,
    /// Bytes that the users own outside of their table.
    heap: usize,
    /// What was not added to the users yet.
    waiting: Vec<(ObjectId, U::Change)>,
}

/// What one reader has found and not handed over yet.
pub struct Found<U: User, O> {
    /// Sessions of the slice of time that it is at.
    sessions: IdMap<Current<U::Change, O>>,
    shares: Vec<Share<U::Change, O>>,
}

/// A session of the present slice. Its events are nearly always of one user, and one change often stands for several of
/// them: that spares looking the user up, in the largest table there is.
struct Current<C, O> {
    part: Part<O>,
    change: Option<(ObjectId, C)>,
}

/// What belongs to one shard.
struct Share<C, O> {
    changes: Vec<(ObjectId, C)>,
    sessions: Vec<(ObjectId, Part<O>)>,
}

impl<U: User, O: Owner> Shards<U, O> {
    /// Empty; passes over what is of other shards than `held`. Shards are let go when they take more than `limit` bytes.
    pub fn new(held: Range<usize>, limit: usize) -> Self {
        let all = held.clone().map(|_| Mutex::new(Some(Shard::default()))).collect();
        Self {
            start: held.start,
            end: Mutex::new(held.end),
            all,
            bytes: AtomicUsize::new(0),
            beside: AtomicUsize::new(0),
            limit,
        }
    }

    /// The shards that were not let go.
    pub fn held(&self) -> Range<usize> {
        self.start..*lock(&self.end)
    }

    /// Bytes of users and sessions.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A reader holds so many bytes beside, instead of so many as it held before: they count against the limit.
    pub fn beside(&self, before: usize, now: usize) {
        self.beside.fetch_add(now, Ordering::Relaxed);
        self.beside.fetch_sub(before, Ordering::Relaxed);
    }

    fn is_over_limit(&self) -> bool {
        self.bytes() + self.beside.load(Ordering::Relaxed) > self.limit
    }

    /// Takes over what a reader has found.
    pub fn take(&self, found: &mut Found<U, O>) {
        for (shard, share) in self.all.iter().zip(&mut found.shares[self.start..]) {
            if let Some(shard) = lock(shard).as_mut() {
                self.change(shard, |shard| shard.take(share));
            }
        }
        // What is of shards that are not held.
        for share in &mut found.shares {
            share.changes.clear();
            share.sessions.clear();
        }
        self.fit();
    }

    /// Calls `see` with the id of every user, in no order.
    pub fn for_each_user(&self, mut see: impl FnMut(&ObjectId)) {
        for number in self.held() {
            self.with(number, |shard| shard.users.keys().for_each(&mut see));
        }
    }

    /// How many users there are.
    pub fn user_count(&self) -> usize {
        self.held().filter_map(|number| self.with(number, |shard| shard.users.len())).sum()
    }

    /// Whether this user is among them.
    pub fn has_user(&self, id: &ObjectId) -> bool {
        self.with(shard_of(id), |shard| shard.users.contains_key(id)).unwrap_or(false)
    }

    /// Calls `see` with the shard of this number, if it is held. Others wait for that long.
    pub fn with<R>(&self, number: usize, see: impl FnOnce(&mut Shard<U, O>) -> R) -> Option<R> {
        let shard = number.checked_sub(self.start).and_then(|index| self.all.get(index))?;
        let mut shard = lock(shard);
        let shard = shard.as_mut()?;
        if !shard.waiting.is_empty() {
            self.change(shard, Shard::settle);
        }
        Some(see(shard))
    }

    fn change(&self, shard: &mut Shard<U, O>, change: impl FnOnce(&mut Shard<U, O>)) {
        let before = shard.bytes();
        change(shard);
        self.bytes.fetch_add(shard.bytes(), Ordering::Relaxed);
        self.bytes.fetch_sub(before, Ordering::Relaxed);
    }

    /// At least one shard stays, or no pass would get further.
    fn fit(&self) {
        if !self.is_over_limit() {
            return;
        }
        let mut end = lock(&self.end);
        while self.is_over_limit() && *end > self.start + 1 {
            *end = self.start + (*end - self.start) / 2;
            for shard in &self.all[*end - self.start..] {
                let dropped = lock(shard).take();
                self.bytes.fetch_sub(dropped.map_or(0, |shard| shard.bytes()), Ordering::Relaxed);
            }
        }
    }
}

impl<U: User, O: Owner> Shard<U, O> {
    fn take(&mut self, share: &mut Share<U::Change, O>) {
        share.sessions.drain(..).for_each(|(id, part)| self.sessions.push(id, part));
        self.waiting.append(&mut share.changes);
        if self.waiting.len() > WAITING {
            self.settle();
        }
    }

    fn settle(&mut self) {
        for (id, change) in self.waiting.drain(..) {
            let user = self.users.entry(id).or_default();
            self.heap -= user.heap_bytes();
            user.apply(change);
            self.heap += user.heap_bytes();
        }
    }

    fn bytes(&self) -> usize {
        let table = table_bytes(self.users.capacity(), size_of::<(ObjectId, U)>());
        table + self.heap + self.sessions.bytes() + self.waiting.capacity() * size_of::<(ObjectId, U::Change)>()
    }
}

impl<U: User, O: Owner> Default for Shard<U, O> {
    fn default() -> Self {
        Self { users: IdMap::default(), sessions: Sessions::default(), heap: 0, waiting: Vec::new() }
    }
}

impl<U: User, O: Owner> Default for Found<U, O> {
    fn default() -> Self {
        let nothing = || Share { changes: Vec::new(), sessions: Vec::new() };
        Self { sessions: IdMap::default(), shares: std::iter::repeat_with(nothing).take(SHARDS).collect() }
    }
}

impl<U: User, O: Owner> Found<U, O> {
    /// An event of this session and this user, which adds this to them.
    // Inlined, so that what is known of an event need not be put together in memory for each step.
    #[inline(always)]
    pub fn add(&mut self, session: Option<ObjectId>, owner: O, visit: Visit, user: Option<(ObjectId, U::Change)>) {
        let Some(session) = session else { return self.gather(user) };
        match self.sessions.entry(session) {
            Entry::Occupied(mut known) => {
                let Current { part, change } = known.get_mut();
                part.owner = part.owner.joined(owner);
                part.session.add(visit);
                let before = replaced(change, user);
                self.gather(before);
            }
            Entry::Vacant(free) => {
                free.insert(Current { part: Part { owner, session: Session::of(visit) }, change: user });
                if self.sessions.len() == MOST_GATHERED {
                    self.end_slice();
                }
            }
        }
    }

    /// The slice of time is over, its sessions are ready to be handed over.
    pub fn end_slice(&mut self) {
        for current in self.sessions.values() {
            if let Some(change) = &current.change {
                self.shares[shard_of(&change.0)].changes.push(*change);
            }
        }
        for (id, Current { part, .. }) in self.sessions.drain() {
            self.shares[shard_of(&id)].sessions.push((id, part));
        }
    }

    fn gather(&mut self, change: Option<(ObjectId, U::Change)>) {
        if let Some((user, change)) = change {
            self.shares[shard_of(&user)].changes.push((user, change));
        }
    }
}

/// Takes `change` into `held`; returns what does not go together with it.
fn replaced<C: Change>(held: &mut Option<(ObjectId, C)>, change: Option<(ObjectId, C)>) -> Option<(ObjectId, C)> {
    let (user, change) = change?;
    let left = match held {
        Some((holder, held)) if *holder == user => held.take(change)?,
        _ => change,
    };
    held.replace((user, left))
}

/// The same for the life of the process, and known to nobody else.
pub fn shard_of(id: &ObjectId) -> usize {
    spread(id) as usize % SHARDS
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[derive(Debug, Default)]
    struct Sum(u64);

    impl User for Sum {
        type Change = u64;

        fn apply(&mut self, change: u64) {
            self.0 += change;
        }

        fn heap_bytes(&self) -> usize {
            10 * usize::try_from(self.0).unwrap()
        }
    }

    /// Those of one parity go together.
    impl Change for u64 {
        fn take(&mut self, other: Self) -> Option<Self> {
            if *self % 2 != other % 2 {
                return Some(other);
            }
            *self += other;
            None
        }
    }

    fn id(number: u64) -> ObjectId {
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&number.to_be_bytes());
        ObjectId::from_bytes(bytes)
    }

    fn at(time: i64) -> Visit {
        Visit { start: time, end: time, page_views: 1, tool_uses: 0 }
    }

    fn filled(limit: usize) -> Shards<Sum, ()> {
        let shards = Shards::new(0..SHARDS, limit);
        let mut found = Found::default();
        for number in 0..5_000 {
            found.add(Some(id(number)), (), at(0), Some((id(number), 1)));
        }
        found.end_slice();
        shards.take(&mut found);
        shards
    }

    fn bytes_of_all(shards: &Shards<Sum, ()>) -> usize {
        shards.held().filter_map(|number| shards.with(number, |shard| shard.bytes())).sum()
    }

    /// How long 200,000 sessions with these ids take.
    fn time_of_sessions(id: impl Fn(u32) -> [u8; 12]) -> Duration {
        let started = Instant::now();
        let shards: Shards<Sum, ()> = Shards::new(0..SHARDS, usize::MAX);
        let mut found = Found::default();
        for number in 0..200_000 {
            found.add(Some(ObjectId::from_bytes(id(number))), (), at(0), None);
        }
        found.end_slice();
        shards.take(&mut found);
        started.elapsed()
    }

    #[test]
    fn sessions_whose_ids_collided_without_a_seed_take_no_longer_than_others() {
        let with_head = |head: u64, number: u32| {
            let mut bytes = [0; 12];
            bytes[..8].copy_from_slice(&head.to_be_bytes());
            bytes[8..].copy_from_slice(&number.to_be_bytes());
            bytes
        };
        let chosen = time_of_sessions(|number| with_head(0xd308_a385_886a_3f24, number));
        let others =
            time_of_sessions(|number| with_head(u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15), number));
        // They took minutes.
        assert!(chosen < 10 * others + Duration::from_secs(2), "{chosen:?}, others {others:?}");
    }

    #[test]
    fn changes_of_a_session_reach_their_users_whether_they_go_together_or_not() {
        let shards = Shards::<Sum, ()>::new(0..SHARDS, usize::MAX);
        let mut found = Found::default();
        for (session, user, change) in
            [(Some(1), 1, 2), (Some(1), 1, 4), (Some(1), 1, 5), (Some(1), 2, 2), (None, 1, 8), (Some(1), 1, 16)]
        {
            found.add(session.map(id), (), at(0), Some((id(user), change)));
        }
        found.end_slice();
        shards.take(&mut found);
        let sum = |user| shards.with(shard_of(&id(user)), |shard| shard.users[&id(user)].0);
        assert_eq!([sum(1), sum(2)], [Some(35), Some(2)]);
        assert_eq!(shards.user_count(), 2);
    }

    #[test]
    fn bytes_are_those_of_what_is_held() {
        let shards = filled(usize::MAX);
        assert_eq!(shards.user_count(), 5_000);
        assert_eq!(shards.bytes(), bytes_of_all(&shards));
        assert!(shards.bytes() > 5_000 * (size_of::<(ObjectId, Sum)>() + 10 + 32));
    }

    #[test]
    fn what_does_not_fit_is_let_go_and_does_not_come_back() {
        let whole = filled(usize::MAX).bytes();
        let shards = filled(whole / 3);
        assert_eq!(shards.held(), 0..SHARDS / 4);
        assert!(shards.bytes() <= whole / 3);
        assert!(shards.user_count() > 5_000 / 5);
        assert_eq!(shards.bytes(), bytes_of_all(&shards));

        let mut found = Found::default();
        let lost = (0..).map(id).find(|id| shard_of(id) == SHARDS - 1).unwrap();
        found.add(Some(lost), (), at(0), Some((lost, 1)));
        found.end_slice();
        shards.take(&mut found);
        assert!(!shards.has_user(&lost));
        assert_eq!(shards.bytes(), bytes_of_all(&shards));
        // Not kept for the next time either.
        assert!(found.shares.iter().all(|share| share.changes.is_empty() && share.sessions.is_empty()));
    }

    #[test]
    fn what_readers_hold_beside_counts() {
        let shards = filled(usize::MAX / 2);
        shards.beside(0, usize::MAX / 2);
        shards.take(&mut Found::default());
        assert_eq!(shards.held(), 0..1);
        let shards = filled(usize::MAX / 2);
        shards.beside(0, usize::MAX / 2);
        shards.beside(usize::MAX / 2, 7);
        shards.take(&mut Found::default());
        assert_eq!(shards.held(), 0..SHARDS);
    }

    #[test]
    fn one_shard_stays_whatever_it_takes() {
        let shards = filled(0);
        assert_eq!(shards.held(), 0..1);
        assert!(shards.user_count() > 0);
    }

    #[test]
    fn a_reader_gathers_no_more_than_it_may() {
        let mut found = Found::<Sum, ()>::default();
        for number in 0..MOST_GATHERED as u64 {
            found.add(Some(id(number)), (), at(0), None);
        }
        assert!(found.sessions.is_empty());
        assert_eq!(found.sessions.capacity(), MOST_GATHERED);
        assert_eq!(found.shares.iter().map(|share| share.sessions.len()).sum::<usize>(), MOST_GATHERED);
        let of_a_day = size_of::<(ObjectId, Current<crate::fold::Change, ()>)>();
        let of_rows = size_of::<(ObjectId, Current<crate::ledger::book::Change, Option<ObjectId>>)>();
        assert!(PLACES * (of_a_day.max(of_rows) + 1) <= 9_000_000, "{of_a_day}, {of_rows}");
    }
}
