//! One key, and the subkeys that are derived from it: what one use gives away says nothing about another.

use std::fmt;

use aes_gcm::Aes256Gcm;
use chrono::{DateTime, SubsecRound, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::KeyringError;

/// Bytes of a key.
pub(super) const LENGTH: usize = 32;

/// The id of no key: made-up digests and sealed values name it, such as the demo's.
pub const NOBODYS_KEY: &str = "00000000";

/// What stands before the name of a use where a subkey is derived.
const CONTEXT: &str = "devtoolkit-analytics keyring v1: ";

/// What a digest is for. The same value has different digests for different purposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `sessions.sessionToken`.
    SessionToken,
    /// `users.authentication.verificationToken`.
    VerificationToken,
    /// `users.authentication.resetToken`.
    ResetToken,
    /// A person's id, in erasures, tombstones and receipts.
    Subject,
    /// An address of electronic mail.
    Email,
    /// What the audit log says about whom.
    Audit,
}

impl Purpose {
    /// Every purpose, in the order of declaration.
    pub const ALL: [Self; 6] =
        [Self::SessionToken, Self::VerificationToken, Self::ResetToken, Self::Subject, Self::Email, Self::Audit];

    /// Part of the derivation: a changed name makes other digests.
    const fn name(self) -> &'static str {
        match self {
            Self::SessionToken => "session-token",
            Self::VerificationToken => "verification-token",
            Self::ResetToken => "reset-token",
            Self::Subject => "subject",
            Self::Email => "email",
            Self::Audit => "audit",
        }
    }
}

/// What a key is used for at present. The order is that of [`super::Keyring::keys`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Makes new digests and sealed values.
    Current,
    /// Will be the current one after the next rotation; opens what other machines sealed with it already.
    Next,
    /// Was the current one: opens what is sealed with it, and finds digests that it made.
    Old,
}

impl fmt::Display for KeyState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Current => "current",
            Self::Next => "next",
            Self::Old => "old",
        })
    }
}

/// A key, with its subkeys. `Debug` shows no secret.
pub struct Key {
    id: String,
    created: DateTime<Utc>,
    state: KeyState,
    secret: Zeroizing<[u8; LENGTH]>,
    /// One for each purpose, in the order of [`Purpose::ALL`].
    digests: [Hmac<Sha256>; Purpose::ALL.len()],
    cipher: Aes256Gcm,
}

/// What is left of a key that was destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetiredKey {
    /// The key's id.
    pub id: String,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it was destroyed.
    pub retired: DateTime<Utc>,
}

impl Key {
    /// A new key, from the operating system's source of random bytes.
    pub(super) fn random(state: KeyState) -> Result<Self, KeyringError> {
        let (mut id, mut secret) = ([0; 4], Zeroizing::new([0; LENGTH]));
        getrandom::fill(&mut id).map_err(KeyringError::NoRandomness)?;
        getrandom::fill(&mut *secret).map_err(KeyringError::NoRandomness)?;
        // Never NOBODYS_KEY.
        let id = format!("{:08x}", u32::from_be_bytes(id).max(1));
        Ok(Self::new(id, Utc::now().trunc_subsecs(0), state, secret))
    }

    pub(super) fn new(id: String, created: DateTime<Utc>, state: KeyState, secret: Zeroizing<[u8; LENGTH]>) -> Self {
        let digests = Purpose::ALL.map(|purpose| mac(&subkey(&secret, &format!("digest {}", purpose.name()))));
        let cipher = Aes256Gcm::new((&*subkey(&secret, "seal")).into());
        Self { id, created, state, secret, digests, cipher }
    }

    /// Eight hexadecimal digits, which say nothing about the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When it was made.
    pub fn created(&self) -> DateTime<Utc> {
        self.created
    }

    /// What it is used for at present.
    pub fn state(&self) -> KeyState {
        self.state
    }

    /// As [`super::Keyring::digest`], with this key.
    pub fn digest(&self, purpose: Purpose, value: &[u8]) -> String {
        let mac = self.digests[purpose as usize].clone().chain_update(value).finalize().into_bytes();
        let mut digest = String::with_capacity(self.id.len() + 1 + 2 * mac.len());
        digest.push_str(&self.id);
        digest.push(':');
        for byte in mac {
            for nibble in [byte >> 4, byte & 15] {
                digest.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        digest
    }

    pub(super) fn secret(&self) -> &[u8; LENGTH] {
        &self.secret
    }

    pub(super) fn cipher(&self) -> &Aes256Gcm {
        &self.cipher
    }

    /// One rotation further.
    pub(super) fn advance(&mut self) {
        self.state = match self.state {
            KeyState::Next => KeyState::Current,
            KeyState::Current | KeyState::Old => KeyState::Old,
        };
    }

    pub(super) fn retired(self) -> RetiredKey {
        RetiredKey { id: self.id, created: self.created, retired: Utc::now().trunc_subsecs(0) }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, created, state, .. } = self;
        formatter
            .debug_struct("Key")
            .field("id", id)
            .field("created", created)
            .field("state", state)
            .finish_non_exhaustive()
    }
}

/// HKDF-Expand (RFC 5869) with SHA-256, one block: the key is random, so there is nothing to extract.
fn subkey(secret: &[u8; LENGTH], name: &str) -> Zeroizing<[u8; LENGTH]> {
    let block = mac(secret).chain_update(CONTEXT).chain_update(name).chain_update([1]).finalize();
    Zeroizing::new(block.into_bytes().into())
}

/// HMAC pads a key with zeros to the length of a block, so a key of that length never fails.
fn mac(key: &[u8; LENGTH]) -> Hmac<Sha256> {
    let mut block = Zeroizing::new([0; 64]);
    block[..LENGTH].copy_from_slice(key);
    Hmac::new((&*block).into())
}
