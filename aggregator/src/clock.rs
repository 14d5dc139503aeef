//! Whether this machine's clock may decide that a day is over.

use anyhow::{Context, ensure};
use chrono::TimeDelta;
use common::mongo::clock;
use mongodb::Database;

/// A clock that is ahead would end a day before its last events are stored, and these events would be in no number.
///
/// # Errors
/// MongoDB fails, or its clock and this machine's differ by more than [`clock::MOST`].
pub async fn check(database: &Database) -> anyhow::Result<()> {
    may_decide(clock::ahead(database).await.context("reading MongoDB's clock")?)
}

fn may_decide(ahead: TimeDelta) -> anyhow::Result<()> {
    ensure!(
        ahead.abs() <= clock::MOST,
        "this machine's clock is {:.1} s {} MongoDB's, and {} s is the most with which a day has all of its events: nothing is \
         rolled up; set both clocks (NTP)",
        ahead.as_seconds_f64().abs(),
        if ahead.num_milliseconds() < 0 { "ahead of" } else { "behind" },
        clock::MOST.num_seconds()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_far_from_mongodbs_rolls_nothing_up() {
        for seconds in [-30, 0, 30] {
            assert!(may_decide(TimeDelta::seconds(seconds)).is_ok());
        }
        for (millis, expected) in [(-30_500, "30.5 s ahead of"), (120_000, "120.0 s behind")] {
            let error = may_decide(TimeDelta::milliseconds(millis)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
