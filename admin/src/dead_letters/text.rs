//! Printing the bytes that strangers wrote, of which nothing is lost.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson};
use common::terminal::printable;
use serde_json::Value;

use super::indent::indent;

/// What is said of marks that earlier versions left on the topic.
pub(super) fn old_marks(marks: u64) -> String {
    format!(
        "{marks} marks of replays by an earlier version stand on the topic, where anybody who may write to it can forge them: letters \
         that were replayed only by that version count as not replayed; ingest absorbs those that it has stored"
    )
}

/// Text as it is, other bytes as `\xff`.
pub(super) fn bytes(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| bytes.escape_ascii().to_string(), printable)
}

/// What a value is, and the value on as many lines as it needs.
pub(super) fn value(value: &[u8]) -> (&'static str, String) {
    let lines = |text: &str| text.lines().map(printable).collect::<Vec<_>>().join("\n");
    let Ok(text) = std::str::from_utf8(value) else {
        return ("not UTF-8", value.escape_ascii().to_string());
    };
    match indent(text) {
        Some(indented) => ("JSON", lines(&indented)),
        None => ("text, not JSON", lines(text)),
    }
}

/// `1 letter`, `2 letters`
pub(super) fn letters(count: u64) -> String {
    format!("{count} letter{}", if count == 1 { "" } else { "s" })
}

/// A string where the bytes are one, else `{"$binary": …}` as Extended JSON has it.
pub(super) fn json(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() }).into_relaxed_extjson()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_as_a_command() {
        assert_eq!(bytes(b"\xffa\x1b"), r"\xffa\x1b");
        assert_eq!(value(b"{\"a\":\"\x7f\"}"), ("JSON", "{\n  \"a\": \"\\u{7f}\"\n}".to_owned()));
        assert_eq!(value("one\ntwo\u{1b}".as_bytes()), ("text, not JSON", "one\ntwo\\u{1b}".to_owned()));
        assert_eq!(value(b"{\xfe}"), ("not UTF-8", r"{\xfe}".to_owned()));
    }

    #[test]
    fn machines_get_every_byte() {
        assert_eq!(json("ä".as_bytes()), Value::from("ä"));
        assert_eq!(json(b"\xff\x00").to_string(), r#"{"$binary":{"base64":"/wA=","subType":"00"}}"#);
    }
}
