//! What the server-side validator would cost the inserts of `usage_analytics`, both in turn.

use crate::ingest::insert_ready_made;
use crate::servers::Servers;
use crate::table;

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// Documents
    #[arg(long, default_value_t = 300_000)]
    events: usize,
    /// How often each side runs
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Inserts the same documents with and without the validator and prints what it costs.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let servers = Servers::start().await?;
    let (mut rows, mut costs) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        let without = insert_ready_made(&servers, options.events, false).await?.as_secs_f64();
        let with = insert_ready_made(&servers, options.events, true).await?.as_secs_f64();
        costs.push(with / without - 1.0);
        let rate = |seconds: f64| format!("{:.0}", options.events as f64 / seconds);
        rows.push(vec![
            round.to_string(),
            rate(without),
            rate(with),
            format!("{:+.1} %", (with / without - 1.0) * 100.0),
        ]);
    }
    rows.push(vec![
        "median".to_owned(),
        String::new(),
        String::new(),
        format!("{:+.1} %", table::median(costs) * 100.0),
    ]);
    table::print(&["round", "without, documents/s", "with validator, documents/s", "time"], rows);
    Ok(())
}
