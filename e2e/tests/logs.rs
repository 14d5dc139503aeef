//! What the programs write to their logs: enough to follow one event and one outage, little while an outage lasts, and nothing
//! personal.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e::eventually::{PATIENCE, eventually};
use e2e::load::{stored, tool_uses, until_stored};
use e2e::servers::{Kafka, KafkaOptions, ReplicaSet, ReplicaSetOptions};
use e2e::world::{Running, World};
use serde_json::Value;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The lines that were written so far; all of them are JSON objects.
fn lines(program: &Running) -> Vec<Value> {
    program.stderr().lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

async fn until_ready(worker: &Running) {
    eventually(PATIENCE, "readiness", async || {
        worker.get("/healthz/ready").await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_outage_is_told_in_few_lines_from_its_first_to_its_last() {
    let (mongodb, kafka) = (ReplicaSetOptions::default(), KafkaOptions::default());
    let (mut mongodb, kafka) = tokio::try_join!(ReplicaSet::start(mongodb), Kafka::start(kafka)).unwrap();
    let world = World::on("log-outage", &mongodb.uri(), &kafka.brokers()).await;
    let world = world.with_env("TELEMETRY__LOG_FORMAT", "json").with_env("MONGODB__SERVER_SELECTION_TIMEOUT", "1s");
    world.run_ok("admin", &["migrate"]).await;
    let mut worker = world.spawn("ingest", &["run"]);
    world.produce(&tool_uses(0, 1_000)).await;
    until_stored(&world, 1_000).await;
    until_ready(&worker).await;
    let before = lines(&worker).len();

    let killed = Instant::now();
    mongodb.member(0).kill().unwrap();
    world.produce(&tool_uses(1_000, 20_000)).await;
    let retries = eventually(PATIENCE, "an outage of 20 s", async || {
        let seconds = worker.metric("devtoolkit_ingest_without_progress_seconds").await?;
        let retries = worker.metric("devtoolkit_ingest_insert_retries_total").await?;
        (seconds > 20.0 && retries >= 20.0).then_some(retries)
    })
    .await;
    mongodb.member(0).start().await.unwrap();
    until_stored(&world, 21_000).await;
    until_ready(&worker).await;
    let lines = lines(&worker)[before..].to_vec();
    let tens_of_seconds = killed.elapsed().as_secs() / 10;

    let mut kinds: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for line in lines.iter().filter(|line| line["level"] != "INFO" && line["left_out"].is_null()) {
        let about = ["collection", "part"].iter().find_map(|field| line[field].as_str()).unwrap_or_default();
        *kinds.entry((line["message"].as_str().unwrap(), about)).or_default() += 1;
    }
    assert!(kinds.values().all(|count| *count <= tens_of_seconds + 2), "{kinds:?} in {tens_of_seconds}0 s");
    let of = |message: &str| lines.iter().filter(|line| line["message"] == message).collect::<Vec<_>>();
    let refused = of("a batch was not taken; trying again");
    assert!((refused.len() as f64) < retries / 2.0, "{} lines of {retries} retries", refused.len());
    for field in ["collection", "partition", "offset", "documents", "attempt", "why"] {
        assert!(!refused[0][field].is_null(), "{field} is missing in {}", refused[0]);
    }
    let left_out: u64 = of("the same again and again").iter().filter_map(|line| line["left_out"].as_u64()).sum();
    assert!(left_out > 0, "{lines:?}");
    // The batches that were held up, the first line and the last.
    assert!(!of("the batch is taken").is_empty());
    for message in ["not ready", "in order again"] {
        assert!(of(message).iter().any(|line| line["part"] == "MongoDB"), "no {message} in {lines:?}");
    }
    worker.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_trace_is_carried_from_the_emitter_to_the_log_and_nothing_personal_is() {
    let world = World::new("log-trace").await;
    world.run_ok("admin", &["migrate"]).await;
    let generate = ["generate", "--events", "40", "--traceparent", TRACEPARENT];
    let events = world.run_ok("emit", &[&generate[..], &["--output", "-"]].concat()).await;
    world.run_ok("emit", &generate).await;
    let ingest = async |settings: &[(&str, &str)]| {
        let mut command = world.command("ingest");
        command.args(["run", "--until-caught-up"]).env("DEVTOOLKIT__TELEMETRY__LOG_FORMAT", "json");
        command.envs(settings.iter().copied());
        let finished = world.finish("ingest", command).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        finished.stderr
    };
    // Yesterday's events are too old, and each is told of with its place and its trace.
    let refused = ("DEVTOOLKIT__INGEST__MAX_AGE", "1s");
    let log = ingest(&[refused, ("DEVTOOLKIT__KAFKA__GROUP_ID", &format!("{}-refused", world.group()))]).await;
    assert_eq!(stored(&world).await, 0);
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let refused: Vec<_> = lines.iter().filter(|line| line["reason"] == "too_old").collect();
    assert_eq!(refused.len(), 20, "{log}");
    let left_out: u64 = lines.iter().filter_map(|line| line["left_out"].as_u64()).sum();
    assert_eq!(left_out, 20, "what is not told of itself is counted: {log}");
    for line in refused {
        assert_eq!((&line["trace_id"], &line["stage"]), (&TRACE.into(), &"decode".into()), "{line}");
        assert!(line["partition"].is_i64() && line["offset"].is_i64(), "{line}");
    }
    let debug = ingest(&[("DEVTOOLKIT__TELEMETRY__LOG_FILTER", "info,ingest=debug")]).await;
    let accepted = debug.lines().filter(|line| line.contains("\"accepted\"")).collect::<Vec<_>>();
    assert_eq!(accepted.len(), 40, "{debug}");
    assert!(accepted.iter().all(|line| line.contains(TRACE)), "{debug}");

    for event in events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        assert_eq!(event["traceparent"], TRACEPARENT);
        let context = &event["data"]["context"];
        let personal = [&event["data"]["userId"], &event["data"]["sessionId"], &context["ipAddress"], &event["id"]];
        for text in personal.iter().filter_map(|value| value.as_str()) {
            assert!(!log.contains(text) && !debug.contains(text), "{text} is in the log");
        }
    }
}
