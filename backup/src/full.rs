//! Makes a full backup: reads every collection while others write, and saves the oplog of that time, which makes the documents
//! those of one moment.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, anyhow, bail, ensure};
use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};
use chrono::Utc;
use common::mongo;
use mongodb::Database;
use mongodb::options::ReadConcern;

use crate::age::Recipient;
use crate::catalog::FULL;
use crate::documents::{self, each};
use crate::entry;
use crate::manifest::{self, Collection, Consumed, Full};
use crate::moment::{OpTime, new_id};
use crate::oplog;
use crate::progress::Progress;
use crate::recovery;
use crate::store::Store;
use crate::stream::Writer;

/// The oplog is saved from so long before the first document is read, so that no transaction lacks its first entries.
const SECONDS_BEFORE: u32 = 10;
const BATCH: u32 = 4_000;
/// How often a collection's reading goes on after a lost connection.
const ATTEMPTS: u32 = 5;

/// Makes one. `consumed` was asked before.
///
/// # Errors
/// MongoDB or the storage fails; a collection is of a kind that cannot be saved; a collection was renamed meanwhile; the oplog
/// is too small for the time that it took; or a recovery is not finished.
pub async fn make(
    database: &Database,
    store: &Arc<Store>,
    recipient: &Recipient,
    consumed: Option<Consumed>,
    progress: &Progress,
) -> anyhow::Result<Full> {
    let (started, clock) = (Utc::now(), Instant::now());
    recovery::refuse(database).await?;
    let begin = oplog::majority(database).await?;
    let oldest = oplog::oldest(database).await?;
    let from = begin.seconds_before(SECONDS_BEFORE).max(oldest);
    let id = new_id(started)?;
    let directory = format!("{FULL}{id}/");
    let mut writer = Writer::new(Arc::clone(store), recipient.clone(), directory.clone());

    let mut collections = Vec::new();
    for (name, options) in list(database).await? {
        let indexes = indexes(database, &name).await?;
        progress.say(&name);
        read(database, &name, doc! {}, &mut writer, progress).await.with_context(|| format!("collection {name}"))?;
        collections.push(Collection { name, options: json(options), indexes, stream: writer.finish().await? });
    }
    let to = oplog::majority(database).await?;
    progress.say("oplog");
    oplog::read(database, from, to, async |entry| {
        refuse_renames(entry, database.name(), begin)?;
        progress.add(entry.len());
        writer.push(entry).await
    })
    .await?;
    let oplog = writer.finish().await?;
    // Asked after the reading: an entry could have been removed while we read.
    ensure!(
        oplog::oldest(database).await? <= from,
        "the oplog lost entries while the backup was made: it holds less than the backup takes; make it larger with \
         replSetResizeOplog"
    );
    // A restore may have begun meanwhile.
    recovery::refuse(database).await?;
    let full = Full {
        version: manifest::VERSION,
        id,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        server: server_version(database).await?,
        database: database.name().to_owned(),
        recipient: recipient.to_string(),
        started,
        seconds: clock.elapsed().as_secs_f64(),
        begin,
        to,
        consumed,
        collections,
        oplog,
    };
    manifest::write(store, &directory, &full, full.parts()).await?;
    Ok(full)
}

/// The collections that can be saved, with their options.
pub(crate) async fn list(database: &Database) -> anyhow::Result<Vec<(String, Document)>> {
    let reply = database.run_command(doc! { "listCollections": 1, "cursor": { "batchSize": 10_000 } }).await;
    let reply = reply.context("the collections cannot be listed")?;
    let listed = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    let mut found = Vec::new();
    for collection in listed.context("the server lists no collections")?.iter().filter_map(Bson::as_document) {
        let name = collection.get_str("name")?;
        if name.starts_with("system.") || recovery::is_its(name) {
            continue;
        }
        let options = collection.get_document("options").cloned().unwrap_or_default();
        let kind = collection.get_str("type").unwrap_or("collection");
        ensure!(kind == "collection", "{name} is a {kind}, and only collections can be saved");
        ensure!(options.get("capped").is_none(), "{name} is capped, and a capped collection cannot be saved");
        found.push((name.to_owned(), options));
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

pub(crate) async fn indexes(database: &Database, name: &str) -> anyhow::Result<Vec<serde_json::Value>> {
    let reply = database.run_command(doc! { "listIndexes": name, "cursor": { "batchSize": 1_000 } }).await;
    let reply = match reply {
        // The collection was dropped meanwhile: the oplog says so, too.
        Err(error) if mongo::code_of(&error) == Some(mongo::NAMESPACE_NOT_FOUND) => return Ok(Vec::new()),
        reply => reply.with_context(|| format!("the indexes of {name} cannot be listed"))?,
    };
    let listed = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    let listed = listed.with_context(|| format!("the server lists no indexes of {name}"))?;
    Ok(listed.iter().map(|index| index.clone().into_canonical_extjson()).collect())
}

/// The documents of a filter, ordered by `_id`. After a lost connection the reading goes on behind the last document.
pub(crate) async fn read(
    database: &Database,
    name: &str,
    filter: Document,
    writer: &mut Writer,
    progress: &Progress,
) -> anyhow::Result<()> {
    let collection = database.collection::<RawDocumentBuf>(name);
    let mut last: Option<RawDocumentBuf> = None;
    let mut attempt = 1;
    loop {
        let find = collection.find(filter.clone()).hint(mongodb::options::Hint::Keys(doc! { "_id": 1 }));
        let find = find.sort(doc! { "_id": 1 }).batch_size(BATCH).read_concern(ReadConcern::majority());
        // Not $gt, which would leave out documents whose _id is of another type.
        let find = match &last {
            Some(last) => find.min(Document::try_from(last)?),
            None => find,
        };
        let outcome = match find.batch().await {
            Ok(mut batches) => {
                let mut is_first = true;
                each(&mut batches, async |document| {
                    let id = documents::id(RawDocument::from_bytes(document)?)?;
                    let is_known = std::mem::take(&mut is_first) && last.as_ref() == Some(&id);
                    if !is_known {
                        progress.add(document.len());
                        writer.push(document).await?;
                        last = Some(id);
                        attempt = 1;
                    }
                    Ok(())
                })
                .await
            }
            Err(error) => Err(error.into()),
        };
        match outcome {
            Ok(()) => return Ok(()),
            Err(error) if attempt < ATTEMPTS && is_passing(&error) => {
                tracing::warn!(collection = name, error = %mongo::in_words(&error), "reading goes on after a fault");
                tokio::time::sleep(std::time::Duration::from_secs(1 << attempt)).await;
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

fn is_passing(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref()).any(mongo::is_passing)
}

/// A collection that is renamed while the collections are read may be read under neither name.
fn refuse_renames(bytes: &[u8], database: &str, begin: OpTime) -> anyhow::Result<()> {
    let entry = RawDocument::from_bytes(bytes)?;
    if let Some(from) = entry::renamed(entry, database)?
        && OpTime::of_entry(entry)? > begin
    {
        bail!("collection {from} was renamed while the backup was made: make it again");
    }
    Ok(())
}

pub(crate) async fn server_version(database: &Database) -> anyhow::Result<String> {
    let info = database.run_command(doc! { "buildInfo": 1 }).await.context("the server does not tell its version")?;
    Ok(info.get_str("version").map_err(|error| anyhow!("the server does not tell its version: {error}"))?.to_owned())
}

pub(crate) fn json(options: Document) -> serde_json::Value {
    Bson::Document(options).into_canonical_extjson()
}
