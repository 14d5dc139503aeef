//! `/admin`: the latest daily document of a period, the course of each of its numbers, and how the days stand.

use std::collections::BTreeMap;
use std::sync::Arc;

use aggregator::numbers::{Kind, Number, SECTIONS};
use askama::Template;
use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use common::day::Day;
use common::documents::rollup_day::RollupDay;
use common::documents::system_analytics::{Rollup, SystemAnalytics};

use super::choice::Periods;
use super::days;
use super::frame::Frame;
use super::respond;
use super::times::minute;
use crate::app::App;
use crate::chart::{self, Point, Svg};
use crate::failure::Failure;
use crate::query::{Compare, Query, Span};
use crate::viewer::Viewer;
use crate::words::{Change, Data, Language};

/// The courses that have a link of their own, and their keys.
const COURSES: [(u64, &str, &str); 3] = [(14, "14 days", "w"), (90, "90 days", "n"), (365, "365 days", "y")];

struct Line {
    number: &'static Number,
    data: Data,
    before: Data,
    change: Change,
    lowest: Data,
    highest: Data,
    course: Svg,
}

struct Section {
    name: &'static str,
    lines: Vec<Line>,
}

struct Standing {
    day: String,
    state: String,
    /// `better`, `worse` or nothing.
    class: &'static str,
    rolled_at: String,
    inputs: String,
    unreadable: i64,
    notes: String,
}

#[derive(Template)]
#[template(path = "admin.html")]
struct Page {
    frame: Frame,
    span: String,
    from: Day,
    to: Day,
    periods: Periods,
    /// The day whose numbers are shown; empty where no day of the period was rolled up.
    day: String,
    day_before: String,
    provisional: bool,
    origin: String,
    sections: Vec<Section>,
    charts: Vec<(&'static str, Svg)>,
    most_used: Vec<(String, Data)>,
    standings: Vec<Standing>,
    trouble: usize,
    csv: String,
    json: String,
}

/// What is drawn large.
const DRAWN: [(&str, &str); 4] = [
    ("Active users", "users.active"),
    ("Tool uses", "tools.totalUsage"),
    ("Response time, mean", "performance.averageResponseTime"),
    ("Failed uses", "performance.errorRate"),
];

/// `GET /admin`.
///
/// # Errors
/// A parameter cannot be used, or MongoDB does not answer.
pub async fn page(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    RawQuery(text): RawQuery,
) -> Result<Response, Failure> {
    let query = days::query(text.as_deref())?;
    let frame = Frame::of(&viewer, "Days", "/admin");
    let language = frame.language;
    let (documents, states) =
        tokio::try_join!(app.rollups.daily_documents(query.span), app.rollups.day_states(query.span))?;
    let standings = standings(&query, &documents, &states, language);
    let latest = documents.last();
    let before = latest.and_then(|latest| documents.iter().find(|day| day.date == latest.date.previous()));
    let page = Page {
        span: query.span.to_string(),
        from: query.span.from,
        to: query.span.to,
        periods: periods(&query),
        day: latest.map(|day| day.date.to_string()).unwrap_or_default(),
        day_before: latest.map(|day| day.date.previous().to_string()).unwrap_or_default(),
        provisional: latest.and_then(|day| day.rollup.as_ref()).is_some_and(|rollup| rollup.provisional),
        origin: latest.and_then(|day| day.rollup.as_ref()).map(|rollup| origin(rollup, language)).unwrap_or_default(),
        sections: latest.map(|day| sections(&query, day, before, &documents, language)).unwrap_or_default(),
        charts: charts(&query, &documents, language),
        most_used: latest.map(|day| most_used(day, language)).unwrap_or_default(),
        trouble: standings.iter().filter(|standing| standing.class == "worse").count(),
        standings,
        csv: query.address("/admin.csv"),
        json: query.address("/api/v1/days"),
        frame,
    };
    respond::html(&page)
}

fn periods(query: &Query) -> Periods {
    let yesterday = Day::yesterday();
    let shown = Query { compare: Compare::Nothing, ..query.clone() };
    let course = |days: u64| shown.with_span(Span { from: yesterday.minus(days - 1), to: yesterday });
    let named = COURSES.map(|(days, name, key)| (name, key, course(days)));
    Periods::of(&shown, "/admin", Day::today(), named)
}

fn course_of(query: &Query, documents: &[SystemAnalytics], number: &Number) -> Vec<Option<f64>> {
    let by_day: BTreeMap<Day, &SystemAnalytics> = documents.iter().map(|day| (day.date, day)).collect();
    query.span.each().map(|day| by_day.get(&day).and_then(|document| (number.read)(&document.metrics))).collect()
}

fn sections(
    query: &Query,
    day: &SystemAnalytics,
    before: Option<&SystemAnalytics>,
    documents: &[SystemAnalytics],
    language: Language,
) -> Vec<Section> {
    let line = |number: &'static Number| {
        let (now, before) = ((number.read)(&day.metrics), before.and_then(|before| (number.read)(&before.metrics)));
        let values = course_of(query, documents, number);
        let known = || values.iter().flatten().copied();
        Line {
            number,
            data: language.data(now, number.kind),
            before: language.data(before, number.kind),
            change: language.change(before, now, number.kind, number.better),
            lowest: language.data(known().reduce(f64::min), number.kind),
            highest: language.data(known().reduce(f64::max), number.kind),
            course: chart::sparkline(&values),
        }
    };
    SECTIONS.iter().map(|&(name, numbers)| Section { name, lines: numbers.iter().map(line).collect() }).collect()
}

fn charts(query: &Query, documents: &[SystemAnalytics], language: Language) -> Vec<(&'static str, Svg)> {
    let drawn = |(title, path): (&'static str, &str)| {
        let number = days::numbers().find(|number| number.path == path)?;
        let values = course_of(query, documents, number);
        let points: Vec<Point> =
            query.span.each().zip(values).map(|(day, now)| Point { day, now, before: None }).collect();
        Some((title, chart::course(title, &points, number.kind, language)))
    };
    DRAWN.into_iter().filter_map(drawn).collect()
}

fn most_used(day: &SystemAnalytics, language: Language) -> Vec<(String, Data)> {
    let tools = day.metrics.tools.most_used_tools.iter();
    tools.map(|tool| (tool.tool_name.clone(), language.data(Some(tool.usage_count as f64), Kind::Count))).collect()
}

fn origin(rollup: &Rollup, language: Language) -> String {
    let inputs = rollup.inputs;
    let mut text = format!(
        "Computed {} UTC by {} from {} tool uses, {} activities and {} health checks, by definition {}: a gap of {} minutes ends a \
         visit, and an event makes its user present for {} minutes.",
        minute(rollup.computed_at),
        rollup.engine,
        language.count(inputs.tool_usage),
        language.count(inputs.activity),
        language.count(inputs.health_checks),
        rollup.definition_version,
        rollup.settings.visit_gap_minutes,
        rollup.settings.presence_minutes,
    );
    if inputs.unreadable > 0 {
        text += &format!(" {} documents could not be read and are left out.", language.count(inputs.unreadable));
    }
    if !rollup.expired.is_empty() {
        text += &format!(" {} had begun to expire before the first roll-up.", rollup.expired.join(" and "));
    }
    text
}

/// The days of the period, the latest first, with what is wrong with each.
fn standings(query: &Query, documents: &[SystemAnalytics], states: &[RollupDay], language: Language) -> Vec<Standing> {
    let now = chrono::Utc::now();
    let documents: BTreeMap<Day, &SystemAnalytics> = documents.iter().map(|day| (day.date, day)).collect();
    let states: BTreeMap<Day, &RollupDay> = states.iter().map(|state| (state.date, state)).collect();
    let standing = |day: Day| {
        let state = states.get(&day)?;
        let mut notes = Vec::new();
        if let Some(since) = state.dirty_since {
            notes.push(format!("late events since {} wait to be counted", minute(since)));
        }
        if state.attempts > 0 {
            notes.push(format!("{} attempts since the last roll-up", state.attempts));
        }
        notes.extend(state.last_error.clone());
        if !state.expired.is_empty() {
            notes.push(format!("{} had expired", state.expired.join(" and ")));
        }
        let inputs = state.inputs.unwrap_or_default();
        let is_sealed = state.is_sealed(now);
        let is_waiting = state.dirty_since.is_some() && !is_sealed;
        let class =
            if is_waiting || state.last_error.is_some() || inputs.unreadable > 0 || !documents.contains_key(&day) {
                "worse"
            } else {
                ""
            };
        let name = state.state.map_or("not rolled up", |state| state.as_str());
        Some(Standing {
            day: day.to_string(),
            state: if is_sealed { format!("{name}, sealed") } else { name.to_owned() },
            class,
            rolled_at: state.rolled_at.map(minute).unwrap_or_default(),
            inputs: language.count(inputs.tool_usage + inputs.activity + inputs.health_checks),
            unreadable: inputs.unreadable,
            notes: notes.join("; "),
        })
    };
    query.span.each().rev().filter_map(standing).collect()
}
