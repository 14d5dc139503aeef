//! A bucket of a server that speaks S3's API: four requests, signed with version 4 of Amazon's signature.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use chrono::Utc;
use common::hex::hex;
use fluent_uri::Uri;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::rt::{Read, Write};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use quick_xml::Reader;
use quick_xml::events::Event;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::Stored;
use crate::hash::sha256;

/// An object of 32 MiB takes 5 minutes at 1 Mbit/s.
const TIME_LIMIT: Duration = Duration::from_secs(300);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 5;

/// The bucket, and what of its objects' names is ours.
pub(super) struct Bucket {
    /// `host:port`, or `host` where the port is the scheme's.
    authority: String,
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
    /// `/bucket`, or empty where the bucket is part of the host's name.
    path: String,
    /// Empty, or with a slash at its end.
    prefix: String,
    region: String,
    access_key: String,
    secret_key: SecretString,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}{}/{}", self.authority, self.path, self.prefix)
    }
}

/// What a server answered.
struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Bucket {
    /// # Errors
    /// What was expected of the endpoint.
    pub(super) fn new(
        bucket: &str,
        prefix: &str,
        endpoint: &str,
        region: &str,
        access_key: &str,
        secret_key: &SecretString,
    ) -> Result<Self, String> {
        let expected = || "https://host or http://host:port".to_owned();
        // Amazon wants the bucket in the host's name, other servers in the path.
        let (endpoint, path) = if endpoint.is_empty() {
            (format!("https://{bucket}.s3.{region}.amazonaws.com"), String::new())
        } else {
            (endpoint.to_owned(), format!("/{bucket}"))
        };
        let uri = Uri::parse(endpoint.as_str()).map_err(|_| expected())?;
        let is_tls = match uri.scheme().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(expected()),
        };
        let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or_else(expected)?;
        let port = authority.port_to_u16().map_err(|_| expected())?;
        if authority.userinfo().is_some() || !["", "/"].contains(&uri.path().as_str()) {
            return Err(expected());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        Ok(Self {
            authority: authority.as_str().to_owned(),
            host,
            port: port.unwrap_or(if is_tls { 443 } else { 80 }),
            tls: is_tls.then(tls),
            path,
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            region: region.to_owned(),
            access_key: access_key.to_owned(),
            secret_key: secret_key.clone(),
        })
    }

    pub(super) async fn put(&self, key: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        self.expect_success(Method::PUT, &self.object(key), "", bytes.into()).await.map(drop)
    }

    pub(super) async fn get(&self, key: &str) -> anyhow::Result<Vec<u8>> {
        Ok(self.expect_success(Method::GET, &self.object(key), "", Bytes::new()).await?.into())
    }

    pub(super) async fn remove(&self, key: &str) -> anyhow::Result<()> {
        self.expect_success(Method::DELETE, &self.object(key), "", Bytes::new()).await.map(drop)
    }

    pub(super) async fn list(&self, prefix: &str) -> anyhow::Result<Vec<Stored>> {
        let mut found = Vec::new();
        let mut continuation: Option<String> = None;
        loop {
            let from = continuation.map_or(String::new(), |token| format!("continuation-token={}&", encoded(&token)));
            let query = format!("{from}list-type=2&prefix={}", encoded(&format!("{}{prefix}", self.prefix)));
            let path = if self.path.is_empty() { "/" } else { &self.path };
            let answer = self.expect_success(Method::GET, path, &query, Bytes::new()).await?;
            let page = listing(&answer)?;
            for (key, size) in page.objects {
                let key =
                    key.strip_prefix(&self.prefix).context("the server lists an object that was not asked for")?;
                found.push(Stored { key: key.to_owned(), size });
            }
            match page.next {
                Some(next) => continuation = Some(next),
                None => return Ok(found),
            }
        }
    }

    fn object(&self, key: &str) -> String {
        format!("{}/{}{key}", self.path, self.prefix)
    }

    /// Sends a request until the server answers it, or some attempts have failed.
    async fn expect_success(&self, method: Method, path: &str, query: &str, body: Bytes) -> anyhow::Result<Bytes> {
        let mut attempt = 1;
        loop {
            let answer = match timeout(TIME_LIMIT, self.send(method.clone(), path, query, body.clone())).await {
                Ok(answer) => answer,
                Err(_) => Err(anyhow!("{} did not answer within {TIME_LIMIT:?}", self.authority)),
            };
            let error = match answer {
                Ok(answer) if answer.status.is_success() => return Ok(answer.body),
                Ok(answer) => {
                    let error = anyhow!("{} answers {}: {}", self.authority, answer.status, message(&answer.body));
                    let is_passing = answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS;
                    if !is_passing {
                        return Err(error);
                    }
                    error
                }
                Err(error) => error,
            };
            if attempt == ATTEMPTS {
                return Err(error.context(format!("{ATTEMPTS} attempts failed")));
            }
            tracing::debug!(%error, attempt, "a request to the storage failed");
            sleep(Duration::from_millis(200 << attempt)).await;
            attempt += 1;
        }
    }

    /// One request on a connection of its own: each carries megabytes, or comes once a minute.
    async fn send(&self, method: Method, path: &str, query: &str, body: Bytes) -> anyhow::Result<Answer> {
        let request = self.signed(method, path, query, body)?;
        let address = (self.host.as_str(), self.port);
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| anyhow!("no connection to {} in {CONNECT_LIMIT:?}", self.authority))?;
        let stream = stream.with_context(|| format!("no connection to {}", self.authority))?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => exchange(TokioIo::new(stream), request).await,
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone())?;
                let stream = tls.connect(name, stream).await;
                let stream = stream.with_context(|| format!("no TLS connection to {}", self.authority))?;
                exchange(TokioIo::new(stream), request).await
            }
        }
    }

    fn signed(&self, method: Method, path: &str, query: &str, body: Bytes) -> anyhow::Result<Request<Full<Bytes>>> {
        let now = Utc::now();
        let (time, day) = (now.format("%Y%m%dT%H%M%SZ").to_string(), now.format("%Y%m%d").to_string());
        let body_hash = sha256(&body);
        let headers = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{}\nx-amz-content-sha256:{body_hash}\nx-amz-date:{time}\n\n{headers}\n{body_hash}",
            self.authority
        );
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let signature = hex(&self.signature(&day, &to_sign)?);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={headers},Signature={signature}",
            self.access_key
        );
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, &self.authority)
            .header("x-amz-content-sha256", body_hash)
            .header("x-amz-date", time)
            .header("authorization", authorization)
            .body(Full::new(body))?;
        Ok(request)
    }

    fn signature(&self, day: &str, to_sign: &str) -> anyhow::Result<Vec<u8>> {
        let start = format!("AWS4{}", self.secret_key.expose_secret()).into_bytes();
        [day, &self.region, "s3", "aws4_request", to_sign].into_iter().try_fold(start, |key, text| {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| anyhow!("the secret key cannot sign"))?;
            mac.update(text.as_bytes());
            Ok(mac.finalize().into_bytes().to_vec())
        })
    }
}

fn tls() -> TlsConnector {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn exchange(
    stream: impl Read + Write + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Answer> {
    let (mut sender, connection) = http1::handshake(stream).await?;
    // Ends with the answer: the sender is dropped then.
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let expected: Option<usize> =
        response.headers().get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
    let body = response.into_body().collect().await.context("the answer broke off")?.to_bytes();
    connection.abort();
    if let Some(expected) = expected {
        ensure!(body.len() == expected, "the answer broke off after {} of {expected} bytes", body.len());
    }
    Ok(Answer { status, body })
}

/// A page of a listing.
#[derive(Debug, Default, PartialEq)]
struct Page {
    objects: Vec<(String, u64)>,
    next: Option<String>,
}

fn listing(xml: &[u8]) -> anyhow::Result<Page> {
    let mut page = Page::default();
    let (mut key, mut size, mut token, mut is_truncated) = (None, None, None, false);
    for (element, text) in texts(xml)? {
        match element.as_str() {
            "Key" => key = Some(text),
            "Size" => size = Some(text.parse().with_context(|| format!("the size {text:?} is no number"))?),
            "NextContinuationToken" => token = Some(text),
            "IsTruncated" => is_truncated = text == "true",
            _ => {}
        }
        if let (Some(_), Some(bytes)) = (&key, size) {
            page.objects.extend(key.take().map(|key| (key, bytes)));
            size = None;
        }
    }
    if is_truncated {
        page.next = Some(token.context("the listing goes on, and the server does not say where")?);
    }
    Ok(page)
}

/// Why a server refuses, from its XML.
fn message(body: &[u8]) -> String {
    let texts = texts(body).unwrap_or_default();
    let text = |name: &str| texts.iter().find(|(element, _)| element == name).map(|(_, text)| text.clone());
    match (text("Code"), text("Message")) {
        (None, None) => String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(),
        (code, message) => [code, message].into_iter().flatten().collect::<Vec<_>>().join(": "),
    }
}

/// The elements that hold nothing but text, in their order.
fn texts(xml: &[u8]) -> anyhow::Result<Vec<(String, String)>> {
    let mut reader = Reader::from_reader(xml);
    let mut found = Vec::new();
    let (mut element, mut text) = (String::new(), String::new());
    loop {
        match reader.read_event().context("the answer is no XML")? {
            Event::Start(start) => {
                element = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
                text.clear();
            }
            Event::Text(part) => text.push_str(&part.decode()?),
            Event::GeneralRef(reference) => match reference.resolve_char_ref()? {
                Some(letter) => text.push(letter),
                None => text.push_str(match reference.decode()?.as_ref() {
                    "amp" => "&",
                    "lt" => "<",
                    "gt" => ">",
                    "quot" => "\"",
                    "apos" => "'",
                    other => bail!("the answer has an unknown entity {other:?}"),
                }),
            },
            Event::End(end) if end.local_name().as_ref() == element.as_bytes() => {
                found.push((std::mem::take(&mut element), std::mem::take(&mut text)));
            }
            Event::Eof => return Ok(found),
            _ => {}
        }
    }
}

/// Percent-encoded as the signature wants a query's values.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_amazons_example() {
        let secret = SecretString::from("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let bucket = Bucket::new("b", "", "http://h", "us-east-1", "AKIDEXAMPLE", &secret).unwrap();
        // Amazon's documentation of the signature derives this request's, for the service iam.
        let mut key = format!("AWS4{}", secret.expose_secret()).into_bytes();
        for text in ["20150830", "us-east-1", "iam", "aws4_request"] {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
            mac.update(text.as_bytes());
            key = mac.finalize().into_bytes().to_vec();
        }
        assert_eq!(hex(&key), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
        assert_eq!(bucket.signature("20150830", "x").unwrap().len(), 32);
    }

    #[test]
    fn listings_are_read_page_by_page() {
        let xml = b"<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
            <Name>b</Name><Prefix>p</Prefix><IsTruncated>true</IsTruncated>\
            <Contents><Key>p/a&amp;b</Key><LastModified>x</LastModified><Size>5</Size></Contents>\
            <Contents><Size>7</Size><Key>p/c</Key></Contents>\
            <NextContinuationToken>1/2=</NextContinuationToken></ListBucketResult>";
        let page = listing(xml).unwrap();
        assert_eq!(page.objects, [("p/a&b".to_owned(), 5), ("p/c".to_owned(), 7)]);
        assert_eq!(page.next.as_deref(), Some("1/2="));
        assert_eq!(encoded("1/2="), "1%2F2%3D");
        let error = b"<Error><Code>NoSuchKey</Code><Message>not there</Message></Error>";
        assert_eq!(message(error), "NoSuchKey: not there");
    }
}
