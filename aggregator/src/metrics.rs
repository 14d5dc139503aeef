//! Every metric of the aggregator, declared and described here alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use common::declare_metrics;
use common::documents::system_analytics::{MostUsedTool, SystemAnalytics};
use common::kept;
use common::metrics::{Label, counter, found, gauge, histogram, known};
use common::suspicious::Suspicion;

use crate::daily::{MOST_USED_TOOLS, UNKNOWN_TOOL};
use crate::rolled::Rolled;
use crate::schedule::Standing;
use crate::source::Source;

const OUTCOME: &[Label] = &[known("outcome", || vec!["rolled", "provisional", "failed"])];
const COLLECTION: &[Label] = &[known("collection", || Source::ALL.map(Source::collection).to_vec())];
const ANONYMISED_COLLECTION: &[Label] =
    &[known("collection", || vec![Source::ToolUses.collection(), Source::Activities.collection()])];
const KEPT: &[Label] = &[known("collection", || kept::COLLECTIONS.to_vec())];
const USERS: &[Label] = &[known("kind", || vec!["total", "active", "new", "verified", "premium"])];
const TOOL: &[Label] =
    &[found("tool", "the names of the day's ten most used tools, and with 0 those of earlier days; 500 at most")];

declare_metrics! {
    ROLLUPS = counter(
        "devtoolkit_aggregator_rollups_total",
        "Roll-ups of a day: rolled, provisional (the day was not over) or failed",
    )
    .by(OUTCOME);
    ROLLUP_DURATION = histogram(
        "devtoolkit_aggregator_rollup_duration_seconds",
        &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0],
        "Time from reading a day's first event to its published document",
    );
    INPUTS = counter("devtoolkit_aggregator_inputs_total", "Documents that days were rolled up from").by(COLLECTION);
    UNREADABLE = counter(
        "devtoolkit_aggregator_unreadable_documents_total",
        "Documents left out because a field is missing or not of its type",
    )
    .by(COLLECTION);
    RETRIES = counter("devtoolkit_aggregator_retries_total", "Steps of a roll-up tried again after a fault that may pass");
    LEASE_HELD = gauge(
        "devtoolkit_aggregator_lease_held",
        "1 while this process holds the lease: it rolls days up, and others wait",
    );
    NEXT_RUN = gauge("devtoolkit_aggregator_next_run_timestamp_seconds", "When the schedule fires next; 0 before the first pass");
    LAST_SUCCESS = gauge(
        "devtoolkit_aggregator_last_success_timestamp_seconds",
        "When this process last rolled a day up; 0 when it has not",
    );
    DAYS_DUE = gauge(
        "devtoolkit_aggregator_days_due",
        "Finished days that wait to be rolled up, for the first time or for late events, whoever works",
    );
    DAYS_FAILED =
        gauge("devtoolkit_aggregator_days_failed", "Days whose last attempt failed or killed the process, whoever made it");
    LATEST_FAILED_DAY = gauge(
        "devtoolkit_aggregator_latest_failed_day_timestamp_seconds",
        "Start of the latest day whose last attempt failed or killed the process; 0 when there is none",
    );
    OLDEST_DIRTY = gauge(
        "devtoolkit_aggregator_oldest_dirty_timestamp_seconds",
        "Since when the day waits that has waited longest with late events; 0 when none does",
    );
    LATEST_DAY = gauge(
        "devtoolkit_aggregator_latest_day_timestamp_seconds",
        "Start of the latest day whose document is final; 0 when there is none",
    );
    ANONYMISED = counter("devtoolkit_aggregator_anonymised_total", "Events that were anonymised").by(ANONYMISED_COLLECTION);
    ANONYMISATION_DUE = gauge(
        "devtoolkit_aggregator_anonymisation_due_timestamp_seconds",
        "Since when the day waits that has waited longest to be anonymised; 0 when none does, or `privacy.anonymise` is false",
    );
    OLDEST_RECORD = gauge(
        "devtoolkit_aggregator_oldest_record_timestamp_seconds",
        "From when on the oldest document of the collection is kept: its `timestamp`, of a session its `expiresAt`; 0 when there is none, NaN while this cannot be read",
    )
    .by(KEPT);
    RETENTION = gauge("devtoolkit_aggregator_retention_seconds", "How long the settings keep a document of the collection: `[retention]`").by(KEPT);
    DAILY_DATE = gauge("devtoolkit_daily_date_timestamp_seconds", "Start of the day that the daily numbers are of; 0 when there is none");
    DAILY_USERS = gauge(
        "devtoolkit_daily_users",
        "Users at the end of the day (total; of them verified, premium), users of the day (active), accounts made in it (new)",
    )
    .by(USERS);
    DAILY_TOOL_USES = gauge("devtoolkit_daily_tool_uses", "Tool uses of the day");
    DAILY_TOOL_USERS = gauge("devtoolkit_daily_tool_users", "Users who used a tool on the day");
    DAILY_TOOL_VISIT_DURATION =
        gauge("devtoolkit_daily_tool_visit_duration_seconds", "Mean length of the day's visits by their tool uses alone");
    DAILY_MOST_USED = gauge("devtoolkit_daily_most_used_tool_uses", "Uses of the day's most used tools").by(TOOL);
    DAILY_RESPONSE_TIME = gauge("devtoolkit_daily_response_time_seconds", "Mean response time of the day's tool uses");
    DAILY_ERROR_RATIO = gauge("devtoolkit_daily_error_ratio", "Failed tool uses of the day / all of them");
    DAILY_UPTIME_RATIO = gauge("devtoolkit_daily_uptime_ratio", "Health checks of the day that found the tool healthy / all of them");
    DAILY_PEAK_USERS = gauge("devtoolkit_daily_peak_concurrent_users", "Most users present at one instant of the day");
    DAILY_PAGE_VIEWS = gauge("devtoolkit_daily_page_views", "Page views of the day");
    DAILY_BOUNCE_RATIO = gauge(
        "devtoolkit_daily_bounce_ratio",
        "Of the day's visits with a page view, those with just one and no tool use",
    );
    DAILY_VISIT_DURATION = gauge("devtoolkit_daily_visit_duration_seconds", "Mean length of the day's visits");
    DAILY_RETURN_USER_RATIO =
        gauge("devtoolkit_daily_return_user_ratio", "Of the day's active users, those whose account is older than the day");
    DAILY_USER_GROWTH = gauge("devtoolkit_daily_user_growth_ratio", "Change of the number of users to the day before / that of the day before");
    DAILY_USAGE_GROWTH = gauge("devtoolkit_daily_usage_growth_ratio", "Change of the tool uses to the day before / those of the day before");
    DAILY_RESPONSE_TIME_CHANGE = gauge(
        "devtoolkit_daily_response_time_change_ratio",
        "Change of the mean response time to the day before / that of the day before; below 0 is faster",
    );
    FAILED_LOGINS = gauge(
        "devtoolkit_failed_logins",
        "Failed logins of the last ten minutes, as `security.login_sources` report them; as the next two NaN while they cannot be counted, but an attack's numbers stay",
    );
    SUSPICIOUS_ACCOUNTS = gauge(
        "devtoolkit_suspicious_accounts",
        "Accounts with a burst of failed logins in the last ten minutes; `admin suspicious` names them, and who says so",
    );
    SUSPICIOUS_ADDRESSES = gauge(
        "devtoolkit_suspicious_addresses",
        "Addresses with a burst of failed logins, or of accounts tried, in the last ten minutes; `admin suspicious` names them, and who says so",
    );
}

/// Most tools that ever have a series: a series stays until the program ends.
const MOST_TOOLS_SHOWN: usize = 500;

/// A day was rolled up.
pub fn rolled(rolled: &Rolled) {
    ROLLUPS.counter(&[if rolled.provisional { "provisional" } else { "rolled" }]).increment(1);
    ROLLUP_DURATION.histogram(&[]).record(rolled.took.total());
    for (source, documents) in [
        (Source::ToolUses, rolled.inputs.tool_usage),
        (Source::Activities, rolled.inputs.activity),
        (Source::HealthChecks, rolled.inputs.health_checks),
    ] {
        INPUTS.counter(&[source.collection()]).increment(documents.unsigned_abs());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    LAST_SUCCESS.gauge(&[]).set(now.as_secs_f64());
}

/// A day could not be rolled up.
pub fn failed() {
    ROLLUPS.counter(&["failed"]).increment(1);
}

/// Documents of `collection` were left out.
pub fn unreadable(collection: &'static str, documents: u64) {
    UNREADABLE.counter(&[collection]).increment(documents);
}

/// A step is tried again.
pub fn retried() {
    RETRIES.counter(&[]).increment(1);
}

/// Whether this process holds the lease.
pub fn lease_held(is_held: bool) {
    LEASE_HELD.gauge(&[]).set(f64::from(u8::from(is_held)));
}

/// The schedule fires next at `at`.
pub fn next_run(at: DateTime<Utc>) {
    NEXT_RUN.gauge(&[]).set(at.timestamp() as f64);
}

/// Documents of `source` were anonymised.
pub fn anonymised(source: Source, documents: u64) {
    ANONYMISED.counter(&[source.collection()]).increment(documents);
}

/// From when on the oldest document of a collection is kept; an error when nobody knows.
pub fn oldest_record(collection: &'static str, oldest: Result<Option<DateTime<Utc>>, ()>) {
    let seconds = match oldest {
        Ok(Some(time)) => time.timestamp_millis() as f64 / 1_000.0,
        Ok(None) => 0.0,
        Err(()) => f64::NAN,
    };
    OLDEST_RECORD.gauge(&[collection]).set(seconds);
}

/// How long the settings keep a document of a collection.
pub fn retention(collection: &'static str, kept: Duration) {
    RETENTION.gauge(&[collection]).set(kept.as_secs_f64());
}

/// How the days stand.
pub fn standing(standing: &Standing) {
    let seconds = |time: Option<DateTime<Utc>>| time.map_or(0.0, |time| time.timestamp_millis() as f64 / 1_000.0);
    DAYS_DUE.gauge(&[]).set(standing.days_due as f64);
    DAYS_FAILED.gauge(&[]).set(standing.days_failed as f64);
    LATEST_FAILED_DAY.gauge(&[]).set(seconds(standing.latest_failed.map(common::day::Day::start)));
    OLDEST_DIRTY.gauge(&[]).set(seconds(standing.oldest_dirty));
    ANONYMISATION_DUE.gauge(&[]).set(seconds(standing.anonymisation_due));
    LATEST_DAY.gauge(&[]).set(seconds(standing.latest_day.map(common::day::Day::start)));
}

/// The daily numbers: what Grafana shows beside the pipeline's. What is null in the document, or is in no document yet, is NaN.
#[derive(Debug, Default)]
pub struct DailyNumbers {
    /// The tools that are shown: what has a series keeps it.
    shown: BTreeSet<String>,
}

impl DailyNumbers {
    /// Shows the numbers of a day.
    pub fn show(&mut self, day: Option<&SystemAnalytics>) {
        let of = |number: fn(&SystemAnalytics) -> Option<f64>| day.and_then(number).unwrap_or(f64::NAN);
        DAILY_DATE.gauge(&[]).set(day.map_or(0.0, |day| day.date.start().timestamp() as f64));
        for (kind, users) in [
            ("total", of(|day| Some(day.metrics.users.total as f64))),
            ("active", of(|day| day.metrics.users.active.map(|n| n as f64))),
            ("new", of(|day| Some(day.metrics.users.new as f64))),
            ("verified", of(|day| Some(day.metrics.users.verified as f64))),
            ("premium", of(|day| Some(day.metrics.users.premium as f64))),
        ] {
            DAILY_USERS.gauge(&[kind]).set(users);
        }
        for (metric, number) in [
            (DAILY_TOOL_USES, of(|day| Some(day.metrics.tools.total_usage as f64))),
            (DAILY_TOOL_USERS, of(|day| Some(day.metrics.tools.unique_users as f64))),
            (DAILY_TOOL_VISIT_DURATION, of(|day| day.metrics.tools.average_session_duration.map(minutes))),
            (DAILY_RESPONSE_TIME, of(|day| day.metrics.performance.average_response_time.map(|ms| ms / 1_000.0))),
            (DAILY_ERROR_RATIO, of(|day| day.metrics.performance.error_rate)),
            (DAILY_UPTIME_RATIO, of(|day| day.metrics.performance.uptime.map(|percent| percent / 100.0))),
            (DAILY_PEAK_USERS, of(|day| day.metrics.performance.peak_concurrent_users.map(|n| n as f64))),
            (DAILY_PAGE_VIEWS, of(|day| day.metrics.engagement.page_views.map(|n| n as f64))),
            (DAILY_BOUNCE_RATIO, of(|day| day.metrics.engagement.bounce_rate)),
            (DAILY_VISIT_DURATION, of(|day| day.metrics.engagement.average_session_duration.map(minutes))),
            (DAILY_RETURN_USER_RATIO, of(|day| day.metrics.engagement.return_user_rate)),
            (DAILY_USER_GROWTH, of(|day| day.trends.user_growth)),
            (DAILY_USAGE_GROWTH, of(|day| day.trends.usage_growth)),
            (DAILY_RESPONSE_TIME_CHANGE, of(|day| day.trends.performance_change)),
        ] {
            metric.gauge(&[]).set(number);
        }
        let uses = uses_by_name(day.map_or(&[], |day| &day.metrics.tools.most_used_tools));
        let room = MOST_TOOLS_SHOWN.saturating_sub(self.shown.len());
        let new: Vec<String> = uses.keys().filter(|name| !self.shown.contains(*name)).take(room).cloned().collect();
        self.shown.extend(new);
        for name in &self.shown {
            DAILY_MOST_USED.gauge(&[name]).set(uses.get(name).copied().unwrap_or(0) as f64);
        }
    }
}

/// A tool without a name, and one that shares its name, is named with its id.
fn uses_by_name(tools: &[MostUsedTool]) -> BTreeMap<String, i64> {
    let name = |tool: &MostUsedTool| {
        let of_that_name = tools.iter().filter(|other| other.tool_name == tool.tool_name).count();
        if of_that_name > 1 || tool.tool_name == UNKNOWN_TOOL {
            format!("{} {}", tool.tool_name, tool.tool_id)
        } else {
            tool.tool_name.clone()
        }
    };
    tools.iter().take(MOST_USED_TOOLS).map(|tool| (name(tool), tool.usage_count)).collect()
}

fn minutes(minutes: f64) -> f64 {
    minutes * 60.0
}

/// What the last ten minutes' failed logins show, as numbers alone; NaN where that is not known.
pub fn suspicion(found: Option<&Suspicion>) {
    for (metric, number) in [
        (FAILED_LOGINS, found.map(|found| found.failed_logins)),
        (SUSPICIOUS_ACCOUNTS, found.map(|found| found.accounts.count)),
        (SUSPICIOUS_ADDRESSES, found.map(|found| found.addresses.count)),
    ] {
        metric.gauge(&[]).set(number.map_or(f64::NAN, |number| number as f64));
    }
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;

    use super::*;

    #[test]
    fn every_tool_has_a_name_of_its_own() {
        let tool = |id: u8, name: &str, usage_count| MostUsedTool {
            tool_id: ObjectId::from_bytes([id; 12]),
            tool_name: name.to_owned(),
            usage_count,
        };
        let tools = [tool(1, "A", 4), tool(2, "B", 3), tool(3, "B", 2), tool(4, UNKNOWN_TOOL, 1)];
        let id = |id: u8| ObjectId::from_bytes([id; 12]);
        let expected = [
            (format!("{UNKNOWN_TOOL} {}", id(4)), 1),
            ("A".to_owned(), 4),
            (format!("B {}", id(2)), 3),
            (format!("B {}", id(3)), 2),
        ];
        assert_eq!(uses_by_name(&tools), BTreeMap::from(expected));
    }
}
