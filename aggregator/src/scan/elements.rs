//! Walks over the elements of a BSON document without building or checking what nobody looks at: of a day's documents the
//! fold wants nine short fields each, and the driver's own iterator took longer over their names than the fold over them.

use bson::oid::ObjectId;
use bson::spec::ElementType;

/// The value of an element. What lies in it borrows from the document.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A double.
    Double(f64),
    /// A string's bytes, which are hardly ever not UTF-8.
    Text(&'a [u8]),
    /// A whole document.
    Document(&'a [u8]),
    /// An ObjectId.
    ObjectId(ObjectId),
    /// A boolean.
    Boolean(bool),
    /// Milliseconds since 1970.
    DateTime(i64),
    /// Null.
    Null,
    /// A 32-bit integer.
    Int32(i32),
    /// A 64-bit integer.
    Int64(i64),
    /// Anything else.
    Other(ElementType),
}

impl Value<'_> {
    /// Its type as BSON numbers it.
    pub fn element_type(self) -> ElementType {
        match self {
            Self::Double(_) => ElementType::Double,
            Self::Text(_) => ElementType::String,
            Self::Document(_) => ElementType::EmbeddedDocument,
            Self::ObjectId(_) => ElementType::ObjectId,
            Self::Boolean(_) => ElementType::Boolean,
            Self::DateTime(_) => ElementType::DateTime,
            Self::Null => ElementType::Null,
            Self::Int32(_) => ElementType::Int32,
            Self::Int64(_) => ElementType::Int64,
            Self::Other(element_type) => element_type,
        }
    }
}

/// The bytes are no BSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not BSON")]
pub struct Broken;

/// The elements of a document, or of an array: names and values. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// Of a whole document: length, elements, zero.
    ///
    /// # Errors
    /// The length is not that of the bytes, or the zero is missing.
    pub fn of(document: &'a [u8]) -> Result<Self, Broken> {
        let (length, rest) = document.split_first_chunk().ok_or(Broken)?;
        let is_whole = usize::try_from(i32::from_le_bytes(*length)) == Ok(document.len());
        match rest.split_last() {
            Some((0, rest)) if is_whole => Ok(Self { rest }),
            _ => Err(Broken),
        }
    }

    fn read(&mut self) -> Result<(&'a [u8], Value<'a>), Broken> {
        let kind = self.take(1)?[0];
        let name = self.take_name()?;
        let value = match ElementType::from(kind).ok_or(Broken)? {
            ElementType::Double => Value::Double(f64::from_le_bytes(self.take_array()?)),
            ElementType::String => Value::Text(self.take_text()?),
            ElementType::EmbeddedDocument => Value::Document(self.take_document()?),
            ElementType::ObjectId => Value::ObjectId(ObjectId::from_bytes(self.take_array()?)),
            ElementType::Boolean => Value::Boolean(self.take(1)?[0] != 0),
            ElementType::DateTime => Value::DateTime(i64::from_le_bytes(self.take_array()?)),
            ElementType::Null => Value::Null,
            ElementType::Int32 => Value::Int32(i32::from_le_bytes(self.take_array()?)),
            ElementType::Int64 => Value::Int64(i64::from_le_bytes(self.take_array()?)),
            other => {
                self.skip(other)?;
                Value::Other(other)
            }
        };
        Ok((name, value))
    }

    fn skip(&mut self, element_type: ElementType) -> Result<(), Broken> {
        match element_type {
            ElementType::Array | ElementType::JavaScriptCodeWithScope => drop(self.take_document()?),
            ElementType::JavaScriptCode | ElementType::Symbol => drop(self.take_text()?),
            ElementType::RegularExpression => {
                self.take_name()?;
                self.take_name()?;
            }
            ElementType::DbPointer => {
                self.take_text()?;
                self.take(12)?;
            }
            ElementType::Binary => {
                let length = self.take_length()?;
                self.take(length.checked_add(1).ok_or(Broken)?)?;
            }
            ElementType::Timestamp => drop(self.take(8)?),
            ElementType::Decimal128 => drop(self.take(16)?),
            // These have no value.
            _ => {}
        }
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Broken)?;
        self.rest = rest;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Broken)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn take_name(&mut self) -> Result<&'a [u8], Broken> {
        let length = self.rest.iter().position(|byte| *byte == 0).ok_or(Broken)?;
        let name = self.take(length)?;
        self.take(1)?;
        Ok(name)
    }

    fn take_length(&mut self) -> Result<usize, Broken> {
        usize::try_from(i32::from_le_bytes(self.take_array()?)).map_err(|_| Broken)
    }

    fn take_text(&mut self) -> Result<&'a [u8], Broken> {
        let length = self.take_length()?;
        match self.take(length)?.split_last() {
            Some((0, text)) => Ok(text),
            _ => Err(Broken),
        }
    }

    /// With its length, which counts itself.
    fn take_document(&mut self) -> Result<&'a [u8], Broken> {
        let length = self.clone().take_length()?;
        self.take(length)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<(&'a [u8], Value<'a>), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let element = self.read();
        if element.is_err() {
            self.rest = &[];
        }
        Some(element)
    }
}

#[cfg(test)]
mod tests {
    use bson::{Binary, Bson, RawDocumentBuf, Regex, Timestamp, doc};
    use proptest::prelude::*;

    use super::*;

    fn everything() -> Vec<u8> {
        let document = doc! {
            "double": 1.5, "text": "t\u{fc}r", "document": { "a": 1 }, "array": [1, "b"], "undefined": Bson::Undefined,
            "binary": Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2, 0] },
            "id": ObjectId::from_bytes([7; 12]), "yes": true, "date": bson::DateTime::from_millis(-5), "null": Bson::Null,
            "regex": Regex { pattern: bson::raw::cstr!("a").into(), options: bson::raw::cstr!("i").into() },
            "code": Bson::JavaScriptCode("x".into()),
            "symbol": Bson::Symbol("s".into()),
            "scoped": Bson::JavaScriptCodeWithScope(bson::JavaScriptCodeWithScope { code: "x".into(), scope: doc! {} }),
            "int": 7_i32, "timestamp": Timestamp { time: 1, increment: 2 }, "long": -9_i64,
            "decimal": "1.5".parse::<bson::Decimal128>().unwrap(), "least": Bson::MinKey, "most": Bson::MaxKey, "": 1_i32,
        };
        RawDocumentBuf::try_from(&document).unwrap().into_bytes()
    }

    #[test]
    fn it_finds_what_the_driver_finds() {
        let bytes = everything();
        let document = bson::raw::RawDocument::from_bytes(&bytes).unwrap();
        let mut elements = Elements::of(&bytes).unwrap();
        for expected in document {
            let (name, expected) = expected.unwrap();
            let (found, value) = elements.next().unwrap().unwrap();
            assert_eq!(found, name.as_str().as_bytes());
            assert_eq!(value.element_type(), expected.element_type());
            match value {
                Value::Double(value) => assert_eq!(Some(value), expected.as_f64()),
                Value::Text(value) => assert_eq!(Some(value), expected.as_str().map(str::as_bytes)),
                Value::Document(value) => assert_eq!(Some(value), expected.as_document().map(|inner| inner.as_bytes())),
                Value::ObjectId(value) => assert_eq!(Some(value), expected.as_object_id()),
                Value::Boolean(value) => assert_eq!(Some(value), expected.as_bool()),
                Value::DateTime(value) => assert_eq!(Some(bson::DateTime::from_millis(value)), expected.as_datetime()),
                Value::Int32(value) => assert_eq!(Some(value), expected.as_i32()),
                Value::Int64(value) => assert_eq!(Some(value), expected.as_i64()),
                Value::Null | Value::Other(_) => {}
            }
        }
        assert_eq!(elements.next(), None);
    }

    #[test]
    fn what_was_cut_off_is_broken() {
        let bytes = everything();
        for length in 0..bytes.len() {
            assert_eq!(Elements::of(&bytes[..length]).err(), Some(Broken));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = everything();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(elements) = Elements::of(&bytes) {
                prop_assert!(elements.count() <= bytes.len());
            }
        }
    }
}
