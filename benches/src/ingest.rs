//! From a backlog on Kafka to MongoDB, and the limit: `insert_many` of ready-made documents and nothing else, with the
//! same batches, concurrency, indexes and write concern. Both in turn, in one run, because the machine's speed drifts.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use benches::samples::tool_usage;
use bson::{RawDocumentBuf, doc};
use common::event::Message;
use common::schema;
use mongodb::Database;
use mongodb::options::WriteConcern;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::process::{self, Cost, cpu_time};
use crate::servers::Servers;
use crate::table;

const BATCH: usize = 1_000;
const IN_FLIGHT: usize = 4;
const USERS: u64 = 50_000;
const TOOLS: u64 = 200;
/// The topic of the benchmarks.
pub const TOPIC: &str = "bench";

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// Events on the topic
    #[arg(long, default_value_t = 1_000_000)]
    events: usize,
    /// How often each side runs
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Another ingest program, such as one built from an older commit, which runs in turn with this one
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
}

/// Runs both sides in turn and prints what they reached.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut servers = Servers::start().await?;
    let database = servers.migrate("warm", TOPIC).await?;
    database.drop().await?;
    eprintln!("{} events are put on the topic", options.events);
    produce(&servers, options.events)?;
    let mongod = servers.mongodb.member(0).pid().context("mongod is gone")?;
    let broker = servers.kafka.pid().context("the broker is gone")?;
    let mut rows = Vec::new();
    let (mut ratios, mut rates, mut cpus, mut peaks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut others = Vec::new();
    // Round 0 warms up the broker's JIT compiler, which would otherwise take a tenth of the machine from ingest alone.
    for round in 0..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        let before = cpu_time(mongod).unwrap_or_default();
        let limit = insert_ready_made(&servers, options.events, false).await?;
        let limit_cpu = cpu_time(mongod).unwrap_or_default() - before;
        let broker_before = cpu_time(broker).unwrap_or_default();
        let (rate, cost) = ingest(&servers, options.events, &format!("ingest{round}")).await?;
        let broker_cpu = cpu_time(broker).unwrap_or_default() - broker_before;
        let ingest_mongod_cpu = cpu_time(mongod).unwrap_or_default() - before - limit_cpu;
        let other = match &options.against {
            Some(program) => Some(other_ingest(&servers, options.events, round, program).await?),
            None => None,
        };
        let limit_rate = options.events as f64 / limit.as_secs_f64();
        let per_event = |cpu: Duration| cpu.as_secs_f64() * 1e6 / options.events as f64;
        if round > 0 {
            ratios.push(rate / limit_rate);
            rates.push(rate);
            cpus.push(per_event(cost.cpu));
            peaks.push(cost.peak_mib);
            others.extend(other.map(|(other_rate, other)| {
                [rate, other_rate, per_event(cost.cpu), per_event(other.cpu), cost.peak_mib, other.peak_mib]
            }));
        }
        rows.push(vec![
            if round > 0 { round.to_string() } else { "warm-up".to_owned() },
            format!("{limit_rate:.0}"),
            format!("{rate:.0}"),
            format!("{:.3}", rate / limit_rate),
            format!("{:.2}", per_event(cost.cpu)),
            format!("{:.0}", cost.peak_mib),
            format!("{:.1}", per_event(limit_cpu)),
            format!("{:.1}", per_event(ingest_mongod_cpu)),
            format!("{:.2}", per_event(broker_cpu)),
            format!("{:.1}", cost.wall.as_secs_f64()),
        ]);
    }
    rows.push(vec![
        "median".to_owned(),
        String::new(),
        format!("{:.0}", table::median(rates)),
        format!("{:.3}", table::median(ratios)),
        format!("{:.2}", table::median(cpus)),
        format!("{:.0}", table::median(peaks)),
    ]);
    println!("{} events, batches of {BATCH}, {IN_FLIGHT} in flight", options.events);
    let header = [
        "round",
        "limit events/s",
        "ingest events/s",
        "ratio",
        "ingest us CPU/event",
        "peak RSS MiB",
        "mongod us (limit)",
        "mongod us (ingest)",
        "broker us",
        "wall s",
    ];
    table::print(&header, rows);
    if let Some(program) = &options.against {
        println!("in turn with {}", program.display());
        table::print(
            &["round", "events/s", "other", "ratio", "us CPU", "other", "ratio", "MiB", "other"],
            compared(&others),
        );
    }
    println!("targets: ratio >= 0.95, <= 2.0 us of CPU per event, <= 96 MiB");
    Ok(())
}

/// The JSON of the `number`th event: of yesterday, in the order of time.
pub fn event(number: usize) -> String {
    let start = chrono::Utc::now().timestamp_millis() / 86_400_000 * 86_400_000 - 86_400_000;
    tool_usage(number as u64, start + (number as i64 * 80) % 86_000_000, USERS, TOOLS)
}

/// Puts that many events on the topic.
pub fn produce(servers: &Servers, events: usize) -> anyhow::Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", servers.kafka.brokers())
        .set("compression.type", "lz4")
        .set("linger.ms", "50")
        .set("queue.buffering.max.messages", "200000")
        .create()?;
    for number in 0..events {
        let json = event(number);
        let key = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % USERS;
        let key = format!("65a0{key:020x}");
        while let Err((error, _)) = producer.send(BaseRecord::to(TOPIC).key(&key).payload(&json)) {
            ensure!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)), error);
            producer.poll(Duration::from_millis(10));
        }
    }
    producer.flush(Duration::from_secs(120))?;
    Ok(())
}

/// The time for inserting the documents of all events, made before; `validated` switches the validator on that `admin
/// migrate` leaves off.
pub async fn insert_ready_made(servers: &Servers, events: usize, validated: bool) -> anyhow::Result<Duration> {
    let database = servers.migrate("limit", TOPIC).await?;
    if validated {
        let wanted = schema::wanted(true);
        let names: Vec<_> = wanted.iter().map(|collection| collection.name.clone()).collect();
        let actual = schema::server::read(&database, &names).await?;
        for change in schema::diff::diff(&wanted, &actual).changes {
            schema::server::apply(&database, &change).await?;
        }
    }
    let documents: Vec<RawDocumentBuf> = (0..events)
        .map(|number| {
            let json = event(number);
            let event = Message { value: Some(json.as_bytes()), headers: std::iter::empty() }
                .decode()
                .map_err(|invalid| anyhow::anyhow!("{invalid}"))?;
            let mut bytes = Vec::new();
            event.write_document(&mut bytes);
            Ok(RawDocumentBuf::from_bytes(bytes)?)
        })
        .collect::<anyhow::Result<_>>()?;
    let documents = Arc::new(documents);
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let writers = (0..IN_FLIGHT).map(|_| {
        let (database, documents, next) = (database.clone(), Arc::clone(&documents), Arc::clone(&next));
        tokio::spawn(async move {
            let collection = database.collection::<RawDocumentBuf>("usage_analytics");
            loop {
                let from = next.fetch_add(BATCH, Ordering::Relaxed);
                let Some(batch) =
                    documents.get(from..documents.len().min(from + BATCH)).filter(|batch| !batch.is_empty())
                else {
                    return anyhow::Ok(());
                };
                collection.insert_many(batch).ordered(false).write_concern(WriteConcern::majority()).await?;
            }
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer??;
    }
    let elapsed = start.elapsed();
    check_and_drop(&database, events).await?;
    Ok(elapsed)
}

/// Each round's figures of both programs, with their ratios, and the medians.
fn compared(rounds: &[[f64; 6]]) -> Vec<Vec<String>> {
    let row = |name: String, [rate, other_rate, cpu, other_cpu, peak, other_peak]: [f64; 6]| {
        vec![
            name,
            format!("{rate:.0}"),
            format!("{other_rate:.0}"),
            format!("{:.3}", rate / other_rate),
            format!("{cpu:.2}"),
            format!("{other_cpu:.2}"),
            format!("{:.3}", cpu / other_cpu),
            format!("{peak:.0}"),
            format!("{other_peak:.0}"),
        ]
    };
    let medians = std::array::from_fn(|column| table::median(rounds.iter().map(|round| round[column]).collect()));
    let mut rows: Vec<_> =
        (1..).zip(rounds).map(|(round, figures): (u32, _)| row(round.to_string(), *figures)).collect();
    rows.push(row("median".to_owned(), medians));
    rows
}

/// The rate that ingest reached from its first partition on, and what it cost as a whole. `name` is its database's.
pub async fn ingest(servers: &Servers, events: usize, name: &str) -> anyhow::Result<(f64, Cost)> {
    measure(servers, events, name, servers.program("ingest", name, TOPIC)?).await
}

/// The same of another program.
async fn other_ingest(servers: &Servers, events: usize, round: usize, program: &Path) -> anyhow::Result<(f64, Cost)> {
    let name = format!("other{round}");
    let mut command = Command::new(std::path::absolute(program)?);
    // Not here, where config/analytics.toml has settings that an older program does not know.
    command.current_dir(std::env::temp_dir());
    let ours = servers.program("ingest", &name, TOPIC)?;
    command.envs(ours.get_envs().filter_map(|(key, value)| Some((key, value?))));
    measure(servers, events, &name, command).await
}

async fn measure(servers: &Servers, events: usize, name: &str, mut command: Command) -> anyhow::Result<(f64, Cost)> {
    let database = servers.migrate(name, TOPIC).await?;
    command.args(["run", "--until-caught-up"]);
    let cost = tokio::task::spawn_blocking(|| process::measure(command)).await??;
    let seconds = cost.stdout.split(" in ").nth(1).and_then(|rest| rest.split(' ').next());
    let seconds: f64 = seconds.context("ingest did not say how long it took")?.parse()?;
    check_and_drop(&database, events).await?;
    Ok((events as f64 / seconds, cost))
}

async fn check_and_drop(database: &Database, events: usize) -> anyhow::Result<()> {
    let stored = database.collection::<RawDocumentBuf>("usage_analytics").count_documents(doc! {}).await?;
    ensure!(stored == events as u64, "{stored} of {events} events are stored");
    database.drop().await?;
    Ok(())
}
