//! `./dev chaos`: kills everything and cuts workers off at random, and counts what is lost, doubled or left unread.

use std::process::ExitCode;

use clap::Parser;
use comfy_table::{Table, presets};
use e2e::chaos::{self, Findings, Options};
use indicatif::{ProgressBar, ProgressStyle};

/// Faults between two lines of a log.
const LOG_EVERY: u32 = 10;

/// Two ingest workers, a broker and a three-member replica set under load: killed (-9), stopped and continued at random, and
/// workers cut off Kafka, MongoDB or both and back. Ends with exit code 1 when an event was lost, doubled, wrongly
/// dead-lettered or left unread; the data and logs of everything are then kept. Ctrl-C ends the faults early, and counts what was
/// sent until then; a second one ends at once.
#[derive(Parser)]
struct Arguments {
    /// Faults in all
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// Draws the same faults again [default: drawn, and printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Events that are at least sent
    #[arg(long, default_value_t = 100_000)]
    events: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    eprintln!("seed {seed}");
    let bar = ProgressBar::new(u64::from(arguments.kills));
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} faults, {elapsed}, {msg}")?);
    let options = Options { kills: arguments.kills, seed, events: arguments.events };
    let interrupted = async {
        // Where no signal can be waited for, none ends the run early.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        eprintln!("interrupted: no more faults; what was sent until now is counted. Interrupt again to end at once");
        tokio::spawn(async {
            let _ = tokio::signal::ctrl_c().await;
            std::process::exit(130);
        });
    };
    let findings = chaos::run(options, interrupted, |number, fault, produced| {
        bar.set_position(u64::from(number));
        bar.set_message(format!("{fault}, {produced} events"));
        // A log has a line now and then instead of the bar.
        if bar.is_hidden() && number.is_multiple_of(LOG_EVERY) {
            eprintln!("{number} of {} faults, {} s, {produced} events", arguments.kills, bar.elapsed().as_secs());
        }
    })
    .await?;
    bar.finish_and_clear();
    Ok(report(&arguments, seed, &findings))
}

fn report(arguments: &Arguments, seed: u64, findings: &Findings) -> ExitCode {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.add_row(["seed".to_owned(), seed.to_string()]);
    table.add_row(["events produced".to_owned(), findings.produced.to_string()]);
    let caused: u32 = findings.faults.iter().map(|(_, count)| count).sum();
    table.add_row(["faults".to_owned(), format!("{caused} of {}", arguments.kills)]);
    for (fault, count) in &findings.faults {
        table.add_row([(*fault).to_owned(), count.to_string()]);
    }
    let bad = [
        ("lost", findings.lost),
        ("doubled", findings.doubled),
        ("wrongly dead-lettered or stored", findings.wrong),
        ("left unread", findings.unread),
    ];
    for (what, count) in bad {
        table.add_row([what.to_owned(), count.to_string()]);
    }
    println!("{table}");
    if findings.is_all_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
