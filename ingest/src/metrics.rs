//! Every metric of ingest, declared and described here alone.

use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::declare_metrics;
use common::documents::activity_log::Action;
use common::documents::system_configuration::INGEST_LIMITS;
use common::event::{Data, Event, EventType, Reason};
use common::metrics::{Label, counter, found, gauge, histogram, known};
use metrics::{Counter, Gauge, Histogram};

use crate::offsets::Partition;

const TYPE: &[Label] = &[known("type", || EventType::ALL.map(EventType::as_str).to_vec())];
const COLLECTION: &[Label] = &[known("collection", || EventType::ALL.map(EventType::collection).to_vec())];
const ACTION: &[Label] = &[known("action", || Action::NAMES.to_vec())];
const REASON: &[Label] = &[known("reason", || Reason::ALL.map(Reason::as_str).to_vec())];
const REBALANCE: &[Label] = &[known("kind", || vec!["assigned", "revoked", "lost"])];
const LIVE_SETTING: &[Label] = &[known("key", || INGEST_LIMITS.to_vec())];
const PARTITION: &[Label] = &[found("partition", "the numbers of the partitions that this worker has, or had")];
const TOOL: &[Label] = &[found(
    "tool",
    "the slugs of 500 tools at most; unknown: the id is not in the collection tools; none: a refused message names no tool; other: beyond the 500, or tools were not read yet",
)];

declare_metrics! {
    EVENTS = counter("devtoolkit_ingest_events_total", "Events accepted and stored, by CloudEvents type").by(TYPE);
    ACTIVITIES = counter("devtoolkit_ingest_activities_total", "Activity events accepted, by what was done").by(ACTION);
    SUPPRESSED = counter(
        "devtoolkit_ingest_suppressed_total",
        "Events of erased people, which were dropped, by CloudEvents type",
    )
    .by(TYPE);
    TOMBSTONES = gauge("devtoolkit_ingest_tombstones", "Erased people and their sessions whose events are dropped");
    DEAD_LETTERS = counter("devtoolkit_ingest_dead_letters_total", "Messages refused, by reason; each becomes a dead letter")
        .by(REASON);
    DEAD_LETTER_RETRIES = counter(
        "devtoolkit_ingest_dead_letter_retries_total",
        "Dead letters that were not taken at once and sent again",
    );
    DEAD_LETTERS_CUT = counter(
        "devtoolkit_ingest_dead_letters_cut_total",
        "Dead letters that hold only a part of their message, which was too large",
    );
    DEAD_LETTERS_WAITING = gauge(
        "devtoolkit_ingest_dead_letters_waiting",
        "Dead letters that the topic has not taken for 10 seconds and more; they hold back the commits of their partitions",
    );
    INSERTED = counter("devtoolkit_ingest_documents_inserted_total", "Documents newly stored").by(COLLECTION);
    ABSORBED = counter("devtoolkit_ingest_documents_absorbed_total", "Documents that were stored already: replays")
        .by(COLLECTION);
    CONFLICTING = counter(
        "devtoolkit_ingest_conflicting_duplicates_total",
        "Absorbed documents with other content than the stored one, which stays: two events with the same source, id and second of time. A sample: at most 100 documents of a batch, and one batch a second",
    )
    .by(COLLECTION);
    INSERT_DURATION = histogram(
        "devtoolkit_ingest_insert_duration_seconds",
        &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0],
        "Time until a batch's documents of one collection were acknowledged, tries included",
    )
    .by(COLLECTION);
    INSERT_RETRIES = counter("devtoolkit_ingest_insert_retries_total", "Inserts that were sent again").by(COLLECTION);
    MARK_RETRIES = counter(
        "devtoolkit_ingest_late_day_mark_retries_total",
        "Marks of days with late events that were not taken and sent again",
    );
    COMMIT_FAILURES = counter(
        "devtoolkit_ingest_commit_failures_total",
        "Commits of offsets that failed; the offsets are committed again",
    );
    REBALANCES = counter(
        "devtoolkit_ingest_rebalances_total",
        "Changes of this worker's partitions; lost: another worker had them before they could be given back",
    )
    .by(REBALANCE);
    IN_FLIGHT = gauge("devtoolkit_ingest_batches_in_flight", "Batches being written");
    IN_FLIGHT_LIMIT = gauge(
        "devtoolkit_ingest_in_flight_limit",
        "Batches that may be written at the same time: halved when one must be sent again",
    );
    PAUSED = gauge("devtoolkit_ingest_paused", "1 while reading is paused because the writer is stalled, else 0");
    ASSIGNED = gauge("devtoolkit_ingest_assigned_partitions", "Partitions of the topic that this worker reads");
    LAG = gauge(
        "devtoolkit_ingest_lag_messages",
        "Offsets between the committed one and the partition's last stable offset; 0 where another worker reads it",
    )
    .by(PARTITION);
    EXPIRED_UNREAD = counter(
        "devtoolkit_ingest_expired_unread_total",
        "Offsets that the topic's retention removed before this worker read them; the log says which",
    );
    RETENTION = gauge(
        "devtoolkit_ingest_retention_seconds",
        "How long the topic keeps a message (retention.ms), asked every 20 seconds; infinite when for ever, not a number when Kafka did not say",
    );
    RETENTION_LEFT = gauge(
        "devtoolkit_ingest_retention_left_seconds",
        "Until retention removes the oldest event that this worker has not read, of the partitions that it has read from; infinite when nothing waits or nothing is removed, negative when it may be gone",
    );
    DELAY = histogram(
        "devtoolkit_ingest_delay_seconds",
        &[
            0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 75.0, 90.0, 120.0, 150.0, 180.0, 240.0, 300.0,
            360.0, 420.0, 480.0, 600.0, 900.0, 1_800.0, 7_200.0, 86_400.0,
        ],
        "From an event's time until its batch was closed; one event of each batch",
    );
    WITHOUT_PROGRESS = gauge(
        "devtoolkit_ingest_without_progress_seconds",
        "How long nothing was acknowledged although there are messages to be stored; 0 when there are none",
    );
    THROTTLE_KEYS = gauge("devtoolkit_ingest_throttle_keys", "Tools, sources and users whose rates are remembered, for the limits per minute");
    BAD_LIVE_SETTINGS = counter(
        "devtoolkit_ingest_bad_live_settings_total",
        "Looks at system_configuration that found a value which cannot be used",
    )
    .by(LIVE_SETTING);
    LIMIT = gauge("devtoolkit_ingest_limit", "Limit in force, events a second or a minute as its key says; 0 is no limit")
        .by(LIVE_SETTING);
    LIMIT_IS_LIVE = gauge(
        "devtoolkit_ingest_limit_is_live",
        "1 while the limit in force is that of system_configuration, 0 while it is that of the settings",
    )
    .by(LIVE_SETTING);
    LIMIT_SINCE = gauge(
        "devtoolkit_ingest_limit_since_timestamp_seconds",
        "When this worker put the limit in force that it has now",
    )
    .by(LIVE_SETTING);
    ACTIVE_USERS = gauge(
        "devtoolkit_active_users",
        "Users of this worker's partitions with an event in the last 5 minutes; the sum over the workers is exact. A worker counts 400000 users at most: at that value there are at least as many",
    );
    TOOL_USES = counter("devtoolkit_tool_uses_total", "Tool uses accepted").by(TOOL);
    TOOL_FAILURES = counter("devtoolkit_tool_failures_total", "Tool uses accepted that had failed").by(TOOL);
    TOOL_REFUSED = counter("devtoolkit_tool_refused_total", "Messages refused, by the tool that they name").by(TOOL);
    TOOL_RESPONSE = histogram(
        "devtoolkit_tool_response_duration_seconds",
        &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0],
        "performance.responseTime of tool uses",
    )
    .by(TOOL);
}

/// The series of a type of event and of its collection.
struct TypeSeries {
    events: Counter,
    inserted: Counter,
    absorbed: Counter,
    insert_duration: Histogram,
}

impl TypeSeries {
    fn of(event_type: EventType) -> Self {
        let collection = [event_type.collection()];
        Self {
            events: EVENTS.counter(&[event_type.as_str()]),
            inserted: INSERTED.counter(&collection),
            absorbed: ABSORBED.counter(&collection),
            insert_duration: INSERT_DURATION.histogram(&collection),
        }
    }
}

// What each event or batch writes to is looked up once.
static BY_TYPE: LazyLock<[TypeSeries; EventType::ALL.len()]> = LazyLock::new(|| EventType::ALL.map(TypeSeries::of));
static BY_REASON: LazyLock<[Counter; Reason::ALL.len()]> =
    LazyLock::new(|| Reason::ALL.map(|reason| DEAD_LETTERS.counter(&[reason.as_str()])));
static BY_ACTION: LazyLock<[Counter; Action::ALL.len()]> =
    LazyLock::new(|| std::array::from_fn(|action| ACTIVITIES.counter(&[Action::NAMES[action]])));
static BATCH_DELAY: LazyLock<Histogram> = LazyLock::new(|| DELAY.histogram(&[]));
static SUPPRESSED_BY_TYPE: LazyLock<[Counter; EventType::ALL.len()]> =
    LazyLock::new(|| EventType::ALL.map(|event_type| SUPPRESSED.counter(&[event_type.as_str()])));

static BATCHES_IN_FLIGHT: LazyLock<Gauge> = LazyLock::new(|| IN_FLIGHT.gauge(&[]));

/// An event is accepted.
pub fn accepted(event: &Event<'_>) {
    if let Data::Activity(activity) = &event.data {
        BY_ACTION[activity.action as usize].increment(1);
    }
}

/// An event of an erased person is dropped.
pub fn suppressed(event: &Event<'_>) {
    SUPPRESSED_BY_TYPE[event.event_type() as usize].increment(1);
}

/// How many tombstones the worker knows.
pub fn tombstones(count: usize) {
    TOMBSTONES.gauge(&[]).set(count as f64);
}

/// A dead letter is delivered.
pub fn dead_lettered(reason: Reason) {
    BY_REASON[reason as usize].increment(1);
}

/// A dead letter is sent again.
pub fn dead_letter_retried() {
    DEAD_LETTER_RETRIES.counter(&[]).increment(1);
}

/// A dead letter is delivered that holds only a part of its message.
pub fn dead_letter_cut() {
    DEAD_LETTERS_CUT.counter(&[]).increment(1);
}

/// Dead letters that the topic has not taken for long.
pub fn dead_letters_waiting(letters: usize) {
    DEAD_LETTERS_WAITING.gauge(&[]).set(letters as f64);
}

/// The documents of one collection are acknowledged: so many are new, and so many were stored before.
pub fn inserted(event_type: EventType, stored: usize, absorbed: usize, duration: Duration) {
    let series = &BY_TYPE[event_type as usize];
    series.events.increment((stored + absorbed) as u64);
    series.inserted.increment(stored as u64);
    series.absorbed.increment(absorbed as u64);
    series.insert_duration.record(duration);
}

/// So many absorbed documents have other content than the stored ones.
pub fn conflicting(event_type: EventType, documents: usize) {
    CONFLICTING.counter(&[event_type.collection()]).increment(documents as u64);
}

/// An insert is sent again.
pub fn insert_retried(event_type: EventType) {
    INSERT_RETRIES.counter(&[event_type.collection()]).increment(1);
}

/// A day with late events is marked again.
pub fn mark_retried() {
    MARK_RETRIES.counter(&[]).increment(1);
}

/// A commit failed.
pub fn commit_failed() {
    COMMIT_FAILURES.counter(&[]).increment(1);
}

/// The worker's partitions changed: `assigned`, `revoked` or `lost`; how many it has now.
pub fn rebalanced(kind: &'static str, partitions: usize) {
    REBALANCES.counter(&[kind]).increment(1);
    ASSIGNED.gauge(&[]).set(partitions as f64);
}

/// Batches being written now.
pub fn in_flight(batches: usize) {
    BATCHES_IN_FLIGHT.set(batches as f64);
}

/// Batches that may be written at the same time.
pub fn window(batches: usize) {
    IN_FLIGHT_LIMIT.gauge(&[]).set(batches as f64);
}

/// Whether reading is paused.
pub fn paused(is_paused: bool) {
    PAUSED.gauge(&[]).set(f64::from(u8::from(is_paused)));
}

/// Users who are there now.
pub fn active_users(users: usize) {
    ACTIVE_USERS.gauge(&[]).set(users as f64);
}

/// Tools, sources and users whose rates are remembered.
pub fn throttled(keys: usize) {
    THROTTLE_KEYS.gauge(&[]).set(keys as f64);
}

/// A live setting cannot be used.
pub fn bad_live_setting(key: &'static str) {
    BAD_LIVE_SETTINGS.counter(&[key]).increment(1);
}

/// A limit is in force from now on; `None` is no limit. `is_live`: it is that of `system_configuration`.
pub fn limit(key: &'static str, most: Option<NonZeroU32>, is_live: bool) {
    LIMIT.gauge(&[key]).set(most.map_or(0.0, |most| f64::from(most.get())));
    LIMIT_IS_LIVE.gauge(&[key]).set(f64::from(u8::from(is_live)));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    LIMIT_SINCE.gauge(&[key]).set(now.as_secs_f64());
}

/// How long the last event of a batch was under way.
pub fn delay(delay: Duration) {
    BATCH_DELAY.record(delay);
}

/// How long nothing was acknowledged although there is something to do.
pub fn without_progress(duration: Duration) {
    WITHOUT_PROGRESS.gauge(&[]).set(duration.as_secs_f64());
}

/// How many messages of a partition are not yet committed.
pub fn lag(partition: Partition, messages: i64) {
    LAG.gauge(&[&partition.to_string()]).set(messages as f64);
}

/// Offsets of the topic were removed before they were read.
pub fn expired_unread(offsets: i64) {
    EXPIRED_UNREAD.counter(&[]).increment(u64::try_from(offsets).unwrap_or(0));
}

/// How long the topic keeps a message, and until it removes the oldest one that is not read, in seconds.
pub fn retention(kept: f64, left: f64) {
    RETENTION.gauge(&[]).set(kept);
    RETENTION_LEFT.gauge(&[]).set(left);
}

/// The series of one tool.
pub struct ToolMetrics {
    uses: Counter,
    failures: Counter,
    refused: Counter,
    response: Histogram,
}

impl ToolMetrics {
    /// The series labelled `tool`.
    pub fn new(tool: &str) -> Self {
        Self {
            uses: TOOL_USES.counter(&[tool]),
            failures: TOOL_FAILURES.counter(&[tool]),
            refused: TOOL_REFUSED.counter(&[tool]),
            response: TOOL_RESPONSE.histogram(&[tool]),
        }
    }

    /// Counts a message that was refused.
    pub fn note_refused(&self) {
        self.refused.increment(1);
    }

    /// Counts a use; the response time in milliseconds.
    pub fn note(&self, success: bool, response_time: Option<f64>) {
        self.uses.increment(1);
        if !success {
            self.failures.increment(1);
        }
        if let Some(milliseconds) = response_time {
            self.response.record(milliseconds / 1_000.0);
        }
    }
}
