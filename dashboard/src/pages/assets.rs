//! The stylesheet and the scripts, which never change while the program runs. The name holds a digest, so browsers keep it for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::failure::Failure;

const STYLE: &str = include_str!("../../static/style.css");
const LIVE: &str = include_str!("../../static/live.js");
const KEYS: &str = include_str!("../../static/keys.js");

/// The path of the stylesheet.
pub static STYLE_PATH: LazyLock<String> = LazyLock::new(|| path("style", STYLE, "css"));
/// The path of the script for keys.
pub static KEYS_PATH: LazyLock<String> = LazyLock::new(|| path("keys", KEYS, "js"));
/// The path of the live page's script.
pub static LIVE_PATH: LazyLock<String> = LazyLock::new(|| path("live", LIVE, "js"));

fn path(name: &str, text: &str, kind: &str) -> String {
    let digest = Sha256::digest(text);
    let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("/static/{name}-{short}.{kind}")
}

/// `GET /static/{file}`.
///
/// # Errors
/// There is no such file.
pub async fn file(Path(name): Path<String>) -> Result<Response, Failure> {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    let files =
        [(&*STYLE_PATH, "text/css; charset=utf-8", STYLE), (&*LIVE_PATH, SCRIPT, LIVE), (&*KEYS_PATH, SCRIPT, KEYS)];
    let found = files.into_iter().find(|(path, ..)| path.strip_prefix("/static/") == Some(name.as_str()));
    let (_, kind, text) = found.ok_or_else(|| Failure::NotFound("there is no such file".to_owned()))?;
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, text).into_response())
}
