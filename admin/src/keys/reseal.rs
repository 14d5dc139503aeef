//! Encrypts sealed values again with the current key, in batches, while the programs run. Where this is killed, the next run
//! goes on: what is left is seen from the values themselves.

use anyhow::Context;
use bson::{Bson, Document, doc};
use common::keyring::{KeyState, Keyring, Sealed};
use futures::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use mongodb::Database;

use crate::protected::{self, SEALED_IN, Use};
use crate::updates;

const BATCH: usize = 200;

/// What became of the values.
#[derive(Debug, Default)]
pub(super) struct Resealed {
    /// Encrypted with the current key now.
    pub(super) values: u64,
    /// For each that could not be, its key in the configuration, and why.
    pub(super) failed: Vec<(String, String)>,
}

/// How many values an old key of the keyring seals: a rotation has not ended while there are some.
pub(super) async fn left(database: &Database, keyring: &Keyring) -> anyhow::Result<u64> {
    let values = database.collection::<Document>(SEALED_IN);
    let mut left = 0;
    for key in keyring.keys().iter().filter(|key| key.state() == KeyState::Old) {
        let counted = values.count_documents(Use::Sealed.filter(key.id())).await;
        left += counted.with_context(|| format!("counting the sealed values of {SEALED_IN} failed"))?;
    }
    Ok(left)
}

/// Encrypts whatever the current key did not seal.
pub(super) async fn run(database: &Database, keyring: &Keyring) -> anyhow::Result<Resealed> {
    let others = protected::sealed_before(keyring.current().id());
    let collection = database.collection::<Document>(SEALED_IN);
    let progress = ProgressBar::new(collection.count_documents(others.clone()).await?)
        .with_style(ProgressStyle::with_template("{prefix:>22} {wide_bar} {pos}/{len}")?)
        .with_prefix(SEALED_IN);
    let mut resealed = Resealed::default();
    let found = collection.find(others).projection(doc! { "key": 1, "value": 1 }).batch_size(BATCH as u32).await?;
    let mut batches = found.try_chunks(BATCH);
    while let Some(batch) =
        batches.try_next().await.map_err(|error| error.1).context("reading the sealed values failed")?
    {
        let mut updates = vec![];
        for document in &batch {
            let key = document.get_str("key").unwrap_or_default();
            match again(keyring, key, document.get_str("value").unwrap_or_default()) {
                // Only if nobody has written another value meanwhile: that one is sealed by whoever wrote it.
                Ok((value, again)) => updates.push(doc! {
                    "q": { "_id": document.get("_id").cloned().unwrap_or(Bson::Null), "value": value },
                    "u": { "$set": { "value": again } },
                }),
                Err(why) => resealed.failed.push((key.to_owned(), why)),
            }
        }
        let applied = updates::apply(database, SEALED_IN, updates).await?;
        resealed.values += applied.changed;
        resealed.failed.extend(applied.refused.into_iter().map(|(_, why)| ("(refused by MongoDB)".to_owned(), why)));
        progress.inc(batch.len() as u64);
    }
    progress.finish_and_clear();
    Ok(resealed)
}

fn again(keyring: &Keyring, key: &str, value: &str) -> Result<(String, String), String> {
    let sealed = value.parse::<Sealed>().map_err(|error| error.to_string())?;
    let plain = keyring.unseal(key.as_bytes(), &sealed).map_err(|error| error.to_string())?;
    let again = keyring.seal(key.as_bytes(), &plain).map_err(|error| error.to_string())?;
    Ok((sealed.to_string(), again.to_string()))
}
