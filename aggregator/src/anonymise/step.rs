//! Decides what is to be done with a day next, until it is anonymised. Pure: the clock and the database are asked elsewhere.

use chrono::{DateTime, TimeDelta, Utc};
use common::day::Day;
use common::documents::rollup_day::RollupDay;

use crate::retention::{self, Retention, SEAL_BEFORE};
use crate::schedule;

/// After a day is closed, ingest may still write what it accepted before it knew: it looks every 5 s, the answer takes at most 10 s,
/// and a batch is written within a few seconds. What takes longer all the same is found later, see [`super`].
pub const CLOSING: TimeDelta = TimeDelta::seconds(30);

/// How long after a day was anonymised it is counted again by night, to find events that were stored afterwards.
const RECOUNTED: TimeDelta = TimeDelta::days(7);

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it takes late events, or has to be rolled up first.
    Early,
    /// It is to be closed for late events.
    Close,
    /// It is closed; ingest may still write until then.
    Wait(DateTime<Utc>),
    /// It is to be seen whether every event is counted, and it is to be rolled up again when not; then it is begun.
    Settle,
    /// It is to be begun, whatever its numbers: they were final before.
    Begin,
    /// Its events are to be rewritten.
    Rewrite,
    /// It is anonymised.
    Done,
}

/// When a day has to be closed, unless late events wait.
pub fn due_at(day: Day, late_arrival: TimeDelta) -> DateTime<Utc> {
    day.end() + late_arrival
}

/// What is to be done with a day of which `known` is known.
pub fn next(known: &RollupDay, late_arrival: TimeDelta, now: DateTime<Utc>) -> Step {
    let anonymisation = known.anonymisation.clone().unwrap_or_default();
    if anonymisation.key.is_some() {
        return Step::Rewrite;
    }
    if anonymisation.finished_at.is_some() {
        return if known.dirty_since.is_some() { Step::Begin } else { Step::Done };
    }
    let is_rolled = retention::was_rolled(known) && schedule::is_settled(known, now);
    match (known.sealed_at, anonymisation.closed_at) {
        (None, _) if now < due_at(known.date, late_arrival) || !is_rolled => Step::Early,
        (None, _) => Step::Close,
        (Some(_), Some(closed)) if now < closed.to_chrono() + CLOSING => Step::Wait(closed.to_chrono() + CLOSING),
        (Some(_), Some(_)) => Step::Settle,
        (Some(sealed), None) if now < sealed.to_chrono() => Step::Wait(sealed.to_chrono()),
        (Some(_), None) => Step::Begin,
    }
}

/// Since when the day waits that has waited longest; none when none does. `is_on` says whether days are begun at all.
pub fn waiting_since(
    states: &[RollupDay],
    is_on: bool,
    late_arrival: TimeDelta,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let is_begun = |day: &&RollupDay| day.anonymisation.as_ref().is_some_and(|known| known.key.is_some());
    let waiting = states.iter().filter(|day| !day.is_anonymised()).filter(|day| is_on || is_begun(day));
    waiting.map(|day| due_at(day.date, late_arrival)).filter(|due| *due <= now).min()
}

/// Whether the day was anonymised so lately that events may still be stored which ingest accepted before.
pub fn is_recounted(known: &RollupDay, now: DateTime<Utc>) -> bool {
    let finished = known.anonymisation.as_ref().and_then(|anonymisation| anonymisation.finished_at);
    finished.is_some_and(|finished| now - finished.to_chrono() < RECOUNTED)
}

/// Days that take late events until retention has sealed them would never be anonymised with all their events.
///
/// # Errors
/// `privacy.late_arrival` is too long for a collection; the text says how long it may be.
pub fn check(late_arrival: TimeDelta, retention: &Retention) -> Result<(), String> {
    let Some(kept) = retention.0.into_iter().flatten().min() else { return Ok(()) };
    // A day begins a day before its end, and is closed for an hour before it is sealed.
    let most = kept - SEAL_BEFORE - TimeDelta::days(1);
    if late_arrival < most {
        return Ok(());
    }
    Err(format!(
        "privacy.late_arrival is {} h, and events are kept for {} h by the TTL indexes: expected less than {} h, because a day is \
         sealed {} h before its first event expires; lower privacy.late_arrival, or keep events longer",
        late_arrival.num_hours(),
        kept.num_hours(),
        most.num_hours().max(0),
        SEAL_BEFORE.num_hours(),
    ))
}

#[cfg(test)]
mod tests {
    use common::documents::rollup_day::{Anonymisation, State};

    use super::*;
    use crate::anonymise::pseudonym;

    const LATE: TimeDelta = TimeDelta::days(7);

    fn rolled() -> RollupDay {
        let day = Day::parse("2024-01-15").unwrap();
        RollupDay { state: Some(State::Rolled), rolled_at: Some(day.end().into()), ..RollupDay::untried(day) }
    }

    fn after(seconds: i64) -> DateTime<Utc> {
        due_at(rolled().date, LATE) + TimeDelta::seconds(seconds)
    }

    fn step(known: &RollupDay, seconds: i64) -> Step {
        next(known, LATE, after(seconds))
    }

    #[test]
    fn a_day_is_closed_when_it_is_old_rolled_up_and_clean() {
        assert_eq!((step(&rolled(), -1), step(&rolled(), 0)), (Step::Early, Step::Close));
        let dirty = RollupDay { dirty_since: Some(after(-9).into()), ..rolled() };
        let failed = RollupDay { state: Some(State::Failed), ..rolled() };
        let provisional = RollupDay { rolled_at: Some(rolled().date.start().into()), ..rolled() };
        let untried = RollupDay::untried(rolled().date);
        for known in [dirty, failed, provisional, untried] {
            assert_eq!(step(&known, 100), Step::Early, "{known:?}");
        }
    }

    #[test]
    fn a_closed_day_waits_for_ingest_and_then_for_its_numbers() {
        let anonymisation = Anonymisation { closed_at: Some(after(0).into()), ..Anonymisation::default() };
        let mut known =
            RollupDay { sealed_at: Some(after(3_600).into()), anonymisation: Some(anonymisation.clone()), ..rolled() };
        assert_eq!(step(&known, 29), Step::Wait(after(30)));
        assert_eq!(step(&known, 30), Step::Settle);
        // Nobody worked for hours, and the seal came into force: its numbers are not final before its events are rewritten.
        assert_eq!(step(&known, 9_999), Step::Settle);
        known.dirty_since = Some(after(3).into());
        assert_eq!(step(&known, 30), Step::Settle);
        known.anonymisation = Some(Anonymisation { key: Some(pseudonym::random()), ..anonymisation.clone() });
        assert_eq!(step(&known, 30), Step::Rewrite);
        known.anonymisation = Some(Anonymisation { finished_at: Some(after(40).into()), ..anonymisation });
        assert_eq!(step(&known, 50), Step::Begin, "an event was stored afterwards");
        known.dirty_since = None;
        assert_eq!(step(&known, 50), Step::Done);
        assert!(is_recounted(&known, after(50)) && !is_recounted(&known, after(8 * 86_400)));
    }

    #[test]
    fn a_day_that_retention_sealed_is_begun_when_it_is_sealed() {
        let known = RollupDay { sealed_at: Some(after(60).into()), dirty_since: Some(after(0).into()), ..rolled() };
        assert_eq!((step(&known, 59), step(&known, 60)), (Step::Wait(after(60)), Step::Begin));
    }

    #[test]
    fn the_day_that_waits_longest_is_named_also_when_it_was_never_rolled_up() {
        let mut earlier = RollupDay::untried(rolled().date.previous());
        let states = |earlier: &RollupDay| [earlier.clone(), rolled()];
        let since = |earlier: &RollupDay, is_on| waiting_since(&states(earlier), is_on, LATE, after(5));
        assert_eq!(since(&earlier, true), Some(after(-86_400)));
        assert_eq!(since(&earlier, false), None);
        earlier.anonymisation = Some(Anonymisation { key: Some(pseudonym::random()), ..Anonymisation::default() });
        assert_eq!(since(&earlier, false), Some(after(-86_400)), "what was begun is ended");
        earlier.anonymisation = Some(Anonymisation { finished_at: Some(after(0).into()), ..Anonymisation::default() });
        assert_eq!(since(&earlier, true), Some(after(0)));
    }

    #[test]
    fn late_arrival_ends_before_retention_seals() {
        let retention = |days| Retention([Some(TimeDelta::days(365)), Some(TimeDelta::days(days)), None]);
        check(LATE, &retention(10)).unwrap();
        let message = check(LATE, &retention(9)).unwrap_err();
        assert!(
            message.contains("168 h") && message.contains("216 h") && message.contains("less than 168 h"),
            "{message}"
        );
        check(LATE, &Retention([None; 3])).unwrap();
    }
}
