//! A real Prometheus with the shipped configuration and the shipped alerts; only its targets differ.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, ensure};
use regex::{Captures, Regex};
use serde_json::{Value, json};

use super::home::Home;
use super::http_server::{HttpServer, Program};
use super::process::Ownership;
use super::repository;
use crate::http;

/// `host:port` of everything that is scraped, by job. What is not there is not scraped.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// `ingest run`.
    pub ingest: Vec<String>,
    /// `aggregator serve`.
    pub aggregator: Vec<String>,
    /// `dashboard serve`.
    pub dashboard: Vec<String>,
    /// `admin backup schedule`.
    pub backup: Vec<String>,
    /// For each member: the `mongod`, and its exporter.
    pub mongodb: Vec<(String, String)>,
    /// Servers whose TLS certificate is looked at.
    pub certificates: Vec<String>,
    /// The blackbox exporter that looks at them.
    pub blackbox: Option<String>,
    /// Where alerts go.
    pub alertmanager: Vec<String>,
}

/// What may differ between Prometheus servers.
#[derive(Clone, Debug, Default)]
pub struct PrometheusOptions {
    /// What is scraped.
    pub targets: Targets,
    /// By how much scrape intervals, the alerts' waits and their windows are divided, 1 to leave them. The expressions
    /// stay as they are otherwise.
    pub faster: u32,
}

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    /// To be stopped, killed, restarted.
    pub server: HttpServer,
}

/// One series of an answer, with its value now.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels, and its name as `__name__` where it has one.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Prometheus {
    /// Starts one in `home`.
    ///
    /// # Errors
    /// When it is not installed or does not start; the message has the end of its log.
    pub async fn start(home: Home, ownership: Ownership, options: &PrometheusOptions) -> anyhow::Result<Self> {
        let server = HttpServer::start(home, ownership, |home, port| {
            let configuration = home.join("config");
            configure(&configuration, options)?;
            // Its own target.
            write_targets(&configuration, "prometheus", &json!([{ "targets": [format!("127.0.0.1:{port}")] }]))?;
            Ok(Program {
                name: "Prometheus",
                path: PathBuf::from("prometheus"),
                arguments: vec![
                    format!("--config.file={}", configuration.join("prometheus.yml").display()).into(),
                    format!("--storage.tsdb.path={}", home.join("data").display()).into(),
                    format!("--web.listen-address=127.0.0.1:{port}").into(),
                ],
                environment: Vec::new(),
                ready_path: "/-/ready",
            })
        });
        Ok(Self { server: server.await? })
    }

    /// What an expression gives now.
    ///
    /// # Errors
    /// When Prometheus does not answer, or says that the expression is wrong.
    pub async fn query(&self, expression: &str) -> anyhow::Result<Vec<Sample>> {
        let answer = self.ask("/api/v1/query", &[("query", expression)]).await?;
        let data = &answer["data"];
        if data["resultType"] == "scalar" {
            return Ok(vec![Sample { labels: BTreeMap::new(), value: value(&data["result"])? }]);
        }
        let series = data["result"].as_array().with_context(|| format!("not a vector: {answer}"))?;
        series
            .iter()
            .map(|series| {
                let labels = serde_json::from_value(series["metric"].clone())?;
                Ok(Sample { labels, value: value(&series["value"])? })
            })
            .collect()
    }

    /// Sends a form to a path of the HTTP interface; returns the whole answer.
    ///
    /// # Errors
    /// When Prometheus does not answer, or does not say `success`.
    pub async fn ask(&self, path: &str, form: &[(&str, &str)]) -> anyhow::Result<Value> {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let answer = http::post(&self.server.address(), path, "application/x-www-form-urlencoded", &form).await?;
        let body: Value = serde_json::from_str(&answer.body).with_context(|| answer.body.clone())?;
        ensure!(body["status"] == "success", "Prometheus refuses {form}: {}", body["error"]);
        Ok(body)
    }
}

/// `[seconds, "value"]`.
fn value(pair: &Value) -> anyhow::Result<f64> {
    let text = pair[1].as_str().with_context(|| format!("not a value: {pair}"))?;
    text.parse().with_context(|| format!("not a number: {text}"))
}

fn configure(directory: &Path, options: &PrometheusOptions) -> anyhow::Result<()> {
    let shipped = repository().join("config/prometheus");
    for folder in ["alerts", "targets"] {
        std::fs::create_dir_all(directory.join(folder))
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let copy = |name: &Path| {
        let text = std::fs::read_to_string(shipped.join(name)).with_context(|| format!("cannot read {name:?}"))?;
        std::fs::write(directory.join(name), faster_waits(&text, options.faster))
            .with_context(|| format!("cannot write {}", directory.join(name).display()))
    };
    copy(Path::new("prometheus.yml"))?;
    for file in std::fs::read_dir(shipped.join("alerts"))? {
        copy(&Path::new("alerts").join(file?.file_name()))?;
    }
    let Targets { ingest, aggregator, dashboard, backup, mongodb, certificates, blackbox, alertmanager } =
        &options.targets;
    write_targets(directory, "ingest", &json!([{ "targets": ingest }]))?;
    write_targets(directory, "aggregator", &json!([{ "targets": aggregator }]))?;
    write_targets(directory, "dashboard", &json!([{ "targets": dashboard }]))?;
    write_targets(directory, "backup", &json!([{ "targets": backup }]))?;
    write_targets(directory, "alertmanager", &json!([{ "targets": alertmanager }]))?;
    let mongodb =
        mongodb.iter().map(|(mongod, exporter)| json!({ "targets": [exporter], "labels": { "instance": mongod } }));
    write_targets(directory, "mongodb", &mongodb.collect())?;
    let certificates = blackbox.iter().map(
        |blackbox| json!({ "targets": certificates, "labels": { "__blackbox__": blackbox, "__param_module": "tls" } }),
    );
    write_targets(directory, "certificates", &certificates.collect())
}

/// JSON is YAML.
fn write_targets(directory: &Path, job: &str, targets: &Value) -> anyhow::Result<()> {
    let file = directory.join("targets").join(format!("{job}.yml"));
    std::fs::write(&file, targets.to_string()).with_context(|| format!("cannot write {}", file.display()))
}

/// The same text with every duration (`5m`, `30s`) divided. None becomes shorter than a scrape of a busy machine may take, no
/// `for:` shorter than two scrapes, so that one scrape that fails raises no alert, and no window (`[5m]`) shorter than
/// what a rate needs. A longer `for:` would outlast the windows: a quarter of an hour is 15 seconds.
pub fn faster_waits(text: &str, factor: u32) -> String {
    const SHORTEST: u64 = 3;
    const SHORTEST_FOR: u64 = 2 * SHORTEST;
    const SHORTEST_WINDOW: u64 = 4 * SHORTEST;
    static DURATION: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?<before>\[|\bfor: | )(?<number>\d+)(?<unit>[smhd])\b").ok());
    let Some(duration) = DURATION.as_ref() else { return text.to_owned() };
    let scale = |found: &Captures<'_>| {
        let unit = match &found["unit"] {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => 86_400,
        };
        let seconds = found["number"].parse::<u64>().unwrap_or(0) * unit;
        let shortest = match &found["before"] {
            "[" => SHORTEST_WINDOW,
            "for: " => SHORTEST_FOR,
            _ => SHORTEST,
        };
        format!("{}{}s", &found["before"], (seconds / u64::from(factor.max(1))).max(shortest.min(seconds)))
    };
    duration.replace_all(text, scale).into_owned()
}

#[cfg(test)]
mod tests {
    use super::faster_waits;

    #[test]
    fn an_alert_waits_for_two_scrapes_at_least() {
        let text = "scrape_interval: 15s\ngroup_wait: 1m\nfor: 1m\nfor: 5m\nfor: 10m\nfor: 3s";
        let faster = "scrape_interval: 3s\ngroup_wait: 3s\nfor: 6s\nfor: 6s\nfor: 10s\nfor: 3s";
        assert_eq!(faster_waits(text, 60), faster);
    }

    #[test]
    fn durations_are_divided_and_nothing_else() {
        let text = "for: 10m\nexpr: increase(errors_total{job=\"a5m\"}[1h]) / rate(x[1m] offset 1d) > 60";
        let faster = "for: 10s\nexpr: increase(errors_total{job=\"a5m\"}[60s]) / rate(x[12s] offset 1440s) > 60";
        assert_eq!(faster_waits(text, 60), faster);
    }
}
