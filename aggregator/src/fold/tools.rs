//! What a day knows of each tool. Senders choose the ids of tools: of those that the collection `tools` has, each is counted for
//! itself; of others only as long as there are few. When there are more, all of them are counted together.
//!
//! Invariant: whether they are counted together depends on how many they are, not on the order, the slices or the readers of the
//! events.

use std::collections::HashSet;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use bson::oid::ObjectId;

use super::ids::{IdMap, IdState, table_bytes};

/// Tools that are not in `tools`, each counted for itself: of more, all are counted together. A day has 25 KB of each at most, and
/// a reader each.
pub const MOST_UNKNOWN: usize = 500;

/// The id under which unknown tools are counted together.
pub const TOGETHER: ObjectId = ObjectId::from_bytes([0; 12]);

/// The tools of the collection `tools`.
#[derive(Clone, Debug, Default)]
pub struct Known(Arc<HashSet<ObjectId, IdState>>);

impl Known {
    fn has(&self, id: &ObjectId) -> bool {
        self.0.contains(id)
    }
}

impl FromIterator<ObjectId> for Known {
    fn from_iter<T: IntoIterator<Item = ObjectId>>(ids: T) -> Self {
        // A tool with this id would share the row of those that are counted together.
        Self(Arc::new(ids.into_iter().filter(|id| *id != TOGETHER).collect()))
    }
}

/// A tool's part of a day.
pub trait Tool: Default {
    /// Adds everything that another part of the same day holds.
    fn merge(&mut self, other: Self);

    /// Bytes held outside of the value itself, about.
    fn heap_bytes(&self) -> usize;
}

/// The tools of a day.
#[derive(Clone, Debug)]
pub struct Tools<T> {
    known: Known,
    each: IdMap<T>,
    /// How many of `each` are not known.
    unknown: usize,
    /// The unknown ones, once there are too many.
    together: Option<T>,
}

impl<T: Tool> Tools<T> {
    /// None yet.
    pub fn new(known: &Known) -> Self {
        Self { known: known.clone(), each: IdMap::default(), unknown: 0, together: None }
    }

    /// Where a tool is counted.
    #[inline]
    pub fn entry(&mut self, id: ObjectId) -> &mut T {
        self.settle();
        match self.each.entry(id) {
            Entry::Occupied(tool) => tool.into_mut(),
            Entry::Vacant(place) => {
                if self.known.has(&id) {
                    return place.insert(T::default());
                }
                match &mut self.together {
                    Some(together) => together,
                    None => {
                        self.unknown += 1;
                        place.insert(T::default())
                    }
                }
            }
        }
    }

    /// The id under which a tool is counted from now on.
    #[inline]
    pub fn counted_as(&self, id: ObjectId) -> ObjectId {
        if self.together.is_none() || self.known.has(&id) { id } else { TOGETHER }
    }

    /// Takes in what another reader has.
    pub fn merge(&mut self, other: Self) {
        if let Some(more) = other.together {
            self.put_together().merge(more);
        }
        for (id, tool) in other.each {
            self.entry(id).merge(tool);
        }
        self.settle();
    }

    /// Each tool that is counted for itself, with its id, in no order.
    pub fn each(&self) -> impl Iterator<Item = (&ObjectId, &T)> {
        self.each.iter()
    }

    /// The unknown tools that are counted together, where there are so many.
    pub fn together(&self) -> Option<&T> {
        self.together.as_ref()
    }

    /// The tool that is counted under this id.
    pub fn has(&self, id: &ObjectId) -> bool {
        self.each.contains_key(id)
    }

    /// About the bytes that they take.
    pub fn bytes(&self) -> usize {
        let table = table_bytes(self.each.capacity(), size_of::<(ObjectId, T)>());
        let together = self.together.iter().map(T::heap_bytes);
        table + self.each.values().map(T::heap_bytes).chain(together).sum::<usize>()
    }

    #[inline]
    fn settle(&mut self) {
        if self.unknown > MOST_UNKNOWN {
            self.put_together();
        }
    }

    #[cold]
    fn put_together(&mut self) -> &mut T {
        let together = self.together.get_or_insert_default();
        self.unknown = 0;
        let known = &self.known;
        self.each.extract_if(|id, _| !known.has(id)).for_each(|(_, tool)| together.merge(tool));
        together
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    struct Uses(u64);

    impl Tool for Uses {
        fn merge(&mut self, other: Self) {
            self.0 += other.0;
        }

        fn heap_bytes(&self) -> usize {
            0
        }
    }

    fn id(number: usize) -> ObjectId {
        let mut bytes = [7; 12];
        bytes[4..].copy_from_slice(&(number as u64).to_be_bytes());
        ObjectId::from_bytes(bytes)
    }

    /// Ten are known.
    fn counted(tools: &[usize]) -> Tools<Uses> {
        let mut counted = Tools::<Uses>::new(&(0..10).map(id).collect());
        tools.iter().for_each(|number| counted.entry(id(*number)).0 += 1);
        counted.settle();
        counted
    }

    fn seen(tools: &Tools<Uses>) -> (BTreeMap<ObjectId, u64>, Option<Uses>) {
        (tools.each().map(|(id, uses)| (*id, uses.0)).collect(), tools.together().cloned())
    }

    #[test]
    fn as_many_unknown_tools_as_may_be_are_counted_each_and_one_more_puts_all_together() {
        let most: Vec<_> = (0..MOST_UNKNOWN + 10).collect();
        assert_eq!(seen(&counted(&most)).0.len(), most.len());
        let more: Vec<_> = (0..MOST_UNKNOWN + 11).chain([3, 3, 77]).collect();
        let tools = counted(&more);
        let (each, together) = seen(&tools);
        assert_eq!(each.len(), 10);
        assert_eq!((each[&id(3)], each[&id(4)]), (3, 1), "known tools are exact");
        assert_eq!(together, Some(Uses(MOST_UNKNOWN as u64 + 2)));
        assert_eq!((tools.counted_as(id(3)), tools.counted_as(id(77))), (id(3), TOGETHER));
    }

    #[test]
    fn a_tool_cannot_be_known_by_the_id_of_those_together() {
        assert!(!Known::from_iter([TOGETHER]).has(&TOGETHER));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn order_and_slices_do_not_show(
            tools in prop::collection::vec(0..MOST_UNKNOWN + 200, 0..3_000), cut in 0..3_000_usize, again in 0..3_000_usize,
        ) {
            let whole = counted(&tools);
            let (left, right) = tools.split_at(cut.min(tools.len()));
            let (middle, right) = right.split_at(again.min(right.len()));
            let mut merged = counted(right);
            merged.merge(counted(left));
            merged.merge(counted(middle));
            prop_assert_eq!(seen(&merged), seen(&whole));
        }
    }
}
