//! Side-by-side benchmarks on real servers of their own; `./dev bench` runs them.

mod anonymise;
mod backups;
mod dashboard;
mod ingest;
mod outage;
mod peers;
mod process;
mod rollup;
mod scrape;
mod servers;
mod table;
mod validator;

use clap::{Parser, Subcommand};

/// Compares the programs with the limit that MongoDB sets, in the same run.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Kafka to MongoDB, against `insert_many` of ready-made documents
    Ingest(ingest::Options),
    /// The same events through Kafka Connect's MongoDB sink and Bento
    Peers(peers::Options),
    /// MongoDB away for minutes under load: memory, dead letters, and how soon the full rate is back
    Outage(outage::Options),
    /// What a scrape of /metrics costs ingest at full rate
    Scrape(scrape::Options),
    /// What backups cost ingest at full rate
    Backups(backups::Options),
    /// A day's roll-up: both engines, against the read alone and against the pipelines that people write
    Rollup(rollup::Options),
    /// A day anonymised, and ingest beside it
    Anonymise(anonymise::Options),
    /// The dashboard's pages with 50,000 users, 200 tools and 400 days, and the plans of its queries
    Dashboard(dashboard::Options),
    /// What a validator on usage_analytics would cost
    Validator(validator::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Ingest(options) => ingest::run(options).await,
        Command::Peers(options) => peers::run(options).await,
        Command::Outage(options) => outage::run(options).await,
        Command::Scrape(options) => scrape::run(options).await,
        Command::Backups(options) => backups::run(options).await,
        Command::Rollup(options) => rollup::run(options).await,
        Command::Anonymise(options) => anonymise::run(options).await,
        Command::Dashboard(options) => dashboard::run(options).await,
        Command::Validator(options) => validator::run(options).await,
    }
}
