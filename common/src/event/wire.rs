//! From an event to the JSON that a tool sends.

use serde_json::{Map, Value, json};

use super::{
    Activity, Context, Data, Event, HealthCheck, Invalid, Message, Metadata, Performance, Timestamp, ToolUsage, Usage,
};

impl Event<'_> {
    /// The event as one structured CloudEvent.
    pub fn to_json(&self) -> String {
        json!({
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.event_type().as_str(),
            "time": time(self.time),
            "data": self.data_json(),
        })
        .to_string()
    }

    /// `data` alone, as the value of a message in binary mode.
    pub fn data_json(&self) -> Value {
        match &self.data {
            Data::ToolUsage(usage) => tool_usage(usage),
            Data::Activity(event) => activity(event),
            Data::HealthCheck(check) => health_check(check),
        }
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

fn time(timestamp: Timestamp) -> Value {
    json!(timestamp.to_string())
}

/// An object of those fields that have a value.
fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    Value::Object(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>())
}

fn text(text: &Option<std::borrow::Cow<'_, str>>) -> Option<Value> {
    text.as_ref().map(|text| json!(text))
}

fn tool_usage(event: &ToolUsage<'_>) -> Value {
    object([
        ("userId", event.user_id.map(|id| json!(id.to_hex()))),
        ("toolId", Some(json!(event.tool_id.to_hex()))),
        ("sessionId", Some(json!(event.session_id.to_hex()))),
        ("usage", Some(usage(&event.usage))),
        ("context", event.context.as_ref().map(context)),
        ("performance", event.performance.as_ref().map(performance)),
        ("metadata", event.metadata.as_ref().map(metadata)),
    ])
}

fn usage(usage: &Usage<'_>) -> Value {
    object([
        ("startTime", Some(time(usage.start_time))),
        ("endTime", Some(time(usage.end_time))),
        ("duration", Some(json!(usage.duration))),
        ("inputSize", Some(json!(usage.input_size))),
        ("outputSize", Some(json!(usage.output_size))),
        ("success", Some(json!(usage.success))),
        ("errorMessage", text(&usage.error_message)),
    ])
}

fn context(context: &Context<'_>) -> Value {
    let location = context.location.as_ref().map(|location| {
        object([
            ("country", text(&location.country)),
            ("region", text(&location.region)),
            ("city", text(&location.city)),
        ])
    });
    object([
        ("userAgent", text(&context.user_agent)),
        ("ipAddress", text(&context.ip_address)),
        ("referrer", text(&context.referrer)),
        ("location", location),
    ])
}

fn performance(performance: &Performance) -> Value {
    object([
        ("responseTime", performance.response_time.map(|value| json!(value))),
        ("memoryUsage", performance.memory_usage.map(|value| json!(value))),
        ("cpuUsage", performance.cpu_usage.map(|value| json!(value))),
    ])
}

fn metadata(metadata: &Metadata<'_>) -> Value {
    // A text that is no JSON is sent as the string it is, and refused with the name of the field.
    let custom_data =
        metadata.custom_data.as_ref().map(|text| serde_json::from_str(text).unwrap_or_else(|_| json!(text)));
    object([
        ("version", text(&metadata.version)),
        ("features", metadata.features.as_ref().map(|features| json!(features))),
        ("customData", custom_data),
    ])
}

fn activity(event: &Activity<'_>) -> Value {
    object([
        ("userId", event.user_id.map(|id| json!(id.to_hex()))),
        ("sessionId", event.session_id.map(|id| json!(id.to_hex()))),
        ("action", Some(json!(event.action.as_str()))),
        ("path", text(&event.path)),
        ("context", event.context.as_ref().map(context)),
    ])
}

fn health_check(event: &HealthCheck<'_>) -> Value {
    object([
        ("toolId", Some(json!(event.tool_id.to_hex()))),
        ("healthy", Some(json!(event.healthy))),
        ("responseTime", event.response_time.map(|value| json!(value))),
        ("message", text(&event.message)),
    ])
}
