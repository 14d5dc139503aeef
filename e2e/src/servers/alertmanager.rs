//! A real Alertmanager with the shipped configuration.

use std::path::Path;

use anyhow::Context;

use super::home::Home;
use super::http_server::{HttpServer, Program};
use super::process::Ownership;
use super::{installed, repository};

/// Where the shipped configuration has the files with the receivers' addresses.
const SECRETS: &str = "/run/secrets/";

/// What may differ between Alertmanagers.
#[derive(Clone, Debug)]
pub struct AlertmanagerOptions {
    /// Where alerts that wake somebody are sent: the address of a webhook.
    pub page_url: String,
    /// Where alerts that can wait for the morning are sent.
    pub ticket_url: String,
    /// By how much the waits of the configuration are divided.
    pub faster: u32,
}

/// Starts one in `home`.
///
/// # Errors
/// When it does not start; the message has the end of its log.
pub async fn start(home: Home, ownership: Ownership, options: &AlertmanagerOptions) -> anyhow::Result<HttpServer> {
    let path = installed("monitoring/alertmanager")?;
    HttpServer::start(home, ownership, |home, port| {
        let configuration = home.join("alertmanager.yml");
        configure(home, &configuration, options)?;
        Ok(Program {
            name: "Alertmanager",
            path,
            arguments: vec![
                format!("--config.file={}", configuration.display()).into(),
                format!("--storage.path={}", home.join("data").display()).into(),
                format!("--web.listen-address=127.0.0.1:{port}").into(),
                // No cluster.
                "--cluster.listen-address=".into(),
            ],
            environment: Vec::new(),
            ready_path: "/-/ready",
        })
    })
    .await
}

fn configure(home: &Path, configuration: &Path, options: &AlertmanagerOptions) -> anyhow::Result<()> {
    let shipped = repository().join("config/alertmanager/alertmanager.yml");
    let text = std::fs::read_to_string(&shipped).with_context(|| format!("cannot read {}", shipped.display()))?;
    let text = text.replace(SECRETS, &format!("{}/", home.display()));
    let text = super::prometheus::faster_waits(&text, options.faster);
    std::fs::write(configuration, text)?;
    std::fs::write(home.join("alertmanager_page_url"), &options.page_url)?;
    std::fs::write(home.join("alertmanager_ticket_url"), &options.ticket_url)?;
    Ok(())
}
