//! Requests to the identity provider, in bounds.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// For a request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const MOST_BYTES: usize = 1 << 20;

/// Asks by HTTPS, and on this machine also by HTTP.
pub struct Http(TlsConnector);

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Http")
    }
}

/// A request.
pub(super) struct Asked {
    address: String,
    authorization: Option<String>,
    form: Option<String>,
}

impl Asked {
    pub(super) fn get(address: &str) -> Self {
        Self { address: address.to_owned(), authorization: None, form: None }
    }

    pub(super) fn post(address: &str, form: String) -> Self {
        Self { form: Some(form), ..Self::get(address) }
    }

    pub(super) fn with_bearer(self, token: &str) -> Self {
        Self { authorization: Some(format!("Bearer {token}")), ..self }
    }

    /// As RFC 6749, 2.3.1 wants it: both are encoded like the values of a form.
    pub(super) fn with_password(self, name: &str, password: &str) -> Self {
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = STANDARD.encode(format!("{}:{}", encoded(name), encoded(password)));
        Self { authorization: Some(format!("Basic {pair}")), ..self }
    }
}

impl Http {
    /// Trusts the authorities that browsers trust.
    pub(super) fn new() -> Self {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self(TlsConnector::from(Arc::new(config)))
    }

    /// The JSON of an answer. An error names no secret.
    pub(super) async fn json<T: DeserializeOwned>(&self, asked: Asked) -> anyhow::Result<T> {
        let shown: String = asked.address.chars().take(200).collect();
        let answer = tokio::time::timeout(PATIENCE, self.ask(asked)).await;
        let answer = answer.map_err(|_| anyhow!("no answer within {} s", PATIENCE.as_secs()));
        let body = answer.and_then(|answer| answer).with_context(|| format!("asking {shown}"))?;
        serde_json::from_slice(&body).with_context(|| format!("the answer of {shown}"))
    }

    async fn ask(&self, asked: Asked) -> anyhow::Result<Bytes> {
        let uri: Uri = asked.address.parse()?;
        let host = uri.host().context("the address has no host")?.trim_matches(['[', ']']).to_owned();
        let is_tls = uri.scheme_str() == Some("https");
        let stream =
            TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }))).await?;
        let request = request(&uri, asked)?;
        if is_tls {
            let stream = self.0.connect(ServerName::try_from(host)?, stream).await?;
            return exchange(TokioIo::new(stream), request).await;
        }
        // What is secret stays on this machine.
        ensure!(stream.peer_addr()?.ip().is_loopback(), "the address is none of https");
        exchange(TokioIo::new(stream), request).await
    }
}

fn request(uri: &Uri, asked: Asked) -> anyhow::Result<Request<Full<Bytes>>> {
    let authority = uri.authority().context("the address has no host")?;
    let mut request = Request::builder()
        .method(if asked.form.is_some() { "POST" } else { "GET" })
        .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, authority.as_str())
        .header(header::ACCEPT, "application/json");
    if let Some(authorization) = asked.authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    if asked.form.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    }
    Ok(request.body(Full::new(asked.form.unwrap_or_default().into()))?)
}

async fn exchange(
    stream: impl Read + Write + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Bytes> {
    let (mut sender, connection) = http1::handshake(stream).await?;
    // Ends with the answer: the sender is dropped then.
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
    connection.abort();
    let body = body.map_err(|error| anyhow!("the answer broke off: {error}"))?.to_bytes();
    let told = || String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    ensure!(status.is_success(), "the answer is {status}: {}", told());
    Ok(body)
}
