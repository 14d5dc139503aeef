//! Keeps the tombstones of a program that runs up to date.
//!
//! The topic brings each new tombstone within milliseconds; the collection `erasures` is read again every minute. A tombstone that the
//! topic has and the collection lacks says that the database was restored from before an erasure: the program is not ready until
//! `admin privacy reapply` has erased that person again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mongodb::Database;
use tokio::sync::{mpsc, watch};

use super::topic::Reader;
use super::{Tombstone, Tombstones};
use crate::keyring::Keyring;
use crate::mongo;
use crate::settings::{Kafka, Settings};
use crate::telemetry::{Part, Readiness};

/// How often the collection is read.
const INTERVAL: Duration = Duration::from_secs(60);

/// How long one look at the topic waits for a tombstone.
const POLL: Duration = Duration::from_millis(500);

/// A server that was stopped where it stands keeps its connections open, and never answers.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Most tombstones that are taken over at once.
const AT_ONCE: usize = 10_000;

/// Reads all tombstones, and goes on to follow them in the background.
///
/// # Errors
/// Kafka or MongoDB does not answer, or the keyring cannot be read or lacks a key that a tombstone was made with.
pub async fn follow(
    settings: &Settings,
    database: Database,
    readiness: Readiness,
) -> anyhow::Result<watch::Receiver<Arc<Tombstones>>> {
    let kafka = settings.kafka.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let Some(mut reader) = Reader::open(&kafka)? else { return Ok((None, Vec::new())) };
        let tombstones = reader.read_to_end()?;
        anyhow::Ok((Some(reader), tombstones))
    });
    let (reader, on_topic) = opened.await.context("reading the tombstones")??;
    let mut followed = Followed { settings: settings.clone(), on_topic: BTreeSet::new(), known: Tombstones::default() };
    followed.on_topic.extend(on_topic.iter().map(|tombstone| tombstone.digest.clone()));
    followed.known = read(settings, &database, &on_topic).await?;
    if let Some(why) = followed.known.blind() {
        bail!(why);
    }
    readiness.set(Part::Erasures, followed.lacking(&database).await?);
    let (tell, known) = watch::channel(Arc::new(followed.known.clone()));
    let (send, new) = mpsc::unbounded_channel();
    let kafka = settings.kafka.clone();
    // Polling, and dropping the consumer, block.
    std::thread::Builder::new().name("erasures".to_owned()).spawn(move || read_on(&kafka, reader, &send))?;
    tokio::spawn(keep_up(followed, database, new, tell, readiness));
    Ok(known)
}

/// Sends what comes on the topic, until nobody listens.
fn read_on(settings: &Kafka, mut reader: Option<Reader>, send: &mpsc::UnboundedSender<Tombstone>) {
    while !send.is_closed() {
        let Some(open) = &mut reader else {
            tracing::warn!(
                topic = settings.erasures_topic(),
                "the topic does not exist; run `admin migrate`, which creates it"
            );
            std::thread::sleep(INTERVAL);
            reader = Reader::open(settings).unwrap_or_default();
            continue;
        };
        if let Some(tombstone) = open.poll(POLL)
            && send.send(tombstone).is_err()
        {
            return;
        }
    }
}

/// All tombstones of the topic and the collection.
async fn read(settings: &Settings, database: &Database, on_topic: &[Tombstone]) -> anyhow::Result<Tombstones> {
    let mut known = Tombstones::new(Keyring::if_set(settings)?.map(Arc::new));
    on_topic.iter().for_each(|tombstone| {
        known.add(tombstone);
    });
    known.add_stored(database).await.context("reading the collection erasures")?;
    Ok(known)
}

struct Followed {
    settings: Settings,
    /// The digests of the topic's tombstones.
    on_topic: BTreeSet<String>,
    known: Tombstones,
}

impl Followed {
    /// Whether the collection has every tombstone of the topic; an error, in words, when it has not.
    async fn lacking(&self, database: &Database) -> mongodb::error::Result<Result<(), String>> {
        let mut stored = Tombstones::default();
        stored.add_stored(database).await?;
        let lacking = self.on_topic.iter().filter(|digest| !stored.has(digest)).count();
        Ok(if lacking == 0 {
            Ok(())
        } else {
            Err(format!(
                "topic {} has {lacking} tombstones of erased people that the collection erasures lacks, as after a restore; run \
                 `admin privacy reapply`",
                self.settings.kafka.erasures_topic()
            ))
        })
    }
}

async fn keep_up(
    mut followed: Followed,
    database: Database,
    mut new: mpsc::UnboundedReceiver<Tombstone>,
    tell: watch::Sender<Arc<Tombstones>>,
    readiness: Readiness,
) {
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut received = Vec::new();
    loop {
        tokio::select! {
            count = new.recv_many(&mut received, AT_ONCE) => {
                if count == 0 {
                    return;
                }
                let mut is_new = false;
                for tombstone in received.drain(..) {
                    is_new |= followed.known.add(&tombstone);
                    followed.on_topic.insert(tombstone.digest);
                }
                if !is_new {
                    continue;
                }
                if followed.known.blind().is_some() {
                    // A new key: the file has it.
                    reload(&mut followed, &database).await;
                }
            }
            _ = ticks.tick() => reload(&mut followed, &database).await,
        }
        let state = match followed.known.blind() {
            Some(why) => Err(why),
            None => match tokio::time::timeout(TIME_LIMIT, followed.lacking(&database)).await {
                Ok(Ok(state)) => state,
                // Whether MongoDB answers is for another part to say.
                Ok(Err(_)) | Err(_) => continue,
            },
        };
        readiness.set(Part::Erasures, state);
        tell.send_replace(Arc::new(followed.known.clone()));
    }
}

/// Reads keyring and collection again; what was known stays known when that fails.
async fn reload(followed: &mut Followed, database: &Database) {
    match tokio::time::timeout(TIME_LIMIT, read(&followed.settings, database, &[])).await {
        Ok(Ok(mut read)) => {
            read.add_all(&followed.known);
            followed.known = read;
        }
        Ok(Err(error)) => {
            tracing::warn!(
                error = mongo::in_words(&error),
                "the erased people could not be read again; those known stay"
            );
        }
        Err(_) => tracing::warn!("the erased people could not be read again within 10 s; those known stay"),
    }
}
