//! The readers of BSON: the roll-up's own, and that of the oplog's entries in a backup. Neither panics on any bytes.
#![no_main]

use aggregator::scan::documents;
use aggregator::scan::elements::{Elements, Value};
use bson::RawDocument;
use libfuzzer_sys::fuzz_target;

fn walk(bytes: &[u8], depth: usize) -> bool {
    let Ok(elements) = Elements::of(bytes) else { return false };
    elements.into_iter().all(|element| match element {
        Ok((_, Value::Document(inner))) if depth < 50 => walk(inner, depth + 1),
        element => element.is_ok(),
    })
}

fuzz_target!(|data: &[u8]| {
    let is_whole = walk(data, 0);
    let _ = documents::tool_use(data, |_| {});
    let _ = documents::activity(data, |_| {});
    let _ = documents::health_check(data);
    let Ok(document) = RawDocument::from_bytes(data) else { return };
    // What the library reads as it is, the roll-up reads, too.
    if bson::deserialize_from_slice::<bson::Document>(data).is_ok() {
        assert!(is_whole, "the library reads it");
    }
    if let Ok(entry) = backup::entry::parse(document, "devtoolkit") {
        let _ = format!("{entry:?}");
    }
});
