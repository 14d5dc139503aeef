//! What an entry of the oplog says. Whatever is not known is refused: an entry that is left out would be data that is lost.

use anyhow::{Context, anyhow, bail, ensure};
use bson::raw::RawBsonRef;
use bson::{Bson, Document, RawDocument, RawDocumentBuf};

use crate::documents;

/// A change of one document, or a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The document is this now, whatever it was: an insertion, or a replacement.
    Put {
        /// The collection.
        collection: String,
        /// Its `{ _id }`.
        id: RawDocumentBuf,
        /// The document.
        document: RawDocumentBuf,
        /// Whether it is an insertion.
        is_new: bool,
    },
    /// The document changed by a diff.
    Diff {
        /// The collection.
        collection: String,
        /// Its `{ _id }`.
        id: RawDocumentBuf,
        /// See [`crate::diff`].
        diff: Document,
    },
    /// The document is gone.
    Delete {
        /// The collection.
        collection: String,
        /// Its `{ _id }`.
        id: RawDocumentBuf,
    },
    /// A collection changed.
    Command(Command),
}

impl Change {
    /// The collection that changes; empty for all of them. Of one that is renamed, the name before.
    pub fn collection(&self) -> &str {
        match self {
            Self::Put { collection, .. }
            | Self::Diff { collection, .. }
            | Self::Delete { collection, .. }
            | Self::Command(
                Command::Create { collection, .. }
                | Command::Drop { collection }
                | Command::CreateIndexes { collection, .. }
                | Command::DropIndexes { collection, .. }
                | Command::Modify { collection, .. },
            ) => collection,
            Self::Command(Command::Rename { from, .. }) => from,
            Self::Command(Command::DropDatabase) => "",
        }
    }
}

/// A change of a collection.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// It is new.
    Create {
        /// Its name.
        collection: String,
        /// What `create` was told.
        options: Document,
    },
    /// It is gone.
    Drop {
        /// Its name.
        collection: String,
    },
    /// All collections are gone.
    DropDatabase,
    /// It has another name.
    Rename {
        /// Its name before.
        from: String,
        /// Its name after; what had that name is gone.
        to: String,
    },
    /// It has more indexes.
    CreateIndexes {
        /// Its name.
        collection: String,
        /// Each as `listIndexes` has it.
        indexes: Vec<Document>,
    },
    /// It has an index less.
    DropIndexes {
        /// Its name.
        collection: String,
        /// The index's name, or `*` for all but that of `_id`.
        index: String,
    },
    /// Its options changed.
    Modify {
        /// Its name.
        collection: String,
        /// What `collMod` was told.
        options: Document,
    },
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// These changes, in this order; none for an entry that changes nothing of ours.
    Changes(Vec<Change>),
    /// A part of a transaction that is not complete yet.
    Part {
        /// Which.
        transaction: Transaction,
        /// How many operations the part has, also on other databases.
        operations: usize,
        /// Those of ours.
        changes: Vec<Change>,
    },
    /// The end of a transaction, and all of it where it is small.
    End {
        /// Which.
        transaction: Transaction,
        /// How many operations this entry has, also on other databases.
        operations: usize,
        /// How many the transaction has in all, where it has several entries.
        count: Option<usize>,
        /// Those of this entry that are ours.
        changes: Vec<Change>,
    },
}

/// What tells transactions apart: the session and the number.
pub type Transaction = Vec<u8>;

/// Reads an entry, for one database.
///
/// # Errors
/// The entry is of a kind that is not known.
pub fn parse(entry: &RawDocument, database: &str) -> anyhow::Result<Entry> {
    let operation = text(entry, "op")?;
    if operation == "c" {
        let command = field(entry, "o")?;
        if command.get("applyOps")?.is_some() {
            return transaction(entry, command, database);
        }
    }
    Ok(Entry::Changes(change(entry, operation, database)?.into_iter().collect()))
}

/// The collection that an entry renames, if it does. Cheaper than to parse each entry.
///
/// # Errors
/// The entry is of a kind that is not known.
pub fn renamed(entry: &RawDocument, database: &str) -> anyhow::Result<Option<String>> {
    if text(entry, "op")? != "c" || field(entry, "o")?.get("renameCollection")?.is_none() {
        return Ok(None);
    }
    Ok(match change(entry, "c", database)? {
        Some(Change::Command(Command::Rename { from, .. })) => Some(from),
        _ => None,
    })
}

fn transaction(entry: &RawDocument, command: &RawDocument, database: &str) -> anyhow::Result<Entry> {
    ensure!(
        !command.get_bool("prepare").unwrap_or(false),
        "the oplog has a transaction across shards, which cannot be restored"
    );
    let (mut changes, mut operations) = (Vec::new(), 0);
    for operation in
        command.get_array("applyOps").map_err(|error| anyhow!("a transaction has no operations: {error}"))?
    {
        let RawBsonRef::Document(operation) = operation? else { bail!("an operation of a transaction is no document") };
        changes.extend(change(operation, text(operation, "op")?, database)?);
        operations += 1;
    }
    // Without a session it is several operations in one entry, and no transaction.
    let (Ok(session), Ok(Some(number))) = (entry.get_document("lsid"), entry.get("txnNumber")) else {
        return Ok(Entry::Changes(changes));
    };
    let name = [session.as_bytes(), format!("{number:?}").as_bytes()].concat();
    if command.get_bool("partialTxn").unwrap_or(false) {
        return Ok(Entry::Part { transaction: name, operations, changes });
    }
    let count = match command.get("count")? {
        Some(RawBsonRef::Int64(count)) => Some(usize::try_from(count)?),
        Some(RawBsonRef::Int32(count)) => Some(usize::try_from(count)?),
        _ => None,
    };
    Ok(Entry::End { transaction: name, operations, count, changes })
}

/// What one operation changes of ours.
fn change(operation: &RawDocument, kind: &str, database: &str) -> anyhow::Result<Option<Change>> {
    if kind == "n" {
        return Ok(None);
    }
    let namespace = text(operation, "ns")?;
    let Some(collection) = namespace.strip_prefix(database).and_then(|rest| rest.strip_prefix('.')) else {
        return of_others(operation, kind, namespace);
    };
    let collection = collection.to_owned();
    if collection.starts_with("system.") {
        // The profiler's collection is created like any other.
        ensure!(collection != "system.views", "the database has a view, and a view cannot be restored");
        return Ok(None);
    }
    let content = field(operation, "o")?;
    Ok(match kind {
        "i" => {
            let id = documents::id(content)?;
            Some(Change::Put { collection, id, document: content.to_owned(), is_new: true })
        }
        "u" => Some(update(collection, field(operation, "o2")?, content)?),
        "d" => Some(Change::Delete { collection, id: documents::id(content)? }),
        "c" => command(&Document::try_from(content)?)?.map(Change::Command),
        _ => bail!("the oplog has an operation {kind:?} on {namespace}, which is not known"),
    })
}

/// What is done to other databases, and what ends a transaction across shards.
fn of_others(operation: &RawDocument, kind: &str, namespace: &str) -> anyhow::Result<Option<Change>> {
    if kind == "c" {
        let name = field(operation, "o")?.iter().next().transpose()?.map(|(name, _)| name.as_str());
        ensure!(
            !(namespace == "admin.$cmd" && name == Some("commitTransaction")),
            "the oplog has a transaction across shards, which cannot be restored"
        );
    }
    Ok(None)
}

fn update(collection: String, id: &RawDocument, content: &RawDocument) -> anyhow::Result<Change> {
    let id = documents::id(id)?;
    let first = content.iter().next().transpose()?.map(|(name, _)| name.as_str());
    if !first.is_some_and(|name| name.starts_with('$')) {
        return Ok(Change::Put { collection, id, document: content.to_owned(), is_new: false });
    }
    let version = Bson::try_from(content.get("$v")?.context("an update of the oplog has no version")?)?;
    ensure!(
        version == Bson::Int32(2) || version == Bson::Int64(2),
        "an update of the oplog is of version {version}, and 2 is known: MongoDB 5.0 and later write it"
    );
    Ok(Change::Diff { collection, id, diff: Document::try_from(field(content, "diff")?)? })
}

/// None for a command that changes nothing that is restored.
fn command(content: &Document) -> anyhow::Result<Option<Command>> {
    let (verb, value) = content.iter().next().context("a command of the oplog is empty")?;
    let name = || value.as_str().map(str::to_owned).with_context(|| format!("{verb} of the oplog names no collection"));
    let without = |names: &[&str]| {
        let rest = content.iter().filter(|(field, _)| !names.contains(&field.as_str()));
        rest.map(|(field, value)| (field.clone(), value.clone())).collect::<Document>()
    };
    let is_ours = |name: &str| !name.starts_with("system.");
    Ok(match verb.as_str() {
        "create" => {
            let options = without(&["create", "idIndex"]);
            ensure!(options.get("viewOn").is_none(), "{} is a view, and a view cannot be restored", name()?);
            Some(Command::Create { collection: name()?, options }).filter(|_| name().is_ok_and(|name| is_ours(&name)))
        }
        "drop" => Some(Command::Drop { collection: name()? }).filter(|_| name().is_ok_and(|name| is_ours(&name))),
        "dropDatabase" => Some(Command::DropDatabase),
        "renameCollection" => {
            let base = |namespace: &str| {
                let name = namespace.split_once('.').map(|(_, name)| name.to_owned());
                name.with_context(|| format!("renameCollection of the oplog names {namespace:?}"))
            };
            let to = content.get_str("to").context("renameCollection of the oplog names no target")?;
            let database = |namespace: &str| namespace.split_once('.').map(|(database, _)| database.to_owned());
            let from = name()?;
            ensure!(
                database(&from) == database(to),
                "{from} was renamed into another database, which cannot be restored"
            );
            Some(Command::Rename { from: base(&from)?, to: base(to)? })
        }
        "createIndexes" => {
            Some(Command::CreateIndexes { collection: name()?, indexes: vec![without(&["createIndexes"])] })
        }
        "commitIndexBuild" => {
            let indexes = content.get_array("indexes").context("commitIndexBuild of the oplog has no indexes")?;
            let indexes = indexes.iter().filter_map(Bson::as_document).cloned().collect();
            Some(Command::CreateIndexes { collection: name()?, indexes })
        }
        "dropIndexes" | "deleteIndexes" => {
            let index = content.get_str("index").context("dropIndexes of the oplog names no index")?.to_owned();
            Some(Command::DropIndexes { collection: name()?, index })
        }
        "collMod" => Some(Command::Modify { collection: name()?, options: without(&["collMod"]) }),
        // What the build ends with counts; an index that is not committed never was.
        "startIndexBuild" | "abortIndexBuild" | "abortTransaction" => None,
        _ => bail!("the oplog has a command {verb:?}, which is not known and cannot be restored"),
    })
}

fn text<'a>(document: &'a RawDocument, name: &str) -> anyhow::Result<&'a str> {
    document.get_str(name).map_err(|error| anyhow!("an entry of the oplog cannot be read: {error}"))
}

fn field<'a>(document: &'a RawDocument, name: &str) -> anyhow::Result<&'a RawDocument> {
    document.get_document(name).map_err(|error| anyhow!("an entry of the oplog cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use bson::{doc, rawdoc};

    use super::*;

    fn parsed(entry: &Document) -> anyhow::Result<Entry> {
        parse(&RawDocumentBuf::try_from(entry).unwrap(), "d")
    }

    fn one(entry: &Document) -> Change {
        let Entry::Changes(mut changes) = parsed(entry).unwrap() else { panic!("{entry}") };
        assert_eq!(changes.len(), 1, "{entry}");
        changes.remove(0)
    }

    #[test]
    fn writes_are_read() {
        let id = rawdoc! { "_id": 1 };
        let collection = || "a.b".to_owned();
        let document = rawdoc! { "_id": 1, "x": 2 };
        assert_eq!(
            one(&doc! { "op": "i", "ns": "d.a.b", "o": { "_id": 1, "x": 2 } }),
            Change::Put { collection: collection(), id: id.clone(), document: document.clone(), is_new: true }
        );
        assert_eq!(
            one(&doc! { "op": "u", "ns": "d.a.b", "o2": { "_id": 1 }, "o": { "_id": 1, "x": 2 } }),
            Change::Put { collection: collection(), id: id.clone(), document, is_new: false }
        );
        assert_eq!(
            one(&doc! { "op": "u", "ns": "d.a.b", "o2": { "_id": 1 }, "o": { "$v": 2, "diff": { "u": { "x": 3 } } } }),
            Change::Diff { collection: collection(), id: id.clone(), diff: doc! { "u": { "x": 3 } } }
        );
        assert_eq!(
            one(&doc! { "op": "d", "ns": "d.a.b", "o": { "_id": 1 } }),
            Change::Delete { collection: collection(), id }
        );
    }

    #[test]
    fn what_is_not_ours_changes_nothing() {
        for entry in [
            doc! { "op": "n", "ns": "", "o": { "msg": "periodic noop" } },
            doc! { "op": "i", "ns": "dd.a", "o": { "_id": 1 } },
            doc! { "op": "i", "ns": "d.system.profile", "o": { "x": 1 } },
            doc! { "op": "c", "ns": "d.$cmd", "o": { "create": "system.profile", "capped": true } },
            doc! { "op": "c", "ns": "d.$cmd", "o": { "startIndexBuild": "a", "indexes": [] } },
        ] {
            assert_eq!(parsed(&entry).unwrap(), Entry::Changes(vec![]), "{entry}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for entry in [
            doc! { "op": "x", "ns": "d.a", "o": {} },
            doc! { "op": "u", "ns": "d.a", "o2": { "_id": 1 }, "o": { "$v": 1, "$set": { "x": 1 } } },
            doc! { "op": "u", "ns": "d.a", "o2": { "_id": 1 }, "o": { "$set": { "x": 1 } } },
            doc! { "op": "i", "ns": "d.a", "o": { "x": 1 } },
            doc! { "op": "i", "ns": "d.system.views", "o": { "_id": "d.v" } },
            doc! { "op": "c", "ns": "d.$cmd", "o": { "convertToCapped": "a" } },
            doc! { "op": "c", "ns": "d.$cmd", "o": { "renameCollection": "d.a", "to": "e.a" } },
            doc! { "op": "c", "ns": "admin.$cmd", "o": { "commitTransaction": 1 } },
            doc! { "op": "c", "ns": "admin.$cmd", "o": { "applyOps": [], "prepare": true } },
            doc! { "ns": "d.a" },
        ] {
            assert!(parsed(&entry).is_err(), "{entry}");
        }
    }

    #[test]
    fn commands_are_read() {
        let command = |content: Document| match one(&doc! { "op": "c", "ns": "d.$cmd", "o": content }) {
            Change::Command(command) => command,
            other => panic!("{other:?}"),
        };
        let collection = || "a".to_owned();
        assert_eq!(
            command(doc! { "create": "a", "validator": { "x": 1 }, "idIndex": { "v": 2 } }),
            Command::Create { collection: collection(), options: doc! { "validator": { "x": 1 } } }
        );
        assert_eq!(
            command(doc! { "renameCollection": "d.a", "to": "d.b.c", "dropTarget": true }),
            Command::Rename { from: collection(), to: "b.c".to_owned() }
        );
        let index = doc! { "v": 2, "key": { "x": 1 }, "name": "x_1" };
        let mut content = doc! { "createIndexes": "a" };
        content.extend(index.clone());
        let expected = Command::CreateIndexes { collection: collection(), indexes: vec![index.clone()] };
        assert_eq!(command(content), expected);
        assert_eq!(command(doc! { "commitIndexBuild": "a", "indexBuildUUID": 1, "indexes": [index] }), expected);
        assert_eq!(
            command(doc! { "dropIndexes": "a", "index": "x_1" }),
            Command::DropIndexes { collection: collection(), index: "x_1".to_owned() }
        );
    }

    #[test]
    fn a_transaction_is_read_in_its_parts() {
        let part = |partial: bool, count: Option<i64>| {
            let mut content = doc! { "applyOps": [
                { "op": "i", "ns": "d.a", "o": { "_id": 1 } },
                { "op": "i", "ns": "other.a", "o": { "_id": 2 } },
                { "op": "d", "ns": "d.a", "o": { "_id": 3 } },
            ] };
            if partial {
                content.insert("partialTxn", true);
            }
            content.extend(count.map(|count| ("count".to_owned(), Bson::Int64(count))));
            doc! { "op": "c", "ns": "admin.$cmd", "lsid": { "id": 1 }, "txnNumber": 5_i64, "o": content }
        };
        let Entry::Part { transaction: name, operations, changes } = parsed(&part(true, None)).unwrap() else {
            panic!("no part")
        };
        assert_eq!((operations, changes.len()), (3, 2));
        let Entry::End { transaction, count, .. } = parsed(&part(false, Some(6))).unwrap() else { panic!("no end") };
        assert_eq!((transaction, count), (name, Some(6)));
        let mut without_session = part(false, None);
        without_session.remove("lsid");
        assert!(matches!(parsed(&without_session).unwrap(), Entry::Changes(changes) if changes.len() == 2));
    }
}
