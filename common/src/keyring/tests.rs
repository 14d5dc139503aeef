//! Known answers come from another implementation: Python's `cryptography` 48.

use std::os::unix::fs::PermissionsExt;
use std::{fs, thread};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const CHECKSUM: &str = "e78443a6bf4c19f74ec61f46f07e7aba949e9190892a0fd9f0dbe1562dbcb237";

/// One key, of the bytes 0 to 31.
fn known() -> (TempDir, Keyring) {
    let key: String = (0..32).map(|byte| format!("{byte:02x}")).collect();
    let keys = format!(r#"{{"id":"0a1b2c3d","created":"2026-01-01T00:00:00Z","state":"current","key":"{key}"}}"#);
    let (directory, path) = file(&stored(&keys, CHECKSUM));
    let keyring = Keyring::open(&path).unwrap();
    (directory, keyring)
}

fn stored(keys: &str, checksum: &str) -> String {
    format!(r#"{{"format":"devtoolkit-keyring","version":1,"keys":[{keys}],"checksum":"{checksum}"}}"#)
}

fn file(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keyring.json");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    (directory, path)
}

fn new() -> (TempDir, PathBuf, Keyring) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keyring.json");
    let keyring = Keyring::create(&path).unwrap();
    (directory, path, keyring)
}

fn names_in(directory: &TempDir) -> Vec<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn digests_are_those_of_another_implementation() {
    let (_directory, keyring) = known();
    for (purpose, hex) in [
        (Purpose::SessionToken, "5f16ab71d609f5814fe863e9d74522e4806c2c2b1997271606c515b777ce5a16"),
        (Purpose::VerificationToken, "ac0cac5702734438adbdf00f625799d71ae77a7f87ea81c1d33a69eeabd8e3aa"),
        (Purpose::ResetToken, "3c42ea7059ee2e572572bcf56a313e9359d78ea8d3e3aec496fa4136234c6699"),
        (Purpose::Subject, "9e63dfaa11f8b0fe025fbc330b38912997eca360829614594e47a52ed54eb16f"),
        (Purpose::Email, "a648cc0b884dfa4263c9a2ded66d8fcd1d257b548c66a4d6f406eab6f2f01a1e"),
        (Purpose::Audit, "a0422eeb59db09e70f8fcbcae447dd20719f5528dab2081bccfa63bfe1cd4169"),
    ] {
        assert_eq!(keyring.digest(purpose, b"value"), format!("0a1b2c3d:{hex}"));
    }
}

#[test]
fn a_value_that_another_implementation_sealed_is_opened() {
    let (_directory, keyring) = known();
    let sealed: Sealed = "v1:0a1b2c3d:ZGVmZ2hpamtsbW5vDTuxEOBYs6hx9nhRUpeQaxNKeye8CsctD8+EZFI=".parse().unwrap();
    assert_eq!(*keyring.unseal(b"smtp_password", &sealed).unwrap(), "plain text ü".as_bytes());
}

#[test]
fn a_new_keyring_is_readable_by_its_owner_alone_and_is_not_overwritten() {
    let (directory, path, keyring) = new();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(names_in(&directory), ["keyring.json"]);
    let before = fs::read(&path).unwrap();
    let message = Keyring::create(&path).unwrap_err().to_string();
    assert!(message.contains("exists already") && message.contains("admin keys rotate"), "{message}");
    assert_eq!(fs::read(&path).unwrap(), before);
    let opened = Keyring::open(&path).unwrap();
    assert_eq!(opened.digest(Purpose::Email, b"a"), keyring.digest(Purpose::Email, b"a"));
    assert_eq!(names_in(&directory), ["keyring.json"], "the refused keyring leaves nothing behind");
}

#[test]
fn a_file_that_others_may_read_is_refused_with_the_command_that_mends_it() {
    let (_directory, path, _) = new();
    for mode in [0o644, 0o640, 0o660, 0o400, 0o700, 0o4600, 0o604] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let message = Keyring::open(&path).unwrap_err().to_string();
        assert!(message.contains(&format!("chmod 600 {}", path.display())), "{message}");
        assert!(message.contains(&format!("{mode:04o}")), "{message}");
    }
}

#[test]
fn a_missing_file_a_directory_and_no_setting_say_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let error = |path: &Path| Keyring::open(path).unwrap_err().to_string();
    assert!(error(&directory.path().join("a")).contains("admin keys create"));
    assert!(error(directory.path()).contains("is no file"));
    let message = Keyring::from_settings(&Settings::default()).unwrap_err().to_string();
    assert!(message.contains("security.keyring_file") && message.contains("admin keys create"), "{message}");
    let message = Keyring::create(&directory.path().join("a/b")).unwrap_err().to_string();
    assert!(message.contains("install -d -m 700"), "{message}");
}

#[test]
fn a_file_that_is_no_keyring_or_damaged_says_which() {
    let key = "ab".repeat(32);
    let good = format!(r#"{{"id":"0a1b2c3d","created":"2026-01-01T00:00:00Z","state":"current","key":"{key}"}}"#);
    let later = stored("", "").replace("\"version\":1", "\"version\":2");
    for (text, said) in [
        (String::new(), "is no keyring"),
        ("-----BEGIN PRIVATE KEY-----".to_owned(), "is no keyring"),
        (r#"{"format":"x","a":"devtoolkit-keyring"}"#.to_owned(), "is no keyring"),
        (later, "version 2, expected 1"),
        (stored(&good, CHECKSUM), "checksum"),
        (stored(&good, CHECKSUM)[..100].to_owned(), "damaged: line 1 column"),
        (stored(&good.replace("\"state\"", "\"stat\""), CHECKSUM), "damaged: line 1 column"),
    ] {
        let (_directory, path) = file(&text);
        let message = Keyring::open(&path).unwrap_err().to_string();
        assert!(message.contains(said) && message.contains(path.to_str().unwrap()), "{text}: {message}");
        assert!(!message.contains(&key), "{message}");
    }
}

#[test]
fn debug_shows_no_key() {
    let (_directory, path, keyring) = new();
    let text = fs::read_to_string(&path).unwrap();
    let secret = text.split('"').find(|word| word.len() == 64).unwrap();
    let debug = format!("{keyring:?}");
    assert!(debug.contains(keyring.current().id()) && !debug.contains(&secret[..16]), "{debug}");
    let first: Vec<u8> = (0..4).map(|at| u8::from_str_radix(&secret[2 * at..2 * at + 2], 16).unwrap()).collect();
    assert!(!debug.contains(&format!("{first:?}")[1..]), "{debug}");
}

#[test]
fn after_a_rotation_the_new_key_is_current_and_the_old_one_finds_and_opens_what_it_made() {
    let (directory, path, first) = new();
    let (digest, sealed) = (first.digest(Purpose::ResetToken, b"token"), first.seal(b"a", b"b").unwrap());
    let second = Keyring::rotate(&path).unwrap();
    assert_ne!(second.current().id(), first.current().id());
    assert_eq!(second.keys()[1].state(), KeyState::Old);
    let digests = second.digests(Purpose::ResetToken, b"token");
    assert_eq!(digests.len(), 2);
    assert_eq!(digests, [second.digest(Purpose::ResetToken, b"token"), digest]);
    assert_eq!(*second.unseal(b"a", &sealed).unwrap(), b"b");
    assert_eq!(names_in(&directory), ["keyring.json"]);
}

#[test]
fn a_prepared_key_is_known_before_it_is_used() {
    let (_directory, path, first) = new();
    let prepared = Keyring::prepare(&path).unwrap();
    assert_eq!(prepared.current().id(), first.current().id());
    assert_eq!(prepared.keys()[1].state(), KeyState::Next);
    assert_eq!(Keyring::prepare(&path).unwrap().keys().len(), 2, "a second time changes nothing");
    let rotated = Keyring::rotate(&path).unwrap();
    assert_eq!(rotated.current().id(), prepared.keys()[1].id());
    let sealed = rotated.seal(b"", b"text").unwrap();
    assert_eq!(*prepared.unseal(b"", &sealed).unwrap(), b"text", "who has the file of before opens it");
}

#[test]
fn a_retired_key_is_destroyed_and_what_needs_it_is_explained() {
    let (_directory, path, first) = new();
    let id = first.current().id();
    let message = Keyring::retire(&path, id).unwrap_err().to_string();
    assert!(message.contains("current") && message.contains("admin keys rotate"), "{message}");
    let sealed = first.seal(b"", b"text").unwrap();
    Keyring::rotate(&path).unwrap();
    let secret = fs::read_to_string(&path).unwrap();
    let retired = Keyring::retire(&path, id).unwrap();
    assert_eq!(retired.keys().len(), 1);
    assert_eq!(retired.retired()[0].id, id);
    let left = fs::read_to_string(&path).unwrap();
    let secrets = |text: &str| text.matches("\"key\"").count();
    assert_eq!([secrets(&secret), secrets(&left)], [2, 1]);
    let message = Keyring::open(&path).unwrap().unseal(b"", &sealed).unwrap_err().to_string();
    assert!(message.contains("was retired at") && message.contains(id), "{message}");
    let message = Keyring::retire(&path, "00000000").unwrap_err().to_string();
    assert!(message.contains("does not have the key 00000000"), "{message}");
}

#[test]
fn rotations_at_the_same_time_lose_no_key() {
    let (_directory, path, _) = new();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..4).for_each(|_| drop(Keyring::rotate(&path).unwrap())));
        }
    });
    assert_eq!(Keyring::open(&path).unwrap().keys().len(), 33);
}

#[test]
fn what_a_killed_rotation_left_is_removed_by_the_next() {
    let (directory, path, _) = new();
    fs::write(directory.path().join(".keyring.json.abc.new"), "left").unwrap();
    fs::write(directory.path().join("keyring.json.new"), "somebody else's").unwrap();
    Keyring::rotate(&path).unwrap();
    let mut names = names_in(&directory);
    names.sort();
    assert_eq!(names, ["keyring.json", "keyring.json.new"]);
}

#[test]
fn a_keyring_behind_a_link_is_replaced_where_it_is() {
    let (directory, path, _) = new();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    Keyring::rotate(&link).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(Keyring::open(&path).unwrap().keys().len(), 2);
}

#[test]
fn text_that_is_no_sealed_value_is_refused_without_being_repeated() {
    let (_directory, keyring) = known();
    let sealed = keyring.seal(b"", b"").unwrap();
    assert_eq!(sealed.as_str().parse(), Ok(sealed.clone()));
    for text in ["", "hunter2", "v1:", "v1:0a1b2c3d:", "v1:0a1b2c3d:hunter2", &sealed.as_str()[1..], "v2:0a1b2c3d:ZGVm"]
    {
        let message = text.parse::<Sealed>().unwrap_err().to_string();
        assert!(!message.contains("hunter2"), "{message}");
    }
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened_and_nothing_else_is(
        plain in proptest::collection::vec(any::<u8>(), 0..200),
        associated in proptest::collection::vec(any::<u8>(), 0..40),
        other in proptest::collection::vec(any::<u8>(), 0..40),
        changed in any::<prop::sample::Index>(),
        bit in 0..6,
    ) {
        let (_directory, keyring) = known();
        let sealed = keyring.seal(&associated, &plain).unwrap();
        prop_assert_eq!(&*keyring.unseal(&associated, &sealed).unwrap(), &plain);
        prop_assert_ne!(&keyring.seal(&associated, &plain).unwrap(), &sealed, "each has a nonce of its own");
        if other != associated {
            prop_assert!(keyring.unseal(&other, &sealed).is_err());
        }
        let mut bytes = sealed.as_str().as_bytes().to_vec();
        let at = changed.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        let forged = String::from_utf8(bytes).unwrap_or_default().parse::<Sealed>();
        prop_assert!(forged.map_err(drop).and_then(|forged| keyring.unseal(&associated, &forged).map_err(drop)).is_err());
    }

    #[test]
    fn digests_tell_values_purposes_and_keys_apart(a in any::<Vec<u8>>(), b in any::<Vec<u8>>()) {
        let (_directory, keyring) = known();
        let (_other_directory, _, other) = new();
        let pattern = regex::Regex::new(DIGEST_PATTERN).unwrap();
        let mut digests: Vec<String> = Purpose::ALL.iter().map(|purpose| keyring.digest(*purpose, &a)).collect();
        digests.push(other.digest(Purpose::Subject, &a));
        prop_assert!(digests.iter().all(|digest| pattern.is_match(digest)));
        digests.sort_by(|a, b| a[9..].cmp(&b[9..]));
        digests.dedup_by(|a, b| a[9..] == b[9..]);
        prop_assert_eq!(digests.len(), Purpose::ALL.len() + 1);
        prop_assert_eq!(keyring.digest(Purpose::Email, &a) == keyring.digest(Purpose::Email, &b), a == b);
    }

    #[test]
    fn a_changed_byte_of_the_file_is_noticed(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (_directory, path, _) = new();
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        let is_changed = !bytes[at].eq_ignore_ascii_case(&byte) && !bytes[at].is_ascii_whitespace() && !byte.is_ascii_whitespace();
        bytes[at] = byte;
        fs::write(&path, &bytes).unwrap();
        prop_assert!(Keyring::open(&path).is_err() || !is_changed);
    }
}
