//! Logs on stderr; `/metrics` and `/healthz/…` over HTTP.

mod http;
mod readiness;
mod repeats;
mod scrapes;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::settings::{LogFormat, SettingsError, Telemetry};
use crate::terminal::LogWriter;
use scrapes::Scrapes;

pub use readiness::{Part, Readiness};

/// Histograms grow between scrapes until the exporter's upkeep has run; and how often the log tells what it left out.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Sends log lines to stderr in the form and with the filter of the settings.
///
/// # Errors
/// `telemetry.log_filter` is not a filter.
pub fn init_logging(settings: &Telemetry) -> Result<(), SettingsError> {
    let filter = EnvFilter::try_new(&settings.log_filter).map_err(|error| {
        SettingsError::unusable(
            "telemetry.log_filter",
            &settings.log_filter,
            format!("tracing directives such as info or ingest=debug,info ({error})"),
        )
    })?;
    // The subscriber would tell of a closed stderr on stderr, and panic.
    let lines = tracing_subscriber::fmt::layer().log_internal_errors(false);
    let lines = match settings.log_format {
        LogFormat::Pretty => {
            let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_writer(LogWriter::Text).with_ansi(is_terminal).boxed()
        }
        LogFormat::Json => lines.with_writer(LogWriter::Json).json().flatten_event(true).boxed(),
    };
    // A second initialisation happens only in tests, where the first one serves as well.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter.and(&*repeats::REPEATS))).try_init();
    Ok(())
}

/// What a program does at its end: the log tells how many lines it left out.
pub fn end_logging() {
    repeats::REPEATS.tell_all();
}

/// Serves `/metrics`, `/healthz/live` and `/healthz/ready` until `shutdown`, and returns the address in use.
/// `default_port` is used when `telemetry.listen` is empty.
///
/// # Errors
/// The address is not one, or is in use.
pub async fn serve(
    settings: &Telemetry,
    default_port: u16,
    recorder: PrometheusHandle,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> anyhow::Result<SocketAddr> {
    let address = address(settings, default_port);
    let listener = TcpListener::bind(&address).await.map_err(|error| {
        let advice = if error.kind() == ErrorKind::AddrInUse {
            "`ss -ltnp` says which process has that port. If it is this program, running already, do not start it a second time: \
             check-ready says whether it answers, and one that hangs must be ended first. If it is another program, set \
             telemetry.listen (DEVTOOLKIT__TELEMETRY__LISTEN) to another host:port"
        } else {
            "set telemetry.listen (DEVTOOLKIT__TELEMETRY__LISTEN) to host:port, where the host is an address of this machine"
        };
        anyhow!("cannot listen on {address}: {error}; {advice}")
    })?;
    let bound = listener.local_addr()?;
    let upkeep = recorder.clone();
    let scrapes = Arc::new(Scrapes::of(recorder));
    let router = Router::new()
        .route(
            "/metrics",
            get(move || async move {
                ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], scrapes.text().await)
            }),
        )
        .route("/healthz/live", get(|| async { "live\n" }))
        .route(
            "/healthz/ready",
            get(move || async move {
                match readiness.state() {
                    Ok(()) => "ready\n".into_response(),
                    Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
                }
            }),
        );
    tokio::spawn(http::serve(listener, router, shutdown));
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
            repeats::REPEATS.tell();
        }
    });
    if settings.listen.is_empty() {
        tracing::info!(%bound, "serving /metrics and /healthz to this machine alone; telemetry.listen opens them to others");
    } else {
        tracing::info!(%bound, "serving /metrics and /healthz");
    }
    Ok(bound)
}

/// Asks the program that serves with these settings whether it is ready, as whoever watches a container does.
///
/// # Errors
/// It is not, with its reasons, or it does not answer.
pub async fn check_ready(settings: &Telemetry, default_port: u16) -> anyhow::Result<()> {
    ask_ready(&address(settings, default_port), Duration::from_secs(5)).await
}

async fn ask_ready(address: &str, patience: Duration) -> anyhow::Result<()> {
    let mut is_connected = false;
    let answer = async {
        // To the address of all interfaces, Linux connects by way of the loopback interface.
        let mut stream = TcpStream::connect(address).await?;
        is_connected = true;
        stream.write_all(b"GET /healthz/ready HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = match tokio::time::timeout(patience, answer).await {
        // The kernel accepts connections also for a program that stands still.
        Err(_) if is_connected => bail!(
            "a program listens at {address} and does not answer within {patience:?}: it hangs, or somebody has stopped it; \
             `ss -ltnp` says which process it is, and docs/OPERATIONS.md (IngestDown, AggregatorDown) what to do"
        ),
        Err(_) => {
            bail!("{address} cannot be reached within {patience:?}: is telemetry.listen an address of this machine?")
        }
        Ok(answer) => answer.with_context(|| format!("nobody answers at {address}: is the program running?"))?,
    };
    let (head, reason) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    ensure!(head.starts_with("HTTP/"), "what answers at {address} is not this program, or it ended meanwhile");
    ensure!(head.split(' ').nth(1) == Some("200"), "not ready: {}", reason.trim_end());
    Ok(())
}

fn address(settings: &Telemetry, default_port: u16) -> String {
    if settings.listen.is_empty() { format!("127.0.0.1:{default_port}") } else { settings.listen.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn check_ready_tells_a_program_that_hangs_from_one_that_does_not_run() {
        let reason =
            async |address: &str| format!("{:#}", ask_ready(address, Duration::from_millis(200)).await.unwrap_err());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let why = reason(&address).await;
        assert!(why.contains("hangs") && !why.contains("is the program running"), "{why}");
        drop(listener);
        let why = reason(&address).await;
        assert!(why.contains("nobody answers") && why.contains("is the program running?"), "{why}");
    }
}
