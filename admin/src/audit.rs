//! `admin audit`: who did what with personal data and settings.
//!
//! [`list`] shows the entries, [`verify`] checks that they are those that were written.

mod list;
mod verify;

use clap::{Args, Subcommand};
use common::settings::Settings;

/// Show and check the log of who did what with personal data and settings
///
/// Every command that reads or changes personal data, keys or settings, and every change by an administrator in the dashboard, writes
/// an entry to audit_log before it begins, and another one with its result. If the first entry cannot be written, the command does
/// not run. Entries say on whom as a keyed digest of the person's id. Of the roles of access.json only recovery may change an entry,
/// and only auditor and recovery may remove one.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  admin audit list --since 7d                             the last week
  admin audit list --action privacy.erase --action config.set
  admin audit list --user 65a4f1c2e1b2a3c4d5e6f701        what this user did, and what was done on this user
  admin audit verify                                      was an entry changed, removed or inserted?
  admin audit verify --noted 812:9e63…                    the same, and entry 812, noted earlier, is still as it was")]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::Options),
    Verify(verify::Options),
}

/// Runs the subcommand.
///
/// # Errors
/// MongoDB cannot be reached, or the log is not as it was written.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    match &options.command {
        Command::List(options) => list::run(settings, options).await,
        Command::Verify(options) => verify::run(settings, options).await,
    }
}
