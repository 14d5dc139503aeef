//! Which backups are kept. Pure: the storage is asked elsewhere.

use std::collections::BTreeSet;

use chrono::{DateTime, Months, TimeDelta, Utc};

use crate::catalog::{ARCHIVE, Catalog, FULL};
use crate::manifest::Kind;

/// Objects without a manifest, and slices that an incremental backup took the place of, stay so long: the first may be of a backup
/// that is being made, the second are another copy.
const GRACE_SECONDS: u32 = 24 * 60 * 60;

/// What may go.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Superfluous {
    /// The directories of whole backups.
    pub backups: BTreeSet<String>,
    /// Single objects of backups that were never finished.
    pub objects: BTreeSet<String>,
}

/// What is not needed to restore any second of the last `days`, and archives that are older than `months`.
pub fn superfluous(catalog: &Catalog, now: DateTime<Utc>, days: u32, months: u32) -> Superfluous {
    let mut superfluous = Superfluous::default();
    let second_of = |time: DateTime<Utc>| u32::try_from(time.timestamp()).unwrap_or(0);
    let first_second = second_of(now - TimeDelta::days(i64::from(days)));
    let sound = catalog.fulls.iter().filter(|full| full.damage.is_none());
    // From this one the first second is restored; without one nothing is old enough to go.
    let base = sound.map(|full| full.manifest.to).filter(|to| to.second <= first_second).max();
    if let Some(base) = base {
        let old = catalog.fulls.iter().filter(|full| full.manifest.to < base);
        superfluous.backups.extend(old.map(|full| format!("{FULL}{}/", full.manifest.id)));
        let old = catalog.ranges.iter().filter(|range| range.to <= base);
        superfluous.backups.extend(old.map(|range| format!("{}/", range.id())));
    }
    let aged = second_of(now).saturating_sub(GRACE_SECONDS);
    let whole = catalog.ranges.iter().filter(|range| range.kind == Kind::Incremental && range.damage.is_none());
    let whole: Vec<_> = whole.collect();
    for slice in catalog.ranges.iter().filter(|range| range.kind == Kind::Slice && range.to.second < aged) {
        if whole.iter().any(|range| range.from <= slice.from && slice.to <= range.to) {
            superfluous.backups.insert(format!("{}/", slice.id()));
        }
    }
    let oldest_archive = now.checked_sub_months(Months::new(months)).map_or(0, second_of);
    let old = catalog.archives.iter().filter(|archive| archive.manifest.to.second < oldest_archive);
    superfluous.backups.extend(old.map(|archive| format!("{ARCHIVE}{}/", archive.manifest.id)));
    let unfinished = catalog.unfinished.iter().filter(|object| begun(&object.key).is_some_and(|second| second < aged));
    superfluous.objects.extend(unfinished.map(|object| object.key.clone()));
    superfluous
}

/// The second in the name of a backup's directory.
fn begun(key: &str) -> Option<u32> {
    let name = key.split('/').nth(1)?;
    if let Some((_, to)) = name.split_once('_') {
        return to.split('.').next()?.parse().ok();
    }
    let time = chrono::NaiveDateTime::parse_from_str(name.split('-').next()?, "%Y%m%dT%H%M%SZ").ok()?;
    u32::try_from(time.and_utc().timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::{full, range};
    use crate::store::Stored;

    const DAY: u32 = 86_400;

    fn at(day: u32) -> DateTime<Utc> {
        DateTime::from_timestamp(i64::from(day * DAY), 0).unwrap()
    }

    #[test]
    fn every_second_of_the_last_days_stays_restorable() {
        let fulls: Vec<_> = (90..100).map(|day| full(day * DAY)).collect();
        let ranges = (90..100).map(|day| range(Kind::Incremental, day * DAY, (day + 1) * DAY)).collect();
        let catalog = Catalog { fulls, ranges, ..Catalog::default() };
        let now = at(100) + TimeDelta::hours(5);
        let gone = superfluous(&catalog, now, 7, 12);
        // The backup of day 93 restores the first seconds of the seven days.
        let full = |day: u32| format!("full/{}/", day * DAY);
        assert!(gone.backups.contains(&full(92)) && !gone.backups.contains(&full(93)), "{gone:?}");
        let mut kept = catalog.clone();
        kept.fulls.retain(|full| !gone.backups.contains(&format!("full/{}/", full.manifest.id)));
        kept.ranges.retain(|range| !gone.backups.contains(&format!("{}/", range.id())));
        for second in [93 * DAY + 5 * 3_600, 95 * DAY, 100 * DAY - 1] {
            assert!(kept.plan(second).is_ok(), "{second}");
        }
        assert_eq!(kept.fulls.len(), 7);
        assert_eq!(superfluous(&kept, now, 7, 12), Superfluous::default(), "again nothing goes");
    }

    #[test]
    fn a_damaged_backup_is_no_reason_to_remove_an_older_one() {
        let mut catalog = Catalog { fulls: vec![full(80 * DAY), full(90 * DAY)], ..Catalog::default() };
        catalog.fulls[1].damage = Some("has 1 of 2 objects".to_owned());
        assert_eq!(superfluous(&catalog, at(100), 7, 12), Superfluous::default());
        let none = Catalog { fulls: vec![full(99 * DAY)], ..Catalog::default() };
        assert_eq!(superfluous(&none, at(100), 7, 12), Superfluous::default(), "the only one stays");
    }

    #[test]
    fn slices_go_when_an_incremental_backup_has_them() {
        let ranges = vec![
            range(Kind::Slice, 98 * DAY, 98 * DAY + 60),
            range(Kind::Slice, 98 * DAY + 60, 98 * DAY + 120),
            range(Kind::Slice, 100 * DAY - 60, 100 * DAY),
            range(Kind::Incremental, 98 * DAY, 98 * DAY + 90),
            range(Kind::Incremental, 98 * DAY + 90, 100 * DAY),
        ];
        let first = format!("{}/", ranges[0].id());
        let catalog = Catalog { fulls: vec![full(98 * DAY)], ranges, ..Catalog::default() };
        assert_eq!(superfluous(&catalog, at(100), 7, 12).backups, BTreeSet::from([first]));
    }

    #[test]
    fn archives_stay_for_months_and_unfinished_objects_for_a_day() {
        let stored = |key: &str| Stored { key: key.to_owned(), size: 1 };
        let now: DateTime<Utc> = "2026-03-01T00:00:00Z".parse().unwrap();
        let unfinished = vec![
            stored("full/20260228T020000Z-aaaaaa/000000.zst.age"),
            stored("full/20260226T020000Z-aaaaaa/000000.zst.age"),
            stored("slice/0000000001.000001.1_0000000002.000001.1_aaaaaa/000000.zst.age"),
        ];
        let second = |text: &str| u32::try_from(text.parse::<DateTime<Utc>>().unwrap().timestamp()).unwrap();
        let archives = vec![full(second("2025-02-01T00:00:00Z")), full(second("2025-04-01T00:00:00Z"))];
        let old = format!("archive/{}/", archives[0].manifest.id);
        let catalog = Catalog { unfinished: unfinished.clone(), archives, ..Catalog::default() };
        let gone = superfluous(&catalog, now, 7, 12);
        assert_eq!(gone.objects, unfinished[1..].iter().map(|object| object.key.clone()).collect());
        assert_eq!(gone.backups, BTreeSet::from([old]));
    }
}
