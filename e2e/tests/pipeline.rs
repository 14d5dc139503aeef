//! The whole way on real input: two days of a real access log become events, documents and two daily documents, each
//! number equal to a recount over the list of events that shares no code with the roll-up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::Command;

use bson::{Bson, Document, doc};
use common::day::Day;
use common::event::EventType;
use e2e::recount;
use e2e::servers::repository;
use e2e::topic::Message;
use e2e::world::World;
use futures::TryStreamExt;
use serde_json::Value;

/// The log's events, moved so that its second day is yesterday.
fn real_events() -> Vec<String> {
    let data = repository().join("e2e/data");
    let output = Command::new("python3")
        .arg(data.join("to_events.py"))
        .arg(data.join("access-2015-05-17_18.log"))
        .args(["--last-day", &Day::yesterday().to_string()])
        .output()
        .expect("python3, which ./dev installs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

async fn ingest(world: &World) -> String {
    world.run_ok("ingest", &["run", "--until-caught-up"]).await
}

async fn roll_up(world: &World) -> [Value; 2] {
    let (from, to) = (Day::yesterday().previous().to_string(), Day::yesterday().to_string());
    world.run_ok("aggregator", &["run", "--from", &from, "--to", &to]).await;
    let mut documents = Vec::new();
    for date in [from, to] {
        let json = world.run_ok("aggregator", &["show", "--date", &date, "--json"]).await;
        documents.push(serde_json::from_str(&json).expect("relaxed Extended JSON"));
    }
    documents.try_into().unwrap()
}

/// Without what may differ from one roll-up to the next.
fn lasting(document: &Value) -> Value {
    let mut document = document.clone();
    document.as_object_mut().unwrap().remove("updatedAt");
    document["rollup"].as_object_mut().unwrap().remove("computedAt");
    document
}

/// Every stored document, by collection and `_id`.
async fn contents(world: &World) -> BTreeMap<String, Document> {
    let mut contents = BTreeMap::new();
    for event_type in EventType::ALL {
        let collection = world.db().collection::<Document>(event_type.collection());
        let documents: Vec<Document> = collection.find(doc! {}).await.unwrap().try_collect().await.unwrap();
        for document in documents {
            let Some(Bson::ObjectId(id)) = document.get("_id") else { panic!("{document}") };
            contents.insert(format!("{} {id}", event_type.collection()), document);
        }
    }
    contents
}

#[tokio::test]
async fn the_real_log_becomes_two_daily_documents_that_a_recount_confirms() {
    let world = World::new("real-log").await;
    world.run_ok("admin", &["migrate"]).await;
    let lines = real_events();
    world.run_ok_with_input("emit", &["file", "-"], lines.join("\n").as_bytes()).await;
    let said = ingest(&world).await;
    assert!(said.contains(&format!("{} documents stored, 0 stored before, 0 dead letters", lines.len())), "{said}");

    let events: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: HashSet<_> = events.iter().map(|event| (event["source"].to_string(), event["id"].to_string())).collect();
    let first = contents(&world).await;
    assert_eq!(first.len(), ids.len(), "every event stored once");

    let documents = roll_up(&world).await;
    for document in &documents {
        let date = document["date"].as_str().unwrap();
        let expected = recount::metrics(date, &events, &[], &BTreeMap::new());
        assert_eq!(document["metrics"], expected, "{date}");
    }
    assert_eq!(documents[0]["trends"], recount::trends(&documents[0]["metrics"], None));
    assert_eq!(documents[1]["trends"], recount::trends(&documents[1]["metrics"], Some(&documents[0]["metrics"])));

    // Everything once more, the other way round, with other keys: other partitions, other batches.
    let again: Vec<Message> =
        lines.iter().rev().enumerate().map(|(n, line)| Message::new(n.to_string(), line.as_str())).collect();
    world.produce(&again).await;
    let said = ingest(&world).await;
    assert!(said.contains(&format!("0 documents stored, {} stored before, 0 dead letters", lines.len())), "{said}");
    assert_eq!(contents(&world).await, first, "a document changed");
    let rolled_again = roll_up(&world).await;
    for (document, again) in documents.iter().zip(&rolled_again) {
        assert_eq!(lasting(document), lasting(again));
    }
}

#[tokio::test]
async fn the_example_of_the_readme_is_accepted() {
    let world = World::new("readme").await;
    world.run_ok("admin", &["migrate"]).await;
    let readme = std::fs::read_to_string(Path::new(&repository()).join("README.md")).unwrap();
    let line = readme.lines().find(|line| line.starts_with(r#"{"specversion""#)).expect("an event in the README");
    let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    world.run_ok_with_input("emit", &["file", "-"], line.replace("$now", &now).as_bytes()).await;
    let said = ingest(&world).await;
    assert!(said.contains("1 documents stored"), "{said}");
}
