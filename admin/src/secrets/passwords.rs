//! Passwords that are no argon2id hashes: counted and named, and hashed only if the operator says that they are plain.

use anyhow::Context;
use bson::{Bson, Document, doc};
use common::documents::user;
use common::secrets::{self, Hash, PASSWORD_PATTERN};
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use mongodb::Database;

use super::outcome::Outcome;
use crate::updates;

/// Hashes that are computed before they are written: a second or two of work.
const BATCH: usize = 100;
/// Each takes 19 MiB.
const AT_A_TIME: usize = 4;

pub(super) async fn protect(database: &Database, hash: bool, dry_run: bool) -> anyhow::Result<Outcome> {
    let collection = database.collection::<Document>(user::COLLECTION);
    let is_hash = doc! { "$regex": PASSWORD_PATTERN };
    let counting = "counting the passwords failed";
    let protected = collection.count_documents(doc! { "password": is_hash.clone() }).await.context(counting)?;
    let mut outcome = Outcome::new(user::COLLECTION, "password", protected);
    let others = doc! { "password": { "$not": is_hash } };
    let progress = ProgressBar::new(collection.count_documents(others.clone()).await.context(counting)?)
        .with_style(ProgressStyle::with_template("{prefix:>44} {wide_bar} {pos}/{len}")?)
        .with_prefix("users.password");
    let found = collection.find(others).projection(doc! { "password": 1 }).batch_size(BATCH as u32).await?;
    let mut batches = found.try_chunks(BATCH);
    while let Some(batch) = batches.try_next().await.map_err(|error| error.1).context("reading the users failed")? {
        let mut plain = vec![];
        for document in &batch {
            let id = document.get("_id").cloned().unwrap_or(Bson::Null);
            let password = document.get_str("password").unwrap_or_default();
            match secrets::kind_of_hash(password) {
                Hash::Argon2id => {
                    outcome.leave(id, "an argon2id hash of another form than expected: let the user set a new password")
                }
                Hash::Other(name) => {
                    outcome.leave(id, format!("{name}: let the user set a new password, or hash it at the next login"))
                }
                Hash::Unknown if password.is_empty() => outcome.leave(id, "there is no password"),
                Hash::Unknown if !hash => {
                    outcome.leave(id, "a plain password, or a hash without a name: --hash-passwords hashes it")
                }
                Hash::Unknown => plain.push((id, password.to_owned())),
            }
        }
        if dry_run {
            outcome.converted += plain.len() as u64;
        } else {
            replace(database, plain, &mut outcome).await?;
        }
        progress.inc(batch.len() as u64);
    }
    progress.finish_and_clear();
    Ok(outcome)
}

async fn replace(database: &Database, plain: Vec<(Bson, String)>, outcome: &mut Outcome) -> anyhow::Result<()> {
    let hashed = stream::iter(plain).map(|(id, password)| {
        tokio::task::spawn_blocking(move || {
            let hash = secrets::hash_password(&password);
            (id, password, hash)
        })
    });
    let hashed: Vec<_> = hashed.buffered(AT_A_TIME).try_collect().await.context("hashing a password was stopped")?;
    let (mut ids, mut updates) = (vec![], vec![]);
    for (id, password, hash) in hashed {
        match hash {
            Ok(hash) => {
                // Only if the user has not set another password meanwhile.
                updates.push(doc! { "q": { "_id": &id, "password": password }, "u": { "$set": { "password": hash } } });
                ids.push(id);
            }
            Err(error) => outcome.leave(id, error),
        }
    }
    let applied = updates::apply(database, user::COLLECTION, updates).await?;
    outcome.converted += applied.changed;
    for (index, why) in applied.refused {
        outcome.leave(ids.get(index).cloned().unwrap_or(Bson::Null), why);
    }
    Ok(())
}
