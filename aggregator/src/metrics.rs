//! Every metric of the aggregator, declared and described in one place.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use common::suspicious::Suspicion;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::rollup::Rolled;

const ROLLUPS: &str = "devtoolkit_aggregator_rollups_total";
const ROLLUP_DURATION: &str = "devtoolkit_aggregator_rollup_duration_seconds";
const INPUTS: &str = "devtoolkit_aggregator_inputs_total";
const UNREADABLE: &str = "devtoolkit_aggregator_unreadable_documents_total";
const RETRIES: &str = "devtoolkit_aggregator_retries_total";
const DAYS_DUE: &str = "devtoolkit_aggregator_days_due";
const LAST_SUCCESS: &str = "devtoolkit_aggregator_last_success_timestamp_seconds";
const NEXT_RUN: &str = "devtoolkit_aggregator_next_run_timestamp_seconds";
const FAILED_LOGINS: &str = "devtoolkit_failed_logins";
const SUSPICIOUS_ACCOUNTS: &str = "devtoolkit_suspicious_accounts";
const SUSPICIOUS_ADDRESSES: &str = "devtoolkit_suspicious_addresses";

/// The histograms and their bounds.
pub const BUCKETS: &[(&str, &[f64])] =
    &[(ROLLUP_DURATION, &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0])];

/// Gives each metric its help text and unit, and the counters their first value, so that a rate sees the first event.
pub fn describe() {
    describe_counter!(
        ROLLUPS,
        Unit::Count,
        "Days rolled up, by outcome: rolled, provisional (the day was not over) or failed."
    );
    describe_histogram!(
        ROLLUP_DURATION,
        Unit::Seconds,
        "Time from reading a day's first event to its published document."
    );
    describe_counter!(INPUTS, Unit::Count, "Documents that rolled-up days were computed from, by collection.");
    describe_counter!(
        UNREADABLE,
        Unit::Count,
        "Documents left out because a field is missing or not of its type, by collection."
    );
    describe_counter!(RETRIES, Unit::Count, "Steps of a roll-up tried again after a fault that may pass.");
    describe_gauge!(DAYS_DUE, Unit::Count, "Finished days that wait to be rolled up.");
    describe_gauge!(LAST_SUCCESS, Unit::Seconds, "When a day was last rolled up, seconds since 1970.");
    describe_gauge!(NEXT_RUN, Unit::Seconds, "When the schedule fires next, seconds since 1970.");
    describe_gauge!(FAILED_LOGINS, Unit::Count, "Failed logins of the last ten minutes.");
    describe_gauge!(
        SUSPICIOUS_ACCOUNTS,
        Unit::Count,
        "Accounts with a burst of failed logins in the last ten minutes; `admin suspicious` names them."
    );
    describe_gauge!(
        SUSPICIOUS_ADDRESSES,
        Unit::Count,
        "Addresses with a burst of failed logins, or of accounts tried, in the last ten minutes; `admin suspicious` names them."
    );
    suspicion(&Suspicion::default());
    for outcome in ["rolled", "provisional", "failed"] {
        counter!(ROLLUPS, "outcome" => outcome).absolute(0);
    }
    counter!(RETRIES).absolute(0);
}

/// A day was rolled up.
pub fn rolled(rolled: &Rolled) {
    let outcome = if rolled.provisional { "provisional" } else { "rolled" };
    counter!(ROLLUPS, "outcome" => outcome).increment(1);
    histogram!(ROLLUP_DURATION).record(rolled.took);
    for (collection, documents) in [
        ("usage_analytics", rolled.inputs.tool_usage),
        ("activity_logs", rolled.inputs.activity),
        ("health_checks", rolled.inputs.health_checks),
    ] {
        counter!(INPUTS, "collection" => collection).increment(documents.unsigned_abs());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    gauge!(LAST_SUCCESS).set(now.as_secs_f64());
}

/// A day could not be rolled up.
pub fn failed() {
    counter!(ROLLUPS, "outcome" => "failed").increment(1);
}

/// Documents of `collection` were left out.
pub fn unreadable(collection: &'static str, documents: u64) {
    counter!(UNREADABLE, "collection" => collection).increment(documents);
}

/// A step is tried again.
pub fn retried() {
    counter!(RETRIES).increment(1);
}

/// So many finished days wait.
pub fn days_due(days: usize) {
    gauge!(DAYS_DUE).set(days as f64);
}

/// The schedule fires next at `at`.
pub fn next_run(at: DateTime<Utc>) {
    gauge!(NEXT_RUN).set(at.timestamp() as f64);
}

/// What the last ten minutes' failed logins show, as numbers alone.
pub fn suspicion(found: &Suspicion) {
    gauge!(FAILED_LOGINS).set(found.failed_logins as f64);
    gauge!(SUSPICIOUS_ACCOUNTS).set(found.accounts.count as f64);
    gauge!(SUSPICIOUS_ADDRESSES).set(found.addresses.count as f64);
}
