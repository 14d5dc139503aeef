//! One core's speed from a message to the bytes of its document.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::sync::Arc;

use benches::samples::tool_usage;
use bson::DateTime;
use bson::oid::ObjectId;
use common::event::Message;
use common::keyring::Keyring;
use common::tombstones::{Subject, Tombstone, Tombstones};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

fn decode(criterion: &mut Criterion) {
    let samples: Vec<String> = (0..1_000).map(|number| tool_usage(number, 1_700_000_000_000, 50_000, 200)).collect();
    let bytes: usize = samples.iter().map(String::len).sum();
    let mut group = criterion.benchmark_group("1000 tool uses");
    group.throughput(Throughput::Elements(samples.len() as u64));
    println!("{} bytes of JSON an event", bytes / samples.len());
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            samples
                .iter()
                .filter(|json| Message { value: Some(json.as_bytes()), headers: std::iter::empty() }.decode().is_ok())
                .count()
        });
    });
    group.bench_function("decode and write", |bencher| {
        bencher.iter_batched_ref(
            || Vec::with_capacity(1 << 20),
            |buffer| {
                for json in &samples {
                    Message { value: Some(json.as_bytes()), headers: std::iter::empty() }
                        .decode()
                        .unwrap()
                        .write_document(buffer);
                }
                buffer.len()
            },
            BatchSize::LargeInput,
        );
    });
    for erased in [0_u32, 100_000] {
        let (_folder, tombstones) = tombstones(erased);
        group.bench_function(format!("decode, {erased} tombstones"), |bencher| {
            bencher.iter(|| {
                samples
                    .iter()
                    .filter_map(|json| {
                        Message { value: Some(json.as_bytes()), headers: std::iter::empty() }.decode().ok()
                    })
                    .filter(|event| !tombstones.contains_event(event))
                    .count()
            });
        });
    }
    group.finish();
}

/// What ingest knows when so many people were erased.
fn tombstones(erased: u32) -> (tempfile::TempDir, Tombstones) {
    let folder = tempfile::tempdir().unwrap();
    let keyring = Arc::new(Keyring::create(&folder.path().join("keyring.json")).unwrap());
    let mut tombstones = Tombstones::new(Some(Arc::clone(&keyring)));
    for number in 0..erased {
        let mut id = [0xff; 12];
        id[8..].copy_from_slice(&number.to_be_bytes());
        let user = Subject::User(ObjectId::from_bytes(id));
        tombstones.add(&Tombstone::of(user, &keyring, DateTime::from_millis(0)));
    }
    (folder, tombstones)
}

criterion_group!(benches, decode);
criterion_main!(benches);
