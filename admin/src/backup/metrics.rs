//! Every metric of `admin backup schedule`, declared and described here alone.

use backup::catalog::Catalog;
use backup::manifest::Kind;
use chrono::{DateTime, Utc};
use common::declare_metrics;
use common::metrics::{Label, counter, gauge, known};

const WORK: &[Label] = &[known("work", || vec!["full", "incremental", "slice", "rehearsal"])];
const KIND: &[Label] = &[known("kind", || vec!["full", "incremental", "slice"])];

declare_metrics! {
    RESTORABLE = gauge(
        "devtoolkit_backup_restorable_timestamp_seconds",
        "The last second that the database can be restored to; 0 when there is none",
    );
    LAST = gauge(
        "devtoolkit_backup_last_timestamp_seconds",
        "Until when the last backup of the kind holds the database; 0 when there is none",
    )
    .by(KIND);
    SIZE = gauge("devtoolkit_backup_size_bytes", "Size of the last backup of the kind, compressed; 0 when there is none").by(KIND);
    DURATION = gauge(
        "devtoolkit_backup_duration_seconds",
        "Time that the last backup of the kind took; 0 when this process made none and the listing does not tell",
    )
    .by(KIND);
    HOLES = gauge("devtoolkit_backup_holes", "Stretches of time between the oldest full backup and the last slice that cannot be restored");
    DAMAGED = gauge("devtoolkit_backup_damaged", "Backups that lack an object or a part of one, or whose manifest cannot be read");
    LAST_REHEARSAL = gauge(
        "devtoolkit_backup_last_rehearsal_timestamp_seconds",
        "When a restore was last tried with success, here or on another machine; 0 when there was none",
    );
    FAILURES = counter("devtoolkit_backup_failures_total", "Backups and rehearsals that failed; the log says why").by(WORK);
}

/// What the storage has.
pub fn found(catalog: &Catalog, rehearsed: Option<DateTime<Utc>>) {
    let last_full = catalog.fulls.iter().filter(|full| full.damage.is_none()).max_by_key(|full| full.manifest.to);
    let restorable =
        catalog.windows().iter().map(|window| window.to).max().max(last_full.map(|full| full.manifest.to.second));
    RESTORABLE.gauge(&[]).set(f64::from(restorable.unwrap_or(0)));
    if let Some(full) = last_full {
        LAST.gauge(&["full"]).set(f64::from(full.manifest.to.second));
        SIZE.gauge(&["full"]).set(full.bytes as f64);
        DURATION.gauge(&["full"]).set(full.manifest.seconds);
    }
    for kind in [Kind::Incremental, Kind::Slice] {
        let of_kind = catalog.ranges.iter().filter(|range| range.kind == kind && range.damage.is_none());
        if let Some(last) = of_kind.max_by_key(|range| range.to) {
            LAST.gauge(&[name(kind)]).set(f64::from(last.to.second));
            SIZE.gauge(&[name(kind)]).set(last.bytes as f64);
        }
    }
    HOLES.gauge(&[]).set(catalog.holes().len() as f64);
    DAMAGED.gauge(&[]).set(catalog.damage().len() as f64);
    LAST_REHEARSAL.gauge(&[]).set(rehearsed.map_or(0.0, |time| time.timestamp() as f64));
}

/// A range was saved, and took so long.
pub fn saved(kind: Kind, seconds: f64) {
    DURATION.gauge(&[name(kind)]).set(seconds);
}

/// A work failed.
pub fn failed(work: &str) {
    FAILURES.counter(&[work]).increment(1);
}

const fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Incremental => "incremental",
        Kind::Slice => "slice",
    }
}
