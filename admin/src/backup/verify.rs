//! `admin backup verify`.

use std::time::Instant;

use backup::manifest::{self, Range};
use backup::moment::second_text;
use backup::stream;
use clap::Args;
use common::mongo;
use common::settings::Settings;
use common::{print_line, terminal};
use indicatif::HumanCount;
use serde_json::json;

use super::place::{self, Place};
use super::progress::Shown;
use super::restoring::{self, Source, To};

/// Read backups back, and restore them into a scratch database
///
/// Restores into the database NAME_rehearsal, where NAME is mongodb.database: every object's size and hash, and every document that is
/// loaded from the full backup, must be those of the manifest. The scratch database is dropped before and after. --objects-only reads the
/// objects of all backups and archives instead.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The second whose restore is tried [default: latest, all that is saved]
    #[arg(long, value_name = "TIME", value_parser = To::parse, conflicts_with = "backup")]
    to: Option<To>,
    /// A full backup, by its name in `admin backup list`
    #[arg(long, value_name = "ID")]
    backup: Option<String>,
    /// Read every object of every backup and archive, and restore nothing
    #[arg(long, conflicts_with_all = ["to", "backup"])]
    objects_only: bool,
    #[command(flatten)]
    place: Place,
    /// Print JSON instead of a sentence
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let store = options.place.open(settings)?;
    if options.objects_only {
        let source = Source::open(store).await?;
        return objects(&source, options.json).await;
    }
    let clock = Instant::now();
    let identity = place::identity(settings)?;
    let source = Source::open(store).await?;
    let plan = source.plan_of(options.to, options.backup.as_deref())?;
    let database = mongo::connect(&settings.mongodb).await?;
    let scratch = database.client().database(&restoring::scratch_name(&settings.mongodb.database));
    let shown = Shown::new("verifying");
    let restored = source.rehearse(scratch, &identity, &plan, shown.progress()).await?;
    drop(shown);
    let seconds = clock.elapsed().as_secs_f64();
    if options.json {
        return terminal::print_json(&json!({
            "backup": plan.full.id, "to": second_text(plan.until()), "documents": restored.documents(), "changes": restored.changes,
            "seconds": seconds,
        }));
    }
    print_line!(
        "verified {}: {} documents are those of the backup, and {} changes of the oplog fit them, in {seconds:.1} s",
        restoring::in_words(&plan),
        HumanCount(restored.documents()),
        HumanCount(restored.changes)
    );
    Ok(())
}

/// Every object, whether or not it is a part of the way to some second. All are looked at before the first fault is told of.
async fn objects(source: &Source, json: bool) -> anyhow::Result<()> {
    let mut faults: Vec<String> =
        source.catalog.unreadable.iter().map(|(directory, why)| format!("{directory}: {why}")).collect();
    let (mut count, mut bytes) = (0_u64, 0_u64);
    let whole = source.catalog.fulls.iter().chain(&source.catalog.archives);
    let mut parts: Vec<stream::Part> = whole.flat_map(|full| full.manifest.parts().cloned()).collect();
    for range in &source.catalog.ranges {
        match manifest::read::<Range>(&source.store, &range.key).await {
            Ok(manifest) => parts.extend(manifest.oplog.parts),
            Err(error) => faults.push(format!("{error:#}")),
        }
    }
    for part in &parts {
        match stream::fetch(&source.store, part).await {
            Ok(_) => (count, bytes) = (count + 1, bytes + part.size),
            Err(error) => faults.push(format!("{error:#}")),
        }
    }
    if json {
        terminal::print_json(&json!({ "objects": count, "bytes": bytes, "faults": faults }))?;
    } else {
        print_line!("{} objects are those of their manifests ({})", HumanCount(count), indicatif::HumanBytes(bytes));
        for fault in &faults {
            print_line!("fault: {fault}");
        }
    }
    anyhow::ensure!(faults.is_empty(), "{} objects failed verification", faults.len());
    Ok(())
}
