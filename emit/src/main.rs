//! Wires the subcommands of `emit`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use common::program::{self, Common};
use common::telemetry;
use emit::commands::{file, generate};

/// Sends DevToolkit's usage events to Kafka: generated ones, or those of a file.
#[derive(Debug, Parser)]
#[command(
    name = "emit",
    version,
    after_help = "\
Examples:
  emit generate --events 100000 --days 7 --seed 1    a week of a believable DevToolkit
  emit generate --events 20 --days 1 --output -      look at what would be sent
  emit generate --live --rate 50                     go on until stopped
  emit file events.ndjson                            send a file, one structured CloudEvent a line

Exit codes: 0 everything delivered, 1 something refused or not delivered, 2 wrong usage or settings."
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Generate(generate::Options),
    File(file::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::run(async {
        let settings = cli.common.settings()?;
        telemetry::init_logging(&settings.telemetry)?;
        let shutdown = common::shutdown::token()?;
        // The work is done by blocking calls on this very thread; the runtime's other threads only wait for signals.
        match cli.command {
            Command::Generate(options) => generate::run(&settings, &options, &shutdown),
            Command::File(options) => file::run(&settings, &options, &shutdown),
        }
    })
}
