//! A sealed value: `v1:<key id>:<Base64 of nonce, ciphertext and tag>`.

use std::fmt;
use std::str::FromStr;

use aes_gcm::aead::{Aead, Payload};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Key, KeyringError};

const NONCE: usize = 12;
const TAG: usize = 16;
/// `v1:`, eight digits and a colon.
const HEAD: usize = 12;

/// A value that only the key opens, as text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sealed(String);

/// Text that is no sealed value. The text is not repeated: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a sealed value, expected v1:<8 hexadecimal digits>:<Base64>; `admin secrets protect` seals plain values")]
pub struct NotSealed;

impl Sealed {
    /// What a sealed value looks like, as a regular expression.
    pub const PATTERN: &str = "^v1:[0-9a-f]{8}:[A-Za-z0-9+/]{38,}={0,2}$";

    /// The id of the key that opens the value.
    pub fn key_id(&self) -> &str {
        &self.0[HEAD - 9..HEAD - 1]
    }

    /// The text, as it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sealed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl FromStr for Sealed {
    type Err = NotSealed;

    fn from_str(text: &str) -> Result<Self, NotSealed> {
        let (id, body) = text.strip_prefix("v1:").and_then(|rest| rest.split_once(':')).ok_or(NotSealed)?;
        let is_id = id.len() == 8 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_body = STANDARD.decode(body).is_ok_and(|body| body.len() >= NONCE + TAG);
        if is_id && is_body { Ok(Self(text.to_owned())) } else { Err(NotSealed) }
    }
}

pub(super) fn seal(key: &Key, associated: &[u8], plain: &[u8]) -> Result<Sealed, KeyringError> {
    let head = format!("v1:{}:", key.id());
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(KeyringError::NoRandomness)?;
    let aad = authenticated(&head, associated);
    let encrypted = key.cipher().encrypt((&nonce).into(), Payload { msg: plain, aad: &aad });
    let encrypted = encrypted.map_err(|_| KeyringError::TooLong { bytes: plain.len() })?;
    Ok(Sealed(head + &STANDARD.encode([&nonce[..], &encrypted].concat())))
}

/// Nothing when the value, its head or the associated bytes were changed.
pub(super) fn open(key: &Key, associated: &[u8], sealed: &Sealed) -> Option<Zeroizing<Vec<u8>>> {
    let (head, body) = sealed.0.split_at_checked(HEAD)?;
    let body = STANDARD.decode(body).ok()?;
    let (nonce, body) = body.split_first_chunk::<NONCE>()?;
    let aad = authenticated(head, associated);
    key.cipher().decrypt(nonce.into(), Payload { msg: body, aad: &aad }).ok().map(Zeroizing::new)
}

/// The head has a fixed length, so no two pairs are the same bytes.
fn authenticated(head: &str, associated: &[u8]) -> Vec<u8> {
    [head.as_bytes(), associated].concat()
}
