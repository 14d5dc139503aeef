//! `admin backup copy`.

use backup::copy;
use backup::store::Store;
use clap::Args;
use common::settings::Settings;
use common::{print_line, terminal};
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

/// Copy the backups to backup.second_storage
///
/// Copies what the second place lacks, and removes there what the first has no more. When the first place is empty nothing is
/// removed. `admin backup schedule` does the same after each backup.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Print JSON instead of a sentence
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let (first, second) = (Store::first(&settings.backup)?, Store::second(&settings.backup)?);
    let copied = copy::run(&first, &second).await?;
    if options.json {
        let copy::Copied { objects, bytes, removed } = copied;
        return terminal::print_json(&json!({ "objects": objects, "bytes": bytes, "removed": removed }));
    }
    print_line!(
        "copied {} objects ({}) to {second}, and removed {} there",
        HumanCount(copied.objects),
        HumanBytes(copied.bytes),
        HumanCount(copied.removed)
    );
    Ok(())
}
