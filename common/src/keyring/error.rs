//! What can be wrong with a keyring, and what mends it.

use std::io;
use std::path::PathBuf;

use chrono::{DateTime, Utc};

/// A keyring that cannot be used. Each message names the file, what is wrong with it, and what to do; none holds a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// No file is named.
    #[error(
        "no keyring file is named: set security.keyring_file (DEVTOOLKIT__SECURITY__KEYRING_FILE) to a path such as \
         /etc/devtoolkit/keyring.json, and run `admin keys create`"
    )]
    NotSet,
    /// There is no file.
    #[error(
        "the keyring file {} does not exist: make it with `admin keys create`, or name the file that has your keys as \
         security.keyring_file", path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refuses to read or write.
    #[error("the keyring file {} cannot be {what}: {source}; {mend}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        what: &'static str,
        /// Why.
        source: io::Error,
        /// What to do.
        mend: String,
    },
    /// It is a directory, a pipe or a device.
    #[error("the keyring file {} is no file: name a file as security.keyring_file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Others may read the keys, or its owner may not.
    #[error(
        "the keyring file {} has the mode {mode:04o}, expected 0600, so that only its owner reads the keys: run \
         `chmod 600 {}`; if others could read it, run `admin keys rotate` too", path.display(), path.display()
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Another user owns it, and could put other keys there.
    #[error(
        "the keyring file {} belongs to user {owner}, and this program runs as user {user}: run the program as user \
         {owner}, or run `chown {user} {}`", path.display(), path.display()
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// The user that owns it.
        owner: u32,
        /// The user of this program.
        user: u32,
    },
    /// It holds something else.
    #[error(
        "the file {} is no keyring: {what}; name another file as security.keyring_file, or move this one away and run \
         `admin keys create`", path.display()
    )]
    NotAKeyring {
        /// The file.
        path: PathBuf,
        /// What it is, in a few words.
        what: String,
    },
    /// It was a keyring.
    #[error(
        "the keyring file {} is damaged: {what}; put its copy back: `install -m 600 COPY {}`", path.display(), path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A later version of the programs wrote it.
    #[error(
        "the keyring file {} has the version {version}, expected {expected}: run programs of the version that wrote it",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        version: u64,
        /// What this program reads.
        expected: u64,
    },
    /// It is there already.
    #[error(
        "the keyring file {} exists already and is left as it is: `admin keys list` shows its keys, `admin keys rotate` \
         adds one", path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Something was made with a key that is not there.
    #[error(
        "the keyring file {} does not have the key {id}: `admin keys list` shows those it has; put back a copy that has \
         this key: `install -m 600 COPY {}`", path.display(), path.display()
    )]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        id: String,
    },
    /// Something was made with a key that was destroyed.
    #[error(
        "the key {id} of the keyring file {} was retired at {retired:?} and is destroyed: what was sealed with it must be \
         written again; a copy of the file from before that time still has the key", path.display()
    )]
    Retired {
        /// The file.
        path: PathBuf,
        /// The key.
        id: String,
        /// When.
        retired: DateTime<Utc>,
    },
    /// The current key is not retired.
    #[error(
        "the key {id} of the keyring file {} is the current one: run `admin keys rotate` first, then retire it",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// The key.
        id: String,
    },
    /// The authentication of a sealed value fails.
    #[error(
        "a value that the key {id} of the keyring file {} sealed cannot be opened: the value was changed, or copied from \
         another document; write it again", path.display()
    )]
    Unopenable {
        /// The file.
        path: PathBuf,
        /// The key.
        id: String,
    },
    /// More than AES-GCM takes.
    #[error("a value of {bytes} bytes is too long to be sealed, expected at most 64 GiB: write a shorter one")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// No key can be made.
    #[error("the operating system gives no random bytes: {0}; run the command again")]
    NoRandomness(getrandom::Error),
}
