//! Rewrites the events of a day, some thousands at a time.
//!
//! One command replaces the documents of a batch by `_id`, each at once with its mark. Only documents without the mark are read, so
//! no pseudonym gets a pseudonym, and whoever goes on after a kill meets what is left. The command may be sent twice, also by an
//! aggregator that was paused and replaced: the same document and key give the same bytes. The driver's own retries are not used:
//! they cost MongoDB a write to `config.transactions` for each document.

use std::time::{Duration, Instant};

use anyhow::Context;
use bson::raw::{RawArrayBuf, RawBsonRef, RawDocument, cstr};
use bson::{DateTime, Document, RawDocumentBuf, doc, rawdoc};
use common::day::Day;
use common::mongo;
use futures::TryStreamExt;
use indicatif::ProgressBar;
use mongodb::Database;
use mongodb::options::ReadConcern;

use super::event::{Anonymity, MARK};
use crate::metrics;
use crate::retry::{NotTaken, passing_faults};
use crate::source::{Source, within};

/// The sources whose events name somebody.
pub const SOURCES: [Source; 2] = [Source::ToolUses, Source::Activities];

/// Most documents of a command: more make it no cheaper.
const MOST: u32 = 5_000;

/// Bytes of documents that end a command before [`MOST`]: far below the server's 16 MB.
const BYTES: usize = 8_000_000;

/// Commands of a second, where a rate is set: so that what ingest writes at the same time waits for short ones.
const PER_SECOND: u32 = 2;

/// How far a day was read. Only saves time: without it the day is read from its start, and what is rewritten is passed over.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The day.
    pub day: Day,
    source: usize,
    from: DateTime,
    /// The day's marks when the reading began: an event that came later may lie before its place.
    pub marks: i64,
    /// Whether the reading found nothing to rewrite so far.
    pub is_clean: bool,
}

impl Place {
    /// The start of a day.
    pub fn start(day: Day, marks: i64) -> Self {
        Self { day, source: 0, from: DateTime::from_chrono(day.start()), marks, is_clean: true }
    }
}

/// Reads on from `place`, and rewrites what has no mark, to the end of the day (true) or `until` (false). `per_second` 0 is no limit.
///
/// # Errors
/// MongoDB fails for longer than a failover takes, or refuses a document.
pub async fn rewrite(
    database: &Database,
    anonymity: &Anonymity<'_>,
    place: &mut Place,
    per_second: u32,
    until: Option<Instant>,
    progress: &ProgressBar,
) -> anyhow::Result<bool> {
    let most = if per_second == 0 { MOST } else { (per_second / PER_SECOND).clamp(1, MOST) };
    loop {
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(false);
        }
        let Some(source) = SOURCES.get(place.source).copied() else { return Ok(true) };
        let started = Instant::now();
        let step = || rewrite_some(database, anonymity, source, place.day, place.from, most);
        let Some(Rewritten { documents, last }) = passing_faults(step).await? else {
            (place.source, place.from) = (place.source + 1, DateTime::from_chrono(place.day.start()));
            continue;
        };
        (place.from, place.is_clean) = (last, false);
        metrics::anonymised(source, documents);
        progress.inc(documents);
        if per_second > 0 {
            let due = Duration::from_secs_f64(documents as f64 / f64::from(per_second));
            tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
        }
    }
}

/// What one command has rewritten.
struct Rewritten {
    documents: u64,
    /// The latest time of an event of them.
    last: DateTime,
}

/// Rewrites the first events from `from` on that are not anonymised; none where there are none.
async fn rewrite_some(
    database: &Database,
    anonymity: &Anonymity<'_>,
    source: Source,
    day: Day,
    from: DateTime,
    most: u32,
) -> anyhow::Result<Option<Rewritten>> {
    let collection = source.collection();
    let mut filter = within(from.to_chrono(), day.end());
    filter.insert(MARK.as_str(), doc! { "$ne": true });
    let events = database.collection::<RawDocumentBuf>(collection);
    let mut batches = events
        .find(filter)
        .sort(doc! { "timestamp": 1 })
        .limit(most.into())
        .batch_size(most)
        .read_concern(ReadConcern::majority())
        .batch()
        .await
        .with_context(|| format!("reading {collection}"))?;
    // An answer of 16 MB may hold less than was asked for; the rest is read again.
    let Some(batch) = batches.try_next().await.with_context(|| format!("reading {collection}"))? else {
        return Ok(None);
    };
    let (mut updates, mut last, mut bytes, mut documents) = (RawArrayBuf::new(), from, 0, 0);
    for document in batch.doc_slices()? {
        let RawBsonRef::Document(document) = document? else { continue };
        let Some(left) = anonymity.of(source, document)? else { continue };
        bytes += left.as_bytes().len();
        updates.push(replacement(document, left)?);
        last = document.get_datetime("timestamp").unwrap_or(last);
        documents += 1;
        if bytes >= BYTES {
            break;
        }
    }
    if documents == 0 {
        return Ok(None);
    }
    let command = rawdoc! {
        "update": collection, "updates": updates, "ordered": false, "writeConcern": { "w": "majority" },
    };
    let reply = database.run_raw_command(command).await.with_context(|| format!("rewriting {collection}"))?;
    check(&reply).with_context(|| format!("rewriting {collection}"))?;
    Ok(Some(Rewritten { documents, last }))
}

fn replacement(document: &RawDocument, left: RawDocumentBuf) -> anyhow::Result<RawDocumentBuf> {
    let mut filter = RawDocumentBuf::new();
    filter.append(cstr!("_id"), document.get("_id")?.context("a document without _id")?);
    let mut update = RawDocumentBuf::new();
    update.append(cstr!("q"), filter);
    update.append(cstr!("u"), left);
    Ok(update)
}

/// A command that changes many documents succeeds also when it changed none of them.
fn check(reply: &Document) -> anyhow::Result<()> {
    let error = match (reply.get_document("writeConcernError"), reply.get_array("writeErrors")) {
        (Ok(error), _) => Some(error),
        (_, Ok(errors)) => errors.first().and_then(bson::Bson::as_document),
        _ => None,
    };
    let Some(error) = error else { return Ok(()) };
    let code = error.get_i32("code").unwrap_or_default();
    let why = mongo::without_values(error.get_str("errmsg").unwrap_or("no reason given"));
    Err(NotTaken { code, why: why.to_owned() }.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::is_passing;

    #[test]
    fn a_refused_document_ends_the_work_and_a_failover_does_not() {
        check(&doc! { "ok": 1, "n": 5 }).unwrap();
        let refused =
            check(&doc! { "ok": 1, "writeErrors": [{ "index": 0, "code": 121, "errmsg": "failed" }] }).unwrap_err();
        assert!(!is_passing(&refused) && refused.to_string().contains("121"), "{refused}");
        for reply in [
            doc! { "ok": 1, "writeErrors": [{ "index": 0, "code": 11_602, "errmsg": "stepping down" }] },
            doc! { "ok": 1, "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" } },
        ] {
            assert!(is_passing(&check(&reply).unwrap_err()), "{reply}");
        }
    }
}
