//! Storing documents in bulk, so that what is there already is replaced by what is to be there.

use std::ops::AddAssign;

use anyhow::{Context, bail};
use bson::{Document, doc};
use mongodb::Database;
use serde::Serialize;

use crate::updates::{self, Applied};

/// A field that belongs to somebody else once the document exists: its value is kept when the document is replaced.
pub(super) type Kept = &'static str;

/// What became of documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Written {
    /// Were not there.
    pub added: u64,
    /// Were there, and differed.
    pub changed: u64,
    /// Were there, the same.
    pub unchanged: u64,
}

impl AddAssign for Written {
    fn add_assign(&mut self, other: Self) {
        self.added += other.added;
        self.changed += other.changed;
        self.unchanged += other.unchanged;
    }
}

/// Replaces, or adds, each document by its `_id`, in one command.
pub(super) async fn replace(
    database: &Database,
    collection: &str,
    kept: &[Kept],
    documents: Vec<Document>,
) -> anyhow::Result<Written> {
    let updates =
        documents.into_iter().map(|document| replacement(document, kept)).collect::<anyhow::Result<Vec<_>>>()?;
    let Applied { matched, changed, added, refused } = updates::apply(database, collection, updates).await?;
    if let Some((_, why)) = refused.first() {
        bail!("{collection} refuses a demo document: {why}; is there data of another program in this database?");
    }
    Ok(Written { added, changed, unchanged: matched - changed })
}

/// An update that replaces a document as a whole but for its kept fields.
fn replacement(document: Document, kept: &[Kept]) -> anyhow::Result<Document> {
    let id = document.get("_id").context("a demo document without _id")?.clone();
    let keep: Document = kept
        .iter()
        .map(|field| {
            let otherwise = doc! { "$ifNull": [format!("$new.{field}"), "$$REMOVE"] };
            (format!("new.{field}"), doc! { "$ifNull": [format!("$old.{field}"), otherwise] }.into())
        })
        .collect();
    let mut update = vec![doc! { "$replaceWith": { "new": { "$literal": document }, "old": "$$ROOT" } }];
    if !keep.is_empty() {
        update.push(doc! { "$set": keep });
    }
    update.push(doc! { "$replaceWith": "$new" });
    Ok(doc! { "q": { "_id": id }, "u": update, "upsert": true })
}
