//! Wires the subcommands of `admin`.

use std::process::ExitCode;

use admin::{migrate, seed_demo};
use clap::{Parser, Subcommand};
use common::program::{self, Common};
use common::telemetry;

/// The operator's program of DevToolkit Analytics: brings the database and the Kafka topics in order, and fills a demo.
#[derive(Debug, Parser)]
#[command(
    name = "admin",
    version,
    after_help = "\
Examples:
  admin migrate --dry-run                  show what a new version would change
  admin migrate                            change it; run again at any time
  admin seed-demo --users 200              a small DevToolkit to try things with

Exit codes: 0 success, 1 failure, 2 wrong usage or settings."
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Migrate(migrate::Options),
    SeedDemo(seed_demo::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::run(async {
        let settings = cli.common.settings()?;
        telemetry::init_logging(&settings.telemetry)?;
        match cli.command {
            Command::Migrate(options) => migrate::run(&settings, &options).await,
            Command::SeedDemo(options) => seed_demo::run(&settings, &options).await,
        }
    })
}
