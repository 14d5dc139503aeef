//! Restores: a full backup, then the oplog until the end of a second.

use std::sync::Arc;

use anyhow::{Context, ensure};
use bson::{RawDocument, RawDocumentBuf, doc};
use common::hex::hex;
use futures::{StreamExt, TryStreamExt};
use mongodb::options::{Hint, ReadConcern};
use sha2::{Digest, Sha256};

use crate::age::Identity;
use crate::catalog::RangeEntry;
use crate::documents::{each, insert};
use crate::manifest::{self, Collection, Full, Range};
use crate::moment::OpTime;
use crate::progress::Progress;
use crate::replay::{Base, Replay};
use crate::store::Store;
use crate::stream;
use crate::target::{Phase, Shape, Target};

/// What is restored.
pub struct Plan<'a> {
    /// The full backup.
    pub full: &'a Full,
    /// The ranges of the oplog that lead from the full backup on.
    pub ranges: Vec<&'a RangeEntry>,
    /// The second at whose end the oplog is left; none goes on to the end of the ranges.
    pub second: Option<u32>,
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Each collection, and how many documents it has.
    pub collections: Vec<(String, u64)>,
    /// Changes of the oplog that were applied.
    pub changes: u64,
}

impl Plan<'_> {
    /// The second that it restores to.
    pub fn until(&self) -> u32 {
        self.second.unwrap_or_else(|| self.ranges.last().map_or(self.full.to, |range| range.to).second)
    }
}

impl Restored {
    /// The documents of all collections.
    pub fn documents(&self) -> u64 {
        self.collections.iter().map(|(_, count)| count).sum()
    }
}

/// Restores into a target, all but the last step: its collections take no live collection's place yet. With `check`, every loaded
/// document is read back and compared. After a failure nothing is left of it, if the server lets us.
///
/// # Errors
/// An object is missing or changed, the identity is another one, entries are missing, or MongoDB or the storage fails.
pub async fn run(
    target: &mut Target,
    store: &Arc<Store>,
    identity: &Identity,
    plan: &Plan<'_>,
    check: bool,
    progress: &Progress,
) -> anyhow::Result<Restored> {
    let restored = fill(target, store, identity, plan, check, progress).await;
    if restored.is_err()
        && let Err(error) = target.clear().await
    {
        tracing::warn!(error = %common::mongo::in_words(&error), "what was loaded is not removed; the next restore does it");
    }
    restored
}

/// Reads the objects of a phase's documents, as they are stored.
///
/// # Errors
/// An object is missing or changed.
pub async fn check_objects(store: &Store, plan: &Plan<'_>, phase: Phase) -> anyhow::Result<()> {
    const IN_FLIGHT: usize = 4;
    let collections = plan.full.collections.iter().filter(|collection| phase.has(&collection.name));
    let fetched = collections.flat_map(|collection| &collection.stream.parts).map(|part| stream::fetch(store, part));
    futures::stream::iter(fetched).buffer_unordered(IN_FLIGHT).try_for_each(async |_| Ok(())).await
}

async fn fill(
    target: &mut Target,
    store: &Arc<Store>,
    identity: &Identity,
    plan: &Plan<'_>,
    check: bool,
    progress: &Progress,
) -> anyhow::Result<Restored> {
    let (full, phase) = (plan.full, target.phase);
    let own = identity.recipient().to_string();
    ensure!(
        own == full.recipient,
        "backup {} is encrypted for {}, and backup.identity_file holds the identity of {own}",
        full.id,
        full.recipient
    );
    let ranges: Vec<Range> = read_ranges(store, plan).await?;
    let collections = || full.collections.iter().filter(|collection| phase.has(&collection.name));
    progress.expect(
        collections().map(|collection| collection.stream.bytes).sum::<u64>()
            + full.oplog.bytes
            + ranges.iter().map(|range| range.oplog.bytes).sum::<u64>(),
    );
    target.clear().await?;
    for collection in collections() {
        progress.say(&collection.name);
        load(target, store, identity, collection, progress)
            .await
            .with_context(|| format!("collection {} of backup {}", collection.name, full.id))?;
        if check {
            compare(target, collection).await?;
        }
    }

    progress.say("oplog");
    let mut replay = Replay::new(Base::Overlapping);
    entries(store, identity, &full.oplog, progress, async |entry, point| {
        if point <= full.begin {
            replay.skip(entry, &full.database)
        } else {
            replay.apply(target, entry, &full.database).await
        }
    })
    .await
    .with_context(|| format!("the oplog of backup {}", full.id))?;
    replay.be_exact(target).await?;

    let mut last = full.to;
    for range in &ranges {
        let end_of_second = |point: OpTime| plan.second.is_none_or(|second| point.second <= second);
        entries(store, identity, &range.oplog, progress, async |entry, point| {
            // Ranges may overlap.
            if point > last && end_of_second(point) {
                last = point;
                replay.apply(target, entry, &full.database).await?;
            }
            Ok(())
        })
        .await
        .with_context(|| format!("the oplog after {}", range.from.text()))?;
    }
    replay.flush(target).await?;
    progress.say("indexes");
    target.complete().await?;

    let names: Vec<String> = target.collections().map(str::to_owned).collect();
    let mut collections = Vec::new();
    for name in names {
        let count = target.count(&name).await?;
        collections.push((name, count));
    }
    Ok(Restored { collections, changes: replay.applied })
}

/// The manifests of the ranges, each of which must begin where the one before ends, or earlier.
async fn read_ranges(store: &Store, plan: &Plan<'_>) -> anyhow::Result<Vec<Range>> {
    let mut end = plan.full.to;
    let mut ranges = Vec::new();
    for entry in &plan.ranges {
        let range: Range = manifest::read(store, &entry.key).await?;
        ensure!(
            (range.from, range.to) == (entry.from, entry.to),
            "{} says another range of the oplog than its name",
            entry.key
        );
        ensure!(range.database == plan.full.database, "{} is of database {}", entry.key, range.database);
        ensure!(range.from <= end, "the oplog has a hole from {} to {}", end.text(), range.from.text());
        end = range.to;
        ranges.push(range);
    }
    Ok(ranges)
}

async fn load(
    target: &mut Target,
    store: &Arc<Store>,
    identity: &Identity,
    collection: &Collection,
    progress: &Progress,
) -> anyhow::Result<()> {
    let indexes = collection.indexes.iter().map(manifest::document).collect::<anyhow::Result<_>>()?;
    let shape = Shape { options: manifest::document(&collection.options)?, indexes };
    target.create(&collection.name, shape).await?;
    let name = target.name(&collection.name);
    let mut count = 0;
    let database = &target.database;
    stream::read(store, identity, &collection.stream, async |part| {
        let documents = stream::documents(&part)?;
        insert(database, &name, &documents).await?;
        progress.add(part.len());
        count += documents.len() as u64;
        Ok(())
    })
    .await?;
    ensure!(
        count == collection.stream.documents,
        "{count} documents were loaded, and the manifest says {}",
        collection.stream.documents
    );
    Ok(())
}

/// Reads a collection back: its documents must be those of the manifest, to the last byte.
async fn compare(target: &Target, collection: &Collection) -> anyhow::Result<()> {
    let loaded = target.database.collection::<RawDocumentBuf>(&target.name(&collection.name));
    let find = loaded.find(doc! {}).hint(Hint::Keys(doc! { "_id": 1 })).sort(doc! { "_id": 1 });
    let mut batches = find.read_concern(ReadConcern::majority()).batch().await?;
    let (mut content, mut count) = (Sha256::new(), 0_u64);
    each(&mut batches, async |document| {
        content.update(document);
        count += 1;
        Ok(())
    })
    .await?;
    let expected = &collection.stream;
    ensure!(
        count == expected.documents,
        "{} has {count} documents after the restore, and the manifest says {}",
        collection.name,
        expected.documents
    );
    ensure!(
        hex(&content.finalize()) == expected.content_sha256,
        "{} has other documents after the restore than the manifest says",
        collection.name
    );
    Ok(())
}

async fn entries(
    store: &Arc<Store>,
    identity: &Identity,
    oplog: &stream::Stream,
    progress: &Progress,
    mut take: impl AsyncFnMut(&[u8], OpTime) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    stream::read(store, identity, oplog, async |part| {
        for entry in stream::documents(&part)? {
            progress.add(entry.len());
            let point = OpTime::of_entry(RawDocument::from_bytes(entry)?)?;
            take(entry, point).await.with_context(|| format!("the entry {point}"))?;
        }
        Ok(())
    })
    .await
}
