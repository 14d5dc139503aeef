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
/// Copies what the second place lacks. Nothing there is overwritten or removed: `admin backup prune --second` removes what is too old.
/// `admin backup schedule` copies after each backup, and prunes both places after a full one.
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
        let copy::Copied { objects, bytes } = copied;
        return terminal::print_json(&json!({ "objects": objects, "bytes": bytes }));
    }
    print_line!("copied {} objects ({}) to {second}", HumanCount(copied.objects), HumanBytes(copied.bytes));
    Ok(())
}
