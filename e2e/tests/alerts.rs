//! Every shipped alert: it fires, clears is not taken in by a blip (promtool), and is in the runbook. `alerts_fire.rs`
//! makes them fire on real servers; `dashboards.rs` and `expressions.rs` look at what they ask for.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

#[path = "alerts/rules.rs"]
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::eventually::{PATIENCE, eventually};
use e2e::http;
use e2e::servers::alertmanager::{self, AlertmanagerOptions};
use e2e::servers::{Home, Ownership, repository};
use regex::Regex;
use rules::{Alert, alerts, files};
use serde::Deserialize;
use serde_yaml_ng::Value;

#[derive(Deserialize)]
struct TestFile {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    alert_rule_test: Vec<Moment>,
}

#[derive(Deserialize)]
struct Moment {
    alertname: String,
    exp_alerts: Vec<Value>,
}

fn config() -> PathBuf {
    repository().join("config")
}

/// Which of `alerts`, all of them firing, a real Alertmanager keeps to itself.
async fn inhibited(alerts: &[&str]) -> BTreeSet<String> {
    const NOBODY: &str = "http://127.0.0.1:9/";
    let options = AlertmanagerOptions { page_url: NOBODY.to_owned(), ticket_url: NOBODY.to_owned(), faster: 1 };
    let home = Home::temporary("inhibition").unwrap();
    let alertmanager = alertmanager::start(home, Ownership::Owned, &options).await.unwrap();
    let address = alertmanager.address();
    // Each for itself, so that the first is known before the others are asked for.
    for alert in alerts {
        let alert = format!(r#"[{{"labels":{{"alertname":"{alert}","severity":"ticket"}}}}]"#);
        let answer = http::post(&address, "/api/v2/alerts", "application/json", &alert).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let known = eventually(PATIENCE, "alerts in Alertmanager", async || {
        let answer = http::get(&address, "/api/v2/alerts").await.ok()?;
        let known: Vec<serde_json::Value> = serde_json::from_str(&answer.body).ok()?;
        (known.len() == alerts.len()).then_some(known)
    })
    .await;
    let is_inhibited = |alert: &&serde_json::Value| !alert["status"]["inhibitedBy"].as_array().unwrap().is_empty();
    let name = |alert: &serde_json::Value| alert["labels"]["alertname"].as_str().unwrap().to_owned();
    known.iter().filter(is_inhibited).map(name).collect()
}

#[tokio::test]
async fn without_a_primary_only_what_follows_from_it_is_kept_silent() {
    let follows =
        ["IngestStalled", "IngestDelayed", "RollupLate", "RollupFailing", "DayDirtyTooLong", "FailedLoginsUnseen"];
    let told =
        ["MongodbNoPrimary", "AggregatorDown", "IngestDown", "DeadLetters", "EventsExpiredUnread", "EventsExpireSoon"];
    let alerts: Vec<&str> = told.into_iter().chain(follows).collect();
    assert_eq!(inhibited(&alerts).await, follows.map(str::to_owned).into());
}

/// The program's output, when it ends with success.
fn run(program: impl AsRef<Path>, arguments: &[&str]) -> String {
    let output = Command::new(program.as_ref()).args(arguments).current_dir(config()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

fn amtool(arguments: &[&str]) -> String {
    let servers =
        std::env::var_os("DEVTOOLKIT_SERVERS").map_or_else(|| repository().join(".dev/servers"), PathBuf::from);
    run(servers.join("monitoring/amtool"), arguments)
}

#[test]
fn every_alert_fires_clears_and_ignores_a_blip() {
    run("promtool", &["check", "config", "prometheus/prometheus.yml"]);
    let tests = files(&config().join("prometheus/tests"));
    let mut moments: BTreeMap<String, Vec<Vec<bool>>> = BTreeMap::new();
    for file in &tests {
        run("promtool", &["test", "rules", file.to_str().unwrap()]);
        let file: TestFile = serde_yaml_ng::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        for Test { alert_rule_test } in file.tests {
            let name = alert_rule_test[0].alertname.clone();
            let check = |moment: &Moment| {
                assert_eq!(moment.alertname, name, "one alert in each test");
                !moment.exp_alerts.is_empty()
            };
            let fires = alert_rule_test.iter().map(check).collect();
            moments.entry(name).or_default().push(fires);
        }
    }
    for Alert { alert, .. } in alerts() {
        let tests = moments.remove(&alert).unwrap_or_default();
        let fires_and_clears = tests.iter().any(|fires| fires.windows(2).any(|pair| pair == [true, false]));
        assert!(fires_and_clears, "{alert}: no test in config/prometheus/tests shows it firing and then cleared");
        // A test in which it does not fire, or one that goes on after it has cleared.
        let blip = tests.iter().any(|fires| !fires.contains(&true) || fires.ends_with(&[false, false]));
        assert!(blip, "{alert}: no test shows that a blip does not make it fire");
    }
    assert!(moments.is_empty(), "tests of alerts that are not there: {:?}", moments.keys());
}

/// The heading's anchor, as everything makes it that shows Markdown.
fn runbook_anchors() -> BTreeSet<String> {
    let text = std::fs::read_to_string(repository().join("docs/OPERATIONS.md")).unwrap();
    let headings = text.lines().filter_map(|line| line.strip_prefix("### "));
    headings.map(str::to_lowercase).collect()
}

#[test]
fn every_alert_says_what_it_is_and_where_to_read_on() {
    let mut anchors = runbook_anchors();
    for Alert { alert, labels, annotations, .. } in alerts() {
        assert!(["page", "ticket"].contains(&labels["severity"].as_str()), "{alert}: {labels:?}");
        assert_eq!(labels.len(), 1, "{alert}: {labels:?}");
        let anchor = alert.to_lowercase();
        assert_eq!(annotations["runbook_url"], format!("docs/OPERATIONS.md#{anchor}"), "{alert}");
        assert!(anchors.remove(&anchor), "{alert}: docs/OPERATIONS.md has no entry ### {alert}");
        assert!(annotations["summary"].ends_with('.') && annotations.len() == 2, "{alert}: {annotations:?}");
    }
    assert!(anchors.is_empty(), "entries of the runbook without an alert: {anchors:?}");
}

#[test]
fn who_hears_of_an_alert_goes_by_its_severity() {
    let file = "alertmanager/alertmanager.yml";
    amtool(&["check-config", file]);
    let known: BTreeSet<String> = alerts().into_iter().map(|alert| alert.alert).collect();
    for Alert { alert, labels, .. } in alerts() {
        let severity = &labels["severity"];
        let route = format!("--config.file={file}");
        let labels = [format!("alertname={alert}"), format!("severity={severity}")];
        let receiver = amtool(&["config", "routes", "test", &route, &labels[0], &labels[1]]);
        assert_eq!(receiver.trim(), severity, "{alert}");
    }
    let text = std::fs::read_to_string(config().join(file)).unwrap();
    let quoted = Regex::new(r#"alertname=~?"([^"]+)""#).unwrap();
    for (_, [names]) in quoted.captures_iter(&text).map(|found| found.extract()) {
        for name in names.split('|') {
            assert!(known.contains(name), "{file} names {name}, which is no alert");
        }
    }
}
