//! Decides whether a day's raw events are still whole, and when a day has to be sealed because they soon will not be.
//!
//! The collections expire at different times: activities and health checks long before tool uses. A day that was rolled up while
//! a collection was whole must not be computed again without it. Pure: the clock and the indexes are read elsewhere.

use chrono::{DateTime, TimeDelta, Utc};
use common::day::Day;
use common::documents::rollup_day::{Inputs, RollupDay};

use crate::source::Source;

/// A day is sealed this long before its first event can expire.
pub const SEAL_BEFORE: TimeDelta = TimeDelta::hours(24);

/// `sealedAt` is set this far ahead. Ingest refuses the day's events as soon as it sees `sealedAt`; what it had accepted before
/// still arrives, marks the day dirty and is counted until `sealedAt`.
pub const SEAL_GRACE: TimeDelta = TimeDelta::hours(1);

/// Events that expire within this time are taken as expired: a roll-up reads them twice, and clocks differ.
const READING: TimeDelta = TimeDelta::hours(1);

/// How long each collection keeps its events, in the order of [`Source::ALL`]; none where they never expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention(pub [Option<TimeDelta>; 3]);

/// What may be done with a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing that its numbers need expires soon. The collections named have begun to expire, and its document knows nothing
    /// of them, or there is no document yet: it is computed without them.
    Open(Vec<Source>),
    /// It can still be computed, without the collections named, but has to be sealed now.
    Seal(Vec<Source>),
    /// These collections have begun to expire, so it must not be computed.
    Lost(Vec<Source>),
}

/// A day that must not be computed any more. Nothing is wrong with it: its numbers stay.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It was sealed before.
    #[error("{0} is sealed: its numbers are final and stay as they are")]
    Sealed(Day),
    /// It was not sealed in time, and is now.
    #[error(
        "{day} is not whole any more: its events in {collections} have expired or are about to; it is sealed now, and its numbers \
         stay as they are"
    )]
    Lost {
        /// The day.
        day: Day,
        /// The collections that are not whole.
        collections: String,
    },
    /// It is beyond retention, and before everything that is known.
    #[error("{first} is the first day that has events or was rolled up; nothing was written about {day}")]
    NeverWas {
        /// The day.
        day: Day,
        /// The first day that is known.
        first: Day,
    },
}

/// Whether `error` says that the day must not be computed any more.
pub fn is_refused(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<Refused>())
}

impl Retention {
    /// What may be done with `day`, of which `known` is known.
    pub fn fate(&self, day: Day, known: Option<&RollupDay>, now: DateTime<Utc>) -> Fate {
        let rolled = known.filter(|known| was_rolled(known));
        let needed = |source: &Source| match rolled {
            Some(rolled) => !rolled.expired.iter().any(|expired| expired == source.collection()),
            // Without its tool uses nothing of a day is worth a document.
            None => *source == Source::ToolUses,
        };
        let expired = self.expired(day, now + READING);
        let lost: Vec<Source> = expired.iter().copied().filter(needed).collect();
        if !lost.is_empty() {
            return Fate::Lost(lost);
        }
        // A document that knows nothing of a collection stays so, also when an operator put its events back.
        let mut without = expired;
        if let Some(rolled) = rolled {
            without = Source::ALL
                .into_iter()
                .filter(|source| {
                    without.contains(source) || rolled.expired.iter().any(|name| name == source.collection())
                })
                .collect();
        }
        let soon = self.expired(day, now + SEAL_BEFORE).iter().any(needed);
        if soon { Fate::Seal(without) } else { Fate::Open(without) }
    }

    /// The collections of which an event of `day` may be gone at `at`.
    fn expired(&self, day: Day, at: DateTime<Utc>) -> Vec<Source> {
        let begun = |after: &Option<TimeDelta>| after.is_some_and(|after| day.start() + after <= at);
        Source::ALL.into_iter().zip(&self.0).filter(|(_, after)| begun(after)).map(|(source, _)| source).collect()
    }
}

/// Whether the day was rolled up after it was over: what was computed while it went on was not final.
pub fn was_rolled(known: &RollupDay) -> bool {
    known.rolled_at.is_some_and(|at| at.to_chrono() >= known.date.end())
}

/// What is gone of the events that the last roll-up counted, in words; none where nothing is. Somebody removed them: what expires
/// is in `expired`. A document that could be read before, and cannot be read now, is still there.
pub fn removed(before: &Inputs, now: &Inputs, expired: &[Source]) -> Option<String> {
    let unreadable = (now.unreadable - before.unreadable).max(0);
    let (mut before, mut now) = (*before, *now);
    let fewer = Source::ALL.into_iter().filter(|source| !expired.contains(source)).filter_map(|source| {
        let (before, now) = (*source.input(&mut before), *source.input(&mut now));
        (now + unreadable < before).then(|| format!("{source} had {before} events of the day, and has {now} now"))
    });
    let fewer: Vec<String> = fewer.collect();
    (!fewer.is_empty()).then(|| fewer.join("; "))
}

/// The names of collections, for a sentence.
pub fn names(sources: &[Source]) -> String {
    sources.iter().map(|source| source.collection()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETENTION: Retention =
        Retention([Some(TimeDelta::days(365)), Some(TimeDelta::days(90)), Some(TimeDelta::days(90))]);
    const EARLY: [Source; 2] = [Source::Activities, Source::HealthChecks];

    fn day() -> Day {
        Day::parse("2024-01-15").unwrap()
    }

    fn rolled(after: TimeDelta, expired: &[Source]) -> RollupDay {
        RollupDay {
            rolled_at: Some((day().start() + after).into()),
            expired: expired.iter().map(|source| source.collection().to_owned()).collect(),
            ..RollupDay::untried(day())
        }
    }

    fn fate(known: Option<&RollupDay>, after: TimeDelta) -> Fate {
        RETENTION.fate(day(), known, day().start() + after)
    }

    #[test]
    fn a_day_is_sealed_a_day_before_its_first_event_expires_and_lost_an_hour_before() {
        let whole = rolled(TimeDelta::days(1), &[]);
        let expiry = TimeDelta::days(90);
        let millisecond = TimeDelta::milliseconds(1);
        assert_eq!(fate(Some(&whole), expiry - SEAL_BEFORE - millisecond), Fate::Open(vec![]));
        assert_eq!(fate(Some(&whole), expiry - SEAL_BEFORE), Fate::Seal(vec![]));
        assert_eq!(fate(Some(&whole), expiry - READING - millisecond), Fate::Seal(vec![]));
        assert_eq!(fate(Some(&whole), expiry - READING), Fate::Lost(EARLY.to_vec()));
        assert_eq!(fate(Some(&whole), TimeDelta::days(400)), Fate::Lost(Source::ALL.to_vec()));
    }

    #[test]
    fn a_first_roll_up_does_without_what_has_expired_until_tool_uses_expire() {
        let provisional = rolled(TimeDelta::hours(23), &[]);
        for known in [None, Some(&provisional)] {
            assert_eq!(fate(known, TimeDelta::days(120)), Fate::Open(EARLY.to_vec()));
            assert_eq!(fate(known, TimeDelta::days(364)), Fate::Seal(EARLY.to_vec()));
            assert_eq!(fate(known, TimeDelta::days(365)), Fate::Lost(vec![Source::ToolUses]));
        }
        let partial = rolled(TimeDelta::days(120), &EARLY);
        assert_eq!(fate(Some(&partial), TimeDelta::days(200)), Fate::Open(EARLY.to_vec()));
        assert_eq!(fate(Some(&partial), TimeDelta::days(364)), Fate::Seal(EARLY.to_vec()));
        assert_eq!(fate(Some(&partial), TimeDelta::days(365)), Fate::Lost(vec![Source::ToolUses]));
    }

    #[test]
    fn removed_events_are_noticed_unless_they_expired_or_became_unreadable() {
        let before = Inputs { tool_usage: 100, activity: 300, health_checks: 60, unreadable: 0 };
        assert_eq!(removed(&before, &Inputs { tool_usage: 101, ..before }, &[]), None);
        let fewer = Inputs { activity: 299, tool_usage: 500, ..before };
        let message = removed(&before, &fewer, &[]).unwrap();
        assert_eq!(message, "activity_logs had 300 events of the day, and has 299 now");
        assert_eq!(removed(&before, &fewer, &[Source::Activities]), None);
        assert_eq!(removed(&before, &Inputs { unreadable: 1, ..fewer }, &[]), None);
        assert!(removed(&before, &Inputs::default(), &[]).unwrap().contains("usage_analytics had 100"));
    }

    #[test]
    fn nothing_is_lost_where_nothing_expires() {
        let forever = Retention([None; 3]);
        let whole = rolled(TimeDelta::days(1), &[]);
        assert_eq!(forever.fate(day(), Some(&whole), day().start() + TimeDelta::days(4_000)), Fate::Open(vec![]));
        // What the document does not know stays unknown, also where retention was switched off later.
        let partial = rolled(TimeDelta::days(120), &EARLY);
        assert_eq!(
            forever.fate(day(), Some(&partial), day().start() + TimeDelta::days(121)),
            Fate::Open(EARLY.to_vec())
        );
    }
}
