//! Erasing a person: everywhere in the database, for good, and so that a kill at any moment does no harm.
//!
//! [`requests`] keeps the request as a document whose state says what is done next; [`work`] does it, state by state: [`events`] are
//! removed or anonymised in transactions that also count them in the request and mark their days dirty, [`account`] is everything
//! else about the person. [`person`] finds people, [`again`] those who came back with a restore, and [`kafka`] says until when the
//! topics hold what was sent.

mod account;
pub mod again;
mod events;
mod kafka;
pub mod person;
pub mod requests;
pub mod work;

use std::sync::Arc;

use common::keyring::Keyring;
use common::mongo;
use common::settings::Settings;
use mongodb::error::Result;
use mongodb::options::WriteConcern;
use mongodb::{ClientSession, Database};

/// What every step needs.
pub struct Context {
    /// All settings.
    pub settings: Settings,
    /// The database.
    pub database: Database,
    /// The keys of the digests.
    pub keyring: Arc<Keyring>,
}

impl Context {
    /// Connects.
    ///
    /// # Errors
    /// There is no keyring, or MongoDB does not answer.
    pub async fn connect(settings: &Settings) -> anyhow::Result<Self> {
        let keyring = Arc::new(Keyring::from_settings(settings)?);
        Ok(Self { settings: settings.clone(), database: mongo::connect(&settings.mongodb).await?, keyring })
    }

    /// Runs `work` in a transaction, and again while the server reports a passing fault.
    async fn transaction<T>(&self, work: impl AsyncFnMut(&mut ClientSession) -> Result<T>) -> Result<T> {
        let mut session = self.database.client().start_session().await?;
        session.start_transaction().write_concern(WriteConcern::majority()).and_run2(work).await
    }
}
