//! The numbers of a day, counted again from the list of its events: slow, simple, and without a line of the aggregator.
//!
//! Tests compare the aggregator's documents with this. Everything is counted the way the definition is worded, by looking
//! at all events again for each number; sums and ratios are exact integers until the very last step.
#![allow(clippy::expect_used, reason = "a helper of tests: what it expects is what the test expects")]

use std::collections::{BTreeMap, BTreeSet};

use num_bigint::BigInt;
use serde_json::{Value, json};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// A user, as far as a day's numbers need one.
#[derive(Clone, Debug)]
pub struct User {
    /// 24 hex digits.
    pub id: String,
    /// RFC 3339.
    pub created_at: String,
    /// `authentication.isVerified`.
    pub verified: bool,
    /// On an active pro or enterprise plan.
    pub premium: bool,
}

struct Event {
    user: Option<String>,
    session: Option<String>,
    start: i64,
    end: i64,
    what: What,
}

enum What {
    ToolUse { tool: String, success: bool, response_time: Option<f64> },
    PageView,
    OtherActivity,
    HealthCheck { healthy: bool },
}

/// The `metrics` of `date`, in relaxed Extended JSON, from CloudEvents in structured mode. `tools` gives names by id.
///
/// # Panics
/// On an event that ingest would refuse.
pub fn metrics(date: &str, events: &[Value], users: &[User], tools: &BTreeMap<String, String>) -> Value {
    let day_start = millis(&format!("{date}T00:00:00Z"));
    let all = events_of(day_start, events);
    let uses: Vec<&Event> = all.iter().filter(|event| matches!(event.what, What::ToolUse { .. })).collect();
    let doings: Vec<&Event> = all.iter().filter(|event| !matches!(event.what, What::HealthCheck { .. })).collect();
    let page_views = doings.iter().filter(|event| matches!(event.what, What::PageView)).count();
    let failures = uses.iter().filter(|event| matches!(event.what, What::ToolUse { success: false, .. })).count();
    let response_times: Vec<f64> = uses.iter().filter_map(|event| event.response_time()).collect();
    let checks: Vec<bool> = all.iter().filter_map(|event| event.health()).collect();
    let healthy = checks.iter().filter(|healthy| **healthy).count();

    let created_before = |limit: i64| users.iter().filter(move |user| millis(&user.created_at) < limit);
    let active = users_of(&doings);
    let returning = created_before(day_start).filter(|user| active.contains(user.id.as_str())).count();
    let visits = visits(&doings);
    let seen: Vec<&Vec<&Event>> =
        visits.iter().filter(|visit| visit.iter().any(|event| event.is_page_view())).collect();
    let bounced = seen
        .iter()
        .filter(|visit| visit.iter().filter(|event| event.is_page_view()).count() == 1)
        .filter(|visit| !visit.iter().any(|event| event.tool().is_some()))
        .count();
    json!({
        "users": {
            "total": created_before(day_start + DAY).count(),
            "active": active.len(),
            "new": created_before(day_start + DAY).count() - created_before(day_start).count(),
            "verified": created_before(day_start + DAY).filter(|user| user.verified).count(),
            "premium": created_before(day_start + DAY).filter(|user| user.premium).count(),
        },
        "tools": {
            "totalUsage": uses.len(),
            "uniqueUsers": users_of(&uses).len(),
            "averageSessionDuration": mean_minutes(&self::visits(&uses)),
            "mostUsedTools": most_used(&uses, tools),
        },
        "performance": {
            "averageResponseTime": mean(&response_times),
            "errorRate": ratio(failures.into(), uses.len().into()),
            "uptime": ratio((100 * healthy).into(), checks.len().into()),
            "peakConcurrentUsers": peak(&doings),
        },
        "engagement": {
            "pageViews": page_views,
            "bounceRate": ratio(bounced.into(), seen.len().into()),
            "averageSessionDuration": mean_minutes(&visits),
            "returnUserRate": ratio(returning.into(), active.len().into()),
        },
    })
}

/// The `trends` of a day from its metrics and those of the day before.
pub fn trends(today: &Value, yesterday: Option<&Value>) -> Value {
    let growth = |pointer: &str| {
        let (now, before) = (today.pointer(pointer)?.as_i64()?, yesterday?.pointer(pointer)?.as_i64()?);
        ratio((now - before).into(), before.into())
    };
    let change = || {
        let pointer = "/performance/averageResponseTime";
        let (now, before) = (today.pointer(pointer)?.as_f64()?, yesterday?.pointer(pointer)?.as_f64()?);
        (before > 0.0).then(|| (now - before) / before)
    };
    json!({
        "userGrowth": growth("/users/total"),
        "usageGrowth": growth("/tools/totalUsage"),
        "performanceChange": change(),
    })
}

impl Event {
    fn tool(&self) -> Option<&str> {
        if let What::ToolUse { tool, .. } = &self.what { Some(tool) } else { None }
    }

    fn response_time(&self) -> Option<f64> {
        if let What::ToolUse { response_time, .. } = self.what { response_time } else { None }
    }

    fn health(&self) -> Option<bool> {
        if let What::HealthCheck { healthy } = self.what { Some(healthy) } else { None }
    }

    fn is_page_view(&self) -> bool {
        matches!(self.what, What::PageView)
    }
}

/// The events of a day, each once, without failed logins.
fn events_of(day_start: i64, events: &[Value]) -> Vec<Event> {
    let mut known = BTreeSet::new();
    let mut of_the_day = Vec::new();
    for event in events {
        let at = millis(text(event, "time").expect("an event has a time"));
        let is_new = known.insert((text(event, "source"), text(event, "id")));
        if is_new && (day_start..day_start + DAY).contains(&at) {
            of_the_day.extend(read(event, at));
        }
    }
    of_the_day
}

fn read(event: &Value, at: i64) -> Option<Event> {
    let data = &event["data"];
    let owned = |field| text(data, field).map(str::to_owned);
    let (mut start, mut end) = (at, at);
    let what = match text(event, "type").expect("an event has a type") {
        "com.devtoolkit.tool-usage.v1" => {
            let usage = &data["usage"];
            start = millis(text(usage, "startTime").expect("a start"));
            end = millis(text(usage, "endTime").expect("an end"));
            What::ToolUse {
                tool: owned("toolId").expect("a tool"),
                success: usage["success"].as_bool().expect("success"),
                response_time: data["performance"]["responseTime"].as_f64(),
            }
        }
        "com.devtoolkit.activity.v1" => match text(data, "action").expect("an action") {
            "login_failed" => return None,
            "page_view" => What::PageView,
            _ => What::OtherActivity,
        },
        _ => What::HealthCheck { healthy: data["healthy"].as_bool().expect("healthy") },
    };
    Some(Event { user: owned("userId"), session: owned("sessionId"), start, end, what })
}

fn users_of<'a>(events: &[&'a Event]) -> BTreeSet<&'a str> {
    events.iter().filter_map(|event| event.user.as_deref()).collect()
}

/// Each session's events by start, cut where the next starts more than 30 minutes after the latest end so far.
fn visits<'a>(events: &[&'a Event]) -> Vec<Vec<&'a Event>> {
    let sessions: BTreeSet<&str> = events.iter().filter_map(|event| event.session.as_deref()).collect();
    let mut visits = Vec::new();
    for session in sessions {
        let mut of_session: Vec<&Event> =
            events.iter().copied().filter(|event| event.session.as_deref() == Some(session)).collect();
        of_session.sort_by_key(|event| event.start);
        let mut visit: Vec<&Event> = Vec::new();
        for event in of_session {
            if visit.iter().map(|event| event.end).max().is_some_and(|latest| event.start > latest + 30 * MINUTE) {
                visits.push(std::mem::take(&mut visit));
            }
            visit.push(event);
        }
        visits.push(visit);
    }
    visits
}

fn mean_minutes(visits: &[Vec<&Event>]) -> Option<f64> {
    let millis: i64 = visits
        .iter()
        .map(|visit| {
            let earliest = visit.iter().map(|event| event.start).min().unwrap_or(0);
            let latest = visit.iter().map(|event| event.end).max().unwrap_or(0);
            latest - earliest
        })
        .sum();
    ratio(millis.into(), BigInt::from(visits.len()) * MINUTE)
}

fn most_used(uses: &[&Event], names: &BTreeMap<String, String>) -> Vec<Value> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for tool in uses.iter().filter_map(|event| event.tool()) {
        *counts.entry(tool).or_default() += 1;
    }
    let mut tools: Vec<(&str, usize)> = counts.into_iter().collect();
    // A stable sort of what is sorted by id already.
    tools.sort_by_key(|(_, uses)| usize::MAX - uses);
    tools.truncate(10);
    tools
        .into_iter()
        .map(|(tool, uses)| {
            let name = names.get(tool).map_or("(unknown tool)", String::as_str);
            json!({ "toolId": { "$oid": tool }, "toolName": name, "usageCount": uses })
        })
        .collect()
}

/// The number of users present only ever rises when one comes, so the instants at which one comes are enough.
fn peak(events: &[&Event]) -> usize {
    let instants: BTreeSet<i64> = events.iter().map(|event| event.start).collect();
    let users_at = |instant: i64| {
        let present = events.iter().filter(|event| event.start <= instant && instant < event.end + 5 * MINUTE);
        present.filter_map(|event| event.user.as_deref()).collect::<BTreeSet<_>>().len()
    };
    instants.into_iter().map(users_at).max().unwrap_or(0)
}

/// A finite double is a whole number of 2^-1074.
fn mean(values: &[f64]) -> Option<f64> {
    let in_smallest_units = |value: &f64| {
        let bits = value.to_bits();
        let (exponent, fraction) = ((bits >> 52) & 0x7ff, bits & ((1 << 52) - 1));
        if exponent == 0 { BigInt::from(fraction) } else { BigInt::from(fraction | 1 << 52) << (exponent - 1) }
    };
    let sum: BigInt = values.iter().map(in_smallest_units).sum();
    ratio(sum, BigInt::from(values.len()) << 1074)
}

/// The nearest double to a ratio, found by parsing its decimal digits; `None` for a ratio of nothing.
fn ratio(numerator: BigInt, denominator: BigInt) -> Option<f64> {
    const DIGITS: u32 = 60;
    if denominator <= BigInt::ZERO {
        return None;
    }
    let scaled = numerator * BigInt::from(10).pow(DIGITS);
    let remainder = if &scaled % &denominator == BigInt::ZERO { 0 } else { 1 };
    let decimal = format!("{}{remainder}e-{}", scaled / denominator, DIGITS + 1);
    Some(decimal.parse().expect("decimal digits"))
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value[field].as_str()
}

fn millis(rfc3339: &str) -> i64 {
    bson::DateTime::parse_rfc3339_str(rfc3339).expect("an RFC 3339 time").timestamp_millis()
}
