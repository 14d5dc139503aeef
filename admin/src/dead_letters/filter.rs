//! Which letters are meant.

use chrono::{DateTime, Utc};
use clap::Args;
use clap::builder::PossibleValuesParser;
use common::event::Reason;

use super::letter::Letter;

#[derive(Args, Debug, Default)]
pub(super) struct Filter {
    /// Only letters with this reason; may be given more than once
    #[arg(long = "reason", value_name = "R", value_parser = PossibleValuesParser::new(Reason::ALL.map(Reason::as_str)))]
    reasons: Vec<String>,
    /// Only letters whose message was sent at this time or later: 2024-01-15T10:30:00Z, or back from now, such as 2h or 7d
    #[arg(long, value_name = "T", value_parser = |text: &str| parse_since(text, Utc::now()))]
    since: Option<DateTime<Utc>>,
}

impl Filter {
    pub(super) fn takes(&self, letter: &Letter) -> bool {
        let has_reason = self.reasons.is_empty() || self.reasons.iter().any(|reason| *reason == letter.reason());
        let is_late_enough = self.since.is_none_or(|since| letter.sent_at().is_some_and(|sent_at| sent_at >= since));
        has_reason && is_late_enough
    }
}

fn parse_since(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let instant = DateTime::parse_from_rfc3339(text).ok().map(|instant| instant.to_utc());
    let back_from_now = || {
        let duration = chrono::Duration::from_std(humantime::parse_duration(text).ok()?).ok()?;
        now.checked_sub_signed(duration)
    };
    instant.or_else(back_from_now).ok_or_else(|| {
        "expected a date and time such as 2024-01-15T10:30:00Z, or how long ago, such as 30m, 2h or 7d".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_an_instant_or_a_time_back_from_now() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let since = |text: &str| parse_since(text, now).map(|since| since.timestamp());
        assert_eq!(since("2023-11-14T22:13:20+01:00"), Ok(1_700_000_000 - 3_600));
        assert_eq!(since("2h"), Ok(1_700_000_000 - 7_200));
        assert_eq!(since("7d"), Ok(1_700_000_000 - 7 * 86_400));
        for wrong in ["", "yesterday", "2024-01-15", "-2h", "2", "9999999999999y"] {
            assert!(since(wrong).is_err_and(|error| error.contains("2024-01-15T10:30:00Z")), "{wrong}");
        }
    }
}
