//! Makes a backup, with the position of ingest noted in it.

use std::sync::Arc;

use backup::age::Recipient;
use backup::manifest::{Consumed, Full, Kind, Range};
use backup::progress::Progress;
use backup::store::Store;
use backup::{full, range};
use common::mongo;
use common::settings::Settings;
use mongodb::Database;

use super::consumed;
use super::place::{self, Place};

/// What makes backups.
pub struct Saver {
    settings: Settings,
    /// The database that is saved.
    pub database: Database,
    /// Where to.
    pub store: Arc<Store>,
    recipient: Recipient,
}

impl Saver {
    /// Opens everything that a backup needs.
    ///
    /// # Errors
    /// A setting is missing, or MongoDB does not answer.
    pub async fn open(settings: &Settings) -> anyhow::Result<Self> {
        // The settings first: they are refused without a server.
        let (store, recipient) = (Place::default().open(settings)?, place::recipient(settings)?);
        Ok(Self { settings: settings.clone(), database: mongo::connect(&settings.mongodb).await?, store, recipient })
    }

    /// Whom it encrypts for.
    pub const fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// Makes a full backup.
    ///
    /// # Errors
    /// See [`full::make`].
    pub async fn full(&self, progress: &Progress) -> anyhow::Result<Full> {
        let consumed = self.consumed().await;
        full::make(&self.database, &self.store, &self.recipient, consumed, progress).await
    }

    /// Saves the oplog since the last backup; none when nothing was written.
    ///
    /// # Errors
    /// See [`range::make`].
    pub async fn range(&self, kind: Kind, progress: &Progress) -> anyhow::Result<Option<Range>> {
        let consumed = self.consumed().await;
        range::make(&self.database, &self.store, &self.recipient, kind, consumed, progress).await
    }

    /// A backup without the position is better than none: a rewind then takes that of the backup before.
    async fn consumed(&self) -> Option<Consumed> {
        match consumed::committed(&self.settings.kafka).await {
            Ok(consumed) => Some(consumed),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the backup does not note how far ingest is");
                None
            }
        }
    }
}
