//! The program `emit`.

pub mod file;
pub mod generate;
pub mod progress;
pub mod summary;

use std::time::Duration;

use anyhow::ensure;
use common::settings::Settings;
use tokio_util::sync::CancellationToken;

use crate::{Emitter, EmitterOptions, Unusable};

/// How long the first answer of Kafka is waited for.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// Longer than an event waits for its acknowledgement, so that after it each one is delivered or given up.
const FLUSH: Duration = Duration::from_secs(150);

/// An emitter whose topic is known to be there.
fn connect(settings: &Settings) -> Result<Emitter, Unusable> {
    let emitter = Emitter::connect(EmitterOptions::from(settings))?;
    emitter.check(FIRST_ANSWER)?;
    Ok(emitter)
}

fn expect_not_stopped(shutdown: &CancellationToken) -> anyhow::Result<()> {
    ensure!(!shutdown.is_cancelled(), "stopped before the end; run the same again: ingest stores no event twice");
    Ok(())
}
