//! Hash tables by ObjectId.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use bson::oid::ObjectId;

/// A hash table by ObjectId.
pub type IdMap<V> = HashMap<ObjectId, V, BuildHasherDefault<IdHasher>>;

/// Takes the 12 bytes of an ObjectId as they are written, as 8 and 4. `FxHasher` takes the last 8 once more, which a processor
/// that has just written them cannot read yet: waiting for that was 3 percent of a scan's profile, for the tools alone.
#[derive(Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (head, tail) = bytes.split_first_chunk().unwrap_or((&[0; 8], bytes));
        let tail = tail.first_chunk().unwrap_or(&[0; 4]);
        // As in FxHasher: digits of pi, and both halves of the product.
        let head = u64::from_le_bytes(*head) ^ 0x243f_6a88_85a3_08d3;
        let tail = u64::from(u32::from_le_bytes(*tail)) ^ 0x1319_8a2e_0370_7344;
        let product = u128::from(head) * u128::from(tail);
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    /// Of all ObjectIds the same.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    fn hash(bytes: [u8; 12]) -> u64 {
        BuildHasherDefault::<IdHasher>::default().hash_one(ObjectId::from_bytes(bytes))
    }

    #[test]
    fn ids_that_differ_in_one_byte_spread_over_a_table() {
        // A table of 4,096 places uses 12 bits below, and 7 above to tell apart what shares a place.
        for at in 0..12 {
            let hashes = (0..=u8::MAX).map(|byte| {
                let mut bytes = *b"\x65\xa0\x12\x34machi\x01\x02\x03";
                bytes[at] = byte;
                hash(bytes)
            });
            let (places, tags): (HashSet<_>, HashSet<_>) = hashes.map(|hash| (hash % 4096, hash >> 57)).unzip();
            assert!(places.len() > 200, "byte {at}: {} places", places.len());
            assert!(tags.len() > 50, "byte {at}: {} tags", tags.len());
        }
    }
}
