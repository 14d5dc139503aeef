//! `admin keys`: the keyring's file, from the first key to the last.
//!
//! [`create`], [`rotate`], [`list`] and [`retire`] are the subcommands; [`reseal`] encrypts sealed values again with the current
//! key, [`needed`] counts what still needs a key.

mod create;
mod list;
mod needed;
mod reseal;
mod retire;
mod rotate;

use clap::{Args, Subcommand};
use common::settings::Settings;

/// Make, rotate and retire the keys that protect secrets
///
/// The keys are in the file that security.keyring_file names, outside of the database and of its backups. They digest tokens
/// and ids, and encrypt secret values of system_configuration. No command prints a key.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  admin keys create                        make the file, where there is none
  admin keys rotate                        a new key; secret values are encrypted again while the programs run
  admin keys rotate --prepare              the same in two steps, for several machines: add the key, copy the file,
  admin keys rotate                        then use it
  admin keys list                          which keys there are, and what needs them
  admin keys retire 0a1b2c3d               destroy an old key that nothing needs")]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(create::Options),
    Rotate(rotate::Options),
    List(list::Options),
    Retire(retire::Options),
}

/// Runs the subcommand.
///
/// # Errors
/// The file cannot be read or written, MongoDB cannot be reached, or a key is needed.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    match &options.command {
        Command::Create(options) => create::run(settings, options).await,
        Command::Rotate(options) => rotate::run(settings, options).await,
        Command::List(options) => list::run(settings, options).await,
        Command::Retire(options) => retire::run(settings, options).await,
    }
}
