//! The stylesheet and what else never changes while the program runs. The name holds a digest, so browsers keep it for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::failure::Failure;

const STYLE: &str = include_str!("../../static/style.css");

/// The path of the stylesheet.
pub static STYLE_PATH: LazyLock<String> = LazyLock::new(|| {
    let digest = Sha256::digest(STYLE);
    let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("/static/style-{short}.css")
});

/// `GET /static/{file}`.
///
/// # Errors
/// There is no such file.
pub async fn file(Path(name): Path<String>) -> Result<Response, Failure> {
    if STYLE_PATH.strip_prefix("/static/") == Some(name.as_str()) {
        let headers = [
            (header::CONTENT_TYPE, "text/css; charset=utf-8"),
            (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        ];
        return Ok((headers, STYLE).into_response());
    }
    Err(Failure::NotFound("there is no such file".to_owned()))
}
