//! A stream of documents as objects: cut into parts, each compressed with zstd and encrypted, and read back part by part.
//!
//! A part is small enough to be held in memory as a whole, so that the memory of a backup does not depend on its size.

use std::collections::VecDeque;

use anyhow::{Context, anyhow, bail, ensure};
use common::hex::hex;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::age::{self, Identity, Recipient};
use crate::hash::sha256;
use crate::store::Store;

/// Bytes of documents that close a part. The last document may make the part longer.
const PART: usize = 16 * 1024 * 1024;
/// The longest document and then some: no part inflates to more.
const LONGEST_PART: u64 = 2 * PART as u64 + 65_536;
/// Parts that are compressed, encrypted and written, or read, at the same time.
const IN_FLIGHT: usize = 2;
const COMPRESSION_LEVEL: i32 = 3;

/// An object with documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// The object's name.
    pub key: String,
    /// The object's bytes.
    pub size: u64,
    /// The object's SHA-256.
    pub sha256: String,
    /// Bytes of the documents in it.
    pub bytes: u64,
}

/// Documents, one after another, in parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// How many.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The SHA-256 of the documents, one after another.
    pub content_sha256: String,
    /// Where they are.
    pub parts: Vec<Part>,
}

/// Writes streams of one backup.
pub struct Writer {
    store: Arc<Store>,
    recipient: Recipient,
    /// What every object's name begins with.
    prefix: String,
    next: u32,
    stream: Stream,
    content: Sha256,
    pending: Vec<u8>,
    in_flight: VecDeque<JoinHandle<anyhow::Result<Part>>>,
}

impl Writer {
    /// A writer of objects whose names begin with `prefix`.
    pub fn new(store: Arc<Store>, recipient: Recipient, prefix: String) -> Self {
        let stream = Stream { documents: 0, bytes: 0, content_sha256: String::new(), parts: Vec::new() };
        let pending = Vec::new();
        Self { store, recipient, prefix, next: 0, stream, content: Sha256::new(), pending, in_flight: VecDeque::new() }
    }

    /// Adds a document.
    ///
    /// # Errors
    /// The storage fails.
    pub async fn push(&mut self, document: &[u8]) -> anyhow::Result<()> {
        self.content.update(document);
        self.pending.extend_from_slice(document);
        self.stream.documents += 1;
        self.stream.bytes += document.len() as u64;
        if self.pending.len() >= PART { self.flush().await } else { Ok(()) }
    }

    /// Ends the stream; the writer goes on with the next.
    ///
    /// # Errors
    /// The storage fails.
    pub async fn finish(&mut self) -> anyhow::Result<Stream> {
        if !self.pending.is_empty() {
            self.flush().await?;
        }
        while let Some(writing) = self.in_flight.pop_front() {
            self.stream.parts.push(writing.await??);
        }
        self.stream.content_sha256 = hex(&std::mem::take(&mut self.content).finalize());
        let next = Stream { documents: 0, bytes: 0, content_sha256: String::new(), parts: Vec::new() };
        Ok(std::mem::replace(&mut self.stream, next))
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        if self.in_flight.len() >= IN_FLIGHT
            && let Some(oldest) = self.in_flight.pop_front()
        {
            self.stream.parts.push(oldest.await??);
        }
        let (store, recipient) = (Arc::clone(&self.store), self.recipient.clone());
        let key = format!("{}{:06}.zst.age", self.prefix, self.next);
        self.next += 1;
        let documents = std::mem::take(&mut self.pending);
        self.in_flight.push_back(tokio::spawn(async move {
            let bytes = documents.len() as u64;
            let sealed = spawn_blocking(move || age::seal(&recipient, &compressed(&documents)?)).await??;
            let (size, sha256) = (sealed.len() as u64, sha256(&sealed));
            store.put(&key, sealed).await?;
            Ok(Part { key, size, sha256, bytes })
        }));
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A backup that failed needs no more objects.
        self.in_flight.iter().for_each(JoinHandle::abort);
    }
}

/// Reads a stream back, a part at a time, and checks every size and hash.
///
/// # Errors
/// An object is missing, was cut off or changed, or is for another identity; `take` fails.
pub async fn read(
    store: &Arc<Store>,
    identity: &Identity,
    stream: &Stream,
    mut take: impl AsyncFnMut(Vec<u8>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let parts = stream.parts.clone();
    let mut opened = stream::iter(parts)
        .map(|part| {
            let (store, identity) = (Arc::clone(store), identity.clone());
            async move { open(&store, identity, &part).await }
        })
        .buffered(IN_FLIGHT);
    let mut content = Sha256::new();
    while let Some(part) = opened.next().await {
        let part = part?;
        content.update(&part);
        take(part).await?;
    }
    ensure!(
        hex(&content.finalize()) == stream.content_sha256,
        "the documents are not those of the manifest, though each object is"
    );
    Ok(())
}

async fn open(store: &Store, identity: Identity, part: &Part) -> anyhow::Result<Vec<u8>> {
    let sealed = fetch(store, part).await?;
    let bytes = part.bytes;
    let key = &part.key;
    spawn_blocking(move || inflated(&age::open(&identity, &sealed)?, bytes))
        .await?
        .with_context(|| format!("{key} in {store} cannot be decrypted"))
}

/// An object as it is stored, if it is the one of the manifest.
///
/// # Errors
/// The object is missing, or was cut off or changed.
pub async fn fetch(store: &Store, part: &Part) -> anyhow::Result<Vec<u8>> {
    let sealed = store.get(&part.key).await?;
    let (key, size) = (&part.key, sealed.len() as u64);
    ensure!(
        size == part.size,
        "{key} in {store} has {size} bytes, and the manifest says {}: it was cut off",
        part.size
    );
    ensure!(sha256(&sealed) == part.sha256, "{key} in {store} was changed: its SHA-256 is not that of the manifest");
    Ok(sealed)
}

/// The documents of a part.
///
/// # Errors
/// The bytes are no documents.
pub fn documents(mut part: &[u8]) -> anyhow::Result<Vec<&[u8]>> {
    let mut documents = Vec::new();
    while !part.is_empty() {
        let length = part.first_chunk().map(|length| i32::from_le_bytes(*length));
        let length = length.and_then(|length| usize::try_from(length).ok()).filter(|length| *length >= 5);
        let (document, rest) =
            length.and_then(|length| part.split_at_checked(length)).context("a part holds half a document")?;
        documents.push(document);
        part = rest;
    }
    Ok(documents)
}

fn compressed(plain: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut compressed = vec![0; zstd_safe::compress_bound(plain.len())];
    let length = zstd_safe::compress(compressed.as_mut_slice(), plain, COMPRESSION_LEVEL);
    compressed.truncate(length.map_err(|code| anyhow!("zstd: {}", zstd_safe::get_error_name(code)))?);
    Ok(compressed)
}

fn inflated(compressed: &[u8], bytes: u64) -> anyhow::Result<Vec<u8>> {
    if bytes > LONGEST_PART {
        bail!("the manifest says that it inflates to {bytes} bytes, and no part does");
    }
    let mut plain = vec![0; usize::try_from(bytes)?];
    let length = zstd_safe::decompress(plain.as_mut_slice(), compressed);
    let length = length.map_err(|code| anyhow!("zstd: {}", zstd_safe::get_error_name(code)))?;
    ensure!(length as u64 == bytes, "it inflates to {length} bytes, and the manifest says {bytes}");
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use common::settings::Backup;

    use super::*;

    fn store(directory: &std::path::Path) -> Arc<Store> {
        let storage = format!("file://{}", directory.display());
        Arc::new(Store::first(&Backup { storage, ..Backup::default() }).unwrap())
    }

    async fn read_all(store: &Arc<Store>, identity: &Identity, stream: &Stream) -> anyhow::Result<Vec<u8>> {
        let mut all = Vec::new();
        read(store, identity, stream, async |part| {
            documents(&part)?;
            all.extend(part);
            Ok(())
        })
        .await?;
        Ok(all)
    }

    #[tokio::test]
    async fn streams_come_back_and_damage_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let identity = Identity::generate().unwrap();
        let mut writer = Writer::new(Arc::clone(&store), identity.recipient(), "full/a/".to_owned());
        let mut plain = Vec::new();
        for number in 0..40_i32 {
            let document = bson::rawdoc! { "_id": number, "text": "x".repeat(1_000_000) };
            plain.extend_from_slice(document.as_bytes());
            writer.push(document.as_bytes()).await.unwrap();
        }
        let stream = writer.finish().await.unwrap();
        let empty = writer.finish().await.unwrap();
        assert_eq!((stream.documents, stream.parts.len(), empty.parts.len()), (40, 3, 0));
        assert!(read_all(&store, &identity, &stream).await.unwrap() == plain);
        assert_eq!(read_all(&store, &identity, &empty).await.unwrap(), b"");

        let other = Identity::generate().unwrap();
        let says = async |stream: &Stream, identity: &Identity| {
            format!("{:#}", read_all(&store, identity, stream).await.unwrap_err())
        };
        assert!(says(&stream, &other).await.contains("not encrypted for"));
        let mut swapped = stream.clone();
        swapped.parts.swap(0, 1);
        assert!(says(&swapped, &identity).await.contains("not those of the manifest"));
        let file = directory.path().join(&stream.parts[1].key);
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        assert!(says(&stream, &identity).await.contains("cut off"));
        let mut changed = whole;
        changed[300] ^= 1;
        std::fs::write(&file, &changed).unwrap();
        assert!(says(&stream, &identity).await.contains("was changed"));
        std::fs::remove_file(&file).unwrap();
        assert!(says(&stream, &identity).await.contains("cannot be read"));
    }
}
