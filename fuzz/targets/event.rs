//! The decoder in both modes of the Kafka binding: it never panics, and what it takes becomes a whole document that the roll-up reads.
#![no_main]

use aggregator::scan::documents;
use bson::RawDocument;
use common::event::{EventType, Message};
use libfuzzer_sys::fuzz_target;

type Headers = Vec<(String, Option<Vec<u8>>)>;

/// What nearly every event has: a fuzzer would not find it in time.
const BINARY: [(&str, &[u8]); 5] = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"1"),
    ("ce_source", b"/tools/a"),
    ("ce_time", b"2024-01-15T10:30:00Z"),
    ("content-type", b"application/json"),
];

fuzz_target!(|input: (u8, Option<Vec<u8>>, Headers)| {
    let (mode, value, headers) = input;
    let own = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
    let kind = EventType::ALL[usize::from(mode / 4) % EventType::ALL.len()];
    let given: Vec<(&str, Option<&[u8]>)> = match mode % 4 {
        0 => own.collect(),
        1 => own.chain([("content-type", Some(b"application/cloudevents+json".as_slice()))]).collect(),
        _ => {
            let known = BINARY.iter().map(|(name, value)| (*name, Some(*value)));
            own.chain(known).chain([("ce_type", Some(kind.as_str().as_bytes()))]).collect()
        }
    };
    let Ok(event) = (Message { value: value.as_deref(), headers: given.into_iter() }).decode() else { return };
    let mut buffer = Vec::new();
    event.write_document(&mut buffer);
    let document = RawDocument::from_bytes(&buffer).expect("BSON");
    document.iter().for_each(|element| drop(element.expect("an element")));
    match event.event_type() {
        EventType::ToolUsage => documents::tool_use(&buffer, |_| {}).expect("a tool use"),
        EventType::Activity => documents::activity(&buffer, |_| {}).expect("an activity"),
        EventType::HealthCheck => drop(documents::health_check(&buffer).expect("a health check")),
    }
});
