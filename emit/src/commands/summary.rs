//! What a run ends with.

use common::error_line;
use common::print_line;
use std::time::Duration;

use anyhow::bail;
use serde::Serialize;

use crate::Counts;

/// What became of the events of a run.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Acknowledged by Kafka, or written to the output.
    pub delivered: u64,
    /// Refused here as ingest would have; not sent, unless that was asked for.
    pub refused: u64,
    /// Not acknowledged in time, or not taken by Kafka.
    pub failed: u64,
    /// From the first event to the last acknowledgement.
    pub seconds: f64,
    /// Of those delivered.
    pub events_per_second: f64,
}

impl Summary {
    /// Of a run that sent with an [`crate::Emitter`] and refused `refused` more by itself.
    pub fn of(counts: Counts, refused: u64, took: Duration) -> Self {
        let refused = counts.refused + refused;
        Self::new(counts.delivered, refused, counts.failed + counts.waiting + counts.not_sent, took)
    }

    /// Of a run that wrote to an output.
    pub fn new(delivered: u64, refused: u64, failed: u64, took: Duration) -> Self {
        let seconds = took.as_secs_f64();
        Self { delivered, refused, failed, seconds, events_per_second: delivered as f64 / seconds.max(0.001) }
    }

    /// As a line for people, or as JSON.
    pub fn text(&self, json: bool) -> String {
        if json {
            // Plain numbers always serialise.
            return serde_json::to_string(self).unwrap_or_default();
        }
        let Self { delivered, refused, failed, seconds, events_per_second } = self;
        format!(
            "{delivered} delivered, {refused} refused, {failed} failed in {seconds:.1} s ({events_per_second:.0} events/s)"
        )
    }

    /// Prints it, on stderr when stdout carries the events.
    pub fn print(&self, json: bool, stdout_is_taken: bool) {
        let text = self.text(json);
        if stdout_is_taken {
            error_line!("{text}");
        } else {
            print_line!("{text}");
        }
    }

    /// # Errors
    /// Something was refused or not delivered.
    pub fn expect_complete(&self) -> anyhow::Result<()> {
        let events = |count| if count == 1 { "1 event was".to_owned() } else { format!("{count} events were") };
        match (self.refused, self.failed) {
            (0, 0) => Ok(()),
            (refused, 0) => bail!("{} refused, as said above", events(refused)),
            (_, failed) => bail!("{} not delivered; run the same again: ingest stores no event twice", events(failed)),
        }
    }
}
