//! The sessions of a day, held so that millions of them are small and quick.
//!
//! Those of the slice of time that is being read have a hash table, which is small and therefore quick. At the slice's end
//! they are set aside in the list of their shard, without the slack of a hash table. A session that goes on in another slice
//! gets another entry there: what belongs together is joined at the end, one shard at a time.

use std::collections::hash_map::Entry;
use std::hint::black_box;
use std::ops::Range;

use bson::oid::ObjectId;
use rustc_hash::FxHashMap;

use super::visits::{Session, Several, Single, Visit};
use super::{shard_of, table_bytes};

/// Sessions of a list that are allocated at once: so many that their slack is small beside a shard that matters.
const CHUNK: usize = 256;

/// Whose a session is, if that is of interest.
pub trait Owner: Copy {
    /// Whose a session is that two parts of it say different things of; independent of their order.
    fn joined(self, other: Self) -> Self;
}

/// It is of no interest.
impl Owner for () {
    fn joined(self, (): Self) -> Self {}
}

/// Where the events of several users name the same session, it is the one's with the smallest id: any rule will do that does
/// not depend on the order of the events.
impl Owner for Option<ObjectId> {
    fn joined(self, other: Self) -> Self {
        self.into_iter().chain(other).min()
    }
}

/// A session, or a part of one.
#[derive(Clone, Debug)]
struct Part<O> {
    owner: O,
    session: Session,
}

/// The sessions of some shards.
#[derive(Clone, Debug)]
pub struct Sessions<O> {
    held: Range<usize>,
    /// Those of the present slice.
    table: FxHashMap<ObjectId, Part<O>>,
    /// Bytes that these own beside.
    heap: usize,
    /// For each held shard.
    set_aside: Vec<List<O>>,
}

/// What is set aside of a shard.
#[derive(Clone, Debug)]
struct List<O> {
    /// In chunks, so that it grows and is joined without being moved.
    single: Vec<Vec<(ObjectId, O, Single)>>,
    several: Vec<(ObjectId, O, Box<Several>)>,
    /// Bytes that the latter own beside.
    heap: usize,
}

impl<O: Owner> Sessions<O> {
    /// Takes the sessions of these shards, and passes over others.
    pub fn of_shards(held: Range<usize>) -> Self {
        let set_aside = held.clone().map(|_| List::default()).collect();
        Self { held, table: FxHashMap::default(), heap: 0, set_aside }
    }

    /// Adds one event.
    pub fn add(&mut self, id: ObjectId, owner: O, event: Visit) {
        if !self.held.contains(&shard_of(&id)) {
            return;
        }
        match self.table.entry(id) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                self.heap -= known.session.heap_bytes();
                known.owner = known.owner.joined(owner);
                known.session.add(event);
                self.heap += known.session.heap_bytes();
            }
            Entry::Vacant(free) => {
                let part = free.insert(Part { owner, session: Session::of(event) });
                self.heap += part.session.heap_bytes();
            }
        }
    }

    /// The slice of time is over: its sessions are set aside.
    pub fn end_slice(&mut self) {
        self.heap = 0;
        for (id, part) in self.table.drain() {
            if let Some(list) =
                shard_of(&id).checked_sub(self.held.start).and_then(|index| self.set_aside.get_mut(index))
            {
                list.push(id, part);
            }
        }
    }

    /// Looks at what adding an event of a session will look at, so that it is in the cache by then.
    pub fn look_up(&self, id: &ObjectId) {
        black_box(self.table.contains_key(id));
    }

    /// Drops the shards from `end` on, and their memory.
    pub fn keep(&mut self, end: usize) {
        self.held.end = end.clamp(self.held.start, self.held.end);
        self.end_slice();
        self.table = FxHashMap::default();
        self.set_aside.truncate(self.held.len());
    }

    /// Bytes of all sessions.
    pub fn bytes(&self) -> usize {
        table_bytes(&self.table) + self.heap + self.set_aside.iter().map(List::bytes).sum::<usize>()
    }

    /// Adds everything that another part of the same day holds; both hold the same shards.
    pub fn merge(&mut self, mut other: Self) {
        self.end_slice();
        other.end_slice();
        for (list, other) in self.set_aside.iter_mut().zip(other.set_aside) {
            list.single.extend(other.single);
            list.several.extend(other.several);
            list.heap += other.heap;
        }
    }

    /// Shows every session as a whole, in no order.
    pub fn for_each(mut self, mut show: impl FnMut(O, &Session)) {
        self.end_slice();
        let mut whole: FxHashMap<ObjectId, Part<O>> = FxHashMap::default();
        for list in self.set_aside {
            whole.reserve(list.len());
            for (id, part) in list.into_parts() {
                match whole.entry(id) {
                    Entry::Occupied(mut known) => known.get_mut().merge(part),
                    Entry::Vacant(free) => drop(free.insert(part)),
                }
            }
            whole.drain().for_each(|(_, part)| show(part.owner, &part.session));
        }
    }
}

impl<O: Owner> Part<O> {
    fn merge(&mut self, other: Self) {
        self.owner = self.owner.joined(other.owner);
        self.session.merge(other.session);
    }
}

impl<O> Default for List<O> {
    fn default() -> Self {
        Self { single: Vec::new(), several: Vec::new(), heap: 0 }
    }
}

impl<O> List<O> {
    fn push(&mut self, id: ObjectId, part: Part<O>) {
        self.heap += part.session.heap_bytes();
        let single = match part.session {
            Session::Single(single) => single,
            Session::Several(several) => return self.several.push((id, part.owner, several)),
        };
        match self.single.last_mut().filter(|chunk| chunk.len() < chunk.capacity()) {
            Some(chunk) => chunk.push((id, part.owner, single)),
            None => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push((id, part.owner, single));
                self.single.push(chunk);
            }
        }
    }

    fn len(&self) -> usize {
        self.single.iter().map(Vec::len).sum::<usize>() + self.several.len()
    }

    fn into_parts(self) -> impl Iterator<Item = (ObjectId, Part<O>)> {
        let single = self.single.into_iter().flatten().map(|(id, owner, single)| (id, owner, Session::Single(single)));
        let several = self.several.into_iter().map(|(id, owner, several)| (id, owner, Session::Several(several)));
        single.chain(several).map(|(id, owner, session)| (id, Part { owner, session }))
    }

    fn bytes(&self) -> usize {
        self.single.iter().map(Vec::capacity).sum::<usize>() * size_of::<(ObjectId, O, Single)>()
            + self.several.capacity() * size_of::<(ObjectId, O, Box<Several>)>()
            + self.heap
    }
}

#[cfg(test)]
mod tests {
    use super::super::SHARDS;
    use super::*;

    fn id(number: u64) -> ObjectId {
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&number.to_be_bytes());
        ObjectId::from_bytes(bytes)
    }

    fn at(time: i64) -> Visit {
        Visit { start: time, end: time, page_views: 1, tool_uses: 0 }
    }

    fn whole<O: Owner>(sessions: Sessions<O>) -> Vec<(O, Vec<Visit>)> {
        let mut whole = Vec::new();
        sessions.for_each(|owner, session| whole.push((owner, session.visits().collect())));
        whole
    }

    #[test]
    fn a_session_is_as_small_as_promised() {
        assert_eq!(size_of::<(ObjectId, (), Single)>(), 32);
        assert_eq!(size_of::<(ObjectId, Option<ObjectId>, Single)>(), 48);
    }

    #[test]
    fn sessions_that_go_on_in_other_slices_are_whole_in_the_end() {
        let mut sessions = Sessions::of_shards(0..SHARDS);
        for slice in 0..3 {
            (0..5_000).for_each(|number| sessions.add(id(number), (), at(slice)));
            sessions.end_slice();
        }
        let whole = whole(sessions);
        assert_eq!(whole.len(), 5_000);
        let expected = Visit { start: 0, end: 2, page_views: 3, tool_uses: 0 };
        assert!(whole.iter().all(|(_, visits)| *visits == [expected]));
    }

    #[test]
    fn a_shared_session_is_the_one_with_the_smallest_id_whatever_the_order() {
        for owners in [[None, Some(id(2)), Some(id(1))], [Some(id(1)), Some(id(2)), None]] {
            let mut parts = owners.map(|owner| {
                let mut sessions = Sessions::of_shards(0..SHARDS);
                sessions.add(id(7), owner, at(0));
                sessions
            });
            let [first, others @ ..] = &mut parts;
            others.iter().for_each(|other| first.merge(other.clone()));
            first.add(id(7), None, at(1));
            assert_eq!(whole(first.clone()).iter().map(|(owner, _)| *owner).collect::<Vec<_>>(), [Some(id(1))]);
        }
    }

    #[test]
    fn what_is_dropped_does_not_come_back_and_frees_its_memory() {
        let mut sessions = Sessions::of_shards(0..SHARDS);
        (0..50_000).for_each(|number| sessions.add(id(number), (), at(0)));
        let before = sessions.bytes();
        sessions.keep(SHARDS / 4);
        assert!(sessions.bytes() < before / 2);
        sessions.add(id((0..).find(|number| shard_of(&id(*number)) == SHARDS - 1).unwrap()), (), at(0));
        let expected = (0..50_000).filter(|number| shard_of(&id(*number)) < SHARDS / 4).count();
        assert_eq!(whole(sessions).len(), expected);
    }
}
