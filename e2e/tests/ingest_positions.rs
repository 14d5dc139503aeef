//! Offsets that are not what a reader expects: control records, aborted messages, removed ones, a committed offset that the
//! partition does not have.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::time::Duration;

use e2e::eventually::{PATIENCE, eventually};
use e2e::load::{stored, tool_uses, until_committed, until_stored};
use e2e::topic::{self, Message};
use e2e::world::World;

const LAG: &str = "devtoolkit_ingest_lag_messages";

fn on_partition_0(messages: Vec<Message>) -> Vec<Message> {
    messages.into_iter().map(|message| Message { partition: Some(0), ..message }).collect()
}

#[tokio::test]
async fn control_records_and_aborted_messages_are_no_lag() {
    let world = World::new("transactions").await;
    world.run_ok("admin", &["migrate"]).await;
    let mut worker = world.spawn("ingest", &["run"]);
    let (brokers, name) = (world.brokers(), world.topic());
    topic::produce_in_transaction(brokers, &name, &tool_uses(0, 10), true).await.unwrap();
    topic::produce_in_transaction(brokers, &name, &tool_uses(10, 10), false).await.unwrap();
    until_stored(&world, 10).await;
    until_committed(&world).await;
    eventually(PATIENCE, "no lag", async || worker.metric(LAG).await.filter(|lag| *lag == 0.0)).await;
    worker.stop(Duration::from_secs(10)).await;

    topic::produce_in_transaction(brokers, &name, &tool_uses(20, 10), true).await.unwrap();
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    assert_eq!(stored(&world).await, 20, "an aborted message is stored, or a committed one is not");
    until_committed(&world).await;
}

#[tokio::test]
async fn events_that_kafka_removed_unread_are_counted_and_reported() {
    let world = World::new("expired").await;
    world.run_ok("admin", &["migrate"]).await;
    world.produce(&on_partition_0(tool_uses(0, 100))).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    world.produce(&on_partition_0(tool_uses(100, 100))).await;
    topic::remove_before(world.brokers(), &world.topic(), 0, 130).await.unwrap();
    let (code, stderr) = world.run_fail("ingest", &["run", "--until-caught-up"]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("Kafka removed 30 events before they were read"), "{stderr}");
    assert!(stderr.contains("partition=0 from=100 to=129"), "{stderr}");
    assert_eq!(stored(&world).await, 170, "what is still there is stored");
    until_committed(&world).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;

    // Nothing is left after the removed ones, and a worker runs.
    world.produce(&on_partition_0(tool_uses(200, 10))).await;
    topic::remove_before(world.brokers(), &world.topic(), 0, 210).await.unwrap();
    let mut worker = world.spawn("ingest", &["run"]);
    eventually(PATIENCE, "the count", async || {
        worker.metric("devtoolkit_ingest_expired_unread_total").await.filter(|count| *count == 10.0)
    })
    .await;
    until_committed(&world).await;
    worker.stop(Duration::from_secs(10)).await;
}

/// Sends `count` events after `sent` ones; returns how many were sent in all.
async fn all_are_stored(world: &World, sent: usize, count: usize) -> usize {
    world.produce(&tool_uses(sent, count)).await;
    until_stored(world, sent + count).await;
    until_committed(world).await;
    sent + count
}

/// Each rebalance pauses the partitions that a worker keeps. After it, librdkafka reads on where it believes the worker to be.
#[tokio::test]
async fn workers_that_join_and_leave_at_the_end_of_partitions_skip_no_event() {
    let world = World::new("rebalanced").await;
    world.run_ok("admin", &["migrate"]).await;
    let mut lasting = world.spawn("ingest", &["run"]);
    let mut sent = 0;
    for _ in 0..3 {
        let mut joining = world.spawn("ingest", &["run"]);
        eventually(PATIENCE, "partitions of the second worker", async || {
            joining.metric("devtoolkit_ingest_assigned_partitions").await.filter(|count| *count == 2.0)
        })
        .await;
        sent = all_are_stored(&world, sent, 100).await;
        joining.stop(Duration::from_secs(10)).await;
        sent = all_are_stored(&world, sent, 100).await;
    }
    lasting.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_committed_offset_that_the_partition_does_not_have_leaves_nothing_unread() {
    let world = World::new("other-log").await;
    world.run_ok("admin", &["migrate"]).await;
    world.produce(&on_partition_0(tool_uses(0, 100))).await;
    // Somebody else committed it; or the topic was created again, and what was committed is of the former one.
    topic::commit(world.brokers(), &world.topic(), &world.group(), 0, 1_000).await.unwrap();
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    assert_eq!(stored(&world).await, 100);
    until_committed(&world).await;
}

#[tokio::test]
async fn a_topic_that_is_created_again_under_a_worker_is_read_from_its_start() {
    let world = World::new("created-again").await;
    world.run_ok("admin", &["migrate"]).await;
    let mut worker = world.spawn("ingest", &["run"]);
    world.produce(&tool_uses(0, 1_000)).await;
    until_stored(&world, 1_000).await;
    until_committed(&world).await;
    topic::delete(world.brokers(), &[&world.topic()]).await.unwrap();
    eventually(PATIENCE, "the new topic", async || topic::create(world.brokers(), &[(&world.topic(), 4)]).await.ok())
        .await;
    world.produce(&tool_uses(1_000, 100)).await;
    until_stored(&world, 1_100).await;
    until_committed(&world).await;
    worker.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn events_that_kafka_removed_before_the_first_commit_are_counted() {
    let world = World::new("expired-first").await;
    world.run_ok("admin", &["migrate"]).await;
    // Nothing is on the topic yet, and the worker commits where it began.
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    world.produce(&on_partition_0(tool_uses(0, 100))).await;
    topic::remove_before(world.brokers(), &world.topic(), 0, 40).await.unwrap();
    let (code, stderr) = world.run_fail("ingest", &["run", "--until-caught-up"]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("Kafka removed 40 events before they were read"), "{stderr}");
    assert_eq!(stored(&world).await, 60);
}

/// Deletes the topic and creates it again, with more events than the former one had.
async fn create_again(world: &World, events: std::ops::Range<usize>) {
    topic::delete(world.brokers(), &[&world.topic()]).await.unwrap();
    eventually(PATIENCE, "the new topic", async || topic::create(world.brokers(), &[(&world.topic(), 4)]).await.ok())
        .await;
    world.produce(&tool_uses(events.start, events.len())).await;
}

#[tokio::test]
async fn a_topic_that_is_created_again_and_longer_under_a_worker_is_read_from_its_start() {
    let world = World::new("longer-again").await;
    world.run_ok("admin", &["migrate"]).await;
    let mut worker = world.spawn("ingest", &["run"]);
    world.produce(&tool_uses(0, 400)).await;
    until_stored(&world, 400).await;
    until_committed(&world).await;
    worker.process.pause().unwrap();
    create_again(&world, 400..2_400).await;
    worker.process.resume().unwrap();
    until_stored(&world, 2_400).await;
    until_committed(&world).await;
    worker.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn an_offset_committed_for_a_deleted_topic_is_not_one_of_the_new_topic() {
    let world = World::new("offsets-of-another").await;
    world.run_ok("admin", &["migrate"]).await;
    world.produce(&tool_uses(0, 400)).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    // Kafka removes a deleted topic's offsets. A worker that runs may commit them again.
    let committed = topic::commits(world.brokers(), &world.topic(), &world.group()).await.unwrap();
    create_again(&world, 400..2_400).await;
    topic::commit_all(world.brokers(), &world.group(), committed).await.unwrap();
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    assert_eq!(stored(&world).await, 2_400, "events before the old offset are left out");
    until_committed(&world).await;
}

/// Retention goes by the time that Kafka has for a message: here the sender's.
#[tokio::test]
async fn how_long_kafka_still_keeps_the_oldest_unread_event_is_shown_before_it_is_removed() {
    const LEFT: &str = "devtoolkit_ingest_retention_left_seconds";
    let world = World::new("expires-soon").await.with_env("INGEST__MAX_EVENTS_PER_SECOND", "5");
    world.run_ok("admin", &["migrate"]).await;
    let four_hours = [("message.timestamp.type", "CreateTime"), ("retention.ms", "14400000")];
    topic::set_config(world.brokers(), &world.topic(), &four_hours).await.unwrap();
    eventually(PATIENCE, "the topic's settings", async || {
        let settings = topic::settings(world.brokers(), &world.topic()).await.ok()?;
        (settings.get("retention.ms").map(String::as_str) == Some("14400000")).then_some(())
    })
    .await;
    let hour_ago = chrono::Utc::now().timestamp_millis() - 3_600_000;
    let old = |message| Message { timestamp: Some(hour_ago), ..message };
    let waiting: Vec<_> = on_partition_0(tool_uses(0, 2_000)).into_iter().map(old).collect();
    let (first, rest) = waiting.split_at(10);
    world.produce(first).await;
    let mut worker = world.spawn("ingest", &["run"]);
    let left = async |what: &str, is_right: &dyn Fn(f64) -> bool| {
        eventually(PATIENCE, what, async || worker.metric(LEFT).await.filter(|left| is_right(*left))).await
    };
    until_committed(&world).await;
    left("infinite time while nothing waits", &|left| left == f64::INFINITY).await;
    eventually(PATIENCE, "the topic's retention", async || {
        worker.metric("devtoolkit_ingest_retention_seconds").await.filter(|kept| *kept == 14_400.0)
    })
    .await;
    world.produce(rest).await;
    let shown = left("three hours", &|left| left.is_finite()).await;
    assert!((10_000.0..=10_800.0).contains(&shown), "{shown} s are left of an event of an hour ago, kept for four");
    worker.stop(Duration::from_secs(10)).await;
}
