//! MongoDB away for minutes under load: what memory that takes, what is dead-lettered, and how soon the full rate is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bson::{Document, doc};
use e2e::topic;
use mongodb::Database;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use crate::ingest::{TOPIC, event};
use crate::process::{peak_memory, resident_memory};
use crate::servers::Servers;
use crate::table;

/// How long the load runs before the outage: its rate is the full rate.
const BEFORE: Duration = Duration::from_secs(20);

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// How long MongoDB is away
    #[arg(long, default_value_t = 180)]
    seconds: u64,
    /// Events sent in a second, throughout
    #[arg(long, default_value_t = 5_000)]
    rate: u64,
}

/// Runs one outage and prints what came of it; fails when an event is lost or dead-lettered.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut servers = Servers::start().await?;
    let database = servers.migrate("outage", TOPIC).await?;
    let mut worker = servers.program("ingest", "outage", TOPIC)?.arg("run").spawn()?;
    let pid = worker.id();
    let (sent, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let load = {
        let (brokers, sent, is_over) = (servers.kafka.brokers(), Arc::clone(&sent), Arc::clone(&is_over));
        tokio::task::spawn_blocking(move || send(&brokers, options.rate, &sent, &is_over))
    };
    tokio::time::sleep(BEFORE).await;
    let before = peak_memory(pid).context("the worker is gone")?;

    eprintln!("MongoDB is killed, for {} s", options.seconds);
    servers.mongodb.member(0).kill()?;
    let mut highest: f64 = 0.0;
    for _ in 0..options.seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        highest = highest.max(resident_memory(pid).context("the worker is gone")?);
    }
    let backlog_from = sent.load(Ordering::Relaxed);
    servers.mongodb.member(0).start().await?;
    servers.mongodb.wait_for_primary().await?;
    let returned = Instant::now();
    eprintln!("MongoDB is back");
    let full_rate_after = until_rate(&database, options.rate, returned).await?;
    let caught_up_after = loop {
        let behind = sent.load(Ordering::Relaxed).saturating_sub(stored(&database).await?);
        if behind <= options.rate {
            break returned.elapsed();
        }
        ensure!(returned.elapsed() < Duration::from_secs(600), "{behind} events are still missing");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    is_over.store(true, Ordering::Relaxed);
    load.await??;
    let sent = sent.load(Ordering::Relaxed);
    let deadline = Instant::now() + Duration::from_secs(60);
    while stored(&database).await? < sent && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let stored = database.collection::<Document>("usage_analytics").count_documents(doc! {}).await?;
    let letters = topic::read(&servers.kafka.brokers(), &format!("{TOPIC}.dlq")).await?.len();
    let after = peak_memory(pid).context("the worker is gone")?;
    worker.kill()?;
    worker.wait()?;
    let seconds = |duration: Duration| format!("{:.1}", duration.as_secs_f64());
    table::print(
        &["MongoDB away under load", ""],
        [
            ("away, s", options.seconds.to_string()),
            ("events sent in a second", options.rate.to_string()),
            ("events sent", sent.to_string()),
            ("sent before its return", backlog_from.to_string()),
            ("documents stored", stored.to_string()),
            ("dead letters", letters.to_string()),
            ("peak RSS before, MiB", format!("{before:.0}")),
            ("highest RSS while away, MiB", format!("{highest:.0}")),
            ("peak RSS in all, MiB", format!("{after:.0}")),
            ("full rate after its return, s", seconds(full_rate_after)),
            ("caught up after its return, s", seconds(caught_up_after)),
        ]
        .map(|(what, figure)| vec![what.to_owned(), figure]),
    );
    ensure!(stored == sent && letters == 0, "{stored} of {sent} events are stored, {letters} are dead letters");
    Ok(())
}

/// Sends at a steady rate until it is over; counts what the broker has acknowledged at the end.
fn send(brokers: &str, rate: u64, sent: &AtomicU64, is_over: &AtomicBool) -> anyhow::Result<()> {
    let producer: ThreadedProducer<_> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("compression.type", "lz4")
        .set("linger.ms", "20")
        .set("acks", "all")
        .create()?;
    let start = Instant::now();
    let mut number = 0;
    while !is_over.load(Ordering::Relaxed) {
        while number < (start.elapsed().as_secs_f64() * rate as f64) as u64 {
            let json = event(usize::try_from(number)?);
            let key = number.to_string();
            producer.send(BaseRecord::to(TOPIC).key(&key).payload(&json)).map_err(|(error, _)| error)?;
            number += 1;
        }
        sent.store(number, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(5));
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(())
}

async fn stored(database: &Database) -> anyhow::Result<u64> {
    Ok(database.collection::<Document>("usage_analytics").estimated_document_count().await?)
}

/// How long after `returned` the first second began in which as many events were stored as are sent in one.
async fn until_rate(database: &Database, rate: u64, returned: Instant) -> anyhow::Result<Duration> {
    let mut last = stored(database).await?;
    loop {
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = stored(database).await?;
        if (now.saturating_sub(last)) as f64 >= rate as f64 * begun.elapsed().as_secs_f64() {
            return Ok(begun.duration_since(returned));
        }
        ensure!(returned.elapsed() < Duration::from_secs(300), "the full rate did not come back");
        last = now;
    }
}
