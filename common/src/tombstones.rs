//! Who was erased: whether an id is an erased person's, or that of one of their sessions, without knowing the ids of the erased.
//!
//! A tombstone holds an HMAC-SHA-256 digest of an id, and a tag: SipHash-1-3 of the same id. Both are made with a key of the keyring,
//! so nobody without the key can tell whose they are. The tag is the first look, at a few nanoseconds; the digest decides. Tombstones
//! are in the collection `erasures`, and on the compacted topic `<topic>.erasures`, which a restored database does not take back.

pub mod follow;
pub mod topic;

use std::hash::Hasher as _;
use std::sync::Arc;

use bson::DateTime;
use bson::oid::ObjectId;
use foldhash::HashSet;
use futures::TryStreamExt as _;
use mongodb::Database;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use crate::documents::erasure::{self, Erasure, Kind};
use crate::event::{Data, Event};
use crate::keyring::{Keyring, Purpose};

/// An id of a person, or of one of a person's sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// `users._id`, the `userId` of events.
    User(ObjectId),
    /// `sessions._id`, the `sessionId` of events.
    Session(ObjectId),
}

impl Subject {
    /// Whom an event is about: its user, or without one its session.
    pub fn of(event: &Event<'_>) -> Option<Self> {
        let (user, session) = match &event.data {
            Data::ToolUsage(usage) => (usage.user_id, Some(usage.session_id)),
            Data::Activity(activity) => (activity.user_id, activity.session_id),
            Data::HealthCheck(_) => return None,
        };
        user.map(Self::User).or(session.map(Self::Session))
    }

    /// What the tombstone is of.
    pub const fn kind(self) -> Kind {
        match self {
            Self::User(_) => Kind::User,
            Self::Session(_) => Kind::Session,
        }
    }

    /// What digests of the id are made of.
    pub fn bytes(self) -> [u8; 13] {
        let (first, id) = match self {
            Self::User(id) => (b'u', id),
            Self::Session(id) => (b's', id),
        };
        let mut bytes = [first; 13];
        bytes[1..].copy_from_slice(&id.bytes());
        bytes
    }

    /// The digests of the id under each key that is not retired, the current key's first.
    pub fn digests(self, keyring: &Keyring) -> Vec<String> {
        keyring.digests(Purpose::Subject, &self.bytes())
    }
}

/// What is kept of an erased id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tombstone {
    /// `<key id>:<HMAC-SHA-256 in hexadecimal>`.
    pub digest: String,
    /// What it is of.
    pub kind: Kind,
    /// SipHash-1-3 of the id, as a signed number.
    pub tag: i64,
    /// When the erasure was asked for, milliseconds since 1970.
    pub requested_at: i64,
}

impl Tombstone {
    /// The tombstone of an id under the current key.
    pub fn of(subject: Subject, keyring: &Keyring, requested_at: DateTime) -> Self {
        let bytes = subject.bytes();
        let tag = TagKey::of(keyring).into_iter().next().map_or(0, |key| key.tag(&bytes));
        Self {
            digest: keyring.digest(Purpose::Subject, &bytes),
            kind: subject.kind(),
            tag: tag.cast_signed(),
            requested_at: requested_at.timestamp_millis(),
        }
    }

    /// The document of the tombstone.
    pub fn document(&self) -> Erasure {
        Erasure {
            digest: self.digest.clone(),
            kind: self.kind,
            tag: self.tag,
            requested_at: DateTime::from_millis(self.requested_at),
            completed_at: None,
        }
    }
}

fn key_id(digest: &str) -> &str {
    digest.split(':').next().unwrap_or_default()
}

impl From<Erasure> for Tombstone {
    fn from(erasure: Erasure) -> Self {
        let Erasure { digest, kind, tag, requested_at, .. } = erasure;
        Self { digest, kind, tag, requested_at: requested_at.timestamp_millis() }
    }
}

/// Makes tags under one key of the keyring.
#[derive(Clone)]
struct TagKey {
    key_id: String,
    hasher: SipHasher13,
}

impl TagKey {
    /// Of each key that is not retired, the current key's first. The tag's key is a digest of its own, so that a tag tells
    /// nothing about the key of the keyring.
    fn of(keyring: &Keyring) -> Vec<Self> {
        let digests = keyring.digests(Purpose::Subject, b"tag");
        digests.iter().filter_map(|digest| Self::from_digest(digest)).collect()
    }

    fn from_digest(digest: &str) -> Option<Self> {
        let (key_id, hex) = digest.split_once(':')?;
        let mut key = [0; 16];
        for (byte, at) in key.iter_mut().zip((0..32).step_by(2)) {
            *byte = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self { key_id: key_id.to_owned(), hasher: SipHasher13::new_with_key(&key) })
    }

    fn tag(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.hasher;
        hasher.write(bytes);
        hasher.finish()
    }
}

/// All tombstones that a program knows.
#[derive(Clone, Default)]
pub struct Tombstones {
    keyring: Option<Arc<Keyring>>,
    /// Of the keys that made a tombstone: usually one.
    tag_keys: Vec<TagKey>,
    tags: FxHashSet<u64>,
    digests: HashSet<String>,
    /// Tombstones under keys that the keyring does not have: their people cannot be recognised.
    of_unknown_keys: usize,
}

impl Tombstones {
    /// None so far. Without a keyring nobody can be recognised.
    pub fn new(keyring: Option<Arc<Keyring>>) -> Self {
        Self { keyring, ..Self::default() }
    }

    /// Takes a tombstone over; false when it is known already.
    pub fn add(&mut self, tombstone: &Tombstone) -> bool {
        self.tags.insert(tombstone.tag.cast_unsigned());
        self.add_digest(&tombstone.digest)
    }

    fn add_digest(&mut self, digest: &str) -> bool {
        if !self.digests.insert(digest.to_owned()) {
            return false;
        }
        let key_id = key_id(digest);
        if self.tag_keys.iter().all(|key| key.key_id != key_id) {
            let keys = self.keyring.as_ref().map(|keyring| TagKey::of(keyring)).unwrap_or_default();
            match keys.into_iter().find(|key| key.key_id == key_id) {
                Some(key) => self.tag_keys.push(key),
                None => self.of_unknown_keys += 1,
            }
        }
        true
    }

    /// Takes over what another one knows.
    pub fn add_all(&mut self, other: &Self) {
        self.tags.extend(&other.tags);
        for digest in &other.digests {
            self.add_digest(digest);
        }
    }

    /// Takes over what the collection `erasures` holds.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn add_stored(&mut self, database: &Database) -> mongodb::error::Result<()> {
        let mut stored = database.collection::<Erasure>(erasure::COLLECTION).find(bson::doc! {}).await?;
        while let Some(erasure) = stored.try_next().await? {
            self.add(&erasure.into());
        }
        Ok(())
    }

    /// Whether the id is erased.
    pub fn contains(&self, subject: Subject) -> bool {
        // Most systems have erased nobody.
        if self.tag_keys.is_empty() {
            return false;
        }
        let bytes = subject.bytes();
        if !self.tag_keys.iter().any(|key| self.tags.contains(&key.tag(&bytes))) {
            return false;
        }
        let Some(keyring) = &self.keyring else { return false };
        subject.digests(keyring).iter().any(|digest| self.digests.contains(digest))
    }

    /// Whether an event is of an erased person.
    pub fn contains_event(&self, event: &Event<'_>) -> bool {
        !self.tag_keys.is_empty() && Subject::of(event).is_some_and(|subject| self.contains(subject))
    }

    /// Whether the tombstone with this digest is known.
    pub fn has(&self, digest: &str) -> bool {
        self.digests.contains(digest)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.digests.len()
    }

    /// Whether nobody was erased.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// Why erased people cannot be recognised; none when they can.
    pub fn blind(&self) -> Option<String> {
        let count = self.of_unknown_keys;
        (count > 0).then(|| {
            format!(
                "{count} people or sessions were erased under keys that are not in the keyring; set security.keyring_file \
                 (DEVTOOLKIT__SECURITY__KEYRING_FILE) to the keyring that was used to erase them"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring() -> (tempfile::TempDir, Arc<Keyring>) {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::create(&folder.path().join("keyring.json")).unwrap();
        (folder, Arc::new(keyring))
    }

    fn id(number: u32) -> ObjectId {
        let mut bytes = [0; 12];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        ObjectId::from_bytes(bytes)
    }

    #[test]
    fn an_erased_user_and_session_are_recognised_and_nobody_else() {
        let (_folder, keyring) = keyring();
        let mut tombstones = Tombstones::new(Some(Arc::clone(&keyring)));
        for subject in [Subject::User(id(1)), Subject::Session(id(2))] {
            assert!(!tombstones.contains(subject));
            let tombstone = Tombstone::of(subject, &keyring, DateTime::now());
            assert_eq!((tombstones.add(&tombstone), tombstones.add(&tombstone)), (true, false));
            assert!(tombstones.contains(subject));
        }
        for other in (3..1_000).map(id).flat_map(|id| [Subject::User(id), Subject::Session(id)]) {
            assert!(!tombstones.contains(other), "{other:?}");
        }
        assert!(!tombstones.contains(Subject::Session(id(1))), "a session with the id of an erased user");
        assert_eq!(tombstones.blind(), None);
    }

    #[test]
    fn a_tombstone_under_an_unknown_key_makes_blind() {
        let ((_one, used), (_other, present)) = (keyring(), keyring());
        for without in [None, Some(present)] {
            let mut tombstones = Tombstones::new(without);
            tombstones.add(&Tombstone::of(Subject::User(id(1)), &used, DateTime::now()));
            assert!(!tombstones.contains(Subject::User(id(1))));
            assert!(tombstones.blind().unwrap().starts_with("1 people or sessions were erased under keys"));
        }
    }

    #[test]
    fn a_tombstone_is_the_same_after_the_way_through_the_database() {
        let (_folder, keyring) = keyring();
        let tombstone = Tombstone::of(Subject::User(id(1)), &keyring, DateTime::now());
        assert_eq!(Tombstone::from(tombstone.document()), tombstone);
    }
}
