//! The JSON Schemas of docs/schemas, which tool authors in other languages go by, and the decoder accept and refuse the same.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

mod samples;

use std::path::PathBuf;

use common::event::{EventType, Invalid, Reason};
use jsonschema::{Registry, Resource, Validator};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use samples::{binary_headers, decode, decode_with, tree};
use serde_json::{Map, Value, json};

const FILES: [&str; 5] =
    ["cloudevent.v1.json", "tool-usage.v1.json", "activity.v1.json", "health-check.v1.json", "context.v1.json"];

fn schema(file: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas").join(file);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A validator that asserts formats, as a sender should.
fn validator(file: &str) -> Validator {
    // The files refer to each other by name, so any address will do that they have in common.
    let address = |file: &str| format!("json-schema:///{file}");
    let resources = FILES.map(|file| (address(file), Resource::from_contents(schema(file))));
    let registry = Registry::new().extend(resources).unwrap().prepare().unwrap();
    let options = jsonschema::draft202012::options().with_registry(&registry).with_base_uri(address(file));
    options.should_validate_formats(true).build(&schema(file)).unwrap()
}

fn data_file(kind: EventType) -> &'static str {
    match kind {
        EventType::ToolUsage => "tool-usage.v1.json",
        EventType::Activity => "activity.v1.json",
        EventType::HealthCheck => "health-check.v1.json",
    }
}

/// The schema of a whole event, and that of its data alone.
struct Schemas {
    whole: Validator,
    data: [(EventType, Validator); 3],
}

impl Schemas {
    fn new() -> Self {
        Self {
            whole: validator("cloudevent.v1.json"),
            data: EventType::ALL.map(|kind| (kind, validator(data_file(kind)))),
        }
    }

    /// Holds the decoder's answer to that of the schemas, in both modes.
    #[track_caller]
    fn agree(&self, event: &Value) -> Result<(), Box<Invalid>> {
        let json = event.to_string();
        let decoded = decode(json.as_bytes()).map(drop);
        let shown = || json.chars().take(2_000).collect::<String>();
        match &decoded {
            Err(invalid) if is_beyond_a_schema(invalid) => {}
            decoded => assert_eq!(decoded.is_ok(), self.whole.is_valid(event), "{decoded:?}: {}", shown()),
        }
        let kind = EventType::ALL.into_iter().find(|kind| event["type"] == kind.as_str());
        if let Some(kind) = kind
            && let Some(data) = event.get("data")
        {
            let (_, schema) = self.data.iter().find(|(of, _)| *of == kind).unwrap();
            let data_json = data.to_string();
            match decode_with(data_json.as_bytes(), &binary_headers(kind)) {
                Err(invalid) if is_beyond_a_schema(&invalid) => {}
                decoded => assert_eq!(decoded.is_ok(), schema.is_valid(data), "{decoded:?}: {}", shown()),
            }
        }
        decoded
    }

    /// As [`Schemas::agree`], for an event that breaks no rule but one that the schemas cannot express.
    #[track_caller]
    fn accept(&self, event: &Value) -> Result<(), Box<Invalid>> {
        assert!(self.whole.is_valid(event), "{event}");
        self.agree(event)
    }
}

/// The rules that no JSON Schema can express; each has its test below.
fn is_beyond_a_schema(invalid: &Invalid) -> bool {
    let is_custom = invalid.field.starts_with("data.metadata.customData");
    match invalid.reason {
        // endTime compared with startTime.
        Reason::EndBeforeStart => true,
        // A whole number of more than 64 bits in customData: JSON Schema takes all numbers for floating-point ones.
        Reason::OutOfRange => invalid.field == "data.usage.endTime" || is_custom,
        // The size in bytes and the depth of customData.
        Reason::WrongLength | Reason::TooDeep => is_custom,
        // The same field twice: whoever reads JSON into a tree never sees it.
        Reason::DuplicateField => invalid.field != "data_base64",
        _ => false,
    }
}

fn set(event: &mut Value, path: &str, value: Value) {
    let (parent, name) = path.rsplit_once('/').unwrap();
    event.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(name.to_owned(), value);
}

fn remove(event: &mut Value, path: &str) {
    let (parent, name) = path.rsplit_once('/').unwrap();
    event.pointer_mut(parent).unwrap().as_object_mut().unwrap().shift_remove(name).unwrap();
}

#[test]
fn the_schemas_are_schemas() {
    for file in FILES {
        jsonschema::draft202012::meta::validate(&schema(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

#[test]
fn valid_samples() {
    let schemas = Schemas::new();
    let long = |length: usize| Value::from("é".repeat(length));
    let cases: &[(EventType, &[(&str, Value)])] = &[
        (EventType::ToolUsage, &[]),
        (EventType::Activity, &[]),
        (EventType::HealthCheck, &[]),
        (EventType::ToolUsage, &[("/id", long(256)), ("/source", json!("x".repeat(1_024)))]),
        (EventType::ToolUsage, &[("/source", json!("https://[2001:db8::1]:80/%C3%A9?a=b#c"))]),
        (
            EventType::ToolUsage,
            &[
                ("/datacontenttype", json!(null)),
                ("/subject", json!(null)),
                ("/dataschema", json!(null)),
                ("/x", json!(null)),
            ],
        ),
        (EventType::ToolUsage, &[("/datacontenttype", json!("text/x.y+JSON;a=b")), ("/data_base64", json!(null))]),
        (EventType::ToolUsage, &[("/subject", json!("é")), ("/dataschema", json!("urn:x")), ("/x9", json!("é"))]),
        (EventType::ToolUsage, &[("/time", json!("2024-02-29t23:59:59.123456789012z"))]),
        (EventType::ToolUsage, &[("/time", json!("2016-12-31T23:59:60Z"))]),
        (EventType::ToolUsage, &[("/time", json!("2024-01-15T10:30:00-23:59"))]),
        (
            EventType::ToolUsage,
            &[("/datacontenttype", json!("application/json; charset=utf-8")), ("/anything", json!({"$x": [null]}))],
        ),
        (EventType::ToolUsage, &[("/data/toolId", json!("ABCDEFabcdef012345678901"))]),
        (
            EventType::ToolUsage,
            &[("/data/usage/duration", json!(604_800_000)), ("/data/usage/inputSize", json!(1_099_511_627_776_i64))],
        ),
        (EventType::ToolUsage, &[("/data/usage/duration", json!(0)), ("/data/usage/outputSize", json!(2340.0))]),
        (EventType::ToolUsage, &[("/data/usage/errorMessage", long(4_096)), ("/data/context/userAgent", long(2_048))]),
        (EventType::ToolUsage, &[("/data/usage/endTime", json!("2024-01-15T10:30:00.000Z"))]),
        (
            EventType::ToolUsage,
            &[("/data/context", json!({})), ("/data/performance", json!({})), ("/data/metadata", json!({}))],
        ),
        (
            EventType::ToolUsage,
            &[("/data/performance/responseTime", json!(0.5)), ("/data/performance/cpuUsage", json!(102_400))],
        ),
        (
            EventType::ToolUsage,
            &[("/data/metadata/features", json!(vec!["é".repeat(128); 64])), ("/data/metadata/customData", json!({}))],
        ),
        (
            EventType::ToolUsage,
            &[("/data/metadata/customData", json!({"a$": {"b.c": [[{"d": -1e300}], "$"]}, "ü": null}))],
        ),
        (EventType::Activity, &[("/data", json!({"action": "logout"}))]),
        (EventType::Activity, &[("/data", json!({"action": "login_failed", "path": "/login"}))]),
        (EventType::Activity, &[("/data/path", long(2_048)), ("/data/context/location", json!({"city": "東京"}))]),
        (EventType::HealthCheck, &[("/data/responseTime", json!(604_800_000)), ("/data/message", long(4_096))]),
    ];
    for (kind, changes) in cases {
        let mut event = tree(*kind);
        changes.iter().for_each(|(path, value)| set(&mut event, path, value.clone()));
        schemas.agree(&event).unwrap_or_else(|invalid| panic!("{changes:?}: {invalid}"));
    }
    for (kind, path) in [
        (EventType::ToolUsage, "/data/userId"),
        (EventType::ToolUsage, "/data/context"),
        (EventType::ToolUsage, "/data/metadata/version"),
        (EventType::Activity, "/data/userId"),
        (EventType::Activity, "/data/sessionId"),
        (EventType::HealthCheck, "/data/responseTime"),
        (EventType::HealthCheck, "/data/message"),
    ] {
        let mut event = tree(kind);
        remove(&mut event, path);
        schemas.agree(&event).unwrap_or_else(|invalid| panic!("without {path}: {invalid}"));
    }
}

#[test]
fn invalid_samples() {
    use EventType::{Activity, HealthCheck, ToolUsage};
    use Reason::{
        DuplicateField, InvalidAttribute, InvalidDate, InvalidKey, InvalidObjectId, MissingField, OutOfRange,
        UnknownField, UnknownType, UnknownValue, UnsupportedFormat, WrongLength, WrongType,
    };
    let schemas = Schemas::new();
    let long = |length: usize| Value::from("é".repeat(length));
    let cases: &[(EventType, &str, Value, Reason)] = &[
        (ToolUsage, "/specversion", json!("0.3"), UnsupportedFormat),
        (ToolUsage, "/specversion", json!(1.0), WrongType),
        (ToolUsage, "/id", json!(""), WrongLength),
        (ToolUsage, "/id", long(257), WrongLength),
        (ToolUsage, "/id", json!("a\nb"), InvalidAttribute),
        (ToolUsage, "/id", json!("a\u{9f}"), InvalidAttribute),
        (ToolUsage, "/id", json!("a\u{10ffff}"), InvalidAttribute),
        (ToolUsage, "/source", json!("\u{fdd0}"), InvalidAttribute),
        (ToolUsage, "/source", json!(null), MissingField),
        (ToolUsage, "/source", json!("x".repeat(1_025)), WrongLength),
        (ToolUsage, "/source", json!("my tool"), InvalidAttribute),
        (ToolUsage, "/source", json!("é"), InvalidAttribute),
        (ToolUsage, "/source", json!("http://[::1"), InvalidAttribute),
        (ToolUsage, "/source", json!("/%zz"), InvalidAttribute),
        (ToolUsage, "/source", json!("1:2"), InvalidAttribute),
        (ToolUsage, "/subject", json!(""), WrongLength),
        (ToolUsage, "/subject", json!(1), WrongType),
        (ToolUsage, "/dataschema", json!("schema.json"), InvalidAttribute),
        (ToolUsage, "/datacontenttype", json!("json"), UnsupportedFormat),
        (ToolUsage, "/datacontenttype", json!("application/jsonl"), UnsupportedFormat),
        (ToolUsage, "/datacontenttype", json!("a b/json"), UnsupportedFormat),
        (ToolUsage, "/toolId", json!(1), InvalidAttribute),
        (ToolUsage, "/", json!(1), InvalidAttribute),
        (ToolUsage, "/x-y", json!(null), InvalidAttribute),
        (ToolUsage, "/x", json!("a\u{7f}"), InvalidAttribute),
        (ToolUsage, "/data_base64", json!("e30="), DuplicateField),
        (ToolUsage, "/type", json!("com.devtoolkit.tool-usage.v2"), UnknownType),
        (ToolUsage, "/type", json!("com.devtoolkit.activity.v1"), UnknownField),
        (ToolUsage, "/datacontenttype", json!("text/xml"), UnsupportedFormat),
        (ToolUsage, "/data", json!([]), WrongType),
        (ToolUsage, "/data/user", json!("x"), UnknownField),
        (ToolUsage, "/data/userId", json!(null), WrongType),
        (ToolUsage, "/data/toolId", json!("65a4f1c2e1b2a3c4d5e6f70"), InvalidObjectId),
        (ToolUsage, "/data/toolId", json!("65a4f1c2e1b2a3c4d5e6f7021"), InvalidObjectId),
        (ToolUsage, "/data/toolId", json!("65a4f1c2e1b2a3c4d5e6f70g"), InvalidObjectId),
        (ToolUsage, "/data/toolId", json!("65a4f1c2e1b2a3c4d5e6f702\n"), InvalidObjectId),
        (ToolUsage, "/data/toolId", json!(7), WrongType),
        (ToolUsage, "/data/usage/cost", json!(1), UnknownField),
        (ToolUsage, "/data/usage/duration", json!(-1), OutOfRange),
        (ToolUsage, "/data/usage/duration", json!(604_800_001), OutOfRange),
        (ToolUsage, "/data/usage/duration", json!(0.5), WrongType),
        (ToolUsage, "/data/usage/duration", json!("2340"), WrongType),
        (ToolUsage, "/data/usage/inputSize", json!(1_099_511_627_777_i64), OutOfRange),
        (ToolUsage, "/data/usage/outputSize", json!(u64::MAX), OutOfRange),
        (ToolUsage, "/data/usage/outputSize", json!(1e300), OutOfRange),
        (ToolUsage, "/data/usage/success", json!("true"), WrongType),
        (ToolUsage, "/data/usage/errorMessage", json!(""), WrongLength),
        (ToolUsage, "/data/usage/errorMessage", long(4_097), WrongLength),
        (ToolUsage, "/data/context/browser", json!("x"), UnknownField),
        (ToolUsage, "/data/context/userAgent", long(2_049), WrongLength),
        (ToolUsage, "/data/context/ipAddress", long(129), WrongLength),
        (ToolUsage, "/data/context/location/planet", json!("Earth"), UnknownField),
        (ToolUsage, "/data/context/location/country", json!(49), WrongType),
        (ToolUsage, "/data/performance/responseTime", json!(-0.1), OutOfRange),
        (ToolUsage, "/data/performance/responseTime", json!(604_800_000.5), OutOfRange),
        (ToolUsage, "/data/performance/memoryUsage", json!(16_777_216.5), OutOfRange),
        (ToolUsage, "/data/performance/cpuUsage", json!(102_401), OutOfRange),
        (ToolUsage, "/data/metadata/custom", json!({}), UnknownField),
        (ToolUsage, "/data/metadata/features", json!("copy"), WrongType),
        (ToolUsage, "/data/metadata/features", json!(["copy", ""]), WrongLength),
        (ToolUsage, "/data/metadata/features", json!(["copy", 1]), WrongType),
        (ToolUsage, "/data/metadata/features", json!(vec!["x"; 65]), WrongLength),
        (ToolUsage, "/data/metadata/customData", json!([]), WrongType),
        (ToolUsage, "/data/metadata/customData", json!({"": 1}), InvalidKey),
        (ToolUsage, "/data/metadata/customData", json!({"a": {"$b": 1}}), InvalidKey),
        (ToolUsage, "/data/metadata/customData", json!({"a": [[{"b\u{0}": 1}]]}), InvalidKey),
        (Activity, "/data/action", json!("pageview"), UnknownValue),
        (Activity, "/data/action", json!(1), WrongType),
        (Activity, "/data/toolId", json!("65a4f1c2e1b2a3c4d5e6f702"), UnknownField),
        (Activity, "/data/path", json!(""), WrongLength),
        (Activity, "/data/path", long(2_049), WrongLength),
        (Activity, "/data/context", json!(null), WrongType),
        (HealthCheck, "/data/healthy", json!(1), WrongType),
        (HealthCheck, "/data/userId", json!("65a4f1c2e1b2a3c4d5e6f702"), UnknownField),
        (HealthCheck, "/data/responseTime", json!(-1), OutOfRange),
        (HealthCheck, "/data/message", long(4_097), WrongLength),
    ];
    for (kind, path, value, reason) in cases {
        let mut event = tree(*kind);
        set(&mut event, path, value.clone());
        let refused = schemas.agree(&event).expect_err(path);
        assert_eq!(refused.reason, *reason, "{path}: {refused}");
    }
    for date in [
        "",
        "2024-01-15",
        "2024-01-15T10:30Z",
        "2024-01-15 10:30:00Z",
        "2024-01-15T10:30:00",
        "2024-02-30T10:30:00Z",
        "2023-02-29T10:30:00Z",
        "2024-13-01T10:30:00Z",
        "2024-01-15T24:00:00Z",
        "2024-01-15T10:60:00Z",
        "2024-01-15T10:30:60Z",
        "2024-01-15T23:59:60+01:00",
        "2024-01-15T10:30:00.Z",
        "2024-01-15T10:30:00+24:00",
        "2024-01-15T10:30:00+0100",
        "2024-01-15T10:30:00+01",
        "20240115T103000Z",
        "2024-01-15T10:30:00\u{2212}01:00",
        "2024-01-15T10:30:00Z ",
        " 2024-01-15T10:30:00Z",
        "+2024-01-15T10:30:00Z",
        "12024-01-15T10:30:00Z",
        "2024-01-15T10:30:00,5Z",
        "２024-01-15T10:30:00Z",
        "2024-W03-1T10:30:00Z",
        "1705314600000",
    ] {
        for path in ["/time", "/data/usage/startTime"] {
            let mut event = tree(ToolUsage);
            set(&mut event, path, json!(date));
            assert_eq!(schemas.agree(&event).expect_err(date).reason, InvalidDate, "{path} {date:?}");
        }
    }
}

#[test]
fn a_missing_required_field() {
    let schemas = Schemas::new();
    let usage = ["startTime", "endTime", "duration", "inputSize", "outputSize", "success"]
        .map(|name| format!("/data/usage/{name}"));
    let required = [
        (
            EventType::ToolUsage,
            vec![
                "/specversion",
                "/id",
                "/source",
                "/type",
                "/time",
                "/data",
                "/data/toolId",
                "/data/sessionId",
                "/data/usage",
            ],
        ),
        (EventType::ToolUsage, usage.iter().map(String::as_str).collect()),
        (EventType::Activity, vec!["/data/action", "/data/path"]),
        (EventType::HealthCheck, vec!["/data/toolId", "/data/healthy"]),
    ];
    for (kind, paths) in required {
        for path in paths {
            let mut event = tree(kind);
            remove(&mut event, path);
            let refused = schemas.agree(&event).expect_err(path);
            assert_eq!((refused.reason, refused.field), (Reason::MissingField, path[1..].replace('/', ".")));
        }
    }
}

#[test]
fn beyond_a_schema_the_end_is_not_before_the_start_nor_long_after_it() {
    let schemas = Schemas::new();
    for (end, reason) in
        [("2024-01-15T10:29:59.999Z", Reason::EndBeforeStart), ("2024-01-22T10:30:00.001Z", Reason::OutOfRange)]
    {
        let mut event = tree(EventType::ToolUsage);
        set(&mut event, "/data/usage/endTime", json!(end));
        assert_eq!(schemas.accept(&event).unwrap_err().reason, reason);
    }
}

#[test]
fn beyond_a_schema_custom_data_has_a_size_and_a_depth() {
    let schemas = Schemas::new();
    let deep = (0..16).fold(json!(1), |inner, _| json!({ "a": inner }));
    let too_deep = json!({ "a": deep.clone() });
    let large = json!({ "a": "x".repeat(16_384 - 8) });
    let too_large = json!({ "a": "x".repeat(16_384 - 7) });
    for (custom, expected) in
        [(deep, None), (too_deep, Some(Reason::TooDeep)), (large, None), (too_large, Some(Reason::WrongLength))]
    {
        let mut event = tree(EventType::ToolUsage);
        set(&mut event, "/data/metadata/customData", custom);
        assert_eq!(schemas.accept(&event).err().map(|invalid| invalid.reason), expected);
    }
}

#[test]
fn beyond_a_schema_no_field_is_there_twice() {
    let schemas = Schemas::new();
    let event =
        tree(EventType::HealthCheck).to_string().replace("\"healthy\":false", "\"healthy\":false,\"healthy\":true");
    assert!(schemas.whole.is_valid(&serde_json::from_str(&event).unwrap()));
    assert_eq!(decode(event.as_bytes()).unwrap_err().reason, Reason::DuplicateField);
}

#[test]
fn beyond_a_schema_numbers_of_custom_data_are_finite() {
    // What reads JSON into a tree first, as validators do, stops before the schema is asked.
    let event = tree(EventType::ToolUsage).to_string().replace("\"tableCount\":3", "\"tableCount\":1e999");
    assert!(serde_json::from_str::<Value>(&event).is_err());
    assert_eq!(decode(event.as_bytes()).unwrap_err().reason, Reason::OutOfRange);
}

/// What may happen to one field of a valid event.
#[derive(Debug, Clone)]
enum Mutation {
    Remove,
    AddBeside(String, Value),
    Replace(Value),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let names = [
        "",
        "x",
        "$x",
        "a\0b",
        "userId",
        "toolId",
        "sessionId",
        "path",
        "action",
        "context",
        "duration",
        "message",
        "version",
    ];
    let replacement = prop_oneof![
        select(vec![
            json!(null),
            json!(true),
            json!(false),
            json!(0),
            json!(1),
            json!(-1),
            json!(2.5),
            json!(-0.0),
            json!(1e300),
            json!(u64::MAX),
            json!(604_800_000),
            json!(604_800_001),
            json!(1_099_511_627_777_i64),
            json!([]),
            json!({}),
            json!([""]),
            json!({"": 1}),
            json!({"$a": 1}),
            json!([1, "x"]),
            json!("page_view"),
            json!("logout"),
            json!("1.0"),
            json!("com.devtoolkit.activity.v1"),
            json!("com.devtoolkit.health-check.v1"),
            json!("65a4f1c2e1b2a3c4d5e6f701"),
            json!("65a4f1c2e1b2a3c4d5e6f7"),
            json!("2024-01-15T10:30:01Z"),
            json!("2024-01-15"),
            json!(""),
        ]),
        (0_usize..5_000).prop_map(|length| json!("ü".repeat(length))),
        any::<f64>().prop_filter("JSON has no others", |number| number.is_finite()).prop_map(|number| json!(number)),
        any::<i64>().prop_map(|number| json!(number)),
        any::<String>().prop_map(|text| json!(text)),
        near_a_date().prop_map(|text| json!(text)),
        "[0-9a-fA-Fg]{23,25}".prop_map(|text| json!(text)),
    ];
    let name = prop_oneof![select(names.to_vec()).prop_map(str::to_owned), any::<String>()];
    prop_oneof![
        1 => Just(Mutation::Remove),
        1 => (name, replacement.clone()).prop_map(|(name, value)| Mutation::AddBeside(name, value)),
        4 => replacement.prop_map(Mutation::Replace),
    ]
}

/// Dates, and what is nearly one.
fn near_a_date() -> impl Strategy<Value = String> {
    let date = "(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,10})?(Z|z|[+-][0-2][0-9]:[0-6][0-9]|)";
    let one_letter = "[0-9TZtz:.+ -]";
    prop_oneof![
        date,
        (date, any::<Index>(), one_letter).prop_map(|(date, at, letter)| {
            let at = at.index(date.len());
            format!("{}{letter}{}", &date[..at], &date[at + 1..])
        }),
    ]
}

/// The paths of all fields, in objects and arrays.
fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
    let escape = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            let path = format!("{path}/{}", escape(name));
            found.push(path.clone());
            paths(value, &path, found);
        }),
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(index, value)| paths(value, &format!("{path}/{index}"), found))
        }
        _ => {}
    }
}

fn mutate(event: &mut Value, at: &Index, mutation: Mutation) {
    let mut all = Vec::new();
    paths(event, "", &mut all);
    if all.is_empty() {
        return;
    }
    let (parent, name) = at.get(&all).rsplit_once('/').unwrap();
    let name = name.replace("~1", "/").replace("~0", "~");
    let empty = &mut Map::new();
    let fields = event.pointer_mut(parent).and_then(Value::as_object_mut).unwrap_or(empty);
    match mutation {
        Mutation::Remove => drop(fields.shift_remove(&name)),
        Mutation::AddBeside(name, value) => drop(fields.insert(name, value)),
        Mutation::Replace(value) => drop(fields.insert(name, value)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn mutated_samples(
        kind in select(EventType::ALL.to_vec()),
        mutations in proptest::collection::vec((any::<Index>(), mutation()), 1..3),
    ) {
        thread_local!(static SCHEMAS: Schemas = Schemas::new());
        let mut event = tree(kind);
        for (at, mutation) in mutations {
            mutate(&mut event, &at, mutation);
        }
        let _ = SCHEMAS.with(|schemas| schemas.agree(&event));
    }

    #[test]
    fn arbitrary_dates(text in near_a_date()) {
        thread_local!(static SCHEMAS: Schemas = Schemas::new());
        let mut event = tree(EventType::HealthCheck);
        set(&mut event, "/time", json!(text));
        let _ = SCHEMAS.with(|schemas| schemas.agree(&event));
    }

    #[test]
    fn arbitrary_events(event in samples::event()) {
        thread_local!(static SCHEMAS: Schemas = Schemas::new());
        let tree: Value = serde_json::from_str(&event.to_json()).unwrap();
        prop_assert_eq!(SCHEMAS.with(|schemas| schemas.agree(&tree)), Ok(()));
    }
}
