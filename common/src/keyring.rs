//! The keyring: a file of 256-bit keys that stays outside of MongoDB and of every backup, and what the keys are for.
//!
//! [`Keyring::digest`] makes a value unreadable for good, and the same value always the same digest, so that an index finds
//! it; [`Keyring::seal`] makes a value unreadable for whoever has no key. Both name the key in what they make, so that a
//! value of before a rotation is still found and opened. [`key`] derives a subkey for each use, [`sealed`] is the text of a
//! sealed value, [`file`] reads and writes the file, [`error`] says what is wrong with it and what mends it.

mod error;
mod file;
mod key;
mod sealed;

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

pub use error::KeyringError;
pub use key::{Key, KeyState, NOBODYS_KEY, Purpose, RetiredKey};
pub use sealed::{NotSealed, Sealed};

use crate::settings::Settings;
use file::Locked;

/// What a digest looks like, as a regular expression: the key's id, a colon, and HMAC-SHA-256 in hexadecimal.
pub const DIGEST_PATTERN: &str = "^[0-9a-f]{8}:[0-9a-f]{64}$";

/// The keys of a file. `Debug` shows no key, and the memory of the keys is overwritten when the keyring is dropped.
#[derive(Debug)]
pub struct Keyring {
    path: PathBuf,
    /// The current one first; never empty.
    keys: Vec<Key>,
    retired: Vec<RetiredKey>,
}

impl Keyring {
    /// Reads the file.
    ///
    /// # Errors
    /// There is no file, somebody else may read it, it is no keyring, or it is damaged.
    pub fn open(path: &Path) -> Result<Self, KeyringError> {
        file::read(path)
    }

    /// Reads the file that `security.keyring_file` names.
    ///
    /// # Errors
    /// The setting names none; else as [`Keyring::open`].
    pub fn from_settings(settings: &Settings) -> Result<Self, KeyringError> {
        Self::open(Self::path_in(settings)?)
    }

    /// The keyring that `security.keyring_file` names; none where the setting names none.
    ///
    /// # Errors
    /// As [`Keyring::open`].
    pub fn if_set(settings: &Settings) -> Result<Option<Self>, KeyringError> {
        if settings.security.keyring_file.as_os_str().is_empty() {
            Ok(None)
        } else {
            Self::from_settings(settings).map(Some)
        }
    }

    /// The file that `security.keyring_file` names.
    ///
    /// # Errors
    /// It names none.
    pub fn path_in(settings: &Settings) -> Result<&Path, KeyringError> {
        let path = settings.security.keyring_file.as_path();
        if path.as_os_str().is_empty() { Err(KeyringError::NotSet) } else { Ok(path) }
    }

    /// Makes the file, with one key. It appears as a whole or not at all.
    ///
    /// # Errors
    /// The file exists already, or cannot be written.
    pub fn create(path: &Path) -> Result<Self, KeyringError> {
        let keyring = Self { path: path.to_owned(), keys: vec![Key::random(KeyState::Current)?], retired: vec![] };
        file::create(&keyring)?;
        Ok(keyring)
    }

    /// Adds a key that the programs know and do not use yet, so that the file can be copied to every machine before
    /// [`Keyring::rotate`]. Where there is such a key already, nothing changes.
    ///
    /// # Errors
    /// As [`Keyring::open`], or the file cannot be written.
    pub fn prepare(path: &Path) -> Result<Self, KeyringError> {
        let locked = Locked::open(path)?;
        let mut keyring = locked.read()?;
        if !keyring.keys.iter().any(|key| key.state() == KeyState::Next) {
            keyring.keys.push(Key::random(KeyState::Next)?);
            keyring.sort();
            locked.replace(&keyring)?;
        }
        Ok(keyring)
    }

    /// Makes the prepared key the current one, or a new one where none was prepared. The key before stays, as an old one.
    ///
    /// # Errors
    /// As [`Keyring::open`], or the file cannot be written.
    pub fn rotate(path: &Path) -> Result<Self, KeyringError> {
        let locked = Locked::open(path)?;
        let mut keyring = locked.read()?;
        if !keyring.keys.iter().any(|key| key.state() == KeyState::Next) {
            keyring.keys.push(Key::random(KeyState::Next)?);
        }
        for key in &mut keyring.keys {
            key.advance();
        }
        keyring.sort();
        locked.replace(&keyring)?;
        Ok(keyring)
    }

    /// Destroys an old key: the file keeps its id and the time, so that a value that needs the key can be explained. The
    /// caller makes sure that nothing needs the key.
    ///
    /// # Errors
    /// No old key has this id, or as [`Keyring::open`], or the file cannot be written.
    pub fn retire(path: &Path, id: &str) -> Result<Self, KeyringError> {
        let locked = Locked::open(path)?;
        let mut keyring = locked.read()?;
        let place = keyring.keys.iter().position(|key| key.id() == id).ok_or_else(|| keyring.absent(id))?;
        if keyring.keys[place].state() == KeyState::Current {
            return Err(KeyringError::InUse { path: keyring.path, id: id.to_owned() });
        }
        let key = keyring.keys.remove(place);
        keyring.retired.push(key.retired());
        keyring.sort();
        locked.replace(&keyring)?;
        Ok(keyring)
    }

    /// The key that new digests and sealed values are made with.
    pub fn current(&self) -> &Key {
        &self.keys[0]
    }

    /// Every key that is not retired: the current one, the prepared one if there is one, then the old ones from the latest to
    /// the earliest.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// What is left of the keys that were destroyed, the latest first.
    pub fn retired(&self) -> &[RetiredKey] {
        &self.retired
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `<key id>:<64 hexadecimal digits>`: HMAC-SHA-256 of the value under the current key's subkey for the purpose.
    pub fn digest(&self, purpose: Purpose, value: &[u8]) -> String {
        self.current().digest(purpose, value)
    }

    /// The value's digest under every key that is not retired, the current one first: what a look-up has to compare with,
    /// because a digest of before a rotation stays as it is.
    pub fn digests(&self, purpose: Purpose, value: &[u8]) -> Vec<String> {
        self.keys.iter().map(|key| key.digest(purpose, value)).collect()
    }

    /// Encrypts with the current key: AES-256-GCM with a random nonce. Only who passes the same `associated` bytes opens the
    /// value again, so that nobody can move it to another place.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn seal(&self, associated: &[u8], plain: &[u8]) -> Result<Sealed, KeyringError> {
        sealed::seal(self.current(), associated, plain)
    }

    /// Decrypts.
    ///
    /// # Errors
    /// The keyring does not have the key, or the value or its associated bytes are not those that were sealed.
    pub fn unseal(&self, associated: &[u8], sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        let key = self.keys.iter().find(|key| key.id() == sealed.key_id());
        let key = key.ok_or_else(|| self.absent(sealed.key_id()))?;
        sealed::open(key, associated, sealed)
            .ok_or_else(|| KeyringError::Unopenable { path: self.path.clone(), id: key.id().to_owned() })
    }

    fn absent(&self, id: &str) -> KeyringError {
        let (path, id) = (self.path.clone(), id.to_owned());
        match self.retired.iter().find(|key| key.id == id) {
            Some(key) => KeyringError::Retired { path, id, retired: key.retired },
            None => KeyringError::UnknownKey { path, id },
        }
    }

    fn sort(&mut self) {
        self.keys.sort_by_key(|key| (key.state(), std::cmp::Reverse(key.created())));
        self.retired.sort_by_key(|key| std::cmp::Reverse(key.retired));
    }
}

#[cfg(test)]
mod tests;
