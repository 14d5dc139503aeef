//! What makes two events the same event, and what becomes of two that are not and claim to be.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Document, doc};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use e2e::eventually::{PATIENCE, eventually};
use e2e::load::until_stored;
use e2e::topic::Message;
use e2e::world::{Running, World};
use serde_json::{Value, json};

const FORMATTER: &str = "65b000000000000000000001";
const GENERATOR: &str = "65b000000000000000000002";

/// An hour ago, so that the events of one test are of one second.
fn an_hour_ago() -> DateTime<Utc> {
    DateTime::from_timestamp(Utc::now().timestamp() - 3_600, 0).unwrap()
}

fn tool_use(id: &str, time: DateTime<Utc>, tool: &str) -> Message {
    let time = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let event = json!({
        "specversion": "1.0", "id": id, "source": "/case", "type": "com.devtoolkit.tool-usage.v1", "time": time,
        "data": { "toolId": tool, "sessionId": "65c000000000000000000001", "usage": {
            "startTime": time, "endTime": time, "duration": 5, "inputSize": 1, "outputSize": 2, "success": true } },
    });
    Message::new("k", event.to_string())
}

#[tokio::test]
async fn an_event_is_the_same_by_source_id_and_the_second_of_its_time() {
    let world = World::new("identity").await;
    world.run_ok("admin", &["migrate"]).await;
    let time = an_hour_ago();
    let later = time + TimeDelta::seconds(2);
    world.produce(&[tool_use("kept-time", time, FORMATTER), tool_use("kept-time", time, FORMATTER)]).await;
    world.produce(&[tool_use("new-time", time, FORMATTER), tool_use("new-time", later, FORMATTER)]).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    until_stored(&world, 3).await;
    let documents = world.db().collection::<Document>("usage_analytics");
    assert_eq!(documents.count_documents(doc! { "timestamp": later }).await.unwrap(), 1);
}

async fn until_absorbed(worker: &Running, absorbed: f64) {
    eventually(PATIENCE, &format!("{absorbed} absorbed documents"), async || {
        let now = worker.metric("devtoolkit_ingest_documents_absorbed_total").await?;
        (now >= absorbed).then_some(())
    })
    .await;
}

async fn until_counted(worker: &Running, conflicts: f64) {
    eventually(PATIENCE, &format!("{conflicts} conflicting duplicates"), async || {
        let now = worker.metric("devtoolkit_ingest_conflicting_duplicates_total").await?;
        assert!(now <= conflicts, "{now} counted, expected {conflicts}");
        (now >= conflicts).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_duplicate_with_other_content_is_counted_and_an_exact_repetition_is_not() {
    let world = World::new("conflict").await.with_env("TELEMETRY__LOG_FORMAT", "json");
    world.run_ok("admin", &["migrate"]).await;
    for (id, slug) in [(FORMATTER, "json-formatter"), (GENERATOR, "uuid\u{1b}[31m-generator")] {
        let tool = doc! { "_id": ObjectId::parse_str(id).unwrap(), "slug": slug };
        world.db().collection::<Document>("tools").insert_one(tool).bypass_document_validation(true).await.unwrap();
    }
    let mut worker = world.spawn("ingest", &["run"]);
    let time = an_hour_ago();
    let first = tool_use("e-1", time, FORMATTER);
    world.produce(std::slice::from_ref(&first)).await;
    until_stored(&world, 1).await;

    // Samples are looked at in order: the first conflict is counted after the repetition was looked at.
    world.produce(std::slice::from_ref(&first)).await;
    until_absorbed(&worker, 1.0).await;
    world.produce(&[tool_use("e-1", time, GENERATOR)]).await;
    until_counted(&worker, 1.0).await;
    world.produce(std::slice::from_ref(&first)).await;
    until_absorbed(&worker, 3.0).await;
    world.produce(&[tool_use("e-1", time + TimeDelta::milliseconds(1), FORMATTER)]).await;
    until_counted(&worker, 2.0).await;
    until_stored(&world, 1).await;

    // The second line says the same as the first, and is left out for a while.
    let line = eventually(PATIENCE, "a line about the first conflict", async || {
        let log = worker.stderr();
        log.lines().find(|line| line.contains("other content")).map(str::to_owned)
    })
    .await;
    assert!(!line.contains('\u{1b}'), "{line:?}");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["source"], &line["id"]), (&json!("/case"), &json!("e-1")));
    assert_eq!((&line["tool"], &line["stored_tool"]), (&json!("uuid\u{1b}[31m-generator"), &json!("json-formatter")));
    assert_eq!((&line["fields"], &line["conflicts"]), (&json!("toolId"), &json!(1)));
    worker.stop(Duration::from_secs(20)).await;
}

#[tokio::test]
async fn a_topic_that_is_read_again_is_looked_at_in_samples_and_held_up_by_none() {
    const EVENTS: usize = 20_000;
    let world = World::new("conflict-replay").await.with_env("TELEMETRY__LOG_FORMAT", "json");
    world.run_ok("admin", &["migrate"]).await;
    let time = an_hour_ago();
    let uses = |tool| (0..EVENTS).map(|number| tool_use(&number.to_string(), time, tool)).collect::<Vec<_>>();
    world.produce(&uses(FORMATTER)).await;
    world.produce(&uses(GENERATOR)).await;
    let mut worker = world.spawn("ingest", &["run"]);
    until_absorbed(&worker, EVENTS as f64).await;
    until_stored(&world, EVENTS).await;
    e2e::load::until_committed(&world).await;
    // Each event of the second half conflicts, and a sample of at most 100 of a batch is looked at.
    let line = eventually(PATIENCE, "a line about conflicts", async || {
        let log = worker.stderr();
        log.lines().find(|line| line.contains("other content")).map(str::to_owned)
    })
    .await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert!((1..=100).contains(&line["conflicts"].as_u64().unwrap()), "{line}");
    let counted = worker.metric("devtoolkit_ingest_conflicting_duplicates_total").await.unwrap();
    assert!(counted <= EVENTS as f64 / 10.0, "{counted} of {EVENTS} were looked at");
    worker.stop(Duration::from_secs(20)).await;
}
