//! The age format, version 1 (<https://age-encryption.org/v1>), for one X25519 recipient: `age --decrypt` opens what is sealed here.
//!
//! The primitives are ring's and x25519-dalek's. docs/decisions/0014 says why the format is here and not a library's.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use anyhow::{Context, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bech32::{Bech32, Hrp};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::hmac;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

const VERSION: &str = "age-encryption.org/v1";
const X25519_INFO: &[u8] = b"age-encryption.org/v1/X25519";
const CHUNK: usize = 64 * 1024;
const TAG: usize = 16;
const FILE_KEY: usize = 16;
const PAYLOAD_NONCE: usize = 16;
/// Bytes of a header of one recipient, with the nonce.
const HEADER: usize = 256;
/// A header of one recipient takes 200 bytes; more than this is no header.
const LONGEST_HEADER: usize = 16 * 1024;

/// Whom backups are encrypted for: `age1…`. It can encrypt, and not decrypt.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient(PublicKey);

impl FromStr for Recipient {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let expected = "expected an age recipient, 62 letters and digits that begin with age1";
        let (prefix, key) = bech32::decode(text.trim()).map_err(|error| anyhow!("{expected} ({error})"))?;
        ensure!(prefix.as_str() == "age", "{expected}");
        let key: [u8; 32] = key.try_into().map_err(|_| anyhow!("{expected}"))?;
        Ok(Self(PublicKey::from(key)))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = bech32::encode::<Bech32>(Hrp::parse_unchecked("age"), self.0.as_bytes()).map_err(|_| fmt::Error)?;
        formatter.write_str(&text)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// What decrypts: `AGE-SECRET-KEY-1…`.
#[derive(Clone)]
pub struct Identity(StaticSecret);

impl Identity {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate() -> anyhow::Result<Self> {
        Ok(Self(StaticSecret::from(*random::<32>()?)))
    }

    /// Whom to encrypt for so that this identity decrypts.
    pub fn recipient(&self) -> Recipient {
        Recipient(PublicKey::from(&self.0))
    }

    /// The first identity of a file as `age-keygen` writes it, with its comments.
    ///
    /// # Errors
    /// The text holds no identity.
    pub fn from_file_text(text: &str) -> anyhow::Result<Self> {
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        let expected = "expected a line that begins with AGE-SECRET-KEY-1";
        let line = line.with_context(|| format!("the file is empty, {expected}"))?;
        // The text of a secret is not repeated.
        let (prefix, key) = bech32::decode(line).map_err(|_| anyhow!("{expected}"))?;
        ensure!(prefix.to_lowercase() == "age-secret-key-", "{expected}");
        let key = Zeroizing::new(key);
        let key: [u8; 32] = key.as_slice().try_into().map_err(|_| anyhow!("{expected}"))?;
        Ok(Self(StaticSecret::from(key)))
    }

    /// As `age-keygen` writes it.
    ///
    /// # Errors
    /// None for a key of 32 bytes.
    pub fn file_text(&self) -> anyhow::Result<Zeroizing<String>> {
        let key = bech32::encode_upper::<Bech32>(Hrp::parse_unchecked("age-secret-key-"), self.0.as_bytes());
        let key = Zeroizing::new(key.map_err(|error| anyhow!("the identity cannot be written: {error}"))?);
        Ok(Zeroizing::new(format!("# public key: {}\n{}\n", self.recipient(), *key)))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the identity of {}", self.recipient())
    }
}

/// Encrypts.
///
/// # Errors
/// The system gives no random numbers, or the recipient is a point that takes no secret.
pub fn seal(recipient: &Recipient, plain: &[u8]) -> anyhow::Result<Vec<u8>> {
    let chunks = plain.len().div_ceil(CHUNK).max(1);
    let mut sealer = Sealer::new(recipient, Vec::with_capacity(HEADER + plain.len() + chunks * TAG))?;
    sealer.write_all(plain)?;
    Ok(sealer.finish()?)
}

/// Encrypts what is written to it, and writes that on. Holds one chunk.
pub struct Sealer<W> {
    writer: W,
    key: LessSafeKey,
    /// What the next chunk has so far: full only until more comes, because the last chunk is marked.
    chunk: Zeroizing<Vec<u8>>,
    number: usize,
}

impl<W: Write> Sealer<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// As [`seal`]; nothing can be written.
    pub fn new(recipient: &Recipient, mut writer: W) -> anyhow::Result<Self> {
        let (header, key) = begin(recipient)?;
        writer.write_all(&header)?;
        Ok(Self { writer, key, chunk: Zeroizing::new(Vec::with_capacity(CHUNK + TAG)), number: 0 })
    }

    /// Writes the last chunk: without it the file is truncated.
    ///
    /// # Errors
    /// Nothing can be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.seal_chunk(true)?;
        Ok(self.writer)
    }

    fn seal_chunk(&mut self, is_last: bool) -> io::Result<()> {
        let nonce = chunk_nonce(self.number, is_last);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut self.chunk);
        let tag = tag.map_err(|_| io::Error::other("a chunk cannot be encrypted"))?;
        self.writer.write_all(&self.chunk)?;
        self.writer.write_all(tag.as_ref())?;
        self.chunk.clear();
        self.number += 1;
        Ok(())
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        if self.chunk.len() == CHUNK && !plain.is_empty() {
            self.seal_chunk(false)?;
        }
        let taken = plain.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&plain[..taken]);
        Ok(taken)
    }

    /// Of whole chunks; what is in the open one waits.
    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// The header with the payload's nonce, and the payload's key.
fn begin(recipient: &Recipient) -> anyhow::Result<(Vec<u8>, LessSafeKey)> {
    let file_key = random::<FILE_KEY>()?;
    let ephemeral = StaticSecret::from(*random::<32>()?);
    let share = PublicKey::from(&ephemeral);
    let wrap_key = wrap_key(&ephemeral, &recipient.0, &share, &recipient.0)?;
    let mut wrapped = file_key.to_vec();
    cipher(&wrap_key)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut wrapped)
        .map_err(|_| anyhow!("the file key cannot be wrapped"))?;

    let base64 = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
    let header = format!("{VERSION}\n-> X25519 {}\n{}\n---", base64(share.as_bytes()), base64(&wrapped));
    let mac = hmac::sign(&mac_key(&file_key)?, header.as_bytes());
    let nonce = random::<PAYLOAD_NONCE>()?;
    let header = [header.as_bytes(), format!(" {}\n", base64(mac.as_ref())).as_bytes(), nonce.as_slice()].concat();
    let key = cipher(&*derive(nonce.as_slice(), file_key.as_slice(), b"payload")?)?;
    Ok((header, key))
}

/// Decrypts.
///
/// # Errors
/// The data is no age file, is for another recipient, was cut off or was changed.
pub fn open(identity: &Identity, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
    let (header, mac, payload) = split(sealed)?;
    let file_key = unwrap(identity, header)?;
    hmac::verify(&mac_key(&file_key)?, header.as_bytes(), &mac).map_err(|_| anyhow!("the header was changed"))?;
    ensure!(payload.len() >= PAYLOAD_NONCE + TAG, "the object ends too early");
    let (nonce, mut rest) = payload.split_at(PAYLOAD_NONCE);
    let key = cipher(&*derive(nonce, &*file_key, b"payload")?)?;
    let mut plain = Vec::with_capacity(rest.len());
    let mut number = 0;
    loop {
        let is_last = rest.len() <= CHUNK + TAG;
        let (chunk, after) = rest.split_at(rest.len().min(CHUNK + TAG));
        let mut chunk = chunk.to_vec();
        let opened = key
            .open_in_place(chunk_nonce(number, is_last), Aad::empty(), &mut chunk)
            .map_err(|_| anyhow!("chunk {number} was changed, or the object ends too early"))?;
        // Only an empty file ends with an empty chunk.
        ensure!(!opened.is_empty() || number == 0, "an empty chunk follows chunk {number}");
        plain.extend_from_slice(opened);
        if is_last {
            return Ok(plain);
        }
        rest = after;
        number += 1;
    }
}

/// The header up to its `---`, its MAC, and what follows.
fn split(sealed: &[u8]) -> anyhow::Result<(&str, Vec<u8>, &[u8])> {
    const MARK: &[u8] = b"\n---";
    let start = &sealed[..sealed.len().min(LONGEST_HEADER)];
    ensure!(start.starts_with(VERSION.as_bytes()), "it is no age file of version 1");
    let mark = start.windows(MARK.len()).position(|window| window == MARK).context("the header has no end")?;
    let end_of_header = mark + MARK.len();
    let after = &start[end_of_header..];
    let end = after.iter().position(|byte| *byte == b'\n').context("the header has no end")?;
    let mac = after[..end].strip_prefix(b" ").context("the header has no MAC")?;
    let mac = STANDARD_NO_PAD.decode(mac).context("the MAC of the header is no base64")?;
    let header = std::str::from_utf8(&sealed[..end_of_header]).context("the header is no text")?;
    Ok((header, mac, &sealed[end_of_header + end + 1..]))
}

/// The file key, from the first stanza that the identity opens.
fn unwrap(identity: &Identity, header: &str) -> anyhow::Result<Zeroizing<[u8; FILE_KEY]>> {
    let own = identity.recipient();
    let mut lines = header.lines().skip(1);
    while let Some(line) = lines.next() {
        let Some(share) = line.strip_prefix("-> X25519 ") else { continue };
        let share = STANDARD_NO_PAD.decode(share).ok().and_then(|share| <[u8; 32]>::try_from(share).ok());
        let share = PublicKey::from(share.context("a share of the header is not 32 bytes of base64")?);
        let wrapped = lines.next().and_then(|line| STANDARD_NO_PAD.decode(line).ok());
        let mut wrapped = Zeroizing::new(wrapped.context("a wrapped key of the header is no base64")?);
        ensure!(wrapped.len() == FILE_KEY + TAG, "a wrapped key of the header has {} bytes", wrapped.len());
        let key = wrap_key(&identity.0, &share, &share, &own.0)?;
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        if let Ok(file_key) = cipher(&key)?.open_in_place(nonce, Aad::empty(), &mut wrapped) {
            let file_key: [u8; FILE_KEY] = (&*file_key).try_into().context("the file key is too short")?;
            return Ok(Zeroizing::new(file_key));
        }
    }
    bail!("it was not encrypted for {own}")
}

/// Both sides compute the same: one has the secret of `share`, the other that of `recipient`.
fn wrap_key(
    secret: &StaticSecret,
    public: &PublicKey,
    share: &PublicKey,
    recipient: &PublicKey,
) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let shared = secret.diffie_hellman(public);
    ensure!(shared.as_bytes().iter().any(|byte| *byte != 0), "the key is a point that takes no secret");
    derive(&[*share.as_bytes(), *recipient.as_bytes()].concat(), shared.as_bytes(), X25519_INFO)
}

fn mac_key(file_key: &[u8; FILE_KEY]) -> anyhow::Result<hmac::Key> {
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &*derive(&[], file_key, b"header")?))
}

/// HKDF-SHA256.
fn derive(salt: &[u8], secret: &[u8], info: &[u8]) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    struct Key32;
    impl KeyType for Key32 {
        fn len(&self) -> usize {
            32
        }
    }
    let mut key = Zeroizing::new([0; 32]);
    let info = [info];
    let derived = Salt::new(HKDF_SHA256, salt).extract(secret);
    let derived = derived.expand(&info, Key32).and_then(|derived| derived.fill(&mut *key));
    derived.map_err(|_| anyhow!("a key cannot be derived"))?;
    Ok(key)
}

fn cipher(key: &[u8; 32]) -> anyhow::Result<LessSafeKey> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key).map_err(|_| anyhow!("a key has the wrong length"))?;
    Ok(LessSafeKey::new(key))
}

/// Eleven bytes of the chunk's number, and whether it is the last.
fn chunk_nonce(number: usize, is_last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&(number as u64).to_be_bytes());
    nonce[11] = u8::from(is_last);
    Nonce::assume_unique_for_key(nonce)
}

fn random<const N: usize>() -> anyhow::Result<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(|error| anyhow!("the system gives no random numbers: {error}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_written_as_age_keygen_writes_them() {
        // Of age's own documentation.
        let text = "# created: 2021-01-02T15:30:45+01:00\n\
                    # public key: age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z\n\
                    AGE-SECRET-KEY-1N9JEPW6DWJ0ZQUDX63F5A03GX8QUW7PXDE39N8UYF82VZ9PC8UFS3M7XA9\n";
        let identity = Identity::from_file_text(text).unwrap();
        assert_eq!(identity.recipient().to_string(), "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z");
        assert_eq!(*identity.file_text().unwrap(), text.split_once('\n').unwrap().1);
        for wrong in ["", "age1", "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2y"] {
            assert!(wrong.parse::<Recipient>().is_err(), "{wrong}");
        }
        assert!(Identity::from_file_text("# nothing\n").is_err());
    }

    #[test]
    fn another_identity_opens_nothing() {
        let (ours, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let sealed = seal(&ours.recipient(), b"text").unwrap();
        let error = open(&other, &sealed).unwrap_err().to_string();
        assert!(error.contains("not encrypted for age1"), "{error}");
        assert_eq!(open(&ours, &sealed).unwrap(), b"text");
    }

    #[test]
    fn every_changed_byte_and_every_truncation_is_noticed() {
        let identity = Identity::generate().unwrap();
        let sealed = seal(&identity.recipient(), b"some text").unwrap();
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(open(&identity, &changed).is_err(), "byte {place}");
            assert!(open(&identity, &sealed[..place]).is_err(), "cut at {place}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn what_is_sealed_is_opened(length in prop_oneof![0..100usize, Just(CHUNK - 1), Just(CHUNK), Just(CHUNK + 1), Just(2 * CHUNK), 0..300_000usize]) {
            let identity = Identity::generate().unwrap();
            let plain: Vec<u8> = (0..length).map(|number| (number * 31) as u8).collect();
            let sealed = seal(&identity.recipient(), &plain).unwrap();
            prop_assert_eq!(&open(&identity, &sealed).unwrap(), &plain);
            let mut in_pieces = Sealer::new(&identity.recipient(), Vec::new()).unwrap();
            for piece in plain.chunks(length / 7 + 1) {
                in_pieces.write_all(piece).unwrap();
            }
            prop_assert_eq!(open(&identity, &in_pieces.finish().unwrap()).unwrap(), plain);
        }
    }
}
