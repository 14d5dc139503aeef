//! Writes a batch until every document is stored by a majority and every dead letter is delivered. A dead letter that is not
//! taken soon is left behind: it holds back the commits of its partition, and not the batches of all.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bson::{Document, RawDocumentBuf};
use common::day::DayNumber;
use common::telemetry::{Part, Readiness};
use common::{mongo, settings};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use mongodb::Database;
use mongodb::error::Error;

use crate::batch::{Batch, Insert};
use crate::conflicts::Conflicts;
use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::offsets::{Origin, Partition};
use crate::retry::{MAX_RETRY_DELAY, retry_delays};
use crate::{late, metrics, refused};

/// The first try's time limit. It doubles with each try, so that a slow server is given time and a dead one is left soon.
const FIRST_TIME_LIMIT: Duration = Duration::from_secs(10);
const LAST_TIME_LIMIT: Duration = Duration::from_secs(120);

/// How long a batch whose documents are stored waits for its dead letters. A broker that is restarted is back within this.
const PATIENCE: Duration = Duration::from_secs(10);

/// A document that MongoDB refused: where it came from, and why.
type Refused = (Origin, String);

/// What became of one `insert` command.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// Every document is stored, now or before, but for those refused: the indexes of those that were there before, and of
    /// those refused with the server's reason.
    Done { absorbed: Vec<usize>, refused: Vec<(usize, String)> },
    /// Nothing is certain; the whole command has to be sent again.
    Retry(String),
}

/// What became of a batch's messages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Documents that are new.
    pub stored: usize,
    /// Documents that were there already: replays.
    pub absorbed: usize,
    /// Messages that went to the dead letters.
    pub dead_letters: usize,
    /// Commands that were sent again.
    pub retries: usize,
}

impl std::ops::AddAssign for Written {
    fn add_assign(&mut self, other: Self) {
        self.stored += other.stored;
        self.absorbed += other.absorbed;
        self.dead_letters += other.dead_letters;
        self.retries += other.retries;
    }
}

/// Dead letters of a batch that the topic has not taken yet.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Held {
    /// Where their messages came from.
    pub partitions: Vec<Partition>,
    /// About how much memory they take.
    pub bytes: usize,
    letters: usize,
}

impl Held {
    fn add(&mut self, partition: Partition, bytes: usize) {
        if !self.partitions.contains(&partition) {
            self.partitions.push(partition);
        }
        self.bytes += bytes;
        self.letters += 1;
    }
}

/// The same, being sent.
pub struct Waiting {
    /// Which they are.
    pub held: Held,
    sending: FuturesUnordered<BoxFuture<'static, ()>>,
}

/// Writes batches to MongoDB and to the dead-letter topic.
pub struct Writer {
    database: Database,
    kafka: settings::Kafka,
    dead_letters: DeadLetters,
    conflicts: Conflicts,
    readiness: Readiness,
    /// Dead letters that were left behind and are not taken yet.
    waiting: AtomicUsize,
}

impl Writer {
    /// A writer to `database`; `conflicts` is told of absorbed documents, `readiness` of outages.
    pub const fn new(
        database: Database,
        kafka: settings::Kafka,
        dead_letters: DeadLetters,
        conflicts: Conflicts,
        readiness: Readiness,
    ) -> Self {
        Self { database, kafka, dead_letters, conflicts, readiness, waiting: AtomicUsize::new(0) }
    }

    /// Returns when every document of the batch is acknowledged, however long that takes, and its dead letters are delivered
    /// or have waited long. Those that still wait are to be given to [`Writer::until_taken`].
    pub async fn write(self: &Arc<Self>, batch: &mut Batch) -> (Written, Option<Waiting>) {
        let letters = batch.take_dead_letters();
        let mut written = Written { dead_letters: letters.len(), ..Written::default() };
        let mut held = Held::default();
        letters.iter().for_each(|letter| held.add(letter.origin.partition, letter.bytes()));
        let mut sending: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        if !letters.is_empty() {
            let writer = Arc::clone(self);
            sending.push(Box::pin(async move { writer.deliver(&letters).await }));
        }
        let mut inserts = pin!(futures::future::join_all(batch.inserts().iter().map(|insert| self.insert(insert))));
        let inserted = loop {
            tokio::select! {
                inserted = &mut inserts => break inserted,
                Some(()) = sending.next() => {}
            }
        };
        let mut refused = Vec::new();
        for (insert, (of_one, refused_of_one)) in batch.inserts().iter().zip(inserted) {
            written += of_one;
            // Their messages are read again: each is about as long as its document, and the whole insert is no more.
            let bytes = insert.bytes() / insert.len().max(1);
            refused_of_one.iter().for_each(|(origin, _)| held.add(origin.partition, bytes));
            refused.extend(refused_of_one);
        }
        if !refused.is_empty() {
            let writer = Arc::clone(self);
            sending.push(Box::pin(async move { writer.deliver_refused(&refused).await }));
        }
        // With letters left behind, the topic is known to take none.
        let patience = if self.waiting.load(Ordering::Relaxed) == 0 { PATIENCE } else { Duration::ZERO };
        let all_sent = async { while sending.next().await.is_some() {} };
        if tokio::time::timeout(patience, all_sent).await.is_ok() {
            return (written, None);
        }
        let waiting = self.waiting.fetch_add(held.letters, Ordering::Relaxed) + held.letters;
        metrics::dead_letters_waiting(waiting);
        let trouble = self.dead_letters.trouble();
        tracing::warn!(
            partitions = ?held.partitions,
            letters = held.letters,
            trouble,
            "dead letters wait; their partitions are read, and not committed until they are taken"
        );
        self.readiness.set(Part::DeadLetters, Err(trouble));
        (written, Some(Waiting { held, sending }))
    }

    /// Returns when these letters are delivered, however long that takes.
    pub async fn until_taken(&self, waiting: Waiting) -> Held {
        let Waiting { held, mut sending } = waiting;
        while sending.next().await.is_some() {}
        let left = self.waiting.fetch_sub(held.letters, Ordering::Relaxed) - held.letters;
        metrics::dead_letters_waiting(left);
        if left == 0 {
            self.readiness.set(Part::DeadLetters, Ok(()));
        }
        held
    }

    async fn deliver(&self, letters: &[DeadLetter]) {
        // Before they are taken: a topic that takes none must not hide that events are refused.
        letters.iter().for_each(|letter| metrics::dead_lettered(letter.reason));
        self.dead_letters.send(letters).await;
    }

    /// Marks days dirty; returns only when that is acknowledged, however long that takes.
    pub async fn mark(&self, days: &BTreeSet<DayNumber>) {
        late::mark(&self.database, days).await;
    }

    async fn insert(&self, insert: &Insert) -> (Written, Vec<Refused>) {
        if insert.is_empty() {
            return (Written::default(), Vec::new());
        }
        let collection = insert.event_type.collection();
        // The batch is known by the place of its first document.
        let Origin { partition, offset } = insert.origin(0).unwrap_or_default();
        let mut delays = retry_delays();
        let mut time_limit = FIRST_TIME_LIMIT;
        let started = std::time::Instant::now();
        let mut retries = 0;
        loop {
            let sent = tokio::time::timeout(time_limit, self.send(insert)).await;
            let outcome = match sent {
                Ok(reply) => classify(reply),
                Err(_) => Outcome::Retry(format!("no answer within {} s", time_limit.as_secs())),
            };
            match outcome {
                Outcome::Done { absorbed, refused } => {
                    self.readiness.set(Part::MongodbWrites, Ok(()));
                    let written = Written {
                        stored: insert.len() - absorbed.len() - refused.len(),
                        absorbed: absorbed.len(),
                        dead_letters: refused.len(),
                        retries,
                    };
                    let took = started.elapsed();
                    metrics::inserted(insert.event_type, written.stored, written.absorbed, took);
                    self.conflicts.note(insert, absorbed);
                    if retries > 0 {
                        let attempt = retries + 1;
                        tracing::info!(collection, partition, offset, attempt, ?took, "the batch is taken");
                    }
                    let refused = refused.into_iter();
                    return (written, refused.filter_map(|(index, why)| Some((insert.origin(index)?, why))).collect());
                }
                Outcome::Retry(why) => {
                    metrics::insert_retried(insert.event_type);
                    retries += 1;
                    self.readiness.set(Part::MongodbWrites, Err(format!("does not take documents: {why}")));
                    let documents = insert.len();
                    tracing::warn!(
                        collection,
                        partition,
                        offset,
                        documents,
                        attempt = retries,
                        why,
                        "a batch was not taken; trying again"
                    );
                }
            }
            tokio::time::sleep(delays.next().unwrap_or(MAX_RETRY_DELAY)).await;
            time_limit = LAST_TIME_LIMIT.min(time_limit * 2);
        }
    }

    async fn send(&self, insert: &Insert) -> Result<Document, Error> {
        self.database.run_raw_command(RawDocumentBuf::from_bytes(insert.command()).map_err(Error::custom)?).await
    }

    /// Reads messages whose documents were refused again, and delivers them.
    async fn deliver_refused(&self, refused: &[Refused]) {
        let mut delays = retry_delays();
        loop {
            let (kafka, places) = (self.kafka.clone(), refused.to_vec());
            let read = tokio::task::spawn_blocking(move || refused::read_again(&kafka, &places)).await;
            match read.map_err(anyhow::Error::from).and_then(|letters| letters) {
                Ok(letters) => return self.deliver(&letters).await,
                Err(error) => tracing::warn!(
                    documents = refused.len(),
                    error = format!("{error:#}"),
                    "a refused document's message was not read; trying again"
                ),
            }
            tokio::time::sleep(delays.next().unwrap_or(MAX_RETRY_DELAY)).await;
        }
    }
}

/// The server's error codes that speak of one document and would be the same at every try (MongoDB's `error_codes.yml`).
/// Anything else may pass, so it is tried again rather than taken for the event's fault.
const DOCUMENT_ERRORS: [i32; 12] = [
    2,      // BadValue
    9,      // FailedToParse
    14,     // TypeMismatch
    15,     // Overflow
    16,     // InvalidLength
    22,     // InvalidBSON
    52,     // DollarPrefixedFieldName
    53,     // InvalidIdField
    121,    // DocumentValidationFailure
    10_334, // BSONObjectTooLarge
    17_280, // KeyTooLong
    17_419, // the document would grow beyond its limit
];
const DUPLICATE_KEY: i32 = 11_000;

fn classify(reply: Result<Document, Error>) -> Outcome {
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => return Outcome::Retry(mongo::reason(&error)),
    };
    if let Ok(error) = reply.get_document("writeConcernError") {
        return Outcome::Retry(format!(
            "the write concern was not met: {}",
            mongo::without_values(error.get_str("errmsg").unwrap_or("no reason given"))
        ));
    }
    let (mut absorbed, mut refused) = (Vec::new(), Vec::new());
    for error in reply.get_array("writeErrors").into_iter().flatten() {
        let Some(error) = error.as_document() else {
            return Outcome::Retry("a write error that is no document".to_owned());
        };
        let code = error.get_i32("code").unwrap_or_default();
        let why = error.get_str("errmsg").unwrap_or("no reason given");
        match (code, error.get_i32("index").ok().and_then(|index| usize::try_from(index).ok())) {
            (DUPLICATE_KEY, Some(index)) if is_on_id(error) => absorbed.push(index),
            (DUPLICATE_KEY, Some(index)) => {
                refused.push((index, format!("MongoDB refused the document: {}", key_pattern(error))))
            }
            (code, Some(index)) if DOCUMENT_ERRORS.contains(&code) => {
                refused.push((index, format!("MongoDB refused the document: {why} (code {code})")));
            }
            _ => return Outcome::Retry(format!("{} (code {code})", mongo::without_values(why))),
        }
    }
    Outcome::Done { absorbed, refused }
}

fn is_on_id(error: &Document) -> bool {
    error.get_document("keyPattern").is_ok_and(|pattern| pattern.keys().eq(["_id"]))
}

/// Names the index without the values in the server's own message.
fn key_pattern(error: &Document) -> String {
    let keys = error.get_document("keyPattern").map(|pattern| pattern.keys().cloned().collect::<Vec<_>>().join(", "));
    format!("a unique index on {} has the same value already", keys.unwrap_or_else(|_| "unknown fields".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    #[test]
    fn a_known_id_is_success_and_a_refused_document_is_named() {
        let reply = doc! { "ok": 1, "n": 1, "writeErrors": [
            { "index": 0, "code": 11_000, "keyPattern": { "_id": 1 }, "errmsg": "E11000" },
            { "index": 2, "code": 121, "errmsg": "Document failed validation" },
        ] };
        let refused = vec![(2, "MongoDB refused the document: Document failed validation (code 121)".to_owned())];
        assert_eq!(classify(Ok(reply)), Outcome::Done { absorbed: vec![0], refused });
    }

    #[test]
    fn a_unique_index_of_somebody_elses_is_no_replay() {
        let reply = doc! { "ok": 1, "writeErrors": [{ "index": 0, "code": 11_000, "keyPattern": { "email": 1 }, "errmsg": "E11000 a@b" }] };
        let Outcome::Done { absorbed, refused } = classify(Ok(reply)) else { panic!("retried") };
        assert_eq!(absorbed, Vec::<usize>::new());
        assert!(refused[0].1.contains("email") && !refused[0].1.contains("a@b"), "{refused:?}");
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for reply in [
            doc! { "ok": 1, "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" } },
            doc! { "ok": 1, "writeErrors": [{ "index": 0, "code": 11_602, "errmsg": "InterruptedDueToReplStateChange" }] },
            doc! { "ok": 1, "writeErrors": [{ "index": 0, "code": 11_000, "keyPattern": { "_id": 1 } }, { "index": 1, "code": 14_031, "errmsg": "OutOfDiskSpace" }] },
        ] {
            assert!(matches!(classify(Ok(reply.clone())), Outcome::Retry(_)), "{reply}");
        }
        assert!(matches!(classify(Err(Error::custom("broken pipe"))), Outcome::Retry(_)));
    }
}
