//! The real worker on servers of its own that fail in every way: what it says, what it keeps, and that it goes on by itself.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::time::Duration;

use bson::{Document, doc};
use e2e::eventually::{PATIENCE, eventually};
use e2e::load::{bad, stored, tool_uses, tool_uses_at, until_committed, until_stored};
use e2e::servers::{Kafka, KafkaOptions, ReplicaSet, ReplicaSetOptions};
use e2e::topic;
use e2e::world::{Running, World};
use mongodb::Client;

const WITHOUT_PROGRESS: &str = "devtoolkit_ingest_without_progress_seconds";
const RETRIES: &str = "devtoolkit_ingest_insert_retries_total";

async fn servers(mongodb: ReplicaSetOptions) -> (ReplicaSet, Kafka) {
    tokio::try_join!(ReplicaSet::start(mongodb), Kafka::start(KafkaOptions::default())).unwrap()
}

async fn until_ready(worker: &Running) {
    eventually(PATIENCE, "readiness", async || {
        worker.get("/healthz/ready").await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

async fn until_not_ready(worker: &Running, reason: &str) {
    eventually(PATIENCE, reason, async || {
        let answer = worker.get("/healthz/ready").await;
        (answer.starts_with("HTTP/1.1 503") && answer.contains(reason)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_outage_of_either_server_is_told_and_waited_out() {
    let (mut mongodb, mut kafka) = servers(ReplicaSetOptions::default()).await;
    let world = World::on("truth", &mongodb.uri(), &kafka.brokers()).await;
    world.run_ok("admin", &["migrate"]).await;
    let mut worker = world.spawn("ingest", &["run"]);
    world.produce(&tool_uses(0, 1_000)).await;
    until_stored(&world, 1_000).await;
    until_ready(&worker).await;

    mongodb.member(0).kill().unwrap();
    world.produce(&tool_uses(1_000, 20_000)).await;
    until_not_ready(&worker, "MongoDB: does not take documents").await;
    eventually(PATIENCE, "reading paused", async || {
        worker.metric("devtoolkit_ingest_paused").await.filter(|paused| *paused > 0.0)
    })
    .await;
    eventually(PATIENCE, "an alarm", async || worker.metric(WITHOUT_PROGRESS).await.filter(|seconds| *seconds > 5.0))
        .await;
    mongodb.member(0).start().await.unwrap();
    until_stored(&world, 21_000).await;
    until_ready(&worker).await;
    eventually(PATIENCE, "the alarm's end", async || {
        worker.metric(WITHOUT_PROGRESS).await.filter(|seconds| *seconds < 5.0)
    })
    .await;

    kafka.kill().unwrap();
    until_not_ready(&worker, "Kafka: no broker is connected").await;
    kafka.restart().await.unwrap();
    world.produce(&tool_uses(21_000, 1_000)).await;
    until_stored(&world, 22_000).await;
    until_ready(&worker).await;
    until_committed(&world).await;
    assert!(world.read_topic(&world.dead_letter_topic()).await.is_empty(), "a good event was dead-lettered");
    worker.stop(Duration::from_secs(10)).await;
}

/// librdkafka keeps the pause of a partition that is lost. Here the worker loses its partitions while they are paused, MongoDB
/// goes on while the worker has none, and only then the partitions come back.
#[tokio::test]
async fn partitions_that_were_lost_while_paused_are_read_when_they_come_back() {
    let (mut mongodb, mut kafka) = servers(ReplicaSetOptions::default()).await;
    let world = World::on("lost-while-paused", &mongodb.uri(), &kafka.brokers()).await;
    world.run_ok("admin", &["migrate"]).await;
    let mut worker = world.spawn("ingest", &["run"]);
    world.produce(&tool_uses(0, 1_000)).await;
    until_stored(&world, 1_000).await;

    mongodb.member(0).pause().unwrap();
    world.produce(&tool_uses(1_000, 20_000)).await;
    eventually(PATIENCE, "reading paused", async || {
        worker.metric("devtoolkit_ingest_paused").await.filter(|paused| *paused > 0.0)
    })
    .await;
    worker.process.pause().unwrap();
    eventually(PATIENCE, "the group without the stopped worker", async || {
        (topic::members(world.brokers(), &world.group()).await.ok()? == 0).then_some(())
    })
    .await;
    // While the broker is stopped, the worker sees by its own clock that its session is over, and gets no partitions.
    kafka.pause().unwrap();
    worker.process.resume().unwrap();
    eventually(PATIENCE, "the loss", async || worker.stderr().contains("lost: this worker").then_some(())).await;
    mongodb.member(0).resume().unwrap();
    eventually(PATIENCE, "reading resumed", async || worker.stderr().contains("reading is resumed").then_some(()))
        .await;
    kafka.resume().unwrap();

    world.produce(&tool_uses(21_000, 1_000)).await;
    until_stored(&world, 22_000).await;
    until_committed(&world).await;
    assert!(world.read_topic(&world.dead_letter_topic()).await.is_empty(), "a good event was dead-lettered");
    worker.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_failover_in_a_three_member_set_is_passed_over() {
    let (mut mongodb, kafka) = servers(ReplicaSetOptions { members: 3, ..ReplicaSetOptions::default() }).await;
    let world = World::on("failover", &mongodb.uri(), &kafka.brokers()).await;
    world.run_ok("admin", &["migrate"]).await;
    let mut worker = world.spawn("ingest", &["run"]);
    for round in 0..3 {
        world.produce(&tool_uses(round * 10_000, 5_000)).await;
        let primary = mongodb.wait_for_primary().await.unwrap();
        mongodb.member(primary).kill().unwrap();
        world.produce(&tool_uses(round * 10_000 + 5_000, 5_000)).await;
        until_stored(&world, (round + 1) * 10_000).await;
        mongodb.member(primary).start().await.unwrap();
    }
    until_committed(&world).await;
    assert!(world.read_topic(&world.dead_letter_topic()).await.is_empty(), "a good event was dead-lettered");
    worker.stop(Duration::from_secs(10)).await;
}

/// Errors that a healthy mongod cannot be made to show are forced with its own fail points.
#[tokio::test]
async fn a_full_disk_a_lost_majority_and_a_slow_server_are_waited_out() {
    let test_commands = vec!["--setParameter".to_owned(), "enableTestCommands=1".to_owned()];
    let (mut mongodb, kafka) =
        servers(ReplicaSetOptions { extra_args: test_commands, ..ReplicaSetOptions::default() }).await;
    let world = World::on("server-errors", &mongodb.uri(), &kafka.brokers()).await;
    world.run_ok("admin", &["migrate"]).await;
    let mut worker = world.spawn("ingest", &["run"]);
    let address = mongodb.member(0).address();
    let server = Client::with_uri_str(format!("mongodb://{address}/?directConnection=true")).await.unwrap();
    let faults = [
        ("OutOfDiskSpace", doc! { "errorCode": 14_031 }),
        ("NotWritablePrimary", doc! { "errorCode": 10_107 }),
        ("a connection that breaks", doc! { "closeConnection": true }),
        (
            "the write concern",
            doc! { "writeConcernError": { "code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out" } },
        ),
        ("a slow answer", doc! { "blockConnection": true, "blockTimeMS": 3_000 }),
    ];
    let mut sent = 0;
    for (name, fault) in faults {
        let retries = worker.metric(RETRIES).await.unwrap_or(0.0);
        let mut data = doc! { "failCommands": ["insert"], "appName": "devtoolkit-analytics" };
        data.extend(fault);
        let fail_point = doc! { "configureFailPoint": "failCommand", "mode": { "times": 3 }, "data": data };
        server.database("admin").run_command(fail_point).await.unwrap();
        world.produce(&tool_uses(sent, 5_000)).await;
        sent += 5_000;
        until_stored(&world, sent).await;
        if name != "a slow answer" {
            eventually(PATIENCE, name, async || worker.metric(RETRIES).await.filter(|now| *now > retries)).await;
        }
    }
    until_committed(&world).await;
    assert!(
        world.read_topic(&world.dead_letter_topic()).await.is_empty(),
        "the server's trouble was taken for an event's"
    );
    worker.stop(Duration::from_secs(10)).await;
}

/// Batches that were sent again wait for the same majority, which comes for all of them at once: each of them has made the window
/// smaller, and when the last is taken there is room again.
#[tokio::test]
async fn reading_goes_on_when_all_batches_are_taken_at_once() {
    let extra_args = vec!["--setParameter".to_owned(), "enableTestCommands=1".to_owned()];
    let (mut mongodb, kafka) =
        servers(ReplicaSetOptions { members: 3, extra_args, ..ReplicaSetOptions::default() }).await;
    let world = World::on("all-at-once", &mongodb.uri(), &kafka.brokers()).await;
    world.run_ok("admin", &["migrate"]).await;
    let mut worker = world.spawn("ingest", &["run"]);
    until_ready(&worker).await;
    let mut sent = 0;
    for _ in 0..5 {
        let primary = mongodb.wait_for_primary().await.unwrap();
        let address = mongodb.member(primary).address();
        let server = Client::with_uri_str(format!("mongodb://{address}/?directConnection=true")).await.unwrap();
        let data = doc! { "failCommands": ["insert"], "appName": "devtoolkit-analytics", "errorCode": 11_602 };
        let fail_point = doc! { "configureFailPoint": "failCommand", "mode": { "times": 4 }, "data": data };
        server.database("admin").run_command(fail_point).await.unwrap();
        let others = [(primary + 1) % 3, (primary + 2) % 3];
        for other in others {
            mongodb.member(other).pause().unwrap();
        }
        world.produce(&tool_uses(sent, 10_000)).await;
        sent += 10_000;
        eventually(PATIENCE, "reading paused", async || {
            worker.metric("devtoolkit_ingest_paused").await.filter(|paused| *paused > 0.0)
        })
        .await;
        for other in others {
            mongodb.member(other).resume().unwrap();
        }
        until_stored(&world, sent).await;
    }
    worker.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn nothing_is_committed_past_a_dead_letter_that_is_not_taken() {
    let world = World::new("dead-letters-down").await;
    world.run_ok("admin", &["migrate"]).await;
    let mut worker = world.spawn("ingest", &["run"]);
    until_ready(&worker).await;
    let letters = world.dead_letter_topic();
    topic::delete(world.brokers(), &[&letters]).await.unwrap();
    let mut messages = tool_uses(0, 1_000);
    messages.push(bad(0));
    world.produce(&messages).await;
    until_stored(&world, 1_000).await;
    eventually(PATIENCE, "tries", async || {
        worker.metric("devtoolkit_ingest_dead_letter_retries_total").await.filter(|tries| *tries > 0.0)
    })
    .await;
    let is_behind = world.progress().await.iter().any(|(committed, end)| committed.unwrap_or(0) < *end);
    assert!(is_behind, "committed past a message that is nowhere");
    topic::create(world.brokers(), &[(&letters, 4)]).await.unwrap();
    until_committed(&world).await;
    assert_eq!(world.read_topic(&letters).await.len(), 1);
    worker.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_dead_letter_that_is_not_taken_holds_back_its_own_partition_and_is_told() {
    const WAITING: &str = "devtoolkit_ingest_dead_letters_waiting";
    let world = World::new("letters-held").await;
    world.run_ok("admin", &["migrate"]).await;
    let mut worker = world.spawn("ingest", &["run"]);
    until_ready(&worker).await;
    let letters = world.dead_letter_topic();
    // Each letter was made before the broker has it, and so it refuses each as too old.
    topic::set_config(world.brokers(), &letters, &[("message.timestamp.before.max.ms", "0")]).await.unwrap();
    // More batches with a letter than can be in flight.
    for round in 0..6 {
        let mut messages = tool_uses(round * 1_000, 1_000);
        messages.push(topic::Message { partition: Some(0), ..bad(round) });
        world.produce(&messages).await;
        until_stored(&world, (round + 1) * 1_000).await;
    }
    until_not_ready(&worker, &format!("dead letters: topic {letters} does not take letters")).await;
    let waiting = async |count: f64| {
        eventually(PATIENCE, "waiting letters", async || {
            worker.metric(WAITING).await.filter(|letters| *letters == count)
        })
        .await;
    };
    waiting(6.0).await;
    eventually(PATIENCE, "commits of the other partitions", async || {
        let progress = world.progress().await;
        progress[1..].iter().all(|(committed, end)| *end > 0 && *committed == Some(*end)).then_some(())
    })
    .await;
    let (committed, end) = world.progress().await[0];
    assert!(committed.unwrap_or(0) < end, "committed past a message that is nowhere");
    topic::set_config(world.brokers(), &letters, &[]).await.unwrap();
    until_committed(&world).await;
    until_ready(&worker).await;
    waiting(0.0).await;
    assert_eq!(world.read_topic(&letters).await.len(), 6);
    worker.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_refused_document_whose_message_is_gone_leaves_an_empty_letter() {
    let (mut mongodb, kafka) = servers(ReplicaSetOptions::default()).await;
    let world = World::on("refused-and-gone", &mongodb.uri(), &kafka.brokers()).await;
    world.run_ok("admin", &["migrate"]).await;
    // An operator's own rule, which ingest knows nothing of: it refuses each tool use of the load.
    let rule = doc! { "collMod": "usage_analytics", "validator": { "usage.duration": { "$ne": 5 } } };
    world.db().run_command(rule).await.unwrap();
    let mut worker = world.spawn("ingest", &["run"]);
    until_ready(&worker).await;
    mongodb.member(0).pause().unwrap();
    world.produce(&tool_uses(0, 10)).await;
    eventually(PATIENCE, "a batch that waits for MongoDB", async || {
        worker.metric(WITHOUT_PROGRESS).await.filter(|seconds| *seconds > 5.0)
    })
    .await;
    for (partition, (_, end)) in (0..).zip(world.progress().await) {
        topic::remove_before(world.brokers(), &world.topic(), partition, end).await.unwrap();
    }
    mongodb.member(0).resume().unwrap();
    until_committed(&world).await;
    let letters = world.read_topic(&world.dead_letter_topic()).await;
    assert_eq!(letters.len(), 10);
    for letter in letters {
        let why = letter.header_text("__connect.errors.exception.message").unwrap();
        assert!(letter.value.is_none() && why.contains("Kafka has removed the message"), "{why}");
    }
    worker.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn nothing_is_committed_past_a_late_event_whose_day_is_not_marked() {
    let test_commands = vec!["--setParameter".to_owned(), "enableTestCommands=1".to_owned()];
    let (mut mongodb, kafka) =
        servers(ReplicaSetOptions { extra_args: test_commands, ..ReplicaSetOptions::default() }).await;
    let world = World::on("unmarked", &mongodb.uri(), &kafka.brokers()).await;
    world.run_ok("admin", &["migrate"]).await;
    let mut worker = world.spawn("ingest", &["run"]);
    let address = mongodb.member(0).address();
    let server = Client::with_uri_str(format!("mongodb://{address}/?directConnection=true")).await.unwrap();
    let refuse_marks = async |mode: &str| {
        let data = doc! { "failCommands": ["update"], "errorCode": 14_031, "appName": "devtoolkit-analytics" };
        let fail_point = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
        server.database("admin").run_command(fail_point).await.unwrap();
    };
    refuse_marks("alwaysOn").await;
    let yesterday = chrono::Utc::now() - chrono::TimeDelta::days(1);
    world.produce(&tool_uses_at(yesterday, 0, 1_000)).await;
    until_stored(&world, 1_000).await;
    eventually(PATIENCE, "marks sent again", async || {
        worker.metric("devtoolkit_ingest_late_day_mark_retries_total").await.filter(|retries| *retries > 2.0)
    })
    .await;
    let committed: i64 = world.progress().await.iter().map(|(committed, _)| committed.unwrap_or(0)).sum();
    assert_eq!(committed, 0, "committed before the aggregator is told");
    refuse_marks("off").await;
    until_committed(&world).await;
    let states = world.db().collection::<Document>("rollup_days");
    let state = states.find_one(doc! { "_id": yesterday.format("%F").to_string() }).await.unwrap().unwrap();
    assert!(state.contains_key("dirtySince"), "{state}");
    worker.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_worker_that_was_stopped_past_its_session_commits_and_doubles_nothing() {
    let world = World::new("session-lost").await;
    world.run_ok("admin", &["migrate"]).await;
    let mut first = world.spawn("ingest", &["run"]);
    world.produce(&tool_uses(0, 20_000)).await;
    eventually(PATIENCE, "first documents", async || (stored(&world).await > 0).then_some(())).await;
    first.process.pause().unwrap();
    let mut second = world.spawn("ingest", &["run"]);
    // The group waits 10 s for the stopped one, then the other stores everything.
    world.produce(&tool_uses(20_000, 20_000)).await;
    until_stored(&world, 40_000).await;
    first.process.resume().unwrap();
    world.produce(&tool_uses(40_000, 5_000)).await;
    until_stored(&world, 45_000).await;
    until_committed(&world).await;
    for worker in [&mut first, &mut second] {
        worker.stop(Duration::from_secs(10)).await;
    }
}

#[tokio::test]
async fn an_eager_group_shares_and_takes_over_as_well() {
    let world = World::new("eager").await.with_env("KAFKA__PARTITION_ASSIGNMENT_STRATEGY", "range");
    world.run_ok("admin", &["migrate"]).await;
    let mut workers = vec![world.spawn("ingest", &["run"])];
    let mut sent = 0;
    for _ in 0..2 {
        world.produce(&tool_uses(sent, 10_000)).await;
        sent += 10_000;
        workers.push(world.spawn("ingest", &["run"]));
        let newest = workers.last().unwrap();
        eventually(PATIENCE, "a rebalance", async || newest.stderr().contains("assigned partitions=[").then_some(()))
            .await;
    }
    for mut worker in workers.drain(..2) {
        worker.stop(Duration::from_secs(15)).await;
        world.produce(&tool_uses(sent, 10_000)).await;
        sent += 10_000;
    }
    until_stored(&world, sent).await;
    until_committed(&world).await;
    workers[0].stop(Duration::from_secs(10)).await;
}

/// MongoDB's own hash of the collections, in the order of `_id`.
async fn content_hash(world: &World) -> Document {
    let hash = world
        .db()
        .run_command(doc! { "dbHash": 1, "collections": ["usage_analytics", "activity_logs", "health_checks"] });
    hash.await.unwrap().get_document("collections").unwrap().clone()
}

#[tokio::test]
async fn the_topic_replayed_three_times_leaves_the_same_content() {
    let world = World::new("replay").await;
    world.run_ok("admin", &["migrate"]).await;
    world.produce(&tool_uses(0, 20_000)).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    let before = content_hash(&world).await;
    assert!(before.contains_key("usage_analytics"), "{before}");
    for replay in 1..=3 {
        let mut command = world.command("ingest");
        command.args(["run", "--until-caught-up"]);
        command.env("DEVTOOLKIT__KAFKA__GROUP_ID", format!("{}-replay-{replay}", world.group()));
        let finished = world.finish("ingest", command).await;
        assert!(finished.stdout.contains("0 documents stored, 20000 stored before, 0 dead letters"), "{finished:?}");
        assert_eq!(content_hash(&world).await, before, "replay {replay}");
    }
}
