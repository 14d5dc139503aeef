//! A few words to write MongoDB's `$jsonSchema` with.
//!
//! Objects stay open for fields that are not named (`additionalProperties` is left at its default): most collections
//! are written by the web application too, which may add a field before this program knows of it. A misspelt field does
//! not slip through that way where it matters, because the required field it was meant to be is then missing.

use bson::{Bson, Document, doc};

/// Text.
pub fn string() -> Document {
    doc! { "bsonType": "string" }
}

/// Text that matches a regular expression.
pub fn matching(pattern: &str) -> Document {
    doc! { "bsonType": "string", "pattern": pattern }
}

/// A UTC day as text, `YYYY-MM-DD`.
pub fn day() -> Document {
    matching("^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
}

/// One of a few texts.
pub fn one_of(names: &[&str]) -> Document {
    let names: Vec<Bson> = names.iter().map(|name| Bson::from(*name)).collect();
    doc! { "bsonType": "string", "enum": names }
}

/// True or false.
pub fn boolean() -> Document {
    doc! { "bsonType": "bool" }
}

/// A time.
pub fn date() -> Document {
    doc! { "bsonType": "date" }
}

/// Bytes.
pub fn binary() -> Document {
    doc! { "bsonType": "binData" }
}

/// The id of a document.
pub fn object_id() -> Document {
    doc! { "bsonType": "objectId" }
}

/// Something measured or averaged. `number` is int, long, double or decimal: an application in JavaScript stores 850 as
/// an int and 850.5 as a double.
pub fn number() -> Document {
    doc! { "bsonType": "number" }
}

/// The same, or null where there was nothing to measure.
pub fn number_or_null() -> Document {
    doc! { "bsonType": ["number", "null"] }
}

/// Something counted: a whole number that is not negative.
pub fn count() -> Document {
    doc! { "bsonType": ["int", "long"], "minimum": 0 }
}

/// Something counted, or null where nobody knows the count.
pub fn count_or_null() -> Document {
    doc! { "bsonType": ["int", "long", "null"], "minimum": 0 }
}

/// A list.
pub fn list_of(item: Document) -> Document {
    doc! { "bsonType": "array", "items": item }
}

/// Any document.
pub fn any_object() -> Document {
    doc! { "bsonType": "object" }
}

/// A document whose fields, whatever their names, all pass `value`.
pub fn map_of(value: Document) -> Document {
    doc! { "bsonType": "object", "additionalProperties": value }
}

/// A document with fields that must be there and fields that may.
pub fn object<const R: usize, const O: usize>(
    required: [(&str, Document); R],
    optional: [(&str, Document); O],
) -> Document {
    let names: Vec<Bson> = required.iter().map(|(name, _)| Bson::from(*name)).collect();
    let properties: Document =
        required.into_iter().chain(optional).map(|(name, rule)| (name.to_owned(), rule.into())).collect();
    let mut object = doc! { "bsonType": "object" };
    // The server refuses an empty list.
    if !names.is_empty() {
        object.insert("required", names);
    }
    object.insert("properties", properties);
    object
}
