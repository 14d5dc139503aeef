//! The ingest worker's program.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use common::print_line;
use common::program::{self, Common};
use common::telemetry;
use ingest::consumer::Until;
use ingest::{check_config, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Takes usage events from Kafka and writes them to MongoDB: each event once, bad ones to the dead-letter topic.
///
/// Start as many workers as the topic has partitions at most; they share the partitions. SIGTERM stores and commits what
/// was read and ends with exit code 0. /metrics, /healthz/live and /healthz/ready are served on port 9464.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one worker
    Run {
        /// Store what is on the topic now, commit, and end with exit code 0; 1 if Kafka removed events before they were read
        #[arg(long)]
        until_caught_up: bool,
    },
    /// Read and check the settings, print them as TOML with where each comes from and without secrets, and the limits in force,
    /// and end
    CheckConfig,
    /// Ask the worker that runs with the same settings whether it is ready; exit code 0 if so, else 1 and the reason
    CheckReady,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Sending takes a twentieth of one core, and handing it from thread to thread would take half as much again.
    program::run_on(tokio::runtime::Builder::new_current_thread(), async move {
        let settings = cli.common.settings()?;
        match cli.command {
            Command::Run { until_caught_up } => {
                run::run(settings, if until_caught_up { Until::CaughtUp } else { Until::Shutdown }).await
            }
            Command::CheckConfig => {
                print_line!("{}", cli.common.shown_settings()?);
                print_line!("{}", check_config::limits(&settings).await?.trim_end());
                Ok(())
            }
            Command::CheckReady => telemetry::check_ready(&settings.telemetry, run::DEFAULT_PORT).await,
        }
    })
}
