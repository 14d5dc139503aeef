//! Bodies: HTML, JSON and CSV.

use askama::Template;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;

use crate::failure::Failure;

/// A page.
///
/// # Errors
/// The template cannot be filled in.
pub fn html(page: &impl Template) -> Result<Response, Failure> {
    Ok(Html(page.render()?).into_response())
}

/// JSON.
///
/// # Errors
/// It cannot be written.
pub fn json(value: &impl Serialize) -> Result<Response, Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::Internal(error.into()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// CSV, to be saved as `name`, which is ours.
pub fn csv(name: &str, text: String) -> Response {
    let attachment = format!("attachment; filename=\"{name}.csv\"");
    ([(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, attachment)], text)
        .into_response()
}
