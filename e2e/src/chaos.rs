//! Two real ingest workers, a real broker and a real three-member replica set under load: killed, stopped and continued at
//! random, and the workers cut off their servers and back. Afterwards the chaos looks for every event that was produced in
//! the collection and in the dead letters, and for messages that no worker reads.
#![allow(clippy::expect_used, reason = "a test program: what it expects is what it tests")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bson::{Document, doc};
use futures::TryStreamExt;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::servers::{Cut, Kafka, KafkaOptions, Network, ReplicaSet, ReplicaSetOptions};
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
const CATCH_UP: Duration = Duration::from_secs(1_800);
/// When no worker commits anything for this long after the faults, what is left is left unread.
const STANDSTILL: Duration = Duration::from_secs(120);
/// Longer than the group waits for a worker (`session.timeout.ms`): then its partitions are somebody else's when it goes on.
const LONG: Duration = Duration::from_secs(12);

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
    /// Whether it was interrupted before all faults were caused: the counts are of the events sent until then.
    pub is_interrupted: bool,
    /// Good events that are not in the collection, and bad ones that are not in the dead letters.
    pub lost: u64,
    /// Events with more than one document.
    pub doubled: u64,
    /// Good events among the dead letters, and documents that nobody sent.
    pub wrong: u64,
    /// Messages that no worker read after the faults, although both workers were running and both servers were there.
    pub unread: u64,
}

impl Findings {
    /// Whether nothing was lost, doubled, wrong or left unread.
    pub const fn is_all_well(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.wrong == 0 && self.unread == 0
    }
}

/// What the producer has sent, and when it may end.
#[derive(Debug, Clone, Default)]
struct Sent {
    events: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    is_interrupted: Arc<AtomicBool>,
}

/// What is done to a part of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    WorkerKilled,
    WorkerStopped,
    WorkerTerminated,
    WorkerCutOffKafka,
    WorkerCutOffMongodb,
    WorkerCutOffBoth,
    MongodKilled,
    MongodStopped,
    BrokerKilled,
}

/// Each fault, its name, and how often it is drawn. A broker takes seconds to come back, so it is drawn less often.
const FAULTS: [(Fault, &str, u32); 9] = [
    (Fault::WorkerKilled, "worker killed", 6),
    (Fault::WorkerStopped, "worker stopped", 3),
    (Fault::WorkerTerminated, "worker terminated", 2),
    (Fault::WorkerCutOffKafka, "worker cut off Kafka", 3),
    (Fault::WorkerCutOffMongodb, "worker cut off MongoDB", 3),
    (Fault::WorkerCutOffBoth, "worker cut off both", 2),
    (Fault::MongodKilled, "mongod killed", 5),
    (Fault::MongodStopped, "mongod stopped", 2),
    (Fault::BrokerKilled, "broker killed", 1),
];

fn draw(random: &mut ChaCha8Rng) -> usize {
    let mut left = random.random_range(0..FAULTS.iter().map(|(_, _, weight)| weight).sum());
    let drawn = FAULTS.iter().position(|(_, _, weight)| {
        left.checked_sub(*weight).is_none_or(|rest| {
            left = rest;
            false
        })
    });
    drawn.unwrap_or_default()
}

/// The system, and what is done to it.
struct Chaos {
    mongodb: ReplicaSet,
    kafka: Kafka,
    to_mongodb: Network,
    to_kafka: Network,
    world: World,
    workers: Vec<Running>,
}

impl Chaos {
    async fn start() -> anyhow::Result<Self> {
        let (to_mongodb, to_kafka) = (Network::default(), Network::default());
        let set = ReplicaSetOptions { members: 3, network: Some(to_mongodb.clone()), ..ReplicaSetOptions::default() };
        let broker = KafkaOptions { network: Some(to_kafka.clone()), ..KafkaOptions::default() };
        let (mongodb, kafka) = tokio::try_join!(ReplicaSet::start(set), Kafka::start(broker))?;
        let world = World::on("chaos", &mongodb.uri(), &kafka.brokers()).await;
        let world = world.with_env("KAFKA__BROKERS", &kafka.proxied_brokers());
        world.run_ok("admin", &["migrate"]).await;
        let workers = (0..2).map(|_| world.spawn("ingest", &["run"])).collect();
        Ok(Self { mongodb, kafka, to_mongodb, to_kafka, world, workers })
    }

    async fn cause(&mut self, fault: Fault, random: &mut ChaCha8Rng) -> anyhow::Result<()> {
        let worker = random.random_range(0..2);
        let member = random.random_range(0..3);
        let pause = Duration::from_millis(random.random_range(100..3_000));
        let is_long = random.random_range(0..8) == 0;
        let cut = if random.random() { Cut::BlackHole } else { Cut::Reset };
        // A worker may have ended a moment ago because a server was away: then there is nothing to kill, stop or cut off.
        match fault {
            Fault::WorkerKilled => {
                let _ = self.workers[worker].process.kill();
                self.restart(worker);
            }
            Fault::WorkerStopped => {
                let _ = self.workers[worker].process.pause();
                tokio::time::sleep(if is_long { LONG } else { pause }).await;
                let _ = self.workers[worker].process.resume();
            }
            Fault::WorkerTerminated => {
                let _ = self.workers[worker].process.stop(Duration::from_secs(30)).await;
                self.restart(worker);
            }
            Fault::WorkerCutOffKafka | Fault::WorkerCutOffMongodb => {
                let network = if fault == Fault::WorkerCutOffKafka { &self.to_kafka } else { &self.to_mongodb };
                let pid = self.workers[worker].process.pid();
                let _ = network.cut(pid, cut);
                tokio::time::sleep(if is_long { LONG } else { pause }).await;
                network.restore(pid);
            }
            Fault::WorkerCutOffBoth => {
                let pid = self.workers[worker].process.pid();
                // The writer stalls and the partitions are paused; then they are lost; then the writer goes on first.
                let _ = self.to_mongodb.cut(pid, cut);
                tokio::time::sleep(pause).await;
                let _ = self.to_kafka.cut(pid, cut);
                tokio::time::sleep(if is_long { LONG } else { pause }).await;
                self.to_mongodb.restore(pid);
                tokio::time::sleep(pause).await;
                self.to_kafka.restore(pid);
            }
            Fault::MongodKilled => {
                self.mongodb.member(member).kill()?;
                tokio::time::sleep(pause).await;
                self.mongodb.member(member).start().await?;
            }
            Fault::MongodStopped => {
                self.mongodb.member(member).pause()?;
                tokio::time::sleep(pause).await;
                self.mongodb.member(member).resume()?;
            }
            Fault::BrokerKilled => {
                self.kafka.kill()?;
                self.kafka.restart().await?;
            }
        }
        self.restart_ended()
    }

    fn restart(&mut self, worker: usize) {
        self.workers[worker] = self.world.spawn("ingest", &["run"]);
    }

    /// A worker that was started while a server was away has said so and ended, as it should: it is started again.
    fn restart_ended(&mut self) -> anyhow::Result<()> {
        for worker in 0..self.workers.len() {
            if self.workers[worker].process.exited()?.is_some() {
                self.restart(worker);
            }
        }
        Ok(())
    }

    /// Waits until both workers have been started successfully: from then on they must go on by themselves.
    async fn until_workers_run(&mut self) -> anyhow::Result<()> {
        self.mongodb.wait_for_primary().await?;
        let deadline = Instant::now() + STANDSTILL;
        while !self.workers.iter().all(|worker| worker.stderr().contains("bound")) {
            self.restart_ended()?;
            ensure!(Instant::now() < deadline, "the workers do not start after the faults");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Waits until everything is read and committed, without any restart. Returns the number of messages left unread.
    async fn catch_up(&mut self) -> anyhow::Result<u64> {
        let deadline = Instant::now() + CATCH_UP;
        let mut last_progress = (u64::MAX, Instant::now());
        loop {
            for worker in &mut self.workers {
                if let Some(status) = worker.process.exited()? {
                    bail!("a worker ended with {status} after the faults\n{}", worker.stderr());
                }
            }
            let progress = topic::progress(self.world.brokers(), &self.world.topic(), &self.world.group()).await;
            if let Ok(partitions) = progress {
                let left: i64 = partitions.iter().map(|(committed, end)| end - committed.unwrap_or(0)).sum();
                let left = u64::try_from(left).context("the group committed more than there is")?;
                if left < last_progress.0 {
                    last_progress = (left, Instant::now());
                }
                if left == 0 || last_progress.1.elapsed() > STANDSTILL {
                    return Ok(left);
                }
            }
            ensure!(Instant::now() < deadline, "the workers have not caught up within {} s", CATCH_UP.as_secs());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn run(
        &mut self,
        options: Options,
        interrupted: impl Future<Output = ()>,
        mut progress: impl FnMut(u32, &str, u64),
    ) -> anyhow::Result<Findings> {
        let sent = Sent::default();
        let producer =
            tokio::spawn(produce(self.world.brokers().to_owned(), self.world.topic(), sent.clone(), options));
        let mut interrupted = std::pin::pin!(interrupted);
        let mut random = ChaCha8Rng::seed_from_u64(options.seed);
        let mut counts = [0; FAULTS.len()];
        for number in 1..=options.kills {
            let pause = Duration::from_millis(random.random_range(100..1_000));
            if tokio::time::timeout(pause, &mut interrupted).await.is_ok() {
                sent.is_interrupted.store(true, Ordering::Relaxed);
                break;
            }
            // A short run has one fault of each kind at least, if it has room.
            let drawn = usize::try_from(number - 1)?;
            let drawn = if drawn < FAULTS.len() { drawn } else { draw(&mut random) };
            let (fault, name, _) = FAULTS[drawn];
            counts[drawn] += 1;
            progress(number, name, sent.events.load(Ordering::Relaxed));
            self.cause(fault, &mut random).await?;
        }
        self.until_workers_run().await?;
        sent.is_over.store(true, Ordering::Relaxed);
        producer.await??;
        let unread = self.catch_up().await?;
        for worker in &mut self.workers {
            worker.stop(Duration::from_secs(30)).await;
        }
        let mut findings = reconcile(&self.world, sent.events.load(Ordering::Relaxed)).await?;
        findings.faults = FAULTS.into_iter().zip(counts).map(|((_, name, _), count)| (name, count)).collect();
        findings.unread = unread;
        Ok(findings)
    }

    /// Keeps the data and logs of servers and workers for whoever looks into the findings.
    fn keep(&mut self) {
        for home in [self.mongodb.home(), self.kafka.home(), self.world.home()] {
            home.keep();
            eprintln!("kept, with its logs: {}", home.path().display());
        }
    }
}

/// Runs the chaos; `progress` is told of each fault. Once `interrupted` ends, no further fault is caused and nothing more is sent:
/// the findings are about what was sent until then.
///
/// # Errors
/// The servers or workers do not come back, or do not catch up.
pub async fn run(
    options: Options,
    interrupted: impl Future<Output = ()>,
    progress: impl FnMut(u32, &str, u64),
) -> anyhow::Result<Findings> {
    let mut chaos = Chaos::start().await?;
    let findings = chaos.run(options, interrupted, progress).await;
    if !findings.as_ref().is_ok_and(Findings::is_all_well) {
        chaos.keep();
    }
    findings
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

/// Sends until the faults are over and enough is sent, or the run is interrupted. What is not acknowledged is sent again, byte for byte.
async fn produce(brokers: String, topic: String, sent: Sent, options: Options) -> anyhow::Result<()> {
    let chunks = u32::try_from(options.events / CHUNK).unwrap_or(u32::MAX).max(1);
    let mut pace = tokio::time::interval((FAULT * options.kills / chunks).max(Duration::from_millis(1)));
    let mut next = 0;
    let is_enough = |next| next >= options.events || sent.is_interrupted.load(Ordering::Relaxed);
    while !sent.is_over.load(Ordering::Relaxed) || !is_enough(next) {
        pace.tick().await;
        let chunk: Vec<Message> = (next..next + CHUNK).map(event).collect();
        while topic::produce(&brokers, &topic, &chunk).await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        next += CHUNK;
        sent.events.store(next, Ordering::Relaxed);
    }
    Ok(())
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
