//! A letter: a message that ingest refused, and what it said about it.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use common::event::{self, Event, EventType, Invalid};
use common::kafka::{self, NativeHeaders};
use common::size::{Size, header_cost};
use rdkafka::Message;
use serde::Deserialize;
use serde_json::Value;

/// What the names of the headers begin with that ingest added.
pub(super) const ERROR_HEADERS: &str = "__connect.errors.";

/// The header in which ingest keeps the time of the refused message.
const TIMESTAMP: &str = "devtoolkit.timestamp";

/// What the names of the headers begin with in which ingest says what a part of the message was that the letter holds cut.
pub(super) const ORIGINAL: &str = "devtoolkit.original.";

/// The first header that ingest adds. What follows the last of this name is ingest's, and no sender's.
const FIRST_OWN_HEADER: &str = "topic";

/// What the names of all other headers begin with that the programs add; nobody else's header may.
const OWN_HEADERS: &str = "devtoolkit.";

/// Of a letter whose reason is not told: somebody else put it there.
const NO_REASON: &str = "(none)";

/// About what a letter takes beside its parts.
const LETTER: usize = 256;

/// The header by which earlier versions marked, on the topic itself, the letters that they had replayed.
const OLD_MARK: &str = "devtoolkit.replayed";

/// Whether a message is such a mark. Letters have error headers, marks have none; so a refused message that came with a header
/// of this name is still a letter.
pub(super) fn is_old_mark(message: &impl Message<Headers: NativeHeaders>) -> bool {
    let mut names = kafka::headers(message).map(|(name, _)| name);
    let mut is_mark = false;
    let has_errors = names.any(|name| {
        is_mark |= name == OLD_MARK.as_bytes();
        name.starts_with(ERROR_HEADERS.as_bytes())
    });
    is_mark && !has_errors
}

/// Where a letter stands on the dead-letter topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub partition: i32,
    pub offset: i64,
}

/// Name and value, as Kafka has them.
pub(super) type Header = (String, Option<Vec<u8>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    pub place: Place,
    /// When Kafka took the letter, in milliseconds since 1970.
    pub arrived: Option<i64>,
    /// The time of the refused message, in milliseconds since 1970.
    pub sent: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// Those that the refused message came with, in order, but for those with a name that is the programs' own.
    pub headers: Vec<Header>,
    /// Those that say where and why it was refused, in order, named without [`ERROR_HEADERS`].
    pub errors: Vec<Header>,
    /// What the message was, where the letter holds only a part of it: such as `value.bytes`, in order, named without
    /// [`ORIGINAL`].
    pub originals: Vec<(String, String)>,
}

/// The CloudEvents attributes that say whose event it is, as far as they can be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub source: Option<String>,
    pub kind: Option<String>,
    pub id: Option<String>,
}

impl Letter {
    pub(super) fn read(message: &impl Message<Headers: NativeHeaders>) -> Self {
        let (mut headers, mut errors, mut originals, mut sent) = (Vec::new(), Vec::new(), Vec::new(), None);
        for (name, value) in kafka::headers(message) {
            // Of a name that is no text the replayed message has the replacement characters.
            let (name, value) = (String::from_utf8_lossy(name), value.map(<[u8]>::to_vec));
            if name == TIMESTAMP {
                // The message may have come with such headers: the last is ingest's.
                sent = value.and_then(|value| str::from_utf8(&value).ok()?.parse().ok());
            } else if let Some(name) = name.strip_prefix(ORIGINAL) {
                let text = String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned();
                originals.push((name.to_owned(), text));
            } else if let Some(name) = name.strip_prefix(ERROR_HEADERS) {
                if name == FIRST_OWN_HEADER {
                    originals.clear();
                }
                errors.push((name.to_owned(), value));
            } else if !name.starts_with(OWN_HEADERS) {
                headers.push((name.into_owned(), value));
            }
        }
        Self {
            place: Place { partition: message.partition(), offset: message.offset() },
            arrived: message.timestamp().to_millis(),
            sent,
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
            errors,
            originals,
        }
    }

    /// The event, as ingest would read it.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn event(&self) -> Result<Event<'_>, Box<Invalid>> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        event::Message { value: self.value.as_deref(), headers }.decode()
    }

    /// Whether it holds only a part of its message.
    pub(super) const fn is_cut(&self) -> bool {
        !self.originals.is_empty()
    }

    /// How large its message would be if it were sent again.
    pub(super) fn size(&self) -> Size {
        let headers = self.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref()));
        Size::of_parts(self.key.as_deref(), headers, self.value.as_deref())
    }

    /// The value of an error header. A message may have come with such headers of its own: the last was ingest's.
    pub(super) fn error(&self, name: &str) -> Option<Cow<'_, str>> {
        let (_, value) = self.errors.iter().rev().find(|(header, _)| header == name)?;
        value.as_deref().map(String::from_utf8_lossy)
    }

    pub(super) fn reason(&self) -> Cow<'_, str> {
        self.error("exception.class.name").unwrap_or(Cow::Borrowed(NO_REASON))
    }

    pub(super) fn why(&self) -> Cow<'_, str> {
        self.error("exception.message").unwrap_or_default()
    }

    /// The id of the trace that the message says it belongs to.
    pub(super) fn trace_id(&self) -> Option<String> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        let traceparent = event::Message { value: self.value.as_deref(), headers }.traceparent();
        traceparent.map(|traceparent| traceparent.trace_id().to_string())
    }

    pub(super) fn arrived_at(&self) -> Option<DateTime<Utc>> {
        self.arrived.and_then(DateTime::from_timestamp_millis)
    }

    pub(super) fn sent_at(&self) -> Option<DateTime<Utc>> {
        self.sent.and_then(DateTime::from_timestamp_millis)
    }

    /// About how much memory it holds.
    pub(super) fn bytes(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let bytes = |headers: &[Header]| -> usize {
            headers.iter().map(|(name, value)| header_cost(name.as_bytes(), value.as_deref())).sum()
        };
        LETTER + length(&self.key) + length(&self.value) + bytes(&self.headers) + bytes(&self.errors)
    }

    /// Read from the same place that ingest reads them from: the headers in binary mode, else the value.
    pub(super) fn attributes(&self) -> Attributes {
        let header = |name: &str| {
            let (_, value) = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(value.as_deref()?).ok().map(str::to_owned)
        };
        let is_structured = header("content-type").is_some_and(|kind| kind.starts_with("application/cloudevents"));
        if !is_structured && self.headers.iter().any(|(name, _)| name.starts_with("ce_")) {
            return Attributes { source: header("ce_source"), kind: header("ce_type"), id: header("ce_id") };
        }
        /// Of any kind: one that is wrong must not hide the others.
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Structured {
            source: Value,
            r#type: Value,
            id: Value,
        }
        let value = self.value.as_deref().unwrap_or_default();
        let Structured { source, r#type, id } = serde_json::from_slice(value).unwrap_or_default();
        let text = |value: Value| value.as_str().map(str::to_owned);
        Attributes { source: text(source), kind: text(r#type), id: text(id) }
    }
}

impl Attributes {
    /// `tool-usage` for the types that ingest knows, others as they are.
    pub(super) fn short_kind(&self) -> Option<&str> {
        let kind = self.kind.as_deref()?;
        let is_known = EventType::ALL.iter().any(|known| known.as_str() == kind);
        let short = kind.strip_prefix("com.devtoolkit.").and_then(|kind| kind.strip_suffix(".v1"));
        Some(short.filter(|_| is_known).unwrap_or(kind))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rdkafka::Timestamp;
    use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};

    use super::*;
    use crate::text::instant_text;

    pub(in crate::dead_letters) fn message(value: &[u8], headers: &[(&str, Option<&str>)]) -> OwnedMessage {
        let headers =
            headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: *value }));
        OwnedMessage::new(
            Some(value.to_vec()),
            Some(b"key".to_vec()),
            "events.dlq".to_owned(),
            Timestamp::CreateTime(1_700_000_000_000),
            3,
            17,
            Some(headers),
        )
    }

    #[test]
    fn headers_of_the_message_and_of_ingest_are_told_apart() {
        let letter = Letter::read(&message(
            b"x",
            &[
                ("traceparent", Some("00-1")),
                ("devtoolkit.timestamp", Some("1")),
                ("devtoolkit.replayed", Some("0-9")),
                ("devtoolkit.timestamp", Some("1600000000000")),
                ("__connect.errors.exception.class.name", Some("forged")),
                ("empty", None),
                ("__connect.errors.exception.class.name", Some("too_old")),
                ("__connect.errors.exception.message", Some("time: too old")),
            ],
        ));
        assert_eq!(letter.headers, [("traceparent".into(), Some(b"00-1".to_vec())), ("empty".into(), None)]);
        assert_eq!((letter.reason().as_ref(), letter.why().as_ref()), ("too_old", "time: too old"));
        assert_eq!(letter.place, Place { partition: 3, offset: 17 });
        assert_eq!(letter.arrived_at().map(instant_text).as_deref(), Some("2023-11-14T22:13:20.000Z"));
        assert_eq!(letter.sent_at().map(instant_text).as_deref(), Some("2020-09-13T12:26:40.000Z"));
        assert_eq!(Letter::read(&message(b"", &[])).reason(), "(none)");
    }

    #[test]
    fn a_letter_that_came_with_the_header_of_an_old_mark_is_a_letter() {
        assert!(is_old_mark(&message(b"", &[(OLD_MARK, Some("1-3"))])));
        let errors = ("__connect.errors.stage", Some("decode"));
        assert!(!is_old_mark(&message(b"", &[(OLD_MARK, Some("1-3")), errors])));
        assert!(!is_old_mark(&message(b"", &[errors, (OLD_MARK, Some("1-3"))])));
        assert!(!is_old_mark(&message(b"", &[("traceparent", Some("x"))])));
    }

    #[test]
    fn only_ingest_can_say_that_a_letter_is_cut() {
        let original = ("devtoolkit.original.value.bytes", Some("3000000"));
        let topic = ("__connect.errors.topic", Some("events"));
        assert!(!Letter::read(&message(b"x", &[original, topic])).is_cut());
        let cut = Letter::read(&message(b"x", &[topic, original]));
        assert_eq!(cut.originals, [("value.bytes".to_owned(), "3000000".to_owned())]);
    }

    #[test]
    fn attributes_are_read_where_ingest_reads_them() {
        let value = br#"{"type":"com.devtoolkit.activity.v1","source":"/in-value","id":5}"#;
        let attributes = |headers| Letter::read(&message(value, headers)).attributes();
        let structured = attributes(&[]);
        assert_eq!((structured.source.as_deref(), structured.id.as_deref()), (Some("/in-value"), None));
        assert_eq!(structured.short_kind(), Some("activity"));
        let binary = attributes(&[("ce_source", Some("/in-header")), ("ce_type", Some("com.devtoolkit.new.v1"))]);
        assert_eq!(binary.source.as_deref(), Some("/in-header"));
        assert_eq!(binary.short_kind(), Some("com.devtoolkit.new.v1"));
        let headers =
            [("Content-Type", Some("application/cloudevents+json; charset=UTF-8")), ("ce_source", Some("/in-header"))];
        assert_eq!(attributes(&headers).source.as_deref(), Some("/in-value"));
        assert_eq!(Letter::read(&message(b"\xff{", &[])).attributes(), Attributes::default());
    }
}
