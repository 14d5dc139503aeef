//! Plain secret values of `system_configuration` are sealed.

use anyhow::Context;
use bson::{Bson, Document, doc};
use common::keyring::Keyring;
use common::secrets;
use futures::TryStreamExt;
use mongodb::Database;

use super::outcome::{BATCH, Outcome};
use crate::protected::{self, SEALED_IN};
use crate::updates;

pub(super) async fn protect(database: &Database, keyring: &Keyring, dry_run: bool) -> anyhow::Result<Outcome> {
    let collection = database.collection::<Document>(SEALED_IN);
    let counted = collection.count_documents(protected::sealed()).await;
    let mut outcome = Outcome::new(SEALED_IN, "value", counted.context("counting the secret values failed")?);
    let plain = doc! { "isSecret": true, "$nor": [protected::sealed()] };
    let found = collection.find(plain).projection(doc! { "key": 1, "value": 1 }).batch_size(BATCH as u32).await?;
    let mut batches = found.try_chunks(BATCH);
    while let Some(batch) =
        batches.try_next().await.map_err(|error| error.1).context("reading the secret values failed")?
    {
        let (mut keys, mut updates) = (vec![], vec![]);
        for document in &batch {
            let key = document.get_str("key").unwrap_or_default();
            let value = document.get("value").unwrap_or(&Bson::Null);
            match secrets::seal_value(keyring, key, value) {
                Ok(sealed) => {
                    keys.push(key);
                    updates.push(doc! {
                        // Only if nobody has written another value meanwhile.
                        "q": { "_id": document.get("_id").cloned().unwrap_or(Bson::Null), "value": value },
                        "u": { "$set": { "value": sealed } },
                    });
                }
                Err(error) => outcome.leave(key, error),
            }
        }
        if dry_run {
            outcome.converted += updates.len() as u64;
            continue;
        }
        let applied = updates::apply(database, SEALED_IN, updates).await?;
        outcome.converted += applied.changed;
        for (index, why) in applied.refused {
            outcome.leave(keys.get(index).unwrap_or(&""), why);
        }
    }
    Ok(outcome)
}
