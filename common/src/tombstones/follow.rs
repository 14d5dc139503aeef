//! Keeps the tombstones of a program that runs up to date.
//!
//! The topic brings each new tombstone within milliseconds; the collection `erasures` is read again every minute. A tombstone that the
//! topic has and the collection lacks says that the database was restored from before an erasure: the program is not ready until
//! `admin privacy reapply` has erased that person again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
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
/// Kafka or MongoDB does not answer, or the keyring cannot be read.
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
    let mut followed = Followed::new(settings.clone());
    for tombstone in on_topic {
        followed.take(&tombstone);
    }
    followed.read(&database).await?;
    readiness.set(Part::Erasures, followed.state());
    let (tell, known) = watch::channel(Arc::new(followed.known.clone()));
    let (send, new) = mpsc::unbounded_channel();
    let kafka = settings.kafka.clone();
    // Polling, and dropping the consumer, block.
    std::thread::Builder::new().name("erasures".to_owned()).spawn(move || read_on(&kafka, reader, &send))?;
    tokio::spawn(keep_up(followed, database, new, tell, readiness));
    Ok(known)
}

/// For a program that works without Kafka: only its readiness says whether erased people came back. While Kafka does not answer,
/// nobody knows, and the program goes on.
pub async fn watch_readiness(settings: Settings, database: Database, readiness: Readiness) {
    // What follows runs on without a receiver.
    while let Err(error) = follow(&settings, database.clone(), readiness.clone()).await {
        tracing::warn!(
            error = mongo::in_words(&error),
            "nobody knows whether erased people came back with a restore; trying again"
        );
        tokio::time::sleep(INTERVAL).await;
    }
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

struct Followed {
    settings: Settings,
    /// The digests of the topic's tombstones.
    on_topic: BTreeSet<String>,
    known: Tombstones,
    /// Tombstones of the topic that the collection lacked when it was last read.
    lacking: usize,
}

impl Followed {
    fn new(settings: Settings) -> Self {
        Self { settings, on_topic: BTreeSet::new(), known: Tombstones::default(), lacking: 0 }
    }

    /// Takes a tombstone of the topic over; false when it is known already.
    fn take(&mut self, tombstone: &Tombstone) -> bool {
        self.on_topic.insert(tombstone.digest.clone());
        self.known.add(tombstone)
    }

    /// Reads keyring and collection again. What was known stays known, also when that fails.
    async fn read(&mut self, database: &Database) -> anyhow::Result<()> {
        let mut stored = Tombstones::new(Keyring::if_set(&self.settings)?.map(Arc::new));
        stored.add_stored(database).await.context("reading the collection erasures")?;
        self.lacking = self.on_topic.iter().filter(|digest| !stored.has(digest)).count();
        stored.add_all(&self.known);
        self.known = stored;
        Ok(())
    }

    /// Why erased people may be in the database; an error, in words, when they may.
    fn state(&self) -> Result<(), String> {
        if let Some(why) = self.known.blind() {
            return Err(why);
        }
        if self.lacking == 0 {
            return Ok(());
        }
        Err(format!(
            "topic {} has {} tombstones of erased people that the collection erasures lacks, as after a restore; run `admin privacy \
             reapply`",
            self.settings.kafka.erasures_topic(),
            self.lacking
        ))
    }
}

async fn keep_up(
    mut followed: Followed,
    database: Database,
    mut new: mpsc::UnboundedReceiver<Tombstone>,
    tell: watch::Sender<Arc<Tombstones>>,
    readiness: Readiness,
) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + INTERVAL, INTERVAL);
    let mut received = Vec::new();
    loop {
        let is_due = tokio::select! {
            count = new.recv_many(&mut received, AT_ONCE) => {
                if count == 0 {
                    return;
                }
                let mut is_new = false;
                for tombstone in received.drain(..) {
                    is_new |= followed.take(&tombstone);
                }
                if !is_new {
                    continue;
                }
                // In force before MongoDB is asked for anything: MongoDB may hang.
                tell.send_replace(Arc::new(followed.known.clone()));
                // A new key: the file has it.
                followed.known.blind().is_some()
            }
            _ = ticks.tick() => true,
        };
        if is_due {
            read_again(&mut followed, &database).await;
            tell.send_replace(Arc::new(followed.known.clone()));
        }
        readiness.set(Part::Erasures, followed.state());
    }
}

async fn read_again(followed: &mut Followed, database: &Database) {
    let why = match tokio::time::timeout(TIME_LIMIT, followed.read(database)).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => mongo::in_words(&error),
        Err(_) => format!("no answer within {} s", TIME_LIMIT.as_secs()),
    };
    tracing::warn!(why, "the erased people could not be read again; those known stay");
}
