//! The servers that everything else is tested on are real: they store, they survive a kill, they fail over.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use bson::{Document, doc};
use e2e::eventually::{PATIENCE, eventually};
use e2e::servers::process::{command, record, stop_recorded};
use e2e::servers::{Kafka, KafkaOptions, Ownership, Process, ReplicaSet, ReplicaSetOptions};
use e2e::topic::{self, Message};
use e2e::world::World;
use mongodb::Client;
use mongodb::options::WriteConcern;
use serde_json::Value;

#[tokio::test]
async fn a_majority_write_is_acknowledged() {
    let world = World::new("majority").await;
    let things = world.db().collection::<Document>("things");
    things.insert_one(doc! { "_id": 1 }).write_concern(WriteConcern::majority()).await.unwrap();
    assert_eq!(things.count_documents(doc! {}).await.unwrap(), 1);
    let hello = world.db().run_command(doc! { "hello": 1 }).await.unwrap();
    assert_eq!(hello.get_str("setName").unwrap(), "rs0");
}

#[tokio::test]
async fn a_message_comes_back_byte_for_byte() {
    let world = World::new("roundtrip").await;
    let before = chrono::Utc::now().timestamp_millis();
    let mut sent: Vec<Message> = (0..1_000u32)
        .map(|number| Message::new(number.to_be_bytes(), vec![0xff; number as usize]).header("n", number.to_string()))
        .collect();
    sent.push(Message { key: Some(b"tombstone".into()), timestamp: Some(1_431_820_800_000), ..Message::default() });
    world.produce(&sent).await;

    let mut read = world.read_topic(&world.topic()).await;
    assert_eq!(read.iter().map(|message| message.partition).collect::<std::collections::HashSet<_>>().len(), 4);
    read.sort_by(|left, right| left.key.cmp(&right.key));
    sent.sort_by(|left, right| left.key.cmp(&right.key));
    assert_eq!(read.len(), sent.len());
    for (read, sent) in read.iter().zip(&sent) {
        assert_eq!((&read.key, &read.value, &read.headers), (&sent.key, &sent.value, &sent.headers));
        // The topic has the time of arrival, whatever the sender says.
        assert!(read.timestamp >= Some(before), "{:?}", read.timestamp);
    }
    assert!(world.read_topic(&world.dead_letter_topic()).await.is_empty());
    let ends: i64 = world.progress().await.iter().map(|(committed, end)| end - committed.unwrap_or(0)).sum();
    assert_eq!(ends, 1_001);
}

#[tokio::test]
async fn killed_servers_restart_with_their_data() {
    let options = ReplicaSetOptions::default();
    let (mut set, mut kafka) =
        tokio::try_join!(ReplicaSet::start(options), Kafka::start(KafkaOptions::default())).unwrap();
    let things = Client::with_uri_str(set.uri()).await.unwrap().database("test").collection::<Document>("things");
    things.insert_one(doc! { "_id": 1 }).write_concern(WriteConcern::majority()).await.unwrap();
    topic::create(&kafka.brokers(), &[("kept", 1)]).await.unwrap();
    topic::produce(&kafka.brokers(), "kept", &[Message::new("key", "value")]).await.unwrap();

    set.member(0).kill().unwrap();
    kafka.kill().unwrap();
    assert_eq!(set.primary().await, None);
    tokio::try_join!(set.member(0).start(), kafka.restart()).unwrap();
    set.wait_for_primary().await.unwrap();

    assert_eq!(things.count_documents(doc! {}).await.unwrap(), 1);
    let kept = topic::read(&kafka.brokers(), "kept").await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].value.as_deref(), Some(&b"value"[..]));
}

#[tokio::test]
async fn servers_end_with_their_owner_even_if_it_is_killed() {
    let world = World::new("owner").await;
    let mut command = world.command("servers");
    command.args(["with", "--", "sleep", "600"]);
    command.env("DEVTOOLKIT_TMP", world.directory());
    command.env_remove("DEVTOOLKIT__MONGODB__URI").env_remove("DEVTOOLKIT__KAFKA__BROKERS");
    let mut owner = world.start("servers", command);

    let running = eventually(PATIENCE, "servers", async || {
        let children = children(owner.process.pid());
        // mongod, Kafka, and sleep, which is started when both of them answer.
        (children.len() == 3 && children.iter().any(|child| command_line(*child).starts_with("sleep")))
            .then_some(children)
    })
    .await;
    owner.process.kill().unwrap();
    eventually(Duration::from_secs(10), "end of the servers", async || {
        running.iter().all(|child| command_line(*child).is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_watches_starts_beside_servers_that_run_and_leaves_them_running() {
    let world = World::new("up-twice").await;
    let run = world.directory().join("run");
    let servers = async |args: &[&str]| {
        let mut command = world.command("servers");
        command.arg("--run").arg(&run).args(args);
        command.env_remove("DEVTOOLKIT__MONGODB__URI").env_remove("DEVTOOLKIT__KAFKA__BROKERS");
        world.finish("servers", command).await
    };
    let status = async || serde_json::from_str::<Vec<Value>>(&servers(&["status", "--json"]).await.stdout).unwrap();
    let up = servers(&["up"]).await;
    let before = status().await;
    let monitored = servers(&["up", "--monitoring"]).await;
    let after = status().await;
    let exporter = after.iter().find(|server| server["server"] == "mongodb-exporter-0");
    let exporter = exporter.and_then(|server| server["address"].as_str()).map(|url| url.trim_start_matches("http://"));
    let mut shown = String::new();
    if let Some(exporter) = exporter {
        // The first diagnostic data come after a second.
        for _ in 0..100 {
            shown = e2e::http::get(exporter, "/metrics").await.map(|answer| answer.body).unwrap_or_default();
            if shown.contains("\nmongodb_ss_connections") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    // First of all, for they outlive a test that fails.
    let down = servers(&["down", "--wipe"]).await;
    for finished in [&up, &monitored, &down] {
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    }
    for number in 0..2 {
        assert_eq!(before[number]["pid"], after[number]["pid"], "restarted: {}", monitored.stderr);
    }
    assert!(shown.contains("\nmongodb_ss_connections"), "the exporter has no diagnostic data: {shown}");
}

#[tokio::test]
async fn a_stopped_server_has_given_its_port_back() {
    let world = World::new("port-back").await;
    let home = world.directory().to_owned();
    // Much memory: a process loses its command line, then gives back its memory, then closes its files.
    let script = format!(
        "import socket, time; memory = bytearray(b'x') * 600_000_000; s = socket.socket(); s.bind(('127.0.0.1', 0)); \
         s.listen(); open('{0}/port', 'w').write(str(s.getsockname()[1])); time.sleep(600) # {0}/",
        home.display()
    );
    let mut command = command(Path::new("python3"), Ownership::Owned);
    command.args(["-c", &script]);
    let mut process = Process::start("python3", command, &home.join("log"), None, Ownership::Owned).unwrap();
    record(&process, &home).unwrap();
    let port =
        eventually(PATIENCE, "the port", async || std::fs::read_to_string(home.join("port")).ok()?.parse::<u16>().ok())
            .await;
    assert!(stop_recorded(&home, Duration::from_secs(30)).await.unwrap());
    TcpListener::bind(("127.0.0.1", port)).unwrap();
    assert!(process.exited().unwrap().is_some());
}

fn children(parent: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists: String =
        tasks.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default()).collect();
    lists.split_whitespace().flat_map(str::parse).collect()
}

/// Empty when the process is gone.
fn command_line(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).into_owned()
}

#[tokio::test]
async fn another_member_takes_over_from_a_killed_primary() {
    let options = ReplicaSetOptions { members: 3, ..ReplicaSetOptions::default() };
    let mut set = ReplicaSet::start(options).await.unwrap();
    let things = Client::with_uri_str(set.uri()).await.unwrap().database("test").collection::<Document>("things");
    things.insert_one(doc! { "_id": 1 }).write_concern(WriteConcern::majority()).await.unwrap();

    let first = set.primary().await.unwrap();
    set.member(first).kill().unwrap();
    let second = eventually(PATIENCE, "new primary", async || set.primary().await).await;
    assert_ne!(first, second);
    things.insert_one(doc! { "_id": 2 }).write_concern(WriteConcern::majority()).await.unwrap();
    assert_eq!(things.count_documents(doc! {}).await.unwrap(), 2);
}
