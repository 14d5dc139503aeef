//! Documents as they come from the server and go to it, as raw BSON.

use anyhow::{Context, bail, ensure};
use bson::raw::{RawBsonRef, cstr};
use bson::{RawArrayBuf, RawDocument, RawDocumentBuf, rawdoc};
use common::mongo;
use futures::{StreamExt, TryStreamExt, stream};
use mongodb::Database;
use mongodb::raw_batch_cursor::RawBatchCursor;

/// Documents and bytes of one command: MongoDB takes 100,000 and 48 MB.
const MOST_DOCUMENTS: usize = 2_000;
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// Commands that are sent at the same time.
const IN_FLIGHT: usize = 4;

/// Hands over each document of a cursor.
///
/// # Errors
/// MongoDB fails, or `take` does.
pub async fn each(
    batches: &mut RawBatchCursor,
    mut take: impl AsyncFnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    while let Some(batch) = batches.try_next().await? {
        for document in batch.doc_slices()? {
            let RawBsonRef::Document(document) = document? else {
                bail!("the server sent something that is no document")
            };
            take(document.as_bytes()).await?;
        }
    }
    Ok(())
}

/// `{ _id: … }` of a document: what finds it, and what it is known by.
///
/// # Errors
/// It has no `_id`.
pub fn id(document: &RawDocument) -> anyhow::Result<RawDocumentBuf> {
    let id = document.get("_id")?.context("a document has no _id")?;
    let mut found = RawDocumentBuf::new();
    found.append(cstr!("_id"), id);
    Ok(found)
}

/// Cuts documents into what one command takes.
fn commands<'a>(documents: &[&'a [u8]]) -> Vec<Vec<&'a [u8]>> {
    let mut commands: Vec<Vec<&[u8]>> = Vec::new();
    let mut bytes = 0;
    for document in documents {
        let fits = |last: &Vec<&[u8]>| last.len() < MOST_DOCUMENTS && bytes + document.len() <= MOST_BYTES;
        if let Some(last) = commands.last_mut().filter(|last| fits(last)) {
            last.push(document);
            bytes += document.len();
        } else {
            commands.push(vec![document]);
            bytes = document.len();
        }
    }
    commands
}

/// Inserts documents that are not there.
///
/// # Errors
/// MongoDB fails or refuses one.
pub async fn insert(database: &Database, collection: &str, documents: &[&[u8]]) -> anyhow::Result<()> {
    write(database, "insert", "documents", collection, documents).await
}

/// Applies `{ q, u, upsert }` each.
///
/// # Errors
/// MongoDB fails or refuses one.
pub async fn update(database: &Database, collection: &str, updates: &[&[u8]]) -> anyhow::Result<()> {
    write(database, "update", "updates", collection, updates).await
}

/// Applies `{ q, limit }` each.
///
/// # Errors
/// MongoDB fails or refuses one.
pub async fn delete(database: &Database, collection: &str, deletes: &[&[u8]]) -> anyhow::Result<()> {
    write(database, "delete", "deletes", collection, deletes).await
}

async fn write(
    database: &Database,
    verb: &str,
    list: &str,
    collection: &str,
    documents: &[&[u8]],
) -> anyhow::Result<()> {
    let commands = stream::iter(commands(documents)).map(Ok);
    commands.try_for_each_concurrent(IN_FLIGHT, |command| send(database, verb, list, collection, command)).await
}

async fn send(
    database: &Database,
    verb: &str,
    list: &str,
    collection: &str,
    documents: Vec<&[u8]>,
) -> anyhow::Result<()> {
    let mut all = RawArrayBuf::new();
    for document in documents {
        all.push(RawDocument::from_bytes(document)?);
    }
    let mut command = RawDocumentBuf::new();
    command.append(bson::raw::CString::try_from(verb)?, collection);
    command.append(cstr!("ordered"), false);
    command.append(cstr!("writeConcern"), &rawdoc! { "w": "majority" });
    command.append(bson::raw::CString::try_from(list)?, &all);
    let reply = database.run_raw_command(command).await.with_context(|| format!("{verb} into {collection}"))?;
    // The driver takes the reply for a success whatever became of the single documents.
    if let Some(first) = reply.get_array("writeErrors").ok().and_then(|errors| errors.first()?.as_document().cloned()) {
        let message = mongo::without_values(first.get_str("errmsg").unwrap_or("no reason given")).to_owned();
        bail!("MongoDB refuses to {verb} a document in {collection}: {message}");
    }
    ensure!(
        reply.get_document("writeConcernError").is_err(),
        "{verb} in {collection} was not acknowledged by a majority"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_takes_so_many_documents_and_bytes() {
        let (small, large) = ([0_u8; 10], vec![0_u8; 5 * 1024 * 1024]);
        let many = vec![small.as_slice(); MOST_DOCUMENTS + 1];
        assert_eq!(commands(&many).iter().map(Vec::len).collect::<Vec<_>>(), [MOST_DOCUMENTS, 1]);
        assert_eq!(commands(&[&large, &large, &small]).iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
        assert!(commands(&[]).is_empty());
    }
}
