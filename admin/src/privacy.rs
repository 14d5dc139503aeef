//! `admin privacy`: what a person may ask for.

mod erase;
mod export;
mod person;
mod reapply;
mod receipt;
mod resume;
mod status;

use clap::{Args, Subcommand};
use common::settings::Settings;

/// Export or erase what is kept about a person
///
/// A person is erased in the whole database. A tombstone (a keyed digest of the id) stays in the collection erasures and on the
/// topic with .erasures appended: events of the person that are sent or replayed later are dropped by ingest, and
/// `admin privacy reapply` erases the person again after an older backup was restored. docs/PRIVACY.md says what is erased where.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  admin privacy export --email jo@example.com --out jo    everything that is kept about a person, in a directory
  admin privacy erase --email jo@example.com --dry-run    what would be erased; nothing is changed
  admin privacy erase --email jo@example.com              asks, erases, prints the receipt
  admin privacy status                                    all requests, those under way first
  admin privacy resume                                    go on with what was interrupted
  admin privacy reapply                                   after a restore: erase again who came back")]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Export(export::Options),
    Erase(erase::Options),
    Status(status::Options),
    Resume(resume::Options),
    Reapply(reapply::Options),
}

/// Runs the subcommand.
///
/// # Errors
/// A file cannot be written, there is no keyring, MongoDB or Kafka cannot be reached, or nobody is the person that the options name.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    match &options.command {
        Command::Export(options) => export::run(settings, options).await,
        Command::Erase(options) => erase::run(settings, options).await,
        Command::Status(options) => status::run(settings, options).await,
        Command::Resume(options) => resume::run(settings, options).await,
        Command::Reapply(options) => reapply::run(settings, options).await,
    }
}

/// Erases again who came back with a restore, as `admin privacy reapply` does.
///
/// # Errors
/// There is no keyring, or MongoDB or Kafka fails.
pub async fn reapply(settings: &Settings) -> anyhow::Result<()> {
    reapply::run(settings, &reapply::Options::default()).await
}
