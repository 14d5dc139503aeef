//! What is written together: documents in the form of `insert` commands, the dead letters between them, and how far the
//! partitions were read. Plain code without I/O.

use std::time::{Duration, Instant};

use bson::rawdoc;
use common::day::{DayNumber, day_number, start_of};
use common::event::{Event, EventType, Timestamp, array_index};
use common::settings;

use crate::dead_letter::DeadLetter;
use crate::offsets::{Origin, Partition};

/// When a batch is closed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Documents of one collection, or dead letters.
    pub events: usize,
    /// Bytes of documents of one collection, or of dead letters.
    pub bytes: usize,
    /// Age of the batch.
    pub time: Duration,
}

impl From<&settings::Ingest> for Limits {
    fn from(settings: &settings::Ingest) -> Self {
        Self { events: settings.batch_events, bytes: settings.batch_bytes, time: settings.batch_time }
    }
}

/// The documents of one collection as an `insert` command, built in place: the driver's `insert_many` would copy each
/// document twice and keep a map of all ids.
#[derive(Debug)]
pub struct Insert {
    /// The collection.
    pub event_type: EventType,
    command: Vec<u8>,
    /// Where the array of documents begins.
    documents_at: usize,
    origins: Vec<Origin>,
}

impl Insert {
    fn new(event_type: EventType) -> Self {
        // Unordered: one refused document must not keep the others out. Majority: only then is a document safe.
        let head = rawdoc! { "insert": event_type.collection(), "ordered": false, "writeConcern": { "w": "majority" } };
        let mut command = head.into_bytes();
        // The document is opened again: its closing byte gives way to the array of documents.
        command.pop();
        command.push(ARRAY);
        command.extend_from_slice(b"documents\0");
        let documents_at = command.len();
        command.extend_from_slice(&[0; 4]);
        Self { event_type, command, documents_at, origins: Vec::new() }
    }

    fn push(&mut self, event: &Event<'_>, origin: Origin) {
        self.command.push(DOCUMENT);
        self.command.extend_from_slice(array_index(self.origins.len(), &mut [0; 20]).as_bytes());
        self.command.push(0);
        event.write_document(&mut self.command);
        self.origins.push(origin);
    }

    fn clear(&mut self) {
        self.command.truncate(self.documents_at + 4);
        self.origins.clear();
    }

    /// The number of documents.
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    /// Whether there is nothing to insert.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// Bytes of the documents.
    pub fn bytes(&self) -> usize {
        self.command.len() - self.documents_at
    }

    /// Where a document came from.
    pub fn origin(&self, index: usize) -> Option<Origin> {
        self.origins.get(index).copied()
    }

    /// The documents in order.
    pub fn documents(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.command[self.documents_at + 4..];
        std::iter::from_fn(move || {
            // An element is its type, its key with a zero byte, and the document, which begins with its length.
            let start = rest.get(1..)?.iter().position(|byte| *byte == 0)? + 2;
            let length = u32::from_le_bytes(*rest.get(start..)?.first_chunk()?) as usize;
            let document = rest.get(start..start + length)?;
            rest = &rest[start + length..];
            Some(document)
        })
    }

    /// A copy of the whole command, which the driver takes over.
    pub fn command(&self) -> Vec<u8> {
        let mut command = Vec::with_capacity(self.command.len() + 2);
        command.extend_from_slice(&self.command);
        command.extend_from_slice(&[0, 0]);
        let array_length = (command.len() - 1 - self.documents_at) as i32;
        command[self.documents_at..self.documents_at + 4].copy_from_slice(&array_length.to_le_bytes());
        let length = command.len() as i32;
        command[..4].copy_from_slice(&length.to_le_bytes());
        command
    }
}

const DOCUMENT: u8 = 0x03;
const ARRAY: u8 = 0x04;

/// Events read one after the other, from any of the worker's partitions.
#[derive(Debug)]
pub struct Batch {
    inserts: [Insert; 3],
    dead_letters: Vec<DeadLetter>,
    dead_letter_bytes: usize,
    ends: Vec<(Partition, i64)>,
    last_time: Option<Timestamp>,
    /// The days of its documents, in no order.
    days: Vec<DayNumber>,
    /// The milliseconds of the last document's day.
    last_day: std::ops::Range<i64>,
    opened: Option<Instant>,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            inserts: EventType::ALL.map(Insert::new),
            dead_letters: Vec::new(),
            dead_letter_bytes: 0,
            ends: Vec::new(),
            last_time: None,
            days: Vec::new(),
            last_day: 0..0,
            opened: None,
        }
    }
}

impl Batch {
    /// Adds a good event.
    pub fn push(&mut self, event: &Event<'_>, origin: Origin) {
        self.inserts[event.event_type() as usize].push(event, origin);
        self.last_time = Some(event.time);
        // Nearly all events of a batch are of one day.
        if !self.last_day.contains(&event.time.millis()) {
            self.note_day(day_number(event.time.millis()));
        }
        self.read_to(origin.partition, origin.offset + 1);
    }

    fn note_day(&mut self, day: DayNumber) {
        self.last_day = start_of(day)..start_of(day + 1);
        if !self.days.contains(&day) {
            self.days.push(day);
        }
    }

    /// Adds a refused message.
    pub fn reject(&mut self, letter: DeadLetter) {
        let origin = letter.origin;
        self.dead_letter_bytes += letter.bytes();
        self.dead_letters.push(letter);
        self.read_to(origin.partition, origin.offset + 1);
    }

    /// Takes note that everything before `end` of a partition is read: it can be committed with this batch.
    pub fn read_to(&mut self, partition: Partition, end: i64) {
        self.opened.get_or_insert_with(Instant::now);
        match self.ends.iter_mut().find(|(known, _)| *known == partition) {
            Some(known) => known.1 = end,
            None => self.ends.push((partition, end)),
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether it holds as much as a batch may.
    pub fn is_full(&self, limits: &Limits) -> bool {
        self.dead_letters.len() >= limits.events
            || self.dead_letter_bytes >= limits.bytes
            || self.inserts.iter().any(|insert| insert.len() >= limits.events || insert.bytes() >= limits.bytes)
    }

    /// Whether it has waited long enough for more. An empty batch does not wait.
    pub fn is_due(&self, limits: &Limits, now: Instant) -> bool {
        self.opened.is_some_and(|opened| now.duration_since(opened) >= limits.time)
    }

    /// For each partition in it, the next offset to read.
    pub fn ends(&self) -> &[(Partition, i64)] {
        &self.ends
    }

    /// The days of its documents.
    pub fn days(&self) -> &[DayNumber] {
        &self.days
    }

    /// `time` of the last good event in it.
    pub fn last_time(&self) -> Option<Timestamp> {
        self.last_time
    }

    /// One command for each collection; some may be empty.
    pub fn inserts(&self) -> &[Insert] {
        &self.inserts
    }

    /// The refused messages, which are not in it any more.
    pub fn take_dead_letters(&mut self) -> Vec<DeadLetter> {
        self.dead_letter_bytes = 0;
        std::mem::take(&mut self.dead_letters)
    }

    /// Empties it and keeps its memory for the next events.
    pub fn clear(&mut self) {
        self.inserts.iter_mut().for_each(Insert::clear);
        self.dead_letters.clear();
        self.dead_letter_bytes = 0;
        self.ends.clear();
        self.last_time = None;
        self.days.clear();
        self.last_day = 0..0;
        self.opened = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::oid::ObjectId;
    use common::event::{Data, HealthCheck};

    fn event(id: usize) -> Event<'static> {
        let check =
            HealthCheck { tool_id: ObjectId::from_bytes([7; 12]), healthy: true, response_time: None, message: None };
        let time = Timestamp::from_millis(1_700_000_000_000);
        Event {
            id: id.to_string().into(),
            source: "/test".into(),
            time,
            traceparent: None,
            data: Data::HealthCheck(check),
        }
    }

    #[test]
    fn the_command_is_the_one_that_a_document_would_make() {
        let mut batch = Batch::default();
        for round in 0..2 {
            for id in 0..12 {
                batch.push(&event(id), Origin { partition: 1, offset: id as i64 });
            }
            let insert = &batch.inserts()[EventType::HealthCheck as usize];
            let command =
                bson::Document::try_from(bson::RawDocumentBuf::from_bytes(insert.command()).unwrap()).unwrap();
            let documents: Vec<_> = (0..12)
                .map(|id| {
                    let id = event(id).document_id();
                    bson::doc! { "_id": id, "toolId": ObjectId::from_bytes([7; 12]), "healthy": true, "timestamp": bson::DateTime::from_millis(1_700_000_000_000) }
                })
                .collect();
            let expected = bson::doc! { "insert": "health_checks", "ordered": false, "writeConcern": { "w": "majority" }, "documents": documents.clone() };
            assert_eq!(command, expected, "round {round}");
            let read = insert.documents().map(|bytes| bson::deserialize_from_slice(bytes).unwrap());
            assert_eq!(read.collect::<Vec<bson::Document>>(), documents, "round {round}");
            assert_eq!(batch.ends(), [(1, 12)]);
            assert_eq!(batch.days(), [1_700_000_000_000 / 86_400_000]);
            batch.clear();
            assert!(batch.is_empty());
        }
    }

    #[test]
    fn it_is_full_by_count_or_bytes_and_due_by_time() {
        let limits = Limits { events: 2, bytes: 10_000, time: Duration::from_secs(1) };
        let mut batch = Batch::default();
        assert!(!batch.is_due(&limits, Instant::now() + Duration::from_secs(5)), "an empty batch is never due");
        batch.push(&event(0), Origin { partition: 0, offset: 0 });
        assert!(!batch.is_full(&limits) && batch.is_full(&Limits { bytes: 10, ..limits }));
        assert!(batch.is_due(&limits, Instant::now() + Duration::from_secs(5)));
        batch.push(&event(1), Origin { partition: 0, offset: 1 });
        assert!(batch.is_full(&limits));
    }
}
