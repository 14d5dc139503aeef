//! What docs/SENDING.md and docs/asyncapi.yaml tell tool authors is so.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

mod samples;

use std::path::PathBuf;

use common::event::{EventType, Message, Reason};
use common::settings;
use samples::{binary_headers, decode, decode_with};
use serde_json::Value;

const ERROR_HEADERS: [&str; 6] = [
    "__connect.errors.topic",
    "__connect.errors.partition",
    "__connect.errors.offset",
    "__connect.errors.stage",
    "__connect.errors.exception.class.name",
    "__connect.errors.exception.message",
];

fn docs(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file)
}

fn sending() -> String {
    std::fs::read_to_string(docs("SENDING.md")).unwrap()
}

fn asyncapi() -> Value {
    serde_yaml_ng::from_str(&std::fs::read_to_string(docs("asyncapi.yaml")).unwrap()).unwrap()
}

/// The code blocks of a language, with the times filled in.
fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let fenced = markdown.split("```").skip(1).step_by(2);
    let blocks = fenced.filter_map(|block| block.strip_prefix(&format!("{language}\n")));
    blocks.map(|block| block.replace("NOW", samples::TIME).replace("$now", samples::TIME)).collect()
}

#[test]
fn the_samples_of_sending_are_accepted() {
    let samples = blocks(&sending(), "json");
    let (whole, data): (Vec<_>, Vec<_>) = samples.iter().partition(|sample| sample.contains("specversion"));
    let traced = decode(whole.last().unwrap().as_bytes()).unwrap().traceparent.unwrap();
    assert_eq!(traced.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    let types: Vec<_> = whole.iter().map(|sample| decode(sample.as_bytes()).unwrap().event_type()).collect();
    assert_eq!(
        types,
        [EventType::ToolUsage, EventType::ToolUsage, EventType::Activity, EventType::HealthCheck, EventType::Activity]
    );
    let [data] = data[..] else { panic!("one sample in binary mode, not {data:?}") };
    decode_with(data.as_bytes(), &binary_headers(EventType::HealthCheck)).unwrap();
}

#[test]
fn what_the_kcat_commands_send_is_accepted() {
    let commands = blocks(&sending(), "sh");
    let commands: Vec<_> = commands.iter().filter(|command| command.contains("kcat -P")).collect();
    assert_eq!(commands.len(), 2);
    for command in commands {
        let value = command.lines().find(|line| line.starts_with('{')).unwrap();
        let headers = command.split("-H ").skip(1).map(|rest| {
            let header = rest.trim_start_matches('"').split([' ', '"', '\n']).next().unwrap();
            header.split_once('=').unwrap()
        });
        let headers = headers.map(|(name, value)| (name, Some(value.as_bytes())));
        let event = Message { value: Some(value.as_bytes()), headers }.decode().unwrap();
        assert!(command.contains(&format!("-k {} ", event.key())), "{command}");
    }
}

#[test]
fn every_reason_and_every_header_is_explained() {
    let sending = sending();
    let rows: Vec<_> = sending.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let reasons = Reason::ALL.map(Reason::as_str);
    let explained: Vec<_> = rows.iter().filter(|row| !row.contains('.')).copied().collect();
    assert_eq!(explained, reasons);
    let headers: Vec<_> = rows.iter().filter(|row| row.starts_with("__connect")).copied().collect();
    assert_eq!(headers, ERROR_HEADERS);

    let dead_letters = &asyncapi()["components"]["schemas"]["deadLetterHeaders"];
    assert_eq!(dead_letters["required"], Value::from(ERROR_HEADERS.to_vec()));
    let properties = dead_letters["properties"].as_object().unwrap();
    let (errors, others): (Vec<&str>, Vec<&str>) =
        properties.keys().map(String::as_str).partition(|name| name.starts_with("__connect"));
    assert_eq!(errors, ERROR_HEADERS);
    let told = sending.lines().filter(|line| line.starts_with("| `devtoolkit.")).flat_map(|line| line.split('`'));
    assert_eq!(others, told.filter(|word| word.starts_with("devtoolkit.")).collect::<Vec<_>>());
    assert_eq!(properties["__connect.errors.exception.class.name"]["enum"], Value::from(reasons.to_vec()));
}

#[test]
fn asyncapi_names_the_topics_of_the_default_settings() {
    let (asyncapi, kafka) = (asyncapi(), settings::Kafka::default());
    for (channel, topic) in [("usageEvents", kafka.topic.clone()), ("deadLetters", kafka.dead_letter_topic())] {
        let channel = &asyncapi["channels"][channel];
        assert_eq!(channel["address"], topic);
        assert_eq!(channel["bindings"]["kafka"]["topic"], topic);
        assert_eq!(channel["bindings"]["kafka"]["partitions"], kafka.partitions);
    }
}

#[test]
fn every_reference_of_asyncapi_leads_somewhere() {
    let asyncapi = asyncapi();
    let mut references = Vec::new();
    collect_references(&asyncapi, &mut references);
    assert!(references.len() > 15);
    for reference in references {
        match reference.strip_prefix('#') {
            Some(pointer) => assert!(asyncapi.pointer(pointer).is_some(), "{reference}"),
            None => assert!(docs(&reference).is_file(), "{reference}"),
        }
    }
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect_references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_references(value, found)),
        _ => {}
    }
}

#[test]
fn the_examples_of_asyncapi_are_accepted() {
    let asyncapi = asyncapi();
    let mut examples = 0;
    for message in asyncapi["components"]["messages"].as_object().unwrap().values() {
        for example in message["examples"].as_array().into_iter().flatten() {
            let value = example["payload"].to_string();
            let headers = example["headers"].as_object().into_iter().flatten();
            let headers = headers.map(|(name, value)| (name.as_str(), value.as_str().map(str::as_bytes)));
            Message { value: Some(value.as_bytes()), headers }
                .decode()
                .unwrap_or_else(|refused| panic!("{example}: {refused}"));
            examples += 1;
        }
    }
    assert_eq!(examples, 4);
}
