//! The task that reads for all viewers, and what it tells them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use bson::{DateTime, doc, oid::ObjectId};
use common::documents::tool;
use common::mongo;
use futures::TryStreamExt;
use mongodb::Database;
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::events;
use super::window::{Numbers, OF_MINUTE, SLICE, Window, hour};
use crate::metrics;

/// Between two readings, where a reading is quick.
const INTERVAL: Duration = Duration::from_secs(2);
/// A reading takes a tenth of the time at most.
const REST: u32 = 9;
/// For a minute of events.
const PATIENCE: Duration = Duration::from_secs(60);
/// After so long a reading begins no further minute: the next one goes on there, and the page shows what there is.
const BUDGET: Duration = Duration::from_secs(2);
/// Slices that are read again with each reading, because events arrive late.
const FRESH: i64 = OF_MINUTE;
/// Nobody reads on for a page that was looked at so long ago.
const ATTENTION: Duration = Duration::from_secs(60);
/// How long a page waits for numbers.
const PAGE_PATIENCE: Duration = Duration::from_secs(3);

/// What viewers are told.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The latest reading; none before the first.
    pub seen: Option<Seen>,
    /// Since when no reading succeeds.
    pub blind: Option<Blind>,
}

/// A reading.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When it was read.
    pub at: DateTime,
    /// How long that took.
    pub took: Duration,
    /// Documents of it that could not be read.
    pub unreadable: usize,
    /// Milliseconds of the hour that are still to be read.
    pub missing: i64,
    /// The numbers.
    pub numbers: Arc<Numbers>,
    /// Names and slugs of the tools in them.
    pub tools: Arc<HashMap<ObjectId, (String, String)>>,
}

/// Why there are no new numbers.
#[derive(Debug, Clone)]
pub struct Blind {
    /// Since when.
    pub since: DateTime,
    /// Why, in words.
    pub why: String,
}

/// What all viewers share.
#[derive(Debug)]
pub struct Live {
    state: watch::Sender<State>,
    /// Milliseconds.
    looked_at: AtomicI64,
    looked: Notify,
    /// Ends what is sent to viewers.
    pub shutdown: CancellationToken,
}

impl Live {
    /// Nothing was read yet.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { state: watch::Sender::default(), looked_at: AtomicI64::new(0), looked: Notify::new(), shutdown }
    }

    /// Everything that is told from now on. Whoever holds it is a viewer.
    pub fn follow(&self) -> watch::Receiver<State> {
        let receiver = self.state.subscribe();
        self.look();
        receiver
    }

    /// What is known now; waits a little for the first reading after a pause.
    pub async fn now(&self) -> State {
        self.look();
        let is_news = |state: &State| {
            let is_fresh = |seen: &Seen| age(seen.at) < 2 * INTERVAL.max(seen.took * (REST + 1)).as_millis() as i64;
            state.blind.is_some() || state.seen.as_ref().is_some_and(is_fresh)
        };
        let mut receiver = self.state.subscribe();
        let waited = tokio::time::timeout(PAGE_PATIENCE, receiver.wait_for(is_news)).await;
        match waited {
            Ok(Ok(state)) => state.clone(),
            _ => self.state.borrow().clone(),
        }
    }

    fn look(&self) {
        self.looked_at.store(DateTime::now().timestamp_millis(), Ordering::Relaxed);
        self.looked.notify_one();
    }

    fn is_looked_at(&self) -> bool {
        self.state.receiver_count() > 0
            || age(DateTime::from_millis(self.looked_at.load(Ordering::Relaxed))) < ATTENTION.as_millis() as i64
    }

    /// Reads while somebody looks, until `shutdown`.
    pub async fn run(&self, database: Database) {
        let mut reader = Reader::new(database);
        while !self.shutdown.is_cancelled() {
            metrics::live_viewers(self.state.receiver_count());
            if !self.is_looked_at() {
                tokio::select! {
                    () = self.looked.notified() => {}
                    () = self.shutdown.cancelled() => return,
                }
            }
            let begin = Instant::now();
            let read = tokio::select! {
                read = reader.read() => read,
                () = self.shutdown.cancelled() => return,
            };
            let took = begin.elapsed();
            metrics::live_read(read.is_ok(), took);
            // What is missing is read without a rest.
            let rest = if read.as_ref().is_ok_and(|read| read.missing > 0) { Duration::ZERO } else { took * REST };
            self.tell(read, took);
            tokio::select! {
                () = tokio::time::sleep(INTERVAL.max(rest)) => {}
                () = self.shutdown.cancelled() => return,
            }
        }
    }

    fn tell(&self, read: anyhow::Result<Read>, took: Duration) {
        match read {
            Ok(Read { numbers, tools, unreadable, missing }) => {
                let missing = missing * SLICE;
                let seen = Seen { at: DateTime::now(), took, unreadable, missing, numbers: Arc::new(numbers), tools };
                self.state.send_replace(State { seen: Some(seen), blind: None });
            }
            Err(error) => {
                let why = mongo::in_words(&error);
                tracing::warn!(why, "the live numbers cannot be read");
                self.state.send_modify(|state| {
                    let since = state.blind.as_ref().map_or_else(DateTime::now, |blind| blind.since);
                    state.blind = Some(Blind { since, why: "the database does not answer".to_owned() });
                });
            }
        }
    }
}

fn age(time: DateTime) -> i64 {
    DateTime::now().timestamp_millis() - time.timestamp_millis()
}

struct Read {
    numbers: Numbers,
    tools: Arc<HashMap<ObjectId, (String, String)>>,
    unreadable: usize,
    /// Slices.
    missing: i64,
}

struct Reader {
    database: Database,
    window: Window,
    /// The older slices that were read when they were no longer [`FRESH`].
    known: BTreeSet<i64>,
    /// The older slice that is read again next.
    turn: i64,
    tools: Arc<HashMap<ObjectId, (String, String)>>,
}

impl Reader {
    fn new(database: Database) -> Self {
        Self { database, window: Window::default(), known: BTreeSet::new(), turn: 0, tools: Arc::default() }
    }

    /// Reads the fresh slices, and of the others as many as there is time for.
    async fn read(&mut self) -> anyhow::Result<Read> {
        let begin = Instant::now();
        let now = DateTime::now().timestamp_millis();
        let fresh = fresh(now);
        let mut unreadable = self.take(&fresh, now).await?;
        self.known.retain(|slice| hour(now).contains(slice));
        let (mut older, is_turn) = older(now, &self.known, self.turn);
        while let Some(slices) = older.pop_front() {
            unreadable += self.take(&slices, now).await?;
            if is_turn {
                self.turn = slices.end;
            }
            self.known.extend(slices);
            if begin.elapsed() > BUDGET {
                break;
            }
        }
        let numbers = self.window.numbers(now);
        self.name_tools(&numbers).await?;
        let missing: i64 = older.iter().map(|slices| slices.end - slices.start).sum();
        Ok(Read { numbers, tools: Arc::clone(&self.tools), unreadable, missing })
    }

    /// A reading that fails leaves what is known.
    async fn take(&mut self, slices: &Range<i64>, now: i64) -> anyhow::Result<usize> {
        let mut found = Window::default();
        let read = events::read(&self.database, slices, |event| found.add(event));
        let unreadable = tokio::time::timeout(PATIENCE, read)
            .await
            .map_err(|_| anyhow!("reading a minute of events took over {} s", PATIENCE.as_secs()))??;
        self.window.put(slices, found, now);
        Ok(unreadable)
    }

    async fn name_tools(&mut self, numbers: &Numbers) -> anyhow::Result<()> {
        #[derive(Deserialize)]
        struct Tool {
            #[serde(rename = "_id")]
            id: ObjectId,
            #[serde(default)]
            name: String,
            #[serde(default)]
            slug: String,
        }
        let tops = [&numbers.last_5_minutes.top_tools, &numbers.last_60_minutes.top_tools].into_iter().flatten();
        let ids: Vec<ObjectId> = tops.map(|tool| tool.id).collect();
        if ids.iter().all(|id| self.tools.contains_key(id)) {
            return Ok(());
        }
        let tools = self.database.collection::<Tool>(tool::COLLECTION);
        let found = tools.find(doc! { "_id": { "$in": &ids } }).projection(doc! { "name": 1, "slug": 1 }).await?;
        let found: Vec<Tool> = found.try_collect().await?;
        let mut named: HashMap<ObjectId, (String, String)> =
            found.into_iter().map(|tool| (tool.id, (tool.name, tool.slug))).collect();
        // A tool that is not there is not asked for with each reading.
        for id in ids {
            named.entry(id).or_insert_with(|| (aggregator::daily::UNKNOWN_TOOL.to_owned(), String::new()));
        }
        self.tools = Arc::new(named);
        Ok(())
    }
}

/// The slices that are read with each reading; the next one too, for senders' clocks may be ahead of ours.
fn fresh(now: i64) -> Range<i64> {
    let hour = hour(now);
    hour.end - FRESH..hour.end + 1
}

/// The older slices to read, a minute at a time: those that are not known, the latest first; where all are, the next ones in turn,
/// and whether it is so.
fn older(now: i64, known: &BTreeSet<i64>, turn: i64) -> (VecDeque<Range<i64>>, bool) {
    let older = hour(now).start..fresh(now).start;
    let mut missing: VecDeque<Range<i64>> = VecDeque::new();
    for slice in older.clone().rev().filter(|slice| !known.contains(slice)) {
        match missing.back_mut() {
            Some(last) if last.start == slice + 1 && last.end - slice <= OF_MINUTE => last.start = slice,
            _ => missing.push_back(slice..slice + 1),
        }
    }
    if !missing.is_empty() {
        return (missing, false);
    }
    let begin = if older.contains(&turn) { turn } else { older.start };
    (std::iter::once(begin..(begin + OF_MINUTE).min(older.end)).collect(), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    /// Reads as [`Reader::read`] does, so many ranges at a time.
    fn read(now: i64, known: &mut BTreeSet<i64>, turn: &mut i64, most: usize) -> Vec<i64> {
        known.retain(|slice| hour(now).contains(slice));
        let (older, is_turn) = older(now, known, *turn);
        let mut slices: Vec<i64> = fresh(now).collect();
        for range in older.into_iter().take(most) {
            assert!(range.end <= fresh(now).start && range.start >= hour(now).start);
            if is_turn {
                *turn = range.end;
            }
            known.extend(range.clone());
            slices.extend(range);
        }
        slices
    }

    #[test]
    fn every_slice_of_the_hour_is_read_again_within_some_minutes() {
        let (mut now, mut known, mut turn) = (NOW, BTreeSet::new(), 0);
        let first: BTreeSet<i64> = read(now, &mut known, &mut turn, 1_000).into_iter().collect();
        assert!(hour(now).all(|slice| first.contains(&slice)));
        let mut seen = BTreeSet::new();
        for _ in 0..100 {
            now += INTERVAL.as_millis() as i64;
            seen.extend(read(now, &mut known, &mut turn, 1_000));
        }
        assert!(hour(now).all(|slice| seen.contains(&slice)));
    }

    #[test]
    fn an_hour_that_takes_many_readings_is_caught_up_with_the_latest_minutes_first() {
        let (mut now, mut known, mut turn) = (NOW, BTreeSet::new(), 0);
        let mut lengths = Vec::new();
        for _ in 0..30 {
            now += 5_000;
            read(now, &mut known, &mut turn, 3);
            let missing = older(now, &known, turn);
            lengths.push(if missing.1 { 0 } else { missing.0.len() });
            assert!(known.contains(&(fresh(now).start - 1)), "the latest comes first");
        }
        assert!(lengths[0] > 50 && lengths[29] == 0, "{lengths:?}");
    }

    #[test]
    fn a_slice_that_is_no_longer_fresh_is_read_once_more_and_so_is_a_pause() {
        let (mut known, mut turn) = (BTreeSet::new(), 0);
        read(NOW, &mut known, &mut turn, 1_000);
        let later = NOW + 10_000;
        assert_eq!(
            older(later, &known, turn),
            (std::iter::once(fresh(NOW).start..fresh(later).start).collect(), false)
        );
        let later = NOW + 600_000;
        let (missing, is_turn) = older(later, &known, turn);
        let slices: BTreeSet<i64> = missing.into_iter().flatten().collect();
        assert_eq!(slices, (fresh(NOW).start..fresh(later).start).collect());
        assert!(!is_turn);
    }
}
