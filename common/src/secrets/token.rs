//! Tokens: the database holds a digest, and who shows the token is found by the digest.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bson::{Document, doc};

use crate::keyring::{Keyring, KeyringError, Purpose};

/// A new token, to be sent to its user and stored nowhere: 256 random bits in the letters of URLs.
///
/// # Errors
/// The operating system gives no random bytes.
pub fn new_token() -> Result<String, KeyringError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(KeyringError::NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is stored instead of a token.
pub fn token_digest(keyring: &Keyring, purpose: Purpose, token: &str) -> String {
    keyring.digest(purpose, token.as_bytes())
}

/// The filter that finds a token in `field`, also one of before a rotation. The field's index serves it.
pub fn token_filter(keyring: &Keyring, field: &str, purpose: Purpose, token: &str) -> Document {
    doc! { field: { "$in": keyring.digests(purpose, token.as_bytes()) } }
}
