//! `admin backup list`.

use backup::catalog::{Catalog, FullEntry, Hole};
use backup::manifest::Kind;
use backup::moment::second_text;
use clap::Args;
use common::settings::Settings;
use common::{print_line, terminal};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::place::Place;
use crate::report;

/// Show which seconds can be restored, and the full backups
///
/// Reads names and sizes of the storage, and no backup as a whole: `admin backup verify` does.
#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    place: Place,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    storage: String,
    /// The seconds that `--to` takes, both ends among them.
    restorable: Vec<Seconds>,
    holes: Vec<String>,
    full: Vec<Line>,
    archives: Vec<Line>,
    incrementals: Ranges,
    slices: Ranges,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Seconds {
    from: String,
    to: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    id: String,
    to: String,
    documents: u64,
    bytes: u64,
    seconds: f64,
    damage: Option<String>,
}

#[derive(Serialize)]
struct Ranges {
    count: usize,
    bytes: u64,
    last: Option<String>,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let store = options.place.open(settings)?;
    let catalog = Catalog::read(&store).await?;
    let listed = Listed::new(store.to_string(), &catalog);
    if options.json { terminal::print_json(&listed) } else { listed.print() }
}

impl Listed {
    fn new(storage: String, catalog: &Catalog) -> Self {
        let seconds =
            |window: backup::catalog::Window| Seconds { from: second_text(window.from), to: second_text(window.to) };
        let line = |entry: &FullEntry| Line {
            id: entry.manifest.id.clone(),
            to: entry.manifest.to.text(),
            documents: entry.manifest.documents(),
            bytes: entry.bytes,
            seconds: entry.manifest.seconds,
            damage: entry.damage.clone(),
        };
        let ranges = |kind: Kind| {
            let of_kind: Vec<_> = catalog.ranges.iter().filter(|range| range.kind == kind).collect();
            Ranges {
                count: of_kind.len(),
                bytes: of_kind.iter().map(|range| range.bytes).sum(),
                last: of_kind.iter().map(|range| range.to).max().map(|to| to.text()),
            }
        };
        let unfinished = (!catalog.unfinished.is_empty()).then(|| {
            format!("{} objects are of backups that are being made, or were never finished", catalog.unfinished.len())
        });
        Self {
            storage,
            restorable: catalog.windows().into_iter().map(seconds).collect(),
            holes: catalog.holes().iter().map(Hole::to_string).collect(),
            full: catalog.fulls.iter().map(line).collect(),
            archives: catalog.archives.iter().map(line).collect(),
            incrementals: ranges(Kind::Incremental),
            slices: ranges(Kind::Slice),
            notes: catalog.damage().into_iter().chain(unfinished).collect(),
        }
    }

    fn print(&self) -> anyhow::Result<()> {
        let rows = self.full.iter().map(|line| {
            [
                line.id.clone(),
                line.to.clone(),
                HumanCount(line.documents).to_string(),
                HumanBytes(line.bytes).to_string(),
                format!("{:.1} s", line.seconds),
                line.damage.clone().unwrap_or_else(|| "whole".to_owned()),
            ]
        });
        let mut table = report::table(["full backup", "restores to", "documents", "size", "took", "objects"], rows);
        report::align_right(&mut table, 2..5);
        print_line!("{}", table.trim_fmt());
        for archive in &self.archives {
            let (documents, bytes) = (HumanCount(archive.documents), HumanBytes(archive.bytes));
            print_line!("archive {} of {}: {documents} documents, {bytes}", archive.id, archive.to);
        }
        for (name, ranges) in [("incremental backups", &self.incrementals), ("slices", &self.slices)] {
            let last = ranges.last.as_ref().map_or(String::new(), |last| format!(", the last until {last}"));
            print_line!("{} {name}, {}{last}", ranges.count, HumanBytes(ranges.bytes));
        }
        for Seconds { from, to } in &self.restorable {
            print_line!("to any second from {from} to {to}: admin backup restore --to {to}");
        }
        if self.restorable.is_empty() {
            print_line!(
                "no second can be chosen yet, because no oplog is saved: admin backup restore --to latest restores the last full \
                 backup; admin backup run --incremental saves the oplog since"
            );
        }
        for hole in &self.holes {
            print_line!("hole: {hole}");
        }
        for note in &self.notes {
            print_line!("note: {note}");
        }
        Ok(())
    }
}
