//! The sessions of a shard, set aside so that millions of them are small: in a list, without the slack of a hash table. A
//! session that goes on in another slice of time gets another entry; what belongs together is joined at the end.

use std::collections::hash_map::Entry;

use bson::oid::ObjectId;

use super::ids::IdMap;
use super::visits::{Session, Several, Single};

/// Sessions that are allocated at once: so many that their slack is small beside a shard that matters.
const CHUNK: usize = 256;

/// Whose a session is, if that is of interest.
pub trait Owner: Copy + Default + Send + 'static {
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
pub struct Part<O> {
    /// Whose it is.
    pub owner: O,
    /// Its visits.
    pub session: Session,
}

/// Parts of sessions, in no order.
#[derive(Debug, Default)]
pub struct Sessions<O> {
    /// In chunks, so that it grows without being moved.
    single: Vec<Vec<(ObjectId, O, Single)>>,
    several: Vec<(ObjectId, O, Box<Several>)>,
    /// Bytes that the latter own beside.
    heap: usize,
}

impl<O: Owner> Part<O> {
    fn merge(&mut self, other: Self) {
        self.owner = self.owner.joined(other.owner);
        self.session.merge(other.session);
    }
}

impl<O: Owner> Sessions<O> {
    /// Sets a part aside.
    pub fn push(&mut self, id: ObjectId, part: Part<O>) {
        self.heap += part.session.heap_bytes();
        let single = match part.session {
            Session::Single(single) => single,
            Session::Several(several) => return self.several.push((id, part.owner, several)),
        };
        match self.single.last_mut().filter(|chunk| chunk.len() < CHUNK) {
            Some(chunk) => chunk.push((id, part.owner, single)),
            None => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push((id, part.owner, single));
                self.single.push(chunk);
            }
        }
    }

    /// Shows every session as a whole, in no order.
    pub fn for_each(self, mut show: impl FnMut(O, &Session)) {
        let mut whole: IdMap<Part<O>> = IdMap::default();
        whole.reserve(self.len());
        for (id, part) in self.into_parts() {
            match whole.entry(id) {
                Entry::Occupied(mut known) => known.get_mut().merge(part),
                Entry::Vacant(free) => drop(free.insert(part)),
            }
        }
        whole.values().for_each(|part| show(part.owner, &part.session));
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.single.len() * CHUNK * size_of::<(ObjectId, O, Single)>()
            + self.several.capacity() * size_of::<(ObjectId, O, Box<Several>)>()
            + self.heap
    }

    fn len(&self) -> usize {
        self.single.iter().map(Vec::len).sum::<usize>() + self.several.len()
    }

    fn into_parts(self) -> impl Iterator<Item = (ObjectId, Part<O>)> {
        let single = self.single.into_iter().flatten().map(|(id, owner, single)| (id, owner, Session::Single(single)));
        let several = self.several.into_iter().map(|(id, owner, several)| (id, owner, Session::Several(several)));
        single.chain(several).map(|(id, owner, session)| (id, Part { owner, session }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::visits::Visit;
    use super::*;

    fn id(number: u64) -> ObjectId {
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&number.to_be_bytes());
        ObjectId::from_bytes(bytes)
    }

    fn part<O>(owner: O, time: i64) -> Part<O> {
        Part { owner, session: Session::of(Visit { start: time, end: time, page_views: 1, tool_uses: 0 }) }
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
        let mut sessions = Sessions::default();
        for slice in 0..3 {
            (0..5_000).for_each(|number| sessions.push(id(number), part((), slice)));
        }
        let whole = whole(sessions);
        assert_eq!(whole.len(), 5_000);
        let expected = Visit { start: 0, end: 2, page_views: 3, tool_uses: 0 };
        assert!(whole.iter().all(|(_, visits)| *visits == [expected]));
    }

    #[test]
    fn a_shared_session_is_the_one_with_the_smallest_id_whatever_the_order() {
        for owners in [[None, Some(id(2)), Some(id(1))], [Some(id(1)), Some(id(2)), None]] {
            let mut sessions = Sessions::default();
            owners.into_iter().for_each(|owner| sessions.push(id(7), part(owner, 0)));
            assert_eq!(whole(sessions).iter().map(|(owner, _)| *owner).collect::<Vec<_>>(), [Some(id(1))]);
        }
    }
}
