//! How a letter that was replayed is known: by a mark, a message without key and value on the letter's own partition,
//! whose one header names the offsets.
//!
//! Why not the committed offsets of a group: they say how far, and a filtered replay leaves gaps. Why not a collection in
//! MongoDB: it would outlive the letters, or not, and the topic can be made anew with the same offsets. A mark stands
//! behind its letters on the same partition, so Kafka never removes it before them, and it goes with the topic. It is
//! written when Kafka has confirmed the letters: a kill between the two sends them again, which ingest absorbs by `_id`;
//! none is ever marked without having been sent. (A transaction over both would close that gap, but its control records
//! leave the ingest group one message behind for ever, as lag that nothing clears.)

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use common::kafka::{self, NativeHeaders};
use rangemap::RangeInclusiveSet;
use rdkafka::Message;

use super::letter::{ERROR_HEADERS, Place};

/// The header of a mark: `17-2045,2051`.
pub(super) const MARK: &str = "devtoolkit.replayed";

/// Any number of places, kept as ranges: replaying usually takes many letters in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places(BTreeMap<i32, RangeInclusiveSet<i64>>);

impl Places {
    pub(super) fn insert(&mut self, Place { partition, offset }: Place) {
        self.0.entry(partition).or_default().insert(offset..=offset);
    }

    pub(super) fn contains(&self, Place { partition, offset }: Place) -> bool {
        self.0.get(&partition).is_some_and(|offsets| offsets.contains(&offset))
    }

    /// For each partition the text of a mark.
    pub(super) fn marks(&self) -> impl Iterator<Item = (i32, String)> {
        self.0.iter().map(|(partition, offsets)| (*partition, format(offsets)))
    }

    /// Adds what a mark says that stands at `place`.
    ///
    /// # Errors
    /// The text is none that [`Places::marks`] makes, or it names letters that do not stand before the mark: a replay marks
    /// only what it has read, so somebody forged it to hide letters that are still to come.
    pub(super) fn add_mark(&mut self, place: Place, text: &str) -> Result<(), NotAMark> {
        let ranges: Option<Vec<_>> = text.split(',').map(parse_range).collect();
        let ranges = ranges.filter(|ranges| ranges.iter().all(|range| *range.end() < place.offset));
        self.0.entry(place.partition).or_default().extend(ranges.ok_or(NotAMark)?);
        Ok(())
    }
}

/// The text of a mark, when the message is one. Letters have error headers, marks have none; so a refused message that
/// came with a header of this name is still a letter.
pub(super) fn read(message: &impl Message<Headers: NativeHeaders>) -> Option<String> {
    let mut text = None;
    for (name, value) in kafka::headers(message) {
        if name.starts_with(ERROR_HEADERS.as_bytes()) {
            return None;
        }
        if name == MARK.as_bytes() {
            text = Some(String::from_utf8_lossy(value.unwrap_or_default()).into_owned());
        }
    }
    text
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotAMark;

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
    (0 <= start && start <= end).then_some(start..=end)
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::message;
    use super::*;

    /// Where a mark stands that may name each letter.
    const LAST: Place = Place { partition: 1, offset: i64::MAX };

    fn places(offsets: impl IntoIterator<Item = i64>) -> Places {
        let mut places = Places::default();
        offsets.into_iter().for_each(|offset| places.insert(Place { partition: 1, offset }));
        places
    }

    #[test]
    fn a_mark_says_what_was_put_in() {
        let places = places([5, 1, 3, 2, 9, 10, 3]);
        let marks: Vec<_> = places.marks().collect();
        assert_eq!(marks, [(1, "1-3,5,9-10".to_owned())]);
        let mut read = Places::default();
        read.add_mark(LAST, &marks[0].1).unwrap();
        assert_eq!(read, places);
        assert!(read.contains(Place { partition: 1, offset: 2 }));
        assert!(!read.contains(Place { partition: 1, offset: 4 }) && !read.contains(Place { partition: 0, offset: 2 }));
    }

    #[test]
    fn marks_that_overlap_add_up() {
        let mut read = Places::default();
        for mark in ["1-3", "2-5", "6"] {
            read.add_mark(LAST, mark).unwrap();
        }
        assert_eq!(read, places(1..=6));
    }

    #[test]
    fn what_is_no_mark_marks_nothing() {
        let mut read = Places::default();
        for wrong in ["", "x", "1,", "3-1", "-1", "1-2-3", "1 - 2"] {
            assert_eq!(read.add_mark(LAST, wrong), Err(NotAMark));
        }
        assert!(!read.contains(Place { partition: 1, offset: 1 }));
    }

    #[test]
    fn a_mark_that_names_itself_or_letters_behind_it_marks_nothing() {
        let mut read = Places::default();
        let place = Place { partition: 1, offset: 20 };
        for forged in ["0-9223372036854775806", "20", "3,5-20", "21-22"] {
            assert_eq!(read.add_mark(place, forged), Err(NotAMark), "{forged}");
        }
        assert!(!read.contains(Place { partition: 1, offset: 3 }), "no part of a forged mark is believed");
        assert_eq!(read.add_mark(place, "0-19"), Ok(()));
    }

    #[test]
    fn a_letter_that_came_with_the_header_of_a_mark_is_a_letter() {
        assert_eq!(read(&message(b"", &[(MARK, Some("1-3"))])).as_deref(), Some("1-3"));
        let errors = ("__connect.errors.stage", Some("decode"));
        assert_eq!(read(&message(b"", &[(MARK, Some("1-3")), errors])), None);
        assert_eq!(read(&message(b"", &[("traceparent", Some("x"))])), None);
    }
}
