//! CloudEvents 1.0 sentence by sentence: each MUST of the specification, of its JSON format and of its Kafka binding that concerns
//! who reads an event. What this decoder asks beyond them (`time`, JSON data, three types) is in `decode.rs`.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

mod samples;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::event::{EventType, Message, Reason};
use samples::{HEALTH_CHECK, decode, structured, tree};
use serde_json::{Value, json};

/// How a good message is changed.
enum Change {
    /// Members of the JSON object are set.
    Members(Vec<(&'static str, Value)>),
    /// This text comes first in the JSON object.
    Text(&'static str),
    /// A whole event with this header.
    StructuredWith(&'static str, &'static [u8]),
    /// In binary mode, headers are set, or added where there is none of the name.
    Headers(Vec<(&'static str, Option<&'static [u8]>)>),
    /// In binary mode, a header is added.
    OneMore(&'static str, &'static [u8]),
    /// In binary mode, this is the value.
    Value(Option<&'static [u8]>),
}
use Change::{Headers, Members, OneMore, StructuredWith, Text};

/// None: it is accepted, as the same event. Else the reason, and the field.
type Expected = Option<(Reason, &'static str)>;

const ACCEPTED: Expected = None;

const fn refused(reason: Reason, field: &'static str) -> Expected {
    Some((reason, field))
}

fn member(name: &'static str, value: impl Into<Value>) -> Change {
    Members(vec![(name, value.into())])
}

fn header(name: &'static str, value: &'static str) -> Change {
    Headers(vec![(name, Some(value.as_bytes()))])
}

const GOOD: [(&str, &str); 6] = [
    ("ce_specversion", "1.0"),
    ("ce_id", "e-1"),
    ("ce_source", "/tools/x"),
    ("ce_type", "com.devtoolkit.health-check.v1"),
    ("ce_time", samples::TIME),
    ("content-type", "application/json"),
];

/// What the decoder says of the changed message.
fn outcome(change: &Change) -> Expected {
    let whole = structured(EventType::HealthCheck, HEALTH_CHECK);
    let usual = decode(whole.as_bytes()).unwrap();
    let mut headers: Vec<(&str, Option<&[u8]>)> = Vec::new();
    let binary = || GOOD.map(|(name, value)| (name, Some(value.as_bytes())));
    let mut value = Some(HEALTH_CHECK.as_bytes().to_vec());
    match change {
        Members(members) => {
            let mut event = tree(EventType::HealthCheck);
            let fields = event.as_object_mut().unwrap();
            for (name, member) in members {
                fields.insert((*name).to_owned(), member.clone());
            }
            // data_base64 stands in the place of data.
            if members.iter().any(|(name, value)| *name == "data_base64" && !value.is_null()) {
                fields.shift_remove("data");
            }
            value = Some(event.to_string().into_bytes());
        }
        Text(text) => value = Some(whole.replacen('{', &format!("{{{text},"), 1).into_bytes()),
        StructuredWith(name, content) => {
            headers.push((*name, Some(*content)));
            value = Some(whole.clone().into_bytes());
        }
        Headers(changes) => {
            headers.extend(binary());
            for (name, content) in changes {
                match headers.iter_mut().find(|(known, _)| *known == *name) {
                    Some(header) => header.1 = *content,
                    None => headers.push((*name, *content)),
                }
            }
        }
        OneMore(name, content) => headers.extend(binary().into_iter().chain([(*name, Some(*content))])),
        Change::Value(content) => {
            headers.extend(binary());
            value = content.map(<[u8]>::to_vec);
        }
    }
    match (Message { value: value.as_deref(), headers: headers.into_iter() }).decode() {
        Ok(event) => {
            assert_eq!(event, usual, "accepted as another event");
            None
        }
        Err(invalid) => Some((invalid.reason, &*invalid.field.leak())),
    }
}

fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

fn specification() -> Vec<(&'static str, Change, Expected)> {
    use Reason::{
        DuplicateField, InvalidAttribute, InvalidDate, InvalidJson, MissingField, UnknownType, UnsupportedFormat,
        WrongLength,
    };
    const ONCE: &str = "Each context attribute MUST only appear at most once in a CloudEvent.";
    const NAMES: &str = "MUST consist of lower-case letters [a-z] or digits [0-9] from the ASCII character set.";
    const REQUIRED: &str = "MUST include context attributes designated as REQUIRED";
    const CONTROL: &str = "disallowed: the \"control characters\" in the ranges U+0000-U+001F and U+007F-U+009F";
    const NON: &str = "disallowed: code points identified as noncharacters by Unicode";
    const SOURCE: &str = "source: MUST be a non-empty URI-reference";
    const MEDIA: &str =
        "the media type part of the content type MUST be treated in a case-insensitive manner by consumers";
    vec![
        (ONCE, Text(r#""id":"e-1""#), refused(DuplicateField, "id")),
        (ONCE, Text(r#""x":1,"x":1"#), refused(DuplicateField, "x")),
        (ONCE, Text(r#""traceparent":"","traceparent":"""#), refused(DuplicateField, "traceparent")),
        (ONCE, OneMore("ce_id", b"e-1"), refused(DuplicateField, "header ce_id")),
        (ONCE, OneMore("content-type", b"application/json"), refused(DuplicateField, "header content-type")),
        (NAMES, member("partitionkey2", "x"), ACCEPTED),
        (NAMES, member("toolId", "x"), refused(InvalidAttribute, "toolId")),
        (NAMES, member("a_b", 1), refused(InvalidAttribute, "a_b")),
        (NAMES, member("é", json!(null)), refused(InvalidAttribute, "é")),
        (NAMES, header("ce_a-b", "x"), refused(InvalidAttribute, "header ce_a-b")),
        (NAMES, header("ce_ID", "x"), refused(InvalidAttribute, "header ce_ID")),
        ("MUST be at least one character in length", member("", "x"), refused(InvalidAttribute, "\"\"")),
        ("MUST be at least one character in length", header("ce_", "x"), refused(InvalidAttribute, "header ce_")),
        ("MUST NOT use the name `data`", header("ce_data", "x"), refused(InvalidAttribute, "header ce_data")),
        (REQUIRED, Headers(vec![("ce_id", None)]), refused(MissingField, "header ce_id")),
        (REQUIRED, member("source", json!(null)), refused(MissingField, "source")),
        (CONTROL, member("id", "a\nb"), refused(InvalidAttribute, "id")),
        (CONTROL, member("id", "\u{80}"), refused(InvalidAttribute, "id")),
        (CONTROL, member("x", "\u{7f}"), refused(InvalidAttribute, "x")),
        (CONTROL, member("subject", "\0"), refused(InvalidAttribute, "subject")),
        (CONTROL, member("source", "/a\tb"), refused(InvalidAttribute, "source")),
        (CONTROL, header("ce_x", "\u{1}"), refused(InvalidAttribute, "header ce_x")),
        (NON, member("id", "\u{fffe}"), refused(InvalidAttribute, "id")),
        (NON, member("x", "\u{1ffff}"), refused(InvalidAttribute, "x")),
        (NON, header("ce_id", "\u{fdd0}"), refused(InvalidAttribute, "header ce_id")),
        (
            "\"\\uDEAD\" is invalid because it is an unpaired surrogate",
            Text(r#""x":"\uDEAD""#),
            refused(InvalidJson, "x"),
        ),
        ("while \"\\uD800\\uDEAD\" would be legal", Text(r#""x":"\uD800\uDEAD""#), ACCEPTED),
        ("id: MUST be a non-empty string", member("id", ""), refused(WrongLength, "id")),
        ("id: MUST be a non-empty string", header("ce_id", ""), refused(WrongLength, "header ce_id")),
        (SOURCE, member("source", ""), refused(WrongLength, "source")),
        (SOURCE, member("source", "my tool"), refused(InvalidAttribute, "source")),
        (SOURCE, member("source", "/é"), refused(InvalidAttribute, "source")),
        (SOURCE, header("ce_source", "a b"), refused(InvalidAttribute, "header ce_source")),
        (
            "specversion: MUST be a non-empty string",
            member("specversion", ""),
            refused(UnsupportedFormat, "specversion"),
        ),
        (
            "producers MUST use a value of `1.0`",
            member("specversion", "1.1"),
            refused(UnsupportedFormat, "specversion"),
        ),
        ("type: MUST be a non-empty string", member("type", ""), refused(UnknownType, "type")),
        (MEDIA, member("datacontenttype", "APPLICATION/Json; CharSet=utf-8"), ACCEPTED),
        (MEDIA, header("content-type", "Application/JSON ;charset=\"UTF-8\""), ACCEPTED),
        (
            "datacontenttype: If present, MUST adhere to the format specified in RFC 2046",
            member("datacontenttype", "json"),
            refused(UnsupportedFormat, "datacontenttype"),
        ),
        (
            "dataschema: If present, MUST be a non-empty URI",
            member("dataschema", ""),
            refused(InvalidAttribute, "dataschema"),
        ),
        (
            "dataschema: If present, MUST be a non-empty URI",
            header("ce_dataschema", "/schema"),
            refused(InvalidAttribute, "header ce_dataschema"),
        ),
        ("dataschema: If present, MUST be a non-empty URI", member("dataschema", "https://a/b"), ACCEPTED),
        ("subject: If present, MUST be a non-empty string", member("subject", ""), refused(WrongLength, "subject")),
        ("subject: If present, MUST be a non-empty string", header("ce_subject", "é"), ACCEPTED),
        (
            "time: If present, MUST adhere to the format specified in RFC 3339",
            member("time", "2024-01-15 10:30"),
            refused(InvalidDate, "time"),
        ),
        (
            "time: If present, MUST adhere to the format specified in RFC 3339",
            header("ce_time", "now"),
            refused(InvalidDate, "header ce_time"),
        ),
    ]
}

fn json_format() -> Vec<(&'static str, Change, Expected)> {
    use Reason::{DuplicateField, InvalidJson, InvalidUtf8, MissingField, UnsupportedFormat, WrongType};
    const NULL: &str = "when a `null` value is encountered, it MUST be treated as the equivalent of unset or omitted";
    const BASE64: &str = "`data_base64` […] which the deserializer MUST decode into a binary runtime data type";
    const JSON: &str = "JSON-formatted content if its media type […] has the form `*/json` or `*/*+json`";
    vec![
        (NULL, member("datacontenttype", json!(null)), ACCEPTED),
        (NULL, member("subject", json!(null)), ACCEPTED),
        (NULL, member("dataschema", json!(null)), ACCEPTED),
        (NULL, member("unsetextension", json!(null)), ACCEPTED),
        (NULL, member("traceparent", json!(null)), ACCEPTED),
        (NULL, member("data_base64", json!(null)), ACCEPTED),
        (NULL, Text(r#""id":null"#), ACCEPTED),
        (NULL, member("time", json!(null)), refused(MissingField, "time")),
        (BASE64, member("data_base64", base64(HEALTH_CHECK)), ACCEPTED),
        (BASE64, member("data_base64", "{}"), refused(WrongType, "data_base64")),
        (BASE64, member("data_base64", json!({})), refused(WrongType, "data_base64")),
        (BASE64, member("data_base64", base64("hello")), refused(InvalidJson, "data_base64")),
        (BASE64, member("data_base64", "/w=="), refused(InvalidUtf8, "data_base64")),
        (BASE64, member("data_base64", base64("{}")), refused(MissingField, "data.toolId")),
        (
            // It makes none: `type` says what the bytes are.
            "If the `datacontenttype` attribute is absent, the decoding MUST NOT make an assumption of JSON-formatted data",
            member("data_base64", base64(HEALTH_CHECK)),
            ACCEPTED,
        ),
        (
            "MAY further interpret this binary data according to the `datacontenttype`",
            Members(vec![("data_base64", base64(HEALTH_CHECK).into()), ("datacontenttype", "image/png".into())]),
            refused(UnsupportedFormat, "datacontenttype"),
        ),
        (
            "the presence of the `data` and `data_base64` members is mutually exclusive",
            Text(r#""data_base64":"e30=""#),
            refused(DuplicateField, "data_base64"),
        ),
        (
            "if the `data` member is a string, […] it MUST NOT further deserialize the string as a JSON document",
            member("data", HEALTH_CHECK),
            refused(WrongType, "data"),
        ),
        (JSON, member("datacontenttype", "text/json"), ACCEPTED),
        (JSON, member("datacontenttype", "application/vnd.devtoolkit.v1+json"), ACCEPTED),
        (JSON, member("datacontenttype", "application/xml"), refused(UnsupportedFormat, "datacontenttype")),
        (JSON, member("datacontenttype", "application/json-seq"), refused(UnsupportedFormat, "datacontenttype")),
        // A specification of an extension may define other mappings than those of the types.
        ("Extension specifications MAY define secondary mapping rules", member("x", json!({"a": [1.5]})), ACCEPTED),
    ]
}

fn kafka_binding() -> Vec<(&'static str, Change, Expected)> {
    use Reason::{EmptyValue, InvalidAttribute, InvalidUtf8, MissingField, Tombstone, UnsupportedFormat};
    const MODE: &str =
        "prefixed with the CloudEvents media type `application/cloudevents` (matched case-insensitively)";
    const TYPE: &str =
        "the header `content-type` property MUST be mapped directly to the CloudEvents `datacontenttype` attribute";
    const UTF8: &str = "Both header keys and header values MUST be encoded as UTF-8 strings";
    vec![
        (MODE, StructuredWith("content-type", b"Application/CloudEvents+JSON; charset=UTF-8"), ACCEPTED),
        (
            MODE,
            StructuredWith("content-type", b"application/cloudevents+avro"),
            refused(UnsupportedFormat, "header content-type"),
        ),
        ("otherwise it defaults to binary mode", Headers(vec![("content-type", None)]), ACCEPTED),
        (TYPE, header("content-type", "application/cloudevent.v1+json"), ACCEPTED),
        (TYPE, header("content-type", "text/xml"), refused(UnsupportedFormat, "header content-type")),
        (TYPE, header("ce_datacontenttype", "application/json"), ACCEPTED),
        (TYPE, header("ce_datacontenttype", "text/xml"), refused(UnsupportedFormat, "header ce_datacontenttype")),
        ("no `data` is a Kafka message with no value", Change::Value(None), refused(Tombstone, "")),
        ("The `data` byte-sequence MUST be used as the value", Change::Value(Some(b"")), refused(EmptyValue, "")),
        (
            "The `data` byte-sequence MUST be used as the value",
            Change::Value(Some(b"{}")),
            refused(MissingField, "data.toolId"),
        ),
        (UTF8, Headers(vec![("ce_id", Some(b"\xff"))]), refused(InvalidUtf8, "header ce_id")),
        (UTF8, Headers(vec![("ce_x", Some(b"\xff"))]), refused(InvalidUtf8, "header ce_x")),
        (UTF8, Headers(vec![("content-type", Some(b"\xff"))]), refused(InvalidUtf8, "header content-type")),
        (UTF8, header("ce_x", "é"), ACCEPTED),
        ("are prefixed with `ce_`", header("ce_partitionkey", "x"), ACCEPTED),
        ("are prefixed with `ce_`", header("other", "\0"), ACCEPTED),
        (
            "All attributes […] MUST be individually mapped",
            header("ce_subject", "\u{85}"),
            refused(InvalidAttribute, "header ce_subject"),
        ),
        // No sentence of the binding: in binary mode it could be no event, and SDKs send whole ones so.
        ("a JSON type without any attribute's header", StructuredWith("content-type", b"application/json"), ACCEPTED),
    ]
}

#[test]
fn each_sentence_of_the_specification_holds() {
    let mut failed = Vec::new();
    for (number, (sentence, change, expected)) in
        specification().into_iter().chain(json_format()).chain(kafka_binding()).enumerate()
    {
        let outcome = outcome(&change);
        if outcome != expected {
            failed.push(format!("{number}: {sentence}: {outcome:?}, expected {expected:?}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn headers_beside_a_whole_event_do_not_count() {
    let whole = structured(EventType::HealthCheck, HEALTH_CHECK);
    let headers = [
        ("content-type", "application/cloudevents+json"),
        ("ce_id", "another"),
        ("ce_time", "never"),
        ("ce_NoName", "x"),
    ];
    let headers = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes())));
    let event = Message { value: Some(whole.as_bytes()), headers }.decode().unwrap();
    assert_eq!(event, decode(whole.as_bytes()).unwrap());
}

#[test]
fn data_as_base64_is_read_whole() {
    for (kind, data) in samples::DATA {
        let whole = structured(kind, data);
        let encoded = whole.replace(&format!("\"data\":{data}"), &format!("\"data_base64\":\"{}\"", base64(data)));
        assert_eq!(decode(encoded.as_bytes()), decode(whole.as_bytes()));
        let first = encoded.replacen('{', &format!("{{\"data_base64\":\"{}\",", base64(data)), 1);
        assert_eq!(decode(first.as_bytes()).unwrap_err().reason, Reason::DuplicateField);
    }
}
