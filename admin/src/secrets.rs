//! `admin secrets`: what stands unprotected in the database.
//!
//! [`protect`] is the subcommand; [`tokens`], [`values`] and [`passwords`] convert one kind each, [`outcome`] is what they report.

mod outcome;
mod passwords;
mod protect;
mod tokens;
mod values;

use clap::{Args, Subcommand};
use common::keyring::Keyring;
use common::settings::Settings;
use mongodb::Database;

use crate::protected::TOKENS;

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

/// The fields with something that stands unprotected, each with how many documents have it; nothing is changed.
///
/// # Errors
/// MongoDB fails.
pub async fn unprotected(database: &Database, keyring: &Keyring) -> anyhow::Result<Vec<(String, u64)>> {
    const DRY_RUN: bool = true;
    let mut outcomes = vec![];
    for token in TOKENS {
        outcomes.push(tokens::protect(database, keyring, token, DRY_RUN).await?);
    }
    outcomes.push(values::protect(database, keyring, DRY_RUN).await?);
    outcomes.push(passwords::protect(database, false, DRY_RUN).await?);
    let counts = outcomes.into_iter().map(|outcome| (outcome.field, outcome.converted + outcome.left));
    Ok(counts.filter(|(_, count)| *count > 0).collect())
}
