//! A database as it is: every document, option and index.

use std::collections::BTreeMap;

use bson::{Bson, Document, RawDocumentBuf, doc};
use futures::TryStreamExt;
use mongodb::Database;

/// A collection.
#[derive(Debug, PartialEq)]
pub struct Collection {
    pub options: Document,
    /// By name.
    pub indexes: Vec<Document>,
    /// By `_id`.
    pub documents: Vec<RawDocumentBuf>,
}

pub type Dump = BTreeMap<String, Collection>;

/// Not MongoDB's own, not the audit log, which goes on through a restore, and not what a recovery notes.
pub async fn collections(database: &Database) -> Vec<String> {
    let mut names = database.list_collection_names().await.unwrap();
    names.retain(|name| !name.starts_with("system.") && !["audit_log", "recovery"].contains(&name.as_str()));
    names.sort();
    names
}

pub async fn dump(database: &Database) -> Dump {
    let mut dump = Dump::new();
    for name in collections(database).await {
        let listed = doc! { "listCollections": 1, "filter": { "name": &name } };
        let options = first_batch(database, listed).await.remove(0).get_document("options").unwrap().clone();
        let mut indexes = first_batch(database, doc! { "listIndexes": &name }).await;
        indexes.sort_by_key(|index| index.get_str("name").unwrap().to_owned());
        let sorted = database.collection::<RawDocumentBuf>(&name).find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap();
        let documents = sorted.try_collect().await.unwrap();
        dump.insert(name, Collection { options, indexes, documents });
    }
    dump
}

async fn first_batch(database: &Database, command: Document) -> Vec<Document> {
    let reply = database.run_command(command).await.unwrap();
    let batch = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap();
    batch.iter().filter_map(Bson::as_document).cloned().collect()
}
