//! docs/METRICS.md says what the programs declare; `./dev docs` writes it anew.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::fmt::Write;
use std::path::PathBuf;

use common::metrics::{Kind, Label, Metric, SHARED, Values};

/// The chapters, and whose metrics they hold.
const CHAPTERS: [(&str, &[Metric]); 5] = [
    ("All four", SHARED),
    ("ingest, port 9464", ingest::metrics::METRICS),
    ("aggregator, port 9465", aggregator::metrics::METRICS),
    ("dashboard, port 9467", dashboard::metrics::METRICS),
    ("admin backup schedule, port 9468", admin::backup::metrics::METRICS),
];

const HEAD: &str = "\
# Metrics

What `ingest`, `aggregator`, `dashboard` and `admin backup schedule` show on `/metrics`. Made of the declarations (`common/src/metrics/shared.rs`,
`ingest/src/metrics.rs`, `aggregator/src/metrics.rs`, `dashboard/src/metrics.rs`, `admin/src/backup/metrics.rs`) by `./dev docs`; a test
holds it to them.

Series whose labels are all known beforehand are there from the start, counters and histograms with 0. No label is a user, a
session, an event or free text: the number of series is bounded, however many users and tools there are.
";

fn metrics() -> impl Iterator<Item = &'static Metric> {
    CHAPTERS.iter().flat_map(|(_, metrics)| metrics.iter())
}

#[test]
fn the_document_is_current() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/METRICS.md");
    let document = document();
    if std::env::var_os("DEVTOOLKIT_WRITE_DOCS").is_some() {
        std::fs::write(&path, &document).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let changed = document.lines().find(|line| !found.lines().any(|known| known == *line));
    assert!(found == document, "docs/METRICS.md is not current: run ./dev docs; for one, it lacks {changed:?}");
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    let mut names = Vec::new();
    for Metric { name, kind, help, labels } in metrics() {
        assert!(name.starts_with("devtoolkit_") || name.starts_with("process_"), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        let is_base = ["_milliseconds", "_ms", "_minutes", "_percent", "_kib", "_mib", "_count", "_sum", "_bucket"];
        assert!(!is_base.iter().any(|ending| name.contains(ending)), "{name}: not a base unit, or a reserved ending");
        // Those of a process are named by Prometheus itself.
        for unit in ["_seconds", "_bytes", "_ratio"].iter().filter(|_| name.starts_with("devtoolkit_")) {
            let is_last = name.trim_end_matches("_total").ends_with(unit);
            assert!(!name.contains(unit) || is_last, "{name}: the unit comes last");
        }
        assert!(help.len() > 10 && !help.ends_with('.') && !help.contains('|'), "{name}: {help}");
        assert!(labels.iter().all(|label| label.name.chars().all(|c| c.is_ascii_lowercase())), "{name}");
        if let Kind::Histogram(bounds) = kind {
            assert!(!bounds.is_empty() && bounds.is_sorted(), "{name}");
        }
        names.push(*name);
    }
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "a name is declared twice");
}

fn document() -> String {
    let mut text = HEAD.to_owned();
    for (title, metrics) in CHAPTERS {
        write!(text, "\n## {title}\n\n| name | kind | unit | labels | meaning |\n|---|---|---|---|---|\n").unwrap();
        for metric in metrics {
            text += &row(metric);
        }
        for metric in metrics {
            if let Kind::Histogram(bounds) = metric.kind {
                let bounds = bounds.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
                write!(text, "\nBounds of `{}`, {}: {bounds}.\n", metric.name, unit(metric)).unwrap();
            }
        }
    }
    text
}

fn row(metric: &Metric) -> String {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    let labels = metric.labels.iter().map(label).collect::<Vec<_>>().join("; ");
    format!("| `{}` | {kind} | {} | {labels} | {} |\n", metric.name, unit(metric), metric.help)
}

/// As the name says it, which is where Prometheus wants it.
fn unit(metric: &Metric) -> &'static str {
    let name = metric.name.trim_end_matches("_total");
    let units = [
        ("_timestamp_seconds", "seconds since 1970"),
        ("_start_time_seconds", "seconds since 1970"),
        ("_cpu_seconds", "seconds"),
        ("_seconds", "seconds"),
        ("_bytes", "bytes"),
        ("_ratio", "ratio"),
    ];
    let count = if metric.kind == Kind::Counter { "count" } else { "" };
    units.iter().find(|(ending, _)| name.ends_with(ending)).map_or(count, |(_, unit)| unit)
}

fn label(label: &Label) -> String {
    match label.values {
        Values::Known(values) => {
            format!(
                "`{}`: {}",
                label.name,
                values().iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
            )
        }
        Values::Found(which) => format!("`{}`: {which}", label.name),
    }
}
