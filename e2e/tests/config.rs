//! `admin config`: settings of the application with their rules, versions, history and secrets.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Document, doc};
use common::configuration::store::{self, ConfigurationError, Edit, Editor};
use common::keyring::Keyring;
use common::secrets::open_value;
use e2e::eventually::{PATIENCE, eventually};
use e2e::world::World;
use futures::TryStreamExt as _;
use futures::future::join_all;
use serde_json::{Value, json};

async fn world(name: &str) -> World {
    let world = World::new(name).await;
    let path = world.directory().join("keyring.json");
    let world = world.with_env("SECURITY__KEYRING_FILE", path.to_str().unwrap());
    world.run_ok("admin", &["migrate"]).await;
    world.run_ok("admin", &["keys", "create"]).await;
    world
}

async fn config(world: &World, args: &[&str]) -> Value {
    let args = [&["config"], args, &["--json"]].concat();
    serde_json::from_str(&world.run_ok("admin", &args).await).unwrap()
}

async fn refused(world: &World, args: &[&str]) -> String {
    let (_, stderr) = world.run_fail("admin", &[&["config"], args].concat()).await;
    stderr
}

#[tokio::test]
async fn a_value_passes_its_rules_and_each_change_is_a_version() {
    let world = world("config-rules").await;
    let key = "ai_rate_limit_per_minute";
    assert!(refused(&world, &["get", key]).await.contains("there is no setting ai_rate_limit_per_minute"));
    assert!(refused(&world, &["set", key, "10"]).await.contains("category"));
    let made = [
        "set",
        key,
        "10",
        "--category",
        "limits",
        "--description",
        "Maximum AI API calls per minute per user",
        "--environment",
        "production",
        "--min",
        "1",
        "--max",
        "100",
        "--required",
        "true",
    ];
    let made = config(&world, &made).await;
    assert_eq!((&made["version"], &made["dataType"], &made["value"]), (&json!(1), &json!("number"), &json!(10)));
    for (args, why) in [
        (&["set", key, "500"][..], "value is 500, expected at most 100 (validation.max)"),
        (&["set", key, "ten"], "expected a number"),
        (&["set", key, "--type", "string"], "expected a text (dataType)"),
        (&["set", key, "--min", "200"], "validation.min is 200, which is above"),
        (&["set", key, "20", "--expect-version", "7"], "has version 1 now, expected version 7"),
        (&["set", key, "20", "--expect-version", "0"], "has version 1 now"),
        (&["unset", "nothing"], "there is no setting nothing"),
        (&["diff", key, "--from", "9"], "there is no version 9; there are 1"),
    ] {
        let said = refused(&world, args).await;
        assert!(said.contains(why), "{args:?}: {said}");
    }
    let admin = ObjectId::new().to_hex();
    assert_eq!(config(&world, &["set", key, "10"]).await["version"], json!(1));
    let changed = config(&world, &["set", key, "20", "--expect-version", "1", "--by", &admin]).await;
    assert_eq!(changed["lastModifiedBy"], json!(admin));
    let off = config(&world, &["unset", key]).await;
    assert_eq!((&off["version"], &off["isActive"], &off["value"]), (&json!(3), &json!(false), &json!(20)));
    let back = config(&world, &["set", key, "--max", "50"]).await;
    assert_eq!((&back["version"], &back["isActive"]), (&json!(4), &json!(true)));

    let history = config(&world, &["history", key]).await;
    let versions: Vec<_> =
        history.as_array().unwrap().iter().map(|version| (&version["version"], &version["value"])).collect();
    assert_eq!(
        versions,
        [(&json!(4), &json!(20)), (&json!(3), &json!(20)), (&json!(2), &json!(20)), (&json!(1), &json!(10))]
    );
    let diff = config(&world, &["diff", key, "--from", "1", "--to", "2"]).await;
    let fields: Vec<_> = diff["differences"].as_array().unwrap().iter().map(|found| &found["field"]).collect();
    assert_eq!(fields, [&json!("lastModifiedBy"), &json!("value")]);
    let table = world.run_ok("admin", &["config", "diff", key]).await;
    assert!(table.contains("version 3") && table.contains("validation.max"), "{table}");
    world.run_ok("admin", &["config", "history", key]).await;
    world.run_ok("admin", &["config", "get", key]).await;

    // Where it applies, and where not.
    assert_eq!(config(&world, &["list", "--environment", "production"]).await.as_array().unwrap().len(), 1);
    assert_eq!(config(&world, &["list", "--environment", "staging"]).await, json!([]));
    world.run_ok("admin", &["config", "list"]).await;
    let acts = world.run_ok("admin", &["audit", "list", "--json", "--action", "config.set"]).await;
    let acts: Vec<Value> = serde_json::from_str(&acts).unwrap();
    assert!(acts.iter().any(|act| act["who"]["user"].is_null() && act["target"]["name"] == key));
}

#[tokio::test]
async fn of_changes_at_the_same_time_one_wins_and_the_others_are_told() {
    let world = world("config-race").await;
    let key = "ingest_max_events_per_second";
    config(&world, &["set", key, "1"]).await;
    let setters = (0..6).map(|number| {
        let (database, edit) = (world.db(), Edit { value: Some((100 + number).into()), ..Edit::default() });
        let editor = Editor { user: None, expected_version: Some(1) };
        async move { store::set(database, None, key, &edit, editor).await }
    });
    let results = join_all(setters).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for lost in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(lost, ConfigurationError::Conflict { expected: 1, found: 2, .. }), "{lost}");
    }
    // The same of a setting that nobody has made yet, by the program.
    let args = ["config", "set", "ingest_user_events_per_minute", "7", "--expect-version", "0"];
    let made = join_all((0..3).map(|_| world.run("admin", &args))).await;
    assert_eq!(made.iter().filter(|finished| finished.code == Some(0)).count(), 1);
    let lost = made.iter().find(|finished| finished.code != Some(0)).unwrap();
    assert!(lost.stderr.contains("somebody changed it meanwhile"), "{}", lost.stderr);
    let kept = world.db().collection::<Document>("configuration_history").count_documents(doc! {}).await.unwrap();
    assert_eq!(kept, 1);
}

fn with_stdin(world: &World, args: &[&str], text: &str) -> Command {
    let path = world.directory().join("value");
    std::fs::write(&path, text).unwrap();
    let mut command = world.command("admin");
    command.args(args).stdin(File::open(&path).unwrap());
    command
}

#[tokio::test]
async fn a_secret_is_sealed_in_the_database_and_shown_nowhere() {
    let world = world("config-secret").await;
    let on_the_command_line =
        ["set", "ai_api_key", "hunter2", "--secret", "--category", "integrations", "--description", "Key of the model"];
    assert!(refused(&world, &on_the_command_line).await.contains("--stdin"));
    let args = [
        "config",
        "set",
        "ai_api_key",
        "--stdin",
        "--secret",
        "--category",
        "integrations",
        "--description",
        "Key of the model",
        "--pattern",
        "^hunter",
    ];
    let mut said = Vec::new();
    for (value, is_well) in [("hunter2\n", true), ("plain-4711", false), ("hunter3", true)] {
        let finished = world.finish("admin", with_stdin(&world, &args, value)).await;
        assert_eq!(finished.code == Some(0), is_well, "{}", finished.stderr);
        said.push(finished.stdout + &finished.stderr);
    }
    for args in [&["get", "ai_api_key"][..], &["list"], &["history", "ai_api_key"], &["diff", "ai_api_key"]] {
        said.push(world.run_ok("admin", &[&["config"], args].concat()).await);
        said.push(config(&world, args).await.to_string());
    }
    assert!(said.iter().any(|said| said.contains("(secret)")));
    for said in &said {
        assert!(!said.contains("hunter2") && !said.contains("hunter3") && !said.contains("plain-4711"), "{said}");
    }
    world.run_ok("admin", &["keys", "rotate"]).await;
    let keyring = Keyring::open(&world.directory().join("keyring.json")).unwrap();
    let stored = store::get(world.db(), "ai_api_key").await.unwrap().unwrap();
    assert_eq!(open_value(&keyring, "ai_api_key", &stored.value).unwrap(), "hunter3".into());
    for collection in ["system_configuration", "configuration_history", "audit_log"] {
        let documents = world.db().collection::<Document>(collection).find(doc! {}).await.unwrap();
        let documents: Vec<Document> = documents.try_collect().await.unwrap();
        assert!(!documents.is_empty() && !format!("{documents:?}").contains("hunter2"), "{collection}");
    }
    let message = refused(&world, &["set", "ai_api_key", "--max", "2"]).await;
    assert!(message.contains("not shown: it is secret"), "{message}");
}

#[tokio::test]
async fn ingest_takes_a_change_over_while_it_runs() {
    let world = world("config-live").await;
    let mut ingest = world.spawn("ingest", &["run"]);
    let says = async |ingest: &e2e::world::Running, what: &str| {
        eventually(PATIENCE, what, async || ingest.stderr().contains(what).then_some(())).await;
    };
    says(&ingest, "no limit is in force").await;
    config(&world, &["set", "ingest_max_events_per_second", "4321"]).await;
    says(&ingest, "most=4321").await;
    config(&world, &["set", "ingest_max_events_per_second", "4322"]).await;
    says(&ingest, "most=4322").await;
    ingest.stop(Duration::from_secs(20)).await;
}
