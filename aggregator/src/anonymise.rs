//! Anonymises the raw events of a day whose numbers are published: ids become pseudonyms, and what names somebody goes.
//!
//! The steps of a day, each safe to be killed in ([`step`] decides, [`state`] notes):
//!
//! 1. **Close.** `sealedAt` is set ahead: ingest, which looks every 5 s, refuses the day's events (`day_sealed`).
//! 2. **Settle.** After [`step::CLOSING`] the day is begun if its numbers count every stored event, else it is rolled up again.
//! 3. **Begin.** One transaction sets `sealedAt` to now and stores a random key. From here on nobody computes the day.
//! 4. **Rewrite.** [`rewrite`] replaces each document that has no mark, until a whole reading finds none. Then one update destroys
//!    the key and notes what was anonymised.
//!
//! **No event is lost between ingest and the close.** Ingest stores an event, then marks its day, then commits the offset. An event
//! stored before step 2 is counted: if its mark came, the day is dirty; if its worker was killed before the mark, MongoDB has
//! more events than the day's inputs name. Either makes step 2 roll the day up, and step 3 looks at the marks once more in its own
//! transaction. A worker can store an event later than that only if it stood still between its last look at the seals and its
//! write (it was paused, or MongoDB stalled). Such an event cannot be counted any more, but it does not stay as it came: its mark
//! makes the anonymised day dirty, and step 3 begins again with a new key; if the worker was killed before the mark, the
//! night's recount finds more documents than were anonymised. `rollup_days` names such events as `uncounted`.

pub mod by_hand;
pub mod event;
pub mod pseudonym;
pub mod rewrite;
pub mod state;
pub mod step;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use chrono::{DateTime, TimeDelta, Utc};
use common::day::Day;
use common::documents::rollup_day::{Anonymised, Inputs, RollupDay};
use common::mongo;
use common::settings::Privacy;
use indicatif::ProgressBar;

use self::event::Anonymity;
use self::rewrite::{Place, SOURCES};
use self::step::Step;
use crate::lease::{self, Held};
use crate::lookup;
use crate::retry::{self, passing_faults};
use crate::rollup::Rollup;
use crate::source::Source;

/// `serve` holds the lease this long at a time, and then lets others have it.
const SLICE: Duration = Duration::from_secs(20);

/// How long others have, to take the lease.
const BETWEEN_SLICES: Duration = Duration::from_secs(1);

/// Days that are closed at a time: a year that waits is not closed at once.
const MOST_CLOSED: usize = 8;

/// How often a day is settled before something must be wrong.
const MOST_SETTLED: u32 = 5;

/// Anonymises days.
#[derive(Debug)]
pub struct Anonymiser {
    rollup: Rollup,
    settings: Privacy,
    /// How long a day takes late events.
    late_arrival: TimeDelta,
    place: Option<Place>,
    /// Days that failed; they are left until the next night.
    failed: BTreeSet<Day>,
    progress: ProgressBar,
}

/// How far a day came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It takes late events, or has to be rolled up first.
    Early,
    /// It is closed, and ingest may still write until then.
    Waiting(DateTime<Utc>),
    /// The time was over.
    Paused,
    /// It was anonymised just now.
    Anonymised(Anonymised),
    /// It was anonymised before.
    Done(Anonymised),
}

/// What a slice of `serve`'s work came to.
enum Slice {
    /// There may be more to do.
    Worked,
    /// There is nothing to do before.
    Waiting(DateTime<Utc>),
    Nothing,
}

impl Anonymiser {
    /// One that rolls days up again with `rollup`.
    pub fn new(rollup: Rollup, settings: Privacy) -> Self {
        let late_arrival = TimeDelta::from_std(settings.late_arrival).unwrap_or(TimeDelta::MAX);
        let (place, failed) = (None, BTreeSet::new());
        Self { rollup, settings, late_arrival, place, failed, progress: ProgressBar::hidden() }
    }

    /// Takes days also when they are younger than `privacy.late_arrival`.
    pub fn close_early(&mut self) {
        self.late_arrival = TimeDelta::zero();
    }

    /// Shows documents on `progress`.
    pub fn show_on(&mut self, progress: ProgressBar) {
        self.progress = progress;
    }

    /// How many events a day has that are to be rewritten at most.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn events(&self, day: Day) -> anyhow::Result<u64> {
        let mut events = 0;
        for source in SOURCES {
            events += passing_faults(|| lookup::event_count(&self.rollup.database, source, day)).await?;
        }
        Ok(events)
    }

    /// Why `day` cannot be anonymised yet, and what to do.
    async fn why_early(&self, day: Day) -> anyhow::Result<String> {
        let (due, now) = (step::due_at(day, self.late_arrival), Utc::now());
        if now < due {
            return Ok(format!(
                "{day} takes late events until {} (privacy.late_arrival); wait until then, or close it now for good with \
                 --yes-close-early",
                due.format("%Y-%m-%d %H:%M:%S UTC")
            ));
        }
        let known = passing_faults(|| lookup::day_state(&self.rollup.database, day)).await?;
        let why = match known {
            Some(RollupDay { last_error: Some(error), .. }) => format!(" (its last roll-up failed: {error})"),
            _ => String::new(),
        };
        Ok(format!("{day} is not rolled up with all its events{why}; first run: aggregator run --date {day}"))
    }

    /// Whether `privacy.late_arrival` fits the retention that the server applies.
    ///
    /// # Errors
    /// It does not, or MongoDB fails.
    pub async fn check(&self) -> anyhow::Result<()> {
        let retention = passing_faults(|| lookup::retention(&self.rollup.database)).await?;
        step::check(self.late_arrival, &retention).map_err(|why| anyhow!(why))
    }

    /// Closes `day` for late events, if it is old enough, rolled up and clean, and not closed before.
    ///
    /// # Errors
    /// MongoDB fails for longer than a failover takes, or the lease is lost.
    pub async fn close(&self, lease: &Held, day: Day) -> anyhow::Result<()> {
        let database = &self.rollup.database;
        let known = passing_faults(|| lookup::day_state(database, day)).await?;
        if known.is_some_and(|known| step::next(&known, self.late_arrival, Utc::now()) == Step::Close) {
            passing_faults(|| state::close(database, lease, day)).await?;
            tracing::info!(%day, "closed: ingest refuses its events, and it will be anonymised");
        }
        Ok(())
    }

    /// Does with `day` what can be done until `until`.
    ///
    /// # Errors
    /// MongoDB fails for longer than a failover takes, the lease is lost, or the day cannot be rolled up.
    pub async fn day(&mut self, lease: &Held, day: Day, until: Option<Instant>) -> anyhow::Result<Outcome> {
        let database = self.rollup.database.clone();
        let mut settled = 0;
        loop {
            let known = passing_faults(|| lookup::day_state(&database, day)).await?;
            let known = known.unwrap_or_else(|| RollupDay::untried(day));
            match step::next(&known, self.late_arrival, Utc::now()) {
                Step::Early => return Ok(Outcome::Early),
                Step::Close => self.close(lease, day).await?,
                Step::Wait(until) => return Ok(Outcome::Waiting(until)),
                Step::Settle => {
                    settled += 1;
                    if settled > MOST_SETTLED {
                        bail!("events of {day} keep arriving although it is closed; see that ingest has this version");
                    }
                    self.settle(lease, &known, settled == 1).await?;
                }
                Step::Begin => {
                    passing_faults(|| state::begin(&database, lease, day, None)).await?;
                }
                Step::Rewrite => {
                    if let Some(outcome) = self.rewrite(lease, &known, until).await? {
                        return Ok(outcome);
                    }
                }
                Step::Done => return Ok(Outcome::Done(anonymised(&known))),
            }
        }
    }

    /// Begins the day, or rolls it up again because an event is not counted.
    async fn settle(&self, lease: &Held, known: &RollupDay, is_first: bool) -> anyhow::Result<()> {
        let (database, day) = (&self.rollup.database, known.date);
        // A second time could only find the same, or an event whose mark is on its way.
        let uncounted = if is_first { self.uncounted(known).await? } else { 0 };
        if known.dirty_since.is_none() && uncounted == 0 {
            passing_faults(|| state::begin(database, lease, day, Some(known.dirty_marks))).await?;
            return Ok(());
        }
        tracing::info!(%day, uncounted, "an event came before the day was closed: rolling it up again");
        if known.is_sealed(Utc::now()) {
            passing_faults(|| state::put_off(database, lease, day)).await?;
        }
        self.rollup.day(lease, day).await?;
        Ok(())
    }

    /// How many stored events the day's numbers do not count.
    async fn uncounted(&self, known: &RollupDay) -> anyhow::Result<i64> {
        let mut inputs = known.inputs.unwrap_or_default();
        let mut more = 0;
        for source in Source::ALL {
            if known.expired.iter().any(|expired| expired == source.collection()) {
                continue;
            }
            let stored = passing_faults(|| lookup::event_count(&self.rollup.database, source, known.date)).await?;
            more += (i64::try_from(stored)? - *source.input(&mut inputs)).max(0);
        }
        Ok((more - inputs.unreadable).max(0))
    }

    /// Reads the day once, or on where the last reading paused. None when it has to be read again: what was stored while it was read
    /// may lie before the place of the reading.
    async fn rewrite(
        &mut self,
        lease: &Held,
        known: &RollupDay,
        until: Option<Instant>,
    ) -> anyhow::Result<Option<Outcome>> {
        let (database, day) = (&self.rollup.database, known.date);
        let key = known.anonymisation.as_ref().and_then(|anonymisation| anonymisation.key.as_ref());
        let key = pseudonym::key(key.context("the day has no key")?)?;
        let anonymity = Anonymity { key: &key, custom_data_allowed: &self.settings.custom_data_allowed };
        let place = self.place.take().filter(|place| place.day == day);
        let mut place = place.unwrap_or_else(|| Place::start(day, known.dirty_marks));
        let per_second = self.settings.anonymise_events_per_second;
        let is_read = rewrite::rewrite(database, &anonymity, &mut place, per_second, until, &self.progress).await?;
        if !is_read {
            self.place = Some(place);
            return Ok(Some(Outcome::Paused));
        }
        if !place.is_clean {
            return Ok(None);
        }
        let [tool_usage, activity] = SOURCES.map(|source| lookup::event_count(database, source, day));
        let (tool_usage, activity) = (tool_usage.await?, activity.await?);
        let (tool_usage, activity) = (i64::try_from(tool_usage)?, i64::try_from(activity)?);
        let inputs = known.inputs.unwrap_or_default();
        let documents = Anonymised { tool_usage, activity, uncounted: beyond(tool_usage, activity, &inputs) };
        passing_faults(|| state::finish(database, lease, day, documents, place.marks)).await?;
        let Anonymised { uncounted, .. } = documents;
        tracing::info!(%day, tool_usage, activity, uncounted, "anonymised: its key is destroyed");
        Ok(Some(Outcome::Anonymised(documents)))
    }

    /// Works as `serve` does, until `wake` or until there is nothing to do. By night, days that were anonymised lately are counted.
    pub async fn work(&mut self, wake: DateTime<Utc>, is_night: bool) {
        if is_night {
            self.failed.clear();
        }
        let mut recount = is_night && self.settings.anonymise;
        while let Ok(left) = (wake - Utc::now()).to_std() {
            // Who has nothing to do takes the lease from nobody.
            match lookup::day_states(&self.rollup.database).await {
                Ok(states) if recount || self.has_work(&states) => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(error = mongo::in_words(&error), "the days to anonymise were not looked at");
                    return;
                }
            }
            let lease = match passing_faults(|| lease::acquire(&self.rollup.database)).await {
                Ok(lease) => lease,
                Err(error) => {
                    tracing::error!(error = mongo::in_words(&error), "the lease could not be taken to anonymise days");
                    return;
                }
            };
            let slice = self.slice(&lease, std::mem::take(&mut recount), Instant::now() + left.min(SLICE)).await;
            lease.release().await;
            match slice {
                Ok(Slice::Worked) => tokio::time::sleep(BETWEEN_SLICES).await,
                Ok(Slice::Waiting(until)) => match (until.min(wake) - Utc::now()).to_std() {
                    Ok(left) => tokio::time::sleep(left).await,
                    Err(_) => tokio::time::sleep(BETWEEN_SLICES).await,
                },
                Ok(Slice::Nothing) => return,
                Err(error) => {
                    tracing::error!(
                        error = mongo::in_words(&error),
                        "no day can be anonymised now; trying again later"
                    );
                    return;
                }
            }
        }
    }

    fn has_work(&self, states: &[RollupDay]) -> bool {
        states.iter().any(|known| match step::next(known, self.late_arrival, Utc::now()) {
            Step::Early | Step::Done => false,
            Step::Rewrite => true,
            Step::Close | Step::Wait(_) | Step::Settle | Step::Begin => self.settings.anonymise,
        })
    }

    /// Takes the oldest day for which there is something to do.
    async fn slice(&mut self, lease: &Held, recount: bool, until: Instant) -> anyhow::Result<Slice> {
        let is_on = self.settings.anonymise;
        if is_on {
            self.check().await?;
        }
        let states = passing_faults(|| lookup::day_states(&self.rollup.database)).await?;
        if recount {
            self.recount(lease, &states).await?;
        }
        let (mut closed, mut waits) = (0, None);
        for known in &states {
            if self.failed.contains(&known.date) {
                continue;
            }
            let next = step::next(known, self.late_arrival, Utc::now());
            let is_taken = match next {
                Step::Early | Step::Done => false,
                // What was begun is ended, whatever the settings say now: its key must go.
                Step::Rewrite => true,
                _ if !is_on => false,
                Step::Wait(until) => {
                    closed += 1;
                    waits = Some(waits.map_or(until, |earlier: DateTime<Utc>| earlier.min(until)));
                    false
                }
                Step::Close => {
                    closed += 1;
                    closed <= MOST_CLOSED
                }
                Step::Settle | Step::Begin => true,
            };
            if !is_taken {
                continue;
            }
            match self.day(lease, known.date, Some(until)).await {
                Ok(Outcome::Waiting(until)) => waits = Some(waits.map_or(until, |earlier| earlier.min(until))),
                Ok(_) => return Ok(Slice::Worked),
                Err(error) if retry::is_passing(&error) || lease::is_taken_over(&error) => return Err(error),
                Err(error) => {
                    let day = known.date;
                    tracing::error!(%day, error = mongo::in_words(&error), "not anonymised; it is tried again by night");
                    self.failed.insert(day);
                }
            }
        }
        Ok(waits.map_or(Slice::Nothing, Slice::Waiting))
    }

    /// Begins days again that have more documents than were anonymised.
    async fn recount(&self, lease: &Held, states: &[RollupDay]) -> anyhow::Result<()> {
        let now = Utc::now();
        for known in states.iter().filter(|known| known.is_anonymised() && step::is_recounted(known, now)) {
            let (day, Anonymised { tool_usage, activity, .. }) = (known.date, anonymised(known));
            let stored = i64::try_from(self.events(day).await?)?;
            if stored > tool_usage + activity {
                tracing::warn!(%day, more = stored - tool_usage - activity, "events were stored after the day was anonymised");
                passing_faults(|| state::begin(&self.rollup.database, lease, day, None)).await?;
            }
        }
        Ok(())
    }
}

fn anonymised(known: &RollupDay) -> Anonymised {
    known.anonymisation.as_ref().and_then(|anonymisation| anonymisation.documents).unwrap_or_default()
}

/// How many of these documents the day's numbers do not count. Unreadable ones are counted apart, of all collections together.
fn beyond(tool_usage: i64, activity: i64, inputs: &Inputs) -> i64 {
    let more = (tool_usage - inputs.tool_usage).max(0) + (activity - inputs.activity).max(0);
    (more - inputs.unreadable).max(0)
}
