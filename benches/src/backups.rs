//! What backups cost ingest at full rate: the same backlog without backups, with slices of the oplog beside it, and with full backups
//! one after another beside it, in turn.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::ensure;

use crate::ingest::{self, TOPIC};
use crate::process::{self, Cost};
use crate::servers::Servers;
use crate::table;

/// A slice holds what was written since the last one: how often slices come hardly changes what they cost. A minute, as shipped,
/// is longer than a run.
const SLICE_INTERVAL: &str = "5s";

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// Events on the topic
    #[arg(long, default_value_t = 1_000_000)]
    events: usize,
    /// How often each side runs
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

#[derive(Clone, Copy)]
enum Beside {
    Nothing,
    Slices,
    FullBackups,
}

/// Runs all sides in turn and prints what backups cost.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let servers = Servers::start().await?;
    servers.migrate("warm", TOPIC).await?.drop().await?;
    eprintln!("{} events are put on the topic", options.events);
    ingest::produce(&servers, options.events)?;
    let (mut rows, mut slices, mut fulls) = (Vec::new(), Vec::new(), Vec::new());
    // Round 0 warms up the broker's JIT compiler.
    for round in 0..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        let rate = |cost: &Cost| options.events as f64 / cost.wall.as_secs_f64();
        let (without, _) = take_over(&servers, &format!("alone{round}"), Beside::Nothing).await?;
        let (with_slices, count_of_slices) = take_over(&servers, &format!("slices{round}"), Beside::Slices).await?;
        let (with_fulls, count_of_fulls) = take_over(&servers, &format!("fulls{round}"), Beside::FullBackups).await?;
        let [without, with_slices, with_fulls] = [&without, &with_slices, &with_fulls].map(rate);
        let loss = |with: f64| (1.0 - with / without) * 100.0;
        if round > 0 {
            slices.push(loss(with_slices));
            fulls.push(loss(with_fulls));
        }
        rows.push(vec![
            if round > 0 { round.to_string() } else { "warm-up".to_owned() },
            format!("{without:.0}"),
            format!("{with_slices:.0}"),
            count_of_slices.to_string(),
            format!("{:+.1} %", -loss(with_slices)),
            format!("{with_fulls:.0}"),
            count_of_fulls.to_string(),
            format!("{:+.1} %", -loss(with_fulls)),
        ]);
    }
    let header = ["round", "events/s", "with slices", "slices", "", "with full backups", "backups", ""];
    table::print(&header, rows);
    println!(
        "slices of the oplog take {:.1} % of ingest's rate, a full backup {:.1} % while it is made (medians; target < 5 %); all share {} cores",
        table::median(slices),
        table::median(fulls),
        std::thread::available_parallelism()?
    );
    Ok(())
}

/// What ingest cost, and how many backups were made beside it.
async fn take_over(servers: &Servers, name: &str, beside: Beside) -> anyhow::Result<(Cost, usize)> {
    let database = servers.migrate(name, TOPIC).await?;
    let directory = tempfile::tempdir()?;
    let admin = |words: &[&str]| -> anyhow::Result<Command> {
        let path = |file: &str| directory.path().join(file).display().to_string();
        let mut command = servers.program("admin", name, TOPIC)?;
        command
            .args(words)
            .env("DEVTOOLKIT__BACKUP__STORAGE", format!("file://{}", path("backups")))
            .env("DEVTOOLKIT__BACKUP__RECIPIENT_FILE", path("recipient"))
            .env("DEVTOOLKIT__BACKUP__SLICE_INTERVAL", SLICE_INTERVAL)
            .stdout(std::process::Stdio::null());
        Ok(command)
    };
    let path = |file: &str| directory.path().join(file).display().to_string();
    let (identity, recipient) = (path("identity"), path("recipient"));
    let words = ["backup", "create-identity", "--out", &identity, "--recipient-out", &recipient];
    succeed(admin(&words)?)?;
    succeed(admin(&["backup", "run", "--full"])?)?;

    let schedule = match beside {
        Beside::Slices => Some(Scheduled(admin(&["backup", "schedule"])?.spawn()?)),
        Beside::Nothing | Beside::FullBackups => None,
    };
    let is_over = Arc::new(AtomicBool::new(false));
    let fulls = matches!(beside, Beside::FullBackups).then(|| {
        let (is_over, command) = (Arc::clone(&is_over), admin(&["backup", "run", "--full"]));
        tokio::task::spawn_blocking(move || {
            let mut command = command?;
            while !is_over.load(Ordering::Relaxed) {
                ensure!(command.status()?.success(), "admin backup run failed");
            }
            Ok(())
        })
    });
    let mut command = servers.program("ingest", name, TOPIC)?;
    command.args(["run", "--until-caught-up"]);
    let cost = tokio::task::spawn_blocking(|| process::measure(command)).await?;
    is_over.store(true, Ordering::Relaxed);
    drop(schedule);
    if let Some(fulls) = fulls {
        fulls.await??;
    }
    let made = match beside {
        Beside::Nothing => 0,
        Beside::Slices => count(&directory.path().join("backups/slice")),
        // Without the first.
        Beside::FullBackups => count(&directory.path().join("backups/full")) - 1,
    };
    database.drop().await?;
    Ok((cost?, made))
}

fn succeed(mut command: Command) -> anyhow::Result<()> {
    ensure!(command.status()?.success(), "{command:?} failed");
    Ok(())
}

fn count(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

/// Ends with the round.
struct Scheduled(Child);

impl Drop for Scheduled {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
