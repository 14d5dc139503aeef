//! Logs on stderr; `/metrics` and `/healthz/…` over HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, SettingsError, Telemetry};

/// Histograms grow between scrapes until the exporter's upkeep has run.
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
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second initialisation happens only in tests, where the first one serves as well.
    let _ = match settings.log_format {
        LogFormat::Pretty => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    Ok(())
}

/// Installs the recorder of the process. `buckets` gives each histogram, by full name, its upper bounds; without bounds
/// the exporter would make a summary of it.
///
/// # Errors
/// A recorder is installed already, or bounds are empty.
pub fn init_metrics(buckets: &[(&str, &[f64])]) -> anyhow::Result<PrometheusHandle> {
    let mut builder = PrometheusBuilder::new();
    for (name, bounds) in buckets {
        builder = builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), bounds)?;
    }
    Ok(builder.install_recorder()?)
}

/// What the program itself is called among the [`Readiness`] of its parts.
const PROGRAM: &str = "program";

/// Whether the program can do its work now, and if not, why: for each part that cannot, the reason. Clones share one state.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(BTreeMap::from([(PROGRAM, "starting".to_owned())]))))
    }
}

impl Readiness {
    /// `/healthz/ready` answers 200 from now on, unless a part is in the way.
    pub fn ready(&self) {
        self.set(PROGRAM, Ok(()));
    }

    /// `/healthz/ready` answers 503 with `reason` from now on.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(PROGRAM, Err(reason.into()));
    }

    /// A part, such as a server that is needed, is in order or is not.
    pub fn set(&self, part: &'static str, state: Result<(), String>) {
        let mut problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state {
            Ok(()) => problems.remove(part),
            Err(reason) => problems.insert(part, reason),
        };
    }

    /// The state now.
    ///
    /// # Errors
    /// Why the program cannot do its work, a line for each part.
    pub fn state(&self) -> Result<(), String> {
        let problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.is_empty() {
            return Ok(());
        }
        Err(problems.iter().map(|(part, reason)| format!("{part}: {reason}")).collect::<Vec<_>>().join("\n"))
    }
}

/// Serves `/metrics`, `/healthz/live` and `/healthz/ready` until `shutdown`, and returns the address in use.
/// `default_port` is used when `telemetry.listen` is empty.
///
/// # Errors
/// The address is not one, or is in use.
pub async fn serve(
    settings: &Telemetry,
    default_port: u16,
    metrics: PrometheusHandle,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> anyhow::Result<SocketAddr> {
    let address = address(settings, default_port);
    let listener = TcpListener::bind(&address).await.with_context(|| {
        format!("cannot listen on {address}; free that port, or set telemetry.listen (DEVTOOLKIT__TELEMETRY__LISTEN) to another host:port")
    })?;
    let bound = listener.local_addr()?;
    let upkeep = metrics.clone();
    let router = Router::new()
        .route(
            "/metrics",
            get(move || async move {
                ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
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
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the HTTP server ended");
        }
    });
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    tracing::info!(%bound, "serving /metrics and /healthz");
    Ok(bound)
}

/// Asks the program that serves with these settings whether it is ready, as whoever watches a container does.
///
/// # Errors
/// It is not, with its reasons, or it does not answer.
pub async fn check_ready(settings: &Telemetry, default_port: u16) -> anyhow::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let address = address(settings, default_port);
    let answer = async {
        // To the address of all interfaces, Linux connects by way of the loopback interface.
        let mut stream = TcpStream::connect(&address).await?;
        stream.write_all(b"GET /healthz/ready HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, answer).await.map_err(anyhow::Error::from).flatten();
    let answer = answer.with_context(|| format!("nobody answers at {address}: is the program running?"))?;
    let (head, reason) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    ensure!(head.split(' ').nth(1) == Some("200"), "not ready: {}", reason.trim_end());
    Ok(())
}

fn address(settings: &Telemetry, default_port: u16) -> String {
    if settings.listen.is_empty() { format!("0.0.0.0:{default_port}") } else { settings.listen.clone() }
}
