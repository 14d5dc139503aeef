//! Plain tokens become digests.

use anyhow::Context;
use bson::{Bson, Document, doc};
use common::keyring::{DIGEST_PATTERN, Keyring};
use common::secrets;
use futures::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use mongodb::Database;

use super::outcome::{BATCH, Outcome};
use crate::protected::DigestField;
use crate::updates;

pub(super) async fn protect(
    database: &Database,
    keyring: &Keyring,
    token: DigestField,
    dry_run: bool,
) -> anyhow::Result<Outcome> {
    let DigestField { collection: name, field, purpose, .. } = token;
    let collection = database.collection::<Document>(name);
    let counting = || format!("counting the tokens of {name}.{field} failed");
    let is_digest = doc! { "$regex": DIGEST_PATTERN };
    let protected = collection.count_documents(doc! { field: is_digest.clone() }).await.with_context(counting)?;
    let mut outcome = Outcome::new(name, field, protected);
    // Null is no token; any other value that is no digest is one.
    let plain = doc! { "$and": [{ field: { "$exists": true, "$ne": null } }, { field: { "$not": is_digest } }] };
    let progress = ProgressBar::new(collection.count_documents(plain.clone()).await.with_context(counting)?)
        .with_style(ProgressStyle::with_template("{prefix:>44} {wide_bar} {pos}/{len}")?)
        .with_prefix(format!("{name}.{field}"));
    let found = collection.find(plain).projection(doc! { field: 1 }).batch_size(BATCH as u32).await?;
    let mut batches = found.try_chunks(BATCH);
    while let Some(batch) =
        batches.try_next().await.map_err(|error| error.1).with_context(|| format!("reading {name} failed"))?
    {
        let mut ids = vec![];
        let mut updates = vec![];
        for document in &batch {
            let id = document.get("_id").cloned().unwrap_or(Bson::Null);
            let Some(plain) = text(document, field) else {
                outcome.leave(id, "the token is no text: remove it, or store a text");
                continue;
            };
            updates.push(doc! {
                // Only if the application has not written another token meanwhile.
                "q": { "_id": &id, field: plain },
                "u": { "$set": { field: secrets::token_digest(keyring, purpose, plain) } },
            });
            ids.push(id);
        }
        if dry_run {
            outcome.converted += updates.len() as u64;
        } else {
            let applied = updates::apply(database, name, updates).await?;
            outcome.converted += applied.changed;
            for (index, why) in applied.refused {
                outcome.leave(ids.get(index).cloned().unwrap_or(Bson::Null), why);
            }
        }
        progress.inc(batch.len() as u64);
    }
    progress.finish_and_clear();
    Ok(outcome)
}

/// The text at a path with dots.
fn text<'a>(document: &'a Document, path: &str) -> Option<&'a str> {
    match path.split_once('.') {
        Some((first, rest)) => text(document.get_document(first).ok()?, rest),
        None => document.get_str(path).ok(),
    }
}
