//! The trace that an event belongs to: the attribute `traceparent` of CloudEvents' Distributed Tracing extension, which holds
//! what W3C Trace Context writes. It says something about an event and is no part of it: one that cannot be read is as
//! good as none, and makes no event unacceptable.

use std::fmt;
use std::str::FromStr;

use super::Message;
use super::reader::{Reader, parse_hex};

/// The attribute's name in structured mode; its header in binary mode is `ce_traceparent`.
pub const ATTRIBUTE: &str = "traceparent";

/// `00-<trace id, 32 hex digits>-<parent id, 16>-<flags, 2>`, as an OpenTelemetry SDK has it for the current span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traceparent {
    trace_id: [u8; 16],
    parent_id: [u8; 8],
    flags: u8,
}

/// Text that is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a W3C traceparent, expected lower-case hex such as 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
)]
pub struct NotATraceparent;

impl Traceparent {
    /// Reads a `traceparent` of any version: later ones may only add to the end.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (known, rest) = bytes.split_at_checked(55)?;
        let [version, trace_id, parent_id, flags] = [0..2, 3..35, 36..52, 53..55].map(|range| &known[range]);
        let is_divided = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        let is_version = match parse_hex::<1>(version)? {
            [0] => rest.is_empty(),
            [0xff] => false,
            _ => rest.first().is_none_or(|next| *next == b'-'),
        };
        let is_lower_case = !known.iter().any(u8::is_ascii_uppercase);
        let [flags] = parse_hex(flags)?;
        let read = Self { trace_id: parse_hex(trace_id)?, parent_id: parse_hex(parent_id)?, flags };
        let is_somebody = read.trace_id != [0; 16] && read.parent_id != [0; 8];
        (is_divided && is_version && is_lower_case && is_somebody).then_some(read)
    }

    /// The id under which a tracing backend shows the trace: 32 hex digits.
    pub fn trace_id(&self) -> impl fmt::Display + use<> {
        Hex(self.trace_id)
    }
}

impl FromStr for Traceparent {
    type Err = NotATraceparent;

    fn from_str(text: &str) -> Result<Self, NotATraceparent> {
        Self::read(text.as_bytes()).ok_or(NotATraceparent)
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", Hex(self.trace_id), Hex(self.parent_id), self.flags)
    }
}

impl<'a, H: Iterator<Item = (&'a str, Option<&'a [u8]>)>> Message<'a, H> {
    /// The trace that the message belongs to, as far as that can be told: also of one that is no acceptable event, and up
    /// to where it is no JSON any more.
    pub fn traceparent(mut self) -> Option<Traceparent> {
        let in_header = |(name, value): (&str, Option<&[u8]>)| {
            value.filter(|_| name.strip_prefix("ce_") == Some(ATTRIBUTE)).and_then(Traceparent::read)
        };
        self.headers.find_map(in_header).or_else(|| {
            let text = self.value?.utf8_chunks().next()?.valid();
            let mut found = None;
            // What is wrong with the event is for others to say.
            let _ = Reader::new(text).object(|reader, name| {
                let value = reader.skip()?;
                if name == ATTRIBUTE {
                    found = in_json(value);
                }
                Ok(())
            });
            found
        })
    }
}

/// Of the attribute's value in JSON.
pub(super) fn in_json(value: &str) -> Option<Traceparent> {
    Traceparent::read(value.strip_prefix('"')?.strip_suffix('"')?.as_bytes())
}

struct Hex<const N: usize>([u8; N]);

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_w3c_allows_is_read_and_nothing_else() {
        let read: Traceparent = TEXT.parse().unwrap();
        assert_eq!(read.to_string(), TEXT);
        assert_eq!(read.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        let later = TEXT.replacen("00", "cc", 1);
        assert_eq!(later.parse(), Ok(read));
        assert_eq!(format!("{later}-what-the-future-brings").parse(), Ok(read));
        for wrong in [
            "",
            "00-0af7",
            &TEXT.to_uppercase(),
            &TEXT.replace('-', "_"),
            &TEXT.replacen("00", "ff", 1),
            &format!("{TEXT}-"),
            &format!("{later}0"),
            &format!(" {TEXT}"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        ] {
            assert_eq!(wrong.parse::<Traceparent>(), Err(NotATraceparent), "{wrong}");
        }
    }

    #[test]
    fn the_trace_of_a_bad_message_is_found_too() {
        let find = |value: &[u8], headers: &[(&'static str, &str)]| {
            let headers = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes())));
            Message { value: Some(value), headers }.traceparent().map(|found| found.to_string())
        };
        let found = Some(TEXT.to_owned());
        assert_eq!(find(b"\xff", &[("ce_id", "1"), ("ce_traceparent", TEXT)]), found);
        for rest in [",\"data\":{\"duration\":-1}}", ",\"data\":{\"dura", ",\"data\":\"\u{fffd}", "}", ""] {
            assert_eq!(find(format!(" {{\"id\":[1],\"traceparent\" : \"{TEXT}\" {rest}").as_bytes(), &[]), found);
        }
        let mut broken = format!("{{\"traceparent\":\"{TEXT}\",\"data\":\"").into_bytes();
        broken.push(0xff);
        assert_eq!(find(&broken, &[("traceparent", "00-1")]), found);
        for other in ["", "[]", "{\"traceparent\":1}", "{\"data\":{\"traceparent\":1}}", "{\"traceparent\":\"00-1\"}"] {
            assert_eq!(find(other.as_bytes(), &[("ce_traceparent", "00-1"), ("traceparent", TEXT)]), None, "{other}");
        }
    }
}
