//! What ingest would say of a letter that is sent again: it is decoded as ingest decodes it.

use std::collections::BTreeMap;

use common::event::{Accepted, Invalid, Timestamp};
use common::sealed_days::SealedDays;
use common::settings;
use common::text::shortened;
use serde::Serialize;

use super::letter::{Letter, Place};

/// A message that names a field and what was expected fits; a text that somebody put there need not.
const MOST_CHARACTERS: usize = 300;

/// What ingest judges an event by.
pub(super) struct Rules<'a> {
    pub ingest: &'a settings::Ingest,
    pub retention: settings::Retention,
    pub sealed: &'a SealedDays,
}

/// Letters that ingest would refuse again for one reason.
#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Again {
    pub letters: u64,
    /// The first of them, and what ingest would say of it.
    pub partition: i32,
    pub offset: i64,
    pub message: String,
}

/// Those of the letters that ingest would refuse again, by reason.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Refused(BTreeMap<&'static str, Again>);

impl Refused {
    /// Adds the letter if ingest would refuse it, by its bytes, its time and the sealed days.
    pub(super) fn look(&mut self, letter: &Letter, rules: &Rules<'_>) {
        let Err(invalid) = accept(letter, rules) else { return };
        let Place { partition, offset } = letter.place;
        let message = || shortened(&invalid.to_string(), MOST_CHARACTERS);
        let again = self.0.entry(invalid.reason.as_str());
        again.or_insert_with(|| Again { letters: 0, partition, offset, message: message() }).letters += 1;
    }

    pub(super) fn letters(&self) -> u64 {
        self.0.values().map(|again| again.letters).sum()
    }

    pub(super) fn by_reason(&self) -> impl Iterator<Item = (&'static str, &Again)> {
        self.0.iter().map(|(reason, again)| (*reason, again))
    }
}

fn accept(letter: &Letter, Rules { ingest, retention, sealed }: &Rules<'_>) -> Result<(), Box<Invalid>> {
    letter.size().check(ingest.max_message_bytes)?;
    let event = letter.event()?;
    Accepted::at(Timestamp::now(), ingest.max_age, ingest.max_future).kept(*retention).check(&event)?;
    sealed.check(event.time)
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::message;
    use super::*;

    #[test]
    fn each_reason_has_its_first_letter() {
        let mut refused = Refused::default();
        let ingest = settings::Ingest { max_message_bytes: 6, ..Default::default() };
        let rules =
            Rules { ingest: &ingest, retention: settings::Retention::default(), sealed: &SealedDays::default() };
        for value in [b"{".as_slice(), b"{\"a", b"[1]", b"[]", b"[{}]"] {
            refused.look(&Letter::read(&message(value, &[])), &rules);
        }
        let by_reason: Vec<_> = refused.by_reason().map(|(reason, again)| (reason, again.letters)).collect();
        assert_eq!(by_reason, [("invalid_json", 2), ("not_an_object", 2), ("too_large", 1)]);
        assert_eq!(refused.letters(), 5);
    }
}
