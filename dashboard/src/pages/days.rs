//! `GET /api/v1/days`: the daily documents of a period.

use std::sync::Arc;

use aggregator::numbers::{Number, SECTIONS};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use common::day::Day;
use common::documents::SystemAnalytics;
use serde_json::{Value, json};

use super::respond;
use crate::app::App;
use crate::csv;
use crate::failure::Failure;
use crate::plain;
use crate::query::{BadParameter, Query, Segment, Span};

/// Every number, in the order of the document.
pub fn numbers() -> impl Iterator<Item = &'static Number> {
    SECTIONS.iter().flat_map(|(_, numbers)| *numbers)
}

/// The query of an address, where it may name no tool and no segment.
///
/// # Errors
/// A parameter cannot be used.
pub fn query(text: Option<&str>) -> Result<Query, Failure> {
    let query = Query::parse(text.unwrap_or_default(), Day::today())?;
    // The daily document counts the whole system.
    let unfit = match (&query.segment, query.is_of_all_tools()) {
        (Segment::Plan(plan), _) => Some(("plan", plan.to_string())),
        (Segment::Country(code), _) => Some(("country", code.clone())),
        (Segment::Everybody, true) => None,
        (Segment::Everybody, false) => {
            Some(if query.tools.is_empty() { "category" } else { "tool" }).map(|name| (name, String::new()))
        }
    };
    match unfit {
        None => Ok(query),
        Some((parameter, value)) => {
            Err(BadParameter::new(parameter, &value, "none here: daily documents count the whole system").into())
        }
    }
}

/// `GET /api/v1/days`.
///
/// # Errors
/// A parameter cannot be used, or MongoDB does not answer.
pub async fn json(State(app): State<Arc<App>>, RawQuery(text): RawQuery) -> Result<Response, Failure> {
    let query = query(text.as_deref())?;
    let mut answer =
        json!({ "from": query.span.from, "to": query.span.to, "days": documents(&app, query.span).await? });
    if let Some(span) = query.compared() {
        answer["compareFrom"] = json!(span.from);
        answer["compareTo"] = json!(span.to);
        answer["compareDays"] = json!(documents(&app, span).await?);
    }
    respond::json(&answer)
}

async fn documents(app: &App, span: Span) -> Result<Vec<Value>, Failure> {
    let days = app.rollups.daily_documents(span).await?;
    days.iter().map(|day| Ok(plain::json(bson::serialize_to_bson(day)?))).collect()
}

/// `GET /api/v1/days.csv`, `GET /admin.csv`: a line for each day that was rolled up.
///
/// # Errors
/// As [`json`].
pub async fn csv(State(app): State<Arc<App>>, RawQuery(text): RawQuery) -> Result<Response, Failure> {
    let query = query(text.as_deref())?;
    let days = app.rollups.daily_documents(query.span).await?;
    let header: Vec<_> = ["date"].into_iter().chain(numbers().map(|number| number.path)).collect();
    let line = |day: &SystemAnalytics| -> Vec<String> {
        let cells = numbers().map(|number| csv::number((number.read)(&day.metrics)));
        std::iter::once(day.date.to_string()).chain(cells).collect()
    };
    let name = format!("days-{}-{}", query.span.from, query.span.to);
    Ok(respond::csv(&name, csv::text(&header, days.iter().map(line))))
}
