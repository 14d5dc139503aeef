//! A day's key of pseudonyms, as `rollup_days` holds it while the day is being rewritten.

use anyhow::Context;
use bson::Binary;
use bson::spec::BinarySubtype;
use common::pseudonym::{Key, SECRET_BYTES};

/// A new secret, as it is stored.
pub fn random() -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: rand::random::<[u8; SECRET_BYTES]>().to_vec() }
}

/// The key of the secret that is stored.
///
/// # Errors
/// It is not of 32 bytes.
pub fn key(stored: &Binary) -> anyhow::Result<Key> {
    Key::of(&stored.bytes).context("anonymisation.key in rollup_days")
}
