//! Nothing lost, nothing twice: the real worker on real servers that are killed, paused and shared.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::time::Duration;

use bson::{Document, doc};
use e2e::eventually::{PATIENCE, eventually};
use e2e::load::{stored, tool_uses, tool_uses_at, until_committed, until_stored};
use e2e::topic::Message;
use e2e::world::{Finished, World};

async fn assert_all_committed(world: &World) {
    until_committed(world).await;
    assert!(world.read_topic(&world.dead_letter_topic()).await.is_empty(), "a good event was dead-lettered");
}

#[tokio::test]
async fn sigterm_stores_and_commits_what_was_read() {
    let world = World::new("sigterm").await;
    world.run_ok("admin", &["migrate"]).await;
    world.produce(&tool_uses(0, 20_000)).await;
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
    world.produce(&tool_uses(0, 30_000)).await;
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
    world.produce(&tool_uses(0, 5_000)).await;
    until_stored(&world, 5_000).await;
    let mut second = world.spawn("ingest", &["run"]);
    eventually(PATIENCE, "a rebalance", async || second.stderr().contains("assigned partitions=[").then_some(())).await;
    world.produce(&tool_uses(5_000, 5_000)).await;
    until_stored(&world, 10_000).await;
    first.stop(Duration::from_secs(10)).await;
    world.produce(&tool_uses(10_000, 5_000)).await;
    until_stored(&world, 15_000).await;
    assert_all_committed(&world).await;
    second.stop(Duration::from_secs(10)).await;
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
    world.produce(&tool_uses(0, 1_000)).await;
    until_stored(&world, 1_000).await;
    world.db().collection::<Document>("system_configuration").insert_one(limit).await.unwrap();
    eventually(PATIENCE, "the limit in force", async || worker.stderr().contains("a limit is in force").then_some(()))
        .await;
    let metrics = worker.get("/metrics").await;
    let tool_limit = |metric: &str| format!("devtoolkit_ingest_{metric}{{key=\"ingest_tool_events_per_minute\"}}");
    for shown in [format!("{} 100", tool_limit("limit")), format!("{} 1", tool_limit("limit_is_live"))] {
        assert!(metrics.lines().any(|line| line == shown), "no {shown} in {metrics}");
    }
    assert!(metrics.contains(&tool_limit("limit_since_timestamp_seconds")), "{metrics}");
    // Whoever has only the command line sees the same.
    let printed = world.run_ok("ingest", &["check-config"]).await;
    let since = now.try_to_rfc3339_string().unwrap();
    for shown in [
        format!(
            "# ingest_tool_events_per_minute: 100, from system_configuration (environment all), last changed {since} (updatedAt, which a change by hand may leave); not ingest.tool_events_per_minute"
        ),
        "# ingest_user_events_per_minute: no limit, from ingest.user_events_per_minute".to_owned(),
        "tool_events_per_minute = 0  # default".to_owned(),
    ] {
        assert!(printed.lines().any(|line| line == shown), "no {shown} in {printed}");
    }
    let mut without_mongodb = world.command("ingest");
    without_mongodb.arg("check-config").env("DEVTOOLKIT__MONGODB__URI", "mongodb://127.0.0.1:9/?replicaSet=rs0");
    let Finished { code, stdout, .. } = world.finish("ingest", without_mongodb).await;
    assert!(code == Some(0) && stdout.contains("MongoDB was not read"), "{code:?}: {stdout}");
    let of_the_settings = "# ingest_tool_events_per_minute: no limit, from ingest.tool_events_per_minute";
    assert!(stdout.contains("[kafka]") && stdout.lines().any(|line| line == of_the_settings), "{stdout}");

    // The consumer takes the new rates over when it next tidies up; until then more is let through.
    let mut sent = 1_000;
    let refused = eventually(PATIENCE, "refused events", async || {
        world.produce(&tool_uses(sent, 500)).await;
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

/// The sender's time says nothing about when an event reached Kafka.
#[tokio::test]
async fn backdated_events_do_not_pass_the_limit_on_their_tool() {
    let world = World::new("backdated").await.with_env("INGEST__TOOL_EVENTS_PER_MINUTE", "10");
    world.run_ok("admin", &["migrate"]).await;
    let backdated = chrono::Utc::now() - chrono::TimeDelta::seconds(61);
    world.produce(&tool_uses_at(backdated, 0, 300)).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    let (stored, letters) = (stored(&world).await, world.read_topic(&world.dead_letter_topic()).await.len() as u64);
    assert_eq!(stored + letters, 300);
    // Ten at once, and one more for each six seconds that the run takes.
    assert!((10..100).contains(&stored), "{stored} events of a tool that may send 10 a minute");
}

/// The boards name the tool whose messages are refused, and the log names the ids that are no tool's.
#[tokio::test]
async fn refused_messages_are_counted_by_their_tool_and_unknown_tools_are_told() {
    let world = World::new("refused-tools").await;
    world.run_ok("admin", &["migrate"]).await;
    world.run_ok("admin", &["seed-demo", "--users", "2", "--tools", "2"]).await;
    let tool = world.db().collection::<Document>("tools").find_one(doc! {}).await.unwrap().unwrap();
    let (id, slug) = (tool.get_object_id("_id").unwrap(), tool.get_str("slug").unwrap());
    let worker = world.spawn("ingest", &["run"]);
    let count = async |metric: &str, tool: &str| {
        let metrics = worker.get("/metrics").await;
        let series = format!("devtoolkit_tool_{metric}_total{{tool=\"{tool}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u64>().ok())
    };
    eventually(PATIENCE, "the tools' series", async || count("refused", slug).await).await;

    let with_new_field = format!(
        r#"{{"specversion":"1.0","id":"1","source":"/formatter","type":"com.devtoolkit.tool-usage.v1","time":"{}","data":{{"toolId":"{id}","colour":"red"}}}}"#,
        chrono::Utc::now().to_rfc3339()
    );
    let no_tool = "nonsense".to_owned();
    let no_tool_of_ours = with_new_field.replace(&id.to_string(), "65a0000000000000000000ff");
    let messages = [with_new_field, no_tool, no_tool_of_ours].map(|payload| Message::new("key", payload));
    world.produce(&messages).await;
    // Their ids are in no collection.
    world.produce(&tool_uses(0, 200)).await;
    until_stored(&world, 200).await;
    eventually(PATIENCE, "refused messages by tool", async || {
        let counts =
            (count("refused", slug).await?, count("refused", "none").await?, count("refused", "unknown").await?);
        (counts == (1, 1, 1)).then_some(())
    })
    .await;
    assert_eq!(count("uses", "unknown").await, Some(200));
    let told = worker.stderr().matches("names a tool that is not in the collection `tools`").count();
    assert!((1..10).contains(&told), "told {told} times: {}", worker.stderr());
}
