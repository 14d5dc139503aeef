//! Reading the schema a server has, and carrying out one change on it.
//!
//! Several migrations may run at once without a lock: each change is a command that the server carries out whole, and
//! that does nothing when another migration was faster. The caller reads and compares again until nothing differs.

use std::time::Duration;

use anyhow::{Context, bail};
use bson::{Bson, Document, doc};
use futures::TryStreamExt;
use mongodb::Database;
use mongodb::error::Error;

use super::diff::Change;
use super::{Collection, Index, Validator};
use crate::mongo::{NAMESPACE_NOT_FOUND, code_of};

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out here.
    Applied,
    /// Something else is at work on the same collection: nothing was changed here, the schema is to be read again.
    Contended,
}

/// Reads the collections that have one of the names.
///
/// # Errors
/// The server fails, or one of the names is a view or a time-series collection, which cannot be brought in order.
pub async fn read(database: &Database, names: &[String]) -> anyhow::Result<Vec<Collection>> {
    let command = doc! { "listCollections": 1, "filter": { "name": { "$in": names } } };
    let listed: Vec<Document> = database
        .run_cursor_command(command)
        .await
        .context("listing the collections failed")?
        .try_collect()
        .await
        .context("listing the collections failed")?;
    let mut collections = Vec::with_capacity(listed.len());
    for found in listed {
        let name = found.get_str("name").unwrap_or_default().to_owned();
        let kind = found.get_str("type").unwrap_or("collection");
        if kind != "collection" {
            bail!("{}.{name} is a {kind}, expected a collection; rename or drop it, then run again", database.name());
        }
        let indexes = read_indexes(database, &name).await?;
        let validator = found.get_document("options").ok().and_then(validator_of);
        collections.push(Collection { name, indexes, validator });
    }
    Ok(collections)
}

async fn read_indexes(database: &Database, collection: &str) -> anyhow::Result<Vec<Index>> {
    let context = || format!("listing the indexes of {collection} failed");
    let cursor = match database.run_cursor_command(doc! { "listIndexes": collection }).await {
        Ok(cursor) => cursor,
        // Dropped since it was listed.
        Err(error) if code_of(&error) == Some(NAMESPACE_NOT_FOUND) => return Ok(vec![]),
        Err(error) => return Err(error).with_context(context),
    };
    let listed: Vec<Document> = cursor.try_collect().await.with_context(context)?;
    let indexes = listed.into_iter().map(index_of).filter(|index| index.name != "_id_");
    Ok(indexes.collect())
}

fn validator_of(options: &Document) -> Option<Validator> {
    // A validator that was removed stays behind as an empty one.
    let rule = options.get_document("validator").ok().filter(|rule| !rule.is_empty())?;
    Some(Validator {
        rule: rule.clone(),
        level: options.get_str("validationLevel").unwrap_or("strict").to_owned(),
        action: options.get_str("validationAction").unwrap_or("error").to_owned(),
    })
}

fn index_of(listed: Document) -> Index {
    let mut index = Index {
        name: String::new(),
        keys: vec![],
        unique: false,
        sparse: false,
        expire_after: None,
        other: Document::new(),
    };
    for (option, value) in listed {
        match (option.as_str(), value) {
            ("name", Bson::String(name)) => index.name = name,
            ("key", Bson::Document(keys)) => {
                index.keys = keys.into_iter().map(|(field, kind)| (field, plain(kind))).collect()
            }
            ("unique", value) => index.unique = truthy(&value),
            ("sparse", value) => index.sparse = truthy(&value),
            ("expireAfterSeconds", value) => index.expire_after = Some(Duration::from_secs(whole(&value).unwrap_or(0))),
            // The version of the index format, and leavings of old servers: they change nothing about what it does.
            ("v" | "ns" | "background", _) => {}
            (_, value) => {
                index.other.insert(option, value);
            }
        }
    }
    index
}

/// A shell stores `1` as a double, a driver as an int: for an index both are the same.
fn plain(kind: Bson) -> Bson {
    match kind {
        Bson::Double(1.0) => Bson::Int32(1),
        Bson::Double(-1.0) => Bson::Int32(-1),
        Bson::Int64(1) => Bson::Int32(1),
        Bson::Int64(-1) => Bson::Int32(-1),
        other => other,
    }
}

fn truthy(value: &Bson) -> bool {
    match value {
        Bson::Boolean(value) => *value,
        number => whole(number).is_some_and(|number| number != 0),
    }
}

fn whole(value: &Bson) -> Option<u64> {
    match value {
        Bson::Int32(number) => u64::try_from(*number).ok(),
        Bson::Int64(number) => u64::try_from(*number).ok(),
        Bson::Double(number) => Some(*number as u64),
        _ => None,
    }
}

/// Carries out one change, acknowledged by a majority.
///
/// # Errors
/// The server refuses; an index that could not be replaced is put back first.
pub async fn apply(database: &Database, change: &Change) -> anyhow::Result<Outcome> {
    let result = match change {
        Change::CreateCollection { collection, validator } => {
            let mut command = doc! { "create": collection };
            if let Some(validator) = validator {
                command.extend(validator_options(Some(validator)));
            }
            run(database, command).await.map(|_| Outcome::Applied)
        }
        Change::SetValidator { collection, validator, .. } => {
            let mut command = doc! { "collMod": collection };
            command.extend(validator_options(validator.as_ref()));
            run(database, command).await.map(|_| Outcome::Applied)
        }
        Change::SetExpiry { collection, before, expire_after } => {
            let index = doc! { "name": &before.name, "expireAfterSeconds": seconds(*expire_after) };
            run(database, doc! { "collMod": collection, "index": index }).await.map(|_| Outcome::Applied)
        }
        Change::CreateIndex { collection, index } => create_index(database, collection, index).await,
        Change::ReplaceIndex { collection, before, index } => {
            // Another migration may have replaced it since the schema was read: its work must not be dropped.
            if !read_indexes(database, collection).await?.contains(before) {
                return Ok(Outcome::Contended);
            }
            replace_index(database, collection, before, index).await
        }
    };
    match result {
        Err(error) if code_of(&error).is_some_and(|code| codes::OTHERS_AT_WORK.contains(&code)) => {
            Ok(Outcome::Contended)
        }
        result => result.with_context(|| format!("{} cannot be {}: {}", change.what(), change.verb(), change.detail())),
    }
}

async fn replace_index(database: &Database, collection: &str, before: &Index, index: &Index) -> Result<Outcome, Error> {
    run(database, doc! { "dropIndexes": collection, "index": &before.name }).await?;
    let created = create_index(database, collection, index).await;
    let refused =
        created.as_ref().is_err_and(|error| !code_of(error).is_some_and(|code| codes::OTHERS_AT_WORK.contains(&code)));
    if refused {
        // The reason to report is why the new one cannot be, so a second failure here is not worth hiding it.
        let _ = create_index(database, collection, before).await;
    }
    created
}

async fn create_index(database: &Database, collection: &str, index: &Index) -> Result<Outcome, Error> {
    let keys: Document = index.keys.iter().cloned().collect();
    let mut definition = doc! { "key": keys, "name": &index.name };
    if index.unique {
        definition.insert("unique", true);
    }
    if index.sparse {
        definition.insert("sparse", true);
    }
    if let Some(expire_after) = index.expire_after {
        definition.insert("expireAfterSeconds", seconds(expire_after));
    }
    definition.extend(index.other.clone());
    let reply = run(database, doc! { "createIndexes": collection, "indexes": [definition] }).await?;
    let was_there =
        reply.get("numIndexesBefore").is_some() && reply.get("numIndexesBefore") == reply.get("numIndexesAfter");
    Ok(if was_there { Outcome::Contended } else { Outcome::Applied })
}

fn validator_options(validator: Option<&Validator>) -> Document {
    match validator {
        Some(validator) => doc! {
            "validator": &validator.rule,
            "validationLevel": &validator.level,
            "validationAction": &validator.action,
        },
        None => doc! { "validator": {}, "validationLevel": "off" },
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

async fn run(database: &Database, mut command: Document) -> Result<Document, Error> {
    command.insert("writeConcern", doc! { "w": "majority" });
    database.run_command(command).await
}

/// The server's error codes that are told apart here.
mod codes {
    /// What the server says when another client creates, builds, changes or drops the same thing at the same time.
    pub(super) const OTHERS_AT_WORK: [i32; 9] = [
        27,    // IndexNotFound
        48,    // NamespaceExists
        85,    // IndexOptionsConflict
        86,    // IndexKeySpecsConflict
        112,   // WriteConflict
        117,   // ConflictingOperationInProgress
        276,   // IndexBuildAborted
        285,   // IndexBuildAlreadyInProgress
        12587, // BackgroundOperationInProgressForNamespace
    ];
}
