//! Every metric of ingest, declared and described here alone.

use std::time::Duration;

use common::event::{EventType, Reason};
use metrics::{
    Counter, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use rdkafka::Statistics;

use crate::batch::Batch;
use crate::dead_letter::DeadLetter;
use crate::writer::Written;

const EVENTS: &str = "devtoolkit_ingest_events_total";
const DEAD_LETTERS: &str = "devtoolkit_ingest_dead_letters_total";
const DEAD_LETTER_RETRIES: &str = "devtoolkit_ingest_dead_letter_retries_total";
const DOCUMENTS: &str = "devtoolkit_ingest_documents_inserted_total";
const ABSORBED: &str = "devtoolkit_ingest_documents_absorbed_total";
const INSERT_SECONDS: &str = "devtoolkit_ingest_insert_duration_seconds";
const INSERT_RETRIES: &str = "devtoolkit_ingest_insert_retries_total";
const MARK_RETRIES: &str = "devtoolkit_ingest_late_day_mark_retries_total";
const COMMIT_FAILURES: &str = "devtoolkit_ingest_commit_failures_total";
const IN_FLIGHT: &str = "devtoolkit_ingest_batches_in_flight";
const PAUSED: &str = "devtoolkit_ingest_paused";
const ASSIGNED: &str = "devtoolkit_ingest_assigned_partitions";
const ACTIVE_USERS: &str = "devtoolkit_active_users";
const THROTTLED_TOOLS: &str = "devtoolkit_ingest_throttle_keys";
const BAD_LIVE_SETTINGS: &str = "devtoolkit_ingest_bad_live_settings_total";
const TOOL_USES: &str = "devtoolkit_tool_uses_total";
const TOOL_FAILURES: &str = "devtoolkit_tool_failures_total";
const TOOL_RESPONSE_SECONDS: &str = "devtoolkit_tool_response_duration_seconds";
const DELAY_SECONDS: &str = "devtoolkit_ingest_delay_seconds";
const WITHOUT_PROGRESS: &str = "devtoolkit_ingest_seconds_without_progress";
const WINDOW: &str = "devtoolkit_ingest_in_flight_limit";
const LAG: &str = "devtoolkit_ingest_lag_messages";

/// Upper bounds of each histogram, in its unit.
pub const BUCKETS: &[(&str, &[f64])] = &[
    (INSERT_SECONDS, &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0]),
    (TOOL_RESPONSE_SECONDS, &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0]),
    (DELAY_SECONDS, &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0, 86_400.0]),
];

/// Describes every metric, and shows every counter from the start: a rate over a series that does not exist is no rate.
pub fn describe() {
    describe_counter!(EVENTS, "Events read from Kafka and accepted, by type");
    describe_counter!(DEAD_LETTERS, "Messages handed to the dead-letter topic, by reason");
    describe_counter!(DEAD_LETTER_RETRIES, "Dead letters that were not taken at once and sent again");
    describe_counter!(DOCUMENTS, "Documents newly stored, by collection");
    describe_counter!(ABSORBED, "Documents that were stored already: replays, by collection");
    describe_histogram!(
        INSERT_SECONDS,
        Unit::Seconds,
        "Time until a batch's documents of one collection were acknowledged, tries included"
    );
    describe_counter!(INSERT_RETRIES, "Inserts that were sent again, by collection");
    describe_counter!(MARK_RETRIES, "Marks of days with late events that were not taken and sent again");
    describe_counter!(COMMIT_FAILURES, "Commits of offsets that failed; the offsets are committed again");
    describe_gauge!(IN_FLIGHT, "Batches being written");
    describe_gauge!(WINDOW, "Batches that may be written at the same time: halved when one must be sent again");
    describe_gauge!(
        WITHOUT_PROGRESS,
        Unit::Seconds,
        "How long nothing was acknowledged although there are messages to be stored; 0 when there are none"
    );
    describe_gauge!(PAUSED, "1 while reading is paused because the writer is stalled, else 0");
    describe_gauge!(ASSIGNED, "Partitions of the topic that this worker reads");
    describe_gauge!(LAG, "Messages between the committed offset and the end of the partition, by partition");
    describe_gauge!(
        ACTIVE_USERS,
        "Users of this worker's partitions with an event in the last 5 minutes; the sum over the workers is exact"
    );
    describe_gauge!(THROTTLED_TOOLS, "Tools whose rate is being remembered");
    describe_counter!(
        BAD_LIVE_SETTINGS,
        "Looks at system_configuration that found a value which cannot be used, by key"
    );
    describe_counter!(TOOL_USES, "Tool uses accepted, by tool; tools beyond the bound are counted as other");
    describe_counter!(TOOL_FAILURES, "Tool uses accepted that had failed, by tool");
    describe_histogram!(TOOL_RESPONSE_SECONDS, Unit::Seconds, "performance.responseTime of tool uses, by tool");
    describe_histogram!(
        DELAY_SECONDS,
        Unit::Seconds,
        "From an event's time until its batch was closed; one event of each batch"
    );
    for event_type in EventType::ALL {
        counter!(EVENTS, "type" => event_type.as_str()).absolute(0);
        for name in [DOCUMENTS, ABSORBED, INSERT_RETRIES] {
            counter!(name, "collection" => event_type.collection()).absolute(0);
        }
    }
    for reason in Reason::ALL {
        counter!(DEAD_LETTERS, "reason" => reason.as_str()).absolute(0);
    }
    for name in [DEAD_LETTER_RETRIES, MARK_RETRIES, COMMIT_FAILURES] {
        counter!(name).absolute(0);
    }
    for name in [IN_FLIGHT, WINDOW, WITHOUT_PROGRESS, PAUSED, ASSIGNED, ACTIVE_USERS, THROTTLED_TOOLS] {
        gauge!(name).set(0);
    }
}

/// A batch is stored and its dead letters are delivered.
pub fn batch_written(batch: &Batch) {
    for insert in batch.inserts() {
        counter!(EVENTS, "type" => insert.event_type.as_str()).increment(insert.len() as u64);
    }
    dead_lettered(batch.dead_letters());
}

/// Dead letters are delivered.
pub fn dead_lettered(letters: &[DeadLetter]) {
    for letter in letters {
        counter!(DEAD_LETTERS, "reason" => letter.reason.as_str()).increment(1);
    }
}

/// A dead letter is sent again.
pub fn dead_letter_retried() {
    counter!(DEAD_LETTER_RETRIES).increment(1);
}

/// The documents of one collection are acknowledged.
pub fn inserted(collection: &'static str, written: &Written, duration: Duration) {
    counter!(DOCUMENTS, "collection" => collection).increment(written.stored as u64);
    counter!(ABSORBED, "collection" => collection).increment(written.absorbed as u64);
    histogram!(INSERT_SECONDS, "collection" => collection).record(duration);
}

/// An insert is sent again.
pub fn insert_retried(collection: &'static str) {
    counter!(INSERT_RETRIES, "collection" => collection).increment(1);
}

/// A day with late events is marked again.
pub fn mark_retried() {
    counter!(MARK_RETRIES).increment(1);
}

/// A commit failed.
pub fn commit_failed() {
    counter!(COMMIT_FAILURES).increment(1);
}

/// Batches being written now.
pub fn in_flight(batches: usize) {
    gauge!(IN_FLIGHT).set(batches as f64);
}

/// Batches that may be written at the same time.
pub fn window(batches: usize) {
    gauge!(WINDOW).set(batches as f64);
}

/// Whether reading is paused.
pub fn paused(is_paused: bool) {
    gauge!(PAUSED).set(if is_paused { 1.0 } else { 0.0 });
}

/// Partitions of this worker now.
pub fn assigned_partitions(partitions: usize) {
    gauge!(ASSIGNED).set(partitions as f64);
}

/// Users who are there now.
pub fn active_users(users: usize) {
    gauge!(ACTIVE_USERS).set(users as f64);
}

/// Tools whose rate is being remembered.
pub fn throttled_tools(tools: usize) {
    gauge!(THROTTLED_TOOLS).set(tools as f64);
}

/// A live setting cannot be used.
pub fn bad_live_setting(key: &'static str) {
    counter!(BAD_LIVE_SETTINGS, "key" => key).increment(1);
}

/// How long the last event of a batch was under way.
pub fn delay(delay: Duration) {
    histogram!(DELAY_SECONDS).record(delay);
}

/// The series of one tool.
pub struct ToolMetrics {
    uses: Counter,
    failures: Counter,
    response_seconds: Histogram,
}

impl ToolMetrics {
    /// The series labelled `tool`.
    pub fn new(tool: &str) -> Self {
        let tool = tool.to_owned();
        Self {
            uses: counter!(TOOL_USES, "tool" => tool.clone()),
            failures: counter!(TOOL_FAILURES, "tool" => tool.clone()),
            response_seconds: histogram!(TOOL_RESPONSE_SECONDS, "tool" => tool),
        }
    }

    /// Counts a use; the response time in milliseconds.
    pub fn note(&self, success: bool, response_time: Option<f64>) {
        self.uses.increment(1);
        if !success {
            self.failures.increment(1);
        }
        if let Some(milliseconds) = response_time {
            self.response_seconds.record(milliseconds / 1_000.0);
        }
    }
}

/// How long nothing was acknowledged although there is something to do.
pub fn without_progress(duration: Duration) {
    gauge!(WITHOUT_PROGRESS).set(duration.as_secs_f64());
}

/// What librdkafka knows of the partitions it fetches; returns the sum of their lags.
pub fn kafka_statistics(statistics: &Statistics) -> i64 {
    let mut lag = 0;
    for topic in statistics.topics.values() {
        for (number, partition) in topic.partitions.iter().filter(|(number, _)| **number >= 0) {
            // What was known of a partition before it went to another worker would be counted twice.
            let is_ours = !matches!(partition.fetch_state.as_str(), "none" | "stopping" | "stopped");
            let messages = if is_ours { partition.consumer_lag } else { 0 };
            if messages >= 0 {
                gauge!(LAG, "partition" => number.to_string()).set(messages as f64);
                lag += messages;
            }
        }
    }
    lag
}
