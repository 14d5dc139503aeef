//! `admin backup schedule`.

use std::time::Duration;

use backup::archive;
use backup::catalog::Catalog;
use backup::copy;
use backup::manifest::Kind;
use backup::progress::Progress;
use backup::range::{Lost, NoFull};
use backup::store::Store;
use chrono::{DateTime, Datelike, TimeDelta, Utc};
use clap::Args;
use common::cron::Schedule;
use common::settings::{Settings, SettingsError};
use common::{mongo, shutdown};

use super::saving::Saver;
use super::{prune, rehearse};

/// After a failure the next attempt comes so much later.
const PAUSE: TimeDelta = TimeDelta::minutes(1);
/// The wall clock is asked this often: a timer alone would be late after the machine slept.
const CLOCK_CHECK: Duration = Duration::from_secs(5);

/// Make backups at their times, until it is stopped
///
/// A full backup, an incremental one and a slice when backup.full_schedule, backup.incremental_schedule and backup.slice_interval say;
/// what was missed is made at the start. After each, backup.second_storage gets a copy. After a full backup, what is too old is removed,
/// and the first of a month is followed by the archive. When the oplog has lost entries, a full backup is made at once. With
/// backup.identity_file and backup.rehearsal_schedule it also tries a restore, into the database NAME_rehearsal.
#[derive(Args, Debug)]
pub(super) struct Options {}

pub(super) async fn run(settings: &Settings, _: &Options) -> anyhow::Result<()> {
    let times = Times::new(settings)?;
    let saver = Saver::open(settings).await?;
    let second = if settings.backup.second_storage.is_empty() { None } else { Some(Store::second(&settings.backup)?) };
    let mut last = Last::of(&Catalog::read(&saver.store).await?);
    let shutdown = shutdown::token()?;
    let work = async {
        loop {
            let now = Utc::now();
            let Some(due) = times.due(&last, now) else {
                tokio::time::sleep(CLOCK_CHECK).await;
                continue;
            };
            let outcome = make(settings, &saver, second.as_ref(), due, &mut last).await;
            if let Err(error) = outcome {
                let is_lost = error.is::<Lost>() || error.is::<NoFull>();
                tracing::error!(work = due.name(), error = mongo::in_words(&error), "failed");
                if is_lost && due != Work::Full {
                    // Only a full backup begins anew.
                    last.full = None;
                } else {
                    last.not_before = Some(Utc::now() + PAUSE);
                }
            }
        }
    };
    shutdown.run_until_cancelled(work).await;
    Ok(())
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
            if last.archive_month != Some(month(began)) {
                let archive = archive::make(&saver.database, &saver.store, saver.recipient(), &progress).await?;
                tracing::info!(id = archive.id, documents = archive.documents(), "archive of the month");
                last.archive_month = Some(month(began));
            }
            let removed = prune::remove(settings, &saver.store).await?;
            tracing::info!(backups = removed, "removed what is too old");
        }
        Work::Incremental | Work::Slice => {
            let kind = if due == Work::Incremental { Kind::Incremental } else { Kind::Slice };
            if let Some(range) = saver.range(kind, &progress).await? {
                tracing::info!(%kind, to = range.to.text(), entries = range.oplog.documents, "saved the oplog");
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
    const fn name(self) -> &'static str {
        match self {
            Self::Full => "full backup",
            Self::Incremental => "incremental backup",
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
    fn of(catalog: &Catalog) -> Self {
        let time = |second: u32| DateTime::from_timestamp(i64::from(second), 0);
        let full = catalog.fulls.iter().filter(|full| full.damage.is_none()).map(|full| full.manifest.started).max();
        let range = |kind| catalog.ranges.iter().filter(|range| range.kind == kind).map(|range| range.to.second).max();
        let incremental = range(Kind::Incremental).and_then(time).max(full);
        let archive_month = catalog.archives.iter().map(|archive| month(archive.manifest.started)).max();
        let slice = range(Kind::Slice).and_then(time).max(incremental);
        // A rehearsal leaves nothing in the storage: the first is due when the schedule fires next.
        Self { full, incremental, slice, rehearsal: Some(Utc::now()), archive_month, not_before: None }
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
