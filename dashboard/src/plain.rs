//! Documents as plain JSON: ids as 24 hex digits, times as RFC 3339, without the types of Extended JSON.

use bson::{Bson, DateTime, oid::ObjectId};
use serde::Serializer;
use serde_json::{Map, Value};

/// The same as JSON.
pub fn json(value: Bson) -> Value {
    match value {
        Bson::ObjectId(id) => Value::String(id.to_hex()),
        Bson::DateTime(time) => time.try_to_rfc3339_string().map_or(Value::Null, Value::String),
        Bson::Document(document) => {
            let fields = document.into_iter().map(|(name, value)| (name, json(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Bson::Array(values) => Value::Array(values.into_iter().map(json).collect()),
        other => other.into_relaxed_extjson(),
    }
}

/// A time as RFC 3339.
///
/// # Errors
/// The serializer fails.
pub fn time<S: Serializer>(time: &DateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

/// A time as RFC 3339, or null.
///
/// # Errors
/// The serializer fails.
pub fn time_or_null<S: Serializer>(time: &Option<DateTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_some(&rfc3339(*time)),
        None => serializer.serialize_none(),
    }
}

/// A time as text; empty for one that is out of bounds.
pub fn rfc3339(time: DateTime) -> String {
    time.try_to_rfc3339_string().unwrap_or_default()
}

/// An id as 24 hex digits.
///
/// # Errors
/// The serializer fails.
pub fn id<S: Serializer>(id: &ObjectId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&id.to_hex())
}
