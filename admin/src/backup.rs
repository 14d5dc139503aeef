//! `admin backup`: the commands around the engine of the crate `backup`.
//!
//! [`place`] opens what the settings name, [`consumed`] is the position of ingest's consumer group, [`saving`] makes backups and
//! [`restoring`] restores them, for the commands here and for `admin recover`; [`progress`] shows how far they are.

pub mod consumed;
mod copy;
mod create_identity;
mod list;
pub mod metrics;
pub mod place;
pub mod progress;
mod prune;
mod rehearse;
mod restore;
pub mod restoring;
pub mod rewind;
mod run;
pub mod saving;
mod schedule;
mod verify;

use clap::{Args, Subcommand};
use common::settings::Settings;
use common::telemetry;

pub use schedule::PORT;

/// Back the database up, and restore it to any second
///
/// A full backup holds every collection; slices and incremental backups hold the oplog, so that the database can be restored to any
/// second since. Everything is compressed, encrypted for backup.recipient, and written to backup.storage. docs/RECOVERY.md says what
/// to do when data is lost.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  admin backup create-identity --out backup-identity.txt   a new key pair; keep the file on another machine
  admin backup run --full                                  every collection
  admin backup run --incremental                           what was written since
  admin backup schedule                                    all at their times, until it is stopped
  admin backup list                                        which seconds can be restored
  admin backup verify                                      read the last full backup back, and restore it into a scratch database
  admin backup restore --to 2024-01-15T10:30:00Z           restore, and ask before anything is overwritten
  admin backup rewind --to 2024-01-15T10:30:00Z            let ingest read again what came after")]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    CreateIdentity(create_identity::Options),
    Run(run::Options),
    List(list::Options),
    Verify(verify::Options),
    Restore(restore::Options),
    Rewind(rewind::Options),
    Schedule(schedule::Options),
    Copy(copy::Options),
    Prune(prune::Options),
    Rehearse(rehearse::Options),
    /// Ask `admin backup schedule` whether it is ready, as whoever watches a container does
    CheckReady,
}

/// Runs the subcommand.
///
/// # Errors
/// The settings lack something, MongoDB, Kafka or the storage fails, or what is wanted cannot be restored.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    match &options.command {
        Command::CreateIdentity(options) => create_identity::run(options),
        Command::Run(options) => run::run(settings, options).await,
        Command::List(options) => list::run(settings, options).await,
        Command::Verify(options) => verify::run(settings, options).await,
        Command::Restore(options) => restore::run(settings, options).await,
        Command::Rewind(options) => rewind::run(settings, options).await,
        Command::Schedule(options) => schedule::run(settings, options).await,
        Command::Copy(options) => copy::run(settings, options).await,
        Command::Prune(options) => prune::run(settings, options).await,
        Command::Rehearse(options) => rehearse::run(settings, options).await,
        Command::CheckReady => telemetry::check_ready(&settings.telemetry, schedule::PORT).await,
    }
}
