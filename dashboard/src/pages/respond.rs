//! Bodies: HTML, JSON and CSV.

use askama::Template;
use axum::http::{HeaderName, header};
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};

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
    Ok(([(header::CONTENT_TYPE, "application/json".to_owned()), tag(&text)], text).into_response())
}

/// CSV, to be saved as `name`, which is ours.
pub fn csv(name: &str, text: String) -> Response {
    let attachment = format!("attachment; filename=\"{name}.csv\"");
    let kind = (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned());
    ([kind, (header::CONTENT_DISPOSITION, attachment), tag(&text)], text).into_response()
}

/// The entity tag: the same text has the same.
fn tag(text: &str) -> (HeaderName, String) {
    let digest = Sha256::digest(text);
    let short: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    (header::ETAG, format!("\"{short}\""))
}
