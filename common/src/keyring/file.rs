//! The keyring's file: JSON with a version and a checksum, mode 0600, always replaced as a whole.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use super::key::LENGTH;
use super::{Key, KeyState, Keyring, KeyringError, RetiredKey};

const FORMAT: &str = "devtoolkit-keyring";
const VERSION: u64 = 1;
const MODE: u32 = 0o600;
/// More than ten thousand keys: a file that is larger is something else.
const MOST_BYTES: u64 = 2 * 1024 * 1024;

/// What every version of the file has.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(default)]
    format: &'a str,
    #[serde(default)]
    version: u64,
}

/// Version 1. The keys' text is borrowed, so that no copy of it stays in memory.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<'a> {
    format: &'a str,
    version: u64,
    #[serde(borrow)]
    keys: Vec<StoredKey<'a>>,
    /// SHA-256 of a line for each key, `id seconds state seconds|- key`: tells a damaged file from a good one.
    checksum: &'a str,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey<'a> {
    id: &'a str,
    created: DateTime<Utc>,
    state: StoredState,
    /// 64 hexadecimal digits; absent once the key is retired.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retired: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredState {
    Current,
    Next,
    Old,
    Retired,
}

impl StoredState {
    const fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Next => "next",
            Self::Old => "old",
            Self::Retired => "retired",
        }
    }
}

/// The open file, locked: one program changes a keyring at a time.
pub(super) struct Locked {
    /// Where the file itself is, behind symbolic links.
    path: PathBuf,
    file: File,
}

pub(super) fn read(path: &Path) -> Result<Keyring, KeyringError> {
    parse(path, &contents(path, open(path)?)?)
}

/// Writes the keyring where no file is.
pub(super) fn create(keyring: &Keyring) -> Result<(), KeyringError> {
    let path = &keyring.path;
    let temporary = written(keyring, path)?;
    temporary.persist_noclobber(path).map_err(|error| match error.error.kind() {
        ErrorKind::AlreadyExists => KeyringError::Exists { path: path.clone() },
        _ => unwritable(path, error.error),
    })?;
    sync_directory(path)
}

impl Locked {
    pub(super) fn open(path: &Path) -> Result<Self, KeyringError> {
        loop {
            let file = open(path)?;
            file.lock().map_err(|source| unwritable(path, source))?;
            let path = fs::canonicalize(path).map_err(|source| unreadable(path, source))?;
            // Another program may have replaced the file while this one waited for the lock on the former.
            let (now, locked) = (fs::metadata(&path), file.metadata());
            let is_the_same = matches!((&now, &locked), (Ok(now), Ok(locked)) if (now.dev(), now.ino()) == (locked.dev(), locked.ino()));
            if is_the_same {
                return Ok(Self { path, file });
            }
        }
    }

    pub(super) fn read(&self) -> Result<Keyring, KeyringError> {
        let file = self.file.try_clone().map_err(|source| unreadable(&self.path, source))?;
        parse(&self.path, &contents(&self.path, file)?)
    }

    /// The file is the former or the new one at every moment. The lock ends with the former file.
    pub(super) fn replace(self, keyring: &Keyring) -> Result<(), KeyringError> {
        remove_leftovers(&self.path);
        let temporary = written(keyring, &self.path)?;
        temporary.persist(&self.path).map_err(|error| unwritable(&self.path, error.error))?;
        sync_directory(&self.path)
    }
}

/// Opens the file if it is a file, of this user, and of nobody else's reach.
fn open(path: &Path) -> Result<File, KeyringError> {
    // Opening a pipe would wait for its writer.
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(KeyringError::NotAFile { path: path.to_owned() }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(KeyringError::Missing { path: path.to_owned() });
        }
        _ => {}
    }
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    // Of the file that is open: the path may lead to another one by now.
    let found = file.metadata().map_err(|source| unreadable(path, source))?;
    let mode = found.mode() & 0o7777;
    if mode != MODE {
        return Err(KeyringError::Mode { path: path.to_owned(), mode });
    }
    let (owner, user) = (found.uid(), geteuid().as_raw());
    if owner != user {
        return Err(KeyringError::Owner { path: path.to_owned(), owner, user });
    }
    Ok(file)
}

fn contents(path: &Path, file: File) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    let length = file.metadata().map_err(|source| unreadable(path, source))?.len();
    if length > MOST_BYTES {
        let what = format!("it has {length} bytes, expected at most {MOST_BYTES}");
        return Err(KeyringError::NotAKeyring { path: path.to_owned(), what });
    }
    // With room for all of it, the buffer never moves and leaves no copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES.min(length + 1) as usize));
    file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(|source| unreadable(path, source))?;
    Ok(bytes)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Keyring, KeyringError> {
    let damaged = |what: String| KeyringError::Damaged { path: path.to_owned(), what };
    let not_json = |error: &serde_json::Error| {
        // serde_json's own text may repeat what is in the file.
        format!("line {} column {} is not what a keyring has there", error.line(), error.column())
    };
    if !str::from_utf8(bytes).is_ok_and(|text| text.contains(FORMAT)) {
        let what = format!("it lacks the text {FORMAT}");
        return Err(KeyringError::NotAKeyring { path: path.to_owned(), what });
    }
    let head: Head = serde_json::from_slice(bytes).map_err(|error| damaged(not_json(&error)))?;
    if head.format != FORMAT {
        let what = format!("its format is not {FORMAT}");
        return Err(KeyringError::NotAKeyring { path: path.to_owned(), what });
    }
    if head.version != VERSION {
        let (path, version) = (path.to_owned(), head.version);
        return Err(KeyringError::Version { path, version, expected: VERSION });
    }
    let stored: Stored = serde_json::from_slice(bytes).map_err(|error| damaged(not_json(&error)))?;
    if stored.checksum != checksum(&stored.keys) {
        return Err(damaged("its checksum does not fit its keys".to_owned()));
    }
    let mut keyring = Keyring { path: path.to_owned(), keys: vec![], retired: vec![] };
    for key in &stored.keys {
        add(&mut keyring, key).map_err(damaged)?;
    }
    keyring.sort();
    let states: Vec<KeyState> = keyring.keys.iter().map(Key::state).collect();
    let count = |state| states.iter().filter(|found| **found == state).count();
    if count(KeyState::Current) != 1 || count(KeyState::Next) > 1 {
        let (current, next) = (count(KeyState::Current), count(KeyState::Next));
        return Err(damaged(format!("it has {current} current and {next} next keys, expected 1 and at most 1")));
    }
    Ok(keyring)
}

fn add(keyring: &mut Keyring, stored: &StoredKey) -> Result<(), String> {
    let StoredKey { id, created, state, key, retired } = stored;
    let is_id = id.len() == 8 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_id {
        return Err("a key's id is not 8 hexadecimal digits".to_owned());
    }
    let is_double = keyring.keys.iter().any(|key| key.id() == *id) || keyring.retired.iter().any(|key| key.id == *id);
    if is_double {
        return Err(format!("two keys have the id {id}"));
    }
    let state = match (state, key, retired) {
        (StoredState::Retired, None, Some(retired)) => {
            keyring.retired.push(RetiredKey { id: (*id).to_owned(), created: *created, retired: *retired });
            return Ok(());
        }
        (StoredState::Current, Some(_), None) => KeyState::Current,
        (StoredState::Next, Some(_), None) => KeyState::Next,
        (StoredState::Old, Some(_), None) => KeyState::Old,
        _ => return Err(format!("the state of key {id} does not fit its other fields")),
    };
    let secret =
        key.and_then(parse_hex).ok_or_else(|| format!("the key {id} is not {} hexadecimal digits", 2 * LENGTH))?;
    keyring.keys.push(Key::new((*id).to_owned(), *created, state, secret));
    Ok(())
}

/// A file beside the one at `path`, whole and on the disk.
fn written(keyring: &Keyring, path: &Path) -> Result<NamedTempFile, KeyringError> {
    let failed = |source| unwritable(path, source);
    let (directory, prefix) = (directory(path), leftover_prefix(path));
    let mut file = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(LEFTOVER_SUFFIX)
        .permissions(Permissions::from_mode(MODE))
        .tempfile_in(directory)
        .map_err(failed)?;
    // Whatever the umask took away.
    file.as_file().set_permissions(Permissions::from_mode(MODE)).map_err(failed)?;
    file.write_all(&text(keyring).map_err(|error| failed(error.into()))?).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    Ok(file)
}

fn text(keyring: &Keyring) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    let secrets: Vec<Zeroizing<String>> = keyring.keys.iter().map(|key| hex(key.secret())).collect();
    let usable = keyring.keys.iter().zip(&secrets).map(|(key, secret)| StoredKey {
        id: key.id(),
        created: key.created(),
        state: match key.state() {
            KeyState::Current => StoredState::Current,
            KeyState::Next => StoredState::Next,
            KeyState::Old => StoredState::Old,
        },
        key: Some(secret),
        retired: None,
    });
    let retired = keyring.retired.iter().map(|key| StoredKey {
        id: &key.id,
        created: key.created,
        state: StoredState::Retired,
        key: None,
        retired: Some(key.retired),
    });
    let keys: Vec<StoredKey> = usable.chain(retired).collect();
    let checksum = checksum(&keys);
    // 400 bytes for a key are more than it takes, so the buffer never moves.
    let mut text = Zeroizing::new(Vec::with_capacity(400 * (keys.len() + 1)));
    serde_json::to_writer_pretty(&mut *text, &Stored { format: FORMAT, version: VERSION, keys, checksum: &checksum })?;
    text.push(b'\n');
    Ok(text)
}

fn checksum(keys: &[StoredKey]) -> String {
    let mut sha256 = Sha256::new();
    for StoredKey { id, created, state, key, retired } in keys {
        let retired = retired.map_or_else(|| "-".to_owned(), |retired| retired.timestamp().to_string());
        sha256.update(format!("{id} {} {} {retired} ", created.timestamp(), state.name()));
        sha256.update(key.unwrap_or_default());
        sha256.update("\n");
    }
    hex(&sha256.finalize().into()).to_string()
}

fn hex(bytes: &[u8; LENGTH]) -> Zeroizing<String> {
    let mut hex = Zeroizing::new(String::with_capacity(2 * LENGTH));
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            hex.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
    }
    hex
}

fn parse_hex(text: &str) -> Option<Zeroizing<[u8; LENGTH]>> {
    let mut bytes = Zeroizing::new([0; LENGTH]);
    if text.len() != 2 * LENGTH || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

const LEFTOVER_SUFFIX: &str = ".new";

fn leftover_prefix(path: &Path) -> String {
    format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy())
}

/// What a program left that was killed before it had replaced the file: keys that nothing was made with.
fn remove_leftovers(path: &Path) {
    let prefix = leftover_prefix(path);
    let found = fs::read_dir(directory(path)).into_iter().flatten().flatten();
    for entry in found {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&prefix) && name.ends_with(LEFTOVER_SUFFIX) {
            // Without success it is tried again the next time.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Otherwise a power cut could take the new name away again.
fn sync_directory(path: &Path) -> Result<(), KeyringError> {
    File::open(directory(path)).and_then(|directory| directory.sync_all()).map_err(|source| unwritable(path, source))
}

fn unreadable(path: &Path, source: io::Error) -> KeyringError {
    let mend = format!("run the program as the user that owns the file: `ls -l {}` shows which", path.display());
    KeyringError::Io { path: path.to_owned(), what: "read", source, mend }
}

fn unwritable(path: &Path, source: io::Error) -> KeyringError {
    let directory = directory(path).display();
    let mend = match source.kind() {
        ErrorKind::NotFound => format!("make the directory: `install -d -m 700 {directory}`"),
        _ => format!("let this user write to its directory: `ls -ld {directory}` shows who may"),
    };
    KeyringError::Io { path: path.to_owned(), what: "written", source, mend }
}
