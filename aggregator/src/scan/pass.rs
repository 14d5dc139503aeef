//! One reading of a day's events: slices of time from one queue, so that a busy hour does not keep one reader while the others
//! are done. Documents are read as raw BSON and never built. What is counted by user or session goes into
//! [`Shards`] that all readers share; each has a part of its own of the rest, and these are merged at the end.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use bson::{Document, RawDocumentBuf};
use chrono::{DateTime, TimeDelta, Utc};
use common::day::Day;
use futures::TryStreamExt;
use futures::future::try_join_all;
use mongodb::Database;
use mongodb::options::ReadConcern;
use tokio::task::JoinSet;

use super::documents::Unreadable;
use super::elements::{Elements, Value};
use crate::fold::sessions::Owner;
use crate::fold::shards::{Found, SHARDS, Shards, User};
use crate::fold::tools::Known;
use crate::lookup;
use crate::metrics;
use crate::source::{BATCH, Source, within};

/// Short enough that the readers finish together, long enough that a query costs little beside what it returns.
const SLICE: TimeDelta = TimeDelta::minutes(15);

/// What reading a day may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Queries at a time.
    pub readers: usize,
    /// Bytes of users, sessions and tools held at a time. The answers of the queries come on top, some 10 MB for each reader.
    pub memory: usize,
}

/// What a reader makes of events: a part of a day.
pub trait Part: Sized + Send + 'static {
    /// What is counted by user.
    type User: User;
    /// Whose a session is.
    type Owner: Owner;

    /// Nothing of `day` yet; of tools that are not `known` it holds only so many.
    fn of(day: Day, known: &Known) -> Self;

    /// The fields that it needs of a source's documents.
    fn projection(source: Source) -> Document;

    /// Adds an event, given as the BSON of its document; what it says of its user and session is added to `found`.
    ///
    /// # Errors
    /// A field that is needed is missing or not of its type, and nothing was added.
    fn add(
        &mut self,
        source: Source,
        document: &[u8],
        found: &mut Found<Self::User, Self::Owner>,
    ) -> Result<(), Unreadable>;

    /// Adds everything that another part of the same day holds.
    fn merge(&mut self, other: Self);

    /// About the bytes that it takes.
    fn bytes(&self) -> usize;
}

/// What a pass over a day has found.
pub struct Pass<P: Part> {
    /// What is not counted by user or session; the same whatever shards were held.
    pub part: P,
    /// Users and sessions: of the shards that the pass was to take, the first that fit into memory.
    pub shards: Arc<Shards<P::User, P::Owner>>,
    /// What had to be left out; the same in every pass.
    pub left_out: LeftOut,
}

/// Reads the events of `day` but for those of `expired`, with the users and sessions of `held`.
///
/// # Errors
/// MongoDB fails, or a cursor returns what is not BSON.
pub async fn pass<P: Part>(
    database: &Database,
    day: Day,
    limits: Limits,
    expired: &[Source],
    held: Range<usize>,
) -> anyhow::Result<Pass<P>> {
    let known = lookup::tools(database).await?;
    let slices = Arc::new(Slices::of(day, &sources_with_events(database, day, expired).await?));
    let readers = limits.readers.clamp(1, slices.all.len().max(1));
    let shards = Arc::new(Shards::new(held, limits.memory));
    let mut running = JoinSet::new();
    for _ in 0..readers {
        running.spawn(read_slices(database.clone(), Arc::clone(&slices), P::of(day, &known), Arc::clone(&shards)));
    }
    let (mut whole, mut left_out) = (P::of(day, &known), LeftOut::default());
    while let Some(finished) = running.join_next().await {
        let (part, reasons) = finished.context("a reader of the events ended early")??;
        whole.merge(part);
        left_out.merge(reasons);
    }
    Ok(Pass { part: whole, shards, left_out })
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

/// How many events a source has in the day, counted up to one answer's worth. A backfill meets many days with few events or
/// none; those are not asked slice by slice.
async fn sources_with_events(
    database: &Database,
    day: Day,
    expired: &[Source],
) -> mongodb::error::Result<Vec<(Source, u64)>> {
    let counts = Source::ALL.into_iter().filter(|source| !expired.contains(source)).map(async |source| {
        let events = database.collection::<RawDocumentBuf>(source.collection());
        let events = events.count_documents(within(day.start(), day.end())).limit(u64::from(BATCH));
        mongodb::error::Result::Ok((source, events.read_concern(ReadConcern::majority()).await?))
    });
    let counts = try_join_all(counts).await?;
    Ok(counts.into_iter().filter(|(_, events)| *events > 0).collect())
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
    shards: Arc<Shards<P::User, P::Owner>>,
) -> anyhow::Result<(P, LeftOut)> {
    let (mut found, mut left_out, mut counted) = (Found::default(), LeftOut::default(), 0);
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
                part.add(source, document, &mut found).unwrap_or_else(|reason| left_out.add(source, reason));
            }
            shards.take(&mut found);
        }
        found.end_slice();
        let bytes = part.bytes();
        shards.beside(counted, bytes);
        counted = bytes;
        shards.take(&mut found);
    }
    Ok((part, left_out))
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
    use super::*;

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
}
