//! `admin backup schedule`.

use std::time::Duration;

use backup::archive;
use backup::catalog::Catalog;
use backup::copy;
use backup::manifest::Kind;
use backup::progress::Progress;
use backup::range::{Lost, NoFull, Restored};
use backup::rehearsal;
use backup::store::Store;
use chrono::{DateTime, Datelike, TimeDelta, Utc};
use clap::Args;
use common::cron::Schedule;
use common::settings::{Settings, SettingsError};
use common::telemetry::{Part, Readiness};
use common::{mongo, shutdown, telemetry, watchdog};

use super::saving::Saver;
use super::{metrics, prune, rehearse};

/// After a failure the next attempt comes so much later.
const PAUSE: TimeDelta = TimeDelta::minutes(1);
/// The wall clock is asked this often: a timer alone would be late after the machine slept.
const CLOCK_CHECK: Duration = Duration::from_secs(5);

/// Make backups at their times, until it is stopped
///
/// A full backup, an incremental one and a slice when backup.full_schedule, backup.incremental_schedule and backup.slice_interval say;
/// what was missed is made at the start. After each, backup.second_storage gets a copy. After a full backup, what is too old is removed
/// from both, and the first of a month is followed by the archive. When the oplog has lost entries, or the database was restored, a full
/// backup is made at once. Stop it before a restore, and start it again afterwards. With
/// backup.identity_file and backup.rehearsal_schedule it also tries a restore, into the database NAME_rehearsal. /metrics and /healthz are
/// on port 9468 (telemetry.listen).
#[derive(Args, Debug)]
pub(super) struct Options {}

/// Where it serves its metrics, unless `telemetry.listen` says otherwise.
pub const PORT: u16 = 9468;

pub(super) async fn run(settings: &Settings, _: &Options) -> anyhow::Result<()> {
    let times = Times::new(settings)?;
    let shutdown = shutdown::token()?;
    watchdog::watch_runtime()?;
    let recorder = common::metrics::install("backup", metrics::METRICS)?;
    let readiness = Readiness::starting(&[Part::Mongodb]);
    telemetry::serve(&settings.telemetry, PORT, recorder, readiness.clone(), shutdown.clone()).await?;
    let saver = Saver::open(settings).await?;
    readiness.set(Part::Mongodb, Ok(()));
    let second = if settings.backup.second_storage.is_empty() { None } else { Some(Store::second(&settings.backup)?) };
    let mut last = Last::of(&Catalog::read(&saver.store).await?, show(&saver.store).await?);
    readiness.ready();
    let work = async {
        loop {
            let now = Utc::now();
            let Some(due) = times.due(&last, now) else {
                tokio::time::sleep(CLOCK_CHECK).await;
                continue;
            };
            let outcome = make(settings, &saver, second.as_ref(), due, &mut last).await;
            if let Err(error) = &outcome {
                let is_lost = error.is::<Lost>() || error.is::<NoFull>() || error.is::<Restored>();
                tracing::error!(work = due.name(), error = mongo::in_words(error), "failed");
                metrics::failed(due.name());
                if is_lost && due != Work::Full {
                    // Only a full backup begins anew.
                    last.full = None;
                } else {
                    last.not_before = Some(Utc::now() + PAUSE);
                }
            }
            let shown = show(&saver.store).await.map(drop);
            if due != Work::Rehearsal {
                let state = outcome.and(shown).map_err(|error| format!("{}: {}", due.name(), mongo::in_words(&error)));
                readiness.set(Part::Backups, state);
            }
        }
    };
    shutdown.run_until_cancelled(work).await;
    Ok(())
}

/// Shows what the storage has; returns when a restore was last tried.
async fn show(store: &Store) -> anyhow::Result<Option<DateTime<Utc>>> {
    let rehearsed = rehearsal::last(store).await?;
    metrics::found(&Catalog::read(store).await?, rehearsed);
    Ok(rehearsed)
}

async fn make(
    settings: &Settings,
    saver: &Saver,
    second: Option<&Store>,
    due: Work,
    last: &mut Last,
) -> anyhow::Result<()> {
    let (began, progress) = (Utc::now(), Progress::default());
    match due {
        Work::Full => {
            let full = saver.full(&progress).await?;
            tracing::info!(
                id = full.id,
                to = full.to.text(),
                documents = full.documents(),
                seconds = full.seconds,
                "full backup"
            );
            (last.full, last.incremental, last.slice) = (Some(began), Some(began), Some(began));
            // Before the archive, which may need the room.
            let removed = prune::remove(settings, &saver.store).await?;
            tracing::info!(backups = removed, "removed what is too old");
            if last.archive_month != Some(month(began)) {
                let archive = archive::make(&saver.database, &saver.store, saver.recipient(), &progress).await?;
                tracing::info!(id = archive.id, documents = archive.documents(), "archive of the month");
                last.archive_month = Some(month(began));
            }
        }
        Work::Incremental | Work::Slice => {
            let kind = if due == Work::Incremental { Kind::Incremental } else { Kind::Slice };
            if let Some(range) = saver.range(kind, &progress).await? {
                tracing::info!(%kind, to = range.to.text(), entries = range.oplog.documents, "saved the oplog");
                metrics::saved(kind, range.seconds);
            }
            last.slice = Some(began);
            if due == Work::Incremental {
                last.incremental = Some(began);
            }
        }
        Work::Rehearsal => {
            // Once a week is enough, also for one that fails: its failure is in the log.
            last.rehearsal = Some(began);
            let rehearsed = rehearse::once(settings, &saver.store).await?;
            tracing::info!(
                to = rehearsed.to,
                documents = rehearsed.documents,
                seconds = rehearsed.seconds,
                "rehearsed"
            );
            return Ok(());
        }
    }
    if let Some(second) = second {
        let copied = copy::run(&saver.store, second).await?;
        tracing::debug!(objects = copied.objects, bytes = copied.bytes, "copied");
        if due == Work::Full {
            let removed = prune::remove(settings, second).await?;
            tracing::info!(backups = removed, "removed what is too old from the second place");
        }
    }
    Ok(())
}

/// What can be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Full,
    Incremental,
    Slice,
    Rehearsal,
}

impl Work {
    /// For the log and the metrics.
    const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::Slice => "slice",
            Self::Rehearsal => "rehearsal",
        }
    }
}

/// When each was begun last.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    full: Option<DateTime<Utc>>,
    incremental: Option<DateTime<Utc>>,
    slice: Option<DateTime<Utc>>,
    rehearsal: Option<DateTime<Utc>>,
    archive_month: Option<(i32, u32)>,
    /// After a failure.
    not_before: Option<DateTime<Utc>>,
}

impl Last {
    /// As the storage has it.
    fn of(catalog: &Catalog, rehearsed: Option<DateTime<Utc>>) -> Self {
        let time = |second: u32| DateTime::from_timestamp(i64::from(second), 0);
        let full = catalog.fulls.iter().filter(|full| full.damage.is_none()).map(|full| full.manifest.started).max();
        let range = |kind| catalog.ranges.iter().filter(|range| range.kind == kind).map(|range| range.to.second).max();
        let incremental = range(Kind::Incremental).and_then(time).max(full);
        let archive_month = catalog.archives.iter().map(|archive| month(archive.manifest.started)).max();
        let slice = range(Kind::Slice).and_then(time).max(incremental);
        // The first rehearsal is due when the schedule fires next.
        let rehearsal = rehearsed.or(Some(Utc::now()));
        Self { full, incremental, slice, rehearsal, archive_month, not_before: None }
    }
}

fn month(time: DateTime<Utc>) -> (i32, u32) {
    (time.year(), time.month())
}

/// When each is wanted.
struct Times {
    full: Schedule,
    incremental: Schedule,
    slice: TimeDelta,
    rehearsal: Option<Schedule>,
}

impl Times {
    fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let backup = &settings.backup;
        let can_rehearse = !backup.rehearsal_schedule.is_empty() && !backup.identity_file.as_os_str().is_empty();
        let rehearsal = can_rehearse.then(|| Schedule::parse("backup.rehearsal_schedule", &backup.rehearsal_schedule));
        Ok(Self {
            full: Schedule::parse("backup.full_schedule", &backup.full_schedule)?,
            incremental: Schedule::parse("backup.incremental_schedule", &backup.incremental_schedule)?,
            slice: TimeDelta::from_std(backup.slice_interval).unwrap_or(TimeDelta::minutes(1)),
            rehearsal: rehearsal.transpose()?,
        })
    }

    /// What is to be made now. What was missed is due, once.
    fn due(&self, last: &Last, now: DateTime<Utc>) -> Option<Work> {
        if last.not_before.is_some_and(|time| now < time) {
            return None;
        }
        let has_fired =
            |schedule: &Schedule, last: Option<DateTime<Utc>>| last.is_none_or(|last| schedule.next_after(last) <= now);
        if has_fired(&self.full, last.full) {
            Some(Work::Full)
        } else if has_fired(&self.incremental, last.incremental) {
            Some(Work::Incremental)
        } else if last.slice.is_none_or(|last| last + self.slice <= now) {
            Some(Work::Slice)
        } else if self.rehearsal.as_ref().is_some_and(|schedule| has_fired(schedule, last.rehearsal)) {
            Some(Work::Rehearsal)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn each_is_made_at_its_time_and_what_was_missed_once() {
        let times = Times::new(&Settings::default()).unwrap();
        let due = |last: &Last, now: &str| times.due(last, time(now));
        assert_eq!(due(&Last::default(), "2026-01-15T10:00:00Z"), Some(Work::Full), "the first");
        let at = |text: &str| Some(time(text));
        let made = at("2026-01-15T02:00:01Z");
        let mut last = Last { full: made, incremental: made, slice: made, ..Last::default() };
        assert_eq!(due(&last, "2026-01-15T02:00:30Z"), None);
        assert_eq!(due(&last, "2026-01-15T02:01:01Z"), Some(Work::Slice));
        assert_eq!(due(&last, "2026-01-15T06:00:00Z"), Some(Work::Incremental));
        assert_eq!(due(&last, "2026-01-16T02:00:00Z"), Some(Work::Full));
        assert_eq!(due(&last, "2026-01-19T12:00:00Z"), Some(Work::Full), "days were missed");
        last.not_before = at("2026-01-19T12:01:00Z");
        assert_eq!(due(&last, "2026-01-19T12:00:00Z"), None, "it failed just now");
    }
}
