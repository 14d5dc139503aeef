//! From an event to the JSON that a tool sends. Written straight out: a tree of values built first took four times as long.

use std::fmt::Display;

use bson::oid::ObjectId;
use chrono::{DateTime, Datelike, Timelike};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::{
    Activity, Context, Data, Event, HealthCheck, Invalid, Location, Message, Metadata, Performance, Timestamp,
    ToolUsage, Usage, traceparent,
};

impl Event<'_> {
    /// The event as one structured CloudEvent, on one line.
    pub fn to_json(&self) -> String {
        // What is serialised are objects with text for keys, which JSON can always hold.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The headers of a message in binary mode; its value is [`Event::data_json`].
    pub fn binary_headers(&self) -> Vec<(&'static str, String)> {
        let attributes = [
            ("content-type", Some("application/json".to_owned())),
            ("ce_specversion", Some("1.0".to_owned())),
            ("ce_id", Some(self.id.to_string())),
            ("ce_source", Some(self.source.to_string())),
            ("ce_type", Some(self.event_type().as_str().to_owned())),
            ("ce_time", Some(self.time.to_string())),
            ("ce_traceparent", self.traceparent.map(|traceparent| traceparent.to_string())),
        ];
        attributes.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// `data` alone, as the value of a message in binary mode.
    pub fn data_json(&self) -> String {
        serde_json::to_string(&self.data).unwrap_or_default()
    }

    /// [`Event::to_json`], if ingest will accept it.
    ///
    /// # Errors
    /// What ingest would say of it.
    pub fn to_valid_json(&self) -> Result<String, Box<Invalid>> {
        let json = self.to_json();
        Message { value: Some(json.as_bytes()), headers: std::iter::empty() }.decode()?;
        Ok(json)
    }
}

impl Serialize for Event<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("specversion", "1.0")?;
        fields.serialize_entry("id", &self.id)?;
        fields.serialize_entry("source", &self.source)?;
        fields.serialize_entry("type", self.event_type().as_str())?;
        fields.serialize_entry("time", &Rfc3339(self.time))?;
        optional(&mut fields, traceparent::ATTRIBUTE, self.traceparent.map(Text))?;
        fields.serialize_entry("data", &self.data)?;
        fields.end()
    }
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::ToolUsage(usage) => usage.serialize(serializer),
            Self::Activity(activity) => activity.serialize(serializer),
            Self::HealthCheck(check) => check.serialize(serializer),
        }
    }
}

impl Serialize for ToolUsage<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        optional(&mut fields, "userId", self.user_id.map(Hex))?;
        fields.serialize_entry("toolId", &Hex(self.tool_id))?;
        fields.serialize_entry("sessionId", &Hex(self.session_id))?;
        fields.serialize_entry("usage", &self.usage)?;
        optional(&mut fields, "context", self.context.as_ref())?;
        optional(&mut fields, "performance", self.performance.as_ref())?;
        optional(&mut fields, "metadata", self.metadata.as_ref())?;
        fields.end()
    }
}

impl Serialize for Usage<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("startTime", &Rfc3339(self.start_time))?;
        fields.serialize_entry("endTime", &Rfc3339(self.end_time))?;
        fields.serialize_entry("duration", &self.duration)?;
        fields.serialize_entry("inputSize", &self.input_size)?;
        fields.serialize_entry("outputSize", &self.output_size)?;
        fields.serialize_entry("success", &self.success)?;
        optional(&mut fields, "errorMessage", self.error_message.as_ref())?;
        fields.end()
    }
}

impl Serialize for Context<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        optional(&mut fields, "userAgent", self.user_agent.as_ref())?;
        optional(&mut fields, "ipAddress", self.ip_address.as_ref())?;
        optional(&mut fields, "referrer", self.referrer.as_ref())?;
        optional(&mut fields, "location", self.location.as_ref())?;
        fields.end()
    }
}

impl Serialize for Location<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        optional(&mut fields, "country", self.country.as_ref())?;
        optional(&mut fields, "region", self.region.as_ref())?;
        optional(&mut fields, "city", self.city.as_ref())?;
        fields.end()
    }
}

impl Serialize for Performance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        optional(&mut fields, "responseTime", self.response_time)?;
        optional(&mut fields, "memoryUsage", self.memory_usage)?;
        optional(&mut fields, "cpuUsage", self.cpu_usage)?;
        fields.end()
    }
}

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        optional(&mut fields, "version", self.version.as_ref())?;
        optional(&mut fields, "features", self.features.as_ref())?;
        optional(&mut fields, "customData", self.custom_data.as_deref().map(custom_data))?;
        fields.end()
    }
}

impl Serialize for Activity<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        optional(&mut fields, "userId", self.user_id.map(Hex))?;
        optional(&mut fields, "sessionId", self.session_id.map(Hex))?;
        fields.serialize_entry("action", self.action.as_str())?;
        optional(&mut fields, "path", self.path.as_ref())?;
        optional(&mut fields, "context", self.context.as_ref())?;
        fields.end()
    }
}

impl Serialize for HealthCheck<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("toolId", &Hex(self.tool_id))?;
        fields.serialize_entry("healthy", &self.healthy)?;
        optional(&mut fields, "responseTime", self.response_time)?;
        optional(&mut fields, "message", self.message.as_ref())?;
        fields.end()
    }
}

/// A field that is left out when it has no value.
fn optional<M: SerializeMap>(fields: &mut M, name: &str, value: Option<impl Serialize>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| fields.serialize_entry(name, &value))
}

/// Read and written anew, because as it came it may hold line breaks, and events are also written one a line. A text that
/// is no JSON is sent as the string it is, and refused with the name of the field.
fn custom_data(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// A value as it is printed.
struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// 24 hexadecimal digits.
struct Hex(ObjectId);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 24];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0.bytes()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 0x0f)];
        }
        serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// `2024-01-15T10:30:00.000Z`.
struct Rfc3339(Timestamp);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let instant =
            DateTime::from_timestamp_millis(self.0.millis()).filter(|instant| (0..=9_999).contains(&instant.year()));
        // No such date: sent as it prints, and refused with the name of the field.
        let Some(instant) = instant else { return serializer.collect_str(&self.0) };
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut write = |at: usize, width: usize, mut value: u32| {
            for digit in text[at..at + width].iter_mut().rev() {
                *digit = b'0' + (value % 10) as u8;
                value /= 10;
            }
        };
        write(0, 4, instant.year().unsigned_abs());
        write(5, 2, instant.month());
        write(8, 2, instant.day());
        write(11, 2, instant.hour());
        write(14, 2, instant.minute());
        write(17, 2, instant.second());
        write(20, 3, instant.timestamp_subsec_millis());
        serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}
