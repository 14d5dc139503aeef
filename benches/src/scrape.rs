//! What it costs ingest at full rate that Prometheus reads its metrics: the same backlog with and without, both in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use bson::oid::ObjectId;
use bson::{Document, doc};
use e2e::servers::free_port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ingest::{self, TOPIC};
use crate::process::{self, Cost};
use crate::servers::Servers;
use crate::table;

/// As often as Prometheus reads: scrape_interval of config/prometheus/prometheus.yml.
const WANTED: Duration = Duration::from_secs(15);
/// As often as it is read here, so that the cost stands out of the noise.
const EVERY: Duration = Duration::from_millis(250);
/// As many tools as have series of their own: /metrics is as long as it gets.
const TOOLS: u64 = 500;

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// Events on the topic
    #[arg(long, default_value_t = 1_000_000)]
    events: usize,
    /// How often each side runs
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Runs both sides in turn and prints what scrapes cost.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let servers = Servers::start().await?;
    servers.migrate("warm", TOPIC).await?.drop().await?;
    eprintln!("{} events are put on the topic", options.events);
    ingest::produce(&servers, options.events)?;
    let (mut rows, mut costs) = (Vec::new(), Vec::new());
    // Round 0 warms up the broker's JIT compiler.
    for round in 0..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        let (without, _) = take_over(&servers, &format!("quiet{round}"), false).await?;
        let (with, Scrapes { answers, bytes }) = take_over(&servers, &format!("scraped{round}"), true).await?;
        ensure!(answers > 0, "ingest was done before the first scrape; take more --events");
        let more = with.cpu.as_secs_f64() / without.cpu.as_secs_f64() - 1.0;
        // Each run has taken another while, and with it other numbers of scrapes: what counts is how many there would be.
        let often = WANTED.as_secs_f64() * answers as f64 / with.wall.as_secs_f64();
        if round > 0 {
            costs.push(more / often);
        }
        let per_event = |cost: &Cost| format!("{:.3}", cost.cpu.as_secs_f64() * 1e6 / options.events as f64);
        rows.push(vec![
            if round > 0 { round.to_string() } else { "warm-up".to_owned() },
            per_event(&without),
            per_event(&with),
            answers.to_string(),
            format!("{:.0}", bytes as f64 / answers as f64 / 1_024.0),
            format!("{:+.2} %", more * 100.0),
            format!("{:+.2} %", more / often * 100.0),
        ]);
    }
    let header = [
        "round",
        "us CPU/event",
        "us CPU/event, scraped",
        "scrapes",
        "KiB each",
        "more CPU",
        "more CPU at one in 15 s",
    ];
    table::print(&header, rows);
    println!(
        "a scrape every {} s costs {:+.2} % of the CPU that ingest takes at full rate (median; target < 1 %)",
        WANTED.as_secs(),
        table::median(costs) * 100.0
    );
    Ok(())
}

/// What was read of /metrics.
#[derive(Clone, Copy)]
struct Scrapes {
    answers: usize,
    bytes: usize,
}

async fn take_over(servers: &Servers, name: &str, is_scraped: bool) -> anyhow::Result<(Cost, Scrapes)> {
    let database = servers.migrate(name, TOPIC).await?;
    let tools = (0..TOOLS).map(|number| {
        let id = ObjectId::parse_str(format!("65b0{number:020x}")).unwrap_or_default();
        doc! { "_id": id, "slug": format!("a-tool-with-a-name-of-usual-length-{number}") }
    });
    database.collection::<Document>("tools").insert_many(tools).bypass_document_validation(true).await?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = servers.program("ingest", name, TOPIC)?;
    command.args(["run", "--until-caught-up"]).env("DEVTOOLKIT__TELEMETRY__LISTEN", &address);
    let (answers, bytes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let scraper = is_scraped.then(|| tokio::spawn(scrape(address, Arc::clone(&answers), Arc::clone(&bytes))));
    let cost = tokio::task::spawn_blocking(|| process::measure(command)).await?;
    if let Some(scraper) = scraper {
        scraper.abort();
    }
    database.drop().await?;
    Ok((cost?, Scrapes { answers: answers.load(Ordering::Relaxed), bytes: bytes.load(Ordering::Relaxed) }))
}

async fn scrape(address: String, answers: Arc<AtomicUsize>, bytes: Arc<AtomicUsize>) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        // There is no answer before the program listens, and after it has ended.
        if let Ok(length) = read(&address).await {
            answers.fetch_add(1, Ordering::Relaxed);
            bytes.fetch_add(length, Ordering::Relaxed);
        }
    }
}

async fn read(address: &str) -> anyhow::Result<usize> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("half an answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    Ok(body.len())
}
