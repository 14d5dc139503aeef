//! One core's speed from the documents that the scan reads to the folded day.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use aggregator::fold::shards::{Found, SHARDS};
use aggregator::fold::tools::Known;
use aggregator::fold::{Fold, People};
use aggregator::scan::pass::Part;
use aggregator::source::Source;
use benches::day::projected_tool_uses;
use common::day::Day;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn fold(criterion: &mut Criterion) {
    let day = Day::parse("2024-01-15").unwrap();
    let (bytes, ends) = projected_tool_uses(day, 1_000_000);
    let mut group = criterion.benchmark_group("a day");
    group.sample_size(10).throughput(Throughput::Elements(ends.len() as u64));
    group.bench_function("fold", |bencher| {
        bencher.iter(|| {
            let (mut fold, mut found) = (Fold::of(day, &Known::default()), Found::default());
            let people = People::new(0..SHARDS, usize::MAX);
            let mut start = 0;
            // As many as a reader meets in a slice.
            for ends in ends.chunks(10_000) {
                for end in ends {
                    fold.add(Source::ToolUses, &bytes[start..*end], &mut found).unwrap();
                    start = *end;
                }
                found.end_slice();
                people.take(&mut found);
            }
            people.user_count()
        });
    });
    group.finish();
}

criterion_group!(benches, fold);
criterion_main!(benches);
