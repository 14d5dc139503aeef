//! Which letters are meant.

use chrono::{DateTime, Utc};
use clap::Args;
use clap::builder::PossibleValuesParser;
use common::event::Reason;

use super::letter::Letter;
use crate::since;

#[derive(Args, Debug, Default)]
pub(super) struct Filter {
    /// Only letters with this reason; may be given more than once
    #[arg(long = "reason", value_name = "R", value_parser = PossibleValuesParser::new(Reason::ALL.map(Reason::as_str)))]
    reasons: Vec<String>,
    /// Only letters that arrived at this time or later: 2024-01-15T10:30:00Z, or back from now, such as 2h or 7d
    #[arg(long, value_name = "T", value_parser = since::parse)]
    since: Option<DateTime<Utc>>,
}

impl Filter {
    pub(super) fn takes(&self, letter: &Letter) -> bool {
        let has_reason = self.reasons.is_empty() || self.reasons.iter().any(|reason| *reason == letter.reason());
        let is_late_enough =
            self.since.is_none_or(|since| letter.arrived_at().is_some_and(|arrived_at| arrived_at >= since));
        has_reason && is_late_enough
    }
}
