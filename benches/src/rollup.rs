//! One day rolled up in four ways, in one run, because the machine's speed drifts: the floor (what the scan engine reads, read
//! and thrown away), both engines, and the pipelines that people write when they want the numbers one by one.

mod naive;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aggregator::fold::Fold;
use aggregator::scan;
use aggregator::scan::pass::Limits;
use aggregator::scan::pass::Part;
use aggregator::source::{BATCH, Source, within};
use aggregator::{lookup, pushdown};
use anyhow::{Context, ensure};
use benches::day;
use bson::RawDocumentBuf;
use common::day::Day;
use common::settings::Settings;
use futures::TryStreamExt;
use mongodb::options::ReadConcern;
use mongodb::{Client, Database};

use crate::process;
use crate::servers::Servers;
use crate::table;

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// Events of the day; several numbers show how cost grows
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000, 10_000_000])]
    events: Vec<usize>,
    /// How often floor and scan run in turn; the others run once
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Leaves out pushdown and the naive pipelines, which take minutes of 10,000,000 events
    #[arg(long)]
    scan_only: bool,
}

/// Seconds that each way took.
struct Measured {
    events: usize,
    floor: f64,
    scan: f64,
    ratio: f64,
    /// The same of the CPU time of server and benchmark together, which other programs disturb less.
    cpu_ratio: f64,
    pushdown: f64,
    naive: f64,
    program: f64,
    peak_mib: f64,
}

/// Runs every size and prints what each way took.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut servers = Servers::start().await?;
    let mut measured = Vec::new();
    for events in &options.events {
        measured.push(measure(&mut servers, *events, &options).await?);
    }
    println!("a day of {} users and {} tools; seconds", day::USERS, day::TOOLS);
    let header = [
        "events",
        "floor",
        "scan",
        "scan/floor",
        "of CPU",
        "pushdown",
        "pushdown/scan",
        "naive",
        "naive/scan",
        "program",
        "peak RSS MiB",
        "scan us/event",
        "growth",
    ];
    let per_event = |measured: &Measured| measured.scan * 1e6 / measured.events as f64;
    let first = measured.first().map_or(f64::NAN, per_event);
    let rows = measured.iter().map(|size| {
        vec![
            size.events.to_string(),
            format!("{:.2}", size.floor),
            format!("{:.2}", size.scan),
            format!("{:.3}", size.ratio),
            format!("{:.3}", size.cpu_ratio),
            format!("{:.2}", size.pushdown),
            format!("{:.1}", size.pushdown / size.scan),
            format!("{:.2}", size.naive),
            format!("{:.1}", size.naive / size.scan),
            format!("{:.2}", size.program),
            format!("{:.0}", size.peak_mib),
            format!("{:.2}", per_event(size)),
            format!("{:.2}", per_event(size) / first),
        ]
    });
    table::print(&header, rows);
    println!("scan, floor: medians of {} rounds; program: aggregator run as a whole", options.rounds);
    println!("targets: scan/floor <= 1.15, pushdown/scan >= 10, growth of the time per event <= 1.2, <= 512 MiB");
    Ok(())
}

async fn measure(servers: &mut Servers, events: usize, options: &Options) -> anyhow::Result<Measured> {
    let name = format!("rollup{events}");
    let database = Client::with_uri_str(servers.mongodb.uri()).await?.database(&name);
    let day = Day::yesterday();
    eprintln!("{events} events are inserted");
    day::insert(&database, day, events).await?;
    let settings = Settings::default().aggregator;
    let limits = Limits { readers: settings.scan_readers, memory: settings.scan_memory_mib * 1024 * 1024 };
    let mongod = servers.mongodb.member(0).pid().context("mongod is gone")?;
    let users = lookup::user_counts(&database, day).await?.total;
    let (mut floors, mut scans, mut ratios, mut cpu_ratios) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut totals = None;
    // Round 0 warms up the server's cache.
    for round in 0..=options.rounds {
        let meter = Meter::start(mongod);
        let bytes = floor(&database, day, limits.readers).await?;
        let (floor, floor_cpu) = meter.read();
        let meter = Meter::start(mongod);
        totals = Some(scan::count(&database, day, limits, &[], users).await?);
        let (scan, scan_cpu) = meter.read();
        eprintln!(
            "round {round}: floor {floor:.2} s, {floor_cpu:.2} s of CPU, {} MiB; scan {scan:.2} s, {scan_cpu:.2} s of CPU",
            bytes >> 20,
        );
        if round > 0 {
            floors.push(floor);
            scans.push(scan);
            ratios.push(scan / floor);
            cpu_ratios.push(scan_cpu / floor_cpu);
        }
    }
    let mut command = servers.program("aggregator", &name, "unused")?;
    command.args(["run", "--date", &day.to_string()]);
    let cost = tokio::task::spawn_blocking(|| process::measure(command)).await??;
    eprint!("{}", cost.stdout);
    let (mut pushed_down, mut naive) = (f64::NAN, f64::NAN);
    if !options.scan_only {
        let started = Instant::now();
        let counted = pushdown::count(&database, day).await?;
        pushed_down = started.elapsed().as_secs_f64();
        ensure!(Some(counted) == totals, "the engines disagree");
        eprintln!("pushdown {pushed_down:.2} s");
        naive = naive::run(&database, day).await?;
    }
    database.drop().await?;
    Ok(Measured {
        events,
        floor: table::median(floors),
        scan: table::median(scans),
        ratio: table::median(ratios),
        cpu_ratio: table::median(cpu_ratios),
        pushdown: pushed_down,
        naive,
        program: cost.wall.as_secs_f64(),
        peak_mib: cost.peak_mib,
    })
}

/// Time and CPU time of the server and this program, from a start on.
struct Meter {
    mongod: u32,
    started: Instant,
    cpu: Duration,
}

impl Meter {
    fn start(mongod: u32) -> Self {
        Self { mongod, started: Instant::now(), cpu: Self::cpu(mongod) }
    }

    /// Seconds, and seconds of CPU.
    fn read(&self) -> (f64, f64) {
        (self.started.elapsed().as_secs_f64(), (Self::cpu(self.mongod) - self.cpu).as_secs_f64())
    }

    fn cpu(mongod: u32) -> Duration {
        [mongod, std::process::id()].into_iter().filter_map(process::cpu_time).sum()
    }
}

/// Reads what the scan engine reads, in as many slices, with the same projection, and throws it away; returns its bytes. The
/// users created before the day belong to it: without them nobody knows who has returned.
async fn floor(database: &Database, day: Day, readers: usize) -> anyhow::Result<usize> {
    const SLICES: usize = 96;
    let next = Arc::new(AtomicUsize::new(0));
    let readers = (0..readers).map(|_| {
        let (database, next) = (database.clone(), Arc::clone(&next));
        tokio::spawn(async move {
            let mut read = 0;
            loop {
                let slice = next.fetch_add(1, Ordering::Relaxed);
                if slice >= SLICES {
                    return anyhow::Ok(read);
                }
                let from = day.start() + chrono::TimeDelta::minutes(15) * i32::try_from(slice)?;
                for source in Source::ALL {
                    let mut batches = database
                        .collection::<RawDocumentBuf>(source.collection())
                        .find(within(from, from + chrono::TimeDelta::minutes(15)))
                        .projection(<Fold as Part>::projection(source))
                        .batch_size(BATCH)
                        .read_concern(ReadConcern::majority())
                        .batch()
                        .await?;
                    while let Some(batch) = batches.try_next().await? {
                        read += batch.as_raw_document().as_bytes().len();
                    }
                }
            }
        })
    });
    let mut read = 0;
    for reader in futures::future::join_all(readers).await {
        read += reader.context("a reader ended early")??;
    }
    let mut users = lookup::users_before(database, day).await?;
    while let Some(batch) = users.try_next().await? {
        read += batch.as_raw_document().as_bytes().len();
    }
    Ok(read)
}
