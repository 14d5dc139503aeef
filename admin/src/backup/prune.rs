//! `admin backup prune`.

use backup::catalog::Catalog;
use backup::keep::{self, Superfluous};
use backup::manifest::Named;
use backup::store::Store;
use chrono::Utc;
use clap::Args;
use common::settings::Settings;
use common::{print_line, terminal};
use serde_json::json;

use super::place::Place;

/// Remove backups that are too old
///
/// Keeps what is needed to restore any second of the last backup.keep_days days, and the archives of backup.keep_months months. A
/// damaged backup is no reason to remove an older one. `admin backup schedule` does the same after each full backup.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: Place,
    /// Print JSON instead of sentences
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let store = options.place.open(settings)?;
    let superfluous = superfluous(settings, &store).await?;
    if !options.dry_run {
        remove_all(&store, &superfluous).await?;
    }
    let Superfluous { backups, objects } = &superfluous;
    if options.json {
        return terminal::print_json(
            &json!({ "backups": backups, "unfinishedObjects": objects, "removed": !options.dry_run }),
        );
    }
    for backup in backups {
        print_line!("{}", backup.trim_end_matches('/'));
    }
    let verb = if options.dry_run { "would be removed" } else { "were removed" };
    print_line!("{} backups and {} objects of unfinished ones {verb}", backups.len(), objects.len());
    Ok(())
}

/// Removes what is too old; returns how many backups that were.
pub(super) async fn remove(settings: &Settings, store: &Store) -> anyhow::Result<usize> {
    let superfluous = superfluous(settings, store).await?;
    remove_all(store, &superfluous).await?;
    Ok(superfluous.backups.len())
}

async fn superfluous(settings: &Settings, store: &Store) -> anyhow::Result<Superfluous> {
    let catalog = Catalog::read(store).await?;
    Ok(keep::superfluous(&catalog, Utc::now(), settings.backup.keep_days, settings.backup.keep_months))
}

async fn remove_all(store: &Store, superfluous: &Superfluous) -> anyhow::Result<()> {
    for directory in &superfluous.backups {
        let objects = store.list(directory).await?;
        // The manifest first: what is removed in part must not look like a backup.
        let is_manifest = |key: &str| key.rsplit('/').next().and_then(Named::of).is_some();
        let (manifests, parts): (Vec<_>, Vec<_>) = objects.iter().partition(|object| is_manifest(&object.key));
        for object in manifests.into_iter().chain(parts) {
            store.remove(&object.key).await?;
        }
    }
    for object in &superfluous.objects {
        store.remove(object).await?;
    }
    Ok(())
}
