//! Pseudonyms: of equal ids equal ones under a key, and nothing in common between two keys.

use std::fmt;

use anyhow::ensure;
use bson::oid::ObjectId;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of a secret that a key is made of.
pub const SECRET_BYTES: usize = 32;

/// What an id stands for. A user and a session with the same bytes get different pseudonyms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `userId`.
    User,
    /// `sessionId`.
    Session,
}

/// Whoever has the key finds out which pseudonym an id has, so it lives only while events are being rewritten.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// The key of a secret.
    ///
    /// # Errors
    /// The secret has not [`SECRET_BYTES`].
    pub fn of(secret: &[u8]) -> anyhow::Result<Self> {
        let length = secret.len();
        ensure!(length == SECRET_BYTES, "the key of the pseudonyms has {length} bytes, expected {SECRET_BYTES}");
        Ok(Self(Hmac::new_from_slice(secret)?))
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
    fn one_id_has_one_pseudonym_under_a_key_and_another_under_the_next_key() {
        let [monday, tuesday] = [[1; SECRET_BYTES], [2; SECRET_BYTES]].map(|secret| Key::of(&secret).unwrap());
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
        assert!(Key::of(&[1; 16]).unwrap_err().to_string().contains("16 bytes, expected 32"));
        assert_eq!(format!("{:?}", Key::of(&[1; SECRET_BYTES]).unwrap()), "Key");
    }
}
