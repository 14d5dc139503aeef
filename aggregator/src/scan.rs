//! Reads a day's events in parallel slices of time and folds them.
//!
//! Readers take slices from one queue, so that a busy hour does not keep one reader while the others are done. Each reader
//! folds into its own [`Fold`]; these are merged at the end. Documents are read as raw BSON and never built.
//!
//! When the folds of all readers grow beyond the memory they may take, half of the users and sessions are let go, and
//! counted in another pass over the same events: a day of any size is counted in bounded memory, only slower.

pub mod elements;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use bson::oid::ObjectId;
use bson::{DateTime, Document, RawDocumentBuf, doc};
use chrono::{TimeDelta, Utc};
use common::day::Day;
use common::documents::activity_log::{self, Action};
use common::documents::{health_check, usage_analytics};
use futures::TryStreamExt;
use mongodb::Database;
use mongodb::options::ReadConcern;
use tokio::task::JoinSet;

use self::elements::{Elements, Value};
use crate::fold::exact::Mean;
use crate::fold::{Activity, Fold, HealthCheck, Passes, SHARDS, ToolUse, Totals};
use crate::{lookup, metrics};

/// Short enough that the readers finish together, long enough that a query costs little beside what it returns.
const SLICE: TimeDelta = TimeDelta::minutes(15);

/// Documents of one answer: some 2 MB, so that readers times answers stay small in memory.
pub const BATCH: u32 = 10_000;

/// The collections that a day is folded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `usage_analytics`.
    ToolUses,
    /// `activity_logs`.
    Activities,
    /// `health_checks`.
    HealthChecks,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ToolUses, Self::Activities, Self::HealthChecks];

    /// The collection's name.
    pub fn collection(self) -> &'static str {
        match self {
            Self::ToolUses => usage_analytics::COLLECTION,
            Self::Activities => activity_log::COLLECTION,
            Self::HealthChecks => health_check::COLLECTION,
        }
    }

    /// The fields that the fold needs, and no others.
    pub fn projection(self) -> Document {
        match self {
            Self::ToolUses => doc! {
                "_id": 0, "userId": 1, "toolId": 1, "sessionId": 1, "usage.startTime": 1, "usage.endTime": 1,
                "usage.success": 1, "performance.responseTime": 1,
            },
            Self::Activities => doc! { "_id": 0, "userId": 1, "sessionId": 1, "action": 1, "timestamp": 1 },
            Self::HealthChecks => doc! { "_id": 0, "toolId": 1, "healthy": 1 },
        }
    }

    /// Folds one document's BSON, or says why it cannot be read.
    ///
    /// # Errors
    /// A field that the fold needs is missing or not of its type.
    pub fn fold(self, document: &[u8], fold: &mut Fold) -> Result<(), Unreadable> {
        match self {
            Self::ToolUses => fold.add_tool_use(&read_tool_use(document)?),
            Self::Activities => fold.add_activity(&read_activity(document)?),
            Self::HealthChecks => fold.add_health_check(&read_health_check(document)?),
        }
        Ok(())
    }
}

/// Why a document was left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{field} is {found}, expected {expected}")]
pub struct Unreadable {
    field: &'static str,
    found: String,
    expected: &'static str,
}

/// What a scan may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Queries at a time.
    pub readers: usize,
    /// Bytes of users and sessions held at a time. The answers of the queries come on top, some 10 MB for each reader.
    pub memory: usize,
}

/// What `day`'s events say, and how many of its active users were created before it began. `users` is the number of all
/// users.
///
/// # Errors
/// MongoDB fails, or a cursor returns what is not BSON.
pub async fn count(database: &Database, day: Day, limits: Limits, users: i64) -> anyhow::Result<(Totals, u64)> {
    let mut passes = Passes::default();
    let mut returning = 0;
    let mut shards = 0..SHARDS;
    while !shards.is_empty() {
        let fold = pass(database, day, limits, shards.clone()).await.context("reading the events")?;
        returning += lookup::returning_users(database, day, &fold, users)
            .await
            .context("finding out which active users were there before")?;
        passes.add(&fold);
        shards.start = fold.held().end;
        if !shards.is_empty() {
            tracing::info!(%day, done = shards.start, of = SHARDS, "the day does not fit into memory, reading it again");
        }
    }
    Ok((passes.totals(), returning))
}

/// Folds the events of `day` with the users and sessions of `shards`, or of the first of them that fit into memory.
async fn pass(database: &Database, day: Day, limits: Limits, shards: Range<usize>) -> anyhow::Result<Fold> {
    let slices = Arc::new(Slices::of(day, &sources_with_events(database, day).await?));
    let readers = limits.readers.clamp(1, slices.all.len().max(1));
    let budget = Arc::new(Budget::new(limits.memory, readers, shards.clone()));
    let mut running = JoinSet::new();
    for reader in 0..readers {
        let fold = Fold::of_shards(day, shards.clone());
        running.spawn(read_slices(database.clone(), Arc::clone(&slices), fold, Arc::clone(&budget), reader));
    }
    let mut folded = Fold::of_shards(day, shards.clone());
    let mut left_out = LeftOut::default();
    while let Some(finished) = running.join_next().await {
        let (fold, reasons) = finished.context("a reader of the scan ended early")??;
        folded = folded.merged(fold);
        left_out.merge(reasons);
    }
    if shards.start == 0 {
        left_out.report(day);
    }
    Ok(folded)
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

    /// Drops of a reader's fold what all readers have to drop. At least one shard stays, or no pass would get further.
    fn fit(&self, reader: usize, fold: &mut Fold) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let BudgetState { held, readers } = &mut *state;
        fold.keep(held.end);
        readers[reader] = (held.len(), fold.bytes());
        // Others may not have dropped yet what they have to: counted is what they will hold then.
        let bytes: usize = readers.iter().map(|(shards, bytes)| bytes / shards * held.len()).sum();
        if bytes > self.limit && held.len() > 1 {
            held.end = held.start + held.len() / 2;
            fold.keep(held.end);
            readers[reader] = (held.len(), fold.bytes());
        }
    }
}

/// The filter for the events of `[from, to)`.
pub fn within(from: chrono::DateTime<Utc>, to: chrono::DateTime<Utc>) -> Document {
    doc! { "timestamp": { "$gte": DateTime::from_chrono(from), "$lt": DateTime::from_chrono(to) } }
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
    from: chrono::DateTime<Utc>,
    to: chrono::DateTime<Utc>,
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

async fn read_slices(
    database: Database,
    slices: Arc<Slices>,
    mut fold: Fold,
    budget: Arc<Budget>,
    reader: usize,
) -> anyhow::Result<(Fold, LeftOut)> {
    let mut left_out = LeftOut::default();
    while let Some(Slice { source, from, to }) = slices.take() {
        let mut batches = database
            .collection::<RawDocumentBuf>(source.collection())
            .find(within(from, to))
            .projection(source.projection())
            .batch_size(BATCH)
            .read_concern(ReadConcern::majority())
            .batch()
            .await?;
        while let Some(batch) = batches.try_next().await? {
            for element in Elements::of(batch.doc_slices()?.as_bytes())? {
                let (_, Value::Document(document)) = element? else { continue };
                if let Err(reason) = source.fold(document, &mut fold) {
                    fold.add_unreadable();
                    left_out.add(source, reason);
                }
            }
            budget.fit(reader, &mut fold);
        }
    }
    Ok((fold, left_out))
}

/// How many documents were left out for which reason.
#[derive(Default)]
struct LeftOut(BTreeMap<(Source, Unreadable), u64>);

impl LeftOut {
    fn add(&mut self, source: Source, reason: Unreadable) {
        *self.0.entry((source, reason)).or_default() += 1;
    }

    fn merge(&mut self, other: Self) {
        for (reason, documents) in other.0 {
            *self.0.entry(reason).or_default() += documents;
        }
    }

    fn report(&self, day: Day) {
        for ((source, reason), documents) in &self.0 {
            let collection = source.collection();
            metrics::unreadable(collection, *documents);
            tracing::warn!(%day, collection, documents, %reason, "documents left out of the day");
        }
    }
}

fn read_tool_use(document: &[u8]) -> Result<ToolUse, Unreadable> {
    let (mut user, mut tool, mut session, mut response_time) = (None, None, None, None);
    let (mut start, mut end, mut success) = (None, None, None);
    for_each(document, |key, value| {
        match key {
            b"userId" => user = optional_id("userId", value)?,
            b"toolId" => tool = optional_id("toolId", value)?,
            b"sessionId" => session = optional_id("sessionId", value)?,
            b"usage" => for_each(sub_document("usage", value)?, |key, value| {
                match key {
                    b"startTime" => start = Some(millis("usage.startTime", value)?),
                    b"endTime" => end = Some(millis("usage.endTime", value)?),
                    b"success" => success = Some(boolean("usage.success", value)?),
                    _ => {}
                }
                Ok(())
            })?,
            b"performance" if value != Value::Null => for_each(sub_document("performance", value)?, |key, value| {
                if key == b"responseTime" {
                    response_time = optional_duration("performance.responseTime", value)?;
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(ToolUse {
        user,
        tool: required("toolId", tool, "an ObjectId")?,
        session,
        start: required("usage.startTime", start, "a date")?,
        end: required("usage.endTime", end, "a date")?,
        success: required("usage.success", success, "a boolean")?,
        response_time,
    })
}

fn read_activity(document: &[u8]) -> Result<Activity, Unreadable> {
    let (mut user, mut session, mut action, mut at) = (None, None, None, None);
    for_each(document, |key, value| {
        match key {
            b"userId" => user = optional_id("userId", value)?,
            b"sessionId" => session = optional_id("sessionId", value)?,
            b"action" => action = Some(known_action(value)?),
            b"timestamp" => at = Some(millis("timestamp", value)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(Activity {
        user,
        session,
        action: required("action", action, KNOWN_ACTION)?,
        at: required("timestamp", at, "a date")?,
    })
}

fn read_health_check(document: &[u8]) -> Result<HealthCheck, Unreadable> {
    let (mut tool, mut healthy) = (None, None);
    for_each(document, |key, value| {
        match key {
            b"toolId" => tool = optional_id("toolId", value)?,
            b"healthy" => healthy = Some(boolean("healthy", value)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(HealthCheck {
        tool: required("toolId", tool, "an ObjectId")?,
        healthy: required("healthy", healthy, "a boolean")?,
    })
}

fn for_each<'a>(
    document: &'a [u8],
    mut read: impl FnMut(&'a [u8], Value<'a>) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    for element in Elements::of(document)? {
        let (name, value) = element?;
        read(name, value)?;
    }
    Ok(())
}

impl From<elements::Broken> for Unreadable {
    fn from(_: elements::Broken) -> Self {
        Self { field: "the document", found: "broken".into(), expected: "BSON" }
    }
}

const KNOWN_ACTION: &str = "one of page_view, signup, login, login_failed, logout";

fn known_action(value: Value<'_>) -> Result<Action, Unreadable> {
    let Value::Text(text) = value else { return Err(unexpected("action", value, KNOWN_ACTION)) };
    let known = Action::ALL.iter().find(|action| action.as_str().as_bytes() == text);
    // The text itself may be anything, so it is not repeated.
    known.copied().ok_or_else(|| Unreadable { field: "action", found: "another string".into(), expected: KNOWN_ACTION })
}

fn optional_id(field: &'static str, value: Value<'_>) -> Result<Option<ObjectId>, Unreadable> {
    match value {
        Value::ObjectId(id) => Ok(Some(id)),
        Value::Null => Ok(None),
        other => Err(unexpected(field, other, "an ObjectId")),
    }
}

fn optional_duration(field: &'static str, value: Value<'_>) -> Result<Option<f64>, Unreadable> {
    let number = match value {
        Value::Double(number) => number,
        Value::Int32(number) => number.into(),
        Value::Int64(number) => number as f64,
        Value::Null => return Ok(None),
        other => return Err(unexpected(field, other, "a number")),
    };
    if !Mean::takes(number) {
        return Err(Unreadable { field, found: "out of range".into(), expected: "milliseconds from 0 to 2^32" });
    }
    Ok(Some(number))
}

fn millis(field: &'static str, value: Value<'_>) -> Result<i64, Unreadable> {
    match value {
        Value::DateTime(millis) => Ok(millis),
        other => Err(unexpected(field, other, "a date")),
    }
}

fn boolean(field: &'static str, value: Value<'_>) -> Result<bool, Unreadable> {
    match value {
        Value::Boolean(boolean) => Ok(boolean),
        other => Err(unexpected(field, other, "a boolean")),
    }
}

fn sub_document<'a>(field: &'static str, value: Value<'a>) -> Result<&'a [u8], Unreadable> {
    match value {
        Value::Document(document) => Ok(document),
        other => Err(unexpected(field, other, "a document")),
    }
}

fn required<T>(field: &'static str, value: Option<T>, expected: &'static str) -> Result<T, Unreadable> {
    value.ok_or_else(|| Unreadable { field, found: "missing".into(), expected })
}

fn unexpected(field: &'static str, value: Value<'_>, expected: &'static str) -> Unreadable {
    Unreadable { field, found: format!("of type {:?}", value.element_type()), expected }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.collection())
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    const DAY: &str = "2024-01-15";

    fn folded(source: Source, document: &RawDocumentBuf) -> Result<Fold, Unreadable> {
        let mut fold = Fold::new(Day::parse(DAY).unwrap());
        source.fold(document.as_bytes(), &mut fold).map(|()| fold)
    }

    fn tool_use() -> Document {
        let time = DateTime::from_chrono(Day::parse(DAY).unwrap().start());
        doc! {
            "userId": ObjectId::new(), "toolId": ObjectId::new(), "sessionId": ObjectId::new(),
            "usage": { "startTime": time, "endTime": time, "success": true },
            "performance": { "responseTime": 5.5 },
        }
    }

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
        fold.add_activity(&Activity { user: None, session: Some(ObjectId::new()), action: Action::Login, at: 0 });
        (0..10).for_each(|_| budget.fit(0, &mut fold));
        assert_eq!(fold.held().start, 5);
        assert!(!fold.held().is_empty());
    }

    #[test]
    fn optional_fields_may_be_missing_or_null() {
        let mut document = tool_use();
        for field in ["userId", "sessionId", "performance"] {
            document.insert(field, bson::Bson::Null);
            assert!(folded(Source::ToolUses, &RawDocumentBuf::try_from(&document).unwrap()).is_ok(), "{field} null");
            document.remove(field);
            assert!(folded(Source::ToolUses, &RawDocumentBuf::try_from(&document).unwrap()).is_ok(), "{field} missing");
        }
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_named() {
        let mut wrong = tool_use();
        wrong.insert("userId", "64a0");
        let reason = folded(Source::ToolUses, &RawDocumentBuf::try_from(&wrong).unwrap()).unwrap_err();
        assert_eq!(reason.to_string(), "userId is of type String, expected an ObjectId");
        let mut missing = tool_use();
        missing.get_document_mut("usage").unwrap().remove("success");
        let reason = folded(Source::ToolUses, &RawDocumentBuf::try_from(&missing).unwrap()).unwrap_err();
        assert_eq!(reason.to_string(), "usage.success is missing, expected a boolean");
        let activity = rawdoc! { "action": "dance", "timestamp": DateTime::now() };
        let reason = folded(Source::Activities, &activity).unwrap_err();
        assert!(reason.to_string().starts_with("action is another string, expected one of page_view"), "{reason}");
        let check = rawdoc! { "toolId": ObjectId::new(), "healthy": 1 };
        assert!(folded(Source::HealthChecks, &check).is_err());
    }

    #[test]
    fn a_response_time_may_be_any_number_that_can_be_one() {
        for (value, readable) in [
            (bson::Bson::Int32(5), true),
            (bson::Bson::Int64(5), true),
            (f64::NAN.into(), false),
            ((-1.0).into(), false),
        ] {
            let mut document = tool_use();
            document.insert("performance", doc! { "responseTime": value });
            let folded = folded(Source::ToolUses, &RawDocumentBuf::try_from(&document).unwrap());
            assert_eq!(folded.is_ok(), readable);
        }
    }
}
