//! What a dead letter keeps of the message that was refused: all of it where it fits, else the beginning of each part that
//! does not fit, and what that part was. Plain code without I/O.

use common::hex::hex;
use common::kafka;
use common::size::{self, Size};
use rdkafka::Message;
use rdkafka::message::{BorrowedHeaders, Header, OwnedHeaders};
use sha2::{Digest, Sha256};

/// The most that a letter keeps. The dead-letter topic takes 2 MiB; the rest is for the headers that ingest adds.
pub const MOST: usize = 2 * 1024 * 1024 - 16 * 1024;

/// A part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Key,
    Headers,
    Value,
}

/// What a part was that is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Original {
    part: Part,
    /// How many there were, of headers.
    count: Option<usize>,
    bytes: usize,
    sha256: String,
}

/// Bytes of each part of a message, or bytes that it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    key: usize,
    headers: usize,
    value: usize,
}

impl Sizes {
    const fn sum(self) -> usize {
        self.key + self.headers + self.value
    }

    /// What each part keeps of these in `room`. The key may always have an eighth of the room, the headers a quarter, and each
    /// part may have what the others leave.
    fn within(self, room: usize) -> Self {
        let key = self.key.min((room / 8).max(room.saturating_sub(self.headers + self.value)));
        let headers = self.headers.min((room / 4).max(room.saturating_sub(key + self.value)));
        let value = self.value.min(room.saturating_sub(key + headers));
        Self { key, headers, value }
    }
}

/// Key, headers and value of a message, or what fits of them.
#[derive(Debug, Clone)]
pub struct Kept {
    pub key: Option<Vec<u8>>,
    pub headers: OwnedHeaders,
    pub value: Option<Vec<u8>>,
    /// Of each part that is cut.
    originals: Vec<Original>,
    bytes: usize,
}

impl Kept {
    /// What fits of a message in `room` bytes.
    pub fn of(message: &impl Message<Headers = BorrowedHeaders>, room: usize) -> Self {
        Self::within(room, message.key(), message.headers(), message.payload(), Vec::new())
    }

    /// Nothing of a message.
    pub fn nothing() -> Self {
        Self::within(0, None, None, None, Vec::new())
    }

    /// The same in less room.
    pub fn cut(&self, room: usize) -> Self {
        let (headers, originals) = (Some(self.headers.as_borrowed()), self.originals.clone());
        Self::within(room, self.key.as_deref(), headers, self.value.as_deref(), originals)
    }

    /// `originals` tell what the parts were that are cut already.
    fn within(
        room: usize,
        key: Option<&[u8]>,
        headers: Option<&BorrowedHeaders>,
        value: Option<&[u8]>,
        mut originals: Vec<Original>,
    ) -> Self {
        let size = Size::of_parts(key, kafka::each_header(headers), value);
        let whole = Sizes { key: size.key, headers: size.headers_cost(), value: size.value };
        // Headers beyond what a message may have would cost every reader of the letter what they cost here.
        let fitting = Sizes { headers: whole.headers.min(size::MOST_HEADERS_COST), ..whole }.within(room);
        let has_all_headers = fitting.headers == whole.headers && size.headers <= size::MOST_HEADERS;
        let mut note = |part, original: &dyn Fn() -> Original| {
            if originals.iter().all(|known| known.part != part) {
                originals.push(original());
            }
        };
        if fitting.key < whole.key {
            note(Part::Key, &|| Original::bytes(Part::Key, key.unwrap_or_default()));
        }
        if !has_all_headers {
            note(Part::Headers, &|| Original::headers(headers));
        }
        if fitting.value < whole.value {
            note(Part::Value, &|| Original::bytes(Part::Value, value.unwrap_or_default()));
        }
        let first = |bytes: &[u8], count| bytes.get(..count).unwrap_or(bytes).to_vec();
        let headers = match headers {
            None => OwnedHeaders::new(),
            Some(headers) if has_all_headers => headers.detach(),
            headers => those_that_fit(headers, fitting.headers),
        };
        Self {
            key: key.map(|key| first(key, fitting.key)),
            headers,
            value: value.map(|value| first(value, fitting.value)),
            originals,
            bytes: fitting.sum(),
        }
    }

    /// About how much memory it takes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a part is cut.
    pub const fn is_cut(&self) -> bool {
        !self.originals.is_empty()
    }

    /// The headers that tell what each part was that is cut.
    pub fn originals(&self) -> impl Iterator<Item = (String, String)> {
        self.originals.iter().flat_map(|Original { part, count, bytes, sha256 }| {
            let part = match part {
                Part::Key => "key",
                Part::Headers => "headers",
                Part::Value => "value",
            };
            let count = count.map(|count| ("count", count.to_string()));
            let told = count.into_iter().chain([("bytes", bytes.to_string()), ("sha256", sha256.clone())]);
            told.map(move |(what, text)| (format!("devtoolkit.original.{part}.{what}"), text))
        })
    }
}

impl Original {
    fn bytes(part: Part, bytes: &[u8]) -> Self {
        Self { part, count: None, bytes: bytes.len(), sha256: hex(&Sha256::digest(bytes)) }
    }

    /// The digest is of each header's name and value in order, a zero byte after each name and each value.
    fn headers(headers: Option<&BorrowedHeaders>) -> Self {
        let (mut count, mut bytes, mut sha256) = (0, 0, Sha256::new());
        for (name, value) in kafka::each_header(headers) {
            let value = value.unwrap_or_default();
            count += 1;
            bytes += name.len() + value.len();
            [name, b"\0", value, b"\0"].iter().for_each(|part| sha256.update(part));
        }
        Self { part: Part::Headers, count: Some(count), bytes, sha256: hex(&sha256.finalize()) }
    }
}

/// The first headers that have room, in order: one that is too large does not hide those after it.
fn those_that_fit(headers: Option<&BorrowedHeaders>, mut room: usize) -> OwnedHeaders {
    let (mut kept, mut left) = (OwnedHeaders::new(), size::MOST_HEADERS);
    for (name, value) in kafka::each_header(headers) {
        if left == 0 {
            break;
        }
        // rust-rdkafka adds no header whose name is no text.
        let Ok(key) = str::from_utf8(name) else { continue };
        let Some(rest) = room.checked_sub(size::header_cost(name, value)) else { continue };
        (room, left) = (rest, left - 1);
        kept = kept.insert(Header { key, value });
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    fn headers(headers: &[(&str, &[u8])]) -> OwnedHeaders {
        let add = |all: OwnedHeaders, (key, value): &(&str, &[u8])| all.insert(Header { key, value: Some(*value) });
        headers.iter().fold(OwnedHeaders::new(), add)
    }

    fn kept(key: &[u8], with: &OwnedHeaders, value: &[u8], room: usize) -> Kept {
        Kept::within(room, Some(key), Some(with.as_borrowed()), Some(value), Vec::new())
    }

    fn names(headers: &OwnedHeaders) -> Vec<String> {
        let names = kafka::each_header(Some(headers.as_borrowed()));
        names.map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
    }

    #[test]
    fn a_message_that_fits_is_kept_whole() {
        let with = headers(&[("a", b"1"), ("b", b"2")]);
        let whole = kept(b"key", &with, b"value", 3 + 204 + 5);
        assert_eq!(
            (whole.key.as_deref(), whole.value.as_deref()),
            (Some(b"key".as_slice()), Some(b"value".as_slice()))
        );
        assert_eq!(names(&whole.headers), ["a", "b"]);
        assert!(!whole.is_cut());
        assert_eq!(whole.originals().count(), 0);
    }

    #[test]
    fn a_value_that_does_not_fit_keeps_its_beginning_and_says_what_it_was() {
        let cut = kept(b"", &OwnedHeaders::new(), b"abc", 2);
        assert_eq!(cut.value.as_deref(), Some(b"ab".as_slice()));
        // As sha256sum prints it.
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let told = [("devtoolkit.original.value.bytes", "3"), ("devtoolkit.original.value.sha256", sha256)];
        let told = told.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(cut.originals().collect::<Vec<_>>(), told);
        // Cut again, it still says what the message was, and not what was left of it.
        let less = cut.cut(1);
        assert_eq!(less.value.as_deref(), Some(b"a".as_slice()));
        assert_eq!(less.originals().collect::<Vec<_>>(), told);
    }

    #[test]
    fn a_header_that_is_too_large_does_not_hide_the_others() {
        let large = vec![b'x'; 10_000];
        let with = headers(&[("ce_id", b"1"), ("large", &large), ("ce_source", b"/tool")]);
        let cut = kept(b"", &with, b"value", 1_000);
        assert_eq!(names(&cut.headers), ["ce_id", "ce_source"]);
        assert_eq!(cut.value.as_deref(), Some(b"value".as_slice()));
        let told: Vec<_> = cut.originals().take(2).collect();
        let expected = [("devtoolkit.original.headers.count", "3"), ("devtoolkit.original.headers.bytes", "10025")];
        assert_eq!(told, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn more_headers_than_a_message_may_have_are_cut() {
        let with =
            (0..65).fold(OwnedHeaders::new(), |headers, _| headers.insert(Header { key: "h", value: Some("1") }));
        let cut = kept(b"key", &with, b"value", MOST);
        assert_eq!((names(&cut.headers).len(), cut.value.as_deref()), (64, Some(b"value".as_slice())));
        assert_eq!(cut.originals().next(), Some(("devtoolkit.original.headers.count".to_owned(), "65".to_owned())));
    }

    #[test]
    fn a_tombstone_stays_a_tombstone() {
        let large = vec![b'x'; 10_000];
        let with = headers(&[("large", &large)]);
        let message = OwnedMessage::new(None, None, "topic".to_owned(), Timestamp::NotAvailable, 0, 0, Some(with));
        let native = message.headers().map(OwnedHeaders::as_borrowed);
        let cut = Kept::within(0, message.key(), native, message.payload(), Vec::new());
        assert_eq!((cut.key, cut.value, names(&cut.headers).len()), (None, None, 0));
    }

    proptest! {
        #[test]
        fn what_is_kept_fits_and_no_part_is_cut_without_need(
            key in 0..5_000_usize, headers in 0..5_000_usize, value in 0..5_000_usize, room in 0..6_000_usize,
        ) {
            let whole = Sizes { key, headers, value };
            let fitting = whole.within(room);
            prop_assert!(fitting.sum() <= room);
            prop_assert!(fitting.key <= key && fitting.headers <= headers && fitting.value <= value);
            prop_assert_eq!(fitting == whole, whole.sum() <= room);
            prop_assert!(whole.sum() <= room || fitting.sum() == room, "room is left, and a part is cut");
            prop_assert!(fitting.key >= key.min(room / 8) && fitting.headers >= headers.min(room / 4));
            prop_assert!(fitting.value >= value.min(room - room / 8 - room / 4));
        }

        #[test]
        fn cut_twice_is_cut_once(key in 0..300_usize, value in 0..3_000_usize, first in 0..3_000_usize, then in 0..3_000_usize) {
            let (key, value) = (vec![b'k'; key], vec![b'v'; value]);
            let with = headers(&[("a", b"1"), ("b", &[b'h'; 200])]);
            let twice = kept(&key, &with, &value, first).cut(then.min(first));
            prop_assert!(twice.bytes() <= then.min(first));
            let fitting: usize = kafka::each_header(Some(twice.headers.as_borrowed())).map(|(n, v)| size::header_cost(n, v)).sum();
            prop_assert!(twice.key.map_or(0, |key| key.len()) + twice.value.map_or(0, |value| value.len()) + fitting <= then.min(first));
        }
    }
}
