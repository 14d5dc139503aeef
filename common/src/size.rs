//! How large a message may be, and about what it costs. Plain code without I/O, which copies nothing of a message.

use rdkafka::Message;
use rdkafka::message::BorrowedHeaders;

use crate::event::{Invalid, Reason};
use crate::kafka;

/// Headers that a message may have. An event in the binary mode has about ten.
pub const MOST_HEADERS: usize = 64;

/// Bytes that the names and values of a message's headers may have together.
pub const MOST_HEADER_BYTES: usize = 64 * 1024;

/// What librdkafka needs for a header beside its name and its value, about.
const HEADER: usize = 100;

/// About what the largest headers cost that are accepted.
pub const MOST_HEADERS_COST: usize = MOST_HEADER_BYTES + MOST_HEADERS * HEADER;

/// How much there is of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// The number of headers.
    pub headers: usize,
    /// Bytes of their names and values.
    pub header_bytes: usize,
    /// Bytes of the key.
    pub key: usize,
    /// Bytes of the value.
    pub value: usize,
}

impl Size {
    /// Of a message.
    pub fn of(message: &impl Message<Headers = BorrowedHeaders>) -> Self {
        Self::of_parts(message.key(), kafka::each_header(message.headers()), message.payload())
    }

    /// Of a message's parts.
    pub fn of_parts<'a>(
        key: Option<&[u8]>,
        headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        value: Option<&[u8]>,
    ) -> Self {
        let size = Self { key: length(key), value: length(value), ..Self::default() };
        headers.fold(size, |size, (name, value)| Self {
            headers: size.headers + 1,
            header_bytes: size.header_bytes + name.len() + length(value),
            ..size
        })
    }

    /// About the bytes of memory that the headers cost.
    pub const fn headers_cost(&self) -> usize {
        self.headers * HEADER + self.header_bytes
    }

    /// Whether there are more headers than a message may have, or larger ones.
    pub const fn has_too_many_headers(&self) -> bool {
        self.headers > MOST_HEADERS || self.header_bytes > MOST_HEADER_BYTES
    }

    /// Whether a message may be so large: key and value together at most `most` bytes.
    ///
    /// # Errors
    /// It may not: [`Reason::TooLarge`], and of what there is too much.
    pub fn check(&self, most: usize) -> Result<(), Box<Invalid>> {
        let Self { headers, header_bytes, key, value } = *self;
        let refused = |field, problem| Err(Invalid::at(field, Reason::TooLarge, problem));
        if headers > MOST_HEADERS {
            return refused("headers", format!("are {headers}, expected at most {MOST_HEADERS}"));
        }
        if header_bytes > MOST_HEADER_BYTES {
            let have = format!("have {header_bytes} bytes of names and values");
            return refused("headers", format!("{have}, expected at most {MOST_HEADER_BYTES}"));
        }
        if key.saturating_add(value) > most {
            let has = format!("has {value} bytes, and the key has {key}");
            return refused(
                "value",
                format!("{has}, expected at most {most} together (setting ingest.max_message_bytes)"),
            );
        }
        Ok(())
    }
}

/// About the bytes of memory that one header costs.
pub fn header_cost(name: &[u8], value: Option<&[u8]>) -> usize {
    HEADER + name.len() + length(value)
}

fn length(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use rdkafka::message::{Header, OwnedHeaders};

    use super::*;

    #[test]
    fn every_part_of_a_message_is_counted() {
        let headers = (0..3).fold(OwnedHeaders::new(), |headers, _| {
            let headers = headers.insert(Header { key: "ab", value: Some("cde") });
            headers.insert(Header { key: "f", value: None::<&str> })
        });
        let each = || kafka::each_header(Some(headers.as_borrowed()));
        let size = Size::of_parts(Some(b"key"), each(), None);
        assert_eq!(size, Size { headers: 6, header_bytes: 18, key: 3, value: 0 });
        assert_eq!(size.headers_cost(), 618);
        let costs = each().map(|(name, value)| header_cost(name, value));
        assert_eq!(costs.sum::<usize>(), size.headers_cost());
        assert_eq!(
            Size::of_parts(None, kafka::each_header(None), Some(b"value")),
            Size { value: 5, ..Size::default() }
        );
    }

    #[test]
    fn each_bound_is_the_last_size_that_is_accepted() {
        let largest = Size { headers: MOST_HEADERS, header_bytes: MOST_HEADER_BYTES, key: 40, value: 60 };
        assert_eq!(largest.check(100), Ok(()));
        assert!(!largest.has_too_many_headers());
        assert_eq!(largest.headers_cost(), MOST_HEADERS_COST);
        for (size, field, said) in [
            (Size { headers: 65, ..largest }, "headers", "are 65, expected at most 64"),
            (Size { header_bytes: 65_537, ..largest }, "headers", "have 65537 bytes of names and values"),
            (Size { key: 41, ..largest }, "value", "has 60 bytes, and the key has 41, expected at most 100"),
            (Size { value: 61, ..largest }, "value", "has 61 bytes"),
            (Size { key: usize::MAX, ..largest }, "value", "ingest.max_message_bytes"),
        ] {
            let refused = size.check(100).unwrap_err();
            assert_eq!(size.has_too_many_headers(), field == "headers");
            assert_eq!((refused.reason, refused.field.as_str()), (Reason::TooLarge, field), "{size:?}");
            assert!(refused.problem.contains(said), "{size:?}: {}", refused.problem);
        }
    }
}
