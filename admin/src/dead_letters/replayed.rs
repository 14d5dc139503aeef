//! Which letters were replayed: MongoDB's collection `dead_letter_replays` says so, with the offsets of the letters.
//!
//! Whoever may write to the topics cannot write there, and so cannot hide letters. (Earlier versions kept marks on the topic
//! itself, which anybody there can forge; they are not believed any more.) A document is written when Kafka has confirmed
//! the letters: a kill between the two sends them again, which ingest absorbs by `_id`; none is ever marked without having
//! been sent. A topic can be made anew with the same offsets: a letter that arrived after those that were replayed is not
//! one of them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use anyhow::Context;
use bson::oid::ObjectId;
use bson::{DateTime, doc};
use common::documents::dead_letter_replay::{COLLECTION, DeadLetterReplay};
use common::settings::Mongodb;
use common::{error_line, mongo};
use futures::TryStreamExt;
use mongodb::Database;
use rangemap::{RangeInclusiveMap, RangeInclusiveSet};

use super::letter::{Letter, Place};

/// Any number of letters, kept as ranges: replaying usually takes many letters in a row. With each range, when the last of its
/// letters arrived, in milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replayed(BTreeMap<i32, RangeInclusiveMap<i64, i64>>);

impl Replayed {
    /// Those of a dead-letter topic.
    ///
    /// # Errors
    /// MongoDB fails.
    pub(super) async fn read(database: &Database, topic: &str) -> anyhow::Result<Self> {
        let collection = database.collection::<DeadLetterReplay>(COLLECTION);
        // Where two name the same offset, the later one counts: of a topic that was made anew.
        let by_arrival = doc! { "lastArrived": 1 };
        let mut documents = collection.find(doc! { "topic": topic }).sort(by_arrival).await?;
        let mut replayed = Self::default();
        while let Some(document) = documents.try_next().await? {
            replayed.add(&document).with_context(|| {
                format!("document {} of {COLLECTION} cannot be read: offsets is {:?}", document.id, document.offsets)
            })?;
        }
        Ok(replayed)
    }

    /// As [`Replayed::read`]; none where MongoDB cannot be asked, which a line on stderr says. Letters can be looked at all the
    /// same.
    pub(super) async fn read_if_possible(settings: &Mongodb, topic: &str) -> Option<Self> {
        let read = async { Self::read(&mongo::connect(settings).await?, topic).await };
        match read.await {
            Ok(replayed) => Some(replayed),
            Err(error) => {
                error_line!("which letters were replayed is not known, because MongoDB was not asked: {error:#}");
                None
            }
        }
    }

    fn add(&mut self, document: &DeadLetterReplay) -> Option<()> {
        let ranges = document.offsets.split(',').map(parse_range).collect::<Option<Vec<_>>>()?;
        let last_arrived = document.last_arrived.timestamp_millis();
        let partition = self.0.entry(document.partition).or_default();
        partition.extend(ranges.into_iter().map(|range| (range, last_arrived)));
        Some(())
    }

    pub(super) fn contains(&self, letter: &Letter) -> bool {
        let Place { partition, offset } = letter.place;
        let last_arrived = self.0.get(&partition).and_then(|offsets| offsets.get(&offset));
        last_arrived.is_some_and(|last| letter.arrived.is_some_and(|arrived| arrived <= *last))
    }
}

/// Letters that Kafka has confirmed, to be marked.
#[derive(Debug, Default)]
pub(super) struct Delivered(BTreeMap<i32, (RangeInclusiveSet<i64>, i64)>);

impl Delivered {
    pub(super) fn insert(&mut self, letter: &Letter) {
        let Place { partition, offset } = letter.place;
        let (offsets, last_arrived) = self.0.entry(partition).or_default();
        offsets.insert(offset..=offset);
        *last_arrived = letter.arrived.unwrap_or_default().max(*last_arrived);
    }

    /// Marks them as replayed.
    ///
    /// # Errors
    /// MongoDB fails.
    pub(super) async fn write(&self, database: &Database, topic: &str) -> anyhow::Result<()> {
        let documents = self.documents(topic);
        if !documents.is_empty() {
            database.collection::<DeadLetterReplay>(COLLECTION).insert_many(documents).await?;
        }
        Ok(())
    }

    fn documents(&self, topic: &str) -> Vec<DeadLetterReplay> {
        let document =
            |(partition, (offsets, last_arrived)): (&i32, &(RangeInclusiveSet<i64>, i64))| DeadLetterReplay {
                id: ObjectId::new(),
                topic: topic.to_owned(),
                partition: *partition,
                offsets: format(offsets),
                last_arrived: DateTime::from_millis(*last_arrived),
                replayed_at: DateTime::now(),
            };
        self.0.iter().map(document).collect()
    }
}

fn format(offsets: &RangeInclusiveSet<i64>) -> String {
    let range = |range: &RangeInclusive<i64>| match (range.start(), range.end()) {
        (start, end) if start == end => start.to_string(),
        (start, end) => format!("{start}-{end}"),
    };
    offsets.iter().map(range).collect::<Vec<_>>().join(",")
}

fn parse_range(text: &str) -> Option<RangeInclusive<i64>> {
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let (start, end): (i64, i64) = (start.parse().ok()?, end.parse().ok()?);
    // The map's ranges end before the last number that there is.
    (0 <= start && start <= end && end < i64::MAX).then_some(start..=end)
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::message;
    use super::*;

    fn letter(partition: i32, offset: i64, arrived: i64) -> Letter {
        let letter = Letter::read(&message(b"x", &[]));
        Letter { place: Place { partition, offset }, arrived: Some(arrived), ..letter }
    }

    fn replayed(documents: &[DeadLetterReplay]) -> Replayed {
        let mut replayed = Replayed::default();
        documents.iter().for_each(|document| replayed.add(document).unwrap());
        replayed
    }

    #[test]
    fn what_was_delivered_is_replayed_and_nothing_else() {
        let mut delivered = Delivered::default();
        for offset in [5, 1, 3, 2, 9, 10, 3] {
            delivered.insert(&letter(1, offset, 1_000 + offset));
        }
        let documents = delivered.documents("events.dlq");
        assert_eq!((documents[0].offsets.as_str(), documents[0].partition, documents.len()), ("1-3,5,9-10", 1, 1));
        let replayed = replayed(&documents);
        assert!([1, 2, 3, 5, 9, 10].iter().all(|offset| replayed.contains(&letter(1, *offset, 1_000 + offset))));
        assert!(!replayed.contains(&letter(1, 4, 1_004)) && !replayed.contains(&letter(0, 2, 1_002)));
    }

    #[test]
    fn a_letter_of_a_topic_that_was_made_anew_is_not_replayed() {
        let document = |offsets: &str, last_arrived| DeadLetterReplay {
            id: ObjectId::new(),
            topic: "events.dlq".to_owned(),
            partition: 1,
            offsets: offsets.to_owned(),
            last_arrived: DateTime::from_millis(last_arrived),
            replayed_at: DateTime::now(),
        };
        let first = replayed(&[document("0-9", 1_000)]);
        assert!(first.contains(&letter(1, 9, 1_000)) && !first.contains(&letter(1, 9, 1_001)));
        let both = replayed(&[document("0-9", 1_000), document("3-4", 2_000)]);
        assert!(both.contains(&letter(1, 3, 1_500)) && !both.contains(&letter(1, 5, 1_500)));
        for wrong in ["", "x", "1,", "3-1", "-1", "1-2-3", "1 - 2", "0-9223372036854775807"] {
            assert_eq!(Replayed::default().add(&document(wrong, 0)), None, "{wrong}");
        }
    }
}
