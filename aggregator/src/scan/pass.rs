//! One reading of a day's events: slices of time from one queue, so that a busy hour does not keep one reader while the others
//! are done. Each reader has a part of its own; these are merged at the end. Documents are read as raw BSON and never built.
//!
//! When the parts of all readers grow beyond the memory they may take, half of the users and sessions are let go, for
//! another pass over the same events: a day of any size is read in bounded memory, only slower.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use bson::{Document, RawDocumentBuf};
use chrono::{DateTime, TimeDelta, Utc};
use common::day::Day;
use futures::TryStreamExt;
use mongodb::Database;
use mongodb::options::ReadConcern;
use tokio::task::JoinSet;

use super::documents::Unreadable;
use super::elements::{Elements, Value};
use super::{BATCH, Limits, Source, within};
use crate::fold::SHARDS;
use crate::metrics;

/// Short enough that the readers finish together, long enough that a query costs little beside what it returns.
const SLICE: TimeDelta = TimeDelta::minutes(15);

/// Events that are looked up together: more than a processor fetches from memory at a time, and few enough to stay in its
/// first cache.
const TOGETHER: usize = 64;

/// What events are read into: a part of a day, of the users and sessions of some [`SHARDS`](crate::fold::SHARDS).
pub trait Part: Sized + Send + 'static {
    /// What a document says.
    type Event: Send;

    /// Nothing of `day` yet.
    fn of_shards(day: Day, shards: Range<usize>) -> Self;

    /// The fields that it needs of a source's documents.
    fn projection(source: Source) -> Document;

    /// Reads one document's BSON, or says why it is left out.
    ///
    /// # Errors
    /// A field that is needed is missing or not of its type.
    fn read(source: Source, document: &[u8]) -> Result<Self::Event, Unreadable>;

    /// Looks at what adding the event will look at, and changes nothing.
    fn look_up(&self, event: &Self::Event);

    /// Adds the event.
    fn add(&mut self, event: Self::Event);

    /// A slice of the day was read; what follows is of another.
    fn end_slice(&mut self);

    /// Drops the shards from `end` on, and their memory.
    fn keep(&mut self, end: usize);

    /// Bytes of its users and sessions.
    fn bytes(&self) -> usize;

    /// Adds everything that another part of the same day holds, as far as both hold the same shards.
    #[must_use]
    fn merged(self, other: Self) -> Self;
}

/// Reads the events of `day` with the users and sessions of `shards`, or of the first of them that fit into memory; and says
/// what had to be left out.
///
/// # Errors
/// MongoDB fails, or a cursor returns what is not BSON.
pub async fn pass<P: Part>(
    database: &Database,
    day: Day,
    limits: Limits,
    shards: Range<usize>,
) -> anyhow::Result<(P, LeftOut)> {
    let slices = Arc::new(Slices::of(day, &sources_with_events(database, day).await?));
    let readers = limits.readers.clamp(1, slices.all.len().max(1));
    let budget = Arc::new(Budget::new(limits.memory, readers, shards.clone()));
    let mut running = JoinSet::new();
    for reader in 0..readers {
        let part = P::of_shards(day, shards.clone());
        running.spawn(read_slices(database.clone(), Arc::clone(&slices), part, Arc::clone(&budget), reader));
    }
    let mut whole = P::of_shards(day, shards);
    let mut left_out = LeftOut::default();
    while let Some(finished) = running.join_next().await {
        let (part, reasons) = finished.context("a reader of the events ended early")??;
        whole = whole.merged(part);
        left_out.merge(reasons);
    }
    Ok((whole, left_out))
}

/// The shards that no pass over a day has read yet.
#[derive(Debug)]
pub struct Unread {
    rest: Range<usize>,
    /// As many as fitted into memory: what did not fit once is not tried again with every pass.
    most: usize,
}

impl Unread {
    /// All.
    pub fn of_a_day() -> Self {
        Self { rest: 0..SHARDS, most: SHARDS }
    }

    /// The shards of the next pass; none when all are read.
    pub fn next(&self) -> Option<Range<usize>> {
        let Range { start, end } = self.rest;
        (start < end).then(|| start..end.min(start + self.most))
    }

    /// The pass has kept these, which are the first of those it was to take.
    pub fn done(&mut self, day: Day, kept: &Range<usize>) {
        self.most = self.most.min(kept.len());
        self.rest.start = kept.end;
        if !self.rest.is_empty() {
            tracing::info!(%day, done = kept.end, of = SHARDS, "the day does not fit into memory, reading it again");
        }
    }
}

/// The memory that the readers of a pass share.
struct Budget {
    limit: usize,
    state: Mutex<BudgetState>,
}

struct BudgetState {
    held: Range<usize>,
    /// Of each reader, when it last asked: how many shards it held, and their bytes.
    readers: Vec<(usize, usize)>,
}

impl Budget {
    fn new(limit: usize, readers: usize, held: Range<usize>) -> Self {
        Self { limit, state: Mutex::new(BudgetState { readers: vec![(held.len(), 0); readers], held }) }
    }

    /// Drops of a reader's part what all readers have to drop. At least one shard stays, or no pass would get further.
    fn fit(&self, reader: usize, part: &mut impl Part) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let BudgetState { held, readers } = &mut *state;
        part.keep(held.end);
        readers[reader] = (held.len(), part.bytes());
        // Others may not have dropped yet what they have to: counted is what they will hold then.
        let bytes: usize = readers.iter().map(|(shards, bytes)| bytes / shards * held.len()).sum();
        if bytes > self.limit && held.len() > 1 {
            held.end = held.start + held.len() / 2;
            part.keep(held.end);
            readers[reader] = (held.len(), part.bytes());
        }
    }
}

/// How many events a source has in the day, counted up to one answer's worth. A backfill meets many days with few events or
/// none; those are not asked slice by slice.
async fn sources_with_events(database: &Database, day: Day) -> mongodb::error::Result<Vec<(Source, u64)>> {
    let mut sources = Vec::new();
    for source in Source::ALL {
        let events = database.collection::<RawDocumentBuf>(source.collection());
        let events = events
            .count_documents(within(day.start(), day.end()))
            .limit(u64::from(BATCH))
            .read_concern(ReadConcern::majority())
            .await?;
        if events > 0 {
            sources.push((source, events));
        }
    }
    Ok(sources)
}

/// The queue that readers take from.
struct Slices {
    all: Vec<Slice>,
    taken: AtomicUsize,
}

/// The events of `source` from one time until before another.
#[derive(Clone, Copy, Debug)]
struct Slice {
    source: Source,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

impl Slices {
    /// `sources` with how many events each has, up to [`BATCH`].
    fn of(day: Day, sources: &[(Source, u64)]) -> Self {
        let mut all = Vec::new();
        for (source, events) in sources {
            let length = if *events < u64::from(BATCH) { day.end() - day.start() } else { SLICE };
            let mut from = day.start();
            while from < day.end() {
                let to = (from + length).min(day.end());
                all.push(Slice { source: *source, from, to });
                from = to;
            }
        }
        all.sort_by_key(|slice| slice.from);
        Self { all, taken: AtomicUsize::new(0) }
    }

    fn take(&self) -> Option<Slice> {
        self.all.get(self.taken.fetch_add(1, Ordering::Relaxed)).copied()
    }
}

async fn read_slices<P: Part>(
    database: Database,
    slices: Arc<Slices>,
    mut part: P,
    budget: Arc<Budget>,
    reader: usize,
) -> anyhow::Result<(P, LeftOut)> {
    let mut left_out = LeftOut::default();
    let mut together = Vec::with_capacity(TOGETHER);
    while let Some(Slice { source, from, to }) = slices.take() {
        let mut batches = database
            .collection::<RawDocumentBuf>(source.collection())
            .find(within(from, to))
            .projection(P::projection(source))
            .batch_size(BATCH)
            .read_concern(ReadConcern::majority())
            .batch()
            .await?;
        while let Some(batch) = batches.try_next().await? {
            for element in Elements::of(batch.doc_slices()?.as_bytes())? {
                let (_, Value::Document(document)) = element? else { continue };
                match P::read(source, document) {
                    Ok(event) => together.push(event),
                    Err(reason) => left_out.add(source, reason),
                }
                if together.len() == TOGETHER {
                    add_all(&mut part, &mut together);
                }
            }
            add_all(&mut part, &mut together);
            budget.fit(reader, &mut part);
        }
        part.end_slice();
    }
    Ok((part, left_out))
}

/// The tables are larger than the processor's cache. Looked at one after the other, without anything to decide in between,
/// events do not wait for the memory each by itself, which was a third of a scan's profile.
pub fn add_all<P: Part>(part: &mut P, events: &mut Vec<P::Event>) {
    events.iter().for_each(|event| part.look_up(event));
    events.drain(..).for_each(|event| part.add(event));
}

/// How many documents were left out for which reason.
#[derive(Debug, Default)]
pub struct LeftOut(BTreeMap<(Source, Unreadable), u64>);

impl LeftOut {
    fn add(&mut self, source: Source, reason: Unreadable) {
        *self.0.entry((source, reason)).or_default() += 1;
    }

    fn merge(&mut self, other: Self) {
        for (reason, documents) in other.0 {
            *self.0.entry(reason).or_default() += documents;
        }
    }

    /// How many they are.
    pub fn documents(&self) -> u64 {
        self.0.values().sum()
    }

    /// Logs and counts them.
    pub fn report(&self, day: Day) {
        for ((source, reason), documents) in &self.0 {
            let collection = source.collection();
            metrics::unreadable(collection, *documents);
            tracing::warn!(%day, collection, documents, %reason, "documents left out of the day");
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use common::documents::activity_log::Action;

    use super::*;
    use crate::fold::{Activity, Fold};

    const DAY: &str = "2024-01-15";

    #[test]
    fn a_day_is_cut_without_gap_or_overlap() {
        let day = Day::parse(DAY).unwrap();
        let many = u64::from(BATCH);
        let slices = Slices::of(day, &[(Source::ToolUses, many), (Source::Activities, many - 1)]);
        for (source, count) in [(Source::ToolUses, 96), (Source::Activities, 1), (Source::HealthChecks, 0)] {
            let of_source: Vec<_> = slices.all.iter().filter(|slice| slice.source == source).collect();
            assert_eq!(of_source.len(), count);
            assert!(of_source.is_sorted_by(|slice, next| slice.to == next.from));
            assert!(of_source.iter().take(1).all(|slice| slice.from == day.start()));
            assert!(of_source.last().is_none_or(|slice| slice.to == day.end()));
        }
        assert_eq!(std::iter::from_fn(|| slices.take()).count(), 97);
    }

    #[test]
    fn what_did_not_fit_once_is_not_tried_with_every_pass() {
        let mut unread = Unread::of_a_day();
        let mut passes = Vec::new();
        while let Some(shards) = unread.next() {
            // A quarter of all fits.
            let kept = shards.start..shards.end.min(shards.start + SHARDS / 4);
            unread.done(Day::parse(DAY).unwrap(), &kept);
            passes.push((shards.len(), kept));
        }
        let quarter = |number: usize| number * SHARDS / 4..(number + 1) * SHARDS / 4;
        let expected = [(SHARDS, 0), (SHARDS / 4, 1), (SHARDS / 4, 2), (SHARDS / 4, 3)];
        assert_eq!(passes, expected.map(|(tried, number)| (tried, quarter(number))));
    }

    #[test]
    fn readers_drop_what_does_not_fit_and_always_keep_one_shard() {
        let day = Day::parse(DAY).unwrap();
        let filled = || {
            let mut fold = Fold::new(day);
            for _ in 0..5_000 {
                let (user, session) = (Some(ObjectId::new()), Some(ObjectId::new()));
                fold.add_activity(&Activity { user, session, action: Action::Login, at: 0 });
            }
            fold
        };
        let mut folds = [filled(), filled()];
        let whole = folds[0].bytes() + folds[1].bytes();
        let budget = Budget::new(whole / 3, 2, 0..SHARDS);
        for _ in 0..2 {
            folds.iter_mut().enumerate().for_each(|(reader, fold)| budget.fit(reader, fold));
        }
        assert_eq!(folds.each_ref().map(Fold::held), [0..SHARDS / 4, 0..SHARDS / 4]);
        assert!(folds[0].bytes() + folds[1].bytes() <= whole / 3);

        let budget = Budget::new(0, 1, 5..SHARDS);
        let mut fold = Fold::of_shards(day, 5..SHARDS);
        fold.add_activity(&Activity { user: Some(ObjectId::new()), session: None, action: Action::Login, at: 0 });
        (0..10).for_each(|_| budget.fit(0, &mut fold));
        assert_eq!(fold.held().start, 5);
        assert!(!fold.held().is_empty());
    }
}
