//! One aggregator at a time: a lease in `leases`, and transactions that only its holder can commit.
//!
//! Whoever works holds the lease and renews it every second. A holder that is killed has its lease taken [`TERM`] later. A
//! holder that was paused for longer, and wakes up, still believes that it holds the lease: therefore every transaction
//! writes to the lease's document, with the fence in the filter. A newer holder has raised the fence; then nothing matches,
//! and the transaction ends without a trace. Should the newer holder come in the middle of a transaction, the two writes
//! to the same document conflict, and the older transaction fails.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use common::documents::lease::{self, Lease};
use common::mongo;
use mongodb::options::{ReadConcern, ReturnDocument, WriteConcern};
use mongodb::{ClientSession, Collection, Database};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use crate::{clock, metrics};

/// The lease of all who write what the aggregator writes.
pub const NAME: &str = "aggregator";

/// How long a lease lasts that nobody renews: the longest that a killed holder keeps others waiting.
pub const TERM: Duration = Duration::from_secs(4);

const RENEWAL: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(500);

/// Somebody else took the lease while this process did not renew it.
#[derive(Debug, thiserror::Error)]
#[error("another aggregator took the work over, because this one did not answer for more than {} s", TERM.as_secs())]
pub struct TakenOver;

/// Whether `error` says that the lease is somebody else's now.
pub fn is_taken_over(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<TakenOver>())
}

/// The right to write, as long as this lives. Dropped without [`Held::release`] it lapses after [`TERM`].
#[derive(Debug)]
pub struct Held {
    database: Database,
    holder: String,
    fence: i64,
    /// Held by whoever writes to the lease's document: a transaction and a renewal at the same time would only conflict.
    writing: Arc<Mutex<()>>,
    renewal: AbortHandle,
}

/// Takes the lease, and waits for it while somebody else has it.
///
/// # Errors
/// MongoDB fails, or this machine's clock is not MongoDB's.
pub async fn acquire(database: &Database) -> anyhow::Result<Held> {
    clock::check(database).await?;
    // In containers every aggregator has process id 1, and all may start in the same moment.
    let holder = format!("{}-{}", std::process::id(), ObjectId::new());
    let mut told = false;
    loop {
        let lease = take_if_free(database, &holder).await.context("taking the lease")?;
        if lease.holder == holder {
            return Ok(Held::new(database, holder, lease.fence));
        }
        if !std::mem::replace(&mut told, true) {
            tracing::info!(holder = lease.holder, "another aggregator is at work; waiting for it");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The lease as it is afterwards: ours, or the one that is in the way. The server's clock alone decides.
async fn take_if_free(database: &Database, holder: &str) -> anyhow::Result<Lease> {
    let is_free = doc! { "$lte": [{ "$ifNull": ["$expiresAt", DateTime::from_millis(0)] }, "$$NOW"] };
    let if_free = |then: bson::Bson, field: &str| doc! { "$cond": [is_free.clone(), then, field] };
    let fence = doc! { "$add": [{ "$ifNull": ["$fence", 0_i64] }, 1_i64] };
    // All of one stage sees the document as it was before.
    let take = doc! { "$set": {
        "holder": if_free(holder.into(), "$holder"),
        "fence": if_free(fence.into(), "$fence"),
        "acquiredAt": if_free("$$NOW".into(), "$acquiredAt"),
        "expiresAt": if_free(expiry().into(), "$expiresAt"),
    } };
    let taken = leases(database)
        .find_one_and_update(doc! { "_id": NAME }, vec![take])
        .upsert(true)
        .return_document(ReturnDocument::After)
        .write_concern(WriteConcern::majority())
        .await?;
    taken.context("the server returned no lease")
}

impl Held {
    fn new(database: &Database, holder: String, fence: i64) -> Self {
        let writing = Arc::new(Mutex::new(()));
        let renewing = renew(database.clone(), holder.clone(), fence, Arc::clone(&writing));
        let renewal = tokio::spawn(renewing).abort_handle();
        metrics::lease_held(true);
        Self { database: database.clone(), holder, fence, writing, renewal }
    }

    /// Gives the lease up, so that nobody has to wait for its end.
    pub async fn release(self) {
        self.renewal.abort();
        let now = doc! { "$set": { "expiresAt": "$$NOW" } };
        if let Err(error) = leases(&self.database).update_one(self.filter(), vec![now]).await {
            tracing::debug!(error = mongo::reason(&error), "the lease could not be given up; it lapses");
        }
    }

    /// Runs `work` in a transaction that is committed only while this is the holder.
    ///
    /// # Errors
    /// [`TakenOver`]; MongoDB fails or refuses a write; what `work` fails with. Nothing is written then, except that after
    /// a failure of the commit itself nobody knows: `work` must be safe to repeat.
    pub async fn transaction<T>(
        &self,
        work: impl AsyncFnOnce(&mut ClientSession) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let _writing = self.writing.lock().await;
        let mut session = self.database.client().start_session().await?;
        session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .write_concern(WriteConcern::majority())
            .await?;
        let worked = match self.touch(&mut session).await {
            Ok(()) => work(&mut session).await,
            Err(error) => Err(error),
        };
        match worked {
            Ok(result) => {
                session.commit_transaction().await?;
                Ok(result)
            }
            Err(error) => {
                // The server ends it by itself when this does not arrive.
                let _ = session.abort_transaction().await;
                Err(error)
            }
        }
    }

    async fn touch(&self, session: &mut ClientSession) -> anyhow::Result<()> {
        // It must change the document: an update that changes nothing conflicts with nobody.
        let touched = leases(&self.database).update_one(self.filter(), vec![longer()]).session(session).await?;
        if touched.matched_count == 0 {
            return Err(TakenOver.into());
        }
        Ok(())
    }

    fn filter(&self) -> Document {
        filter(&self.holder, self.fence)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewal.abort();
        metrics::lease_held(false);
    }
}

async fn renew(database: Database, holder: String, fence: i64, writing: Arc<Mutex<()>>) {
    let mut ticks = tokio::time::interval(RENEWAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A transaction renews it, too.
        let Ok(_writing) = writing.try_lock() else { continue };
        match leases(&database).update_one(filter(&holder, fence), vec![longer()]).await {
            Ok(renewed) => metrics::lease_held(renewed.matched_count > 0),
            Err(error) => {
                tracing::warn!(error = mongo::reason(&error), "the lease could not be renewed; trying again");
            }
        }
    }
}

fn longer() -> Document {
    doc! { "$set": { "expiresAt": expiry() } }
}

/// By the server's clock, as an expression.
fn expiry() -> Document {
    doc! { "$add": ["$$NOW", TERM.as_millis() as i64] }
}

fn filter(holder: &str, fence: i64) -> Document {
    doc! { "_id": NAME, "holder": holder, "fence": fence }
}

fn leases(database: &Database) -> Collection<Lease> {
    database.collection(lease::COLLECTION)
}
