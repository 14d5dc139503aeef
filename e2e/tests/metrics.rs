//! What the real programs show on /metrics: just what they declare, in a bounded number of series, and true whoever works.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "tests and their helpers")]

#[path = "rollup/events.rs"]
mod events;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aggregator::lease;
use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use chrono::{SecondsFormat, Utc};
use common::day::Day;
use common::metrics::{Kind, Metric, SHARED, Values};
use e2e::eventually::{PATIENCE, eventually};
use e2e::load::until_stored;
use e2e::servers::{Kafka, KafkaOptions, ReplicaSet, ReplicaSetOptions};
use e2e::topic::Message;
use e2e::world::{Running, World};
use serde_json::json;

async fn until_ready(program: &Running) {
    eventually(PATIENCE, "readiness", async || {
        program.get("/healthz/ready").await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

/// Holds what a program shows to what is declared.
async fn check_shown(program: &Running, declared: &[Metric]) {
    let declared: BTreeMap<&str, &Metric> = SHARED.iter().chain(declared).map(|metric| (metric.name, metric)).collect();
    let text = program.get("/metrics").await;
    let shown: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let helped: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    for (name, kind) in &shown {
        let metric = declared.get(name).unwrap_or_else(|| panic!("{name} is not declared"));
        let declared = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        assert_eq!(*kind, declared, "{name}");
        assert!(helped.contains(name), "{name} has no help");
    }
    for (name, metric) in &declared {
        let is_known = metric.labels.iter().all(|label| matches!(label.values, Values::Known(_)));
        assert!(!is_known || shown.contains_key(name), "{name} is not shown from the start:\n{text}");
    }
    assert!(text.contains("devtoolkit_ready 1") && text.contains("devtoolkit_dependency_up{dependency=\"mongodb\"} 1"));
}

#[tokio::test]
async fn what_is_shown_is_what_is_declared() {
    let world = World::new("metrics-declared").await.with_env("DASHBOARD__LISTEN", "127.0.0.1:0");
    world.run_ok("admin", &["migrate"]).await;
    let programs = [
        (world.spawn("ingest", &["run"]), ingest::metrics::METRICS),
        (world.spawn("aggregator", &["serve"]), aggregator::metrics::METRICS),
        (world.spawn("dashboard", &["serve"]), dashboard::metrics::METRICS),
    ];
    for (mut program, declared) in programs {
        until_ready(&program).await;
        check_shown(&program, declared).await;
        program.stop(Duration::from_secs(10)).await;
    }
}

#[tokio::test]
async fn it_is_seen_when_mongodb_does_not_remove_what_was_kept_long_enough() {
    let world = World::new("metrics-retention").await;
    world.run_ok("admin", &["migrate"]).await;
    world.db().run_command(doc! { "dropIndexes": "sessions", "index": "expiresAt_1" }).await.unwrap();
    let expired = DateTime::from_millis(1_700_000_000_500);
    let session = doc! { "_id": ObjectId::new(), "sessionToken": "x", "expiresAt": expired };
    let sessions = world.db().collection::<Document>("sessions");
    sessions.insert_one(session).bypass_document_validation(true).await.unwrap();
    let mut serving = world.spawn("aggregator", &["serve"]);
    until_ready(&serving).await;
    let of = |metric: &str, collection: &str| format!("{metric}{{collection=\"{collection}\"}}");
    let oldest = "devtoolkit_aggregator_oldest_record_timestamp_seconds";
    assert_eq!(serving.metric(&of(oldest, "sessions")).await, Some(1_700_000_000.5));
    assert_eq!(serving.metric(&of(oldest, "usage_analytics")).await, Some(0.0));
    let kept = of("devtoolkit_aggregator_retention_seconds", "activity_logs");
    assert_eq!(serving.metric(&kept).await, Some(7_776_000.0));
    serving.stop(Duration::from_secs(10)).await;
}

/// Series on /metrics, buckets of histograms included.
async fn series(program: &Running) -> usize {
    program.get("/metrics").await.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase())).count()
}

/// One use of each number, by a user and in a session of its own.
fn uses_of_everybody(from: u64, count: u64, tools: u64) -> Vec<Message> {
    let time = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    let event = |number: u64| {
        let user = format!("65a0{number:020x}");
        let usage = json!({ "startTime": time, "endTime": time, "duration": 5, "inputSize": 1, "outputSize": 2, "success": !number.is_multiple_of(7) });
        let data = json!({
            "userId": user, "toolId": format!("65b0{:020x}", number % tools), "sessionId": format!("65c0{number:020x}"),
            "usage": usage, "performance": { "responseTime": number % 1_000 },
        });
        let event = json!({
            "specversion": "1.0", "id": number.to_string(), "source": format!("/tools/{number}"),
            "type": "com.devtoolkit.tool-usage.v1", "time": time, "data": data,
        });
        Message::new(user, event.to_string())
    };
    (from..from + count).map(event).collect()
}

/// 1,000,000 users in the long form: `E2E_USERS=1000000`.
#[tokio::test]
async fn the_number_of_series_is_bounded_however_many_tools_and_users_there_are() {
    const TOOLS: u64 = 10_000;
    let users = std::env::var("E2E_USERS").map_or(200_000, |users| users.parse().unwrap());
    let world = World::new("metrics-bounded").await;
    world.run_ok("admin", &["migrate"]).await;
    let tools = (0..TOOLS).map(|number| {
        let id = ObjectId::parse_str(format!("65b0{number:020x}")).unwrap();
        doc! { "_id": id, "slug": format!("tool-{number}"), "name": format!("Tool {number}") }
    });
    // The tools' validator is of no interest here.
    let collection = world.db().collection::<Document>("tools");
    collection.insert_many(tools).bypass_document_validation(true).await.unwrap();

    let mut worker = world.spawn("ingest", &["run"]);
    until_ready(&worker).await;
    // Every tool is used once, so that whatever gets series has them.
    world.produce(&uses_of_everybody(0, TOOLS, TOOLS)).await;
    until_stored(&world, TOOLS as usize).await;
    // The last to come are those of the partitions.
    let lag = async || worker.metric("devtoolkit_ingest_lag_messages").await;
    eventually(PATIENCE, "the lag of each partition", lag).await;
    let with_few_users = series(&worker).await;
    for from in (TOOLS..users).step_by(20_000) {
        world.produce(&uses_of_everybody(from, (users - from).min(20_000), TOOLS)).await;
    }
    until_stored(&world, users as usize).await;
    assert_eq!(worker.metric("devtoolkit_tool_uses_total").await, Some(users as f64));
    eventually(PATIENCE, "all users counted", async || {
        worker.metric("devtoolkit_active_users").await.filter(|active| *active == users as f64)
    })
    .await;
    let found = series(&worker).await;
    println!("{found} series with {TOOLS} tools and {users} users");
    assert_eq!(found, with_few_users, "users make series");
    // 500 tools and other: 3 counters, 13 buckets and one more, sum and count; and fewer than 400 for all the rest.
    let of_tools = (ingest::tools::MAX_TOOLS + 1) * (3 + 13 + 1 + 2);
    assert!((of_tools..of_tools + 400).contains(&found), "{found} series, {of_tools} of them by tool expected");
    worker.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_standby_shows_how_the_days_stand_and_the_numbers_of_the_latest() {
    let world = events::world("metrics-observer").await;
    let (yesterday, before) = (Day::yesterday(), Day::yesterday().previous());
    events::store(world.db(), &events::random(before, 300, 1)).await;
    events::store(world.db(), &events::random(yesterday, 300, 2)).await;
    world.run_ok("aggregator", &["run", "--date", &before.to_string()]).await;
    let states = world.db().collection::<Document>("rollup_days");
    let dirty_since = bson::DateTime::from_millis(1_700_000_000_500);
    let mark = doc! { "$set": { "dirtySince": dirty_since, "state": "failed" } };
    states.update_one(doc! { "_id": before.to_string() }, mark).await.unwrap();

    // Somebody else works, and for as long as this test likes.
    let held = lease::acquire(world.db()).await.unwrap();
    let mut standby = world.spawn("aggregator", &["serve"]);
    until_ready(&standby).await;
    let shown = async |name: &str| standby.metric(&format!("devtoolkit_{name}")).await.unwrap();
    assert_eq!(shown("aggregator_lease_held").await, 0.0);
    assert_eq!(shown("aggregator_days_due").await, 2.0);
    assert_eq!(shown("aggregator_days_failed").await, 1.0);
    assert_eq!(shown("aggregator_oldest_dirty_timestamp_seconds").await, 1_700_000_000.5);
    let start = before.start().timestamp() as f64;
    assert_eq!(shown("aggregator_latest_day_timestamp_seconds").await, start);
    assert_eq!(shown("daily_date_timestamp_seconds").await, start);

    let documents = world.db().collection::<Document>("system_analytics");
    let document = documents.find_one(doc! { "date": before.to_string() }).await.unwrap().unwrap();
    let number = |path: &str| {
        let (parents, last) = path.rsplit_once('.').unwrap();
        let parent = parents.split('.').fold(&document, |document, name| document.get_document(name).unwrap());
        parent.get_f64(last).or_else(|_| parent.get_i64(last).map(|number| number as f64)).unwrap_or(f64::NAN)
    };
    for (name, expected) in [
        ("tool_uses", number("metrics.tools.totalUsage")),
        ("tool_users", number("metrics.tools.uniqueUsers")),
        ("tool_visit_duration_seconds", number("metrics.tools.averageSessionDuration") * 60.0),
        ("response_time_seconds", number("metrics.performance.averageResponseTime") / 1_000.0),
        ("error_ratio", number("metrics.performance.errorRate")),
        ("uptime_ratio", number("metrics.performance.uptime") / 100.0),
        ("peak_concurrent_users", number("metrics.performance.peakConcurrentUsers")),
        ("page_views", number("metrics.engagement.pageViews")),
        ("bounce_ratio", number("metrics.engagement.bounceRate")),
        ("visit_duration_seconds", number("metrics.engagement.averageSessionDuration") * 60.0),
        ("return_user_ratio", number("metrics.engagement.returnUserRate")),
        (
            "users",
            ["total", "active", "new", "verified", "premium"]
                .iter()
                .map(|kind| number(&format!("metrics.users.{kind}")))
                .sum(),
        ),
    ] {
        assert_eq!(shown(&format!("daily_{name}")).await, expected, "{name}");
    }
    // There is no day before it.
    assert!(shown("daily_user_growth_ratio").await.is_nan());
    let most_used = document.get_document("metrics").unwrap().get_document("tools").unwrap().get_array("mostUsedTools");
    let uses: i64 =
        most_used.unwrap().iter().map(|tool| tool.as_document().unwrap().get_i64("usageCount").unwrap()).sum();
    assert_eq!(shown("daily_most_used_tool_uses").await, uses as f64);

    // Its turn: it rolls both days up, and shows that as well.
    held.release().await;
    eventually(PATIENCE, "nothing due", async || (shown("aggregator_days_due").await == 0.0).then_some(())).await;
    let start = yesterday.start().timestamp() as f64;
    assert_eq!(shown("daily_date_timestamp_seconds").await, start);
    assert_eq!(shown("aggregator_days_failed").await, 0.0);
    assert_eq!(shown("aggregator_oldest_dirty_timestamp_seconds").await, 0.0);
    standby.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn who_is_idle_knows_too_that_mongodb_is_away() {
    let (mongodb, kafka) = (ReplicaSetOptions::default(), KafkaOptions::default());
    let (mut mongodb, kafka) = tokio::try_join!(ReplicaSet::start(mongodb), Kafka::start(kafka)).unwrap();
    let world = World::on("metrics-idle", &mongodb.uri(), &kafka.brokers()).await;
    let world = world.with_env("MONGODB__SERVER_SELECTION_TIMEOUT", "1s");
    world.run_ok("admin", &["migrate"]).await;
    let failed_login = doc! { "action": "login_failed", "userId": ObjectId::new(), "timestamp": bson::DateTime::now() };
    world.db().collection::<Document>("activity_logs").insert_one(failed_login).await.unwrap();
    let mut wary = world.command("aggregator");
    wary.arg("serve").env("DEVTOOLKIT__SECURITY__ACCOUNT_FAILURES", "1");
    let mut programs =
        [world.spawn("ingest", &["run"]), world.spawn("aggregator", &["serve"]), world.start("aggregator", wary)];
    for program in &programs {
        until_ready(program).await;
    }
    let up = async |program: &Running| {
        let ready = program.metric("devtoolkit_ready").await.unwrap();
        let metrics = program.get("/metrics").await;
        (ready, metrics.contains("devtoolkit_dependency_up{dependency=\"mongodb\"} 1"))
    };
    mongodb.member(0).kill().unwrap();
    for program in &programs {
        eventually(PATIENCE, "word of the outage", async || {
            let answer = program.get("/healthz/ready").await;
            (answer.starts_with("HTTP/1.1 503") && answer.contains("MongoDB: does not answer")).then_some(())
        })
        .await;
        assert_eq!(up(program).await, (0.0, false));
    }
    assert!(programs[0].get("/metrics").await.contains("devtoolkit_dependency_up{dependency=\"kafka\"} 1"));
    let failed_logins = async |program: &Running| program.metric("devtoolkit_failed_logins").await.unwrap();
    eventually(PATIENCE, "unknown logins", async || failed_logins(&programs[1]).await.is_nan().then_some(())).await;
    eventually(PATIENCE, "word of it", async || {
        programs[2].stderr().contains("failed logins cannot be counted").then_some(())
    })
    .await;
    assert_eq!(failed_logins(&programs[2]).await, 1.0, "what looked like an attack stays");
    mongodb.member(0).start().await.unwrap();
    mongodb.wait_for_primary().await.unwrap();
    eventually(PATIENCE, "counted logins", async || (failed_logins(&programs[1]).await == 1.0).then_some(())).await;
    for program in &mut programs {
        until_ready(program).await;
        assert_eq!(up(program).await, (1.0, true));
        program.stop(Duration::from_secs(20)).await;
    }
}
