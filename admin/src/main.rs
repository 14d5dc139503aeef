//! Wires the subcommands of `admin`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use admin::{
    access, audit, backup, config, dead_letters, doctor, keys, migrate, privacy, recover, secrets, seed_demo,
    slow_queries, storage, suspicious, tls, users,
};
use clap::{Parser, Subcommand};
use common::program::{self, Common};
use common::telemetry;

/// The operator's program of DevToolkit Analytics: brings the database and the Kafka topics in order, fills a demo, deals
/// with dead letters, exports and erases what is kept about people, makes accounts, finds attacks on logins, slow queries and what fills
/// the disk, keeps the keys that protect secrets, and makes and restores backups.
#[derive(Debug, Parser)]
#[command(
    name = "admin",
    version,
    after_help = "\
Examples:
  admin migrate --dry-run                  show what a new version would change
  admin migrate                            change it; run again at any time
  admin seed-demo --users 200              a small DevToolkit to try things with
  admin dead-letters list                  what ingest refused, and why
  admin dead-letters replay --dry-run      what would be sent to it again
  admin privacy export --email E --out D   everything that is kept about a person, for the person
  admin privacy erase --email jo@x.org     erase a person for good
  admin suspicious --since 12h             accounts and addresses with bursts of failed logins
  admin slow-queries                       what the database was slow at
  admin storage                            which collection fills the disk, and when it is full
  admin keys create                        the file of the keys that protect secrets, where there is none
  admin keys rotate                        a new key, while the programs run
  admin secrets protect --dry-run          which tokens, passwords and secret values are unprotected
  admin users set-password --email ada@example.com --password-stdin --role admin
                                           an account to sign in to the dashboard with
  admin config list                        the settings of the application, and what each may be
  admin config set ingest_max_events_per_second 5000
                                           change one; the programs take it over within seconds
  admin access diff                        whether MongoDB's roles and users are as they should be
  admin tls init --out tls --server db1 --server broker1
                                           an authority and certificates, to begin with TLS
  admin doctor                             how well data is protected, and what to do
  admin audit list --since 7d              who did what with personal data and settings
  admin audit verify                       whether an entry of the audit log was changed or removed
  admin backup run --full                  save every collection, encrypted
  admin recover --to 2024-01-15T10:30:00Z  restore the database to the end of a second, and lose no event

Exit codes: 0 success, 1 failure, 2 wrong usage or settings."
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Migrate(migrate::Options),
    SeedDemo(seed_demo::Options),
    DeadLetters(dead_letters::Options),
    Privacy(privacy::Options),
    Suspicious(suspicious::Options),
    SlowQueries(slow_queries::Options),
    Storage(storage::Options),
    Keys(keys::Options),
    Secrets(secrets::Options),
    Users(users::Options),
    Audit(audit::Options),
    Config(config::Options),
    Backup(backup::Options),
    Recover(recover::Options),
    Access(access::Options),
    Tls(tls::Options),
    Doctor(doctor::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::run(async {
        let settings = cli.common.settings()?;
        telemetry::init_logging(&settings.telemetry)?;
        match cli.command {
            Command::Migrate(options) => migrate::run(&settings, &options).await,
            Command::SeedDemo(options) => seed_demo::run(&settings, &options).await,
            Command::DeadLetters(options) => dead_letters::run(&settings, &options).await,
            Command::Privacy(options) => privacy::run(&settings, &options).await,
            Command::Suspicious(options) => suspicious::run(&settings, &options).await,
            Command::SlowQueries(options) => slow_queries::run(&settings, &options).await,
            Command::Storage(options) => storage::run(&settings, &options).await,
            Command::Keys(options) => keys::run(&settings, &options).await,
            Command::Secrets(options) => secrets::run(&settings, &options).await,
            Command::Users(options) => users::run(&settings, &options).await,
            Command::Audit(options) => audit::run(&settings, &options).await,
            Command::Config(options) => config::run(&settings, &options).await,
            Command::Backup(options) => backup::run(&settings, &options).await,
            Command::Recover(options) => recover::run(&settings, &options).await,
            Command::Access(options) => access::run(&settings, &options).await,
            Command::Tls(options) => tls::run(&options),
            Command::Doctor(options) => doctor::run(&settings, &options).await,
        }
    })
}
