//! A real mongodb_exporter, which shows one `mongod` to Prometheus.

use anyhow::Context;

use super::home::Home;
use super::http_server::{HttpServer, Program};
use super::installed;
use super::process::Ownership;

/// What is asked of MongoDB. `config/prometheus/prometheus.yml` keeps the few series that somebody looks at.
const COLLECTORS: &[&str] = &["diagnosticdata", "replicasetstatus", "dbstats", "collstats", "profile"];

/// Starts an exporter for the one member that `uri` names, with `directConnection=true`. Its user needs the roles
/// `clusterMonitor` and `read` on every database whose sizes and slow queries are to be seen.
///
/// The member must keep its diagnostic data ([`super::ReplicaSetOptions::monitored`]).
///
/// # Errors
/// When it does not start; the message has the end of its log.
pub async fn start(home: Home, ownership: Ownership, uri: &str) -> anyhow::Result<HttpServer> {
    let program = installed("monitoring/mongodb_exporter")?;
    HttpServer::start(home, ownership, |home, port| {
        // Under a name in its directory, by which `./dev down` knows it.
        let path = home.join("mongodb_exporter");
        if !path.exists() {
            std::os::unix::fs::symlink(&program, &path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let mut arguments = vec![
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--mongodb.direct-connect".to_owned(),
            // A scrape of a member that is away must say so before Prometheus gives it up.
            "--mongodb.connect-timeout-ms=1000".to_owned(),
            "--discovering-mode".to_owned(),
            "--no-compatible-mode".to_owned(),
        ];
        arguments.extend(COLLECTORS.iter().map(|collector| format!("--collector.{collector}")));
        Ok(Program {
            name: "mongodb_exporter",
            path,
            arguments: arguments.into_iter().map(Into::into).collect(),
            // Not an argument, which everybody on the machine can read.
            environment: vec![("MONGODB_URI", uri.to_owned())],
            ready_path: "/",
        })
    })
    .await
}
