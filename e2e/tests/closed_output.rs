//! Whoever reads the output may stop reading, as `| head` does: the work goes on, and no program panics. And no text of an
//! event or of the database reaches a terminal as a command.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::fs::OpenOptions;
use std::process::{Command, Output, Stdio};

use bson::{DateTime, Document, doc, oid::ObjectId};
use common::day::Day;
use e2e::load::{bad, stored, tool_uses};
use e2e::topic::Message;
use e2e::world::World;

fn command(world: &World, program: &str, args: &[&str]) -> Command {
    let mut command = world.command(program);
    command.args(args);
    command
}

/// Runs a program whose stdout, and if `stderr` its stderr, nobody reads from the start.
async fn unread(mut command: Command, stderr: bool) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        if stderr {
            drop(child.stderr.take());
        }
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn work_is_finished_when_nobody_reads_the_output() {
    let world = World::new("closed-output").await;
    world.run_ok("admin", &["migrate"]).await;
    world.produce(&tool_uses(0, 1_000)).await;
    world.produce(&[bad(1), bad(2)]).await;
    let (from, to) = (Day::yesterday().minus(59).to_string(), Day::yesterday().to_string());
    for (program, args) in [
        ("ingest", vec!["run", "--until-caught-up"]),
        ("ingest", vec!["check-config"]),
        ("aggregator", vec!["run", "--from", &from, "--to", &to]),
        ("aggregator", vec!["status", "--last", "500"]),
        ("aggregator", vec!["show", "--date", &to]),
        ("aggregator", vec!["show", "--date", &to, "--json"]),
        ("aggregator", vec!["verify", "--date", &to]),
        ("admin", vec!["dead-letters", "list"]),
        ("admin", vec!["dead-letters", "list", "--json"]),
        ("admin", vec!["dead-letters", "replay"]),
        ("admin", vec!["storage"]),
        ("admin", vec!["suspicious"]),
        ("admin", vec!["migrate"]),
        ("emit", vec!["generate", "--events", "100", "--days", "1", "--seed", "1"]),
        ("emit", vec!["generate", "--events", "20000", "--days", "1", "--seed", "1", "--output", "-"]),
    ] {
        for stderr in [false, true] {
            let output = unread(command(&world, program, &args), stderr).await;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(0), "{program} {args:?}: {said}");
            assert!(!said.contains("panicked"), "{program} {args:?}: {said}");
        }
    }
    assert!(stored(&world).await >= 1_000);
    let days = world.db().collection::<Document>("system_analytics").count_documents(doc! {}).await.unwrap();
    assert_eq!(days, 60, "every day of the range is rolled up");
}

#[tokio::test]
async fn a_full_disk_is_an_error() {
    let world = World::new("full-disk").await;
    let mut check = command(&world, "ingest", &["check-config"]);
    check.stdout(OpenOptions::new().write(true).open("/dev/full").unwrap()).stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || check.spawn().unwrap().wait_with_output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the output could not be written whole") && said.contains("No space left"), "{said}");
}

#[tokio::test]
async fn no_text_of_an_event_or_the_database_acts_on_a_terminal() {
    const HOSTILE: &str = "a\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\nrolled up\r\u{7f}b";
    let world = World::new("hostile-text").await;
    world.run_ok("admin", &["migrate"]).await;
    let day = Day::yesterday();
    let time = day.start().to_rfc3339();
    let tool = ObjectId::new();
    let event = serde_json::json!({
        "specversion": "1.0", "id": "1", "source": "/hostile", "type": "com.devtoolkit.tool-usage.v1", "time": time,
        "data": { "toolId": tool.to_hex(), "sessionId": ObjectId::new().to_hex(), "usage": {
            "startTime": time, "endTime": time, "duration": 5, "inputSize": 1, "outputSize": 2, "success": true } },
    });
    let refused = serde_json::json!({ "specversion": "1.0", "id": HOSTILE, "source": HOSTILE, "type": HOSTILE });
    world.produce(&[Message::new(HOSTILE, event.to_string()), Message::new(HOSTILE, refused.to_string())]).await;
    let binary = Message::new("user", HOSTILE).header("ce_source", HOSTILE).header("ce_type", HOSTILE);
    world.produce(&[binary.header("ce_id", HOSTILE).header("ce_specversion", HOSTILE)]).await;
    let unchecked = doc! { "_id": tool, "name": HOSTILE, "slug": "hostile" };
    let tools = world.db().collection::<Document>("tools");
    tools.insert_one(unchecked).bypass_document_validation(true).await.unwrap();
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    world.run_ok("aggregator", &["run", "--date", &day.to_string()]).await;
    let failed =
        doc! { "$set": { "state": "failed", "lastError": HOSTILE, "attempts": 1, "rolledAt": DateTime::now() } };
    let days = world.db().collection::<Document>("rollup_days");
    days.update_one(doc! { "_id": day.to_string() }, failed).bypass_document_validation(true).await.unwrap();
    let day = day.to_string();
    for (program, args) in [
        ("aggregator", vec!["show", "--date", &day]),
        ("aggregator", vec!["show", "--date", &day, "--json"]),
        ("aggregator", vec!["status"]),
        ("aggregator", vec!["verify", "--date", &day]),
        ("admin", vec!["dead-letters", "list"]),
        ("admin", vec!["dead-letters", "list", "--json"]),
        ("admin", vec!["dead-letters", "replay", "--dry-run"]),
        ("admin", vec!["dead-letters", "replay", "--dry-run", "--json"]),
    ] {
        let finished = world.run(program, &args).await;
        let said = format!("{}{}", finished.stdout, finished.stderr);
        let acting = said.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!(acting, None, "{program} {args:?} printed it: {said:?}");
        assert!(!said.lines().any(|line| line.starts_with("rolled up\\r")), "{program} {args:?} forged a line: {said}");
    }
}
