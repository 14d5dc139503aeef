//! One core's speed from a message to the bytes of its document.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use benches::samples::tool_usage;
use common::event::Message;
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
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
