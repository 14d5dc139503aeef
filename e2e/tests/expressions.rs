//! Everything that the dashboards and the alerts ask of Prometheus has an answer on a loaded pipeline: two days rolled up, then
//! two workers and an aggregator under load, with dead letters, replays, late events and failed logins.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "tests and their helpers")]

#[path = "dashboards/grafana.rs"]
mod grafana;
#[path = "dashboards/promql.rs"]
mod promql;
#[path = "alerts/rules.rs"]
mod rules;
#[path = "expressions/two_days.rs"]
mod two_days;

use std::path::Path;
use std::time::{Duration, Instant};

use common::day::Day;
use e2e::eventually::{PATIENCE, eventually};
use e2e::http;
use e2e::load::{bad, tool_uses, tool_uses_at};
use e2e::servers::alertmanager::AlertmanagerOptions;
use e2e::servers::monitoring::{Monitoring, MonitoringOptions};
use e2e::servers::prometheus::Prometheus;
use e2e::servers::{Home, Kafka, KafkaOptions, Ownership, ReplicaSet, ReplicaSetOptions, free_port};
use e2e::topic::Message;
use e2e::world::{Running, World};
use rules::Alert;
use serde_json::json;
use two_days::{TOOLS, USERS, two_days};

/// What has no answer while all is well, and why.
const RIGHTLY_EMPTY: &[(&str, &str)] = &[
    ("ALERTS", "an alert has a series while it fires or is pending"),
    (r#"ALERTS{alertstate="firing"}"#, "an alert has a series while it fires"),
    ("devtoolkit_ingest_events_total offset 1d", "yesterday this Prometheus did not run"),
    ("devtoolkit_ingest_expired_unread_total offset 1h", "an hour ago this Prometheus did not run"),
    ("devtoolkit_aggregator_anonymisation_due_timestamp_seconds offset 2d", "two days ago this Prometheus did not run"),
];
/// Time range of the dashboards, and the time that their rates are taken over.
const RANGE: &str = "5m";
const RATE_INTERVAL: &str = "1m";
/// Prometheus scrapes every second.
const FASTER: u32 = 15;
/// Nobody hears of alerts.
const NOBODY: &str = "http://127.0.0.1:9/";

struct Pipeline {
    monitoring: Monitoring,
    /// The dashboard's address.
    pages: String,
    _programs: Vec<Running>,
    world: World,
    _mongodb: ReplicaSet,
    _kafka: Kafka,
    _home: Home,
}

/// A certificate, for the alert on certificates that end.
fn certificate(directory: &Path) -> String {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let file = directory.join("certificate.pem");
    std::fs::write(&file, format!("{}{}", certified.signing_key.serialize_pem(), certified.cert.pem())).unwrap();
    file.display().to_string()
}

/// A program that serves its metrics where Prometheus looks for them.
fn serving(world: &World, program: &str, arguments: &[&str]) -> (Running, String) {
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let mut command = world.command(program);
    command.args(arguments).env("DEVTOOLKIT__TELEMETRY__LISTEN", &address);
    (world.start(program, command), address)
}

async fn pipeline() -> Pipeline {
    let home = Home::temporary("expressions").unwrap();
    let tls = ["--tlsMode", "allowTLS", "--tlsCertificateKeyFile", &certificate(home.path())];
    let mongodb = ReplicaSetOptions {
        monitored: true,
        extra_args: tls.map(str::to_owned).to_vec(),
        ..ReplicaSetOptions::default()
    };
    let (mut mongodb, kafka) =
        tokio::try_join!(ReplicaSet::start(mongodb), Kafka::start(KafkaOptions::default())).unwrap();
    // So that today's provisional roll-up runs again and again.
    let world = World::on("expressions", &mongodb.uri(), &kafka.brokers()).await.with_env("AGGREGATOR__REFRESH", "1s");
    let pages = format!("127.0.0.1:{}", free_port().unwrap());
    let world = world.with_env("DASHBOARD__LISTEN", &pages);
    two_days(&world).await;
    let world = world.with_backups().await;

    let (workers, ingest): (Vec<_>, Vec<_>) = (0..2).map(|_| serving(&world, "ingest", &["run"])).unzip();
    let (aggregator, aggregator_address) = serving(&world, "aggregator", &["serve"]);
    let (dashboard, dashboard_address) = serving(&world, "dashboard", &["serve"]);
    let (backup, backup_address) = serving(&world, "admin", &["backup", "schedule"]);
    let monitoring = MonitoringOptions {
        mongodb_uri: mongodb.uri(),
        ingest,
        aggregator: vec![aggregator_address],
        dashboard: vec![dashboard_address],
        backup: vec![backup_address],
        certificates: vec![mongodb.member(0).address()],
        alerts: AlertmanagerOptions { page_url: NOBODY.to_owned(), ticket_url: NOBODY.to_owned(), faster: FASTER },
    };
    let monitoring = Monitoring::start(home.path(), Ownership::Owned, &monitoring).await.unwrap();
    let live = world.spawn("emit", &["generate", "--live", "--rate", "200", "--users", USERS, "--tools", TOOLS]);
    let programs = workers.into_iter().chain([aggregator, dashboard, backup, live]).collect();
    Pipeline { monitoring, pages, _programs: programs, world, _mongodb: mongodb, _kafka: kafka, _home: home }
}

/// What goes wrong now and then.
async fn send_troubles(world: &World) {
    let uses = tool_uses(0, 500);
    world.produce(&uses).await;
    world.produce(&uses).await;
    world.produce(&(0..20).map(bad).collect::<Vec<_>>()).await;
    let noon = Day::yesterday().start() + Duration::from_secs(12 * 3_600);
    world.produce(&tool_uses_at(noon, 1_000, 20)).await;
    world.produce(&(0..12).map(failed_login).collect::<Vec<_>>()).await;
}

fn failed_login(number: u32) -> Message {
    let time = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let user = format!("65a0{:020x}", 7);
    let event = json!({
        "specversion": "1.0", "id": number.to_string(), "source": "/login", "type": "com.devtoolkit.activity.v1",
        "time": time, "data": { "userId": user, "action": "login_failed", "context": { "ipAddress": "203.0.113.9" } },
    });
    Message::new(user, event.to_string())
}

/// Something to be asked, and the labels that each series of the answer must have.
struct Question {
    place: String,
    expr: String,
    labels: Vec<String>,
}

/// What the panels, the annotations and the variables ask.
fn of_dashboards() -> Vec<Question> {
    let mut questions = Vec::new();
    for dashboard in grafana::dashboards().into_values() {
        for query in dashboard.queries(RANGE, RATE_INTERVAL) {
            questions.push(Question { place: query.place, expr: query.expr, labels: query.legend_labels });
        }
        for variable in dashboard.templating.list.iter().filter(|variable| variable.kind == "query") {
            let query = variable.query["query"].as_str().unwrap();
            let arguments = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
            let (selector, label) = arguments.rsplit_once(", ").unwrap();
            let place = format!("{}, variable {}", dashboard.uid, variable.name);
            questions.push(Question { place, expr: selector.to_owned(), labels: vec![label.to_owned()] });
        }
    }
    questions
}

/// What the alerts look at. While all is well the comparison has no answer, but what is compared has one.
fn of_alerts(alerts: &[Alert]) -> Vec<Question> {
    let selectors = alerts.iter().flat_map(|rule| {
        let selectors = promql::selectors(&rule.expr).into_iter();
        selectors.map(|selector| (format!("alert {}", rule.alert), selector.to_string()))
    });
    selectors.map(|(place, expr)| Question { place, expr, labels: Vec::new() }).collect()
}

/// What is missing from the answer, if anything.
async fn missing(prometheus: &Prometheus, question: &Question) -> Option<String> {
    let samples = match prometheus.query(&question.expr).await {
        Ok(samples) => samples,
        Err(error) => return Some(format!("{error:#}")),
    };
    if samples.iter().all(|sample| sample.value.is_nan()) {
        return Some(format!("{} series with a number", samples.len()));
    }
    let unlabelled = |label: &&String| samples.iter().any(|sample| !sample.labels.contains_key(*label));
    question.labels.iter().find(unlabelled).map(|label| format!("a series without {label}"))
}

async fn unanswered(prometheus: &Prometheus, questions: &[Question]) -> Vec<String> {
    let mut unanswered = Vec::new();
    for question in questions {
        if let Some(missing) = missing(prometheus, question).await {
            unanswered.push(format!("{}: {missing}: {}", question.place, question.expr));
        }
    }
    unanswered
}

#[tokio::test]
async fn every_expression_of_every_panel_and_every_alert_has_an_answer() {
    let alerts = rules::alerts();
    let mut questions = of_dashboards();
    questions.extend(of_alerts(&alerts));
    for (expr, reason) in RIGHTLY_EMPTY {
        assert!(questions.iter().any(|question| question.expr == *expr), "nobody asks for {expr} ({reason})");
    }
    questions.retain(|question| RIGHTLY_EMPTY.iter().all(|(expr, _)| question.expr != *expr));

    let pipeline = pipeline().await;
    let prometheus = &pipeline.monitoring.prometheus;
    // A counter that has risen before the first scrape shows no rise.
    eventually(PATIENCE, "first scrape of both workers", async || {
        let workers = prometheus.query("count(devtoolkit_ingest_events_total)").await.unwrap_or_default();
        workers.first().is_some_and(|count| count.value == 6.0).then_some(())
    })
    .await;
    send_troubles(&pipeline.world).await;

    let start = Instant::now();
    let unanswered = eventually(2 * PATIENCE, "answers", async || {
        http::get(&pipeline.pages, "/login").await.unwrap();
        let unanswered = unanswered(prometheus, &questions).await;
        (unanswered.is_empty() || start.elapsed() > PATIENCE).then_some(unanswered)
    })
    .await;
    assert!(unanswered.is_empty(), "after {PATIENCE:?} still no\n{}", unanswered.join("\n"));
    for Alert { alert, expr, .. } in &alerts {
        prometheus.query(expr).await.unwrap_or_else(|error| panic!("alert {alert}: {error:#}"));
    }
}
