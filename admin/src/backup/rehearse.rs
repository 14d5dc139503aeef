//! `admin backup rehearse`.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use backup::moment::second_text;
use backup::progress::Progress;
use backup::rehearsal;
use backup::store::Store;
use chrono::Utc;
use clap::Args;
use common::mongo;
use common::settings::Settings;
use common::{print_line, terminal};
use indicatif::HumanCount;
use rand::RngExt;
use serde::Serialize;

use super::place::{self, Place};
use super::progress::Shown;
use super::restoring::{self, Source, To};

/// Try a restore to a random second
///
/// Restores into the database NAME_rehearsal, as `admin backup verify`, to a random second of those that can be restored: what only some
/// restores would show is found in time. The storage notes it. `admin backup schedule` does it when backup.rehearsal_schedule says.
#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    place: Place,
    /// Print JSON instead of a sentence
    #[arg(long)]
    json: bool,
}

/// What was tried.
#[derive(Debug, Serialize)]
pub(super) struct Rehearsed {
    pub(super) to: String,
    backup: String,
    pub(super) documents: u64,
    changes: u64,
    pub(super) seconds: f64,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let shown = Shown::new("rehearsing");
    let rehearsed = rehearse(settings, options.place.open(settings)?, shown.progress()).await?;
    drop(shown);
    if options.json {
        return terminal::print_json(&rehearsed);
    }
    print_line!(
        "rehearsed a restore to {}: {} documents, {} changes of the oplog, in {:.1} s",
        rehearsed.to,
        HumanCount(rehearsed.documents),
        HumanCount(rehearsed.changes),
        rehearsed.seconds
    );
    Ok(())
}

/// Without a terminal.
pub(super) async fn once(settings: &Settings, store: &Arc<Store>) -> anyhow::Result<Rehearsed> {
    rehearse(settings, Arc::clone(store), &Progress::default()).await
}

async fn rehearse(settings: &Settings, store: Arc<Store>, progress: &Progress) -> anyhow::Result<Rehearsed> {
    let clock = Instant::now();
    let identity = place::identity(settings)?;
    let source = Source::open(store).await?;
    let windows = source.catalog.windows();
    let last = windows.last().context("no second can be restored yet: `admin backup list` shows what there is")?;
    let second = rand::rng().random_range(last.from..=last.to);
    let plan = source.plan_of(Some(To::Second(second)), None)?;
    let database = mongo::connect(&settings.mongodb).await?;
    let scratch = database.client().database(&restoring::scratch_name(database.name()));
    let restored = source.rehearse(scratch, &identity, &plan, progress).await?;
    let rehearsed = Rehearsed {
        to: second_text(second),
        backup: plan.full.id.clone(),
        documents: restored.documents(),
        changes: restored.changes,
        seconds: clock.elapsed().as_secs_f64(),
    };
    if let Err(error) = rehearsal::note(&source.store, Utc::now(), &rehearsed).await {
        tracing::warn!(
            error = format!("{error:#}"),
            "the rehearsal is not noted, and BackupRehearsalLate does not know of it"
        );
    }
    Ok(rehearsed)
}
