//! Ids and times as text.

use bson::oid::ObjectId;
use chrono::{DateTime, SecondsFormat, Utc};

/// Reads an id from a command's options.
pub fn id_parser(text: &str) -> Result<ObjectId, String> {
    ObjectId::parse_str(text).map_err(|_| format!("'{text}' is not an id, expected 24 hexadecimal digits"))
}

/// `2024-01-15T10:30:00.000Z`
pub fn instant_text(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}
