//! What is refused and what is said of it; and that nothing else than accepting and refusing can happen.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

mod independent;
mod samples;

use std::time::Duration;

use bson::{Document, RawDocument};
use common::documents::{ActivityLog, HealthCheck, UsageAnalytics};
use common::event::{Accepted, Event, EventType, IDENTITY_DEFINITION, Invalid, Message, Reason, Timestamp};
use independent::Stored;
use proptest::prelude::*;
use samples::{ACTIVITY, DATA, HEALTH_CHECK, TOOL_USAGE, binary_headers, decode, decode_with, structured};

/// The sample of a tool use with `from` replaced, as a message without headers.
fn usage_with(from: &str, to: &str) -> String {
    let event = structured(EventType::ToolUsage, TOOL_USAGE);
    assert_eq!(event.matches(from).count(), 1, "{from}");
    event.replace(from, to)
}

#[track_caller]
fn assert_refused(value: impl AsRef<[u8]>, reason: Reason, message: &str) {
    assert_is(decode(value.as_ref()), reason, message);
}

#[track_caller]
fn assert_is(result: Result<Event<'_>, Box<Invalid>>, reason: Reason, message: &str) {
    let invalid = result.expect_err("should be refused");
    assert_eq!((invalid.reason, invalid.to_string().as_str()), (reason, message));
}

#[test]
fn the_samples_are_accepted_in_both_modes() {
    for (kind, data) in DATA {
        let (structured, headers) = (structured(kind, data), binary_headers(kind));
        let event = decode(structured.as_bytes()).unwrap();
        assert_eq!(event.event_type(), kind);
        assert_eq!(event, decode_with(data.as_bytes(), &headers).unwrap());
        let content_type = ("content-type", b"application/cloudevents+json; charset=UTF-8".to_vec());
        assert_eq!(event, decode_with(structured.as_bytes(), &[content_type]).unwrap());
    }
}

#[test]
fn broken_json() {
    assert_refused(
        "{\"id\"",
        Reason::InvalidJson,
        "the value is not JSON at byte 5: expected a colon after the key, found the end",
    );
    assert_refused("hello", Reason::InvalidJson, "the value is not JSON at byte 0: expected a value, found 'h'");
    assert_refused(" ", Reason::InvalidJson, "the value is not JSON at byte 1: expected a value, found the end");
    assert_refused("{} {}", Reason::InvalidJson, "the value is not JSON at byte 3: expected nothing more, found '{'");
    assert_refused("nil", Reason::InvalidJson, "the value is not JSON at byte 0: expected null, found 'n'");
    assert_refused(
        usage_with("2340,", "2340,,"),
        Reason::InvalidJson,
        "data.usage: is not JSON at byte 344: expected a key in quotation marks, found ','",
    );
    assert_is(
        decode_with(b"{", &binary_headers(EventType::Activity)),
        Reason::InvalidJson,
        "the value is not JSON at byte 1: expected a key in quotation marks, found the end",
    );
}

#[test]
fn empty_value() {
    assert_refused("", Reason::EmptyValue, "the value is empty, expected an event as JSON");
}

#[test]
fn tombstone() {
    let message = Message { value: None, headers: std::iter::empty() };
    assert_is(message.decode(), Reason::Tombstone, "the message has no value (a tombstone), expected an event as JSON");
}

#[test]
fn not_an_object() {
    let one_each = "; send each event as a message of its own";
    for (value, kind, advice) in [
        ("[]", "an array", one_each),
        ("3", "a number", ""),
        ("\"x\"", "a string", ""),
        ("null", "null", ""),
        ("true", "a boolean", ""),
    ] {
        let problem = format!("the value is {kind}, expected one event as a JSON object{advice}");
        assert_refused(value, Reason::NotAnObject, &problem);
    }
    assert_refused(structured(EventType::Activity, "[]"), Reason::WrongType, "data: is an array, expected an object");
    assert_is(
        decode_with(b"[]", &binary_headers(EventType::Activity)),
        Reason::WrongType,
        "data: is an array, expected an object",
    );
}

#[test]
fn invalid_utf8() {
    let mut value = structured(EventType::Activity, ACTIVITY).into_bytes();
    value[20] = 0xff;
    assert_refused(value, Reason::InvalidUtf8, "the value is not UTF-8 after byte 20, expected JSON in UTF-8");
    let mut headers = binary_headers(EventType::Activity);
    headers[1].1 = vec![0xff];
    assert_is(
        decode_with(ACTIVITY.as_bytes(), &headers),
        Reason::InvalidUtf8,
        "header ce_id: is not UTF-8 after byte 0, expected text in UTF-8",
    );
}

#[test]
fn unknown_type() {
    let expected =
        "expected one of com.devtoolkit.tool-usage.v1, com.devtoolkit.activity.v1, com.devtoolkit.health-check.v1";
    let message = format!("type: is \"com.devtoolkit.tool-usage.v2\", {expected}");
    assert_refused(usage_with("tool-usage.v1", "tool-usage.v2"), Reason::UnknownType, &message);
    let mut headers = binary_headers(EventType::Activity);
    headers[3].1 = b"com.devtoolkit.activity".to_vec();
    assert_is(
        decode_with(ACTIVITY.as_bytes(), &headers),
        Reason::UnknownType,
        &format!("header ce_type: is \"com.devtoolkit.activity\", {expected}"),
    );
}

#[test]
fn unknown_field() {
    assert_refused(
        usage_with("\"duration\"", "\"durationMs\":1,\"duration\""),
        Reason::UnknownField,
        "data.usage.durationMs: is not a field of this event, expected one of startTime, endTime, duration, inputSize, \
         outputSize, success, errorMessage",
    );
    assert_refused(
        usage_with("\"version\"", "\"\":1,\"version\""),
        Reason::UnknownField,
        "data.metadata.\"\": is not a field of this event, expected one of version, features, customData (free-form content \
         goes into customData)",
    );
}

#[test]
fn a_field_name_is_cut_short_and_made_printable() {
    let name = format!("a\\n{}", "é".repeat(500_000));
    let invalid =
        decode(usage_with("\"duration\"", &format!("\"{name}\":1,\"duration\"")).as_bytes()).unwrap_err().field;
    assert_eq!(invalid, format!("data.usage.a\\n{}…", "é".repeat(62)));
}

#[test]
fn missing_field() {
    assert_refused(
        usage_with("\"toolId\":\"65a4f1c2e1b2a3c4d5e6f702\",", ""),
        Reason::MissingField,
        "data.toolId: is missing, but required",
    );
    assert_refused(
        usage_with("\"success\":false,", ""),
        Reason::MissingField,
        "data.usage.success: is missing, but required",
    );
    assert_refused(
        structured(EventType::Activity, r#"{"action":"page_view"}"#),
        Reason::MissingField,
        "data.path: is missing, expected the path of the page that was viewed",
    );
    assert_refused(usage_with("\"id\":\"e-1\",", ""), Reason::MissingField, "id: is missing, but required");
    assert_refused("{}", Reason::MissingField, "specversion: is missing, but required");
    for (name, attribute) in [("ce_id", "header ce_id"), ("ce_type", "header ce_type"), ("ce_time", "header ce_time")] {
        let mut headers = binary_headers(EventType::Activity);
        headers.retain(|(header, _)| *header != name);
        let message = format!("{attribute}: is missing, but required");
        assert_is(decode_with(ACTIVITY.as_bytes(), &headers), Reason::MissingField, &message);
    }
}

#[test]
fn wrong_type() {
    assert_refused(
        usage_with("\"duration\":2340", "\"duration\":\"2340\""),
        Reason::WrongType,
        "data.usage.duration: is a string, expected a whole number of milliseconds from 0 to 604800000",
    );
    assert_refused(
        usage_with("\"duration\":2340", "\"duration\":2.5"),
        Reason::WrongType,
        "data.usage.duration: is the fraction 2.5, expected a whole number of milliseconds from 0 to 604800000",
    );
    assert_refused(
        usage_with("\"userId\":\"65a4f1c2e1b2a3c4d5e6f701\"", "\"userId\":null"),
        Reason::WrongType,
        "data.userId: is null, expected a string with an ObjectId of 24 hexadecimal digits; an optional field without a value is \
         left out",
    );
    assert_refused(
        usage_with("\"success\":false", "\"success\":0"),
        Reason::WrongType,
        "data.usage.success: is a number, expected true or false",
    );
    assert_refused(
        usage_with("\"syntax_highlighting\"", "[]"),
        Reason::WrongType,
        "data.metadata.features[1]: is an array, expected a string",
    );
}

#[test]
fn bad_object_id() {
    let other = "24 characters, not all of them hexadecimal digits";
    for (id, came) in [
        ("65a4f1c2e1b2a3c4d5e6f70", "23 characters"),
        ("65a4f1c2e1b2a3c4d5e6f70g", other),
        ("", "0 characters"),
        ("é5a4f1c2e1b2a3c4d5e6f701", other),
        ("x", "1 character"),
    ] {
        assert_refused(
            usage_with("65a4f1c2e1b2a3c4d5e6f702", id),
            Reason::InvalidObjectId,
            &format!("data.toolId: is a string of {came}, expected an ObjectId of 24 hexadecimal digits"),
        );
    }
}

#[test]
fn an_address_is_stored_in_one_spelling_and_another_text_as_it_came() {
    // A proxy's list and a host's name are no addresses, and cost no event.
    for (sent, stored) in [
        ("[2001:DB8:0::1]:443", "2001:db8::1"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("198.51.100.7, 192.0.2.1", "198.51.100.7, 192.0.2.1"),
        ("in24.example.com", "in24.example.com"),
    ] {
        let event = usage_with("192.168.1.1", sent);
        let mut document = Vec::new();
        decode(event.as_bytes()).unwrap().write_document(&mut document);
        let document: bson::Document = bson::deserialize_from_slice(&document).unwrap();
        assert_eq!(document.get_document("context").unwrap().get_str("ipAddress").unwrap(), stored);
    }
}

#[test]
fn bad_date() {
    let refused = |date: &str, came: &str| {
        let expected = "expected an RFC 3339 date and time with its zone such as 2024-01-15T10:30:00.000Z";
        let message = format!("data.usage.startTime: is {came}, {expected}");
        assert_refused(usage_with("2024-01-15T10:30:00.000Z", date), Reason::InvalidDate, &message);
    };
    for date in ["2024-01-15", "2024-02-30T10:30:00Z", "2024-01-15T10:30:60Z", "2024-01-15T10:30:00", "1705314600000"] {
        refused(date, &format!("\"{date}\""));
    }
    refused("yesterday, Ada said", "a string of 19 characters");
    assert_refused(
        usage_with("\"startTime\":\"2024-01-15T10:30:00.000Z\"", "\"startTime\":1705314600000"),
        Reason::WrongType,
        "data.usage.startTime: is a number, expected a string with an RFC 3339 date and time such as 2024-01-15T10:30:00.000Z",
    );
}

#[test]
fn too_old_and_from_the_future() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let accepted = |now: &str| Accepted::at(Timestamp::parse(now).unwrap(), 365 * DAY, Duration::from_secs(300));
    let check = |now: &str, kind: EventType, data: &str| {
        let value = structured(kind, data);
        let event = decode(value.as_bytes()).unwrap();
        accepted(now).check(&event).map_err(|invalid| (invalid.reason, invalid.to_string()))
    };
    let usage = |now: &str| check(now, EventType::ToolUsage, TOOL_USAGE);
    assert_eq!(usage("2024-01-15T10:30:02.340Z"), Ok(()));
    assert_eq!(usage("2025-01-14T10:30:02.340Z"), Ok(()), "365 days old to the millisecond");
    let too_old = "time: 2024-01-15T10:30:02.340Z is older than the 365 days that are accepted";
    assert_eq!(usage("2025-01-14T10:30:02.341Z"), Err((Reason::TooOld, too_old.to_owned())));
    let too_old = "time: 2024-01-15T10:30:02.340Z is older than the 90 days that are accepted";
    let by_90_days = "2024-04-14T10:30:02.341Z";
    assert_eq!(check(by_90_days, EventType::Activity, ACTIVITY), Err((Reason::TooOld, too_old.to_owned())));
    assert_eq!(check(by_90_days, EventType::HealthCheck, HEALTH_CHECK), Err((Reason::TooOld, too_old.to_owned())));
    assert_eq!(usage("2024-01-15T10:25:02.340Z"), Ok(()), "5 minutes ahead to the millisecond");
    let in_future = "time: 2024-01-15T10:30:02.340Z is more than 300 s ahead of the clock; check the clock of the machine that sent it";
    assert_eq!(usage("2024-01-15T10:25:02.339Z"), Err((Reason::InFuture, in_future.to_owned())));
    let ends_later = TOOL_USAGE.replace("10:30:02.340Z", "12:00:00.000Z");
    let in_future = "data.usage.endTime: 2024-01-15T12:00:00.000Z is more than 300 s ahead of the clock; check the clock of the \
                     machine that sent it";
    assert_eq!(
        check("2024-01-15T10:30:02.340Z", EventType::ToolUsage, &ends_later),
        Err((Reason::InFuture, in_future.to_owned()))
    );
}

#[test]
fn end_before_start() {
    assert_refused(
        usage_with("\"endTime\":\"2024-01-15T10:30:02.340Z\"", "\"endTime\":\"2024-01-15T11:29:59.999+01:00\""),
        Reason::EndBeforeStart,
        "data.usage.endTime: is 1 ms before startTime, expected no earlier than it",
    );
    assert_refused(
        usage_with("\"endTime\":\"2024-01-15T10:30:02.340Z\"", "\"endTime\":\"2024-01-22T10:30:00.001Z\""),
        Reason::OutOfRange,
        "data.usage.endTime: is 604800001 ms after startTime, expected at most 604800000",
    );
}

#[test]
fn negative_size_and_numbers_out_of_range() {
    let size = "expected a whole number of bytes from 0 to 1099511627776";
    for (came, shown) in [
        ("-1", "-1"),
        ("1099511627777", "1099511627777"),
        ("1e30", "1000000000000000000000000000000"),
        ("1e999", "far too large"),
    ] {
        assert_refused(
            usage_with("\"inputSize\":1024", &format!("\"inputSize\":{came}")),
            Reason::OutOfRange,
            &format!("data.usage.inputSize: is {shown}, {size}"),
        );
    }
    assert_refused(
        usage_with("\"cpuUsage\":12.5", "\"cpuUsage\":-0.1"),
        Reason::OutOfRange,
        "data.performance.cpuUsage: is -0.1, expected a number of percent from 0 to 102400",
    );
    for zero in ["-0", "0.0", "-0.0e5", "0E+1"] {
        assert!(
            decode(usage_with("\"inputSize\":1024", &format!("\"inputSize\":{zero}")).as_bytes()).is_ok(),
            "{zero}"
        );
    }
}

#[test]
fn a_string_of_a_megabyte() {
    let long = "é".repeat(524_288);
    assert_refused(
        usage_with("API rate limit exceeded", &long),
        Reason::WrongLength,
        "data.usage.errorMessage: has 524288 characters, expected at most 4096",
    );
    assert_refused(
        usage_with("\"medium\"", &format!("\"{long}\"")),
        Reason::WrongLength,
        "data.metadata.customData: has 1048668 bytes of JSON, expected at most 16384",
    );
    let mut headers = binary_headers(EventType::Activity);
    headers[2].1 = long.clone().into_bytes();
    assert_is(
        decode_with(ACTIVITY.as_bytes(), &headers),
        Reason::WrongLength,
        "header ce_source: has 524288 characters, expected 1 to 1024",
    );
    // At the limit, in characters and not in bytes.
    assert!(decode(usage_with("API rate limit exceeded", &"é".repeat(4_096)).as_bytes()).is_ok());
    assert_refused(
        usage_with("API rate limit exceeded", &"é".repeat(4_097)),
        Reason::WrongLength,
        "data.usage.errorMessage: has 4097 characters, expected at most 4096",
    );
}

#[test]
fn empty_text_and_too_many_features() {
    assert_refused(
        usage_with("\"country\":\"US\"", "\"country\":\"\""),
        Reason::WrongLength,
        "data.context.location.country: is empty, expected 1 to 128 characters; an optional field without a value is left out",
    );
    let many = |count: usize| format!("[{}]", vec!["\"x\""; count].join(","));
    let features = |count| usage_with("[\"ai_generation\",\"syntax_highlighting\"]", &many(count));
    assert!(decode(features(64).as_bytes()).is_ok());
    assert_refused(
        features(65),
        Reason::WrongLength,
        "data.metadata.features[64]: is one too many, expected at most 64 features",
    );
}

#[test]
fn deep_nesting() {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    // customData and "nested" are the first two of 16 levels.
    assert!(decode(usage_with("\"tableCount\":3", &format!("\"tableCount\":{}", nested(15))).as_bytes()).is_ok());
    let too_deep =
        decode(usage_with("\"tableCount\":3", &format!("\"tableCount\":{}", nested(16))).as_bytes()).unwrap_err();
    let problem = "is nested more than 16 levels deep, expected at most so many";
    assert_eq!((too_deep.reason, too_deep.problem.as_str()), (Reason::TooDeep, problem));
    assert!(too_deep.field.starts_with("data.metadata.customData.tableCount[0][0]"), "{}", too_deep.field);
    assert_eq!(
        decode(usage_with("\"tableCount\":3", &format!("\"tableCount\":{}", nested(200_000))).as_bytes())
            .unwrap_err()
            .reason,
        Reason::TooDeep
    );
    let deep = decode(nested(200_000).as_bytes()).unwrap_err().reason;
    assert_eq!(deep, Reason::TooDeep);
    let extension = usage_with("\"id\"", &format!("\"extension\":{},\"id\"", nested(200_000)));
    assert_eq!(decode(extension.as_bytes()).unwrap_err().reason, Reason::TooDeep);
}

#[test]
fn keys_of_custom_data_that_mongodb_would_not_keep() {
    let problem = "is a key that is empty, starts with $ or holds a NUL, expected one that does not";
    for (key, shown) in [("$set", "$set"), ("\\u0024set", "$set"), ("a\\u0000b", "a\\u{0}b"), ("", "\"\"")] {
        assert_refused(
            usage_with("\"tableCount\"", &format!("\"{key}\"")),
            Reason::InvalidKey,
            &format!("data.metadata.customData.{shown}: {problem}"),
        );
    }
    assert!(decode(usage_with("\"tableCount\"", "\"a.b$\"").as_bytes()).is_ok());
    assert_refused(
        usage_with("\"tableCount\":3", "\"tableCount\":1e999"),
        Reason::OutOfRange,
        "data.metadata.customData.tableCount: is a number too large for a 64-bit floating-point number, expected a smaller \
         one; send it as a string",
    );
    // 2^63 as a floating-point number would be stored as another number than 2^63 - 1 + 1 as a whole one.
    for (number, is_kept) in
        [("9223372036854775807", true), ("-9223372036854775808", false), ("18446744073709551616", false)]
    {
        let event = usage_with("\"tableCount\":3", &format!("\"tableCount\":{number}"));
        assert_eq!(decode(event.as_bytes()).is_ok(), is_kept, "{number}");
    }
    assert_refused(
        usage_with("\"tableCount\":3", "\"tableCount\":9223372036854775808"),
        Reason::OutOfRange,
        "data.metadata.customData.tableCount: is a whole number out of range, expected -9223372036854775807 to \
         9223372036854775807; send it as a string",
    );
    assert!(decode(usage_with("\"tableCount\":3", "\"tableCount\":1e20").as_bytes()).is_ok());
}

#[test]
fn many_keys_of_custom_data_cost_no_more_than_few_large_values() {
    let keys: String = (0..2_000).map(|number| format!("\"{number:x}\":1,")).collect();
    let event = usage_with("\"tableCount\"", &format!("{keys}\"tableCount\""));
    let start = std::time::Instant::now();
    for _ in 0..100 {
        decode(event.as_bytes()).unwrap();
    }
    // Looking each key up among all others would take seconds.
    assert!(start.elapsed() < Duration::from_millis(400), "{:?} for 100", start.elapsed());
    assert_refused(
        event.replace("\"tableCount\"", "\"7cf\""),
        Reason::DuplicateField,
        "data.metadata.customData.7cf: is there twice, expected once",
    );
}

#[test]
fn duplicate_fields() {
    let twice = "is there twice, expected once";
    assert_refused(
        usage_with("\"id\":\"e-1\"", "\"id\":\"e-1\",\"id\":\"e-1\""),
        Reason::DuplicateField,
        &format!("id: {twice}"),
    );
    assert_refused(
        usage_with("\"duration\":2340", "\"duration\":2340,\"dur\\u0061tion\":1"),
        Reason::DuplicateField,
        &format!("data.usage.duration: {twice}"),
    );
    assert_refused(
        usage_with("\"tableCount\":3", "\"a\":3,\"\\u0061\":4"),
        Reason::DuplicateField,
        &format!("data.metadata.customData.a: {twice}"),
    );
    let event = structured(EventType::Activity, ACTIVITY);
    let data_twice = event.replace("{\"specversion\"", &format!("{{\"data\":{ACTIVITY},\"specversion\""));
    assert_refused(data_twice, Reason::DuplicateField, &format!("data: {twice}"));
    let mut headers = binary_headers(EventType::Activity);
    headers.push(headers[1].clone());
    assert_is(decode_with(ACTIVITY.as_bytes(), &headers), Reason::DuplicateField, &format!("header ce_id: {twice}"));
}

#[test]
fn data_may_come_before_type() {
    for (kind, data) in DATA {
        let usual = structured(kind, data);
        let rest = usual.replace(&format!(",\"data\":{data}"), "");
        let turned = format!("{{\"data\": {data} ,{}", &rest[1..]);
        assert_eq!(decode(usual.as_bytes()), decode(turned.as_bytes()));
    }
    let refused = structured(EventType::Activity, "{\"action\":7}")
        .replace("{\"specversion\"", "{\"data\":{\"action\":7},\"specversion\"")
        .replace(",\"data\":{\"action\":7}}", "}");
    assert_refused(refused, Reason::WrongType, "data.action: is a number, expected a string");
}

#[test]
fn escapes_in_keys_and_values_are_resolved() {
    let plain = structured(EventType::Activity, ACTIVITY);
    let escaped = plain
        .replace("\"path\"", "\"p\\u0061th\"")
        .replace("\"/tools/", "\"\\/to\\u006fls\\/")
        .replace("\"data\"", "\"d\\u0061ta\"");
    assert_ne!(plain, escaped);
    assert_eq!(decode(plain.as_bytes()), decode(escaped.as_bytes()));
    let lone_surrogate = decode(plain.replace("curl/8", "\\ud800").as_bytes()).unwrap_err().reason;
    assert_eq!(lone_surrogate, Reason::InvalidJson);
    let emoji = plain.replace("curl/8", "\\ud83d\\ude00");
    assert!(decode(emoji.as_bytes()).unwrap().to_json().contains('😀'));
}

#[test]
fn formats_that_cannot_be_read() {
    let whole = "expected application/cloudevents+json: one event a message, as JSON";
    let any = "expected application/cloudevents+json for a whole event, or a JSON type such as application/json with the \
               attributes in headers that begin with ce_";
    for (content_type, expected) in [
        ("text/plain", any),
        ("", any),
        ("application/avro; x=json", any),
        ("application/cloudevents-batch+json", whole),
        ("application/CloudEvents+avro", whole),
        ("application/cloudevents", whole),
    ] {
        let header = [("content-type", content_type.as_bytes().to_vec())];
        assert_is(
            decode_with(structured(EventType::Activity, ACTIVITY).as_bytes(), &header),
            Reason::UnsupportedFormat,
            &format!("header content-type: is \"{content_type}\", {expected}"),
        );
    }
    let version = "is \"0.3\", expected the CloudEvents version 1.0";
    assert_refused(usage_with("\"1.0\"", "\"0.3\""), Reason::UnsupportedFormat, &format!("specversion: {version}"));
    let mut headers = binary_headers(EventType::Activity);
    headers[0].1 = b"0.3".to_vec();
    assert_is(
        decode_with(ACTIVITY.as_bytes(), &headers),
        Reason::UnsupportedFormat,
        &format!("header ce_specversion: {version}"),
    );
    assert_refused(
        usage_with("\"id\"", "\"datacontenttype\":\"text/xml\",\"id\""),
        Reason::UnsupportedFormat,
        "datacontenttype: is \"text/xml\", expected a JSON type such as application/json",
    );
}

/// Each of these was met in the field, with a message that sent its reader the wrong way.
#[test]
fn a_message_says_what_came_where_its_sender_looks_elsewhere() {
    let event = structured(EventType::Activity, ACTIVITY);
    let hint = |header: &str| {
        format!("; the header {header} is not read: on Kafka the header of an attribute begins with ce_, in lower case")
    };
    let name = "is not the name of an attribute, expected lower-case letters a-z and digits only (CloudEvents); a field of the \
                event itself belongs into data";
    for prefix in ["ce-", "CE_", "Ce-", "cloudEvents:"] {
        let headers: Vec<(&'static str, Vec<u8>)> = binary_headers(EventType::Activity)
            .into_iter()
            .map(|(name, value)| (&*name.replace("ce_", prefix).leak(), value))
            .collect();
        let header = format!("{prefix}specversion");
        let result = decode_with(br#"{"action":"login"}"#, &headers);
        let missing = format!("specversion: is missing, but required{}", hint(&header));
        assert_is(result, Reason::MissingField, &missing);
        let result = decode_with(HEALTH_CHECK.as_bytes(), &headers);
        assert_is(result, Reason::InvalidAttribute, &format!("toolId: {name}{}", hint(&header)));
    }
    assert_refused(HEALTH_CHECK, Reason::InvalidAttribute, &format!("toolId: {name}"));
    let cut =
        "half of a surrogate pair, as when a text is cut within an emoji, expected both halves, such as \\ud83d\\ude00";
    for (text, problem) in [
        ("\\ud83d", cut),
        ("\\ude00 x", cut),
        ("\\ud83d\\ud83d", cut),
        ("\\u12g4", "\\u without four hexadecimal digits"),
        ("C:\\Users", "a backslash before a character that needs none, expected one of \" \\ / b f n r t u after it"),
    ] {
        let value = event.replace("curl/8", text);
        let end = value.find(text).unwrap() + text.len() + 1;
        let message =
            format!("data.context.userAgent: is not JSON at byte {end}: a string that ends there has {problem}");
        assert_refused(value, Reason::InvalidJson, &message);
    }
    let not_json = "the value is not JSON at byte 0, expected an event as JSON; it begins with";
    let mark = "a byte order mark (EF BB BF): leave it out, such as by saving as UTF-8 without BOM";
    assert_refused(format!("\u{feff}{event}"), Reason::InvalidJson, &format!("{not_json} {mark}"));
    let registry = "the five bytes of a schema registry's serializer: use a serializer for plain text";
    assert_refused(format!("\0\0\0\0\u{7}{event}"), Reason::InvalidJson, &format!("{not_json} {registry}"));
    let utf16: Vec<u8> = [0xfeff].into_iter().chain(event.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let not_utf8 = "the value is not UTF-8 after byte";
    let begins = "0, expected JSON in UTF-8; it begins as UTF-16 does";
    assert_refused(utf16, Reason::InvalidUtf8, &format!("{not_utf8} {begins}"));
    let gzip = "1, expected JSON in UTF-8; it is gzip: let Kafka's client compress (compression.type), and send the JSON itself";
    assert_refused([0x1f, 0x8b, 8, 0], Reason::InvalidUtf8, &format!("{not_utf8} {gzip}"));
    assert_refused(
        event.replace("\"page_view\"", "\"pageview\""),
        Reason::UnknownValue,
        "data.action: is \"pageview\", expected one of page_view, signup, login, login_failed, logout",
    );
    assert_refused(
        usage_with("2340,", "007,"),
        Reason::InvalidJson,
        "data.usage.duration: is not JSON at byte 339: a number has a digit after its sign, and begins with 0 only before a \
         fraction",
    );
}

#[test]
fn headers_of_a_structured_event_do_not_count() {
    let mut headers = binary_headers(EventType::ToolUsage);
    headers[4].1 = b"never".to_vec();
    headers[5].1 = b"application/cloudevents+json".to_vec();
    let value = structured(EventType::Activity, ACTIVITY);
    assert_eq!(decode_with(value.as_bytes(), &headers).unwrap(), decode(value.as_bytes()).unwrap());
}

#[test]
fn extension_attributes_are_passed_over() {
    let event = usage_with("\"id\"", "\"traceparent\":\"00-0af7\",\"x1\":{\"y\":[{\"\":1,\"\":2}]},\"id\"");
    assert_eq!(decode(event.as_bytes()), decode(structured(EventType::ToolUsage, TOOL_USAGE).as_bytes()));
}

#[test]
fn the_document_id_is_the_second_of_time_and_a_hash_of_source_and_id() {
    let event = structured(EventType::Activity, ACTIVITY);
    let id = decode(event.as_bytes()).unwrap().document_id().to_hex();
    let told = "another definition stores every event a second time: raise IDENTITY_DEFINITION";
    assert_eq!((IDENTITY_DEFINITION, id.as_str()), (2, "65a5092a16b29c5da3416914"), "{told}");

    let same_second = event.replace("10:30:02.340Z", "10:30:02.999Z");
    assert_eq!(decode(same_second.as_bytes()).unwrap().document_id().to_hex(), id);
    for (from, to) in [("10:30:02.340Z", "10:30:03.340Z"), ("e-1", "e-2"), ("/tools/x", "/tools/y")] {
        assert_ne!(decode(event.replace(from, to).as_bytes()).unwrap().document_id().to_hex(), id, "{to}");
    }
}

#[test]
fn control_characters_and_noncharacters_in_source_and_id_are_refused() {
    for character in ['\0', '\n', '\u{1f}', '\u{7f}', '\u{9f}', '\u{fdd0}', '\u{fdef}', '\u{ffff}', '\u{10fffe}'] {
        let kind = if character.is_control() { "control character" } else { "noncharacter" };
        let problem = format!(
            "holds the {kind} U+{:04X} after 1 characters, expected none: CloudEvents allows neither control characters nor \
             noncharacters in an attribute",
            u32::from(character)
        );
        let mut event = samples::tree(EventType::Activity);
        for attribute in ["id", "source"] {
            let usual = event[attribute].take();
            event[attribute] = format!("/{character}").into();
            assert_refused(event.to_string(), Reason::InvalidAttribute, &format!("{attribute}: {problem}"));
            event[attribute] = usual;
        }
        let mut headers = binary_headers(EventType::Activity);
        headers[1].1 = format!("/{character}").into_bytes();
        assert_is(
            decode_with(ACTIVITY.as_bytes(), &headers),
            Reason::InvalidAttribute,
            &format!("header ce_id: {problem}"),
        );
    }
    for character in ['\u{a0}', '\u{fdcf}', '\u{fdf0}', '\u{fffd}', '\u{10fffd}'] {
        let mut event = samples::tree(EventType::Activity);
        event["id"] = character.to_string().into();
        assert_eq!(decode(event.to_string().as_bytes()).unwrap().id, character.to_string());
    }
}

/// What the event is stored as, read back.
fn stored(event: &Event<'_>) -> Stored {
    let mut buffer = b"before".to_vec();
    event.write_document(&mut buffer);
    let bytes = &buffer[6..];
    let raw = RawDocument::from_bytes(bytes).unwrap();
    let document = Document::try_from(raw).expect("every element to be readable");
    assert_eq!(
        bson::serialize_to_vec(&document).unwrap(),
        bytes,
        "the driver writes the same document in the same bytes"
    );
    match event.event_type() {
        EventType::ToolUsage => Stored::Usage(Box::new(bson::deserialize_from_slice::<UsageAnalytics>(bytes).unwrap())),
        EventType::Activity => Stored::Activity(Box::new(bson::deserialize_from_slice::<ActivityLog>(bytes).unwrap())),
        EventType::HealthCheck => Stored::Check(bson::deserialize_from_slice::<HealthCheck>(bytes).unwrap()),
    }
}

/// Decodes a message and, when it is accepted, holds its document to an independent reading.
fn hold(value: &[u8], headers: &[(&'static str, Vec<u8>)]) -> bool {
    let Ok(event) = decode_with(value, headers) else { return false };
    let expected = independent::read(value, headers);
    assert_eq!(stored(&event), expected, "{}", String::from_utf8_lossy(value));
    true
}

/// Every single-byte change and every truncation of `text`; `check` says whether it was accepted.
fn for_every_change(text: &[u8], mut check: impl FnMut(&[u8]) -> bool) -> (usize, usize) {
    let (mut accepted, mut refused) = (0, 0);
    let mut count = |is_accepted: bool| if is_accepted { accepted += 1 } else { refused += 1 };
    let mut changed = text.to_vec();
    for position in 0..text.len() {
        for byte in 0..=u8::MAX {
            changed[position] = byte;
            count(check(&changed));
        }
        changed[position] = text[position];
        count(check(&text[..position]));
    }
    (accepted, refused)
}

#[test]
fn every_changed_byte_and_every_truncation_is_accepted_or_refused_structured() {
    for (kind, data) in DATA {
        let event = structured(kind, data);
        let (accepted, refused) = for_every_change(event.as_bytes(), |value| hold(value, &[]));
        assert_eq!(accepted + refused, event.len() * 257);
        assert!(
            accepted > event.len() * 10 && refused > event.len() * 100,
            "{kind:?}: {accepted} accepted, {refused} refused"
        );
    }
}

#[test]
fn every_changed_byte_and_every_truncation_is_accepted_or_refused_binary() {
    for (kind, data) in DATA {
        let headers = binary_headers(kind);
        let (accepted, refused) = for_every_change(data.as_bytes(), |value| hold(value, &headers));
        assert_eq!(accepted + refused, data.len() * 257);
        for (number, (name, value)) in headers.iter().enumerate() {
            let mut changed_headers = headers.clone();
            let (accepted, refused) = for_every_change(value, |changed| {
                changed_headers[number].1 = changed.to_vec();
                hold(data.as_bytes(), &changed_headers)
            });
            assert!(accepted > 0 && refused > 0, "{name}: {accepted} accepted, {refused} refused");
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(event in samples::event()) {
        let json = event.to_valid_json().unwrap_or_else(|invalid| panic!("{invalid}: {}", event.to_json()));
        prop_assert!(!json.contains('\n'), "one line");
        prop_assert_eq!(&decode(json.as_bytes()).unwrap(), &event);

        let headers = event.binary_headers().into_iter().map(|(name, value)| (name, value.into_bytes()));
        let headers: Vec<(&'static str, Vec<u8>)> = headers.collect();
        let data = event.data_json();
        prop_assert_eq!(&decode_with(data.as_bytes(), &headers).unwrap(), &event);
        prop_assert_eq!(stored(&event), independent::read(json.as_bytes(), &[]));
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(value: Vec<u8>, headers in proptest::collection::vec((proptest::sample::select(
        vec!["ce_id", "ce_source", "ce_type", "ce_time", "ce_specversion", "ce_x", "content-type", "other"]), any::<Vec<u8>>()), 0..8)) {
        hold(&value, &headers);
    }
}
