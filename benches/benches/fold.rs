//! One core's speed from the documents that the scan reads to the folded day.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use aggregator::fold::Fold;
use aggregator::scan::Source;
use aggregator::scan::pass::{Part, add_all};
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
            let mut fold = Fold::new(day);
            let mut together = Vec::new();
            let mut start = 0;
            for ends in ends.chunks(64) {
                for end in ends {
                    together.push(Fold::read(Source::ToolUses, &bytes[start..*end]).unwrap());
                    start = *end;
                }
                add_all(&mut fold, &mut together);
            }
            fold.active_user_count()
        });
    });
    group.finish();
}

criterion_group!(benches, fold);
criterion_main!(benches);
