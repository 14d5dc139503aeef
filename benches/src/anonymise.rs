//! A day anonymised at full speed: seconds, and the CPU of mongod for each event beside that of its insertion. Then ingest alone and
//! beside an anonymisation, in turn, at several rates.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use benches::day;
use bson::{DateTime, Document, doc};
use common::day::Day;
use common::schema;
use mongodb::{Database, IndexModel};

use crate::ingest::{self, TOPIC};
use crate::process::{self, cpu_time};
use crate::servers::Servers;
use crate::table;

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// Events of the day
    #[arg(long, default_value_t = 1_000_000)]
    events: usize,
    /// Events that ingest takes over in each round
    #[arg(long, default_value_t = 300_000)]
    ingested: usize,
    /// How often ingest runs alone, and beside each rate
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// privacy.anonymise_events_per_second, one after the other; 0 is no limit
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 2_000, 4_000, 0])]
    rates: Vec<u32>,
}

/// Runs all of it and prints the figures.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut servers = Servers::start().await?;
    let mongod = servers.mongodb.member(0).pid().context("mongod is gone")?;
    let per_event = |cpu: Duration, events: usize| cpu.as_secs_f64() * 1e6 / events as f64;

    let before = cpu_time(mongod).unwrap_or_default();
    eprintln!("a day of {} events is inserted and rolled up", options.events);
    let day = Day::today().minus(8);
    let database = closed_day(&servers, "anonymised", day, options.events).await?;
    let inserted = cpu_time(mongod).unwrap_or_default() - before;
    let before = cpu_time(mongod).unwrap_or_default();
    let mut command = anonymise(&servers, "anonymised", day, 0)?;
    command.stderr(Stdio::inherit());
    let cost = tokio::task::spawn_blocking(|| process::measure(command)).await??;
    let cpu = cpu_time(mongod).unwrap_or_default() - before;
    print!("{}", cost.stdout);
    let seconds = cost.wall.as_secs_f64();
    println!(
        "{} events in {seconds:.1} s, {:.0} a second; mongod {:.1} us of CPU an event (insertion, indexes and roll-up of the same: {:.1}), \
         program {:.1} us, peak {:.0} MiB",
        options.events,
        options.events as f64 / seconds,
        per_event(cpu, options.events),
        per_event(inserted, options.events),
        per_event(cost.cpu, options.events),
        cost.peak_mib,
    );
    database.drop().await?;

    eprintln!("{} events are put on the topic", options.ingested);
    ingest::produce(&servers, options.ingested)?;
    let mut rows = Vec::new();
    for rate in &options.rates {
        let name = format!("beside{rate}");
        let database = closed_day(&servers, &name, day, options.events).await?;
        let mut ratios = Vec::new();
        // Round 0 warms up the broker.
        for round in 0..=options.rounds {
            let (alone, _) = ingest::ingest(&servers, options.ingested, &format!("alone{rate}-{round}")).await?;
            let mut running = anonymise(&servers, &name, day, *rate)?.stdout(Stdio::null()).spawn()?;
            let (count, started) = (rewritten(&database).await?, Instant::now());
            let (beside, _) = ingest::ingest(&servers, options.ingested, &format!("beside{rate}-{round}")).await?;
            let reached = (rewritten(&database).await? - count) as f64 / started.elapsed().as_secs_f64();
            let is_running = end(&mut running)?;
            eprintln!(
                "rate {rate}: ingest alone {alone:.0}, beside {beside:.0}; {reached:.0} anonymised a second; at work until the end: {is_running}"
            );
            if round > 0 {
                ratios.push(beside / alone);
                rows.push(vec![
                    rate.to_string(),
                    format!("{alone:.0}"),
                    format!("{beside:.0}"),
                    format!("{:.3}", beside / alone),
                    format!("{reached:.0}"),
                ]);
            }
        }
        rows.push(vec![
            format!("{rate}, median"),
            String::new(),
            String::new(),
            format!("{:.3}", table::median(ratios)),
        ]);
        database.drop().await?;
    }
    table::print(&["rate", "ingest alone", "beside", "ratio", "anonymised/s"], rows);
    println!(
        "targets: ratio >= 0.9 at the default rate, mongod's CPU of an event at most half of 161/33 of its insertion"
    );
    Ok(())
}

/// A day with the indexes of the reference, rolled up and closed long enough ago.
async fn closed_day(servers: &Servers, name: &str, day: Day, events: usize) -> anyhow::Result<Database> {
    let database = mongodb::Client::with_uri_str(servers.mongodb.uri()).await?.database(name);
    for collection in schema::wanted(false) {
        if !["usage_analytics", "activity_logs"].contains(&collection.name.as_str()) {
            continue;
        }
        for index in collection.indexes.iter().filter(|index| index.expire_after.is_none()) {
            let keys = index.keys.iter().cloned().collect::<Document>();
            let model = IndexModel::builder().keys(keys).build();
            database.collection::<Document>(&collection.name).create_index(model).await?;
        }
    }
    day::insert(&database, day, events).await?;
    let mut command = servers.program("aggregator", name, TOPIC)?;
    command.args(["run", "--date", &day.to_string()]);
    let rolled = tokio::task::spawn_blocking(move || command.status()).await??;
    ensure!(rolled.success(), "the day was not rolled up");
    let closed = DateTime::from_chrono(day.end());
    let set = doc! { "sealedAt": closed, "anonymisation": { "closedAt": closed } };
    database
        .collection::<Document>("rollup_days")
        .update_one(doc! { "_id": day.to_string() }, doc! { "$set": set })
        .await?;
    Ok(database)
}

fn anonymise(servers: &Servers, name: &str, day: Day, rate: u32) -> anyhow::Result<Command> {
    let mut command = servers.program("aggregator", name, TOPIC)?;
    command
        .args(["anonymise", "--date", &day.to_string()])
        .env("DEVTOOLKIT__PRIVACY__ANONYMISE_EVENTS_PER_SECOND", rate.to_string());
    Ok(command)
}

async fn rewritten(database: &Database) -> anyhow::Result<u64> {
    let mut rewritten = 0;
    for collection in ["usage_analytics", "activity_logs"] {
        rewritten += database.collection::<Document>(collection).count_documents(doc! { "anonymised": true }).await?;
    }
    Ok(rewritten)
}

/// Ends it, and says whether it was at work until now.
fn end(running: &mut Child) -> anyhow::Result<bool> {
    let is_running = running.try_wait()?.is_none();
    if is_running {
        running.kill()?;
    }
    running.wait()?;
    Ok(is_running)
}
