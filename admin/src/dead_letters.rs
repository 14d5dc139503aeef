//! `admin dead-letters`: what ingest refused, and a way back for it.
//!
//! [`topic`] reads the dead-letter topic, [`letter`] takes a message of it apart, [`replayed`] knows the letters that were
//! replayed, [`forecast`] says what ingest would do with one. [`list`], [`show`] and [`replay`] are the subcommands, [`filter`] the options they share; [`text`]
//! and [`indent`] are how they print messages byte for byte.

mod filter;
mod forecast;
mod indent;
mod letter;
mod list;
mod replay;
mod replayed;
mod show;
mod text;
mod topic;

use clap::{Args, Subcommand};
use common::settings::Settings;

/// Look at what ingest refused, and send it again
///
/// A message that ingest cannot accept is kept as a letter on the dead-letter topic (the events' topic with .dlq appended),
/// with the reason. Once the cause is gone (a setting was changed, a new version knows the event's type), replay sends the
/// letters to the events' topic again, each once.
#[derive(Args, Debug)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::Options),
    Show(show::Options),
    Replay(replay::Options),
}

/// Runs the subcommand.
///
/// # Errors
/// Kafka cannot be reached, for a replay MongoDB cannot be reached, a topic is missing, or a letter is not there or not taken.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    match &options.command {
        Command::List(options) => list::run(settings, options).await,
        Command::Show(options) => show::run(settings, options).await,
        Command::Replay(options) => replay::run(settings, options).await,
    }
}
