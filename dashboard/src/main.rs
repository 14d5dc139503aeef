//! Wires the subcommands of `dashboard`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use common::program::{self, Common};
use common::telemetry;
use dashboard::commands::serve;

/// Shows the rolled-up numbers of DevToolkit Analytics as pages, CSV and JSON
#[derive(Parser)]
#[command(
    name = "dashboard",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  dashboard serve                                                   pages and API on 127.0.0.1:8090
  DEVTOOLKIT__DASHBOARD__LISTEN=127.0.0.1:9000 dashboard serve      on another port
  dashboard check-ready                                             whether it answers

Exit codes: 0 success, 1 failure, 2 wrong usage or settings."
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the pages and the API until it is stopped
    Serve,
    /// Asks the serving process of the same settings whether it is ready; exit code 0 if so, else 1 and the reason
    CheckReady,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::run(async move {
        let settings = cli.common.settings()?;
        telemetry::init_logging(&settings.telemetry)?;
        match cli.command {
            Command::Serve => serve::run(&settings).await,
            Command::CheckReady => telemetry::check_ready(&settings.telemetry, serve::PORT).await,
        }
    })
}
