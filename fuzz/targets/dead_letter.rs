//! What `admin dead-letters` reads out of a message of the dead-letter topic, which anybody may have written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rdkafka::Timestamp;
use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};

type Headers = Vec<(u8, String, Option<Vec<u8>>)>;

/// The beginnings of the names that mean something.
const NAMES: [&str; 6] = [
    "",
    "__connect.errors.",
    "devtoolkit.original.",
    "devtoolkit.timestamp",
    "ce_",
    "__connect.errors.exception.message",
];

fuzz_target!(|input: (Option<Vec<u8>>, Option<Vec<u8>>, i64, Headers)| {
    let (key, value, time, headers) = input;
    let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (name, rest, value)| {
        let key = format!("{}{}", NAMES[usize::from(*name) % NAMES.len()], rest.replace('\0', ""));
        headers.insert(Header { key: &key, value: value.as_ref() })
    });
    let message = OwnedMessage::new(value, key, "topic".to_owned(), Timestamp::CreateTime(time), 0, 0, Some(headers));
    assert!(!admin::dead_letters::read_out(&message).is_empty());
});
