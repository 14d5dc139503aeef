//! The task that reads for all viewers, and what it tells them.

use std::collections::HashMap;
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
use super::window::{Numbers, Window, hour, slice_of};
use crate::metrics;

/// Between two readings, where a reading is quick.
const INTERVAL: Duration = Duration::from_secs(2);
/// A reading takes a tenth of the time at most.
const REST: u32 = 9;
/// For a reading; the first one is of an hour.
const PATIENCE: Duration = Duration::from_secs(60);
/// Slices that are read again with each reading, because events arrive late.
const FRESH: i64 = 6;
/// Slices of the older part of the hour that are read again with each reading, in turn.
const IN_TURN: i64 = 6;
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
                read = tokio::time::timeout(PATIENCE, reader.read()) => read,
                () = self.shutdown.cancelled() => return,
            };
            let took = begin.elapsed();
            let read = read.unwrap_or_else(|_| Err(anyhow!("reading took over {} s", PATIENCE.as_secs())));
            metrics::live_read(read.is_ok(), took);
            self.tell(read, took);
            tokio::select! {
                () = tokio::time::sleep(INTERVAL.max(took * REST)) => {}
                () = self.shutdown.cancelled() => return,
            }
        }
    }

    fn tell(&self, read: anyhow::Result<Read>, took: Duration) {
        match read {
            Ok(Read { numbers, tools, unreadable }) => {
                let seen = Seen { at: DateTime::now(), took, unreadable, numbers: Arc::new(numbers), tools };
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
}

struct Reader {
    database: Database,
    window: Window,
    /// The slice up to which everything was read; none before the first reading.
    read_to: Option<i64>,
    /// The older slice that is read again next.
    turn: i64,
    tools: Arc<HashMap<ObjectId, (String, String)>>,
}

impl Reader {
    fn new(database: Database) -> Self {
        Self { database, window: Window::default(), read_to: None, turn: 0, tools: Arc::default() }
    }

    async fn read(&mut self) -> anyhow::Result<Read> {
        let now = DateTime::now().timestamp_millis();
        let (fresh, older) = plan(now, self.read_to, self.turn);
        let mut unreadable = 0;
        for slices in [older.clone(), fresh.clone()].into_iter().flatten() {
            let mut found = Vec::new();
            unreadable += events::read(&self.database, &slices, |event| found.push(event)).await?;
            // Only now: a reading that fails leaves what is known.
            self.window.clear(slices, now);
            found.into_iter().for_each(|event| self.window.add(event));
        }
        self.read_to = Some(slice_of(now));
        self.turn = older.map_or(self.turn, |older| older.end);
        let numbers = self.window.numbers(now);
        self.name_tools(&numbers).await?;
        Ok(Read { numbers, tools: Arc::clone(&self.tools), unreadable })
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

/// The slices to read: all that are new, with some before them; and some of the older ones, in turn.
fn plan(now: i64, read_to: Option<i64>, turn: i64) -> (Option<Range<i64>>, Option<Range<i64>>) {
    let hour = hour(now);
    // The next slice too: senders' clocks may be ahead of ours.
    let end = hour.end + 1;
    let Some(read_to) = read_to.filter(|read_to| *read_to >= hour.start && *read_to < hour.end) else {
        return (Some(hour.start..end), None);
    };
    let fresh = (read_to.min(hour.end - 1) - FRESH + 1).max(hour.start)..end;
    let begin = if (hour.start..fresh.start).contains(&turn) { turn } else { hour.start };
    let older = begin..(begin + IN_TURN).min(fresh.start);
    (Some(fresh), Some(older).filter(|older| !older.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slice_of_the_hour_is_read_again_within_a_hundred_readings() {
        let mut now = 1_700_000_000_000;
        let (first, none) = plan(now, None, 0);
        assert_eq!((first, none), (Some(hour(now).start..hour(now).end + 1), None));
        let (mut read_to, mut turn) = (slice_of(now), 0);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            now += INTERVAL.as_millis() as i64;
            let (fresh, older) = plan(now, Some(read_to), turn);
            let (fresh, older) = (fresh.unwrap(), older.unwrap());
            assert!(fresh.contains(&slice_of(now)) && fresh.contains(&read_to) && older.end <= fresh.start);
            seen.extend(fresh);
            turn = older.end;
            seen.extend(older);
            read_to = slice_of(now);
        }
        assert!(hour(now).all(|slice| seen.contains(&slice)));
    }

    #[test]
    fn after_a_pause_everything_since_is_read() {
        let now = 1_700_000_000_000;
        let read_to = slice_of(now) - 100;
        let (fresh, _) = plan(now, Some(read_to), 0);
        assert_eq!(fresh, Some(read_to - FRESH + 1..slice_of(now) + 2));
        let (fresh, _) = plan(now, Some(slice_of(now) - 5_000), 0);
        assert_eq!(fresh, Some(hour(now).start..hour(now).end + 1));
    }
}
