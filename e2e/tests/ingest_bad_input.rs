//! A bad message becomes a dead letter, byte for byte and with its reason; the good ones around it are stored.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::collections::BTreeMap;

use bson::{Document, doc};
use chrono::{Duration, SecondsFormat, Utc};
use e2e::eventually::{PATIENCE, eventually};
use e2e::load::{until_committed, until_stored};
use e2e::topic::{self, Message};
use e2e::world::World;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const TOOL: &str = "65b000000000000000000001";
const SESSION: &str = "65c000000000000000000001";

fn time(ago: Duration) -> String {
    (Utc::now() - ago).to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn good(id: &str) -> Value {
    let now = time(Duration::hours(1));
    json!({
        "specversion": "1.0", "id": id, "source": "/test", "type": "com.devtoolkit.tool-usage.v1", "time": now,
        "data": { "toolId": TOOL, "sessionId": SESSION, "usage": {
            "startTime": now, "endTime": now, "duration": 5, "inputSize": 1, "outputSize": 2, "success": true } },
    })
}

/// The good event with one thing changed, named by its JSON pointer; `None` removes it.
fn with(pointer: &str, value: Option<Value>) -> Vec<u8> {
    let mut event = good("bad");
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = if parent.is_empty() { &mut event } else { event.pointer_mut(parent).unwrap() };
    match value {
        Some(value) => parent[name] = value,
        None => drop(parent.as_object_mut().unwrap().remove(name)),
    }
    event.to_string().into_bytes()
}

fn set(pointer: &str, value: Value) -> Vec<u8> {
    with(pointer, Some(value))
}

/// Each bad value, the reason and a part of what its dead letter says.
fn bad_values() -> Vec<(&'static str, Option<Vec<u8>>, &'static str, &'static str)> {
    let whole = good("bad").to_string();
    let mut not_utf8 = whole.clone().into_bytes();
    not_utf8[20] = 0xff;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_custom = (0..20).fold(json!(1), |inner, _| json!({ "a": inner }));
    let custom = |data: Value| set("/data/metadata", json!({ "customData": data }));
    vec![
        ("broken JSON", Some(whole.as_bytes()[..whole.len() - 5].to_vec()), "invalid_json", "not JSON"),
        ("empty value", Some(Vec::new()), "empty_value", "empty"),
        ("tombstone", None, "tombstone", "tombstone"),
        ("not an object", Some(b"[1, 2]".to_vec()), "not_an_object", "is an array, expected one event"),
        ("invalid UTF-8", Some(not_utf8), "invalid_utf8", "UTF-8 after byte 20"),
        ("unknown type", Some(set("/type", json!("com.devtoolkit.tool-usage.v2"))), "unknown_type", "type: "),
        ("unknown field", Some(set("/data/toolID", json!(TOOL))), "unknown_field", "data.toolID: "),
        ("missing field", Some(with("/data/usage/success", None)), "missing_field", "data.usage.success: "),
        ("missing id", Some(with("/id", None)), "missing_field", "id: "),
        (
            "wrong type",
            Some(set("/data/usage/duration", json!("5"))),
            "wrong_type",
            "data.usage.duration: is a string, expected a whole number",
        ),
        ("null", Some(set("/data/userId", json!(null))), "wrong_type", "data.userId: is null"),
        (
            "bad ObjectId",
            Some(set("/data/toolId", json!("65b00000000000000000000g"))),
            "invalid_object_id",
            "data.toolId: ",
        ),
        ("bad date", Some(set("/data/usage/startTime", json!("yesterday"))), "invalid_date", "data.usage.startTime: "),
        ("too old", Some(set("/time", json!(time(Duration::days(366))))), "too_old", "time: "),
        ("from the future", Some(set("/time", json!(time(-Duration::hours(1))))), "in_future", "time: "),
        (
            "end before start",
            Some(set("/data/usage/startTime", json!(time(Duration::minutes(1))))),
            "end_before_start",
            "data.usage.endTime: ",
        ),
        (
            "negative size",
            Some(set("/data/usage/inputSize", json!(-1))),
            "out_of_range",
            "data.usage.inputSize: is -1, expected a whole number of bytes from 0",
        ),
        (
            "1 MB string",
            Some(set("/data/usage/errorMessage", json!("x".repeat(1_000_000)))),
            "wrong_length",
            "data.usage.errorMessage: has 1000000 characters",
        ),
        ("deep nesting", Some(format!(r#"{{"extension":{deep}}}"#).into_bytes()), "too_deep", "extension: "),
        ("deep custom data", Some(custom(deep_custom)), "too_deep", "data.metadata.customData.a."),
        ("$ in a custom key", Some(custom(json!({ "$where": 1 }))), "invalid_key", "data.metadata.customData.$where: "),
        ("NUL in a custom key", Some(custom(json!({ "a\0b": 1 }))), "invalid_key", "data.metadata.customData."),
        (
            "the same field twice",
            Some(whole.replacen("{", r#"{"id":"first","#, 1).into_bytes()),
            "duplicate_field",
            "id: is there twice",
        ),
    ]
}

#[tokio::test]
async fn each_bad_message_is_a_dead_letter_and_the_good_ones_around_it_are_stored() {
    let world = World::new("bad-input").await;
    world.run_ok("admin", &["migrate"]).await;
    let bad = bad_values();
    let started = Utc::now().timestamp_millis();
    let mut messages = Vec::new();
    for (number, (name, value, ..)) in bad.iter().enumerate() {
        messages.push(Message::new(format!("good-{number}"), good(&format!("good-{number}")).to_string()));
        let timestamp = Some(1_700_000_000_000 + number as i64);
        let message =
            Message { key: Some(name.as_bytes().to_vec()), value: value.clone(), timestamp, ..Message::default() };
        messages.push(message.header("traceparent", *name));
    }
    world.produce(&messages).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;

    let stored = world.db().collection::<Document>("usage_analytics").count_documents(doc! {}).await.unwrap();
    assert_eq!(stored, bad.len() as u64, "good events");
    let letters: BTreeMap<_, _> = world
        .read_topic(&world.dead_letter_topic())
        .await
        .into_iter()
        .map(|letter| (letter.key.clone().unwrap(), letter))
        .collect();
    assert_eq!(letters.len(), bad.len(), "dead letters");
    for (name, value, reason, message) in bad {
        let letter = &letters[name.as_bytes()];
        assert!(letter.value == value, "{name}: the value is not byte for byte what came");
        let time = letter.header_text("devtoolkit.timestamp").unwrap();
        assert!(started <= time.parse().unwrap(), "{name}: {time} is not the message's time, which is its arrival");
        assert!(letter.timestamp >= Some(started), "{name}: Kafka would remove it at once");
        assert_eq!(letter.header_text("traceparent").as_deref(), Some(name));
        assert_eq!(letter.header_text("__connect.errors.exception.class.name").as_deref(), Some(reason), "{name}");
        let said = letter.header_text("__connect.errors.exception.message").unwrap();
        assert!(said.contains(message), "{name}: {said}");
        assert_eq!(letter.header_text("__connect.errors.topic"), Some(world.topic()));
        assert_eq!(letter.header_text("__connect.errors.stage").as_deref(), Some("decode"));
        let place: Vec<i64> = ["partition", "offset"]
            .map(|part| letter.header_text(&format!("__connect.errors.{part}")).unwrap().parse().unwrap())
            .to_vec();
        assert!(place[0] < 4 && place[1] >= 0, "{name}: {place:?}");
    }
    for (committed, end) in world.progress().await {
        assert_eq!(committed.unwrap_or(0), end, "every message is accounted for");
    }
}

#[tokio::test]
async fn what_mongodb_refuses_is_read_again_and_dead_lettered() {
    let world = World::new("refused").await;
    world.run_ok("admin", &["migrate"]).await;
    // An operator's own rule, which ingest knows nothing of.
    let rule = doc! { "collMod": "usage_analytics", "validator": { "usage.duration": { "$ne": 666 } } };
    world.db().run_command(rule).await.unwrap();
    let refused = set("/data/usage/duration", json!(666));
    let mut messages: Vec<Message> = (0..50).map(|n| Message::new("k", good(&n.to_string()).to_string())).collect();
    messages.insert(20, Message::new("k", refused.clone()).header("traceparent", "trace"));
    world.produce(&messages).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;

    let stored = world.db().collection::<Document>("usage_analytics").count_documents(doc! {}).await.unwrap();
    assert_eq!(stored, 50);
    let letters = world.read_topic(&world.dead_letter_topic()).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].value.as_ref(), Some(&refused));
    assert_eq!(letters[0].header_text("traceparent").as_deref(), Some("trace"));
    assert_eq!(letters[0].header_text("__connect.errors.stage").as_deref(), Some("write"));
    assert_eq!(letters[0].header_text("__connect.errors.exception.class.name").as_deref(), Some("refused_by_database"));
}

#[tokio::test]
async fn both_modes_of_the_kafka_binding_are_read() {
    let world = World::new("modes").await;
    world.run_ok("admin", &["migrate"]).await;
    let event = good("same");
    let text = |name: &str| event[name].as_str().unwrap().to_owned();
    let structured =
        Message::new("k", event.to_string()).header("content-type", "application/cloudevents+json; charset=UTF-8");
    let binary = Message::new("k", event["data"].to_string())
        .header("ce_specversion", "1.0")
        .header("ce_id", text("id"))
        .header("ce_source", text("source"))
        .header("ce_type", text("type"))
        .header("ce_time", text("time"))
        .header("content-type", "application/json");
    let avro = Message::new("avro", "x").header("content-type", "application/cloudevents+avro");
    world.produce(&[structured, binary, avro]).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    let collection = world.db().collection::<Document>("usage_analytics");
    assert_eq!(collection.count_documents(doc! {}).await.unwrap(), 1, "the same event in both modes is one document");
    let letters = world.read_topic(&world.dead_letter_topic()).await;
    assert_eq!(letters[0].header_text("__connect.errors.exception.class.name").as_deref(), Some("unsupported_format"));
}

/// What was sent, where a letter says that it came from.
fn original<'a>(sent: &'a [Message], letter: &Message) -> &'a Message {
    let number = |part: &str| letter.header_text(&format!("__connect.errors.{part}")).unwrap().parse::<i64>().unwrap();
    let is_meant = |message: &&Message| {
        message.offset == number("offset") && message.partition.map(i64::from) == Some(number("partition"))
    };
    sent.iter().find(is_meant).unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn told(letter: &Message, name: &str) -> Option<String> {
    letter.header_text(&format!("devtoolkit.original.{name}"))
}

/// Parts of messages that are larger than a dead letter may be, each a few kilobytes on the wire.
#[tokio::test]
async fn a_letter_that_does_not_fit_is_cut_and_all_others_go_on() {
    const LARGE: usize = 3_000_000;
    let world = World::new("large-letters").await;
    world.run_ok("admin", &["migrate"]).await;
    // A topic of an earlier version: what is compressed is taken, however large it is.
    let older = [("message.timestamp.type", "LogAppendTime")];
    topic::set_config(world.brokers(), &world.topic(), &older).await.unwrap();
    let mut worker = world.spawn("ingest", &["run"]);
    let page_view = |length: usize| {
        let (time, path) = (time(Duration::hours(1)), format!("/{}", "x".repeat(length)));
        json!({
            "specversion": "1.0", "id": "large", "source": "/case", "type": "com.devtoolkit.activity.v1", "time": time,
            "data": { "action": "page_view", "path": path },
        })
        .to_string()
    };
    let many = |count: usize| {
        (0..count).fold(Message::new("many", "{"), |message, number| message.header("h", number.to_string()))
    };
    let everything =
        Message::new("k".repeat(LARGE), page_view(LARGE)).header("ce_id", "1").header("h", "x".repeat(LARGE));
    // More than can be in flight, each in a batch of its own.
    let large = [
        Message::new("value", page_view(LARGE)),
        Message::new("value", page_view(LARGE)),
        Message::new("value", page_view(LARGE)),
        Message::new("value", page_view(LARGE)),
        Message::new("more than a document", page_view(17_000_000)),
        Message::new("header", "{").header("h", "x".repeat(1_000_000)),
        Message::new("header", "{").header("h", "x".repeat(LARGE)).header("ce_id", "1"),
        many(10_000),
        many(100_000),
        Message::new("k".repeat(2_000_000), "{"),
        Message::new("k".repeat(LARGE), "{"),
        Message { key: None, value: None, ..everything.clone() },
        everything,
    ];
    let mut stored = 0;
    for message in &large {
        let good: Vec<_> =
            (0..20).map(|n| Message::new(format!("{n}"), good(&format!("{stored}-{n}")).to_string())).collect();
        stored += good.len();
        world.produce(&good).await;
        let settings = [("compression.type", "gzip"), ("message.max.bytes", "100000000")];
        topic::produce_with(world.brokers(), &world.topic(), std::slice::from_ref(message), &settings).await.unwrap();
    }
    until_stored(&world, stored).await;
    until_committed(&world).await;
    let ready = worker.get("/healthz/ready").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    worker.stop(std::time::Duration::from_secs(10)).await;

    let sent = world.read_topic(&world.topic()).await;
    let letters = world.read_topic(&world.dead_letter_topic()).await;
    assert_eq!(letters.len(), large.len());
    let mut cut = BTreeMap::<&str, usize>::new();
    for letter in &letters {
        let original = original(&sent, letter);
        assert_eq!(letter.header_text("__connect.errors.exception.class.name").as_deref(), Some("too_large"));
        let (key, value) = (original.key.as_deref(), original.value.as_deref());
        for (part, whole, kept) in [("key", key, letter.key.as_deref()), ("value", value, letter.value.as_deref())] {
            let what = format!("{part} of {:?}", large.iter().position(|large| large.key == original.key));
            assert_eq!(whole.is_some(), kept.is_some(), "{what}");
            let (whole, kept) = (whole.unwrap_or_default(), kept.unwrap_or_default());
            assert!(whole.starts_with(kept), "{what}: not the beginning");
            if kept.len() == whole.len() {
                assert_eq!(told(letter, &format!("{part}.bytes")), None, "{what}: is whole");
                continue;
            }
            *cut.entry(part).or_default() += 1;
            assert!(kept.len() > 200_000, "{what}: only {} bytes kept", kept.len());
            assert_eq!(told(letter, &format!("{part}.bytes")), Some(whole.len().to_string()), "{what}");
            assert_eq!(told(letter, &format!("{part}.sha256")), Some(sha256(whole)), "{what}");
        }
        let kept = letter
            .headers
            .iter()
            .filter(|(name, _)| !name.starts_with("__connect.") && !name.starts_with("devtoolkit."));
        let kept = kept.count();
        assert_eq!(letter.header_text("ce_id"), original.header_text("ce_id"), "a header that fits");
        if kept < original.headers.len() {
            *cut.entry("headers").or_default() += 1;
            assert_eq!(told(letter, "headers.count"), Some(original.headers.len().to_string()));
            let bytes: usize =
                original.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum();
            assert_eq!(told(letter, "headers.bytes"), Some(bytes.to_string()));
            assert_eq!(told(letter, "headers.sha256").map(|hex| hex.len()), Some(64));
        } else {
            assert_eq!(told(letter, "headers.count"), None);
        }
    }
    assert_eq!(cut, BTreeMap::from([("headers", 6), ("key", 2), ("value", 6)]));
}

/// A topic that takes less than a small letter has wrong settings. The letters wait, and nothing of them is lost.
#[tokio::test]
async fn small_letters_that_a_topic_refuses_are_counted_and_arrive_whole_once_it_takes_them() {
    let world = World::new("tiny-limit").await;
    world.run_ok("admin", &["migrate"]).await;
    topic::set_config(world.brokers(), &world.dead_letter_topic(), &[("max.message.bytes", "100")]).await.unwrap();
    let mut worker = world.spawn("ingest", &["run"]);
    let messages: Vec<Message> = (0..20).map(|n| Message::new("same partition", format!("{{\"n\": {n}"))).collect();
    world.produce(&messages).await;
    eventually(PATIENCE, "letters that wait, and are counted", async || {
        let waiting = worker.metric("devtoolkit_ingest_dead_letters_waiting").await?;
        let refused = worker.metric("devtoolkit_ingest_dead_letters_total").await?;
        (waiting == 20.0 && refused == 20.0).then_some(())
    })
    .await;
    topic::set_config(world.brokers(), &world.dead_letter_topic(), &[("max.message.bytes", "2097152")]).await.unwrap();
    until_committed(&world).await;
    worker.stop(std::time::Duration::from_secs(10)).await;

    let sent = world.read_topic(&world.topic()).await;
    let letters = world.read_topic(&world.dead_letter_topic()).await;
    assert_eq!(letters.len(), 20);
    for letter in &letters {
        assert_eq!((&letter.value, told(letter, "value.bytes")), (&original(&sent, letter).value, None));
    }
}

/// The brokers refuse a request as a whole: letters that fit must not be cut because of their neighbours.
#[tokio::test]
async fn letters_are_cut_to_what_a_topic_takes_whose_limit_was_lowered() {
    let world = World::new("lowered-limit").await;
    world.run_ok("admin", &["migrate"]).await;
    topic::set_config(world.brokers(), &world.dead_letter_topic(), &[("max.message.bytes", "20000")]).await.unwrap();
    // No compression makes them smaller.
    let noise = |length: usize| (0..length).map(|_| rand::random()).collect::<Vec<u8>>();
    let mut messages: Vec<Message> = (0..100).map(|_| Message::new("same partition", noise(500))).collect();
    messages.insert(50, Message::new("same partition", noise(100_000)));
    messages.push(Message::new("same partition", good("good").to_string()));
    world.produce(&messages).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    until_stored(&world, 1).await;
    until_committed(&world).await;

    let sent = world.read_topic(&world.topic()).await;
    let letters = world.read_topic(&world.dead_letter_topic()).await;
    assert_eq!(letters.len(), 101);
    for letter in &letters {
        let (whole, kept) = (original(&sent, letter).value.as_ref().unwrap(), letter.value.as_ref().unwrap());
        if whole.len() == 500 {
            assert_eq!((kept, told(letter, "value.bytes")), (whole, None));
        } else {
            assert!(whole.starts_with(kept) && (8_000..20_000).contains(&kept.len()), "{} bytes kept", kept.len());
            assert_eq!(told(letter, "value.bytes").as_deref(), Some("100000"));
            assert_eq!(told(letter, "value.sha256"), Some(sha256(whole)));
        }
    }
}
