//! Single HTTP requests to a server on this machine.

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// 200 when all is well.
    pub status: u16,
    /// Its text.
    pub body: String,
}

/// Asks `address` (`host:port`) for `path`.
///
/// # Errors
/// When nobody answers, or not in HTTP.
pub async fn get(address: &str, path: &str) -> anyhow::Result<Answer> {
    request(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")).await
}

/// Sends `body` to `path` at `address` (`host:port`).
///
/// # Errors
/// When nobody answers, or not in HTTP.
pub async fn post(address: &str, path: &str, content_type: &str, body: &str) -> anyhow::Result<Answer> {
    let length = body.len();
    let head = format!("Host: {address}\r\nContent-Type: {content_type}\r\nContent-Length: {length}");
    request(address, &format!("POST {path} HTTP/1.0\r\n{head}\r\n\r\n{body}")).await
}

/// In HTTP 1.0, whose answers come in one piece and end with the connection.
async fn request(address: &str, request: &str) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("nobody answers on {address}"))?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no HTTP from {address}: {answer}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("no HTTP status from {address}: {head}"))?;
    Ok(Answer { status, body: body.to_owned() })
}
