//! Many updates of one collection in one command.

use anyhow::{Context, bail};
use bson::{Bson, Document, doc};
use common::mongo;
use mongodb::Database;

/// What the server answered.
#[derive(Debug, Default)]
pub struct Applied {
    /// Documents that were found, without those that were added.
    pub matched: u64,
    /// Documents that changed.
    pub changed: u64,
    /// Documents that were added.
    pub added: u64,
    /// For each refused update its place in the list, and why, without what stands in the document.
    pub refused: Vec<(usize, String)>,
}

/// Applies updates `{ q, u, … }` in any order; a refused one does not stop the others.
///
/// # Errors
/// The command as a whole fails, or a majority does not acknowledge it.
pub async fn apply(database: &Database, collection: &str, updates: Vec<Document>) -> anyhow::Result<Applied> {
    if updates.is_empty() {
        return Ok(Applied::default());
    }
    let command =
        doc! { "update": collection, "updates": updates, "ordered": false, "writeConcern": { "w": "majority" } };
    let reply = database.run_command(command).await.with_context(|| format!("writing to {collection} failed"))?;
    if let Ok(error) = reply.get_document("writeConcernError") {
        bail!("writing to {collection} was not acknowledged by a majority: {error}");
    }
    let number = |document: &Document, key: &str| match document.get(key) {
        Some(Bson::Int32(number)) => u64::try_from(*number).unwrap_or(0),
        Some(Bson::Int64(number)) => u64::try_from(*number).unwrap_or(0),
        _ => 0,
    };
    // The driver takes the reply for a success whatever became of the single documents.
    let refused = reply.get_array("writeErrors").into_iter().flatten().filter_map(Bson::as_document);
    let refused = refused.map(|error| {
        let message = mongo::without_values(error.get_str("errmsg").unwrap_or("no reason given")).to_owned();
        (usize::try_from(number(error, "index")).unwrap_or(0), message)
    });
    let added = reply.get_array("upserted").map_or(0, Vec::len) as u64;
    let (matched, changed) = (number(&reply, "n").saturating_sub(added), number(&reply, "nModified"));
    Ok(Applied { matched, changed, added, refused: refused.collect() })
}
