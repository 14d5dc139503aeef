//! A recovery that is not finished, as the database itself remembers it: what is restored, what is done, and where ingest goes on.
//!
//! While it lasts no full backup is made: the backup would note offsets of ingest that the restored database does not have.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use bson::{Bson, Document, doc};
use chrono::{DateTime, TimeDelta, Utc};
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};

use crate::manifest::Consumed;

/// What the names of collections begin with that are being restored.
pub const RESTORING: &str = "restoring.";
/// The collection of the one document.
pub const COLLECTION: &str = "recovery";
const ID: &str = "recovery";
/// What was begun so long ago is begun anew: the database has changed since.
const FORGOTTEN: TimeDelta = TimeDelta::days(1);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Restored collections begin to take the live ones' place.
    Renaming,
    /// They have.
    Restored,
    /// Erased people are erased again.
    Erased,
}

/// A recovery under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// What is restored, in words.
    pub what: String,
    /// When it was begun.
    pub begun: DateTime<Utc>,
    /// What is done.
    pub steps: BTreeSet<Step>,
    /// How far ingest was at the last backup before what is restored.
    pub consumed: Option<Consumed>,
}

impl Recovery {
    /// Goes on with the recovery of the same, or begins another.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn begin(database: &Database, what: &str) -> anyhow::Result<Self> {
        let known = Self::find(database).await?;
        let steps = match known {
            Some(known) if known.what == what && Utc::now() - known.begun < FORGOTTEN => return Ok(known),
            // The live collections are those of a restore already, whatever is restored now.
            Some(known) if known.has(Step::Renaming) => BTreeSet::from([Step::Renaming]),
            _ => BTreeSet::new(),
        };
        Ok(Self { what: what.to_owned(), begun: Utc::now(), steps, consumed: None })
    }

    /// The one that is not finished.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn find(database: &Database) -> anyhow::Result<Option<Self>> {
        let found = collection(database).find_one(doc! { "_id": ID }).await;
        let Some(found) = found.with_context(|| format!("collection {COLLECTION} cannot be read"))? else {
            return Ok(None);
        };
        let recovery = serde_json::from_value(Bson::Document(found).into_relaxed_extjson());
        Ok(Some(recovery.with_context(|| format!("collection {COLLECTION} holds no recovery: remove its document"))?))
    }

    /// Whether a step is done.
    pub fn has(&self, step: Step) -> bool {
        self.steps.contains(&step)
    }

    /// Notes that a step is done.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn done(&mut self, database: &Database, step: Step) -> anyhow::Result<()> {
        self.steps.insert(step);
        self.save(database).await
    }

    /// Notes it.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn save(&self, database: &Database) -> anyhow::Result<()> {
        let mut document = doc! { "_id": ID };
        if let Bson::Document(fields) = Bson::try_from(serde_json::to_value(self)?)? {
            document.extend(fields);
        }
        let saved = collection(database).replace_one(doc! { "_id": ID }, document).upsert(true).await;
        saved.map(drop).with_context(|| format!("collection {COLLECTION} cannot be written"))
    }
}

/// The recovery is finished.
///
/// # Errors
/// MongoDB fails.
pub async fn end(database: &Database) -> anyhow::Result<()> {
    let dropped = collection(database).drop().await;
    dropped.with_context(|| format!("collection {COLLECTION} cannot be dropped"))
}

/// Whether a collection is a recovery's own, and no part of a backup.
pub fn is_its(name: &str) -> bool {
    name == COLLECTION || name.starts_with(RESTORING)
}

/// Fails while the database is restored and the consumer group is not set back.
///
/// # Errors
/// It is, or MongoDB fails.
pub(crate) async fn refuse(database: &Database) -> anyhow::Result<()> {
    let Some(recovery) = Recovery::find(database).await? else { return Ok(()) };
    ensure!(
        !recovery.has(Step::Renaming),
        "the recovery of {} to {}, begun at {}, is not finished: run `admin recover` again, or `admin backup rewind` after \
         `admin backup restore`",
        database.name(),
        recovery.what,
        recovery.begun.format("%FT%TZ")
    );
    Ok(())
}

fn collection(database: &Database) -> Collection<Document> {
    database.collection(COLLECTION)
}
