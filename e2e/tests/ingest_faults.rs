//! Nothing lost, nothing twice: the real worker on real servers that are killed, paused and shared.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::time::Duration;

use bson::{Document, doc};
use e2e::eventually::eventually;
use e2e::servers::{Kafka, KafkaOptions, ReplicaSet, ReplicaSetOptions};
use e2e::topic::Message;
use e2e::world::World;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(120);

fn events(from: usize, count: usize) -> Vec<Message> {
    let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let event = |number: usize| {
        let user = format!("65a0{:020x}", number % 97);
        let usage = json!({ "startTime": now, "endTime": now, "duration": 5, "inputSize": 1, "outputSize": 2, "success": true });
        let data = json!({ "userId": user, "toolId": "65b000000000000000000001", "sessionId": "65c000000000000000000001", "usage": usage });
        let event = json!({ "specversion": "1.0", "id": number.to_string(), "source": "/faults", "type": "com.devtoolkit.tool-usage.v1", "time": now, "data": data });
        Message::new(user, event.to_string())
    };
    (from..from + count).map(event).collect()
}

async fn stored(world: &World) -> u64 {
    world.db().collection::<Document>("usage_analytics").count_documents(doc! {}).await.unwrap_or(0)
}

async fn until_stored(world: &World, count: u64) {
    eventually(PATIENCE, &format!("{count} documents"), async || (stored(world).await >= count).then_some(())).await;
    assert_eq!(stored(world).await, count, "stored more than was sent");
}

async fn assert_all_committed(world: &World) {
    eventually(PATIENCE, "commit of the last offset", async || {
        let progress = world.progress().await;
        progress.iter().all(|(committed, end)| committed.unwrap_or(0) == *end).then_some(())
    })
    .await;
    assert!(world.read_topic(&world.dead_letter_topic()).await.is_empty(), "a good event was dead-lettered");
}

#[tokio::test]
async fn sigterm_stores_and_commits_what_was_read() {
    let world = World::new("sigterm").await;
    world.run_ok("admin", &["migrate"]).await;
    world.produce(&events(0, 20_000)).await;
    let mut worker = world.spawn("ingest", &["run"]);
    eventually(PATIENCE, "first documents", async || (stored(&world).await > 0).then_some(())).await;
    worker.stop(Duration::from_secs(10)).await;
    let committed: i64 = world.progress().await.iter().map(|(committed, _)| committed.unwrap_or(0)).sum();
    assert_eq!(committed as u64, stored(&world).await, "all that is stored is committed, so nothing is replayed");
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    assert_eq!(stored(&world).await, 20_000);
    assert_all_committed(&world).await;
}

#[tokio::test]
async fn a_killed_worker_loses_and_doubles_nothing() {
    let world = World::new("sigkill").await;
    world.run_ok("admin", &["migrate"]).await;
    world.produce(&events(0, 30_000)).await;
    for round in 1..=3 {
        let mut worker = world.spawn("ingest", &["run"]);
        let wanted = round * 4_000;
        eventually(PATIENCE, "progress", async || (stored(&world).await >= wanted).then_some(())).await;
        worker.process.kill().unwrap();
    }
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    assert_eq!(stored(&world).await, 30_000);
    assert_all_committed(&world).await;
}

#[tokio::test]
async fn two_workers_share_the_partitions_and_one_takes_over_when_the_other_goes() {
    let world = World::new("two-workers").await;
    world.run_ok("admin", &["migrate"]).await;
    let mut first = world.spawn("ingest", &["run"]);
    world.produce(&events(0, 5_000)).await;
    until_stored(&world, 5_000).await;
    let mut second = world.spawn("ingest", &["run"]);
    eventually(PATIENCE, "a rebalance", async || second.stderr().contains("assigned partitions=[").then_some(())).await;
    world.produce(&events(5_000, 5_000)).await;
    until_stored(&world, 10_000).await;
    first.stop(Duration::from_secs(10)).await;
    world.produce(&events(10_000, 5_000)).await;
    until_stored(&world, 15_000).await;
    assert_all_committed(&world).await;
    second.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn an_outage_of_either_server_is_waited_out() {
    let (mut mongodb, mut kafka) =
        tokio::try_join!(ReplicaSet::start(ReplicaSetOptions::default()), Kafka::start(KafkaOptions::default()))
            .unwrap();
    let world = World::on("outage", &mongodb.uri(), &kafka.brokers()).await;
    world.run_ok("admin", &["migrate"]).await;
    let mut worker = world.spawn("ingest", &["run"]);
    world.produce(&events(0, 5_000)).await;
    until_stored(&world, 5_000).await;

    mongodb.member(0).kill().unwrap();
    world.produce(&events(5_000, 20_000)).await;
    eventually(PATIENCE, "a stalled writer", async || worker.stderr().contains("reading is paused").then_some(()))
        .await;
    mongodb.member(0).start().await.unwrap();
    mongodb.wait_for_primary().await.unwrap();
    until_stored(&world, 25_000).await;

    kafka.kill().unwrap();
    kafka.restart().await.unwrap();
    world.produce(&events(25_000, 5_000)).await;
    until_stored(&world, 30_000).await;
    assert_all_committed(&world).await;
    worker.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn limits_of_system_configuration_hold_without_a_restart() {
    let world = World::new("live-limits").await;
    world.run_ok("admin", &["migrate"]).await;
    let now = bson::DateTime::now();
    let limit = doc! {
        "key": "ingest_tool_events_per_minute", "value": 100, "category": "limits", "description": "per tool",
        "dataType": "number", "validation": { "required": true, "min": 1 }, "environment": "all", "isActive": true,
        "isSecret": false, "version": 1, "createdAt": now, "updatedAt": now,
    };
    let worker = world.spawn("ingest", &["run"]);
    world.produce(&events(0, 1_000)).await;
    until_stored(&world, 1_000).await;
    world.db().collection::<Document>("system_configuration").insert_one(limit).await.unwrap();
    eventually(PATIENCE, "the limit in force", async || {
        worker.stderr().contains("other limits are in force").then_some(())
    })
    .await;
    // The consumer takes the new rates over when it next tidies up; until then more is let through.
    let mut sent = 1_000;
    let refused = eventually(PATIENCE, "refused events", async || {
        world.produce(&events(sent, 500)).await;
        sent += 500;
        let letters = world.read_topic(&world.dead_letter_topic()).await;
        (letters.len() > 300).then_some(letters)
    })
    .await;
    let reason = refused[0].header_text("__connect.errors.exception.class.name");
    assert_eq!(reason.as_deref(), Some("rate_limited"));
    eventually(PATIENCE, "each event stored or dead-lettered", async || {
        let letters = world.read_topic(&world.dead_letter_topic()).await.len() as u64;
        (stored(&world).await + letters == sent as u64).then_some(())
    })
    .await;
}
