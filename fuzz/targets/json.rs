//! The JSON reader: it takes nothing that serde_json refuses, and never calls something broken that serde_json takes.
#![no_main]

use common::event::{Message, Reason};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let header = [("content-type", Some(b"application/cloudevents+json".as_slice()))];
    let decoded = Message { value: Some(data), headers: header.into_iter() }.decode();
    let known = serde_json::from_slice::<Value>(data);
    match decoded {
        Ok(event) => {
            assert!(known.is_ok(), "taken, and serde_json says {known:?}");
            let again = event.to_json();
            let same = Message { value: Some(again.as_bytes()), headers: header.into_iter() }.decode();
            assert_eq!(same.map(|event| event.to_json()), Ok(again));
        }
        Err(invalid) if invalid.reason == Reason::InvalidJson => {
            assert!(known.is_err(), "{invalid}, and serde_json takes it");
        }
        Err(invalid) => assert!(!invalid.to_string().is_empty()),
    }
});
