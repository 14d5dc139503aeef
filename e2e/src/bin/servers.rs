//! Real servers for developers, behind `./dev`: started and left running (`up`), stopped (`down`), looked at (`status`),
//! or there for one command only (`with`). What watches them (`up --monitoring`) is in a directory of its own.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use comfy_table::{Table, presets};
use e2e::servers::alertmanager::AlertmanagerOptions;
use e2e::servers::monitoring::{Monitoring, MonitoringOptions};
use e2e::servers::process::{recorded, stop_recorded};
use e2e::servers::{Home, Kafka, KafkaOptions, Ownership, ReplicaSet, ReplicaSetOptions, repository};
use e2e::topic;
use futures::future::try_join_all;
use mongodb::Client;
use mongodb::options::{ClientOptions, Tls};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};

const MONGODB: &str = "DEVTOOLKIT__MONGODB__URI";
const KAFKA: &str = "DEVTOOLKIT__KAFKA__BROKERS";
/// After that a server that does not end is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// Where the programs serve their metrics unless told otherwise.
const INGEST: &str = "127.0.0.1:9464";
const AGGREGATOR: &str = "127.0.0.1:9465";
const DASHBOARD: &str = "127.0.0.1:9467";
/// Nobody listens there: a developer looks at Alertmanager's own page.
const NOBODY: &str = "http://127.0.0.1:9/";

/// Real MongoDB and Kafka servers on this machine, for development and tests.
#[derive(Parser)]
struct Arguments {
    /// Directory of the servers' data, logs and pid files [default: .dev/run in the checkout]
    #[arg(long, global = true, value_name = "DIR")]
    run: Option<PathBuf>,
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Start them unless they run, and print the exports that name them
    Up {
        /// Start Prometheus and Alertmanager too, which watch the programs on this machine
        #[arg(long)]
        monitoring: bool,
    },
    /// Stop them
    Down {
        /// Remove their data and logs too
        #[arg(long)]
        wipe: bool,
    },
    /// Say what runs
    Status {
        /// For machines
        #[arg(long)]
        json: bool,
    },
    /// Run a command with servers of its own, which end with it
    With {
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Arguments { run, command } = Arguments::parse();
    let run = run.unwrap_or_else(|| repository().join(".dev/run"));
    let done = match command {
        Task::Up { monitoring } => up(&run, monitoring).await,
        Task::Down { wipe } => down(&run, wipe).await,
        Task::Status { json } => status(&run, json),
        Task::With { command } => with(&command).await,
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// The servers' addresses, as programs take them.
struct Addresses {
    mongodb: String,
    kafka: String,
}

impl Addresses {
    fn print_exports(&self) -> anyhow::Result<()> {
        let mut stdout = std::io::stdout();
        writeln!(stdout, "export {MONGODB}='{}'", self.mongodb)?;
        writeln!(stdout, "export {KAFKA}='{}'", self.kafka)?;
        Ok(())
    }
}

async fn up(run: &Path, monitored: bool) -> anyhow::Result<ExitCode> {
    let _lock = lock(run)?;
    // Both to their end: what could be started stays, to be found by the next `up`.
    let (mongodb, kafka) = tokio::join!(mongodb_up(run, monitored), kafka_up(run));
    let addresses = Addresses { mongodb: mongodb?, kafka: kafka? };
    if monitored {
        monitoring_up(run, &addresses).await?;
    }
    addresses.print_exports()?;
    Ok(ExitCode::SUCCESS)
}

async fn monitoring_up(run: &Path, addresses: &Addresses) -> anyhow::Result<()> {
    let home = run.join("monitoring");
    // Those of before watch what was there before.
    stop_all(&home).await?;
    eprintln!("Prometheus, Alertmanager and exporters start, logs in {}", home.display());
    let options = MonitoringOptions {
        mongodb_uri: addresses.mongodb.clone(),
        ingest: vec![INGEST.to_owned()],
        aggregator: vec![AGGREGATOR.to_owned()],
        dashboard: vec![DASHBOARD.to_owned()],
        backup: Vec::new(),
        certificates: with_tls(addresses).await?,
        alerts: AlertmanagerOptions { page_url: NOBODY.to_owned(), ticket_url: NOBODY.to_owned(), faster: 1 },
    };
    let started = Monitoring::start(&home, Ownership::Detached, &options).await;
    if started.is_err() {
        stop_all(&home).await?;
    }
    let Monitoring { prometheus, alertmanager, exporters, blackbox } = started?;
    for server in [&prometheus.server, &alertmanager].into_iter().chain(&exporters).chain(&blackbox) {
        note_address(&home.join(server.directory_name()), &server.url())?;
    }
    eprintln!("Prometheus:   {} (its alerts: {0}/alerts)", prometheus.server.url());
    eprintln!("Alertmanager: {}", alertmanager.url());
    eprintln!(
        "watched: `ingest run` on {INGEST}, `aggregator serve` on {AGGREGATOR} and `dashboard serve` on {DASHBOARD}, their defaults, and \
         MongoDB"
    );
    Ok(())
}

/// The servers that the settings reach by TLS.
async fn with_tls(addresses: &Addresses) -> anyhow::Result<Vec<String>> {
    let mongodb = ClientOptions::parse(&addresses.mongodb).await.context("MongoDB's URI is not one")?;
    let mut servers = Vec::new();
    if mongodb.tls.is_some_and(|tls| matches!(tls, Tls::Enabled(_))) || is_set("DEVTOOLKIT__MONGODB__CA_FILE") {
        servers.extend(mongodb.hosts.iter().map(ToString::to_string));
    }
    let protocol = std::env::var("DEVTOOLKIT__KAFKA__SECURITY_PROTOCOL").unwrap_or_default();
    if protocol.ends_with("ssl") {
        servers.extend(addresses.kafka.split(',').map(|broker| broker.trim().to_owned()));
    }
    Ok(servers)
}

fn is_set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| !value.is_empty())
}

/// The directories of what watches.
fn watching(home: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(home).into_iter().flatten().flatten();
    let mut homes: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    homes.sort();
    homes
}

/// Stops what watches; returns whether anything did.
async fn stop_all(home: &Path) -> anyhow::Result<bool> {
    let homes = watching(home);
    let stopped = try_join_all(homes.iter().map(|home| stop_recorded(home, STOP_DEADLINE))).await?;
    Ok(stopped.contains(&true))
}

async fn mongodb_up(run: &Path, monitored: bool) -> anyhow::Result<String> {
    let home = run.join("mongodb");
    let own = address(&home);
    if let Some(uri) = named_elsewhere(MONGODB, own.as_deref()) {
        eprintln!("MongoDB: the one that {MONGODB} names");
        reachable_mongodb(&uri).await?;
        return Ok(uri);
    }
    let process_home = home.join("mongod-0");
    if let (Some(uri), Some(pid)) = (own, recorded(&process_home)) {
        eprintln!("MongoDB already runs: {uri} (pid {pid})");
        if monitored {
            keep_diagnostic_data(&uri).await?;
        }
        return Ok(uri);
    }
    // Also one that an interrupted start left behind.
    stop_recorded(&process_home, STOP_DEADLINE).await?;
    eprintln!("MongoDB starts, log {}", process_home.join("log").display());
    let options = ReplicaSetOptions { monitored, ..shared_replica_set() };
    let started = ReplicaSet::start_in(Home::lasting(&home)?, Ownership::Detached, options).await;
    if started.is_err() {
        stop_recorded(&process_home, STOP_DEADLINE).await?;
    }
    let set = started?;
    note_address(&home, &set.uri())?;
    Ok(set.uri())
}

/// What the exporter reads, of a mongod that was started without it. `admin migrate` turns its record of slow operations on.
async fn keep_diagnostic_data(uri: &str) -> anyhow::Result<()> {
    let set = bson::doc! { "setParameter": 1, "diagnosticDataCollectionEnabled": true };
    let client = Client::with_uri_str(uri).await?;
    client.database("admin").run_command(set).await.context("MongoDB cannot be told to keep its diagnostic data")?;
    Ok(())
}

async fn kafka_up(run: &Path) -> anyhow::Result<String> {
    let home = run.join("kafka");
    let own = address(&home);
    if let Some(brokers) = named_elsewhere(KAFKA, own.as_deref()) {
        eprintln!("Kafka: the one that {KAFKA} names, {brokers}");
        reachable_kafka(&brokers).await?;
        return Ok(brokers);
    }
    if let (Some(brokers), Some(pid)) = (own, recorded(&home)) {
        eprintln!("Kafka already runs: {brokers} (pid {pid})");
        return Ok(brokers);
    }
    stop_recorded(&home, STOP_DEADLINE).await?;
    eprintln!("Kafka starts, log {}", home.join("log").display());
    let started = Kafka::start_in(Home::lasting(&home)?, Ownership::Detached, KafkaOptions::default()).await;
    if started.is_err() {
        stop_recorded(&home, STOP_DEADLINE).await?;
    }
    let kafka = started?;
    note_address(&home, &kafka.brokers())?;
    Ok(kafka.brokers())
}

async fn down(run: &Path, wipe: bool) -> anyhow::Result<ExitCode> {
    let _lock = lock(run)?;
    let (mongodb, kafka) = (run.join("mongodb/mongod-0"), run.join("kafka"));
    let (mongodb, kafka) =
        tokio::try_join!(stop_recorded(&mongodb, STOP_DEADLINE), stop_recorded(&kafka, STOP_DEADLINE))?;
    for (name, stopped) in [("MongoDB", mongodb), ("Kafka", kafka)] {
        eprintln!("{name} {}", if stopped { "stopped" } else { "did not run" });
    }
    if stop_all(&run.join("monitoring")).await? {
        eprintln!("Prometheus, Alertmanager and exporters stopped");
    }
    if wipe {
        std::fs::remove_dir_all(run).with_context(|| format!("cannot remove {}", run.display()))?;
        eprintln!("removed {}", run.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn status(run: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let mut servers =
        vec![("MongoDB".to_owned(), run.join("mongodb"), "mongod-0"), ("Kafka".to_owned(), run.join("kafka"), "")];
    for home in watching(&run.join("monitoring")) {
        servers.push((home.file_name().unwrap_or_default().to_string_lossy().into_owned(), home, ""));
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(["server", "state", "address", "log"]);
    let mut report = Vec::new();
    for (name, home, member) in servers {
        let process_home = home.join(member).components().collect::<PathBuf>();
        let pid = recorded(&process_home).map(|pid| pid.as_raw());
        let address = address(&home);
        let log = process_home.join("log");
        report.push(serde_json::json!({ "server": name, "pid": pid, "address": address, "log": log }));
        table.add_row([
            name,
            pid.map_or_else(|| "stopped".to_owned(), |pid| format!("runs, pid {pid}")),
            address.unwrap_or_else(|| "-".to_owned()),
            log.display().to_string(),
        ]);
    }
    let mut stdout = std::io::stdout();
    if json {
        writeln!(stdout, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        writeln!(stdout, "{table}")?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn with(command: &[String]) -> anyhow::Result<ExitCode> {
    // From here on an interrupt is only noted: the servers must be stopped and their directories removed.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

    let (mut replica_set, mut kafka) = tokio::try_join!(private_mongodb(), private_kafka())?;
    let addresses = Addresses {
        mongodb: replica_set.as_ref().map(ReplicaSet::uri).map_or_else(|| named(MONGODB), Ok)?,
        kafka: kafka.as_ref().map(Kafka::brokers).map_or_else(|| named(KAFKA), Ok)?,
    };
    // In a process group, so that an end before its time reaches whatever the command has started in turn.
    let mut child = tokio::process::Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .args(command)
        .env(MONGODB, &addresses.mongodb)
        .env(KAFKA, &addresses.kafka)
        .process_group(0)
        .spawn()
        .context("cannot run setpriv (of util-linux)")?;
    let group = Pid::from_raw(i32::try_from(child.id().context("the command has ended already")?)?);
    let end_group = async |child: &mut Child, signal: Signal| {
        killpg(group, signal)?;
        let status = child.wait().await?;
        let _ = killpg(group, Signal::SIGKILL);
        anyhow::Ok((status, true))
    };
    let (status, interrupted) = tokio::select! {
        status = child.wait() => (status?, false),
        _ = interrupt.recv() => end_group(&mut child, Signal::SIGINT).await?,
        _ = terminate.recv() => end_group(&mut child, Signal::SIGTERM).await?,
    };
    if !status.success() && !interrupted {
        let homes = [replica_set.as_mut().map(ReplicaSet::home), kafka.as_mut().map(Kafka::home)];
        for home in homes.into_iter().flatten() {
            home.keep();
            eprintln!("kept, with its logs: {}", home.path().display());
        }
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

async fn private_mongodb() -> anyhow::Result<Option<ReplicaSet>> {
    match std::env::var(MONGODB) {
        Ok(uri) => reachable_mongodb(&uri).await.map(|()| None),
        Err(_) => ReplicaSet::start(shared_replica_set()).await.map(Some),
    }
}

async fn private_kafka() -> anyhow::Result<Option<Kafka>> {
    match std::env::var(KAFKA) {
        Ok(brokers) => reachable_kafka(&brokers).await.map(|()| None),
        Err(_) => Kafka::start(KafkaOptions::default()).await.map(Some),
    }
}

fn shared_replica_set() -> ReplicaSetOptions {
    ReplicaSetOptions { cache_gb: 1.0, ..ReplicaSetOptions::default() }
}

async fn reachable_mongodb(uri: &str) -> anyhow::Result<()> {
    let ping = async {
        let mut options = ClientOptions::parse(uri).await?;
        options.server_selection_timeout = Some(Duration::from_secs(10));
        let client = Client::with_options(options)?;
        client.database("admin").run_command(bson::doc! { "ping": 1 }).await
    };
    // Without the URI, which may hold a password.
    ping.await.with_context(|| {
        format!("the MongoDB that {MONGODB} names does not answer: start it, or unset {MONGODB} to have one started")
    })?;
    Ok(())
}

async fn reachable_kafka(brokers: &str) -> anyhow::Result<()> {
    topic::ping(brokers, Duration::from_secs(10)).await.with_context(|| {
        format!("the Kafka that {KAFKA} names does not answer: start it, or unset {KAFKA} to have one started")
    })
}

fn named(variable: &str) -> anyhow::Result<String> {
    std::env::var(variable).with_context(|| format!("{variable} is not set"))
}

/// What the environment names, unless that is our own server, perhaps stopped since it was exported.
fn named_elsewhere(variable: &str, own: Option<&str>) -> Option<String> {
    std::env::var(variable).ok().filter(|named| Some(named.as_str()) != own)
}

fn address(home: &Path) -> Option<String> {
    std::fs::read_to_string(home.join("address")).ok()
}

fn note_address(home: &Path, address: &str) -> anyhow::Result<()> {
    let file = home.join("address");
    std::fs::write(&file, address).with_context(|| format!("cannot write {}", file.display()))
}

/// Two `up` at once would start everything twice.
fn lock(run: &Path) -> anyhow::Result<File> {
    std::fs::create_dir_all(run).with_context(|| format!("cannot create {}", run.display()))?;
    let path = run.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}
