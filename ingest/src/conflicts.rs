//! Absorbed documents that are not the documents that were to be stored: two different events with the same `source`, `id` and
//! second of `time`. The first one stays, so the second one is lost, by a sender's mistake or by somebody's intent. They are
//! counted, and a line of the log names one.
//!
//! This is a sample beside the path of the events: it holds up no batch, and the bounds below are all that it takes. When a
//! whole topic is read again, every document is absorbed, and nearly none is looked at.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bson::oid::ObjectId;
use bson::{Document, RawDocument, RawDocumentBuf, doc};
use common::event::EventType;
use common::{kafka, settings};
use futures::TryStreamExt;
use mongodb::Database;
use tokio::sync::{mpsc, watch};

use crate::batch::Insert;
use crate::metrics;
use crate::offsets::Origin;
use crate::reread::Reader;
use crate::tools::Slugs;

/// Most absorbed documents of a batch that are looked at.
const MOST_DOCUMENTS: usize = 100;

/// Most bytes of them: they are copied, because the batch's memory is used again.
const MOST_BYTES: usize = 256 * 1_024;

/// Batches whose samples may wait to be looked at. Those that come when so many wait are not looked at.
const MOST_WAITING: usize = 8;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// After a look that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// A server that was stopped where it stands keeps its connections open, and never answers.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Most characters of a sender's text in the log.
const MOST_OF_A_TEXT: usize = 200;

/// Most fields that the log names.
const MOST_FIELDS: usize = 10;

/// Documents of one batch as they were to be stored.
struct Sample {
    event_type: EventType,
    documents: Vec<(Origin, RawDocumentBuf)>,
}

impl Sample {
    /// Those of `absorbed`, evenly spread.
    fn of(insert: &Insert, mut absorbed: Vec<usize>) -> Self {
        absorbed.sort_unstable();
        let average = insert.bytes() / insert.len().max(1);
        let most = (MOST_BYTES / average.max(1)).clamp(1, MOST_DOCUMENTS);
        let step = absorbed.len().div_ceil(most).max(1);
        let mut wanted = absorbed.into_iter().step_by(step).peekable();
        let (mut documents, mut bytes) = (Vec::new(), 0);
        for (index, document) in insert.documents().enumerate() {
            if wanted.next_if_eq(&index).is_none() {
                continue;
            }
            bytes += document.len();
            if bytes > MOST_BYTES {
                break;
            }
            documents.extend(insert.origin(index).zip(RawDocumentBuf::from_bytes(document.to_vec()).ok()));
        }
        Self { event_type: insert.event_type, documents }
    }
}

/// Looks at absorbed documents.
#[derive(Clone)]
pub struct Conflicts {
    samples: mpsc::Sender<Sample>,
}

impl Conflicts {
    /// Looks from now on, in a task of its own, as long as this is there.
    pub fn new(database: Database, kafka: settings::Kafka, slugs: watch::Receiver<Arc<Slugs>>) -> Self {
        let (samples, waiting) = mpsc::channel(MOST_WAITING);
        tokio::spawn(Looker { database, kafka, slugs }.look(waiting));
        Self { samples }
    }

    /// Takes note of documents of `insert` that were stored already, by their index. Never waits.
    pub fn note(&self, insert: &Insert, absorbed: Vec<usize>) {
        if absorbed.is_empty() {
            return;
        }
        if let Ok(place) = self.samples.try_reserve() {
            place.send(Sample::of(insert, absorbed));
        }
    }
}

/// A stored document, and another one that was to be stored under its id.
struct Conflict<'a> {
    origin: Origin,
    document: &'a RawDocument,
    stored: RawDocumentBuf,
    fields: Vec<String>,
}

struct Looker {
    database: Database,
    kafka: settings::Kafka,
    slugs: watch::Receiver<Arc<Slugs>>,
}

impl Looker {
    async fn look(self, mut waiting: mpsc::Receiver<Sample>) {
        while let Some(sample) = waiting.recv().await {
            let looked = tokio::time::timeout(TIME_LIMIT, self.conflicts(&sample)).await;
            let looked = looked.with_context(|| format!("no answer within {} s", TIME_LIMIT.as_secs()));
            let pause = match looked.and_then(|conflicts| conflicts.context("MongoDB does not tell them")) {
                Ok(conflicts) => {
                    if let Some(first) = conflicts.first() {
                        metrics::conflicting(sample.event_type, conflicts.len());
                        self.tell(first, conflicts.len()).await;
                    }
                    PAUSE
                }
                Err(error) => {
                    let why = format!("{error:#}");
                    tracing::warn!(why, "absorbed documents were not compared with the stored ones; ingest goes on");
                    PAUSE_AFTER_FAILURE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn conflicts<'a>(&self, sample: &'a Sample) -> mongodb::error::Result<Vec<Conflict<'a>>> {
        let ids: Vec<_> = sample.documents.iter().filter_map(|(_, document)| id(document)).collect();
        let collection = self.database.collection::<RawDocumentBuf>(sample.event_type.collection());
        let stored: Vec<RawDocumentBuf> = collection.find(doc! { "_id": { "$in": ids } }).await?.try_collect().await?;
        let stored: HashMap<_, _> = stored.into_iter().filter_map(|stored| Some((id(&stored)?, stored))).collect();
        let conflict = |(origin, document): &'a (Origin, RawDocumentBuf)| {
            let stored = stored.get(&id(document)?)?;
            let fields = differing(document, stored);
            let is_conflict = !fields.is_empty();
            is_conflict.then(|| Conflict { origin: *origin, document, stored: stored.clone(), fields })
        };
        Ok(sample.documents.iter().filter_map(conflict).collect())
    }

    /// One line for all conflicts of a sample.
    async fn tell(&self, first: &Conflict<'_>, conflicts: usize) {
        let Origin { partition, offset } = first.origin;
        let (source, id) = self.source_and_id(first.origin).await;
        let fields = first.fields.iter().take(MOST_FIELDS).cloned().collect::<Vec<_>>().join(", ");
        tracing::warn!(
            partition,
            offset,
            source,
            id,
            tool = self.tool(first.document),
            stored_tool = self.tool(&first.stored),
            fields,
            conflicts,
            "an event has the source, the id and the second of a stored event, and other content: the stored one stays; \
             give each event an id of its own"
        );
    }

    /// The document does not hold them, so the message is read again.
    async fn source_and_id(&self, origin: Origin) -> (String, String) {
        let kafka = self.kafka.clone();
        let read = tokio::task::spawn_blocking(move || {
            Reader::new(&kafka)?.read(origin, |message| {
                let event = kafka::as_sent(message).decode().ok()?;
                Some((cut(&event.source), cut(&event.id)))
            })
        });
        let told = read.await.ok().and_then(|read| read.ok().flatten().flatten());
        told.unwrap_or_else(|| ("unknown".to_owned(), "unknown".to_owned()))
    }

    fn tool(&self, document: &RawDocument) -> String {
        let Ok(tool) = document.get_object_id("toolId") else { return "none".to_owned() };
        self.slugs.borrow().get(&tool).map_or_else(|| tool.to_hex(), |slug| cut(slug))
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MOST_OF_A_TEXT).collect()
}

fn id(document: &RawDocument) -> Option<ObjectId> {
    document.get_object_id("_id").ok()
}

/// The fields that are not the same in both, or only in one.
fn differing(one: &RawDocument, other: &RawDocument) -> Vec<String> {
    if one.as_bytes() == other.as_bytes() {
        return Vec::new();
    }
    // The order of fields is no content.
    let (Ok(one), Ok(other)) = (Document::try_from(one), Document::try_from(other)) else { return Vec::new() };
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    names.into_iter().filter(|name| one.get(name) != other.get(name)).map(|name| cut(name)).collect()
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use common::event::{Data, Event, HealthCheck, Timestamp};

    use super::*;
    use crate::batch::Batch;

    fn insert_of(count: usize, message: &str) -> Batch {
        let mut batch = Batch::default();
        for number in 0..count {
            let (tool_id, message) = (ObjectId::from_bytes([7; 12]), Some(message.into()));
            let check = HealthCheck { tool_id, healthy: true, response_time: None, message };
            let event = Event {
                id: number.to_string().into(),
                source: "/test".into(),
                time: Timestamp::from_millis(1_700_000_000_000),
                traceparent: None,
                data: Data::HealthCheck(check),
            };
            batch.push(&event, Origin { partition: 1, offset: number as i64 });
        }
        batch
    }

    #[test]
    fn a_sample_is_bounded_and_spread_over_the_batch() {
        for (count, message) in [(1, 10), (100, 10), (101, 10), (10_000, 10), (10_000, 4_000)] {
            let batch = insert_of(count, &"x".repeat(message));
            let insert = &batch.inserts()[EventType::HealthCheck as usize];
            let sample = Sample::of(insert, (0..count).rev().collect());
            let bytes: usize = sample.documents.iter().map(|(_, document)| document.as_bytes().len()).sum();
            assert!(sample.documents.len() <= MOST_DOCUMENTS && bytes <= MOST_BYTES, "{count} of {message}");
            assert!(sample.documents.len() >= count.min(50), "{count} of {message}: {}", sample.documents.len());
            for (origin, document) in &sample.documents {
                let expected = insert.documents().nth(origin.offset as usize).unwrap();
                assert_eq!(document.as_bytes(), expected);
            }
            let last = sample.documents.last().unwrap().0.offset as usize;
            assert!(last + count.div_ceil(30) >= count, "{last} is the last of {count}");
        }
    }

    #[test]
    fn documents_differ_by_their_content_and_not_by_the_order_of_fields() {
        let stored = rawdoc! { "_id": 1, "a": 1, "b": { "c": "x" } };
        assert_eq!(differing(&stored, &stored), Vec::<String>::new());
        assert_eq!(differing(&rawdoc! { "_id": 1, "b": { "c": "x" }, "a": 1 }, &stored), Vec::<String>::new());
        assert_eq!(differing(&rawdoc! { "_id": 1, "a": 2, "b": { "c": "y" } }, &stored), ["a", "b"]);
        assert_eq!(differing(&rawdoc! { "_id": 1, "a": 1, "d": 1 }, &stored), ["b", "d"]);
    }
}
