//! Applies entries of the oplog, document by document: what several entries change of a document is written once.

use std::collections::HashMap;

use anyhow::{Context, bail, ensure};
use bson::raw::cstr;
use bson::{Document, RawDocument, RawDocumentBuf, doc};

use crate::diff;
use crate::documents::{self, each};
use crate::entry::{self, Change, Command, Entry, Transaction};
use crate::recovery;
use crate::target::{Shape, Target, name_of};

/// Changed documents, and their bytes, that are held before they are written.
const MOST_DOCUMENTS: usize = 10_000;
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// How much of the changes the documents may have already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Some, as while the documents were read others wrote.
    Overlapping,
    /// None: a change that does not fit shows that something is missing.
    Exact,
}

/// What becomes of a document.
#[derive(Debug)]
enum State {
    /// It is this, and was not there before.
    New(RawDocumentBuf),
    /// It is this.
    Put(RawDocumentBuf),
    /// It is gone.
    Gone,
    /// These diffs are applied to what is there.
    Diffs(Vec<Document>),
}

/// What is to be written.
pub struct Replay {
    base: Base,
    transactions: HashMap<Transaction, (usize, Vec<Change>)>,
    /// By collection and by `{ _id }`.
    pending: HashMap<String, HashMap<RawKey, State>>,
    documents: usize,
    bytes: usize,
    /// Changes that were applied.
    pub applied: u64,
}

/// `{ _id }` as bytes.
type RawKey = Vec<u8>;

impl Replay {
    /// Nothing yet.
    pub fn new(base: Base) -> Self {
        let (transactions, pending) = (HashMap::new(), HashMap::new());
        Self { base, transactions, pending, documents: 0, bytes: 0, applied: 0 }
    }

    /// From here on the documents have none of the changes.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn be_exact(&mut self, target: &mut Target) -> anyhow::Result<()> {
        self.flush(target).await?;
        self.base = Base::Exact;
        Ok(())
    }

    /// Takes an entry whose changes the documents have: only the parts of a transaction that ends later matter.
    ///
    /// # Errors
    /// The entry is not known.
    pub fn skip(&mut self, bytes: &[u8], database: &str) -> anyhow::Result<()> {
        match entry::parse(RawDocument::from_bytes(bytes)?, database)? {
            Entry::Changes(_) => {}
            Entry::Part { transaction, operations, changes } => self.collect(transaction, operations, changes),
            Entry::End { transaction, .. } => drop(self.transactions.remove(&transaction)),
        }
        Ok(())
    }

    /// Takes an entry.
    ///
    /// # Errors
    /// The entry is not known, does not fit what is there, or MongoDB fails.
    pub async fn apply(&mut self, target: &mut Target, bytes: &[u8], database: &str) -> anyhow::Result<()> {
        let changes = match entry::parse(RawDocument::from_bytes(bytes)?, database)? {
            Entry::Changes(changes) => changes,
            Entry::Part { transaction, operations, changes } => {
                self.collect(transaction, operations, changes);
                return Ok(());
            }
            Entry::End { transaction, operations, count, changes } => {
                let (before, mut all) = self.transactions.remove(&transaction).unwrap_or_default();
                let found = before + operations;
                ensure!(
                    count.is_none_or(|count| count == found),
                    "a transaction has {found} of {} operations: the oplog lacks entries",
                    count.unwrap_or_default()
                );
                all.extend(changes);
                all
            }
        };
        for change in changes {
            // What a recovery that is not finished leaves is in no backup, and is not missed. A finished one is: see `range`.
            if recovery::is_its(change.collection()) && !matches!(change, Change::Command(Command::Rename { .. })) {
                continue;
            }
            let is_ours = target.phase.has(change.collection());
            if let Change::Command(Command::Rename { from, to }) = &change {
                ensure!(
                    target.phase.has(to) == is_ours,
                    "the oplog renames {from}, a collection of raw events or not, to {to}"
                );
            }
            if !is_ours {
                continue;
            }
            self.applied += 1;
            match change {
                Change::Command(command) => {
                    self.flush(target).await?;
                    self.command(target, command).await?;
                }
                change => self.add(change)?,
            }
        }
        if self.documents >= MOST_DOCUMENTS || self.bytes >= MOST_BYTES { self.flush(target).await } else { Ok(()) }
    }

    fn collect(&mut self, transaction: Transaction, operations: usize, changes: Vec<Change>) {
        let (count, all) = self.transactions.entry(transaction).or_default();
        *count += operations;
        all.extend(changes);
    }

    fn add(&mut self, change: Change) -> anyhow::Result<()> {
        let is_exact = self.base == Base::Exact;
        let (collection, id, state) = match change {
            Change::Put { collection, id, document, is_new } => {
                self.bytes += document.as_bytes().len();
                let state = if is_new && is_exact { State::New(document) } else { State::Put(document) };
                (collection, id, state)
            }
            Change::Delete { collection, id } => (collection, id, State::Gone),
            Change::Diff { collection, id, diff } => (collection, id, State::Diffs(vec![diff])),
            Change::Command(_) => return Ok(()),
        };
        self.bytes += id.as_bytes().len();
        let documents = self.pending.entry(collection).or_default();
        match (documents.get_mut(id.as_bytes()), state) {
            (Some(State::New(document) | State::Put(document)), State::Diffs(diffs)) => {
                let mut changed = Document::try_from(&*document)?;
                diffs.iter().try_for_each(|diff| diff::apply(&mut changed, diff))?;
                *document = RawDocumentBuf::try_from(&changed)?;
            }
            (Some(State::Diffs(all)), State::Diffs(diffs)) => all.extend(diffs),
            (Some(State::Gone), State::Diffs(_)) => {
                ensure!(!is_exact, "an entry changes a document that an entry before it deleted");
            }
            (Some(known @ State::New(_)), State::Put(document)) => *known = State::New(document),
            (Some(known), State::New(document)) => *known = State::Put(document),
            (Some(known), state) => *known = state,
            (None, state) => {
                documents.insert(id.into_bytes(), state);
                self.documents += 1;
            }
        }
        Ok(())
    }

    /// Writes what is held.
    ///
    /// # Errors
    /// MongoDB fails, or a change does not fit what is there.
    pub async fn flush(&mut self, target: &mut Target) -> anyhow::Result<()> {
        (self.documents, self.bytes) = (0, 0);
        for (collection, states) in std::mem::take(&mut self.pending) {
            if target.shape(&collection).is_none() {
                ensure!(
                    self.base == Base::Overlapping,
                    "the oplog changes collection {collection}, which is not there"
                );
                if !states.values().any(|state| matches!(state, State::New(_) | State::Put(_))) {
                    continue;
                }
                target.create(&collection, Shape::default()).await?;
            }
            self.write(target, &collection, states).await.with_context(|| format!("collection {collection}"))?;
        }
        Ok(())
    }

    async fn write(&self, target: &Target, collection: &str, states: HashMap<RawKey, State>) -> anyhow::Result<()> {
        let name = target.name(collection);
        let (mut inserts, mut updates, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
        let mut diffs: HashMap<RawKey, Vec<Document>> = HashMap::new();
        let replacement = |id: &RawDocument, document: &RawDocument| {
            let mut update = RawDocumentBuf::new();
            update.append(cstr!("q"), id);
            update.append(cstr!("u"), document);
            update.append(cstr!("upsert"), true);
            update.into_bytes()
        };
        for (id, state) in states {
            match state {
                State::New(document) => inserts.push(document.into_bytes()),
                State::Put(document) => updates.push(replacement(RawDocument::from_bytes(&id)?, &document)),
                State::Gone => {
                    let mut delete = RawDocumentBuf::new();
                    delete.append(cstr!("q"), RawDocument::from_bytes(&id)?);
                    delete.append(cstr!("limit"), 1);
                    deletes.push(delete.into_bytes());
                }
                State::Diffs(all) => drop(diffs.insert(id, all)),
            }
        }
        for (id, document) in self.changed(target, &name, diffs).await? {
            updates.push(replacement(RawDocument::from_bytes(&id)?, &document));
        }
        let database = &target.database;
        documents::insert(database, &name, &slices(&inserts)).await?;
        documents::update(database, &name, &slices(&updates)).await?;
        documents::delete(database, &name, &slices(&deletes)).await
    }

    /// The documents with their diffs applied.
    async fn changed(
        &self,
        target: &Target,
        name: &str,
        mut diffs: HashMap<RawKey, Vec<Document>>,
    ) -> anyhow::Result<Vec<(RawKey, RawDocumentBuf)>> {
        const IDS: usize = 1_000;
        let mut changed = Vec::with_capacity(diffs.len());
        let keys: Vec<RawKey> = diffs.keys().cloned().collect();
        for keys in keys.chunks(IDS) {
            let ids = keys.iter().map(|key| Ok(Document::try_from(RawDocument::from_bytes(key)?)?.get("_id").cloned()));
            let ids: Vec<_> = ids.collect::<anyhow::Result<_>>()?;
            let collection = target.database.collection::<RawDocumentBuf>(name);
            let mut batches = collection.find(doc! { "_id": { "$in": ids } }).batch().await?;
            each(&mut batches, async |document| {
                let document = RawDocument::from_bytes(document)?;
                let key = documents::id(document)?.into_bytes();
                let diffs = diffs.remove(&key).context("the server sent a document that was not asked for")?;
                let mut document = Document::try_from(document)?;
                diffs.iter().try_for_each(|diff| diff::apply(&mut document, diff))?;
                changed.push((key, RawDocumentBuf::try_from(&document)?));
                Ok(())
            })
            .await?;
        }
        // While the documents were read, one that was changed and deleted later is not among them.
        ensure!(
            diffs.is_empty() || self.base == Base::Overlapping,
            "the oplog changes {} documents that are not there: something between the backups is missing",
            diffs.len()
        );
        Ok(changed)
    }

    async fn command(&self, target: &mut Target, command: Command) -> anyhow::Result<()> {
        let is_exact = self.base == Base::Exact;
        match command {
            Command::Create { collection, options } => {
                let is_there = target.shape(&collection).is_some();
                ensure!(!(is_there && is_exact), "the oplog creates collection {collection}, which is there");
                if !is_there {
                    target.create(&collection, Shape { options, indexes: Vec::new() }).await?;
                }
            }
            Command::Drop { collection } => {
                let is_there = target.shape(&collection).is_some();
                ensure!(is_there || !is_exact, "the oplog drops collection {collection}, which is not there");
                target.drop(&collection).await?;
            }
            Command::DropDatabase => {
                let names: Vec<String> = target.collections().map(str::to_owned).collect();
                for name in names {
                    target.drop(&name).await?;
                }
            }
            Command::Rename { from, to } => {
                ensure!(target.shape(&from).is_some(), "the oplog renames collection {from}, which is not there");
                target.rename(&from, &to).await?;
            }
            Command::CreateIndexes { collection, indexes } => {
                if let Some(shape) = self.shape(target, &collection)? {
                    for index in indexes {
                        shape.indexes.retain(|known| known.get("name") != index.get("name"));
                        shape.indexes.push(index);
                    }
                }
            }
            Command::DropIndexes { collection, index } => {
                if let Some(shape) = self.shape(target, &collection)? {
                    let stays = |known: &Document| match index.as_str() {
                        "*" => name_of(known) == "_id_",
                        name => name_of(known) != name,
                    };
                    shape.indexes.retain(stays);
                }
            }
            Command::Modify { collection, options } => {
                if let Some(shape) = self.shape(target, &collection)? {
                    modify(shape, options)?;
                }
            }
        }
        Ok(())
    }

    fn shape<'a>(&self, target: &'a mut Target, collection: &str) -> anyhow::Result<Option<&'a mut Shape>> {
        let shape = target.shape(collection);
        if shape.is_none() && self.base == Base::Exact {
            bail!("the oplog changes collection {collection}, which is not there");
        }
        Ok(shape)
    }
}

fn modify(shape: &mut Shape, options: Document) -> anyhow::Result<()> {
    for (option, value) in options {
        if option != "index" {
            shape.options.insert(option, value);
            continue;
        }
        let change = value.as_document().context("collMod of the oplog has an index that is no document")?;
        let is_meant = |index: &&mut Document| match change.get("name") {
            Some(name) => index.get("name") == Some(name),
            None => index.get("key") == change.get("keyPattern"),
        };
        if let Some(index) = shape.indexes.iter_mut().find(is_meant) {
            for (field, value) in change.iter().filter(|(field, _)| !["name", "keyPattern"].contains(&field.as_str())) {
                index.insert(field.clone(), value.clone());
            }
        }
    }
    Ok(())
}

fn slices(documents: &[Vec<u8>]) -> Vec<&[u8]> {
    documents.iter().map(Vec::as_slice).collect()
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn put(number: i32, is_new: bool) -> Change {
        let (id, document) = (rawdoc! { "_id": 1 }, rawdoc! { "_id": 1, "x": number });
        Change::Put { collection: "a".to_owned(), id, document, is_new }
    }

    fn diff(number: i32) -> Change {
        Change::Diff { collection: "a".to_owned(), id: rawdoc! { "_id": 1 }, diff: doc! { "u": { "x": number } } }
    }

    fn gone() -> Change {
        Change::Delete { collection: "a".to_owned(), id: rawdoc! { "_id": 1 } }
    }

    fn state(base: Base, changes: Vec<Change>) -> anyhow::Result<String> {
        let mut replay = Replay::new(base);
        for change in changes {
            replay.add(change)?;
        }
        let state = replay.pending.remove("a").unwrap().into_values().next().unwrap();
        Ok(match state {
            State::New(document) => format!("new {}", document.get_i32("x").unwrap()),
            State::Put(document) => format!("put {}", document.get_i32("x").unwrap()),
            State::Gone => "gone".to_owned(),
            State::Diffs(diffs) => format!("{} diffs", diffs.len()),
        })
    }

    #[test]
    fn what_several_entries_change_of_a_document_is_written_once() {
        let exact = |changes| state(Base::Exact, changes).unwrap();
        assert_eq!(exact(vec![put(1, true)]), "new 1");
        assert_eq!(exact(vec![put(1, true), diff(2), diff(3)]), "new 3");
        assert_eq!(exact(vec![put(1, true), put(2, false)]), "new 2");
        assert_eq!(exact(vec![gone(), put(1, true)]), "put 1");
        assert_eq!(exact(vec![put(1, true), gone()]), "gone");
        assert_eq!(exact(vec![diff(1), diff(2)]), "2 diffs");
        assert_eq!(exact(vec![diff(1), put(2, false), diff(3)]), "put 3");
        assert!(state(Base::Exact, vec![gone(), diff(1)]).is_err());
        assert_eq!(state(Base::Overlapping, vec![gone(), diff(1)]).unwrap(), "gone");
        assert_eq!(state(Base::Overlapping, vec![put(1, true)]).unwrap(), "put 1");
    }

    #[test]
    fn an_index_is_modified_by_name_or_key() {
        let mut shape = Shape { options: doc! {}, indexes: vec![doc! { "name": "x_1", "key": { "x": 1 } }] };
        modify(&mut shape, doc! { "index": { "name": "x_1", "expireAfterSeconds": 5 }, "validator": {} }).unwrap();
        modify(&mut shape, doc! { "index": { "keyPattern": { "x": 1 }, "hidden": true } }).unwrap();
        assert_eq!(
            shape.indexes[0],
            doc! { "name": "x_1", "key": { "x": 1 }, "expireAfterSeconds": 5, "hidden": true }
        );
        assert!(shape.options.contains_key("validator"));
    }
}
