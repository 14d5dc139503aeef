//! The server's oplog: where it stands, what it still has, and the entries of our database.

use anyhow::{Context, ensure};
use bson::{Document, RawDocumentBuf, Regex, doc};
use mongodb::options::{ReadPreference, SelectionCriteria};
use mongodb::{Collection, Database};

use crate::documents::each;
use crate::moment::OpTime;

/// Entries that are fetched at a time.
const BATCH: u32 = 2_000;

fn primary() -> SelectionCriteria {
    SelectionCriteria::ReadPreference(ReadPreference::Primary)
}

/// The last entry that a majority has: nothing until it is ever rolled back.
///
/// # Errors
/// MongoDB fails, or is no replica set.
pub async fn majority(database: &Database) -> anyhow::Result<OpTime> {
    let hello = database.run_command(doc! { "hello": 1 }).selection_criteria(primary()).await?;
    let last_write = hello.get_document("lastWrite").context("the server is no member of a replica set")?;
    let time = last_write.get_document("majorityOpTime").context("the server does not say what a majority has")?;
    OpTime::from_document(time)
}

fn entries_of(database: &Database) -> Collection<RawDocumentBuf> {
    database.client().database("local").collection("oplog.rs")
}

/// The oldest entry that the oplog still has.
///
/// # Errors
/// MongoDB fails, or refuses to show the oplog.
pub async fn oldest(database: &Database) -> anyhow::Result<OpTime> {
    let entry = entries_of(database).find_one(doc! {}).sort(doc! { "$natural": 1 }).await;
    let entry = entry.context("the oplog cannot be read: the role backup_reader of config/mongodb/access.json may")?;
    OpTime::of_entry(&entry.context("the oplog is empty")?)
}

/// Whether the oplog still has this very entry: then nothing after it is missing, and no other history took its place.
///
/// # Errors
/// MongoDB fails.
pub async fn has(database: &Database, point: OpTime) -> anyhow::Result<bool> {
    let entry = entries_of(database).find_one(doc! { "ts": point.timestamp() }).await;
    let entry = entry.context("the oplog cannot be read: the role backup_reader of config/mongodb/access.json may")?;
    Ok(entry.is_some_and(|entry| OpTime::of_entry(&entry).is_ok_and(|found| found == point)))
}

/// Reads the database's entries after one point until another, in their order. Transactions are among them, whatever
/// databases they wrote to.
///
/// # Errors
/// MongoDB fails, or `take` does.
pub async fn read(
    database: &Database,
    after: OpTime,
    until: OpTime,
    mut take: impl AsyncFnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let name = regex_escaped(database.name());
    let ours = Regex { pattern: format!("^{name}\\.").try_into()?, options: "".try_into()? };
    let filter: Document = doc! {
        "ts": { "$gt": after.timestamp(), "$lte": until.timestamp() },
        "$or": [{ "ns": ours }, { "ns": "admin.$cmd" }],
    };
    let oplog = entries_of(database);
    let entries = oplog.find(filter).sort(doc! { "$natural": 1 }).batch_size(BATCH);
    let mut batches = entries.selection_criteria(primary()).batch().await.context("the oplog cannot be read")?;
    let mut last = after;
    each(&mut batches, async |entry| {
        let point = OpTime::of_entry(bson::RawDocument::from_bytes(entry)?)?;
        ensure!(point > last, "the oplog is out of order at {point}");
        last = point;
        take(entry).await
    })
    .await
    .context("the oplog cannot be read")
}

/// A database's name in a regular expression.
fn regex_escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for letter in name.chars() {
        if !letter.is_alphanumeric() && letter != '_' {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}
