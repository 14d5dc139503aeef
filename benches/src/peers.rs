//! The same events through other ways from Kafka to MongoDB, each with the fairest settings known for it: unordered bulk
//! inserts of about the same size, as many tasks as partitions, no conversion of the event. They do less than ingest: nothing
//! is validated, and the envelope is stored as it comes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bson::Document;
use mongodb::Database;

use crate::ingest;
use crate::process::{cpu_time, peak_memory};
use crate::servers::Servers;
use crate::table;

/// How long a peer may take for all events.
const PATIENCE: Duration = Duration::from_secs(1_800);
const PARTITIONS: usize = 4;

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// Events on the topic
    #[arg(long, default_value_t = 1_000_000)]
    events: usize,
}

/// Runs the limit, ingest and each peer that is installed, one after the other.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let events = options.events;
    let servers = Servers::start().await?;
    servers.migrate("warm", ingest::TOPIC).await?.drop().await?;
    eprintln!("{events} events are put on the topic");
    ingest::produce(&servers, events)?;
    // Once unmeasured: the broker's JIT compiler warms up.
    ingest::ingest(&servers, events, "ingest0").await?;

    let limit = events as f64 / ingest::insert_ready_made(&servers, events, false).await?.as_secs_f64();
    let mut rows = vec![row("limit", limit, limit, None)];
    let (rate, cost) = ingest::ingest(&servers, events, "ingest1").await?;
    let cpu = cost.cpu.as_secs_f64() * 1e6 / events as f64;
    rows.push(row("ingest", rate, limit, Some((cpu, cost.peak_mib))));
    let directory = tempfile::tempdir()?;
    for peer in [Peer::Connect, Peer::Bento] {
        let Some(command) = peer.command(&servers, directory.path())? else {
            eprintln!("{} is not installed and left out", peer.name());
            continue;
        };
        eprintln!("{}", peer.name());
        let database = servers.migrate(peer.database(), ingest::TOPIC).await?;
        let measured = measure(command, &database, events).await.with_context(|| peer.name())?;
        rows.push(row(peer.name(), measured.rate, limit, Some((measured.cpu_us, measured.peak_mib))));
        database.drop().await?;
    }
    println!("{events} events, {PARTITIONS} partitions");
    table::print(&["", "events/s", "of the limit", "us CPU/event", "peak RSS MiB"], rows);
    Ok(())
}

fn row(name: &str, rate: f64, limit: f64, cost: Option<(f64, f64)>) -> Vec<String> {
    let (cpu, peak) = cost.map_or_else(Default::default, |(cpu, peak)| (format!("{cpu:.1}"), format!("{peak:.0}")));
    vec![name.to_owned(), format!("{rate:.0}"), format!("{:.3}", rate / limit), cpu, peak]
}

#[derive(Clone, Copy)]
enum Peer {
    Connect,
    Bento,
}

impl Peer {
    const fn name(self) -> &'static str {
        match self {
            Self::Connect => "Kafka Connect 3.9.1, MongoDB sink 1.13.0",
            Self::Bento => "Bento 1.2.0",
        }
    }

    const fn database(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Bento => "bento",
        }
    }

    /// The command that runs it; none when it is not installed.
    fn command(self, servers: &Servers, directory: &Path) -> anyhow::Result<Option<Command>> {
        let installed = installed();
        match self {
            Self::Connect => {
                let libs = installed.join("connect/libs");
                if !libs.exists() {
                    return Ok(None);
                }
                let (worker, sink) = (directory.join("worker.properties"), directory.join("sink.properties"));
                std::fs::write(&worker, connect_worker(servers, directory))?;
                std::fs::write(&sink, connect_sink(servers))?;
                let mut command = Command::new("java");
                command.args(["-Xmx1g", "-XX:+UseSerialGC", "-cp"]).arg(libs.join("*"));
                command.arg("org.apache.kafka.connect.cli.ConnectStandalone").args([worker, sink]);
                Ok(Some(command))
            }
            Self::Bento => {
                let program = installed.join("bento/bento");
                if !program.exists() {
                    return Ok(None);
                }
                let config = directory.join("bento.yaml");
                std::fs::write(&config, bento(servers))?;
                let mut command = Command::new(program);
                command.arg("-c").arg(config);
                Ok(Some(command))
            }
        }
    }
}

fn installed() -> PathBuf {
    std::env::var_os("DEVTOOLKIT_SERVERS").map_or_else(|| PathBuf::from(".dev/servers"), PathBuf::from)
}

fn connect_worker(servers: &Servers, directory: &Path) -> String {
    format!(
        "bootstrap.servers={}\n\
         key.converter=org.apache.kafka.connect.storage.StringConverter\n\
         value.converter=org.apache.kafka.connect.storage.StringConverter\n\
         offset.storage.file.filename={}\n\
         offset.flush.interval.ms=1000\n\
         listeners=http://127.0.0.1:0\n\
         consumer.max.poll.records=1000\n\
         consumer.auto.offset.reset=earliest\n",
        servers.kafka.brokers(),
        directory.join("offsets").display()
    )
}

fn connect_sink(servers: &Servers) -> String {
    format!(
        "name=peer\n\
         connector.class=com.mongodb.kafka.connect.MongoSinkConnector\n\
         tasks.max={PARTITIONS}\n\
         topics={}\n\
         connection.uri={}\n\
         database={}\n\
         collection=usage_analytics\n\
         bulk.write.ordered=false\n\
         max.batch.size=1000\n\
         writemodel.strategy=com.mongodb.kafka.connect.sink.writemodel.strategy.InsertOneDefaultStrategy\n",
        ingest::TOPIC,
        servers.mongodb.uri(),
        Peer::Connect.database()
    )
}

fn bento(servers: &Servers) -> String {
    format!(
        "http:\n  enabled: false\n\
         input:\n  kafka_franz:\n    seed_brokers: [ \"{}\" ]\n    topics: [ {} ]\n    consumer_group: bento\n    start_from_oldest: true\n    checkpoint_limit: 8000\n    batching:\n      count: 1000\n      period: 200ms\n\
         output:\n  mongodb:\n    url: \"{}\"\n    database: {}\n    collection: usage_analytics\n    operation: insert-one\n    document_map: root = this\n    write_concern:\n      w: majority\n    max_in_flight: {PARTITIONS}\n    batching:\n      count: 1000\n      period: 200ms\n\
         logger:\n  level: WARN\n",
        servers.kafka.brokers(),
        ingest::TOPIC,
        servers.mongodb.uri(),
        Peer::Bento.database()
    )
}

struct Measured {
    rate: f64,
    cpu_us: f64,
    peak_mib: f64,
}

/// Kills the peer when the measurement ends, however it ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The rate from the first document to the last; CPU and memory from start to end, start included.
async fn measure(mut command: Command, database: &Database, events: usize) -> anyhow::Result<Measured> {
    let log = tempfile::NamedTempFile::new()?;
    let child = command.stdout(Stdio::from(log.reopen()?)).stderr(Stdio::from(log.reopen()?)).spawn()?;
    let mut child = Killed(child);
    let collection = database.collection::<Document>("usage_analytics");
    let started = Instant::now();
    let mut first: Option<(Instant, u64)> = None;
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let stored = collection.estimated_document_count().await?;
        if stored > 0 {
            let (first_at, first_stored) = *first.get_or_insert_with(|| (Instant::now(), stored));
            if stored >= events as u64 {
                let pid = child.0.id();
                let cpu = cpu_time(pid).context("its CPU time")?;
                return Ok(Measured {
                    rate: (stored - first_stored) as f64 / first_at.elapsed().as_secs_f64(),
                    cpu_us: cpu.as_secs_f64() * 1e6 / events as f64,
                    peak_mib: peak_memory(pid).context("its memory")?,
                });
            }
        }
        let text = || std::fs::read_to_string(log.path()).unwrap_or_default();
        ensure!(child.0.try_wait()?.is_none(), "it ended by itself; it said:\n{}", text());
        ensure!(started.elapsed() < PATIENCE, "{stored} of {events} events after {PATIENCE:?}; it said:\n{}", text());
    }
}
