//! Hash tables by ObjectId. Senders choose the ids, so what spreads them over a table is a secret of the process.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use bson::oid::ObjectId;

/// A hash table by ObjectId.
pub type IdMap<V> = HashMap<ObjectId, V, IdState>;

/// The secrets of the tables, and of the shards: independent, or a shard's table would use a part of its places.
static SECRETS: LazyLock<[IdState; 2]> = LazyLock::new(|| {
    let random = RandomState::new();
    [0_u8, 2].map(|number| IdState { head: random.hash_one(number), tail: random.hash_one(number + 1) })
});

/// About the bytes of a hash table with room for `capacity` entries of `entry` bytes each: for 7 entries the table has 8 places,
/// each with a byte of its own.
pub const fn table_bytes(capacity: usize, entry: usize) -> usize {
    capacity * 8 / 7 * (entry + 1)
}

/// What a hash begins with.
#[derive(Clone, Copy, Debug)]
pub struct IdState {
    head: u64,
    tail: u64,
}

impl Default for IdState {
    fn default() -> Self {
        SECRETS[0]
    }
}

impl BuildHasher for IdState {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher { state: *self, hash: 0 }
    }
}

/// A number of this id that neither the seconds in an ObjectId nor the tables' own hash decide about.
pub fn spread(id: &ObjectId) -> u64 {
    SECRETS[1].hash(&id.bytes())
}

/// Takes the 12 bytes of an ObjectId as they are written, as 8 and 4. `FxHasher` and foldhash take the last 8 once more, which a
/// processor that has just written them cannot read yet: with `FxHasher`, waiting for that was 3 percent of a scan's profile, for
/// the tools alone.
#[derive(Debug)]
pub struct IdHasher {
    state: IdState,
    hash: u64,
}

impl IdState {
    #[inline]
    fn hash(&self, bytes: &[u8]) -> u64 {
        let (head, tail) = bytes.split_first_chunk().unwrap_or((&[0; 8], bytes));
        let tail = tail.first_chunk().unwrap_or(&[0; 4]);
        let head = u64::from_le_bytes(*head) ^ self.head;
        let tail = u64::from(u32::from_le_bytes(*tail)) ^ self.tail;
        // With some secrets, a single product leaves the same upper bits to all ids that differ in one byte.
        folded(folded(head, tail), MIX)
    }
}

/// An odd number whose bits look random: 2^64 divided by the golden ratio.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

const fn folded(left: u64, right: u64) -> u64 {
    let product = left as u128 * right as u128;
    product as u64 ^ (product >> 64) as u64
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.hash = self.state.hash(bytes);
    }

    /// Of all ObjectIds the same.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn hash(bytes: [u8; 12]) -> u64 {
        IdState::default().hash_one(ObjectId::from_bytes(bytes))
    }

    #[test]
    fn ids_chosen_against_a_hash_without_a_secret_spread_over_tables_and_shards() {
        // With digits of pi in the place of the secret, one factor was 0 for all of them.
        let ids = (0..4096_u32).map(|number| {
            let mut bytes = *b"\xd3\x08\xa3\x85\x88\x6a\x3f\x24\0\0\0\0";
            bytes[8..].copy_from_slice(&number.to_le_bytes());
            ObjectId::from_bytes(bytes)
        });
        let (hashes, shards): (HashSet<_>, HashSet<_>) =
            ids.map(|id| (hash(id.bytes()) % 4096, spread(&id) % 64)).unzip();
        assert!(hashes.len() > 2_000, "{} places", hashes.len());
        assert_eq!(shards.len(), 64);
    }

    proptest! {
        #[test]
        fn ids_that_differ_in_one_byte_spread_over_a_table(head: u64, tail: u64, at in 0..12_usize) {
            // A table of 4,096 places uses 12 bits below, and 7 above to tell apart what shares a place.
            let hashes = (0..=u8::MAX).map(|byte| {
                let mut bytes = *b"\x65\xa0\x12\x34machi\x01\x02\x03";
                bytes[at] = byte;
                IdState { head, tail }.hash(&bytes)
            });
            let (places, tags): (HashSet<_>, HashSet<_>) = hashes.map(|hash| (hash % 4096, hash >> 57)).unzip();
            prop_assert!(places.len() > 200, "byte {at}: {} places", places.len());
            prop_assert!(tags.len() > 50, "byte {at}: {} tags", tags.len());
        }
    }
}
