//! `admin dead-letters`: what the real ingest refused is listed, shown, and replayed once.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::collections::BTreeMap;

use bson::{Document, doc};
use chrono::{SecondsFormat, TimeDelta, Utc};
use e2e::eventually::{PATIENCE, eventually};
use e2e::topic::{self, Message};
use e2e::world::{Finished, World};
use serde_json::{Value, json};

const TOOL_USAGE: &str = "com.devtoolkit.tool-usage.v1";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn event(id: &str, kind: &str, age: TimeDelta) -> Value {
    let time = (Utc::now() - age).to_rfc3339_opts(SecondsFormat::Millis, true);
    json!({
        "specversion": "1.0", "id": id, "source": format!("/tools/{id}"), "type": kind, "time": time,
        "data": { "toolId": "65b000000000000000000001", "sessionId": "65c000000000000000000001", "usage": {
            "startTime": time, "endTime": time, "duration": 5, "inputSize": 1, "outputSize": 2, "success": true } },
    })
}

fn millis_ago(age: TimeDelta) -> Option<i64> {
    Some((Utc::now() - age).timestamp_millis())
}

/// Three events that are too old for a day's limit, one of them in binary mode.
fn too_old() -> Vec<Message> {
    let sent_at = millis_ago(TimeDelta::hours(2));
    let old = |id: &str| event(id, TOOL_USAGE, TimeDelta::days(3));
    let mut first = Message::new("user-1", old("old-1").to_string()).header("traceparent", "00-1");
    first.headers.push(("traceparent".into(), Some(b"\xff\x1b[2J".to_vec())));
    first.headers.push(("null".into(), None));
    let mut second = old("old-2");
    second["traceparent"] = TRACEPARENT.into();
    let second = Message { key: None, ..Message::new("", second.to_string()) };
    let binary = old("old-3");
    let attributes = ["specversion", "id", "source", "type", "time"];
    let binary = attributes.iter().fold(Message::new("user-3", binary["data"].to_string()), |message, name| {
        message.header(&format!("ce_{name}"), binary[name].as_str().unwrap())
    });
    let binary = binary.header("ce_traceparent", TRACEPARENT);
    [first, second, binary].into_iter().map(|message| Message { timestamp: sent_at, ..message }).collect()
}

/// What no setting makes acceptable, sent ten days ago.
fn hopeless() -> Vec<Message> {
    let unknown = event("new", "com.devtoolkit.tool-usage.v2", TimeDelta::hours(1)).to_string();
    let values = [unknown.clone().into_bytes(), unknown.into_bytes(), b"\xfe\x1b[31mnot UTF-8".to_vec(), Vec::new()];
    let timestamp = millis_ago(TimeDelta::days(10));
    let mut messages: Vec<_> =
        values.into_iter().map(|value| Message { timestamp, ..Message::new("user-4", value) }).collect();
    messages.push(Message { value: None, timestamp, ..Message::new("user-5", "") });
    messages
}

/// What was sent, whatever place it got.
fn contents(messages: &[Message]) -> Vec<Message> {
    let mut contents: Vec<Message> = messages
        .iter()
        .map(|message| Message { partition: None, offset: 0, timestamp: None, ..message.clone() })
        .collect();
    contents.sort_by_key(|message| format!("{message:?}"));
    contents
}

async fn json(world: &World, arguments: &[&str]) -> Value {
    let printed = world.run_ok("admin", &[&["dead-letters"], arguments, &["--json"]].concat()).await;
    serde_json::from_str(&printed).expect("JSON")
}

async fn ingest(world: &World) -> u64 {
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    world.db().collection::<Document>("usage_analytics").count_documents(doc! {}).await.unwrap()
}

/// The letters by reason, as `list` counts them.
async fn counts(world: &World, arguments: &[&str]) -> (BTreeMap<String, u64>, u64) {
    let listed = json(world, &[&["list"], arguments].concat()).await;
    let mut counts = BTreeMap::new();
    for count in listed["counts"].as_array().unwrap() {
        *counts.entry(count["reason"].as_str().unwrap().to_owned()).or_default() += count["letters"].as_u64().unwrap();
    }
    assert_eq!(listed["letters"].as_u64().unwrap(), counts.values().sum::<u64>());
    (counts, listed["replayed"].as_u64().unwrap())
}

fn reasons<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counts.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect()
}

#[tokio::test]
async fn a_letter_is_replayed_once_and_stored_once() {
    let world = World::new("dlq-replay").await.with_env("INGEST__MAX_AGE", "1d");
    let started = Utc::now();
    world.run_ok("admin", &["migrate"]).await;
    let good = Message::new("user-1", event("good", TOOL_USAGE, TimeDelta::hours(1)).to_string());
    let old = too_old();
    world.produce(&[vec![good], old.clone(), hopeless()].concat()).await;
    let sent = world.read_topic(&world.topic()).await;
    assert_eq!(ingest(&world).await, 1);
    let hopeless_reasons = reasons([("unknown_type", 2), ("invalid_utf8", 1), ("empty_value", 1), ("tombstone", 1)]);
    let mut all = hopeless_reasons.clone();
    all.insert("too_old".to_owned(), 3);
    assert_eq!(counts(&world, &[]).await, (all.clone(), 0));

    // A dry run sends nothing, neither letters nor marks.
    let letters = world.read_topic(&world.dead_letter_topic()).await;
    let dry = json(&world, &["replay", "--reason", "too_old", "--dry-run"]).await;
    assert_eq!((&dry["replayed"], &dry["leftOut"], &dry["reasons"]), (&3.into(), &5.into(), &json!({ "too_old": 3 })));
    assert_eq!(world.read_topic(&world.topic()).await, sent);
    assert_eq!(world.read_topic(&world.dead_letter_topic()).await, letters);

    // Ingest is as it was, and would refuse each again.
    assert_eq!(
        (&dry["refusedAgain"]["too_old"]["letters"], &dry["refusedAgain"].as_object().unwrap().len()),
        (&3.into(), &1)
    );
    let printed = world.run_ok("admin", &["dead-letters", "replay", "--dry-run"]).await;
    assert!(printed.contains("ingest would refuse 2 of them again as unknown_type, such as offset "), "{printed}");

    let world = world.with_env("INGEST__MAX_AGE", "365d");
    assert_eq!(json(&world, &["replay", "--reason", "too_old", "--dry-run"]).await["refusedAgain"], json!({}));
    let replayed = json(&world, &["replay", "--reason", "too_old"]).await;
    assert_eq!((&replayed["replayed"], &replayed["replayedBefore"]), (&3.into(), &0.into()));
    let now = world.read_topic(&world.topic()).await;
    assert_eq!(contents(&now), contents(&[sent, old].concat()), "byte for byte, without error headers");
    assert_eq!(now.len(), 12);
    assert_eq!(ingest(&world).await, 4);

    // Once is once; and the others wait on.
    let again = json(&world, &["replay", "--reason", "too_old"]).await;
    assert_eq!((&again["replayed"], &again["replayedBefore"]), (&0.into(), &3.into()));
    assert_eq!(world.read_topic(&world.topic()).await.len(), 12);
    assert_eq!(counts(&world, &[]).await, (hopeless_reasons.clone(), 3));
    // They were sent days ago, and arrived just now.
    assert_eq!(counts(&world, &["--since", "1h"]).await, (hopeless_reasons.clone(), 3));
    assert_eq!(counts(&world, &["--since", "2099-01-01T00:00:00Z"]).await, (reasons([]), 0));
    let since = started.to_rfc3339();
    assert_eq!(counts(&world, &["--since", &since, "--reason", "tombstone"]).await, (reasons([("tombstone", 1)]), 0));

    let rest = json(&world, &["replay", "--since", &since]).await;
    assert_eq!((&rest["replayed"], &rest["replayedBefore"], &rest["leftOut"]), (&5.into(), &3.into(), &0.into()));
    assert_eq!(world.read_topic(&world.topic()).await.len(), 17);
    assert_eq!(json(&world, &["replay"]).await["replayed"], 0);

    // Refused again, they are new letters, with one set of error headers.
    assert_eq!(ingest(&world).await, 4);
    assert_eq!(counts(&world, &[]).await, (hopeless_reasons, 8));
    let letters = world.read_topic(&world.dead_letter_topic()).await;
    let letters = letters.iter().filter(|letter| letter.header_text("__connect.errors.stage").is_some());
    for letter in letters {
        let errors = letter.headers.iter().filter(|(name, _)| name.starts_with("__connect.errors."));
        assert_eq!(errors.count(), 6, "{:?}", letter.headers);
        assert!(letter.header_text("devtoolkit.replayed").is_none());
    }
    assert_eq!(json(&world, &["replay"]).await["replayed"], 5);
}

#[tokio::test]
async fn letters_are_listed_and_shown_so_that_a_person_can_judge_them() {
    let world = World::new("dlq-show").await.with_env("INGEST__MAX_AGE", "1d");
    world.run_ok("admin", &["migrate"]).await;
    let empty = world.run_ok("admin", &["dead-letters", "list"]).await;
    assert_eq!(empty, format!("no such letters on topic {}\n", world.dead_letter_topic()));
    world.produce(&[too_old(), hopeless()].concat()).await;
    ingest(&world).await;

    let Finished { stdout: listed, stderr, .. } = world.run("admin", &["dead-letters", "list", "--limit", "4"]).await;
    assert_eq!(stderr, "");
    let (counts, newest) = listed.split_once("\n\n").unwrap();
    let first = counts.lines().nth(2).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(first[..3], ["unknown_type", "/tools/new", "2"], "{listed}");
    assert!(counts.contains("(unreadable)"), "{listed}");
    assert!(newest.contains("8 letters on topic") && newest.contains("the newest 4 shown"), "{listed}");
    let arrivals = newest.lines().skip(2).take(4).map(|line| line.split_whitespace().nth(2).unwrap());
    assert!(arrivals.is_sorted_by(|newer, older| newer >= older), "{listed}");

    let letters = world.read_topic(&world.dead_letter_topic()).await;
    let place = |key: Option<&str>, reason: &str| {
        let is_meant = |letter: &&Message| {
            letter.key.as_deref() == key.map(str::as_bytes)
                && letter.header_text("__connect.errors.exception.class.name").as_deref() == Some(reason)
        };
        let letter = letters.iter().find(is_meant).unwrap();
        [letter.partition.unwrap().to_string(), letter.offset.to_string()]
    };
    let show = async |place: &[String; 2]| world.run_ok("admin", &["dead-letters", "show", &place[0], &place[1]]).await;
    let old = place(Some("user-1"), "too_old");
    let shown = show(&old).await;
    for part in [
        "reason     too_old\n",
        "stage      decode\n",
        "arrived at 2",
        "sent at    2",
        "replayed   no\n",
        "source     /tools/old-1\n",
        "type       com.devtoolkit.tool-usage.v1\n",
        "trace id   (not told)\n",
        "key        user-1\n",
        "  traceparent: 00-1\n",
        "  traceparent: \\xff\\x1b[2J\n",
        "  null: (null)\n",
        "bytes, JSON)\n{\n  \"specversion\": \"1.0\",\n",
        "      \"success\": true\n    }\n  }\n}\n",
    ] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    assert!(shown.contains(&format!("came from  topic {}, partition ", world.topic())), "{shown}");
    let shown = show(&place(Some("user-4"), "invalid_utf8")).await;
    assert!(shown.contains("bytes, not UTF-8)\n\\xfe\\x1b[31mnot UTF-8\n") && !shown.contains('\u{1b}'), "{shown}");
    assert!(show(&place(Some("user-5"), "tombstone")).await.contains("no value (a tombstone)"));
    assert!(show(&place(Some("user-4"), "empty_value")).await.contains("an empty value"));
    let structured = show(&place(None, "too_old")).await;
    assert!(structured.contains(&format!("trace id   {TRACE}\nkey        (none)\n")), "{structured}");
    let binary = place(Some("user-3"), "too_old");
    assert_eq!(json(&world, &["show", &binary[0], &binary[1]]).await["traceId"], TRACE);

    world.run_ok("admin", &["dead-letters", "replay", "--reason", "too_old"]).await;
    assert!(show(&old).await.contains("replayed   yes\n"));
    let shown = json(&world, &["show", "--partition", &old[0], "--offset", &old[1]]).await;
    assert_eq!(
        (&shown["replayed"], &shown["errors"]["stage"], &shown["key"]),
        (&true.into(), &"decode".into(), &"user-1".into())
    );
    assert_eq!(shown["headers"][1][1]["$binary"]["base64"], "/xtbMko=");
    assert_eq!(shown["headers"][2], json!(["null", null]));
}

#[tokio::test]
async fn wrong_usage_is_told() {
    let world = World::new("dlq-usage").await;
    let (code, stderr) = world.run_fail("admin", &["dead-letters", "replay", "--reason", "to_old"]).await;
    assert!(
        code == 2 && stderr.contains("to_old") && stderr.contains("too_old") && stderr.contains("unknown_type"),
        "{stderr}"
    );
    let (code, stderr) = world.run_fail("admin", &["dead-letters", "list", "--since", "yesterday"]).await;
    assert!(code == 2 && stderr.contains("yesterday") && stderr.contains("7d"), "{stderr}");
    for wrong in
        [vec![], vec!["1"], vec!["--partition", "1"], vec!["1", "x"], vec!["1", "2", "--offset", "3"], vec!["-1", "2"]]
    {
        let (code, stderr) = world.run_fail("admin", &[vec!["dead-letters", "show"], wrong.clone()].concat()).await;
        assert_eq!(code, 2, "{wrong:?} {stderr}");
    }
    let (code, stderr) = world.run_fail("admin", &["dead-letters", "show", "7", "0"]).await;
    assert!(code == 1 && stderr.contains("there is no partition 7"), "{stderr}");
    let (code, stderr) = world.run_fail("admin", &["dead-letters", "show", "1", "0"]).await;
    assert!(code == 1 && stderr.contains("is empty"), "{stderr}");
    let mark =
        Message { partition: Some(1), key: None, value: None, ..Message::default() }.header("devtoolkit.replayed", "0");
    topic::produce(world.brokers(), &world.dead_letter_topic(), &[mark]).await.unwrap();
    let (code, stderr) = world.run_fail("admin", &["dead-letters", "show", "1", "0"]).await;
    assert!(code == 1 && stderr.contains("is no letter"), "{stderr}");
    let (code, stderr) = world.run_fail("admin", &["dead-letters", "show", "1", "9"]).await;
    assert!(code == 1 && stderr.contains("holds offsets 0 to 0: there is no 9"), "{stderr}");
    let world = world.with_env("KAFKA__TOPIC", "no-such-topic");
    let (code, stderr) = world.run_fail("admin", &["dead-letters", "list"]).await;
    assert!(code == 1 && stderr.contains("no-such-topic.dlq") && stderr.contains("admin migrate"), "{stderr}");
}

fn letter(key: String, value: impl Into<Vec<u8>>) -> Message {
    Message::new(key, value)
        .header("__connect.errors.stage", "decode")
        .header("__connect.errors.exception.class.name", "too_old")
}

#[tokio::test]
async fn a_killed_replay_loses_nothing_and_the_next_goes_on() {
    const LETTERS: usize = 60_000;
    let world = World::new("dlq-kill").await;
    let letters: Vec<_> = (0..LETTERS).map(|number| letter(number.to_string(), format!("value {number}"))).collect();
    topic::produce(world.brokers(), &world.dead_letter_topic(), &letters).await.unwrap();
    let sent = async || -> i64 {
        let progress = topic::progress(world.brokers(), &world.topic(), &world.group()).await.unwrap();
        progress.iter().map(|(_, end)| end).sum()
    };
    let mut running = world.spawn("admin", &["dead-letters", "replay"]);
    eventually(PATIENCE, "replayed letter", async || (sent().await > 0).then_some(())).await;
    running.process.kill().unwrap();
    drop(running);

    let replayed = json(&world, &["replay"]).await["replayed"].as_u64().unwrap();
    let repeated = sent().await - LETTERS as i64;
    println!("{repeated} letters sent twice, {replayed} after the kill");
    assert!((0..=1_000).contains(&repeated));
    let mut keys: Vec<_> =
        world.read_topic(&world.topic()).await.into_iter().map(|message| message.key.unwrap()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), LETTERS, "every letter is on the topic");
    assert_eq!(json(&world, &["replay"]).await["replayed"], 0);
}

#[tokio::test]
async fn what_the_topic_would_lose_or_refuse_is_dealt_with() {
    let world = World::new("dlq-limits").await;
    let create_time = ("message.timestamp.type", "CreateTime");
    set_config(&world, &world.topic(), &[create_time, ("retention.ms", "3600000"), ("max.message.bytes", "2000")])
        .await;
    let at = |message: Message, age| Message { timestamp: millis_ago(age), ..message };
    let noise: Vec<u8> = (0..20_000).map(|_| rand::random()).collect();
    let fine = (0..50).map(|number| {
        let noise: Vec<u8> = (0..500).map(|_| rand::random()).collect();
        at(letter(format!("fine-{number}"), noise), TimeDelta::minutes(1))
    });
    let others = [at(letter("old".into(), "x"), TimeDelta::days(2)), letter("large".into(), noise)];
    let letters: Vec<_> = others.into_iter().chain(fine).collect();
    topic::produce(world.brokers(), &world.dead_letter_topic(), &letters).await.unwrap();

    let (code, stderr) = world.run_fail("admin", &["dead-letters", "replay"]).await;
    assert!(code == 1 && stderr.contains("not taken by Kafka: 1 letter,"), "{stderr}");
    let sent = world.read_topic(&world.topic()).await;
    assert_eq!(sent.len(), 51, "a letter too large does not keep back the others");
    let old = sent.iter().find(|message| message.key.as_deref() == Some(b"old")).unwrap();
    let age = Utc::now().timestamp_millis() - old.timestamp.unwrap();
    assert!(age < 120_000, "Kafka could remove it before ingest has read it");
    assert_eq!(counts(&world, &[]).await, (reasons([("too_old", 1)]), 51));
    set_config(&world, &world.topic(), &[("retention.ms", "3600000")]).await;
    assert_eq!(json(&world, &["replay"]).await["replayed"], 1);
}

async fn set_config(world: &World, topic: &str, entries: &[(&str, &str)]) {
    topic::set_config(world.brokers(), topic, entries).await.unwrap();
}

#[tokio::test]
async fn a_letter_that_holds_a_part_is_shown_as_one_and_not_replayed() {
    let world = World::new("dlq-cut").await;
    world.run_ok("admin", &["migrate"]).await;
    // A topic of an earlier version takes what is small when it is compressed.
    set_config(&world, &world.topic(), &[("message.timestamp.type", "LogAppendTime")]).await;
    let large = Message::new("large", format!("{{{}", "x".repeat(3_000_000)));
    let messages = [large, Message::new("small", "{")];
    topic::produce_with(world.brokers(), &world.topic(), &messages, &[("compression.type", "gzip")]).await.unwrap();
    ingest(&world).await;
    assert_eq!(counts(&world, &[]).await, (reasons([("invalid_json", 1), ("too_large", 1)]), 0));
    let letters = world.read_topic(&world.dead_letter_topic()).await;
    let letter = letters.iter().find(|letter| letter.key.as_deref() == Some(b"large")).unwrap();
    let place = [letter.partition.unwrap().to_string(), letter.offset.to_string()];
    let shown = world.run_ok("admin", &["dead-letters", "show", &place[0], &place[1]]).await;
    for part in ["holds only a part of its message", "  value.bytes: 3000001\n", "  value.sha256: "] {
        assert!(shown.contains(part), "{part} is missing in {}", &shown[..shown.len().min(3_000)]);
    }
    assert_eq!(json(&world, &["show", &place[0], &place[1]]).await["original"]["value.bytes"], "3000001");
    let replayed = json(&world, &["replay"]).await;
    assert_eq!((&replayed["replayed"], &replayed["cut"]), (&1.into(), &1.into()));
    let printed = world.run_ok("admin", &["dead-letters", "replay"]).await;
    assert!(printed.contains("1 letter not sent: cut to what the dead-letter topic takes"), "{printed}");
    assert_eq!(counts(&world, &[]).await, (reasons([("too_large", 1)]), 1), "it is not marked as replayed");
}

#[tokio::test]
async fn the_letter_of_an_old_message_outlives_the_topics_retention() {
    let world = World::new("dlq-old").await;
    world.run_ok("admin", &["migrate"]).await;
    // As a topic that was made before messages were dated by arrival.
    set_config(&world, &world.topic(), &[("message.timestamp.type", "CreateTime")]).await;
    let seconds_for_milliseconds = Some(Utc::now().timestamp());
    let oops = |id: &str| event(id, "com.devtoolkit.oops.v1", TimeDelta::zero()).to_string();
    let sent: Vec<_> = [millis_ago(TimeDelta::days(400)), seconds_for_milliseconds]
        .into_iter()
        .map(|timestamp| Message { timestamp, ..Message::new("key", oops("old")) })
        .collect();
    world.produce(&sent).await;
    ingest(&world).await;
    assert_eq!(counts(&world, &["--since", "1h"]).await, (reasons([("unknown_type", 2)]), 0));
    let letters = world.read_topic(&world.dead_letter_topic()).await;
    let mut times: Vec<_> =
        letters.iter().map(|letter| letter.header_text("devtoolkit.timestamp").unwrap().parse().ok()).collect();
    times.sort_by_key(|time| std::cmp::Reverse(*time));
    assert_eq!(times, [sent[0].timestamp, sent[1].timestamp]);
    for letter in &letters {
        assert!(
            letter.timestamp > millis_ago(TimeDelta::hours(1)),
            "Kafka would remove it at its next look: {letter:?}"
        );
    }
}

#[tokio::test]
async fn a_forged_mark_does_not_hide_letters() {
    let world = World::new("dlq-forged").await;
    world.run_ok("admin", &["migrate"]).await;
    let all: Vec<_> = (0..40).map(|number| letter(number.to_string(), "x")).collect();
    topic::produce(world.brokers(), &world.dead_letter_topic(), &all).await.unwrap();
    let forged = |text: &str, partition| {
        let mark = Message { partition: Some(partition), ..Message::default() };
        mark.header("devtoolkit.replayed", text)
    };
    // The second is as an earlier version wrote marks: it names letters that stand before it.
    let marks = ["0-9223372036854775806", "0", "0-2"].map(|text| [0, 1, 2, 3].map(|partition| forged(text, partition)));
    topic::produce(world.brokers(), &world.dead_letter_topic(), marks.as_flattened()).await.unwrap();
    topic::produce(world.brokers(), &world.dead_letter_topic(), &all).await.unwrap();
    assert_eq!(counts(&world, &[]).await, (reasons([("too_old", 80)]), 0));
    let printed = world.run_ok("admin", &["dead-letters", "list"]).await;
    assert!(printed.contains("12 marks of replays by an earlier version"), "{printed}");
    assert_eq!(json(&world, &["replay"]).await["replayed"], 80);
    assert_eq!(counts(&world, &[]).await, (reasons([]), 80), "what MongoDB says is believed");
    assert_eq!(json(&world, &["replay"]).await["replayed"], 0);

    let without_mongodb = |arguments: &[&str]| {
        let mut command = world.command("admin");
        command.args(["dead-letters"]).args(arguments);
        command.env("DEVTOOLKIT__MONGODB__URI", "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=500");
        command.env("DEVTOOLKIT__MONGODB__SERVER_SELECTION_TIMEOUT", "500ms");
        world.finish("admin", command)
    };
    let Finished { code, stdout, stderr } = without_mongodb(&["list", "--json"]).await;
    let listed: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &listed["replayed"]), (Some(0), &Value::Null), "{stderr}");
    assert!(stderr.contains("which letters were replayed is not known"), "{stderr}");
    let Finished { code, stderr, .. } = without_mongodb(&["replay"]).await;
    assert!(code == Some(1) && stderr.contains("MongoDB at"), "{code:?}: {stderr}");
}

#[tokio::test]
async fn a_replay_sends_no_more_headers_than_an_event_needs() {
    let world = World::new("dlq-headers").await;
    world.run_ok("admin", &["migrate"]).await;
    let with = |key: &str, count: usize, bytes: usize| {
        let value = "x".repeat(bytes);
        (0..count)
            .fold(letter(key.to_owned(), "x"), |letter, number| letter.header(&format!("h{number}"), value.as_str()))
    };
    let letters = [with("few", 64, 10), with("many", 65, 10), with("large", 2, 40_000)];
    topic::produce(world.brokers(), &world.dead_letter_topic(), &letters).await.unwrap();
    let replayed = json(&world, &["replay"]).await;
    assert_eq!((&replayed["replayed"], &replayed["tooManyHeaders"]), (&1.into(), &2.into()));
    let sent = world.read_topic(&world.topic()).await;
    assert_eq!((sent.len(), sent[0].key.as_deref(), sent[0].headers.len()), (1, Some(&b"few"[..]), 64));
    assert_eq!(counts(&world, &[]).await, (reasons([("too_old", 2)]), 1), "what was not sent is not marked");
}
