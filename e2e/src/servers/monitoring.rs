//! All that watches the programs and MongoDB: Prometheus, Alertmanager, and an exporter for each member.

use std::path::Path;

use anyhow::Context;
use futures::future::try_join_all;

use super::alertmanager::{self, AlertmanagerOptions};
use super::home::Home;
use super::http_server::HttpServer;
use super::process::Ownership;
use super::prometheus::{Prometheus, PrometheusOptions, Targets};
use super::{blackbox, mongodb_exporter};
use crate::eventually::{PATIENCE, eventually};

/// What is watched, and who is told.
#[derive(Clone, Debug)]
pub struct MonitoringOptions {
    /// MongoDB's connection string; each member in it gets an exporter.
    pub mongodb_uri: String,
    /// `host:port` of each `ingest run`.
    pub ingest: Vec<String>,
    /// `host:port` of each `aggregator serve`.
    pub aggregator: Vec<String>,
    /// `host:port` of each `dashboard serve`.
    pub dashboard: Vec<String>,
    /// `host:port` of each `admin backup schedule`.
    pub backup: Vec<String>,
    /// `host:port` of the servers whose certificates are looked at.
    pub certificates: Vec<String>,
    /// Who hears of alerts, and how much faster than shipped.
    pub alerts: AlertmanagerOptions,
}

/// The servers that watch.
#[derive(Debug)]
pub struct Monitoring {
    /// Prometheus, with the shipped alerts.
    pub prometheus: Prometheus,
    /// Alertmanager, with the shipped routes.
    pub alertmanager: HttpServer,
    /// One for each member of MongoDB's set.
    pub exporters: Vec<HttpServer>,
    /// Looks at certificates, where there are any.
    pub blackbox: Option<HttpServer>,
}

impl Monitoring {
    /// Starts them in directories of their own in `home`.
    ///
    /// # Errors
    /// When one does not start; the message has the end of its log.
    pub async fn start(home: &Path, ownership: Ownership, options: &MonitoringOptions) -> anyhow::Result<Self> {
        let own = |name: &str| Home::lasting(home.join(name));
        let members = members(&options.mongodb_uri)?;
        let exporters = members.iter().enumerate().map(|(index, (_, uri))| {
            let home = own(&format!("mongodb-exporter-{index}"));
            async move { mongodb_exporter::start(home?, ownership, uri).await }
        });
        let blackbox = async {
            if options.certificates.is_empty() {
                return Ok(None);
            }
            blackbox::start(own("blackbox")?, ownership).await.map(Some)
        };
        let alertmanager = async { alertmanager::start(own("alertmanager")?, ownership, &options.alerts).await };
        let (exporters, blackbox, alertmanager) = tokio::try_join!(try_join_all(exporters), blackbox, alertmanager)?;
        let mongods = members.into_iter().map(|(mongod, _)| mongod);
        let targets = Targets {
            ingest: options.ingest.clone(),
            aggregator: options.aggregator.clone(),
            dashboard: options.dashboard.clone(),
            backup: options.backup.clone(),
            mongodb: mongods.zip(exporters.iter().map(HttpServer::address)).collect(),
            certificates: options.certificates.clone(),
            blackbox: blackbox.as_ref().map(HttpServer::address),
            alertmanager: vec![alertmanager.address()],
        };
        let prometheus = PrometheusOptions { targets, faster: options.alerts.faster };
        let prometheus = Prometheus::start(own("prometheus")?, ownership, &prometheus).await?;
        Ok(Self { prometheus, alertmanager, exporters, blackbox })
    }

    /// Waits until Prometheus has the first values of a job, with which later ones are compared.
    ///
    /// # Panics
    /// When it has none after two minutes.
    pub async fn until_scraped(&self, job: &str) {
        let expression = format!("up{{job=\"{job}\"}} == 1");
        eventually(PATIENCE, &expression, async || {
            let up = self.prometheus.query(&expression).await.ok()?;
            (!up.is_empty()).then_some(())
        })
        .await;
    }
}

/// For each member that a connection string names: `host:port`, and the connection string for it alone.
fn members(uri: &str) -> anyhow::Result<Vec<(String, String)>> {
    // Without the URI, which may hold a password.
    let rest = uri.strip_prefix("mongodb://").context("MongoDB's URI must name every member: mongodb://host:port,…")?;
    let (authority, options) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    Ok(hosts.split(',').map(|host| (host.to_owned(), format!("mongodb://{user}{host}/{options}"))).collect())
}

#[cfg(test)]
mod tests {
    use super::members;

    #[test]
    fn each_member_has_a_connection_string_of_its_own() {
        let found = members("mongodb://u:p%40@a:1,b:2/?replicaSet=rs0&tls=true").ok();
        let uri = |host: &str| (host.to_owned(), format!("mongodb://u:p%40@{host}/?replicaSet=rs0&tls=true"));
        assert_eq!(found, Some(vec![uri("a:1"), uri("b:2")]));
        assert_eq!(members("mongodb://a:1").ok(), Some(vec![("a:1".to_owned(), "mongodb://a:1/".to_owned())]));
        assert!(members("mongodb+srv://cluster.example").is_err());
    }
}
