//! `/live`: what happens now. The page holds the numbers, and its script shows those that the server sends after them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregator::numbers::Kind;
use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bson::{DateTime, oid::ObjectId};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::assets;
use super::frame::Frame;
use super::respond;
use super::tools::tool_path;
use crate::app::App;
use crate::chart::{self, Svg};
use crate::failure::Failure;
use crate::live::watch::{Seen, State as Known};
use crate::live::window::{Figures, TopTool};
use crate::plain::rfc3339;
use crate::viewer::Viewer;
use crate::words::{Data, Language};

/// A stream ends then, and the browser asks for another: who was signed out meanwhile gets none.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// A proxy takes a connection on which nothing comes for dead.
const SILENCE: Duration = Duration::from_secs(15);
/// Without an event for so long, something may be wrong.
const QUIET: i64 = 5 * 60_000;

struct Card {
    title: &'static str,
    definition: &'static str,
    now: Data,
    hour: Data,
}

struct Top {
    name: String,
    link: String,
    uses: Data,
    failed: Data,
    bar: Svg,
}

#[derive(Template)]
#[template(path = "parts/live.html")]
struct Parts {
    /// Why the numbers are not to be relied on; empty where they are.
    warning: String,
    freshness: String,
    cards: Vec<Card>,
    chart: Option<Svg>,
    tops: Vec<(&'static str, &'static str, Vec<Top>)>,
}

#[derive(Template)]
#[template(path = "live.html")]
struct Page {
    frame: Frame,
    script: &'static str,
    parts: Parts,
}

/// `GET /live`.
///
/// # Errors
/// The page cannot be written.
pub async fn page(State(app): State<Arc<App>>, Extension(viewer): Extension<Viewer>) -> Result<Response, Failure> {
    let frame = Frame::of(&viewer, "Live", "/live");
    let parts = parts(&app.live.now().await, frame.language);
    respond::html(&Page { frame, script: &assets::LIVE_PATH, parts })
}

/// `GET /api/v1/live`.
///
/// # Errors
/// The answer cannot be written.
pub async fn json(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    respond::json(&plain(&app.live.now().await))
}

fn plain(known: &Known) -> Value {
    json!({
        "readAt": known.seen.as_ref().map(|seen| rfc3339(seen.at)),
        "readMillis": known.seen.as_ref().map(|seen| seen.took.as_millis() as u64),
        "missingMillis": known.seen.as_ref().map(|seen| seen.missing),
        "unreadable": known.seen.as_ref().map(|seen| seen.unreadable),
        "blindSince": known.blind.as_ref().map(|blind| rfc3339(blind.since)),
        "blindBecause": known.blind.as_ref().map(|blind| &blind.why),
        "numbers": known.seen.as_ref().map(|seen| &*seen.numbers),
        "tools": known.seen.as_ref().map(|seen| {
            let tool = |(id, (name, slug)): (&ObjectId, &(String, String))| (id.to_hex(), json!({ "name": name, "slug": slug }));
            seen.tools.iter().map(tool).collect::<serde_json::Map<_, _>>()
        }),
    })
}

/// `GET /api/v1/live/events`: the numbers as server-sent events, each time they were read.
///
/// # Errors
/// None so far.
pub async fn events(State(app): State<Arc<App>>, Extension(viewer): Extension<Viewer>) -> Result<Response, Failure> {
    let language = Language::of(&viewer.language);
    let (follow, end) = (app.live.follow(), Instant::now() + LONGEST);
    let shutdown = app.live.shutdown.clone();
    let told = stream::unfold((follow, true), move |(mut follow, is_first)| async move {
        if Instant::now() > end {
            return None;
        }
        if is_first {
            return Some((Ok::<_, Infallible>("retry: 2000\n\n".to_owned()), (follow, false)));
        }
        let text = match tokio::time::timeout(SILENCE, follow.changed()).await {
            Ok(Ok(())) => message(&follow.borrow_and_update(), language),
            Ok(Err(_)) => return None,
            Err(_) => ": nothing new\n\n".to_owned(),
        };
        Some((Ok(text), (follow, false)))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    let body = Body::from_stream(told.take_until(shutdown.cancelled_owned()).boxed());
    Ok((headers, [("x-accel-buffering", "no")], body).into_response())
}

/// The parts of the page as one event. A line break inside would begin another field.
fn message(known: &Known, language: Language) -> String {
    let html = parts(known, language).render().unwrap_or_default();
    let mut text = String::with_capacity(html.len() + 256);
    for line in html.split(['\n', '\r']).filter(|line| !line.is_empty()) {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text
}

fn parts(known: &Known, language: Language) -> Parts {
    let now = DateTime::now();
    let figures = known.seen.as_ref().map(|seen| (&seen.numbers.last_5_minutes, &seen.numbers.last_60_minutes));
    let tops = |seen: &Seen| {
        let numbers = &seen.numbers;
        let all = [
            ("top-5", "Most used, 5 minutes", &numbers.last_5_minutes),
            ("top-60", "Most used, 60 minutes", &numbers.last_60_minutes),
        ];
        all.map(|(key, title, figures)| (key, title, top(&figures.top_tools, seen, language))).into()
    };
    Parts {
        warning: warning(known, now),
        freshness: known.seen.as_ref().map(|seen| freshness(seen, now)).unwrap_or_default(),
        cards: figures.map(|(five, hour)| cards(five, hour, language)).unwrap_or_default(),
        chart: known.seen.as_ref().map(|seen| chart(seen, language)),
        tops: known.seen.as_ref().map(tops).unwrap_or_default(),
    }
}

fn second(time: DateTime) -> String {
    time.to_chrono().format("%H:%M:%S").to_string()
}

fn warning(known: &Known, now: DateTime) -> String {
    if let Some(blind) = &known.blind {
        return format!("Blind since {} UTC: {}. What stands here is older.", second(blind.since), blind.why);
    }
    let Some(seen) = &known.seen else {
        return "The last hour is being read for the first time.".to_owned();
    };
    if seen.missing > 0 {
        let minutes = seen.missing.div_euclid(60_000) + 1;
        return format!("The last hour is still being read: {minutes} of its minutes are missing.");
    }
    let quiet = seen.numbers.newest_event.map(|newest| now.timestamp_millis() - newest.timestamp_millis());
    match quiet {
        Some(millis) if millis < QUIET => String::new(),
        Some(millis) => format!(
            "No event for {} minutes: nobody uses a tool, or events do not reach MongoDB. Look at the lag of ingest.",
            millis / 60_000
        ),
        None => {
            "No event in the last hour: nobody uses a tool, or events do not reach MongoDB. Look at the lag of ingest."
                .to_owned()
        }
    }
}

fn freshness(seen: &Seen, now: DateTime) -> String {
    let mut text = format!("Read at {} UTC", second(seen.at));
    if let Some(newest) = seen.numbers.newest_event {
        let age = (now.timestamp_millis() - newest.timestamp_millis()).max(0) / 1000;
        text += &format!(", the latest event is {age} s old");
    }
    text.push('.');
    if seen.unreadable > 0 {
        text += &format!(" {} documents could not be read and are left out.", seen.unreadable);
    }
    text
}

fn cards(five: &Figures, hour: &Figures, language: Language) -> Vec<Card> {
    type Read = fn(&Figures) -> Option<f64>;
    let all: [(&str, &str, Kind, Read); 6] = [
        ("Active users", "Distinct users of tool uses and activities.", Kind::Count, |of| Some(of.active_users as f64)),
        ("Events a second", "Tool uses and activities, the mean.", Kind::Mean, |of| Some(of.events_per_second)),
        ("Failed uses", "Failed tool uses divided by tool uses.", Kind::Share, |of| of.error_ratio),
        ("Response, p50", "Half of the uses answered within it; at most 1/16 too high.", Kind::Millis, |of| {
            of.response_time_p50
        }),
        ("Response, p95", "95 of 100 uses answered within it; at most 1/16 too high.", Kind::Millis, |of| {
            of.response_time_p95
        }),
        ("Response, p99", "99 of 100 uses answered within it; at most 1/16 too high.", Kind::Millis, |of| {
            of.response_time_p99
        }),
    ];
    let card = |(title, definition, kind, read): (&'static str, &'static str, Kind, Read)| Card {
        title,
        definition,
        now: language.data(read(five), kind),
        hour: language.data(read(hour), kind),
    };
    all.map(card).into()
}

fn chart(seen: &Seen, language: Language) -> Svg {
    let minutes = seen.numbers.minutes.iter();
    let minutes: Vec<_> =
        minutes.map(|minute| (minute.start.to_chrono().format("%H:%M").to_string(), minute.events as f64)).collect();
    chart::minutes("Events of each minute of the last hour", &minutes, Kind::Count, language)
}

fn top(tools: &[TopTool], seen: &Seen, language: Language) -> Vec<Top> {
    let most = tools.first().map_or(1, |tool| tool.usage).max(1) as f64;
    let line = |tool: &TopTool| {
        let (name, slug) = seen.tools.get(&tool.id).cloned().unwrap_or_default();
        Top {
            link: if slug.is_empty() { String::new() } else { tool_path(&slug) },
            name,
            uses: language.data(Some(tool.usage as f64), Kind::Count),
            failed: language.data(Some(tool.failures as f64 / tool.usage.max(1) as f64), Kind::Share),
            bar: chart::bar(tool.usage as f64 / most),
        }
    };
    tools.iter().map(line).collect()
}
