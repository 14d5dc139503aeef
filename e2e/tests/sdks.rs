//! Events of CloudEvents' own SDKs are stored, whatever the language and the mode. Run by `./dev sdk-check`, which builds the
//! senders of `e2e/sdks`.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs, reason = "tests")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bson::{Document, doc};
use chrono::{SecondsFormat, Utc};
use e2e::world::World;
use futures::TryStreamExt;
use serde_json::{Value, json};

/// The senders, and the modes that each SDK offers. The SDK for Python has two interfaces.
const SENDERS: [(&str, &[&str]); 4] = [
    ("go", &["binary", "structured"]),
    ("java", &["binary", "structured"]),
    ("javascript", &["binary", "structured"]),
    ("python", &["binary", "structured", "v1-binary", "v1-structured"]),
];

/// Where the text stands that says who sent an event, by collection.
const LABELS: [(&str, &str); 3] =
    [("usage_analytics", "metadata.version"), ("activity_logs", "path"), ("health_checks", "message")];

const TOOL: &str = "65b000000000000000000001";
const SESSION: &str = "65c000000000000000000001";

fn labels(language: &str, modes: &[&str]) -> Vec<String> {
    let forms = ["object", "bytes"];
    modes.iter().flat_map(|mode| forms.map(|form| format!("{language} {mode} {form} é"))).collect()
}

/// One event of each type, as the senders read them.
fn lines(label: &str) -> Vec<String> {
    let time = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    let usage =
        json!({ "startTime": time, "endTime": time, "duration": 5, "inputSize": 1, "outputSize": 2, "success": true });
    let data = [
        (
            "tool-usage",
            json!({ "toolId": TOOL, "sessionId": SESSION, "usage": usage, "metadata": { "version": label } }),
        ),
        ("activity", json!({ "action": "page_view", "path": label })),
        ("health-check", json!({ "toolId": TOOL, "healthy": true, "message": label })),
    ];
    let words: Vec<&str> = label.split(' ').collect();
    let line = |(kind, data): (&str, Value)| {
        let attributes = json!({
            "id": format!("{label} {kind}"), "source": format!("/sdks/{}", words[0]), "time": time,
            "type": format!("com.devtoolkit.{kind}.v1"), "subject": "é", "datacontenttype": "application/json",
            "partitionkey": SESSION,
        });
        json!({ "mode": words[1], "bytes": words[2] == "bytes", "attributes": attributes, "data": data }).to_string()
    };
    data.into_iter().map(line).collect()
}

fn send(language: &str, brokers: &str, topic: &str, lines: &[String]) {
    let senders: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.dev/sdks");
    let mut command = Command::new(senders.join(language).join("send"));
    let mut sender =
        command.args([brokers, topic]).stdin(Stdio::piped()).spawn().expect("a sender: run ./dev sdk-check");
    sender.stdin.take().unwrap().write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    assert!(sender.wait().unwrap().success(), "the sender in {language} failed");
}

#[tokio::test]
#[ignore = "needs the senders that ./dev sdk-check builds"]
async fn events_of_the_official_sdks_are_stored_in_every_language_and_mode() {
    let world = World::new("sdks").await;
    world.run_ok("admin", &["migrate"]).await;
    let mut expected = BTreeMap::new();
    for (language, modes) in SENDERS {
        let labels = labels(language, modes);
        let lines: Vec<String> = labels.iter().flat_map(|label| lines(label)).collect();
        send(language, world.brokers(), &world.topic(), &lines);
        expected.extend(labels.into_iter().map(|label| (label, LABELS.len())));
    }
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;

    let letters = world.read_topic(&world.dead_letter_topic()).await;
    let refused = |name: &str| letters.iter().filter_map(|letter| letter.header_text(name)).collect::<Vec<_>>();
    assert_eq!(refused("__connect.errors.exception.message"), Vec::<String>::new());
    let mut stored = BTreeMap::<String, usize>::new();
    for (collection, field) in LABELS {
        let label = doc! { "$project": { "label": format!("${field}") } };
        let documents = world.db().collection::<Document>(collection).aggregate([label]).await.unwrap();
        for document in documents.try_collect::<Vec<_>>().await.unwrap() {
            *stored.entry(document.get_str("label").unwrap().to_owned()).or_default() += 1;
        }
    }
    assert_eq!(stored, expected);
    for (label, count) in &stored {
        println!("{label}: {count} events of 3 types");
    }
}
