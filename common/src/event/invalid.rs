//! Why an event is refused.

use std::borrow::Cow;
use std::fmt;

/// The kinds of refusal: a fixed set, used as the dead letters' `__connect.errors.exception.class.name` and as a metric
/// label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The message has no value at all.
    Tombstone,
    /// More headers, more bytes of headers, or more bytes of key and value than is accepted.
    TooLarge,
    /// The value has no bytes.
    EmptyValue,
    /// The value, a header or `data_base64` is not UTF-8.
    InvalidUtf8,
    /// The value is not JSON.
    InvalidJson,
    /// The value is JSON, but not an object.
    NotAnObject,
    /// `content-type` or `datacontenttype` is none that can be read, or `specversion` is not 1.0.
    UnsupportedFormat,
    /// An attribute, or its name, is not as CloudEvents has it.
    InvalidAttribute,
    /// `type` is none of the three.
    UnknownType,
    /// `data` has a field that the event's type does not know.
    UnknownField,
    /// The same field twice, or both of `data` and `data_base64`.
    DuplicateField,
    /// A required field is absent.
    MissingField,
    /// A field's value is of the wrong kind.
    WrongType,
    /// Not 24 hexadecimal digits.
    InvalidObjectId,
    /// Not an RFC 3339 date and time.
    InvalidDate,
    /// A word that is none of those allowed.
    UnknownValue,
    /// A number outside its range.
    OutOfRange,
    /// `endTime` before `startTime`.
    EndBeforeStart,
    /// A text, list or object longer than allowed; also an empty text where one must not be empty.
    WrongLength,
    /// Nested deeper than allowed.
    TooDeep,
    /// A key of `customData` that MongoDB would not keep well.
    InvalidKey,
    /// Older than is accepted.
    TooOld,
    /// Further ahead of the clock than is accepted.
    InFuture,
    /// MongoDB refused the document.
    RefusedByDatabase,
    /// The tool sent more than it may.
    RateLimited,
    /// The day is sealed and never computed again.
    DaySealed,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::Tombstone,
        Self::TooLarge,
        Self::EmptyValue,
        Self::InvalidUtf8,
        Self::InvalidJson,
        Self::NotAnObject,
        Self::UnsupportedFormat,
        Self::InvalidAttribute,
        Self::UnknownType,
        Self::UnknownField,
        Self::DuplicateField,
        Self::MissingField,
        Self::WrongType,
        Self::InvalidObjectId,
        Self::InvalidDate,
        Self::UnknownValue,
        Self::OutOfRange,
        Self::EndBeforeStart,
        Self::WrongLength,
        Self::TooDeep,
        Self::InvalidKey,
        Self::TooOld,
        Self::InFuture,
        Self::RefusedByDatabase,
        Self::RateLimited,
        Self::DaySealed,
    ];

    /// The name in headers and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tombstone => "tombstone",
            Self::TooLarge => "too_large",
            Self::EmptyValue => "empty_value",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::InvalidJson => "invalid_json",
            Self::NotAnObject => "not_an_object",
            Self::UnsupportedFormat => "unsupported_format",
            Self::InvalidAttribute => "invalid_attribute",
            Self::UnknownType => "unknown_type",
            Self::UnknownField => "unknown_field",
            Self::DuplicateField => "duplicate_field",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::InvalidObjectId => "invalid_object_id",
            Self::InvalidDate => "invalid_date",
            Self::UnknownValue => "unknown_value",
            Self::OutOfRange => "out_of_range",
            Self::EndBeforeStart => "end_before_start",
            Self::WrongLength => "wrong_length",
            Self::TooDeep => "too_deep",
            Self::InvalidKey => "invalid_key",
            Self::TooOld => "too_old",
            Self::InFuture => "in_future",
            Self::RefusedByDatabase => "refused_by_database",
            Self::RateLimited => "rate_limited",
            Self::DaySealed => "day_sealed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A refused event: the reason, the field and what was expected. Values of text fields are not repeated in it: it is
/// logged, and they may be personal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The kind of refusal.
    pub reason: Reason,
    /// The path of the field, such as `data.usage.duration`; empty when the message as a whole is meant.
    pub field: String,
    /// What came and what was expected.
    pub problem: String,
}

impl Invalid {
    /// A refusal of the value at hand; callers on the way out add the path with [`Invalid::within`].
    #[cold]
    pub fn new(reason: Reason, problem: impl Into<String>) -> Box<Self> {
        Box::new(Self { reason, field: String::new(), problem: problem.into() })
    }

    /// A refusal of `field` of the object at hand.
    #[cold]
    pub fn at(field: &str, reason: Reason, problem: impl Into<String>) -> Box<Self> {
        Self::new(reason, problem).within(field)
    }

    /// The same refusal, seen from one level up.
    #[cold]
    pub fn within(mut self: Box<Self>, parent: &str) -> Box<Self> {
        let parent = printable(parent);
        if self.field.is_empty() {
            self.field = parent.into_owned();
        } else if self.field.starts_with('[') {
            self.field.insert_str(0, &parent);
        } else {
            self.field = format!("{parent}.{}", self.field);
        }
        self
    }
}

/// A key as it may stand in a log line and a header. Whoever sent the event chose it: it may be empty, hold line breaks, or be
/// so long that the dead letter would outgrow what Kafka takes.
pub(super) fn printable(key: &str) -> Cow<'_, str> {
    const LONGEST: usize = 64;
    if key.is_empty() {
        return Cow::Borrowed("\"\"");
    }
    if key.len() <= LONGEST && !key.contains(char::is_control) {
        return Cow::Borrowed(key);
    }
    let mut shown = String::new();
    for letter in key.chars().take(LONGEST) {
        if letter.is_control() {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    if key.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    Cow::Owned(shown)
}

/// A word that a sender chose among a few, to be told in a message.
pub(super) fn quoted(word: &str) -> String {
    if word.is_empty() { "\"\"".to_owned() } else { format!("\"{}\"", printable(word)) }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            write!(f, "{}", self.problem)
        } else {
            write!(f, "{}: {}", self.field, self.problem)
        }
    }
}

impl std::error::Error for Invalid {}
