//! From an event to the bytes of its document. Written straight into the batch: a document built from nested values
//! would copy every level once, which cost twice the time.

use super::reader::{Kind, Number, Reader};
use super::{Action, Activity, Context, Data, Event, HealthCheck, Metadata, Performance, Timestamp, ToolUsage, Usage};

/// The element types of BSON that are written here (bsonspec.org, version 1.1).
mod element {
    pub const DOUBLE: u8 = 0x01;
    pub const STRING: u8 = 0x02;
    pub const DOCUMENT: u8 = 0x03;
    pub const ARRAY: u8 = 0x04;
    pub const OBJECT_ID: u8 = 0x07;
    pub const BOOLEAN: u8 = 0x08;
    pub const DATE_TIME: u8 = 0x09;
    pub const NULL: u8 = 0x0a;
    pub const INT32: u8 = 0x10;
    pub const INT64: u8 = 0x12;
}

impl Event<'_> {
    /// Appends the event's document, with the field order of the schema reference.
    pub fn write_document(&self, buffer: &mut Vec<u8>) {
        let mut out = Writer { buffer };
        let start = out.buffer.len();
        out.buffer.extend_from_slice(&[0; 4]);
        out.object_id("_id", self.document_id());
        match &self.data {
            Data::ToolUsage(usage) => out.tool_usage(usage),
            Data::Activity(activity) => out.activity(activity, &self.source),
            Data::HealthCheck(check) => out.health_check(check),
        }
        out.timestamp("timestamp", self.time);
        out.close(start);
    }
}

struct Writer<'b> {
    buffer: &'b mut Vec<u8>,
}

impl Writer<'_> {
    fn tool_usage(&mut self, event: &ToolUsage<'_>) {
        if let Some(user_id) = event.user_id {
            self.object_id("userId", user_id);
        }
        self.object_id("toolId", event.tool_id);
        self.object_id("sessionId", event.session_id);
        self.usage(&event.usage);
        if let Some(context) = &event.context {
            self.context(context);
        }
        if let Some(performance) = &event.performance {
            self.performance(performance);
        }
        if let Some(metadata) = &event.metadata {
            self.metadata(metadata);
        }
    }

    fn usage(&mut self, usage: &Usage<'_>) {
        let start = self.document("usage");
        self.timestamp("startTime", usage.start_time);
        self.timestamp("endTime", usage.end_time);
        self.whole("duration", usage.duration);
        self.whole("inputSize", usage.input_size);
        self.whole("outputSize", usage.output_size);
        self.boolean("success", usage.success);
        self.optional_text("errorMessage", usage.error_message.as_deref());
        self.close(start);
    }

    fn context(&mut self, context: &Context<'_>) {
        let start = self.document("context");
        self.optional_text("userAgent", context.user_agent.as_deref());
        self.optional_text("ipAddress", context.ip_address.as_deref());
        self.optional_text("referrer", context.referrer.as_deref());
        if let Some(location) = &context.location {
            let start = self.document("location");
            self.optional_text("country", location.country.as_deref());
            self.optional_text("region", location.region.as_deref());
            self.optional_text("city", location.city.as_deref());
            self.close(start);
        }
        self.close(start);
    }

    fn performance(&mut self, performance: &Performance) {
        let start = self.document("performance");
        self.optional_double("responseTime", performance.response_time);
        self.optional_double("memoryUsage", performance.memory_usage);
        self.optional_double("cpuUsage", performance.cpu_usage);
        self.close(start);
    }

    fn metadata(&mut self, metadata: &Metadata<'_>) {
        let start = self.document("metadata");
        self.optional_text("version", metadata.version.as_deref());
        if let Some(features) = &metadata.features {
            let start = self.array("features");
            for (index, feature) in features.iter().enumerate() {
                self.text(array_index(index, &mut [0; 20]), feature);
            }
            self.close(start);
        }
        if let Some(custom_data) = &metadata.custom_data {
            self.custom_value("customData", &mut Reader::new(custom_data));
        }
        self.close(start);
    }

    fn activity(&mut self, event: &Activity<'_>, source: &str) {
        if let Some(user_id) = event.user_id {
            self.object_id("userId", user_id);
        }
        if let Some(session_id) = event.session_id {
            self.object_id("sessionId", session_id);
        }
        self.optional_text("action", Some(event.action.as_str()));
        self.optional_text("path", event.path.as_deref());
        if let Some(context) = &event.context {
            self.context(context);
        }
        // Who fails to log in is what the source says, and its word may be doubted.
        if matches!(event.action, Action::Login | Action::LoginFailed) {
            self.text("source", source);
        }
    }

    fn health_check(&mut self, event: &HealthCheck<'_>) {
        self.object_id("toolId", event.tool_id);
        self.boolean("healthy", event.healthy);
        self.optional_double("responseTime", event.response_time);
        self.optional_text("message", event.message.as_deref());
    }

    /// Writes a value of `customData`, which decoding has already checked: what the reader still refuses ends the object
    /// it stands in, so that the document stays well formed whatever comes.
    fn custom_value(&mut self, key: &str, reader: &mut Reader<'_>) {
        match reader.peek() {
            Ok(Kind::Object) => {
                let start = self.document(key);
                let _ = reader.object(|reader, name| {
                    self.custom_value(name, reader);
                    Ok(())
                });
                self.close(start);
            }
            Ok(Kind::Array) => {
                let start = self.array(key);
                let _ = reader.array(|reader, index| {
                    self.custom_value(array_index(index, &mut [0; 20]), reader);
                    Ok(())
                });
                self.close(start);
            }
            Ok(Kind::String) => self.optional_text(key, reader.any_text().ok().as_deref()),
            Ok(Kind::Bool) => {
                if let Ok(value) = reader.bool() {
                    self.boolean(key, value);
                }
            }
            Ok(Kind::Number) => match reader.any_number() {
                Ok(Number::Whole(value)) => self.whole(key, value),
                Ok(Number::Decimal(value)) => self.double(key, value),
                Err(_) => {}
            },
            Ok(Kind::Null) => {
                if reader.null().is_ok() {
                    self.element(element::NULL, key, []);
                }
            }
            Err(_) => {}
        }
    }

    /// Appends an element whose value is as long as it says. Where the compiler knows the name, all of it is one constant
    /// with the value put in, appended at once.
    #[inline(always)]
    fn element<const N: usize>(&mut self, kind: u8, key: &str, value: [u8; N]) {
        let mut bytes = [0; 32];
        if let Some(bytes) = bytes.get_mut(..key.len() + 2 + N) {
            bytes[0] = kind;
            bytes[1..=key.len()].copy_from_slice(key.as_bytes());
            bytes[key.len() + 2..].copy_from_slice(&value);
            self.buffer.extend_from_slice(bytes);
        } else {
            self.buffer.push(kind);
            self.buffer.extend_from_slice(key.as_bytes());
            self.buffer.push(0);
            self.buffer.extend_from_slice(&value);
        }
    }

    #[inline(always)]
    fn document(&mut self, key: &str) -> usize {
        self.open(element::DOCUMENT, key)
    }

    #[inline(always)]
    fn array(&mut self, key: &str) -> usize {
        self.open(element::ARRAY, key)
    }

    /// Leaves room for the length and returns where it is.
    #[inline(always)]
    fn open(&mut self, kind: u8, key: &str) -> usize {
        self.element(kind, key, [0; 4]);
        self.buffer.len() - 4
    }

    fn close(&mut self, start: usize) {
        self.buffer.push(0);
        let length = (self.buffer.len() - start) as i32;
        self.buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    #[inline(always)]
    fn object_id(&mut self, key: &str, id: bson::oid::ObjectId) {
        self.element(element::OBJECT_ID, key, id.bytes());
    }

    #[inline(always)]
    fn timestamp(&mut self, key: &str, timestamp: Timestamp) {
        self.element(element::DATE_TIME, key, timestamp.millis().to_le_bytes());
    }

    /// 32 bits where they suffice, as every MongoDB driver writes whole numbers.
    #[inline(always)]
    fn whole(&mut self, key: &str, value: i64) {
        match i32::try_from(value) {
            Ok(value) => self.element(element::INT32, key, value.to_le_bytes()),
            Err(_) => self.element(element::INT64, key, value.to_le_bytes()),
        }
    }

    #[inline(always)]
    fn double(&mut self, key: &str, value: f64) {
        self.element(element::DOUBLE, key, value.to_le_bytes());
    }

    #[inline(always)]
    fn optional_double(&mut self, key: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.double(key, value);
        }
    }

    #[inline(always)]
    fn boolean(&mut self, key: &str, value: bool) {
        self.element(element::BOOLEAN, key, [u8::from(value)]);
    }

    #[inline(always)]
    fn optional_text(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    #[inline(always)]
    fn text(&mut self, key: &str, text: &str) {
        self.element(element::STRING, key, (text.len() as i32 + 1).to_le_bytes());
        self.buffer.extend_from_slice(text.as_bytes());
        self.buffer.push(0);
    }
}

/// The key of an array's element: its index in decimal digits, written into `digits`.
pub fn array_index(mut index: usize, digits: &mut [u8; 20]) -> &str {
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (index % 10) as u8;
        index /= 10;
        if index == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[start..]).unwrap_or_default()
}
