//! The chain of the audit log's entries, without I/O.

use std::fmt;

use bson::{RawBsonRef, RawDocument};
use sha2::{Digest, Sha256};

use crate::documents::audit_entry::NO_ENTRY;
use crate::hex::hex;

/// SHA-256 of an entry's BSON as it is stored, in hexadecimal. MongoDB keeps the order of fields and their types, so the bytes are the
/// same wherever the entry is read, also after a dump and a restore.
pub fn digest(entry: &RawDocument) -> String {
    hex(&Sha256::digest(entry.as_bytes()))
}

/// The first entry that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// Entries are not there any more.
    Removed {
        /// The first of them.
        first: i64,
        /// The last of them; none where nobody knows, because they are missing at the end.
        last: Option<i64>,
    },
    /// An entry that no program of ours has written.
    Inserted {
        /// Its `_id`, as text.
        id: String,
    },
    /// The entry after it has another digest of it.
    Changed {
        /// Its number.
        number: i64,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Removed { first, last: Some(last) } if first == last => {
                write!(formatter, "entry {first} was removed")
            }
            Self::Removed { first, last: Some(last) } => write!(formatter, "entries {first} to {last} were removed"),
            Self::Removed { first, last: None } => {
                write!(formatter, "entry {first} was removed, and all entries after it")
            }
            Self::Inserted { id } => {
                write!(formatter, "an entry was inserted: its _id is {id}, and entries are numbered 1, 2, 3")
            }
            Self::Changed { number } => {
                let next = number.saturating_add(1);
                write!(
                    formatter,
                    "entry {number} was changed: entry {next}, which holds its SHA-256, does not fit (or entry {next} itself was \
                     inserted or changed)"
                )
            }
        }
    }
}

/// Takes the entries in order of `_id`, and says where they stop to be those that were written.
#[derive(Debug)]
pub struct Chain {
    first: i64,
    last: Option<(i64, String)>,
    taken: u64,
}

impl Chain {
    /// The first entry that must be there. Of what an auditor left of the entries before it, nothing is known.
    pub fn starting_at(first: i64) -> Self {
        Self { first, last: None, taken: 0 }
    }

    /// The next entry. `noted` is an entry's number and digest.
    ///
    /// # Errors
    /// It does not follow the entry before.
    pub fn take(&mut self, entry: &RawDocument, noted: Option<(i64, &str)>) -> Result<(), Broken> {
        let expected = self.last.as_ref().map_or(self.first, |(number, _)| number.saturating_add(1));
        let number = match entry.get("_id") {
            Ok(Some(RawBsonRef::Int64(number))) if number >= expected => number,
            Ok(Some(other)) => return Err(Broken::Inserted { id: format!("{other:?}") }),
            _ => return Err(Broken::Inserted { id: "not readable".to_owned() }),
        };
        if number > expected {
            return Err(Broken::Removed { first: expected, last: Some(number.saturating_sub(1)) });
        }
        let known = match &self.last {
            Some((_, digest)) => Some(digest.as_str()),
            None if self.first <= 1 => Some(NO_ENTRY),
            None => None,
        };
        let previous = entry.get_str("previous").unwrap_or_default();
        if known.is_some_and(|known| known != previous) {
            // Before the first entry there is none that may have changed.
            return Err(Broken::Changed {
                number: if self.last.is_some() { expected.saturating_sub(1) } else { expected },
            });
        }
        let digest = digest(entry);
        if noted.is_some_and(|(noted, known)| noted == number && known != digest) {
            return Err(Broken::Changed { number });
        }
        self.last = Some((number, digest));
        self.taken += 1;
        Ok(())
    }

    /// There are no more entries.
    ///
    /// # Errors
    /// The entry that was noted was not there.
    pub fn end(&self, noted: Option<(i64, &str)>) -> Result<(), Broken> {
        let last = self.last.as_ref().map_or(self.first.saturating_sub(1), |(number, _)| *number);
        match noted {
            Some((number, _)) if number > last => Err(Broken::Removed { first: last.saturating_add(1), last: None }),
            _ => Ok(()),
        }
    }

    /// Entries so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Number and digest of the last entry.
    pub fn last(&self) -> Option<(i64, String)> {
        self.last.clone()
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};
    use proptest::prelude::*;

    use super::*;

    fn entry(number: i64, previous: &str, text: &str) -> RawDocumentBuf {
        rawdoc! { "_id": number, "previous": previous, "action": text }
    }

    fn log(length: i64) -> Vec<RawDocumentBuf> {
        let mut entries: Vec<RawDocumentBuf> = Vec::new();
        for number in 1..=length {
            let previous = entries.last().map_or_else(|| NO_ENTRY.to_owned(), |entry| digest(entry));
            entries.push(entry(number, &previous, "migrate"));
        }
        entries
    }

    fn check(first: i64, entries: &[RawDocumentBuf], noted: Option<(i64, &str)>) -> Result<u64, Broken> {
        let mut chain = Chain::starting_at(first);
        for entry in entries {
            chain.take(entry, noted)?;
        }
        chain.end(noted).map(|()| chain.taken())
    }

    #[test]
    fn an_unusual_start_and_end_are_noticed_only_if_somebody_knows_better() {
        let entries = log(5);
        assert_eq!(check(1, &entries, None), Ok(5));
        assert_eq!(check(1, &[], None), Ok(0));
        assert_eq!(check(1, &entries[2..], None), Err(Broken::Removed { first: 1, last: Some(2) }));
        assert_eq!(check(3, &entries[2..], None), Ok(3));
        assert_eq!(check(1, &entries[..3], None), Ok(3));
        let noted = digest(&entries[4]);
        assert_eq!(check(1, &entries, Some((5, &noted))), Ok(5));
        assert_eq!(check(1, &entries[..3], Some((5, &noted))), Err(Broken::Removed { first: 4, last: None }));
        assert_eq!(check(1, &entries, Some((4, &noted))), Err(Broken::Changed { number: 4 }));
    }

    #[test]
    fn an_entry_without_a_number_was_inserted() {
        let mut entries = log(3);
        entries.insert(1, rawdoc! { "_id": 1.5, "previous": digest(&entries[0]) });
        assert_eq!(check(1, &entries, None), Err(Broken::Inserted { id: "Double(1.5)".to_owned() }));
    }

    proptest! {
        #[test]
        fn a_changed_a_removed_and_a_replaced_entry_are_found(length in 3_i64..20, at in 0_usize..18, kind in 0..3) {
            let mut entries = log(length);
            let at = at % (entries.len() - 1);
            let number = at as i64 + 1;
            let expected = match kind {
                0 => {
                    let previous = entries[at].get_str("previous").unwrap().to_owned();
                    entries[at] = entry(number, &previous, "privacy.erase");
                    Broken::Changed { number }
                }
                1 => {
                    entries.remove(at);
                    Broken::Removed { first: number, last: Some(number) }
                }
                _ => {
                    entries.insert(at, entry(number, NO_ENTRY, "forged"));
                    entries.remove(at + 1);
                    if at == 0 { Broken::Changed { number } } else { Broken::Changed { number: number - 1 } }
                }
            };
            prop_assert_eq!(check(1, &entries, None), Err(expected));
        }
    }
}
