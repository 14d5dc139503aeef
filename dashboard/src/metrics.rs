//! Every metric of the dashboard, declared and described here alone.

use std::time::Duration;

use common::declare_metrics;
use common::documents::activity_log::Action;
use common::metrics::{Label, counter, found, gauge, histogram, known};

const REQUESTS_BY: &[Label] = &[
    found("route", "the routes of the program, as dashboard/src/routes.rs lists them"),
    known("status", || vec!["2xx", "3xx", "4xx", "5xx"]),
];
const ROUTE: &[Label] = &[found("route", "the routes of the program, as dashboard/src/routes.rs lists them")];

const OUTCOME: &[Label] = &[known("outcome", || vec!["done", "failed"])];

const LOGIN: &[Label] = &[known("action", || vec!["login", "login_failed", "logout"])];

declare_metrics! {
    REQUESTS = counter("devtoolkit_dashboard_requests_total", "Requests that were answered").by(REQUESTS_BY);
    REQUEST_DURATION = histogram(
        "devtoolkit_dashboard_request_duration_seconds",
        &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0],
        "Time from a request's head to the head of its answer",
    )
    .by(ROUTE);
    CONNECTIONS = gauge("devtoolkit_dashboard_connections", "Connections that are open");
    LOGINS = counter("devtoolkit_dashboard_logins_total", "Attempts to sign in, and ends of sessions by their users").by(LOGIN);
    LOGIN_EVENTS_LOST = counter(
        "devtoolkit_dashboard_login_events_lost_total",
        "Events about signing in that Kafka did not take: it is away, or slower than they come",
    );
    LIVE_VIEWERS = gauge("devtoolkit_dashboard_live_viewers", "Browsers that are sent the numbers of the live page");
    LIVE_READS = counter(
        "devtoolkit_dashboard_live_reads_total",
        "Readings of the last hour for all viewers of the live page; none while nobody looks",
    )
    .by(OUTCOME);
    LIVE_READ_DURATION = histogram(
        "devtoolkit_dashboard_live_read_duration_seconds",
        &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0],
        "Time of one reading for the live page",
    );
}

/// A request was answered.
pub fn answered(route: &'static str, status: u16, took: Duration) {
    let class = match status {
        ..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        500.. => "5xx",
    };
    REQUESTS.counter(&[route, class]).increment(1);
    REQUEST_DURATION.histogram(&[route]).record(took.as_secs_f64());
}

/// So many connections are open.
pub fn connections(open: usize) {
    CONNECTIONS.gauge(&[]).set(open as f64);
}

/// Somebody signed in, failed to, or signed out.
pub fn login(action: Action) {
    LOGINS.counter(&[action.as_str()]).increment(1);
}

/// An event about signing in did not reach Kafka.
pub fn login_event_lost() {
    LOGIN_EVENTS_LOST.counter(&[]).increment(1);
}

/// So many browsers follow the live page.
pub fn live_viewers(viewers: usize) {
    LIVE_VIEWERS.gauge(&[]).set(viewers as f64);
}

/// The live page's numbers were read, or could not be.
pub fn live_read(is_done: bool, took: Duration) {
    LIVE_READS.counter(&[if is_done { "done" } else { "failed" }]).increment(1);
    LIVE_READ_DURATION.histogram(&[]).record(took.as_secs_f64());
}
