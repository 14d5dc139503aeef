//! Pseudonyms: of equal ids equal ones within a day, and nothing in common between two days.

use std::fmt;

use anyhow::ensure;
use bson::Binary;
use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const BYTES: usize = 32;

/// What an id stands for. A user and a session with the same bytes get different pseudonyms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `userId`.
    User,
    /// `sessionId`.
    Session,
}

/// A day's key: whoever has it finds out which pseudonym an id has, so it lives only while the day is being rewritten.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// A new key, as it is stored.
    pub fn random() -> Binary {
        Binary { subtype: BinarySubtype::Generic, bytes: rand::random::<[u8; BYTES]>().to_vec() }
    }

    /// The key that is stored.
    ///
    /// # Errors
    /// It is not of 32 bytes.
    pub fn of(stored: &Binary) -> anyhow::Result<Self> {
        let length = stored.bytes.len();
        ensure!(length == BYTES, "anonymisation.key in rollup_days has {length} bytes, expected {BYTES}");
        Ok(Self(Hmac::new_from_slice(&stored.bytes)?))
    }

    /// The pseudonym of `id`: HMAC-SHA-256, cut to the length of an ObjectId.
    pub fn pseudonym(&self, kind: Kind, id: ObjectId) -> ObjectId {
        let kind = match kind {
            Kind::User => b'u',
            Kind::Session => b's',
        };
        let digest = self.0.clone().chain_update([kind]).chain_update(id.bytes()).finalize().into_bytes();
        let mut bytes = [0; 12];
        bytes.copy_from_slice(&digest[..12]);
        ObjectId::from_bytes(bytes)
    }
}

/// Shows nothing of it.
impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_id_has_one_pseudonym_a_day_and_another_the_next_day() {
        let [monday, tuesday] = [Key::random(), Key::random()].map(|key| Key::of(&key).unwrap());
        let id = ObjectId::from_bytes([7; 12]);
        assert_eq!(monday.pseudonym(Kind::User, id), monday.clone().pseudonym(Kind::User, id));
        let others = [
            id,
            tuesday.pseudonym(Kind::User, id),
            monday.pseudonym(Kind::Session, id),
            monday.pseudonym(Kind::User, ObjectId::from_bytes([8; 12])),
        ];
        assert!(!others.contains(&monday.pseudonym(Kind::User, id)));
    }

    #[test]
    fn a_key_of_another_length_is_refused_and_none_is_shown() {
        let short = Binary { subtype: BinarySubtype::Generic, bytes: vec![1; 16] };
        assert!(Key::of(&short).unwrap_err().to_string().contains("16 bytes, expected 32"));
        assert_eq!(format!("{:?}", Key::of(&Key::random()).unwrap()), "Key");
    }
}
