//! Messages whose documents MongoDB refused. Only the document is held in memory by then; the message, which the dead
//! letter must carry byte for byte, is read again from its place on the topic. If Kafka has removed it since, the letter is
//! empty and says so.

use common::event::Reason;
use common::settings;

use crate::dead_letter::{DeadLetter, Stage};
use crate::offsets::Origin;
use crate::reread::Reader;

/// Reads the messages at `refused` again and makes dead letters of them. Blocks.
///
/// # Errors
/// Kafka does not answer.
pub fn read_again(settings: &settings::Kafka, refused: &[(Origin, String)]) -> anyhow::Result<Vec<DeadLetter>> {
    const REASON: Reason = Reason::RefusedByDatabase;
    let reader = Reader::new(settings)?;
    let letter = |(origin, why): &(Origin, String)| {
        let read = reader.read(*origin, |message| DeadLetter::new(message, Stage::Write, REASON, why.clone()))?;
        Ok(read.unwrap_or_else(|| {
            let Origin { partition, offset } = *origin;
            tracing::error!(partition, offset, "Kafka removed a refused message before it was read again");
            DeadLetter::without_message(&settings.topic, *origin, Stage::Write, REASON, why)
        }))
    };
    refused.iter().map(letter).collect()
}
