//! The option `--since`: a point in time, or a time back from now.

use chrono::{DateTime, Utc};

/// Reads `2024-01-15T10:30:00Z`, or `2h`, `7d` back from now.
///
/// # Errors
/// What was expected instead.
pub fn parse(text: &str) -> Result<DateTime<Utc>, String> {
    parse_at(text, Utc::now())
}

fn parse_at(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
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
        let since = |text: &str| parse_at(text, now).map(|since| since.timestamp());
        assert_eq!(since("2023-11-14T22:13:20+01:00"), Ok(1_700_000_000 - 3_600));
        assert_eq!(since("2h"), Ok(1_700_000_000 - 7_200));
        assert_eq!(since("7d"), Ok(1_700_000_000 - 7 * 86_400));
        for wrong in ["", "yesterday", "2024-01-15", "-2h", "2", "9999999999999y"] {
            assert!(since(wrong).is_err_and(|error| error.contains("2024-01-15T10:30:00Z")), "{wrong}");
        }
    }
}
