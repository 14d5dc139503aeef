//! Secret values of `system_configuration`: sealed, with the document's key as associated data, so that a value opens only in
//! its own document.

use bson::{Bson, Document, doc};
use zeroize::Zeroizing;

use crate::keyring::{Keyring, KeyringError, NotSealed, Sealed};

const FIELD: &str = "value";

/// A secret value that cannot be sealed or opened. No message holds the value.
#[derive(Debug, thiserror::Error)]
pub enum SecretValueError {
    /// The keyring cannot.
    #[error("the secret value of configuration {key}: {source}")]
    Keyring {
        /// The document's key.
        key: String,
        /// Why.
        source: KeyringError,
    },
    /// It is plain.
    #[error("the secret value of configuration {key} is {source}")]
    NotSealed {
        /// The document's key.
        key: String,
        /// Why.
        source: NotSealed,
    },
    /// What was sealed is no value.
    #[error(
        "the secret value of configuration {key} is not one that this program can store or read ({source}): write it again"
    )]
    NotBson {
        /// The document's key.
        key: String,
        /// Why.
        source: bson::error::Error,
    },
}

/// Seals a value of any type for the document with this key; the result is what `value` holds.
///
/// # Errors
/// The operating system gives no random bytes, or the value is larger than a document.
pub fn seal_value(keyring: &Keyring, key: &str, value: &Bson) -> Result<Bson, SecretValueError> {
    let plain = bson::serialize_to_vec(&doc! { FIELD: value.clone() });
    let plain = plain.map_err(|source| SecretValueError::NotBson { key: key.to_owned(), source })?;
    let sealed = keyring.seal(key.as_bytes(), &Zeroizing::new(plain));
    sealed
        .map(|sealed| sealed.to_string().into())
        .map_err(|source| SecretValueError::Keyring { key: key.to_owned(), source })
}

/// Opens what `value` of the document with this key holds.
///
/// # Errors
/// It is no text that was sealed for this document with a key of the keyring.
pub fn open_value(keyring: &Keyring, key: &str, stored: &Bson) -> Result<Bson, SecretValueError> {
    let sealed: Result<Sealed, NotSealed> = stored.as_str().ok_or(NotSealed).and_then(str::parse);
    let sealed = sealed.map_err(|source| SecretValueError::NotSealed { key: key.to_owned(), source })?;
    let plain = keyring.unseal(key.as_bytes(), &sealed);
    let plain = plain.map_err(|source| SecretValueError::Keyring { key: key.to_owned(), source })?;
    let mut document: Document = bson::deserialize_from_slice(&plain)
        .map_err(|source| SecretValueError::NotBson { key: key.to_owned(), source })?;
    Ok(document.remove(FIELD).unwrap_or(Bson::Null))
}

#[cfg(test)]
mod tests {
    use bson::bson;
    use tempfile::tempdir;

    use super::*;

    #[test]
    fn a_value_of_any_type_opens_in_its_own_document_and_in_no_other() {
        let directory = tempdir().unwrap();
        let keyring = Keyring::create(&directory.path().join("keyring")).unwrap();
        for value in [bson!("hunter2"), bson!(7_i64), bson!(7), bson!(null), bson!({ "a": ["hunter2", 1.5, true] })] {
            let sealed = seal_value(&keyring, "smtp_password", &value).unwrap();
            assert!(!sealed.to_string().contains("hunter2"));
            assert_eq!(open_value(&keyring, "smtp_password", &sealed).unwrap(), value);
            let message = open_value(&keyring, "banner", &sealed).unwrap_err().to_string();
            assert!(message.contains("configuration banner") && message.contains("copied from another"), "{message}");
        }
        for plain in [bson!("hunter2"), bson!(7)] {
            let message = open_value(&keyring, "a", &plain).unwrap_err().to_string();
            assert!(message.contains("admin secrets protect") && !message.contains("hunter2"), "{message}");
        }
    }
}
