//! `emit generate`: sends, or writes, the events of a believable DevToolkit.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use common::day::Day;
use common::demo::{DEFAULT_TOOLS, DEFAULT_USERS};
use common::event::{Event, Timestamp, Traceparent};
use common::program::WrongUsage;
use common::settings::Settings;
use indicatif::ProgressBar;
use tokio_util::sync::CancellationToken;

use super::progress;
use super::summary::Summary;
use crate::generate::{self, Generator};
use crate::{Emitter, EmitterOptions};

/// Make the events of a believable DevToolkit, and send them
///
/// Visits with page views and uses of tools, popular tools and rare ones, day and night, workdays and weekends, failures,
/// outages, health checks. The same options make the same events, byte for byte, so that sending them again changes nothing.
/// Users and tools are those of `admin seed-demo`.
#[derive(Debug, Args)]
pub struct Options {
    /// How many events, in all, at most 1000000000 [default with --live: until stopped]
    #[arg(long, value_name = "N", required_unless_present = "live", value_parser = clap::value_parser!(u64).range(..=MOST_EVENTS))]
    events: Option<u64>,
    /// Over how many finished days
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "live", value_parser = clap::value_parser!(u32).range(1..=3_650))]
    days: u32,
    /// The last of these days [default: yesterday, in UTC]
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with = "live")]
    until: Option<Day>,
    /// Another seed makes other events
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// How many users there are
    #[arg(long, value_name = "N", default_value_t = DEFAULT_USERS, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: u32,
    /// How many tools there are
    #[arg(long, value_name = "N", default_value_t = DEFAULT_TOOLS, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    tools: u32,
    /// Write the events to FILE instead, one structured CloudEvent a line; - is stdout
    #[arg(long, value_name = "FILE", conflicts_with = "live")]
    output: Option<PathBuf>,
    /// Send no faster than this
    #[arg(long, value_name = "EVENTS_PER_SECOND")]
    rate: Option<NonZeroU32>,
    /// Send events of this moment, at --rate (10 a second unless told otherwise), until stopped or N are sent
    #[arg(long)]
    live: bool,
    /// Give every event this W3C trace context, as OpenTelemetry has it; ingest's log names it where it names an event
    #[arg(long, value_name = "00-TRACE-PARENT-FLAGS")]
    traceparent: Option<Traceparent>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

const LIVE_RATE: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// Visits that began before the start of a live run, so that it does not begin with first steps alone.
const LIVE_LEAD: Duration = Duration::from_secs(10 * 60);
/// The visits of a quarter of an hour are planned at once, and held in memory.
const MOST_EVENTS: u64 = 1_000_000_000;

/// The progress is told after so many events: telling it after each costs more than some of them.
const EVENTS_PER_TICK: u64 = 1_024;

/// Runs the subcommand.
///
/// # Errors
/// Days that ingest would not accept, an unreachable Kafka or output, events that were not delivered.
pub fn run(settings: &Settings, options: &Options, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let stdout_is_taken = options.output.as_deref().is_some_and(is_stdout);
    let summary = match &options.output {
        Some(output) => write(options, output, shutdown)?,
        None => send(settings, options, shutdown)?,
    };
    summary.print(options.json, stdout_is_taken);
    summary.expect_complete()?;
    // A live run has no other end.
    if options.live { Ok(()) } else { super::expect_not_stopped(shutdown) }
}

impl Options {
    fn to_generate(&self, events: u64) -> generate::Options {
        let &Self { days, seed, users, tools, until, .. } = self;
        generate::Options { events, days, until: until.unwrap_or_else(Day::yesterday), seed, users, tools }
    }

    /// The events of finished days.
    fn finished(&self) -> impl Iterator<Item = Event<'static>> {
        let traceparent = self.traceparent;
        let events = Generator::new(&self.to_generate(self.events.unwrap_or_default()));
        events.map(move |event| Event { traceparent, ..event })
    }

    /// Events that happen from now on, day after day.
    fn live(&self, rate: NonZeroU32) -> impl Iterator<Item = Event<'static>> {
        let a_day = self.to_generate(u64::from(rate.get()) * 24 * 60 * 60);
        let now = Timestamp::now();
        let start = Timestamp::from_millis(now.millis() - LIVE_LEAD.as_millis() as i64);
        let days = (0..).map(move |day| Timestamp::from_millis(start.millis() + day * 24 * 60 * 60 * 1_000));
        let events = days.flat_map(move |start| Generator::from_instant(&a_day, start));
        let traceparent = self.traceparent;
        events.skip_while(move |event| event.time < now).map(move |event| Event { traceparent, ..event })
    }
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

fn write(options: &Options, output: &Path, shutdown: &CancellationToken) -> anyhow::Result<Summary> {
    let unwritable = || format!("cannot write to {}", output.display());
    let file: Box<dyn Write> = if is_stdout(output) {
        Box::new(std::io::stdout().lock())
    } else {
        Box::new(File::create(output).with_context(unwritable)?)
    };
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let (bar, start) = (progress::events(options.events), Instant::now());
    let mut written = 0;
    let mut write_all = || {
        for event in options.finished().take_while(|_| !shutdown.is_cancelled()) {
            file.write_all(event.to_json().as_bytes())?;
            file.write_all(b"\n")?;
            written += 1;
            tick(&bar, written);
        }
        file.flush()
    };
    match write_all() {
        // The reader has seen enough, as in `… --output - | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe && is_stdout(output) => {}
        result => result.with_context(unwritable)?,
    }
    bar.finish_and_clear();
    Ok(Summary::new(written, 0, 0, start.elapsed()))
}

fn send(settings: &Settings, options: &Options, shutdown: &CancellationToken) -> anyhow::Result<Summary> {
    if !options.live {
        expect_accepted(settings, options)?;
    }
    let emitter = super::connect(settings)?;
    let (bar, start) = (progress::events(options.events), Instant::now());
    if options.live {
        let live = options
            .live(options.rate.unwrap_or(LIVE_RATE))
            .take(options.events.map_or(usize::MAX, |events| events as usize));
        send_each(&emitter, live, &bar, shutdown, |event, _| {
            let ahead = event.time.millis() - Timestamp::now().millis();
            Duration::from_millis(ahead.max(0) as u64)
        });
    } else {
        let rate = options.rate.map(|rate| f64::from(rate.get()));
        send_each(&emitter, options.finished(), &bar, shutdown, |_, sent| {
            let due = rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(sent as f64 / rate));
            due.saturating_sub(start.elapsed())
        });
    }
    bar.set_message("waiting for Kafka");
    emitter.flush(super::FLUSH);
    bar.finish_and_clear();
    Ok(Summary::of(emitter.counts(), 0, start.elapsed()))
}

/// Sends `events`, each after the pause that `pause` asks for, until they end or the program is to stop.
fn send_each(
    emitter: &Emitter,
    events: impl Iterator<Item = Event<'static>>,
    bar: &ProgressBar,
    shutdown: &CancellationToken,
    pause: impl Fn(&Event<'static>, u64) -> Duration,
) {
    for (sent, event) in (0..).zip(events) {
        let is_stopped = sleep_unless_stopped(pause(&event, sent), shutdown);
        if is_stopped {
            return;
        }
        if let Err(refused) = emitter.emit_patiently(&event) {
            tracing::error!(id = %event.id, "event refused: {refused}");
        }
        tick(bar, sent + 1);
    }
}

/// Sleeps, but never long beyond the moment the program is to stop; tells whether it is.
fn sleep_unless_stopped(pause: Duration, shutdown: &CancellationToken) -> bool {
    const LONGEST: Duration = Duration::from_millis(100);
    // A shorter pause is not worth a sleep: the next one will be longer.
    const SHORTEST: Duration = Duration::from_millis(1);
    let until = Instant::now() + pause;
    while !shutdown.is_cancelled() {
        let left = until.saturating_duration_since(Instant::now());
        if left < SHORTEST {
            return false;
        }
        std::thread::sleep(left.min(LONGEST));
    }
    true
}

fn tick(bar: &ProgressBar, done: u64) {
    if done.is_multiple_of(EVENTS_PER_TICK) || bar.length().is_none() {
        bar.set_position(done);
    }
}

/// Days whose events ingest would refuse are a mistake that is better told before a million of them are refused.
fn expect_accepted(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let EmitterOptions { max_age, max_future, .. } = EmitterOptions::from(settings);
    let kept = settings.retention;
    let kept = [kept.activity_logs, kept.health_checks, kept.usage_analytics];
    let max_age = kept.into_iter().fold(max_age, Duration::min);
    let until = options.until.unwrap_or_else(Day::yesterday);
    let first = until.minus(u64::from(options.days) - 1);
    let now = chrono::Utc::now();
    let oldest = Day::of(now - max_age).next();
    if first < oldest {
        let problem = format!(
            "events of {first} are too old for ingest, which accepts nothing before {oldest} here: choose fewer --days or a later --until, \
             or write them to a file with --output"
        );
        return Err(WrongUsage(problem).into());
    }
    if until.end() > now + max_future {
        return Err(WrongUsage(format!(
            "{until} is not over yet: choose an earlier --until, or --live for events of this moment"
        ))
        .into());
    }
    Ok(())
}
