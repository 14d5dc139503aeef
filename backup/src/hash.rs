//! SHA-256 as text.

use common::hex::hex;
use sha2::{Digest, Sha256};

/// Of these bytes.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
