//! `aggregator anonymise`: a day at once, and what became of it in words.

use std::time::{Duration, Instant};

use anyhow::bail;
use chrono::Utc;
use common::day::Day;
use common::documents::rollup_day::Anonymised;
use indicatif::HumanCount;
use serde::Serialize;

use super::{Anonymiser, Outcome};
use crate::lease::Held;

/// What became of a day.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The day.
    pub day: Day,
    /// Whether it was anonymised before, so that nothing was done.
    pub was_done: bool,
    /// How many documents are anonymised.
    #[serde(flatten)]
    pub documents: Anonymised,
    /// How long it took, with the wait for ingest.
    pub seconds: f64,
}

/// Anonymises `day`, and waits as long as ingest may still write its events.
///
/// # Errors
/// MongoDB fails, the lease is lost, or the day must not be anonymised yet: the text says why and what to do.
pub async fn day(anonymiser: &mut Anonymiser, lease: &Held, day: Day) -> anyhow::Result<Report> {
    let started = Instant::now();
    let (was_done, documents) = loop {
        match anonymiser.day(lease, day, None).await? {
            Outcome::Early => bail!(anonymiser.why_early(day).await?),
            Outcome::Waiting(until) => {
                anonymiser.progress.set_message("closed, waiting for what ingest accepted before");
                tokio::time::sleep((until - Utc::now()).to_std().unwrap_or(Duration::from_millis(100))).await;
                anonymiser.progress.set_message("");
            }
            Outcome::Paused => {}
            Outcome::Anonymised(documents) => break (false, documents),
            Outcome::Done(documents) => break (true, documents),
        }
    };
    Ok(Report { day, was_done, documents, seconds: started.elapsed().as_secs_f64() })
}

/// A line about a day.
pub fn summary(report: &Report) -> String {
    let Report { day, documents: Anonymised { tool_usage, activity, uncounted }, seconds, .. } = report;
    let count = |number: &i64| HumanCount(number.unsigned_abs()).to_string();
    let (uses, activities) = (count(tool_usage), count(activity));
    let later = match uncounted {
        0 => String::new(),
        more => format!("; {} of them came after its numbers were final, and are not counted", count(more)),
    };
    if report.was_done {
        return format!("{day}: was anonymised before: {uses} tool uses, {activities} activities{later}");
    }
    format!("{day}: {uses} tool uses and {activities} activities anonymised in {seconds:.1} s{later}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_not_counted() {
        let documents = Anonymised { tool_usage: 1_200, activity: 3, uncounted: 0 };
        let mut report = Report { day: Day::parse("2024-01-15").unwrap(), was_done: false, documents, seconds: 1.26 };
        assert_eq!(summary(&report), "2024-01-15: 1,200 tool uses and 3 activities anonymised in 1.3 s");
        (report.was_done, report.documents.uncounted) = (true, 2);
        assert!(
            summary(&report)
                .ends_with("3 activities; 2 of them came after its numbers were final, and are not counted")
        );
    }
}
