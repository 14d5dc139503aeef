//! `admin secrets`: what stands unprotected in the database.
//!
//! [`protect`] is the subcommand; [`tokens`], [`values`] and [`passwords`] convert one kind each, [`outcome`] is what they report.

mod outcome;
mod passwords;
mod protect;
mod tokens;
mod values;

use clap::{Args, Subcommand};
use common::settings::Settings;

/// Protect passwords, tokens and secret configuration values
///
/// The database holds a password as an argon2id hash, a token as a digest, and a secret value of system_configuration encrypted.
/// The validators of `admin migrate` refuse anything else in new documents; what was there before stays until it is protected.
#[derive(Args, Debug)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Protect(protect::Options),
}

/// Runs the subcommand.
///
/// # Errors
/// The keyring or MongoDB cannot be reached, or something could not be protected.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    match &options.command {
        Command::Protect(options) => protect::run(settings, options).await,
    }
}
