//! A real blackbox exporter, which looks at certificates for Prometheus.

use super::home::Home;
use super::http_server::{HttpServer, Program};
use super::process::Ownership;
use super::{installed, repository};

/// Starts one with the shipped `config/prometheus/blackbox.yml`.
///
/// # Errors
/// When it does not start; the message has the end of its log.
pub async fn start(home: Home, ownership: Ownership) -> anyhow::Result<HttpServer> {
    let path = installed("monitoring/blackbox_exporter")?;
    HttpServer::start(home, ownership, |home, port| {
        let configuration = home.join("blackbox.yml");
        std::fs::copy(repository().join("config/prometheus/blackbox.yml"), &configuration)?;
        Ok(Program {
            name: "blackbox_exporter",
            path,
            arguments: vec![
                format!("--config.file={}", configuration.display()).into(),
                format!("--web.listen-address=127.0.0.1:{port}").into(),
            ],
            environment: Vec::new(),
            ready_path: "/-/healthy",
        })
    })
    .await
}
