//! `aggregator`: rolls days up, keeps them rolled up, and shows them.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use chrono::Utc;
use clap::{Args, Parser, Subcommand, ValueEnum};
use common::cron::Schedule;
use common::day::Day;
use common::documents::system_analytics::Engine;
use common::program::{self, Common, WrongUsage};
use common::settings::Settings;
use common::telemetry::{Part, Readiness};
use common::tombstones::follow;
use common::{error_line, mongo, print_line, shutdown, telemetry, terminal, watchdog};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use aggregator::anonymise::{Anonymiser, by_hand};
use aggregator::lease::{self, Held};
use aggregator::observe::Observer;
use aggregator::rolled::Rolled;
use aggregator::rollup::Rollup;
use aggregator::scan::pass::Limits;
use aggregator::schedule;
use aggregator::{counters, lookup, metrics, retry, serve, show, status, verify};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PORT: u16 = 9465;

/// Rolls each day of events up into one system_analytics document
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Rolls up a day, or every day of a range; doing so again gives the same documents. Today's document is provisional
    Run(Run),
    /// Rolls up every finished day, now and whenever aggregator.schedule fires, and keeps today's numbers fresh
    Serve,
    /// Asks the serving process of the same settings whether it is ready; exit code 0 if so, else 1 and the reason
    CheckReady,
    /// Lists the days: state, inputs, duration, age
    Status {
        /// Only the newest days
        #[arg(long, value_name = "DAYS", default_value_t = 31)]
        last: usize,
    },
    /// Shows one day's numbers beside those of the day before
    Show {
        /// The day, YYYY-MM-DD, in UTC
        #[arg(long, value_name = "DAY")]
        date: Day,
        /// The whole document, as relaxed Extended JSON
        #[arg(long)]
        json: bool,
    },
    Anonymise(Anonymise),
    /// Computes days with both engines and compares these and the stored documents, field by field; writes nothing
    Verify {
        #[command(flatten)]
        days: Days,
        /// Every day and difference, as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    days: Days,
    /// What computes the numbers; without it, the setting aggregator.engine decides
    #[arg(long, value_enum)]
    engine: Option<EngineName>,
    /// Leaves out days that are done and have no late events: goes on where an interrupted run ended
    #[arg(long)]
    resume: bool,
    /// Rolls a day up although events that its last roll-up counted are gone: only where they were removed on purpose
    #[arg(long)]
    accept_removed: bool,
}

/// Removes from the raw events of finished days what names somebody, for good; their published numbers stay as they are
///
/// aggregator serve does so by itself when privacy.anonymise is true. The day is closed for late events: ingest sends its events
/// to the dead letters (day_sealed) from then on. After half a minute, when the day's numbers count every event,
/// userId and sessionId become pseudonyms (equal within the day, with nothing in common between two
/// days), and addresses, user agents, referrers, regions, cities and error messages are removed, with everything of
/// customData that privacy.custom_data_allowed does not name. Then the key of the pseudonyms is destroyed: nobody can undo it.
/// Killed at any point, the next run goes on. A day is anonymised once; again does nothing.
///
/// Examples:
///   aggregator anonymise --date 2024-01-15
///   aggregator anonymise --from 2024-01-01 --to 2024-01-31
///   aggregator anonymise --date 2024-01-15 --yes-close-early
#[derive(Args)]
#[command(verbatim_doc_comment)]
struct Anonymise {
    #[command(flatten)]
    days: Days,
    /// Also a day that is younger than privacy.late_arrival: its late events will be refused
    #[arg(long)]
    yes_close_early: bool,
    /// Every day and its documents, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Days {
    /// The day, YYYY-MM-DD, in UTC
    #[arg(long, value_name = "DAY", conflicts_with_all = ["from", "to"])]
    date: Option<Day>,
    /// First day of a range, YYYY-MM-DD, in UTC
    #[arg(long, value_name = "DAY", requires = "to")]
    from: Option<Day>,
    /// Last day of the range
    #[arg(long, value_name = "DAY", requires = "from")]
    to: Option<Day>,
}

#[derive(Clone, Copy, ValueEnum)]
enum EngineName {
    /// Streams the events out of MongoDB and folds them here
    Scan,
    /// Lets MongoDB's aggregation pipelines do the work
    Pushdown,
}

impl From<EngineName> for Engine {
    fn from(name: EngineName) -> Self {
        match name {
            EngineName::Scan => Self::Scan,
            EngineName::Pushdown => Self::Pushdown,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::run(async move {
        let settings = cli.common.settings()?;
        telemetry::init_logging(&settings.telemetry)?;
        match cli.command {
            Command::Run(options) => run(&settings, &options).await,
            Command::Serve => serve(&settings).await,
            Command::CheckReady => telemetry::check_ready(&settings.telemetry, PORT).await,
            Command::Status { last } => status(&settings, last).await,
            Command::Show { date, json } => show(&settings, date, json).await,
            Command::Anonymise(options) => anonymise(&settings, &options).await,
            Command::Verify { days, json } => verify(&settings, &days, json).await,
        }
    })
}

async fn run(settings: &Settings, options: &Run) -> anyhow::Result<()> {
    let mut days =
        options.days.until(Day::today(), "has not begun in UTC; the last day that can be rolled up is today,")?;
    let mut rollup = rollup(settings).await?;
    if let Some(engine) = options.engine {
        rollup.engine = engine.into();
    }
    rollup.accepts_removed = options.accept_removed;
    if options.resume {
        let settled = lookup::settled_days(&rollup.database).await?;
        days.retain(|day| !settled.contains(day));
    }
    let lease = retry::passing_faults(|| lease::acquire(&rollup.database)).await?;
    let result = run_days(&rollup, &lease, &days).await;
    lease.release().await;
    result
}

async fn run_days(rollup: &Rollup, lease: &Held, days: &[Day]) -> anyhow::Result<()> {
    counters::reset(&rollup.database, lease, Day::today()).await?;
    if let [day] = *days {
        print_line!("{}", summary(&rollup.day(lease, day).await?));
        return Ok(());
    }
    let progress = progress_bar(days.len());
    let mut failed = 0;
    for day in days.iter().copied() {
        progress.set_message(day.to_string());
        match rollup.day(lease, day).await {
            Ok(rolled) => progress.suspend(|| print_line!("{}", summary(&rolled))),
            // Without its server every other day would fail too.
            Err(error) if retry::is_passing(&error) || lease::is_taken_over(&error) => return Err(error),
            Err(error) => {
                progress.suspend(|| error_line!("error: {}", mongo::in_words(&error)));
                failed += 1;
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    if failed > 0 {
        bail!("{failed} of the days could not be rolled up; the others were");
    }
    Ok(())
}

async fn serve(settings: &Settings) -> anyhow::Result<()> {
    let schedule = Schedule::parse("aggregator.schedule", &settings.aggregator.schedule)?;
    let shutdown = shutdown::token()?;
    watchdog::watch_runtime()?;
    let recorder = common::metrics::install("aggregator", metrics::METRICS)?;
    let readiness = Readiness::starting(&[Part::Mongodb]);
    telemetry::serve(&settings.telemetry, PORT, recorder, readiness.clone(), shutdown.clone()).await?;
    let rollup = rollup(settings).await?;
    tokio::spawn(follow::watch_readiness(settings.clone(), rollup.database.clone(), readiness.clone()));
    // Once before it is ready, so that no number is shown that was never looked at.
    let mut observer = Observer::new(rollup.database.clone(), settings, readiness.clone());
    observer.look().await;
    tokio::spawn(observer.follow());
    readiness.ready();
    let anonymiser = Anonymiser::new(rollup.clone(), settings.privacy.clone());
    if settings.privacy.anonymise {
        anonymiser.check().await?;
    }
    serve::serve(&rollup, anonymiser, &schedule, settings.aggregator.refresh, &shutdown).await;
    Ok(())
}

async fn status(settings: &Settings, last: usize) -> anyhow::Result<()> {
    let database = mongo::connect(&settings.mongodb).await?;
    let first_event = lookup::first_day_with_events(&database).await?;
    let lines = status::lines(lookup::day_states(&database).await?, first_event, Day::today());
    if lines.is_empty() {
        print_line!("There are no events of a finished day yet, so there is no day to roll up.");
        return Ok(());
    }
    print_line!("{}", status::table(&lines[..lines.len().min(last)], Utc::now()));
    if lines.len() > last {
        print_line!("{} earlier days are not listed; see them with --last {}", lines.len() - last, lines.len());
    }
    Ok(())
}

async fn show(settings: &Settings, day: Day, json: bool) -> anyhow::Result<()> {
    let database = mongo::connect(&settings.mongodb).await?;
    let Some(document) = lookup::daily_document(&database, day).await? else {
        let now = Utc::now();
        let is_sealed = lookup::day_state(&database, day).await?.is_some_and(|state| state.is_sealed(now));
        bail!(show::missing(day, schedule::is_over(day, now), is_sealed));
    };
    if json {
        let document = bson::serialize_to_bson(&document)?.into_relaxed_extjson();
        terminal::print_json(&document)?;
    } else {
        let yesterday = lookup::daily_document(&database, day.previous()).await?;
        print_line!("{}", show::page(&document, yesterday.as_ref()));
        if let Some(line) = show::anonymised(lookup::day_state(&database, day).await?.as_ref()) {
            print_line!("{line}");
        }
        let history = lookup::daily_documents(&database, day.minus(show::HISTORY_DAYS - 1), day).await?;
        print_line!("\n{}", show::history(&history, day));
    }
    Ok(())
}

async fn anonymise(settings: &Settings, options: &Anonymise) -> anyhow::Result<()> {
    let days =
        options.days.until(Day::yesterday(), "is not over yet in UTC; the last day that can be anonymised is")?;
    let rollup = rollup(settings).await?;
    let mut anonymiser = Anonymiser::new(rollup.clone(), settings.privacy.clone());
    if options.yes_close_early {
        anonymiser.close_early();
    }
    anonymiser.check().await?;
    let lease = retry::passing_faults(|| lease::acquire(&rollup.database)).await?;
    let result = anonymise_days(&mut anonymiser, &lease, &days, options.json).await;
    lease.release().await;
    result
}

async fn anonymise_days(anonymiser: &mut Anonymiser, lease: &Held, days: &[Day], json: bool) -> anyhow::Result<()> {
    let mut reports = Vec::new();
    // All at once, so that they wait together for what ingest accepted before.
    for day in days.iter().copied() {
        anonymiser.close(lease, day).await?;
    }
    for day in days.iter().copied() {
        let progress = documents_bar(anonymiser.events(day).await?).with_prefix(day.to_string());
        anonymiser.show_on(progress.clone());
        let report = by_hand::day(anonymiser, lease, day).await;
        progress.finish_and_clear();
        let report = report?;
        if !json {
            print_line!("{}", by_hand::summary(&report));
        }
        reports.push(report);
    }
    if json {
        terminal::print_json(&reports)?;
    }
    Ok(())
}

async fn verify(settings: &Settings, days: &Days, json: bool) -> anyhow::Result<()> {
    let days = days.until(Day::yesterday(), "is not over yet in UTC; the last day that can be verified is")?;
    let rollup = rollup(settings).await?;
    let mut verified = Vec::new();
    for day in days {
        let day = retry::passing_faults(|| verify::day(&rollup, day)).await?;
        if !json {
            print_line!("{}", verify::summary(&day));
        }
        verified.push(day);
    }
    if json {
        terminal::print_json(&verified)?;
    } else if let Some(table) = verify::table(&verified) {
        print_line!("{table}");
    }
    let wrong = verified.iter().filter(|day| !day.is_right()).count();
    if wrong > 0 {
        bail!("{wrong} of {} days are not as they should be", verified.len());
    }
    Ok(())
}

impl Days {
    /// Oldest first, so that each day finds its yesterday; `beyond` says what is wrong with a day after `last`.
    fn until(&self, last: Day, beyond: &str) -> Result<Vec<Day>, WrongUsage> {
        let (Some(from), Some(to)) = (self.date.or(self.from), self.date.or(self.to)) else {
            return Err(WrongUsage("name a day with --date, or a range with --from and --to".into()));
        };
        if to < from {
            return Err(WrongUsage(format!("--to {to} is before --from {from}")));
        }
        if to > last {
            return Err(WrongUsage(format!("{to} {beyond} {last}")));
        }
        Ok(Day::range_inclusive(from, to).collect())
    }
}

async fn rollup(settings: &Settings) -> anyhow::Result<Rollup> {
    let database = mongo::connect(&settings.mongodb).await?;
    let limits = Limits {
        readers: settings.aggregator.scan_readers,
        memory: settings.aggregator.scan_memory_mib.saturating_mul(1024 * 1024),
    };
    Ok(Rollup { database, engine: settings.aggregator.engine, limits, accepts_removed: false })
}

fn summary(rolled: &Rolled) -> String {
    let count = |number: i64| HumanCount(number.unsigned_abs()).to_string();
    let inputs = rolled.inputs;
    let left_out = match inputs.unreadable {
        0 => String::new(),
        unreadable => format!(" ({} unreadable documents left out)", count(unreadable)),
    };
    let so_far = if rolled.provisional { ", not over: the numbers so far" } else { "" };
    format!(
        "{}{so_far}: {} tool uses, {} activities, {} health checks in {}{left_out}",
        rolled.day,
        count(inputs.tool_usage),
        count(inputs.activity),
        count(inputs.health_checks),
        rolled.took,
    )
}

/// Drawn on a terminal only.
fn documents_bar(documents: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{prefix} {bar:40} {human_pos}/{human_len} events, {per_sec}, {eta} left {msg}");
    let progress = ProgressBar::new(documents).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    progress.enable_steady_tick(Duration::from_millis(250));
    progress
}

/// Drawn on a terminal only.
fn progress_bar(days: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} days, {msg}, {eta} left");
    let progress = ProgressBar::new(days as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    progress.enable_steady_tick(Duration::from_millis(250));
    progress
}
