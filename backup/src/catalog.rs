//! Which backups there are, and to which seconds they restore.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Context;

use crate::manifest::{self, Full, Kind, Named};
use crate::moment::{OpTime, random_text, second_text};
use crate::store::{Store, Stored};

/// Where full backups are.
pub const FULL: &str = "full/";
/// Where monthly archives are.
pub const ARCHIVE: &str = "archive/";

/// A full backup that is there.
#[derive(Clone, Debug)]
pub struct FullEntry {
    /// Its manifest.
    pub manifest: Full,
    /// Bytes of its objects.
    pub bytes: u64,
    /// What is wrong with it.
    pub damage: Option<String>,
}

/// A range of the oplog that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeEntry {
    /// What it is for.
    pub kind: Kind,
    /// It holds the entries after this,
    pub from: OpTime,
    /// until this.
    pub to: OpTime,
    /// Its manifest.
    pub key: String,
    /// Bytes of its objects.
    pub bytes: u64,
    /// What is wrong with it.
    pub damage: Option<String>,
}

impl RangeEntry {
    /// What it is called: its directory.
    pub fn id(&self) -> &str {
        self.key.rsplit_once('/').map_or(&self.key, |(directory, _)| directory)
    }
}

/// All backups.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The full backups, the oldest first.
    pub fulls: Vec<FullEntry>,
    /// The monthly archives, the oldest first. They are not of one moment, and no part of any way to a second.
    pub archives: Vec<FullEntry>,
    /// The ranges of the oplog, by where they begin.
    pub ranges: Vec<RangeEntry>,
    /// Full backups whose manifest cannot be read, and why.
    pub unreadable: Vec<(String, String)>,
    /// Objects of backups without a manifest: a backup that is being made, or was never finished.
    pub unfinished: Vec<Stored>,
}

/// Seconds to which the database can be restored, both ends among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first.
    pub from: u32,
    /// The last.
    pub to: u32,
}

/// What is missing between two ranges of the oplog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Nothing is there after this.
    pub after: OpTime,
    /// Where the next range begins.
    pub next: Option<OpTime>,
    /// A range that would fill the hole, and what is wrong with it.
    pub damaged: Option<(String, String)>,
}

impl fmt::Display for Hole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.next, &self.damaged) {
            (_, Some((id, damage))) => {
                write!(formatter, "the oplog after {} cannot be restored, because {id} {damage}", self.after.text())
            }
            (Some(next), _) => {
                write!(formatter, "the oplog has a hole from {} to {}", self.after.text(), next.text())
            }
            (None, _) => write!(formatter, "the oplog is saved until {} and no further", self.after.text()),
        }
    }
}

/// The directory of a range of the oplog. What is random in it keeps apart what two programs save at the same time.
///
/// # Errors
/// The system gives no random numbers.
pub fn range_directory(kind: Kind, from: OpTime, to: OpTime) -> anyhow::Result<String> {
    Ok(format!("{kind}/{from}_{to}_{}/", random_text()?))
}

/// The two ends of a range, from its directory.
fn ends(directory: &str) -> Option<(OpTime, OpTime)> {
    let mut fields = directory.split('/').nth(1)?.split('_');
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

impl Catalog {
    /// Lists the storage.
    ///
    /// # Errors
    /// The storage cannot be listed.
    pub async fn read(store: &Store) -> anyhow::Result<Self> {
        let mut catalog = Self::default();
        catalog.fulls = catalog.read_fulls(store, FULL).await?;
        catalog.archives = catalog.read_fulls(store, ARCHIVE).await?;
        for kind in [Kind::Incremental, Kind::Slice] {
            for (directory, objects) in by_directory(store.list(&format!("{kind}/")).await?) {
                let Some((key, damage, bytes)) = whole(&objects) else {
                    catalog.unfinished.extend(objects);
                    continue;
                };
                let no_range = || format!("{directory} in {store} is no range of the oplog");
                let (from, to) = ends(&directory).with_context(no_range)?;
                catalog.ranges.push(RangeEntry { kind, from, to, key, bytes, damage });
            }
        }
        catalog.ranges.sort_by_key(|range| (range.from, range.to));
        Ok(catalog)
    }

    async fn read_fulls(&mut self, store: &Store, prefix: &str) -> anyhow::Result<Vec<FullEntry>> {
        let mut fulls = Vec::new();
        for (directory, objects) in by_directory(store.list(prefix).await?) {
            let Some((key, damage, bytes)) = whole(&objects) else {
                self.unfinished.extend(objects);
                continue;
            };
            match manifest::read::<Full>(store, &key).await {
                Ok(manifest) => fulls.push(FullEntry { manifest, bytes, damage }),
                Err(error) => self.unreadable.push((directory, format!("{error:#}"))),
            }
        }
        fulls.sort_by_key(|full| full.manifest.to);
        Ok(fulls)
    }

    /// Full backups with nothing wrong, the newest first.
    fn sound_fulls(&self) -> impl Iterator<Item = &Full> {
        self.fulls.iter().rev().filter(|full| full.damage.is_none()).map(|full| &full.manifest)
    }

    /// The ranges that lead from a point to the end of a second, each beginning where the one before ends or earlier.
    ///
    /// # Errors
    /// The hole that is in between.
    pub fn chain(&self, from: OpTime, second: u32) -> Result<Vec<&RangeEntry>, Hole> {
        let mut chain = Vec::new();
        let mut end = from;
        // An entry of a later second is the proof that the second is over.
        while end.second <= second {
            match self.next(end) {
                Some(range) => {
                    end = range.to;
                    chain.push(range);
                }
                None => return Err(self.hole(end)),
            }
        }
        Ok(chain)
    }

    /// Of the ranges that go on from a point the one that leads furthest.
    fn next(&self, end: OpTime) -> Option<&RangeEntry> {
        let goes_on = |range: &&RangeEntry| range.damage.is_none() && range.from <= end && range.to > end;
        self.ranges.iter().filter(goes_on).max_by_key(|range| range.to)
    }

    fn hole(&self, after: OpTime) -> Hole {
        let next = self.ranges.iter().filter(|range| range.from > after && range.damage.is_none());
        let damaged = self.ranges.iter().find(|range| range.from <= after && range.to > after);
        let damaged = damaged.and_then(|range| range.damage.clone().map(|damage| (range.id().to_owned(), damage)));
        Hole { after, next: next.map(|range| range.from).min(), damaged }
    }

    /// How far the oplog is saved from a point on without a hole.
    pub fn reach(&self, from: OpTime) -> OpTime {
        let mut end = from;
        while let Some(range) = self.next(end) {
            end = range.to;
        }
        end
    }

    /// To which seconds the database can be restored, the oldest first.
    pub fn windows(&self) -> Vec<Window> {
        let mut windows: Vec<Window> = Vec::new();
        let mut fulls: Vec<&Full> = self.sound_fulls().collect();
        fulls.reverse();
        for full in fulls {
            let window = Window { from: full.to.second, to: self.reach(full.to).second.saturating_sub(1) };
            if window.to < window.from {
                continue;
            }
            match windows.last_mut().filter(|last| window.from <= last.to.saturating_add(1)) {
                Some(last) => last.to = last.to.max(window.to),
                None => windows.push(window),
            }
        }
        windows
    }

    /// The holes that are between the oldest full backup and the last range of the oplog.
    pub fn holes(&self) -> Vec<Hole> {
        let mut holes = Vec::new();
        let Some(mut end) = self.fulls.iter().map(|full| full.manifest.to).min() else { return holes };
        loop {
            end = self.reach(end);
            let hole = self.hole(end);
            // After a hole a full backup begins anew.
            let next_full = self.fulls.iter().map(|full| full.manifest.to).find(|to| *to > end);
            let next = [hole.next, next_full].into_iter().flatten().min();
            let Some(next) = next else {
                holes.extend(hole.damaged.is_some().then_some(hole));
                return holes;
            };
            holes.push(Hole { next: Some(next), ..hole });
            end = next;
        }
    }

    /// What is wrong with backups and archives, each by its name.
    pub fn damage(&self) -> Vec<String> {
        let whole = [("full backup", &self.fulls), ("archive", &self.archives)];
        let whole = whole.into_iter().flat_map(|(kind, all)| all.iter().map(move |one| (kind, one)));
        let whole =
            whole.filter_map(|(kind, one)| Some(format!("{kind} {} {}", one.manifest.id, one.damage.as_ref()?)));
        let unreadable = self.unreadable.iter().map(|(directory, why)| format!("{directory}: {why}"));
        let ranges = self.ranges.iter().filter_map(|range| Some(format!("{} {}", range.id(), range.damage.as_ref()?)));
        whole.chain(unreadable).chain(ranges).collect()
    }

    /// The full backup to begin with, and the ranges that lead from it to the end of a second.
    ///
    /// # Errors
    /// Why there is none.
    pub fn plan(&self, second: u32) -> Result<(&Full, Vec<&RangeEntry>), String> {
        let wanted = second_text(second);
        let mut reason = None;
        for full in self.sound_fulls().filter(|full| full.to.second <= second) {
            match self.chain(full.to, second) {
                Ok(chain) => return Ok((full, chain)),
                Err(hole) => reason = reason.or(Some(hole.to_string())),
            }
        }
        let reason = reason.unwrap_or_else(|| match self.sound_fulls().last() {
            Some(oldest) => format!("the oldest full backup is of {}", oldest.to.text()),
            None => "there is no full backup".to_owned(),
        });
        let windows = self.windows();
        let ranges = windows.iter().map(|window| format!("{} to {}", second_text(window.from), second_text(window.to)));
        let possible = ranges.collect::<Vec<_>>().join(", and from ");
        let advice =
            if possible.is_empty() { "no second can be".to_owned() } else { format!("possible is from {possible}") };
        Err(format!("{wanted} cannot be restored: {reason}; {advice}"))
    }

    /// The newest full backup, and all ranges that lead on from it: everything that is saved.
    ///
    /// # Errors
    /// There is no full backup.
    pub fn latest(&self) -> Result<(&Full, Vec<&RangeEntry>), String> {
        let full = self.sound_fulls().max_by_key(|full| (self.reach(full.to), full.to));
        let full = full.ok_or("there is no full backup: make one with `admin backup run --full`")?;
        let mut ranges = Vec::new();
        let mut end = full.to;
        while let Some(range) = self.next(end) {
            end = range.to;
            ranges.push(range);
        }
        Ok((full, ranges))
    }

    /// A full backup by its name.
    ///
    /// # Errors
    /// There is none, or something is wrong with it.
    pub fn full(&self, id: &str) -> anyhow::Result<&Full> {
        if let Some((_, why)) = self.unreadable.iter().find(|(name, _)| name.trim_end_matches('/').ends_with(id)) {
            anyhow::bail!("backup {id} cannot be restored: {why}");
        }
        let full = self.fulls.iter().find(|full| full.manifest.id == id);
        let full = full.with_context(|| format!("there is no full backup {id}; `admin backup list` shows all"))?;
        match &full.damage {
            Some(damage) => anyhow::bail!("backup {id} cannot be restored: it {damage}"),
            None => Ok(&full.manifest),
        }
    }

    /// Where the next range of a kind begins, and the backup that ends there; none before the first full backup.
    pub fn position(&self, kind: Kind) -> Option<(OpTime, String)> {
        let fulls = self.sound_fulls().map(|full| (full.to, format!("{FULL}{}", full.id)));
        let ranges = self.ranges.iter().filter(|range| range.damage.is_none() && range.kind >= kind);
        fulls.chain(ranges.map(|range| (range.to, range.id().to_owned()))).max()
    }
}

/// The objects of each backup.
fn by_directory(objects: Vec<Stored>) -> BTreeMap<String, Vec<Stored>> {
    let mut directories: BTreeMap<String, Vec<Stored>> = BTreeMap::new();
    for object in objects {
        let end = object.key.rfind('/').map_or(0, |slash| slash + 1);
        directories.entry(object.key[..end].to_owned()).or_default().push(object);
    }
    directories
}

/// The manifest of a backup, what is wrong with the backup, and the bytes of its objects; none without a manifest.
fn whole(objects: &[Stored]) -> Option<(String, Option<String>, u64)> {
    let name = |object: &Stored| object.key.rsplit('/').next().and_then(Named::of);
    let (key, named) = objects.iter().find_map(|object| Some((object.key.clone(), name(object)?)))?;
    let parts = objects.iter().filter(|object| name(object).is_none());
    let (count, bytes) = parts.fold((0, 0), |(count, bytes), part| (count + 1, bytes + part.size));
    let damage = if count != named.parts {
        Some(format!("has {count} of {} objects", named.parts))
    } else if bytes != named.bytes {
        Some(format!("has {bytes} of {} bytes", named.bytes))
    } else {
        None
    };
    Some((key, damage, bytes))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::stream::Stream;

    fn at(second: u32) -> OpTime {
        OpTime { second, number: 1, term: 1 }
    }

    pub(crate) fn full(second: u32) -> FullEntry {
        let oplog = Stream { documents: 0, bytes: 0, content_sha256: String::new(), parts: Vec::new() };
        let manifest = Full {
            version: 1,
            id: second.to_string(),
            program: String::new(),
            server: String::new(),
            database: "d".to_owned(),
            recipient: String::new(),
            started: chrono::DateTime::UNIX_EPOCH,
            seconds: 0.0,
            begin: at(second),
            to: at(second),
            consumed: None,
            collections: Vec::new(),
            oplog,
        };
        FullEntry { manifest, bytes: 0, damage: None }
    }

    pub(crate) fn range(kind: Kind, from: u32, to: u32) -> RangeEntry {
        let (from, to) = (at(from), at(to));
        RangeEntry { kind, from, to, key: format!("{kind}/{from}_{to}_a/manifest"), bytes: 0, damage: None }
    }

    fn catalog(fulls: &[u32], ranges: &[(u32, u32)]) -> Catalog {
        Catalog {
            fulls: fulls.iter().map(|second| full(*second)).collect(),
            ranges: ranges.iter().map(|(from, to)| range(Kind::Slice, *from, *to)).collect(),
            ..Catalog::default()
        }
    }

    #[test]
    fn a_second_is_covered_when_an_entry_of_a_later_one_is_saved() {
        let catalog = catalog(&[10], &[(10, 20), (20, 30)]);
        assert_eq!(catalog.windows(), [Window { from: 10, to: 29 }]);
        assert_eq!(catalog.plan(29).unwrap().1.len(), 2);
        assert_eq!(catalog.plan(19).unwrap().1.len(), 1);
        assert_eq!(catalog.plan(10).unwrap().0.id, "10");
        assert_eq!(catalog.latest().unwrap().1.len(), 2);
        let error = catalog.plan(30).unwrap_err();
        assert!(error.contains("saved until 1970-01-01T00:00:30Z and no further"), "{error}");
        assert!(catalog.plan(9).unwrap_err().contains("the oldest full backup is of"));
        assert!(Catalog::default().plan(9).unwrap_err().contains("there is no full backup; no second can be"));
    }

    #[test]
    fn a_hole_is_seen_and_never_crossed() {
        let mut catalog = catalog(&[10, 45], &[(10, 20), (30, 40), (45, 60)]);
        assert_eq!(catalog.windows(), [Window { from: 10, to: 19 }, Window { from: 45, to: 59 }]);
        let error = catalog.plan(35).unwrap_err();
        assert!(error.contains("hole from 1970-01-01T00:00:20Z to 1970-01-01T00:00:30Z"), "{error}");
        assert_eq!(catalog.holes().len(), 2);
        // What covers the hole closes it, however the ranges overlap.
        catalog.ranges.push(range(Kind::Incremental, 10, 50));
        assert_eq!((catalog.windows(), catalog.holes()), (vec![Window { from: 10, to: 59 }], vec![]));
        assert_eq!(catalog.plan(55).unwrap().0.id, "45", "the newest full backup");
    }

    #[test]
    fn what_is_damaged_is_not_used() {
        let mut catalog = catalog(&[10, 15], &[(10, 20), (20, 30)]);
        catalog.fulls[1].damage = Some("has 1 of 2 objects".to_owned());
        assert_eq!(catalog.plan(25).unwrap().0.id, "10");
        assert!(catalog.full("15").unwrap_err().to_string().contains("has 1 of 2 objects"));
        catalog.ranges[1].damage = Some("has 3 of 4 bytes".to_owned());
        let error = catalog.plan(25).unwrap_err();
        assert!(error.contains("slice/0000000020.000001.1_0000000030.000001.1_a has 3 of 4 bytes"), "{error}");
        assert_eq!(catalog.holes().len(), 1);
        assert_eq!(catalog.position(Kind::Slice).unwrap().0, at(20));
        assert_eq!(catalog.damage()[0], "full backup 15 has 1 of 2 objects");
        assert_eq!(catalog.damage().len(), 2);
    }

    #[test]
    fn an_incremental_backup_goes_on_from_the_last_incremental_or_full_one() {
        let mut catalog = catalog(&[10], &[(10, 20)]);
        assert_eq!(catalog.position(Kind::Incremental).unwrap().0, at(10));
        assert_eq!(catalog.position(Kind::Slice).unwrap().0, at(20));
        catalog.ranges.push(range(Kind::Incremental, 10, 30));
        assert_eq!(catalog.position(Kind::Incremental).unwrap().0, at(30));
        assert_eq!(catalog.position(Kind::Slice).unwrap().0, at(30));
    }

    #[test]
    fn a_directory_says_which_range_it_holds() {
        let directory = range_directory(Kind::Slice, at(5), at(7)).unwrap();
        assert_eq!(ends(&directory), Some((at(5), at(7))));
        assert_eq!(ends("slice/x_y/"), None);
    }

    #[test]
    fn a_listing_shows_what_lacks_objects() {
        let stored = |key: &str, size| Stored { key: key.to_owned(), size };
        let manifest = format!("slice/a/manifest-2-30-{}.json", "0".repeat(64));
        let both = [stored("slice/a/0", 10), stored("slice/a/1", 20), stored(&manifest, 99)];
        assert_eq!(whole(&both).unwrap().1, None);
        assert_eq!(whole(&both[1..]).unwrap().1.unwrap(), "has 1 of 2 objects");
        let short = [stored("slice/a/0", 10), stored("slice/a/1", 19), stored(&manifest, 99)];
        assert_eq!(whole(&short).unwrap().1.unwrap(), "has 29 of 30 bytes");
        assert_eq!(whole(&both[..2]), None);
    }
}
