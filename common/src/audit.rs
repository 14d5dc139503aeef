//! The audit log: who did what with personal data or settings, on whom or on what, and with which result.
//!
//! [`around`] writes an entry before some work and one after it. Without the entry before, the work is not done. Each entry has the
//! next number and the SHA-256 of the entry before ([`chain`]), so that [`verify`] finds an entry that was changed, removed or put
//! between others. What nobody sees from inside: entries missing at the end, a change of the very last one, and a chain that was
//! computed anew from some entry on. Whoever notes the number and the digest of the last entry elsewhere sees that too.

pub mod chain;
mod who;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bson::oid::ObjectId;
use bson::{DateTime, RawDocumentBuf, doc};
use futures::TryStreamExt;
use mongodb::options::{ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Collection, Database};

pub use crate::documents::audit_entry::{Action, AuditEntry, Outcome, Phase, Target, TargetKind, Who};

use crate::documents::audit_entry;
use crate::keyring::{Keyring, Purpose};
use crate::mongo;
use crate::text::shortened;
use chain::{Broken, Chain};

/// How long others may be faster with the next number.
const CONTENTION: Duration = Duration::from_secs(30);
/// Letters of a detail or an error that are kept.
const LONGEST: usize = 500;

/// Something that somebody is about to do.
#[derive(Debug, Clone)]
pub struct Act {
    action: Action,
    target: Target,
    /// Digest of the user of DevToolkit who asked for it.
    user: Option<String>,
    detail: Option<String>,
    /// Ids that must not be in an entry.
    ids: Vec<ObjectId>,
}

impl Act {
    /// On a person. Without a keyring the entry does not say on whom.
    pub fn on_person(action: Action, keyring: Option<&Keyring>, id: ObjectId) -> Self {
        let subject = keyring.map(|keyring| digest(keyring, id));
        let target = Target { kind: TargetKind::Person, name: None, subject };
        Self { action, target, user: None, detail: None, ids: vec![id] }
    }

    /// On a thing. `name` must say nothing about a person.
    pub fn on(action: Action, kind: TargetKind, name: impl Into<String>) -> Self {
        let target = Target { kind, name: Some(name.into()), subject: None };
        Self { action, target, user: None, detail: None, ids: Vec::new() }
    }

    /// Asked for by a user of DevToolkit, such as an administrator in the dashboard.
    #[must_use]
    pub fn by_user(mut self, keyring: &Keyring, id: ObjectId) -> Self {
        self.user = Some(digest(keyring, id));
        self.ids.push(id);
        self
    }

    /// How it is done, such as the options of a command. It must say nothing about a person.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// A text for an entry: cut, and without the ids that the act is about.
    fn cleaned(&self, text: &str) -> String {
        let text = self.ids.iter().fold(text.to_owned(), |text, id| text.replace(&id.to_hex(), "(an id)"));
        shortened(&text, LONGEST)
    }
}

/// What stands for a person's id in the audit log.
fn digest(keyring: &Keyring, id: ObjectId) -> String {
    keyring.digest(Purpose::Audit, &id.bytes())
}

/// What may stand for a person's id in the audit log: one for each key.
pub fn digests(keyring: &Keyring, id: ObjectId) -> Vec<String> {
    keyring.digests(Purpose::Audit, &id.bytes())
}

/// Writes an entry, does the work, and writes another entry with its result.
///
/// # Errors
/// The first entry cannot be written: then nothing is done. The work fails. The work is done and the second entry cannot be written.
pub async fn around<T>(
    database: &Database,
    act: Act,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let who = who::of_this_process(database, act.user.clone()).await;
    let entry = AuditEntry {
        number: 0,
        previous: String::new(),
        at: DateTime::now(),
        phase: Phase::Begun,
        begun: None,
        who: who.context("the audit log cannot be written, so nothing was done")?,
        action: act.action.as_str().to_owned(),
        target: act.target.clone(),
        detail: act.detail.as_deref().map(|detail| act.cleaned(detail)),
        outcome: None,
        error: None,
    };
    let begun =
        append(database, entry.clone()).await.context("the audit log cannot be written, so nothing was done")?;
    let result = work.await;
    let (outcome, error) = match &result {
        Ok(_) => (Outcome::Succeeded, None),
        Err(error) => (Outcome::Failed, Some(act.cleaned(&mongo::in_words(error)))),
    };
    let ended = AuditEntry {
        at: DateTime::now(),
        phase: Phase::Ended,
        begun: Some(begun),
        outcome: Some(outcome),
        error,
        ..entry
    };
    let recorded = append(database, ended).await.with_context(|| {
        format!("the work of entry {begun} of the audit log is done, and its result could not be written there")
    });
    // The failure of the work is the one to report.
    result.and_then(|value| recorded.map(|_| value))
}

/// Gives the entry the next number and the digest of the entry before, and writes it. Of several writers at a time one gets the
/// number, and the others try the next one.
async fn append(database: &Database, mut entry: AuditEntry) -> anyhow::Result<i64> {
    let started = Instant::now();
    loop {
        let last = last(database).await?;
        entry.number = last.as_ref().map_or(1, |(number, _)| number.saturating_add(1));
        entry.previous = last.map_or_else(|| audit_entry::NO_ENTRY.to_owned(), |(_, digest)| digest);
        let entries = database.collection::<AuditEntry>(audit_entry::COLLECTION);
        match entries.insert_one(&entry).write_concern(WriteConcern::majority()).await {
            Ok(_) => return Ok(entry.number),
            Err(error) if !mongo::is_duplicate(&error) => {
                return Err(error).context("writing to the collection audit_log");
            }
            Err(_) if started.elapsed() > CONTENTION => {
                bail!("other programs write to audit_log all the time; try again")
            }
            Err(_) => tokio::time::sleep(pause()).await,
        }
    }
}

/// Number and digest of the last entry. Only numbers are compared with a number: an entry with another kind of `_id` is not seen.
///
/// # Errors
/// MongoDB fails.
pub async fn last(database: &Database) -> anyhow::Result<Option<(i64, String)>> {
    let found = raw(database)
        .find_one(doc! { "_id": { "$gte": 1_i64 } })
        .sort(doc! { "_id": -1 })
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .await
        .context("reading the last entry of audit_log")?;
    let Some(entry) = found else { return Ok(None) };
    let number = entry.get_i64("_id").context("the _id of the last entry of audit_log is no whole number")?;
    Ok(Some((number, chain::digest(&entry))))
}

/// The number of the first entry that is there: the auditor may have removed older ones.
///
/// # Errors
/// MongoDB fails.
pub async fn first(database: &Database) -> anyhow::Result<Option<i64>> {
    let found = raw(database).find_one(doc! { "_id": { "$gte": 1_i64 } }).sort(doc! { "_id": 1 }).await;
    let found = found.context("reading the first entry of audit_log")?;
    Ok(found.and_then(|entry| entry.get_i64("_id").ok()))
}

fn raw(database: &Database) -> Collection<RawDocumentBuf> {
    database.collection(audit_entry::COLLECTION)
}

/// Up to 25 ms at random, so that several who wait do not meet again.
fn pause() -> Duration {
    let mut byte = [0];
    // Without random bytes all wait for the same time: one of them is first all the same.
    let _ = getrandom::fill(&mut byte);
    Duration::from_micros(u64::from(byte[0]) * 100)
}

/// What a check of the whole log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Entries that were looked at.
    pub entries: u64,
    /// Number and digest of the last one.
    pub last: Option<(i64, String)>,
    /// The first entry that is not as it was written, if there is one.
    pub broken: Option<Broken>,
}

/// Reads the entries from the number `first` on, and checks that none was changed, removed, or put between others. `noted` is the number
/// and the digest of an entry, noted earlier: that entry must be there.
///
/// # Errors
/// MongoDB fails.
pub async fn verify(database: &Database, first: i64, noted: Option<(i64, &str)>) -> anyhow::Result<Verified> {
    // Not $gte, which compares numbers alone: an _id that is no number was inserted.
    let filter = doc! { "_id": { "$not": { "$lt": first } } };
    let mut entries = raw(database).find(filter).sort(doc! { "_id": 1 }).await.context("reading audit_log")?;
    let mut chain = Chain::starting_at(first);
    let mut broken = None;
    while let Some(entry) = entries.try_next().await.context("reading audit_log")? {
        broken = chain.take(&entry, noted).err();
        if broken.is_some() {
            break;
        }
    }
    let broken = broken.or_else(|| chain.end(noted).err());
    Ok(Verified { entries: chain.taken(), last: chain.last(), broken })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_no_id_of_a_person_and_no_endless_text() {
        let id = ObjectId::from_bytes([7; 12]);
        let act = Act::on_person(Action::PrivacyErase, None, id);
        assert_eq!(act.cleaned(&format!("nothing is about {id}")), "nothing is about (an id)");
        assert_eq!(act.cleaned(&"ä".repeat(600)).chars().count(), LONGEST + 1);
    }
}
