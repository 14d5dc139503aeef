//! Restores, for `admin backup restore` and `admin recover`.

use std::io::{BufRead as _, IsTerminal as _};
use std::sync::Arc;

use anyhow::{bail, ensure};
use backup::age::Identity;
use backup::catalog::Catalog;
use backup::manifest::{self, Consumed, Range};
use backup::moment::{parse_second, second_text};
use backup::progress::Progress;
use backup::recovery::{self, Recovery, Step};
use backup::restore::{self, Plan, Restored};
use backup::store::Store;
use backup::target::{Phase, Target};
use bson::{Document, doc};
use common::audit::{self, Act, Action, TargetKind};
use common::documents::audit_entry;
use common::error_line;
use common::program::WrongUsage;
use mongodb::Database;

/// What `--to` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The end of this second.
    Second(u32),
    /// Everything that is saved.
    Latest,
}

impl To {
    /// Reads it.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        parse_second(text).map(Self::Second).map_err(|error| format!("{error:#}, or latest"))
    }
}

/// A place with backups.
pub struct Source {
    /// The storage.
    pub store: Arc<Store>,
    /// What it has.
    pub catalog: Catalog,
}

impl Source {
    /// Lists the storage.
    ///
    /// # Errors
    /// The storage cannot be listed.
    pub async fn open(store: Arc<Store>) -> anyhow::Result<Self> {
        Ok(Self { catalog: Catalog::read(&store).await?, store })
    }

    /// The way to a full backup alone, or to a second, or to all that is saved.
    ///
    /// # Errors
    /// Why there is none.
    pub fn plan_of(&self, to: Option<To>, backup: Option<&str>) -> anyhow::Result<Plan<'_>> {
        if let Some(id) = backup {
            return Ok(Plan { full: self.catalog.full(id)?, ranges: Vec::new(), second: None });
        }
        let (plan, second) = match to {
            Some(To::Second(second)) => (self.catalog.plan(second), Some(second)),
            Some(To::Latest) | None => (self.catalog.latest(), None),
        };
        let (full, ranges) = plan.map_err(anyhow::Error::msg)?;
        Ok(Plan { full, ranges, second })
    }

    /// Restores beside the live collections, and then puts the restored ones into their place. The audit log tells of it.
    ///
    /// The live audit log stays where it goes further than the restored one: what was done since must not be forgotten.
    ///
    /// The recovery notes the steps, and how far ingest was when the plan's last backup was made.
    ///
    /// # Errors
    /// See [`restore::run`].
    pub async fn restore(
        &self,
        database: &Database,
        recovery: &mut Recovery,
        identity: &Identity,
        plan: &Plan<'_>,
        progress: &Progress,
    ) -> anyhow::Result<Restored> {
        recovery.consumed = self.consumed(plan).await?;
        recovery.steps.remove(&Step::Restored);
        let act = Act::on(Action::Restore, TargetKind::Database, database.name()).with_detail(in_words(plan));
        if audit::last(database).await?.is_some() {
            return audit::around(database, act, self.replace(database, recovery, identity, plan, progress)).await;
        }
        // The log comes back with the restore, or there was none.
        let restored = self.replace(database, recovery, identity, plan, progress).await?;
        audit::around(database, act, async { Ok(restored) }).await
    }

    /// Raw events come last, because they are most of a database: people can be served before.
    async fn replace(
        &self,
        database: &Database,
        recovery: &mut Recovery,
        identity: &Identity,
        plan: &Plan<'_>,
        progress: &Progress,
    ) -> anyhow::Result<Restored> {
        let mut target = Target::beside(database.clone(), Phase::WithoutEvents);
        let mut restored = restore::run(&mut target, &self.store, identity, plan, false, progress).await?;
        progress.say("renaming");
        let live = audit::last(database).await?.map_or(0, |(number, _)| number);
        let log = database.collection::<Document>(&target.name(audit_entry::COLLECTION));
        let last = log.find_one(doc! {}).sort(doc! { "_id": -1 }).await?;
        let restored_to = last.and_then(|entry| entry.get_i64("_id").ok()).unwrap_or(0);
        let kept: &[&str] = if live > restored_to { &[audit_entry::COLLECTION] } else { &[] };
        // They are restored after something is changed, when a damaged object would come too late.
        restore::check_objects(&self.store, plan, Phase::Events).await?;
        recovery.done(database, Step::Renaming).await?;
        target.swap(kept).await?;
        error_line!(
            "users, settings and roll-ups are restored, raw events follow: if nobody has to be erased again, start dashboard"
        );

        let mut target = Target::beside(database.clone(), Phase::Events);
        let events = restore::run(&mut target, &self.store, identity, plan, false, progress).await?;
        target.swap(&[]).await?;
        recovery.done(database, Step::Restored).await?;
        restored.collections.extend(events.collections);
        restored.changes += events.changes;
        Ok(restored)
    }

    /// Restores into a scratch database, and compares every document that was loaded with the manifest.
    ///
    /// # Errors
    /// See [`restore::run`].
    pub async fn rehearse(
        &self,
        scratch: Database,
        identity: &Identity,
        plan: &Plan<'_>,
        progress: &Progress,
    ) -> anyhow::Result<Restored> {
        let mut target = Target::alone(scratch);
        let restored = restore::run(&mut target, &self.store, identity, plan, true, progress).await?;
        target.clear().await?;
        Ok(restored)
    }

    /// How far ingest was when the last backup was made that is a part of the plan as a whole: what came before is restored.
    ///
    /// # Errors
    /// A manifest cannot be read.
    pub async fn consumed(&self, plan: &Plan<'_>) -> anyhow::Result<Option<Consumed>> {
        let whole = plan.ranges.iter().rev().filter(|range| plan.second.is_none_or(|second| range.to.second <= second));
        for range in whole {
            let range: Range = manifest::read(&self.store, &range.key).await?;
            if range.consumed.is_some() {
                return Ok(range.consumed);
            }
        }
        Ok(plan.full.consumed.clone())
    }
}

/// The database that restores are tried in.
pub fn scratch_name(database: &str) -> String {
    format!("{database}_rehearsal")
}

/// What a plan restores, in words.
pub fn in_words(plan: &Plan<'_>) -> String {
    match (plan.second, plan.ranges.last()) {
        (Some(second), _) => {
            format!("the end of {} (full backup {}, and the oplog)", second_text(second), plan.full.id)
        }
        (None, Some(last)) => {
            format!("all that is saved, to {} (full backup {}, and the oplog)", last.to.text(), plan.full.id)
        }
        (None, None) => format!("full backup {}, of {}", plan.full.id, plan.full.to.text()),
    }
}

/// Asks whether a database may be overwritten, unless it is empty.
///
/// # Errors
/// The answer is no, or nobody can be asked.
pub async fn confirm(database: &Database, plan: &Plan<'_>) -> anyhow::Result<()> {
    let names = database.list_collection_names().await?;
    let count = names.iter().filter(|name| !name.starts_with("system.") && !recovery::is_its(name)).count();
    if count == 0 {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let reason =
            "nobody can be asked here, because stdin is not a terminal; pass --yes to overwrite without asking";
        bail!(WrongUsage(reason.to_owned()));
    }
    let name = database.name();
    error_line!("This overwrites database {name} ({count} collections) with {}.", in_words(plan));
    error_line!(
        "Stop ingest, aggregator, dashboard and `admin backup schedule` first. Type the name of the database to go on:"
    );
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    ensure!(answer.trim() == name, "the answer is not the name of the database: nothing was changed");
    Ok(())
}
