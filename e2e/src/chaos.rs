//! Two real ingest workers, a real broker and a real three-member replica set under load, killed, stopped and continued at
//! random; afterwards every event that was produced is looked for in the collection and in the dead letters.
#![allow(clippy::expect_used, reason = "a test program: what it expects is what it tests")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bson::{Document, doc};
use futures::TryStreamExt;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::servers::{Kafka, KafkaOptions, ReplicaSet, ReplicaSetOptions};
use crate::topic::{self, Message};
use crate::world::{Running, World};

/// Every so many events one is bad, and must become a dead letter.
const BAD_EVERY: u64 = 50;
/// Every so many events one is of yesterday, whose day must be marked before its offset is committed.
const LATE_EVERY: u64 = 7;
/// Events that are sent, and acknowledged, together.
const CHUNK: u64 = 5_000;
/// About how long a fault takes with the pause before it: the events are spread over all of them.
const FAULT: Duration = Duration::from_secs(2);
/// How long the workers may take for what is left when the faults are over.
const CATCH_UP: Duration = Duration::from_secs(600);

/// How much chaos.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Faults in all.
    pub kills: u32,
    /// The same seed draws the same faults; their effect depends on the moment.
    pub seed: u64,
    /// Events that are at least sent; more are when the faults take longer.
    pub events: u64,
}

/// What was found afterwards.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Events sent and acknowledged by Kafka.
    pub produced: u64,
    /// Faults of each kind: name and number.
    pub faults: Vec<(&'static str, u32)>,
    /// Good events that are not in the collection, and bad ones that are not in the dead letters.
    pub lost: u64,
    /// Events with more than one document.
    pub doubled: u64,
    /// Good events among the dead letters, and documents that nobody sent.
    pub wrong: u64,
}

/// What is done to a part of the system.
const FAULTS: [&str; 6] =
    ["worker killed", "worker stopped", "worker terminated", "mongod killed", "mongod stopped", "broker killed"];

/// Runs the chaos; `progress` is told of each fault.
///
/// # Errors
/// The servers or workers do not come back, or do not catch up.
pub async fn run(options: Options, mut progress: impl FnMut(u32, &str, u64)) -> anyhow::Result<Findings> {
    let set = ReplicaSetOptions { members: 3, ..ReplicaSetOptions::default() };
    let (mut mongodb, mut kafka) = tokio::try_join!(ReplicaSet::start(set), Kafka::start(KafkaOptions::default()))?;
    let world = World::on("chaos", &mongodb.uri(), &kafka.brokers()).await;
    world.run_ok("admin", &["migrate"]).await;

    let produced = Arc::new(AtomicU64::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let producer = tokio::spawn(produce(
        world.brokers().to_owned(),
        world.topic(),
        Arc::clone(&produced),
        Arc::clone(&is_over),
        options,
    ));
    let mut workers: Vec<Running> = (0..2).map(|_| world.spawn("ingest", &["run"])).collect();
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    let mut counts = [0; FAULTS.len()];
    for number in 1..=options.kills {
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1_000))).await;
        // A broker takes seconds to come back, so it is drawn less often.
        let fault = match random.random_range(0..20) {
            0..7 => 0,
            7..10 => 1,
            10..12 => 2,
            12..17 => 3,
            17..19 => 4,
            _ => 5,
        };
        counts[fault] += 1;
        progress(number, FAULTS[fault], produced.load(Ordering::Relaxed));
        let worker = &mut workers[random.random_range(0..2)];
        let member = random.random_range(0..3);
        let pause = Duration::from_millis(random.random_range(100..3_000));
        match fault {
            // A worker may have ended a moment ago because a server was away: then there is nothing to kill.
            0 => {
                let _ = worker.process.kill();
                *worker = world.spawn("ingest", &["run"]);
            }
            1 => {
                let _ = worker.process.pause();
                // Now and then for longer than the group waits: then its partitions are somebody else's when it goes on.
                let is_long = random.random_range(0..8) == 0;
                tokio::time::sleep(if is_long { Duration::from_secs(12) } else { pause }).await;
                let _ = worker.process.resume();
            }
            2 => {
                let _ = worker.process.stop(Duration::from_secs(30)).await;
                *worker = world.spawn("ingest", &["run"]);
            }
            3 => {
                mongodb.member(member).kill()?;
                tokio::time::sleep(pause).await;
                mongodb.member(member).start().await?;
            }
            4 => {
                mongodb.member(member).pause()?;
                tokio::time::sleep(pause).await;
                mongodb.member(member).resume()?;
            }
            _ => {
                kafka.kill()?;
                kafka.restart().await?;
            }
        }
        for worker in &mut workers {
            // A worker that was started while a server was away has said so and ended, as it should: it is started again.
            if worker.process.exited()?.is_some() {
                *worker = world.spawn("ingest", &["run"]);
            }
        }
    }
    mongodb.wait_for_primary().await?;
    is_over.store(true, Ordering::Relaxed);
    producer.await??;
    catch_up(&world, &mut workers).await?;
    for worker in &mut workers {
        worker.stop(Duration::from_secs(30)).await;
    }
    let mut findings = reconcile(&world, produced.load(Ordering::Relaxed)).await?;
    findings.faults = FAULTS.into_iter().zip(counts).collect();
    Ok(findings)
}

fn event(number: u64) -> Message {
    let days_ago = chrono::TimeDelta::days(i64::from(number.is_multiple_of(LATE_EVERY)));
    let now = (chrono::Utc::now() - days_ago).to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let user = format!("65a0{:020x}", number % 997);
    let usage =
        json!({ "startTime": now, "endTime": now, "duration": 5, "inputSize": 1, "outputSize": 2, "success": true });
    let mut data = json!({
        "userId": user, "toolId": "65b000000000000000000001", "sessionId": "65c000000000000000000001", "usage": usage,
        "metadata": { "customData": { "number": number } },
    });
    if number.is_multiple_of(BAD_EVERY) {
        data["nonsense"] = json!(true);
    }
    let event = json!({
        "specversion": "1.0", "id": number.to_string(), "source": "/chaos", "type": "com.devtoolkit.tool-usage.v1",
        "time": now, "data": data,
    });
    Message::new(user, event.to_string())
}

/// Sends until the faults are over and enough is sent. What is not acknowledged is sent again, byte for byte.
async fn produce(
    brokers: String,
    topic: String,
    produced: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    options: Options,
) -> anyhow::Result<()> {
    let chunks = u32::try_from(options.events / CHUNK).unwrap_or(u32::MAX).max(1);
    let mut pace = tokio::time::interval((FAULT * options.kills / chunks).max(Duration::from_millis(1)));
    let mut next = 0;
    while !is_over.load(Ordering::Relaxed) || next < options.events {
        pace.tick().await;
        let chunk: Vec<Message> = (next..next + CHUNK).map(event).collect();
        while topic::produce(&brokers, &topic, &chunk).await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        next += CHUNK;
        produced.store(next, Ordering::Relaxed);
    }
    Ok(())
}

async fn catch_up(world: &World, workers: &mut [Running]) -> anyhow::Result<()> {
    let deadline = Instant::now() + CATCH_UP;
    loop {
        let progress = topic::progress(world.brokers(), &world.topic(), &world.group()).await;
        if progress.is_ok_and(|partitions| partitions.iter().all(|(committed, end)| committed.unwrap_or(0) == *end)) {
            return Ok(());
        }
        for worker in workers.iter_mut() {
            if worker.process.exited()?.is_some() {
                *worker = world.spawn("ingest", &["run"]);
            }
        }
        ensure!(Instant::now() < deadline, "the workers have not caught up within {} s", CATCH_UP.as_secs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn reconcile(world: &World, produced: u64) -> anyhow::Result<Findings> {
    let mut findings = Findings { produced, ..Findings::default() };
    let mut stored = HashSet::new();
    let collection = world.db().collection::<Document>("usage_analytics");
    let mut documents = collection.find(doc! {}).projection(doc! { "metadata.customData.number": 1 }).await?;
    while let Some(document) = documents.try_next().await? {
        let custom_data = document.get_document("metadata")?.get_document("customData")?;
        let number = custom_data.get("number").and_then(bson::Bson::as_i32).context("a document without its number")?;
        let number = u64::try_from(number)?;
        if !stored.insert(number) {
            findings.doubled += 1;
        }
        if number >= produced || number.is_multiple_of(BAD_EVERY) {
            findings.wrong += 1;
        }
    }
    let mut dead = HashSet::new();
    for letter in world.read_topic(&world.dead_letter_topic()).await {
        let event: Value = serde_json::from_slice(&letter.value.context("a dead letter without a value")?)?;
        let number: u64 = event["id"].as_str().context("a dead letter without an id")?.parse()?;
        if !number.is_multiple_of(BAD_EVERY) {
            findings.wrong += 1;
        }
        // A letter may be there twice: a worker killed between delivery and commit sends it again.
        dead.insert(number);
    }
    findings.lost = (0..produced)
        .filter(|number| !if number.is_multiple_of(BAD_EVERY) { &dead } else { &stored }.contains(number))
        .count() as u64;
    Ok(findings)
}
