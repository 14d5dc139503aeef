//! What makes an event the same event: `source`, `id` and the second of `time`.

use bson::oid::ObjectId;
use sha2::{Digest, Sha256};

use super::Event;

/// Which way [`Event::document_id`] goes. Under another definition each event has another `_id`, and an event that is read
/// again is stored a second time: `admin migrate` says so.
///
/// Definition 1 had xxh3-64 where definition 2 has SHA-256. A second preimage of xxh3-64 takes a second to find, so a sender
/// could make an event that kept somebody else's from being stored.
pub const IDENTITY_DEFINITION: u32 = 2;

impl Event<'_> {
    /// The document's `_id`: 4 bytes, the seconds of `time`, big endian; then the first 8 bytes of the SHA-256 of `source`, a
    /// zero byte and `id`. The same event has the same `_id` whoever writes it and however often. Neither text holds a zero
    /// byte, so no two pairs are the same bytes.
    pub fn document_id(&self) -> ObjectId {
        let hash = Sha256::new().chain_update(&*self.source).chain_update([0_u8]).chain_update(&*self.id).finalize();
        let mut bytes = [0; 12];
        // The accepted time lies within 1970 to 2106, which the four bytes can tell apart.
        bytes[..4].copy_from_slice(&(self.time.millis().div_euclid(1_000) as u32).to_be_bytes());
        bytes[4..].copy_from_slice(&hash[..8]);
        ObjectId::from_bytes(bytes)
    }
}
