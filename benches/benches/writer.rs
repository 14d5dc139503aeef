//! One batch from its documents to the acknowledgement of a majority, on a real mongod: new documents, and a replay of known
//! ones.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::sync::Arc;

use benches::samples::tool_usage;
use common::event::Message;
use common::settings::Settings;
use common::telemetry::{Part, Readiness};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use e2e::servers::{ReplicaSet, ReplicaSetOptions};
use ingest::batch::Batch;
use ingest::conflicts::Conflicts;
use ingest::dead_letter::DeadLetters;
use ingest::offsets::Origin;
use ingest::writer::Writer;

const EVENTS: u64 = 1_000;

fn batch(from: u64) -> Batch {
    let mut batch = Batch::default();
    for number in from..from + EVENTS {
        let json = tool_usage(number, 1_700_000_000_000 + number as i64 * 80, 50_000, 200);
        let event = Message { value: Some(json.as_bytes()), headers: std::iter::empty() }.decode().unwrap();
        batch.push(&event, Origin { partition: 0, offset: number as i64 });
    }
    batch
}

fn write(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mongodb =
        runtime.block_on(ReplicaSet::start(ReplicaSetOptions { cache_gb: 2.0, ..ReplicaSetOptions::default() }));
    let mongodb = mongodb.unwrap();
    let client = runtime.block_on(mongodb::Client::with_uri_str(mongodb.uri())).unwrap();
    let kafka = Settings::default().kafka;
    let database = client.database("writer");
    let conflicts = {
        let _guard = runtime.enter();
        Conflicts::new(database.clone(), kafka.clone(), tokio::sync::watch::channel(Arc::default()).1)
    };
    let writer = Arc::new(Writer::new(
        database,
        kafka.clone(),
        DeadLetters::new(kafka),
        conflicts,
        Readiness::starting(&[Part::Mongodb]),
    ));
    let mut group = criterion.benchmark_group("a batch of 1000");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(30);
    let mut next = 0;
    group.bench_function("new documents", |bencher| {
        bencher.iter_batched(
            || {
                next += EVENTS;
                batch(next)
            },
            |mut batch| runtime.block_on(writer.write(&mut batch)),
            BatchSize::PerIteration,
        );
    });
    let mut known = batch(0);
    runtime.block_on(writer.write(&mut known));
    group.bench_function("known documents", |bencher| bencher.iter(|| runtime.block_on(writer.write(&mut known))));
    group.bench_function("the command alone", |bencher| {
        bencher.iter(|| known.inserts().iter().map(|insert| insert.command().len()).sum::<usize>());
    });
    group.finish();
}

criterion_group!(benches, write);
criterion_main!(benches);
