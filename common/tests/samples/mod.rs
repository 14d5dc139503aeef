//! Events to test with: written ones, and arbitrary ones.
#![allow(dead_code, reason = "each test uses some of them")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::borrow::Cow;
use std::net::IpAddr;

use bson::oid::ObjectId;
use common::event::{
    Action, Activity, Context, Data, Event, EventType, HealthCheck, Invalid, Location, MAX_CPU_PERCENT,
    MAX_DURATION_MS, MAX_FEATURES, MAX_ID, MAX_LINE, MAX_MEMORY_MB, MAX_MESSAGE, MAX_SIZE_BYTES, MAX_SOURCE, MAX_WORD,
    Message, Metadata, Performance, Timestamp, ToolUsage, Traceparent, Usage,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// `data` of one tool use with every field there is.
pub const TOOL_USAGE: &str = r#"{"userId":"65a4f1c2e1b2a3c4d5e6f701","toolId":"65a4f1c2e1b2a3c4d5e6f702","sessionId":"65a4f1c2e1b2a3c4d5e6f703","usage":{"startTime":"2024-01-15T10:30:00.000Z","endTime":"2024-01-15T10:30:02.340Z","duration":2340,"inputSize":1024,"outputSize":2048,"success":false,"errorMessage":"API rate limit exceeded"},"context":{"userAgent":"Mozilla/5.0 \u2014 \"é\"","ipAddress":"192.168.1.1","referrer":"https://google.com","location":{"country":"US","region":"CA","city":"San Francisco"}},"performance":{"responseTime":850,"memoryUsage":45.2,"cpuUsage":12.5},"metadata":{"version":"2.1.0","features":["ai_generation","syntax_highlighting"],"customData":{"queryComplexity":"medium","tableCount":3,"nested":{"list":[1,-2.5,true,null,"x",{"\u0061":[]}]}}}}"#;
/// `data` of one page view with every field there is.
pub const ACTIVITY: &str = r#"{"userId":"65a4f1c2e1b2a3c4d5e6f701","sessionId":"65a4f1c2e1b2a3c4d5e6f703","action":"page_view","path":"/tools/json-formatter?x=1","context":{"userAgent":"curl/8","location":{}}}"#;
/// `data` of one failed check with every field there is.
pub const HEALTH_CHECK: &str =
    r#"{"toolId":"65a4f1c2e1b2a3c4d5e6f702","healthy":false,"responseTime":12.5,"message":"HTTP 503"}"#;

/// One of each type, with every field there is.
pub const DATA: [(EventType, &str); 3] =
    [(EventType::ToolUsage, TOOL_USAGE), (EventType::Activity, ACTIVITY), (EventType::HealthCheck, HEALTH_CHECK)];

/// When the samples happened.
pub const TIME: &str = "2024-01-15T10:30:02.340Z";

/// A whole event with this `data`.
pub fn structured(kind: EventType, data: &str) -> String {
    let kind = kind.as_str();
    format!(r#"{{"specversion":"1.0","id":"e-1","source":"/tools/x","type":"{kind}","time":"{TIME}","data":{data}}}"#)
}

/// The same event's headers in binary mode.
pub fn binary_headers(kind: EventType) -> Vec<(&'static str, Vec<u8>)> {
    let headers = [
        ("ce_specversion", "1.0"),
        ("ce_id", "e-1"),
        ("ce_source", "/tools/x"),
        ("ce_type", kind.as_str()),
        ("ce_time", TIME),
        ("content-type", "application/json"),
    ];
    headers.into_iter().map(|(name, value)| (name, value.as_bytes().to_vec())).collect()
}

/// Decodes a message without headers.
pub fn decode(value: &[u8]) -> Result<Event<'_>, Box<Invalid>> {
    Message { value: Some(value), headers: std::iter::empty() }.decode()
}

/// Decodes a message with headers.
pub fn decode_with<'a>(value: &'a [u8], headers: &'a [(&'static str, Vec<u8>)]) -> Result<Event<'a>, Box<Invalid>> {
    let headers = headers.iter().map(|(name, value)| (*name, Some(value.as_slice())));
    Message { value: Some(value), headers }.decode()
}

/// The sample of a type as a tree, to be changed.
pub fn tree(kind: EventType) -> Value {
    let (_, data) = DATA.into_iter().find(|(of, _)| *of == kind).unwrap();
    serde_json::from_str(&structured(kind, data)).unwrap()
}

fn text(max: usize) -> impl Strategy<Value = Cow<'static, str>> {
    let short = vec(any::<char>(), 1..20).prop_map(|letters| letters.into_iter().collect::<String>());
    let plain = "[ -~]{1,20}".prop_map(String::from);
    // Characters of more than one byte, so that a limit in bytes would be found out.
    let longest = Just("é".repeat(max));
    prop_oneof![4 => short, 4 => plain, 1 => longest].prop_map(Cow::Owned)
}

/// A text as CloudEvents allows it in an attribute.
fn attribute(max: usize) -> impl Strategy<Value = Cow<'static, str>> {
    let is_noncharacter =
        |letter: char| matches!(u32::from(letter), 0xfdd0..=0xfdef) || u32::from(letter) % 0x1_0000 >= 0xfffe;
    text(max).prop_filter("no control character, no noncharacter", move |text| {
        !text.chars().any(|letter| letter.is_control() || is_noncharacter(letter))
    })
}

fn source() -> impl Strategy<Value = Cow<'static, str>> {
    let short = "(/|urn:|https://|mailto:a@)?[a-z0-9/._~!$&'()*+,;=-]{1,20}(%[0-9A-F]{2})?([?#][a-z:@/?]{0,5})?"
        .prop_map(String::from);
    prop_oneof![8 => short, 1 => Just("x".repeat(MAX_SOURCE))].prop_map(Cow::Owned)
}

fn object_id() -> impl Strategy<Value = ObjectId> {
    any::<[u8; 12]>().prop_map(ObjectId::from_bytes)
}

/// Any instant of the years 0 to 9999, which are those that RFC 3339 can write.
fn timestamp() -> impl Strategy<Value = Timestamp> {
    (-62_167_219_200_000_i64..253_402_300_800_000).prop_map(Timestamp::from_millis)
}

fn custom_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|number| json!(f64::from(number) / 8.0)),
        vec(any::<char>(), 0..10).prop_map(|letters| Value::from(letters.into_iter().collect::<String>())),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![vec(inner.clone(), 0..5).prop_map(Value::from), custom_object(inner).prop_map(Value::from)]
    })
}

fn custom_object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let key = vec(any::<char>(), 1..8).prop_map(|letters| letters.into_iter().collect::<String>());
    let key = key.prop_filter("a key that MongoDB keeps", |key| !key.starts_with('$') && !key.contains('\0'));
    vec((key, value), 0..5).prop_map(Map::from_iter)
}

fn context() -> impl Strategy<Value = Context<'static>> {
    let location = (option::of(text(MAX_WORD)), option::of(text(MAX_WORD)), option::of(text(MAX_WORD)))
        .prop_map(|(country, region, city)| Location { country, region, city });
    let address = any::<IpAddr>().prop_map(|address| Cow::Owned(address.to_canonical().to_string()));
    let fields = (option::of(text(MAX_LINE)), option::of(address), option::of(text(MAX_LINE)), option::of(location));
    fields.prop_map(|(user_agent, ip_address, referrer, location)| Context {
        user_agent,
        ip_address,
        referrer,
        location,
    })
}

fn usage() -> impl Strategy<Value = Usage<'static>> {
    let whole = |max: i64| prop_oneof![Just(0), Just(max), 0..=max];
    let length = whole(MAX_DURATION_MS);
    let fields =
        (timestamp(), length, whole(MAX_DURATION_MS), whole(MAX_SIZE_BYTES), whole(MAX_SIZE_BYTES), any::<bool>());
    (fields, option::of(text(MAX_MESSAGE))).prop_filter_map(
        "an end that RFC 3339 can write",
        |(fields, error_message)| {
            let (start_time, length, duration, input_size, output_size, success) = fields;
            let end = start_time.millis() + length;
            (end < 253_402_300_800_000).then(|| Usage {
                start_time,
                end_time: Timestamp::from_millis(end),
                duration,
                input_size,
                output_size,
                success,
                error_message,
            })
        },
    )
}

fn number(max: f64) -> impl Strategy<Value = f64> {
    // Of eighths every decimal digit is written, so that every reader of JSON reads the same number.
    prop_oneof![
        Just(0.0),
        Just(max),
        (0..=1_000_000_u32).prop_map(|eighths| f64::from(eighths) / 8.0).prop_map(move |n| n.min(max))
    ]
}

fn performance() -> impl Strategy<Value = Performance> {
    let fields = (
        option::of(number(MAX_DURATION_MS as f64)),
        option::of(number(MAX_MEMORY_MB)),
        option::of(number(MAX_CPU_PERCENT)),
    );
    fields.prop_map(|(response_time, memory_usage, cpu_usage)| Performance { response_time, memory_usage, cpu_usage })
}

fn metadata() -> impl Strategy<Value = Metadata<'static>> {
    let features = prop_oneof![9 => vec(text(MAX_WORD), 0..4), 1 => vec(text(MAX_WORD), MAX_FEATURES)];
    let custom_data = custom_object(custom_value()).prop_map(|object| Cow::Owned(Value::from(object).to_string()));
    let fields = (option::of(text(MAX_WORD)), option::of(features), option::of(custom_data));
    fields.prop_map(|(version, features, custom_data)| Metadata { version, features, custom_data })
}

fn tool_usage() -> impl Strategy<Value = Data<'static>> {
    let parts = (usage(), option::of(context()), option::of(performance()), option::of(metadata()));
    (option::of(object_id()), object_id(), object_id(), parts).prop_map(|(user_id, tool_id, session_id, parts)| {
        let (usage, context, performance, metadata) = parts;
        Data::ToolUsage(Box::new(ToolUsage { user_id, tool_id, session_id, usage, context, performance, metadata }))
    })
}

fn activity() -> impl Strategy<Value = Data<'static>> {
    let action = proptest::sample::select(Action::ALL);
    let fields =
        (option::of(object_id()), option::of(object_id()), action, option::of(text(MAX_LINE)), option::of(context()));
    fields.prop_map(|(user_id, session_id, action, path, context)| {
        let path = if action == Action::PageView { path.or(Some("/".into())) } else { path };
        Data::Activity(Box::new(Activity { user_id, session_id, action, path, context }))
    })
}

fn health_check() -> impl Strategy<Value = Data<'static>> {
    let fields =
        (object_id(), any::<bool>(), option::of(number(MAX_DURATION_MS as f64)), option::of(text(MAX_MESSAGE)));
    fields.prop_map(|(tool_id, healthy, response_time, message)| {
        Data::HealthCheck(HealthCheck { tool_id, healthy, response_time, message })
    })
}

fn traceparent() -> impl Strategy<Value = Traceparent> {
    (1..u128::MAX, 1..u64::MAX, any::<u8>()).prop_map(|(trace_id, parent_id, flags)| {
        format!("00-{trace_id:032x}-{parent_id:016x}-{flags:02x}").parse().unwrap()
    })
}

/// Any event that keeps all rules.
pub fn event() -> impl Strategy<Value = Event<'static>> {
    let data = prop_oneof![2 => tool_usage(), 1 => activity(), 1 => health_check()];
    let fields = (attribute(MAX_ID), source(), timestamp(), option::of(traceparent()), data);
    fields.prop_map(|(id, source, time, traceparent, data)| Event { id, source, time, traceparent, data })
}
