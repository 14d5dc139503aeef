//! Saves the oplog from where the last backup ends.

use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use bson::RawDocument;
use chrono::Utc;
use mongodb::Database;

use crate::age::Recipient;
use crate::catalog::{Catalog, range_directory};
use crate::entry;
use crate::manifest::{self, Consumed, Kind, Range};
use crate::moment::OpTime;
use crate::oplog;
use crate::progress::Progress;
use crate::recovery;
use crate::store::Store;
use crate::stream::Writer;

/// The oplog lost entries that no backup has.
#[derive(Debug, thiserror::Error)]
#[error(
    "the oplog no longer has the entry where {predecessor} ends ({}): what was written after it cannot be restored to the second; \
     make a full backup with `admin backup run --full`, and a larger oplog if this comes again",
    .after.text()
)]
pub struct Lost {
    /// The last entry that is saved.
    pub after: OpTime,
    /// The backup that ends there.
    pub predecessor: String,
}

/// The database was restored, so the oplog leads on from another state than the last backup's.
#[derive(Debug, thiserror::Error)]
#[error(
    "the database was restored at {}, after the last backup: only a full backup can follow; make one with \
     `admin backup run --full` when the recovery is finished", .0.text()
)]
pub struct Restored(pub OpTime);

/// There is nothing to go on from.
#[derive(Debug, thiserror::Error)]
#[error("there is no full backup yet: make one with `admin backup run --full`")]
pub struct NoFull;

/// Saves the range since the last backup of this kind; none when nothing was written since. `consumed` was asked before.
///
/// # Errors
/// There is no full backup ([`NoFull`]), the oplog lost entries ([`Lost`]), the database was restored ([`Restored`]), or MongoDB or
/// the storage fails.
pub async fn make(
    database: &Database,
    store: &Arc<Store>,
    recipient: &Recipient,
    kind: Kind,
    consumed: Option<Consumed>,
    progress: &Progress,
) -> anyhow::Result<Option<Range>> {
    let (started, clock) = (Utc::now(), Instant::now());
    let catalog = Catalog::read(store).await?;
    let (from, predecessor) = begin(database, &catalog, kind).await?;
    let to = oplog::majority(database).await?;
    if to <= from {
        return Ok(None);
    }
    let directory = range_directory(kind, from, to)?;
    let mut writer = Writer::new(Arc::clone(store), recipient.clone(), directory.clone());
    progress.say("oplog");
    oplog::read(database, from, to, async |entry| {
        refuse_restores(entry, database.name())?;
        progress.add(entry.len());
        writer.push(entry).await
    })
    .await?;
    let oplog = writer.finish().await?;
    // Asked after the reading: an entry could have been removed while we read.
    ensure!(oplog::has(database, from).await?, Lost { after: from, predecessor });
    let range = Range {
        version: manifest::VERSION,
        kind,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        database: database.name().to_owned(),
        recipient: recipient.to_string(),
        predecessor,
        from,
        to,
        started,
        seconds: clock.elapsed().as_secs_f64(),
        consumed,
        oplog,
    };
    manifest::write(store, &directory, &range, range.oplog.parts.iter()).await?;
    Ok(Some(range))
}

/// A restore puts collections into the place of others that no entry of the oplog tells of.
fn refuse_restores(bytes: &[u8], database: &str) -> anyhow::Result<()> {
    let entry = RawDocument::from_bytes(bytes)?;
    match entry::renamed(entry, database)? {
        Some(from) if recovery::is_its(&from) => Err(Restored(OpTime::of_entry(entry)?).into()),
        _ => Ok(()),
    }
}

/// Where the range begins. An incremental backup whose beginning the oplog has lost goes on from the last slice.
async fn begin(database: &Database, catalog: &Catalog, kind: Kind) -> anyhow::Result<(OpTime, String)> {
    let mut lost = None;
    for kind in [kind, Kind::Slice] {
        let (from, predecessor) = catalog.position(kind).ok_or(NoFull)?;
        if oplog::has(database, from).await? {
            return Ok((from, predecessor));
        }
        lost = Some(Lost { after: from, predecessor });
    }
    Err(lost.map_or(NoFull.into(), anyhow::Error::from))
}
