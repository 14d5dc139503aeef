//! Wrong settings and missing servers: one clear message, and the exit code that scripts rely on.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::net::TcpListener;

use e2e::servers::free_port;
use e2e::world::World;

async fn ingest(world: &World) -> (i32, String) {
    world.run_fail("ingest", &["run", "--until-caught-up"]).await
}

#[tokio::test]
async fn an_unknown_key_is_named() {
    let world = World::new("unknown-key").await.with_env("INGEST__BATCH_EVENT", "5");
    let (code, message) = ingest(&world).await;
    assert_eq!(code, 2);
    assert!(message.contains("batch_event") && message.contains("environment"), "{message}");
    let file = world.directory().join("analytics.toml");
    std::fs::write(&file, "[kafka]\nbroker = \"x\"\n").unwrap();
    let (code, message) = world.run_fail("aggregator", &["status", "--config", file.to_str().unwrap()]).await;
    assert_eq!(code, 2);
    assert!(message.contains("broker") && message.contains("analytics.toml"), "{message}");
}

#[tokio::test]
async fn values_that_would_fail_later_are_refused_at_the_start() {
    for (key, value, setting) in [
        ("INGEST__DRAIN_TIMEOUT", "584542046090y", "ingest.drain_timeout"),
        ("AGGREGATOR__REFRESH", "99999999999999s", "aggregator.refresh"),
        ("KAFKA__TOPIC", &*"t".repeat(241), "kafka.topic"),
        ("MONGODB__DATABASE", "a.b", "mongodb.database"),
        ("MONGODB__DATABASE", &*"d".repeat(64), "mongodb.database"),
        ("TELEMETRY__LISTEN", "9999", "telemetry.listen"),
        ("TELEMETRY__LISTEN", ":9999", "telemetry.listen"),
    ] {
        let world = World::new("later").await.with_env(key, value);
        let (code, message) = world.run_fail("ingest", &["check-config"]).await;
        assert_eq!(code, 2, "{key}={value}: {message}");
        assert!(message.contains(setting) && message.contains("expected"), "{key}={value}: {message}");
    }
}

#[tokio::test]
async fn a_missing_settings_file_is_named() {
    let world = World::new("no-file").await;
    let (code, message) = world.run_fail("ingest", &["check-config", "--config", "/nowhere.toml"]).await;
    assert_eq!(code, 2);
    assert!(message.contains("/nowhere.toml"), "{message}");
}

#[tokio::test]
async fn a_bad_uri_is_wrong_usage_and_not_shown() {
    let world = World::new("bad-uri").await.with_env("MONGODB__URI", "mongo://u:hunter2@host");
    let (code, message) = ingest(&world).await;
    assert_eq!(code, 2);
    assert!(message.contains("mongodb.uri") && message.contains("DEVTOOLKIT__MONGODB__URI"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let world = World::new("port-in-use").await.with_env("TELEMETRY__LISTEN", &address);
    let (code, message) = ingest(&world).await;
    assert_eq!(code, 1);
    assert!(message.contains(&address) && message.contains("DEVTOOLKIT__TELEMETRY__LISTEN"), "{message}");
    assert!(message.contains("ss -ltnp") && message.contains("check-ready"), "{message}");
}

#[tokio::test]
async fn a_program_that_is_stopped_hangs_and_is_not_taken_for_one_that_does_not_run() {
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let world = World::new("stopped").await.with_env("TELEMETRY__LISTEN", &address);
    world.run_ok("admin", &["migrate"]).await;
    let mut worker = world.spawn("ingest", &["run"]);
    worker.get("/healthz/live").await;
    worker.process.pause().unwrap();
    let (code, message) = world.run_fail("ingest", &["check-ready"]).await;
    assert_eq!(code, 1);
    assert!(message.contains(&address) && message.contains("hangs") && !message.contains("running?"), "{message}");
    let (code, message) = world.run_fail("ingest", &["run"]).await;
    assert_eq!(code, 1);
    assert!(message.contains("Address already in use") && message.contains("hangs"), "{message}");
    worker.process.resume().unwrap();
}

#[tokio::test]
async fn a_program_that_does_not_run_is_not_ready() {
    let nobody = format!("127.0.0.1:{}", free_port().unwrap());
    let world = World::new("nobody").await.with_env("TELEMETRY__LISTEN", &nobody);
    for program in ["ingest", "aggregator"] {
        let (code, message) = world.run_fail(program, &["check-ready"]).await;
        assert_eq!(code, 1);
        assert!(message.contains(&nobody) && message.contains("running"), "{message}");
    }
}

#[tokio::test]
async fn a_mongodb_that_is_not_there_is_named() {
    let world = World::new("no-mongodb")
        .await
        .with_env("MONGODB__URI", "mongodb://u:hunter2@127.0.0.1:1/?replicaSet=rs0")
        .with_env("MONGODB__SERVER_SELECTION_TIMEOUT", "1s");
    let (code, message) = ingest(&world).await;
    assert_eq!(code, 1);
    assert!(message.contains("MongoDB at 127.0.0.1:1 does not answer") && !message.contains("hunter2"), "{message}");
}

#[tokio::test]
async fn a_kafka_that_is_not_there_is_named() {
    let world = World::new("no-kafka").await;
    world.run_ok("admin", &["migrate"]).await;
    let world = world.with_env("KAFKA__BROKERS", "127.0.0.1:1");
    let (code, message) = ingest(&world).await;
    assert_eq!(code, 1);
    assert!(message.contains("Kafka at 127.0.0.1:1 does not answer"), "{message}");
}

#[tokio::test]
async fn a_missing_topic_names_the_command_that_makes_it() {
    let world = World::new("no-topic").await;
    world.run_ok("admin", &["migrate"]).await;
    let world = world.with_env("KAFKA__TOPIC", "no-such-topic");
    let (code, message) = ingest(&world).await;
    assert_eq!(code, 1);
    assert!(message.contains("no-such-topic") && message.contains("admin migrate"), "{message}");
}

#[tokio::test]
async fn a_missing_collection_names_the_command_that_makes_it() {
    let world = World::new("no-collection").await;
    let (code, message) = ingest(&world).await;
    assert_eq!(code, 1);
    assert!(message.contains("usage_analytics") && message.contains("admin migrate"), "{message}");
}
