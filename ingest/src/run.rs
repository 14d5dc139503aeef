//! `ingest run`: checks that everything is there, then starts the worker and ends it.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use common::event::EventType;
use common::sealed_days::SealedDays;
use common::settings::Settings;
use common::telemetry::{self, Part, Readiness};
use common::tombstones::follow;
use common::{mongo, shutdown, watchdog};
use tokio::sync::watch;

use crate::conflicts::Conflicts;
use crate::consumer::{self, Parts, Until};
use crate::dead_letter::DeadLetters;
use crate::decode::Decoder;
use crate::tools::{self, ToolSeries};
use crate::topic::{self, Topic};
use crate::writer::Writer;
use crate::{late, live_settings, metrics};

/// The port of `/metrics` and `/healthz` when `telemetry.listen` is empty.
pub const DEFAULT_PORT: u16 = 9464;

/// Runs one worker until it is shut down, or caught up.
///
/// # Errors
/// MongoDB or Kafka does not answer at the start, a topic or collection is missing, the port is in use. Once it runs,
/// outages are waited out.
pub async fn run(settings: Settings, until: Until) -> anyhow::Result<()> {
    telemetry::init_logging(&settings.telemetry)?;
    let shutdown = shutdown::token()?;
    watchdog::watch_runtime()?;
    let recorder = common::metrics::install("ingest", metrics::METRICS)?;
    let readiness = Readiness::starting(&[Part::Kafka, Part::Mongodb]);
    telemetry::serve(&settings.telemetry, DEFAULT_PORT, recorder, readiness.clone(), shutdown.child_token()).await?;
    let database = mongo::connect(&settings.mongodb).await?;
    readiness.set(Part::Mongodb, Ok(()));
    let collections = database.list_collection_names().await?;
    for event_type in EventType::ALL {
        let collection = event_type.collection();
        ensure!(
            collections.iter().any(|name| name == collection),
            "database {} has no collection {collection}; run `admin migrate`, which creates it with its indexes",
            settings.mongodb.database
        );
    }
    let dead_letters = DeadLetters::new(settings.kafka.clone());
    let (rates, rates_in_force) = watch::channel(live_settings::from_settings(&settings.ingest));
    tokio::spawn(live_settings::follow(database.clone(), settings.ingest.clone(), rates, readiness.clone()));
    let (told, topic) = watch::channel(Topic::UNKNOWN);
    tokio::spawn(topic::follow(settings.kafka.clone(), told));
    let (slugs, known_slugs) = watch::channel(Arc::default());
    tokio::spawn(tools::follow(database.clone(), slugs));
    late::look_at_clock(&database).await?;
    // Before the first message is read: none of a sealed day may pass.
    let (sealed, sealed_days) = watch::channel(Arc::new(SealedDays::read(&database).await?));
    tokio::spawn(late::follow(database.clone(), sealed));
    // Before the first message is read: no event of an erased person may pass.
    let tombstones = follow::follow(&settings, database.clone(), readiness.clone()).await?;
    if let Some(why) = tombstones.borrow().blind() {
        bail!(why);
    }
    let conflicts = Conflicts::new(database.clone(), settings.kafka.clone(), known_slugs.clone());
    let writer = Writer::new(database, settings.kafka.clone(), dead_letters, conflicts, readiness.clone());
    let parts = Parts {
        writer: Arc::new(writer),
        decoder: Decoder::new(
            settings.ingest.clone(),
            settings.retention,
            ToolSeries::new(known_slugs),
            sealed_days,
            tombstones,
        ),
        rates: rates_in_force,
        topic,
        runtime: tokio::runtime::Handle::current(),
    };
    // An OS thread of its own: polling, and dropping the consumer, block.
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("consumer".to_owned()).spawn(move || {
        let result = consumer::subscribe(&settings, &readiness).and_then(|subscribed| {
            readiness.ready();
            consumer::run(&settings, subscribed, parts, until, &shutdown)
        });
        let _ = ended.send(result);
    })?;
    end.await.context("the consumer thread ended without a word")?
}
