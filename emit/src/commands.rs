//! The program `emit`.

pub mod file;
pub mod generate;
pub mod progress;
pub mod summary;

use std::time::Duration;

use common::settings::Settings;

use crate::{Emitter, EmitterOptions, Unusable};

/// How long the first answer of Kafka is waited for.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// Longer than an event waits for its acknowledgement, so that after it each one is delivered or given up.
const FLUSH: Duration = Duration::from_secs(150);

/// An emitter whose topic is known to be there.
fn connect(settings: &Settings) -> Result<Emitter, Unusable> {
    // A program sends as fast as it can: what waits shall not be held back by small batches.
    let emitter = Emitter::connect(EmitterOptions::from(settings))?;
    emitter.check(FIRST_ANSWER)?;
    Ok(emitter)
}
