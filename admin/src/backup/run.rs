//! `admin backup run`.

use backup::catalog::Catalog;
use backup::manifest::{Full, Kind, Range};
use clap::Args;
use common::settings::Settings;
use common::{print_line, terminal};
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use super::progress::Shown;
use super::saving::Saver;

/// Make a backup now
///
/// A full backup holds every collection, an incremental one the oplog since the last full or incremental backup. Without an option:
/// an incremental backup, or a full one where there is none yet. Programs may go on writing meanwhile.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Save every collection
    #[arg(long, conflicts_with = "incremental")]
    full: bool,
    /// Save the oplog since the last backup
    #[arg(long)]
    incremental: bool,
    /// Print JSON instead of a sentence
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let saver = Saver::open(settings).await?;
    let is_full =
        options.full || !options.incremental && Catalog::read(&saver.store).await?.position(Kind::Slice).is_none();
    let shown = Shown::new("saving");
    if is_full {
        let full = saver.full(shown.progress()).await?;
        drop(shown);
        return show_full(&full, options.json);
    }
    let range = saver.range(Kind::Incremental, shown.progress()).await?;
    drop(shown);
    show_range(range.as_ref(), options.json)
}

fn show_full(full: &Full, json: bool) -> anyhow::Result<()> {
    let bytes: u64 = full.parts().map(|part| part.size).sum();
    if json {
        return terminal::print_json(&json!({
            "kind": "full", "id": full.id, "to": full.to.text(), "documents": full.documents(), "bytes": bytes,
            "seconds": full.seconds,
        }));
    }
    print_line!(
        "full backup {}: {} documents of {} collections as of {}, {} in {:.1} s",
        full.id,
        HumanCount(full.documents()),
        full.collections.len(),
        full.to.text(),
        HumanBytes(bytes),
        full.seconds
    );
    Ok(())
}

fn show_range(range: Option<&Range>, json: bool) -> anyhow::Result<()> {
    let Some(range) = range else {
        if json {
            return terminal::print_json(&json!({ "kind": "incremental", "entries": 0 }));
        }
        print_line!("nothing was written since the last backup");
        return Ok(());
    };
    let bytes: u64 = range.oplog.parts.iter().map(|part| part.size).sum();
    let (from, to) = (range.from.text(), range.to.text());
    if json {
        return terminal::print_json(&json!({
            "kind": range.kind, "from": from, "to": to, "entries": range.oplog.documents, "bytes": bytes,
            "seconds": range.seconds,
        }));
    }
    print_line!(
        "incremental backup: {} entries of the oplog from {from} to {to}, {} in {:.1} s",
        HumanCount(range.oplog.documents),
        HumanBytes(bytes),
        range.seconds
    );
    Ok(())
}
