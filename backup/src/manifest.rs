//! What a backup consists of. A backup's manifest is written last: what has none is no backup.
//!
//! The manifest's name has its SHA-256, and the number and size of the backup's objects, so that a listing alone shows a backup
//! that lacks something.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, ensure};
use bson::Document;
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::hash::sha256;
use crate::moment::OpTime;
use crate::store::Store;
use crate::stream::{Part, Stream};

/// The version of the manifests and objects that this program writes.
pub const VERSION: u32 = 1;

/// How far a consumer group was before a backup was made: every message before these offsets is in the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumed {
    /// The topic.
    pub topic: String,
    /// The topic's id, which tells it from a topic of the same name that is created later.
    #[serde(default, rename = "topicId", skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// The consumer group.
    pub group: String,
    /// The committed offset of each partition that has one.
    pub offsets: BTreeMap<i32, i64>,
}

/// A collection of a full backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Collection {
    /// Its name.
    pub name: String,
    /// What `create` was told, validators among it, as canonical Extended JSON.
    pub options: serde_json::Value,
    /// Its indexes, as canonical Extended JSON.
    pub indexes: Vec<serde_json::Value>,
    /// Its documents, ordered by `_id`.
    #[serde(flatten)]
    pub stream: Stream,
}

/// A full backup: every collection, and the oplog of the time in which they were read.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Full {
    /// Of the form of the backup.
    pub version: u32,
    /// Its name.
    pub id: String,
    /// The program's version.
    pub program: String,
    /// The server's version.
    pub server: String,
    /// The database.
    pub database: String,
    /// Whom it is encrypted for.
    pub recipient: String,
    /// When it was begun.
    pub started: DateTime<Utc>,
    /// How long it took.
    pub seconds: f64,
    /// Before the first document was read.
    pub begin: OpTime,
    /// After the last document was read: what the backup restores to.
    pub to: OpTime,
    /// How far ingest was before `begin`.
    pub consumed: Option<Consumed>,
    /// The collections.
    pub collections: Vec<Collection>,
    /// The database's entries of the oplog until `to`, from some seconds before `begin`.
    pub oplog: Stream,
}

impl Full {
    /// All objects.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.collections.iter().flat_map(|collection| &collection.stream.parts).chain(&self.oplog.parts)
    }

    /// The documents of all collections.
    pub fn documents(&self) -> u64 {
        self.collections.iter().map(|collection| collection.stream.documents).sum()
    }
}

/// What a range of the oplog is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Since the last slice; every minute.
    Slice,
    /// Since the last incremental or full backup; takes the place of the slices.
    Incremental,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Slice => "slice",
            Self::Incremental => "incremental",
        })
    }
}

/// A range of the oplog: the database's entries after `from`, until `to`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Range {
    /// Of the form of the backup.
    pub version: u32,
    /// What it is for.
    pub kind: Kind,
    /// The program's version.
    pub program: String,
    /// The database.
    pub database: String,
    /// Whom it is encrypted for.
    pub recipient: String,
    /// The backup that ends where this one begins.
    pub predecessor: String,
    /// Where it ends.
    pub from: OpTime,
    /// The last entry that it may hold.
    pub to: OpTime,
    /// When it was begun.
    pub started: DateTime<Utc>,
    /// How long it took.
    pub seconds: f64,
    /// How far ingest was before `to`.
    pub consumed: Option<Consumed>,
    /// The entries.
    pub oplog: Stream,
}

/// What the name of a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// How many objects the backup has.
    pub parts: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The manifest's SHA-256.
    pub sha256: String,
}

impl Named {
    /// Of the last part of an object's name; none where that is no manifest's.
    pub fn of(name: &str) -> Option<Self> {
        let text = name.strip_prefix("manifest-")?.strip_suffix(".json")?;
        let mut fields = text.split('-');
        let (parts, bytes) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let sha256 = fields.next()?.to_owned();
        (fields.next().is_none() && sha256.len() == 64).then_some(Self { parts, bytes, sha256 })
    }
}

/// Writes a manifest into a backup's directory: from then on the backup exists.
///
/// # Errors
/// The storage fails.
pub async fn write<'a>(
    store: &Store,
    directory: &str,
    manifest: &impl Serialize,
    parts: impl Iterator<Item = &'a Part>,
) -> anyhow::Result<()> {
    let text = serde_json::to_vec_pretty(manifest)?;
    let (count, bytes) = parts.fold((0_u64, 0_u64), |(count, bytes), part| (count + 1, bytes + part.size));
    store.put(&format!("{directory}manifest-{count}-{bytes}-{}.json", sha256(&text)), text).await
}

/// Reads a manifest, if it is the one that its name says.
///
/// # Errors
/// It cannot be read, was changed, or is of a newer version.
pub async fn read<T: DeserializeOwned>(store: &Store, key: &str) -> anyhow::Result<T> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let text = store.get(key).await?;
    let name = key.rsplit('/').next().and_then(Named::of).with_context(|| format!("{key} is no manifest"))?;
    ensure!(sha256(&text) == name.sha256, "{key} in {store} was changed: its SHA-256 is not that of its name");
    let wrong = || format!("{key} in {store} is no manifest");
    let Versioned { version } = serde_json::from_slice(&text).with_context(wrong)?;
    ensure!(
        version == VERSION,
        "{key} in {store} is of version {version}, and this program reads {VERSION}: use the program that wrote it"
    );
    serde_json::from_slice(&text).with_context(wrong)
}

/// A document of a manifest.
///
/// # Errors
/// It is no Extended JSON of a document.
pub fn document(value: &serde_json::Value) -> anyhow::Result<Document> {
    let value = bson::Bson::try_from(value.clone()).context("the manifest holds no Extended JSON")?;
    let bson::Bson::Document(document) = value else { anyhow::bail!("the manifest holds no document") };
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifests_name_says_what_belongs_to_it() {
        let sha256 = "a".repeat(64);
        let named = Named { parts: 3, bytes: 17, sha256: sha256.clone() };
        assert_eq!(Named::of(&format!("manifest-3-17-{sha256}.json")), Some(named));
        for other in ["000001.zst.age", "manifest-.json", "manifest-3-17-abc.json"] {
            assert_eq!(Named::of(other), None, "{other}");
        }
    }
}
