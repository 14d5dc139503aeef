//! Erases people again who were erased before and came back: with a restored database, or with events that an old worker wrote.
//!
//! A tombstone says nothing about an id, so every id in the database is asked whether it has a tombstone.

use std::collections::BTreeSet;
use std::sync::Arc;

use bson::oid::ObjectId;
use common::documents::privacy_request::Mode;
use common::tombstones::topic::Reader;
use common::tombstones::{Subject, Tombstone, Tombstones};

use super::person::{PLACES, each_id, each_session_without_user};
use super::work::EVENTS;
use super::{Context, requests};

/// What a look at the whole database found.
#[derive(Debug, Default)]
pub struct Found {
    /// Tombstones of the topic that the collection lacks.
    pub lacking: Vec<Tombstone>,
    /// People with a tombstone who are in the database.
    pub people: BTreeSet<ObjectId>,
    /// Sessions with a tombstone that have events without a user: what an erased person did before signing in.
    pub sessions: BTreeSet<ObjectId>,
}

/// Looks for tombstones that the collection lacks, and for people who are in the database in spite of their tombstone.
///
/// # Errors
/// MongoDB or Kafka fails, or the keyring lacks a key.
pub async fn look(context: &Context) -> anyhow::Result<Found> {
    let kafka = context.settings.kafka.clone();
    let read = move || Reader::open(&kafka)?.map_or(Ok(Vec::new()), |mut reader| reader.read_to_end());
    let on_topic = tokio::task::spawn_blocking(read).await??;
    let mut known = Tombstones::new(Some(Arc::clone(&context.keyring)));
    known.add_stored(&context.database).await?;
    let mut found = Found::default();
    for tombstone in on_topic {
        if known.add(&tombstone) {
            found.lacking.push(tombstone);
        }
    }
    if let Some(why) = known.blind() {
        anyhow::bail!(why);
    }
    if known.is_empty() {
        return Ok(found);
    }
    for place in PLACES {
        each_id(&context.database, place, |id| {
            if known.contains(Subject::User(id)) {
                found.people.insert(id);
            }
        })
        .await?;
    }
    for collection in EVENTS {
        each_session_without_user(&context.database, collection, |id| {
            if known.contains(Subject::Session(id)) {
                found.sessions.insert(id);
            }
        })
        .await?;
    }
    Ok(found)
}

/// Makes the collection whole again, and files a request for each person who came back.
///
/// # Errors
/// MongoDB or Kafka fails.
pub async fn file(context: &Context, found: &Found) -> anyhow::Result<()> {
    for id in &found.people {
        if requests::open_request(context, *id).await?.is_none() {
            requests::file(context, *id, Mode::Delete, false).await?;
        }
    }
    Ok(())
}

/// Marks the tombstones of the topic as known to the collection; the last step, because ingest is not ready before it.
///
/// # Errors
/// MongoDB fails.
pub async fn store_lacking(context: &Context, found: &Found) -> anyhow::Result<()> {
    requests::store(context, &found.lacking).await
}
