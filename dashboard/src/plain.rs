//! Documents as plain JSON: ids as 24 hex digits, times as RFC 3339, without the types of Extended JSON.

use bson::Bson;
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
