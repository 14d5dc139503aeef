//! What is told of a day that was rolled up.

use std::fmt;
use std::time::Duration;

use common::day::Day;
use common::documents::rollup_day::Inputs;

/// A day that was rolled up.
#[derive(Clone, Copy, Debug)]
pub struct Rolled {
    /// The day.
    pub day: Day,
    /// From how many documents.
    pub inputs: Inputs,
    /// How long it took.
    pub took: Took,
    /// The day was not over.
    pub provisional: bool,
}

/// How long each step of a day's roll-up took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// Computing the document.
    pub document: Duration,
    /// Reading the events again for the rows of tools and users.
    pub rows: Duration,
    /// Writing the rows, and moving the counters with them.
    pub counters: Duration,
    /// Publishing the document.
    pub publishing: Duration,
}

impl Took {
    /// All steps together.
    pub fn total(&self) -> Duration {
        self.document + self.rows + self.counters + self.publishing
    }
}

/// Seconds: in all, and of each step.
impl fmt::Display for Took {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { document, rows, counters, publishing } = self;
        let [total, document, rows, counters, publishing] =
            [self.total(), *document, *rows, *counters, *publishing].map(|step| step.as_secs_f64());
        write!(
            formatter,
            "{total:.1} s (document {document:.1}, rows {rows:.1}, counters {counters:.1}, publishing {publishing:.1})"
        )
    }
}
