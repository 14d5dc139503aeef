//! `admin users`: accounts.

mod set_password;

use clap::Subcommand;
use common::settings::Settings;

/// Accounts: set a password, and with it make an account to sign in to the dashboard with
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    SetPassword(set_password::Options),
}

/// Runs the subcommand.
///
/// # Errors
/// See the subcommands.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    match &options.command {
        Command::SetPassword(options) => set_password::run(settings, options).await,
    }
}
