//! `emit` on a real Kafka: what it sends, what it refuses, what it says, and that a tool never waits for it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use common::day::Day;
use common::event::{self, Action, Activity, Data, Event, HealthCheck, Timestamp};
use common::settings;
use e2e::eventually::{PATIENCE, eventually};
use e2e::servers::{Kafka, KafkaOptions};
use e2e::topic::{self, Message};
use e2e::world::World;
use emit::{Emitter, EmitterOptions, Refused};
use serde_json::Value;

const PARTITIONS: u32 = 4;

fn value(message: &Message) -> &[u8] {
    message.value.as_deref().unwrap()
}

/// The key that the event in this message must have.
fn expected_key(message: &Message) -> String {
    let headers = message.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
    event::Message { value: Some(value(message)), headers }.decode().expect("a valid event").key()
}

/// Where Kafka's Java client puts a key.
fn partition_in_java(key: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ key.len() as u32;
    let mut chunks = key.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes(chunk.try_into().unwrap()).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| tail << 8 | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^= hash >> 15;
    ((hash & 0x7fff_ffff) % PARTITIONS) as i32
}

fn sorted_values(messages: &[Message]) -> Vec<String> {
    let mut values: Vec<_> =
        messages.iter().map(|message| String::from_utf8(value(message).to_vec()).unwrap()).collect();
    values.sort_unstable();
    values
}

#[tokio::test]
async fn generated_events_arrive_exactly_as_asked_for_and_the_same_each_time() {
    let world = World::new("emit-generate").await;
    let (yesterday, today) = (Day::yesterday(), Day::today());
    let until = yesterday.to_string();
    let days = ["--days", "3", "--until", &until];
    let options =
        [&["generate", "--events", "5000", "--seed", "7", "--users", "50", "--tools", "9"][..], &days].concat();
    let summary = world.run_ok("emit", &[&options[..], &["--json"]].concat()).await;
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!((&summary["delivered"], &summary["refused"], &summary["failed"]), (&5_000.into(), &0.into(), &0.into()));

    let first = world.read_topic(&world.topic()).await;
    assert_eq!(first.len(), 5_000);
    for message in &first {
        let key = message.key.as_deref().unwrap();
        assert_eq!(std::str::from_utf8(key).unwrap(), expected_key(message));
        assert_eq!(message.partition, Some(partition_in_java(key)));
        assert_eq!(message.header_text("content-type").as_deref(), Some("application/cloudevents+json"));
    }
    let values = sorted_values(&first);
    let has_events = |day: Day| values.iter().any(|value| value.contains(&format!("\"time\":\"{day}T")));
    assert!(Day::range_inclusive(yesterday.minus(2), yesterday).all(has_events));
    assert!(!has_events(today) && !has_events(yesterday.minus(3)));

    world.run_ok("emit", &options).await;
    let mut counts: HashMap<String, u32> = HashMap::new();
    for value in sorted_values(&world.read_topic(&world.topic()).await) {
        *counts.entry(value).or_default() += 1;
    }
    assert_eq!(counts.len(), 5_000);
    assert!(counts.values().all(|count| *count == 2), "the same bytes the second time");

    let written = world.run_ok("emit", &[&options[..], &["--output", "-"]].concat()).await;
    let mut written: Vec<_> = written.lines().map(str::to_owned).collect();
    written.sort_unstable();
    assert_eq!(written, values, "what is written is what is sent");
}

#[tokio::test]
async fn lines_of_a_file_are_sent_as_they_are_and_bad_ones_are_named() {
    let world = World::new("emit-file").await;
    let generated = world.run_ok("emit", &["generate", "--events", "60", "--output", "-"]).await;
    let mut lines: Vec<String> = generated.lines().map(str::to_owned).collect();
    // White space and the order of fields are the sender's business.
    lines[10] = lines[10].replace("{\"specversion\":\"1.0\",", "{ \"x\" : [ ] , \"specversion\":\"1.0\",") + " \r";
    let good = lines.clone();
    let too_old = lines[20].replace("\"time\":\"20", "\"time\":\"19");
    lines.insert(50, "{\"specversion\":\"1.0\"".into());
    lines.insert(30, too_old.clone());
    lines.insert(20, String::new());
    lines.insert(5, "[]".into());
    let file = world.directory().join("events.ndjson");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let file = file.to_str().unwrap();

    let (code, stderr) = world.run_fail("emit", &["file", file]).await;
    assert_eq!(code, 1);
    let mut said = stderr.lines();
    let array = "line 6: not_an_object: the value is an array, expected one event as a JSON object; send each event as a \
                 message of its own";
    assert_eq!(said.next(), Some(array));
    assert!(said.next().unwrap().starts_with("line 33: too_old: time: 19"), "{stderr}");
    assert!(said.next().unwrap().starts_with("line 54: invalid_json: the value is not JSON at byte 20"), "{stderr}");
    assert_eq!(said.next(), Some("error: 3 events were refused, as said above"));
    assert_eq!(said.next(), None);
    let sent = world.read_topic(&world.topic()).await;
    let mut expected = good.clone();
    expected.sort_unstable();
    assert_eq!(sorted_values(&sent), expected);
    assert!(sent.iter().all(|message| message.key.as_deref() == Some(expected_key(message).as_bytes())));

    let (code, _) = world.run_fail("emit", &["file", "--send-invalid", file]).await;
    assert_eq!(code, 1);
    let all = world.read_topic(&world.topic()).await;
    assert_eq!(all.len(), 60 + 63);
    for bad in ["[]", &too_old, "{\"specversion\":\"1.0\""] {
        let message = all.iter().find(|message| value(message) == bad.as_bytes()).expect("sent as it is");
        assert_eq!(message.key.as_ref().unwrap().len(), 16);
    }

    let from_stdin = world.run_ok_with_input("emit", &["file", "-", "--json"], good.join("\n").as_bytes()).await;
    assert!(from_stdin.starts_with("{\"delivered\":60,\"refused\":0,\"failed\":0,"), "{from_stdin}");
}

#[tokio::test]
async fn a_file_of_another_form_is_named_as_one_and_a_byte_order_mark_is_left_out() {
    let world = World::new("emit-form").await;
    let events = world.run_ok("emit", &["generate", "--events", "3", "--output", "-"]).await;
    let parsed: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let file = world.directory().join("events.json");
    for (form, what) in [
        (serde_json::to_string_pretty(&parsed[0]).unwrap(), "a JSON object that goes on in the next lines"),
        (serde_json::to_string_pretty(&parsed).unwrap(), "a JSON array"),
    ] {
        std::fs::write(&file, form).unwrap();
        let (code, stderr) = world.run_fail("emit", &["file", file.to_str().unwrap()]).await;
        assert_eq!((code, stderr.lines().count()), (1, 1), "{stderr}");
        assert!(stderr.contains(&format!("line 1 begins {what}, expected one event a line")), "{stderr}");
    }
    std::fs::write(&file, format!("\u{feff}{}", events.replace('\n', "\r\n"))).unwrap();
    world.run_ok("emit", &["file", file.to_str().unwrap()]).await;
    assert_eq!(world.read_topic(&world.topic()).await.len(), 3);
}

#[tokio::test]
async fn a_line_too_large_for_kafka_is_named_and_the_others_are_sent() {
    let world = World::new("emit-large").await;
    let generated = world.run_ok("emit", &["generate", "--events", "3", "--output", "-"]).await;
    let huge = "x".repeat(2_000_000);
    let (code, stderr) = {
        let file = world.directory().join("events.ndjson");
        std::fs::write(&file, format!("{huge}\n{generated}")).unwrap();
        world.run_fail("emit", &["file", "--send-invalid", file.to_str().unwrap()]).await
    };
    assert_eq!(code, 1);
    assert!(
        stderr.starts_with("line 1: the event has 2000000 bytes, more than Kafka takes in one message\n"),
        "{stderr}"
    );
    assert_eq!(world.read_topic(&world.topic()).await.len(), 3);
}

#[tokio::test]
async fn what_cannot_work_is_said_in_one_message() {
    let nobody = World::new("emit-nobody").await.with_env("KAFKA__BROKERS", "127.0.0.1:1");
    let (code, stderr) = nobody.run_fail("emit", &["generate", "--events", "5"]).await;
    assert_eq!(code, 1);
    assert!(stderr.starts_with("error: Kafka at 127.0.0.1:1 does not answer: "), "{stderr}");
    assert!(stderr.contains("DEVTOOLKIT__KAFKA__BROKERS"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");

    let world = World::new("emit-usage").await.with_env("KAFKA__TOPIC", "not-there");
    let (code, stderr) = world.run_fail("emit", &["generate", "--events", "5"]).await;
    assert_eq!(code, 1);
    assert!(
        stderr.starts_with("error: topic not-there does not exist on Kafka at ") && stderr.contains("admin migrate"),
        "{stderr}"
    );

    for (options, problem) in [
        (&["generate"][..], "--events"),
        (&["generate", "--events", "5", "--days", "0"], "0 is not in 1..=3650"),
        (&["generate", "--events", "5", "--days", "100"], "too old for ingest"),
        (&["generate", "--events", "5", "--until", "2999-01-01"], "2999-01-01 is not over yet"),
        (&["generate", "--events", "5", "--until", "15.1.2024"], "expected YYYY-MM-DD"),
        (&["file"], "<FILE>"),
    ] {
        let (code, stderr) = world.run_fail("emit", options).await;
        assert_eq!(code, 2, "{options:?}: {stderr}");
        assert!(stderr.contains(problem), "{options:?}: {stderr}");
    }
    let (code, stderr) = world.run_fail("emit", &["file", "/not/there"]).await;
    assert_eq!((code, stderr.as_str()), (1, "error: cannot open /not/there: No such file or directory (os error 2)\n"));
}

#[tokio::test]
async fn live_events_are_of_this_moment_until_stopped() {
    let world = World::new("emit-live").await;
    let mut live = world.spawn("emit", &["generate", "--live", "--rate", "100", "--json"]);
    eventually(PATIENCE, "100 live events", async || {
        (world.read_topic(&world.topic()).await.len() >= 100).then_some(())
    })
    .await;
    live.stop(Duration::from_secs(10)).await;
    let messages = world.read_topic(&world.topic()).await;
    let summary: Value = serde_json::from_str(&live.stdout()).unwrap();
    assert_eq!(summary["delivered"], messages.len());
    for message in &messages {
        let headers = std::iter::empty();
        let time = event::Message { value: Some(value(message)), headers }.decode().unwrap().time.millis();
        assert!((message.timestamp.unwrap() - time).abs() < 2_000, "sent at {:?}, says {time}", message.timestamp);
    }
}

fn page_view(number: u64) -> Event<'static> {
    let activity = Activity {
        user_id: Some(common::demo::user_id(number as u32)),
        session_id: None,
        action: Action::PageView,
        path: Some("/".into()),
        context: None,
    };
    let data = Data::Activity(Box::new(activity));
    Event { id: number.to_string().into(), source: "/test".into(), time: Timestamp::now(), traceparent: None, data }
}

#[tokio::test]
async fn a_tool_never_waits_and_nothing_is_lost_that_found_room() {
    const ROOM: u32 = 500;
    let mut kafka = Kafka::start(KafkaOptions::default()).await.unwrap();
    let settings = settings::Kafka { brokers: kafka.brokers(), topic: "events".into(), ..settings::Kafka::default() };
    topic::create(&kafka.brokers(), &[("events", 4)]).await.unwrap();
    let emitter = Emitter::connect(EmitterOptions { queue_events: ROOM, ..EmitterOptions::from(&settings) }).unwrap();
    for number in 0..100 {
        emitter.emit(&page_view(number)).unwrap();
    }
    assert_eq!(emitter.flush(Duration::from_secs(30)), 0);
    assert_eq!(emitter.counts().delivered, 100);

    kafka.kill().unwrap();
    let mut longest = Duration::ZERO;
    let mut taken = 0;
    for number in 100..2_100 {
        let start = Instant::now();
        match emitter.emit(&page_view(number)) {
            Ok(()) => taken += 1,
            Err(refused) => assert!(matches!(refused, Refused::QueueFull), "{refused}"),
        }
        longest = longest.max(start.elapsed());
    }
    assert!(longest < Duration::from_millis(100), "the tool waited {longest:?}");
    assert_eq!(taken, u64::from(ROOM));
    let counts = emitter.counts();
    assert_eq!((counts.waiting, counts.not_sent, counts.failed), (taken, 2_000 - taken, 0));
    assert_eq!(emitter.flush(Duration::from_millis(100)), taken);

    kafka.restart().await.unwrap();
    assert_eq!(emitter.flush(Duration::from_secs(60)), 0);
    let mut ids: Vec<u64> = Vec::new();
    for message in topic::read(&kafka.brokers(), "events").await.unwrap() {
        let event: Value = serde_json::from_slice(value(&message)).unwrap();
        ids.push(event["id"].as_str().unwrap().parse().unwrap());
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..100 + taken).collect::<Vec<_>>(), "each one once");
}

#[tokio::test]
async fn an_author_learns_at_once_what_is_wrong() {
    let world = World::new("emit-author").await;
    let settings =
        settings::Kafka { brokers: world.brokers().into(), topic: world.topic(), ..settings::Kafka::default() };
    let emitter = Emitter::connect(&settings).unwrap();
    let check = HealthCheck {
        tool_id: common::demo::tool_id(0),
        healthy: true,
        response_time: Some(f64::NAN),
        message: Some("".into()),
    };
    let event = Event { data: Data::HealthCheck(check), ..page_view(1) };
    let refused = emitter.emit(&event).unwrap_err().to_string();
    assert_eq!(
        refused,
        "data.responseTime: is null, expected a number of milliseconds from 0 to 604800000; an optional field without a \
         value is left out"
    );
    let old = Event { time: Timestamp::parse("2020-01-15T10:30:00Z").unwrap(), ..page_view(2) };
    let refused = emitter.emit(&old).unwrap_err().to_string();
    assert_eq!(refused, "time: 2020-01-15T10:30:00.000Z is older than the 90 days that are accepted");
    assert_eq!(emitter.flush(Duration::from_secs(10)), 0);
    let counts = emitter.counts();
    assert_eq!((counts.refused, counts.delivered), (2, 0));
    assert!(world.read_topic(&world.topic()).await.is_empty());
}

#[tokio::test]
async fn what_is_given_up_is_handed_back() {
    let settings = settings::Kafka { brokers: "127.0.0.1:1".into(), ..settings::Kafka::default() };
    let (sender, given_up) = std::sync::mpsc::channel();
    let options = EmitterOptions { delivery_timeout: Duration::from_secs(1), ..EmitterOptions::from(&settings) };
    let emitter = Emitter::connect(options.on_undelivered(move |event| {
        let _ = sender.send((event.key.to_vec(), event.value.to_vec()));
    }))
    .unwrap();
    let event = page_view(3);
    emitter.emit(&event).unwrap();
    assert_eq!(emitter.flush(Duration::from_secs(20)), 1);
    assert_eq!(emitter.counts().failed, 1);
    let (key, value) = given_up.recv_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!((key, value), (event.key().into_bytes(), event.to_json().into_bytes()));
}
