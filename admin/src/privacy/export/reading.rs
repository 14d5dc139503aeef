//! Reads the documents about a person from one snapshot of the database, a batch at a time.

use std::collections::BTreeSet;

use anyhow::{Context, anyhow};
use bson::{Bson, Document, doc};
use common::documents::audit_entry;
use common::documents::migration::{self, Migration};
use common::mongo;
use common::personal::projection::Projection;
use common::personal::{self, Kind, Place};
use indicatif::{ProgressBar, ProgressStyle};
use mongodb::error::{Error, ErrorKind};
use mongodb::{ClientSession, Database};

use super::facts::Facts;
use super::manifest::Schema;
use super::output::Sink;
use super::subject::Subject;

/// Documents that are held at a time, at most.
const BATCH: u32 = 500;

/// Reads of a session that all see the same instant. MongoDB keeps it for five minutes unless it is told otherwise.
///
/// # Errors
/// MongoDB fails.
pub(super) async fn snapshot(database: &Database) -> anyhow::Result<ClientSession> {
    let session = database.client().start_session().snapshot(true).await;
    session.context("MongoDB gave no session that reads from one snapshot")
}

/// One person's documents, all as they were at the same instant.
pub(super) struct Reading {
    database: Database,
    session: ClientSession,
    person: Subject,
    not_classified: BTreeSet<String>,
    progress: ProgressBar,
}

impl Reading {
    pub fn new(database: &Database, session: ClientSession, person: Subject) -> Self {
        let style = ProgressStyle::with_template("{prefix:>22} {human_pos} documents {spinner}");
        let progress =
            ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Self { database: database.clone(), session, person, not_classified: BTreeSet::new(), progress }
    }

    /// Whether any collection has a document about the person.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn finds_anything(&mut self) -> anyhow::Result<bool> {
        for place in common::personal::collections_about_people() {
            let documents = self.database.collection::<Document>(place.name);
            let found = documents.find_one(self.filter(place)).projection(doc! { "_id": 1 });
            let found = found.session(&mut self.session).await;
            if found.map_err(|error| failed(place.name, &error))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The latest migration of the database.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn schema(&mut self) -> anyhow::Result<Option<Schema>> {
        let migrations = self.database.collection::<Migration>(migration::COLLECTION);
        let latest = migrations.find_one(doc! {}).sort(doc! { "appliedAt": -1 }).session(&mut self.session).await;
        let latest = latest.map_err(|error| failed(migration::COLLECTION, &error))?;
        Ok(latest.map(|migration| Schema {
            program_version: migration.program_version,
            applied_at: migration.applied_at.to_chrono(),
        }))
    }

    /// Writes the person's documents of a collection, one a line; says how many.
    ///
    /// # Errors
    /// MongoDB fails, or the file cannot be written.
    pub async fn write(&mut self, place: &'static Place, sink: &mut Sink, facts: &mut Facts) -> anyhow::Result<u64> {
        let failed = |error: Error| failed(place.name, &error);
        self.progress.set_prefix(place.name);
        self.progress.set_position(0);
        let mut projection = Projection::new(place);
        let documents = self.database.collection::<Document>(place.name);
        let found = documents.find(self.filter(place)).sort(order(place)).batch_size(BATCH);
        let mut cursor = found.session(&mut self.session).await.map_err(failed)?;
        let mut count = 0;
        while let Some(document) = cursor.next(&mut self.session).await.transpose().map_err(failed)? {
            let seen = projection.project(document, self.person.id);
            facts.see(place, &seen);
            sink.line(&Bson::Document(seen).into_relaxed_extjson())?;
            count += 1;
            self.progress.inc(1);
        }
        self.not_classified.extend(projection.unknown());
        self.progress.set_position(0);
        Ok(count)
    }

    /// Writes the entries of the audit log about the person, and about what the person did; says how many. No index serves the search.
    ///
    /// # Errors
    /// As [`Reading::write`].
    pub async fn write_audit(&mut self, digests: &[String], sink: &mut Sink) -> anyhow::Result<u64> {
        let failed = |error: Error| failed(audit_entry::COLLECTION, &error);
        let Some(place) = personal::place(Kind::Collection, audit_entry::COLLECTION) else { return Ok(0) };
        let mut projection = Projection::new(place);
        let links = ["target.subject", "who.user"].map(|path| doc! { path: { "$in": digests } });
        let entries = self.database.collection::<Document>(place.name);
        let found = entries.find(doc! { "$or": links.to_vec() }).sort(doc! { "_id": 1 }).batch_size(BATCH);
        let mut cursor = found.session(&mut self.session).await.map_err(failed)?;
        let mut count = 0;
        while let Some(entry) = cursor.next(&mut self.session).await.transpose().map_err(failed)? {
            let seen = projection.project(entry, self.person.id);
            sink.line(&Bson::Document(seen).into_relaxed_extjson())?;
            count += 1;
        }
        self.not_classified.extend(projection.unknown());
        Ok(count)
    }

    /// Some documents' field `name`, by id.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn names(&mut self, collection: &str, ids: &[Bson]) -> anyhow::Result<Vec<Document>> {
        let failed = |error: Error| failed(collection, &error);
        let documents = self.database.collection::<Document>(collection);
        let found = documents.find(doc! { "_id": { "$in": ids } }).projection(doc! { "name": 1 });
        let mut cursor = found.session(&mut self.session).await.map_err(failed)?;
        let mut named = Vec::new();
        while let Some(document) = cursor.next(&mut self.session).await.transpose().map_err(failed)? {
            named.push(document);
        }
        Ok(named)
    }

    /// Fields that the register does not have, as `collection.field`.
    pub fn not_classified(&self) -> Vec<String> {
        self.not_classified.iter().cloned().collect()
    }

    /// The documents that hold the person's id in any of the fields for one.
    fn filter(&self, place: &Place) -> Document {
        let id = self.person.id;
        // MongoDB looks into a list by the list's own path.
        let mut links = place.people.iter().map(|path| doc! { path.replace("[]", ""): id });
        match place.people {
            [_] => links.next().unwrap_or_default(),
            _ => doc! { "$or": links.collect::<Vec<_>>() },
        }
    }
}

/// By time where an index has it beside the user's id.
fn order(place: &Place) -> Document {
    let by = ["timestamp", "date"].into_iter().find(|field| place.rule(field).is_some());
    doc! { by.unwrap_or("_id"): 1 }
}

/// MongoDB's codes of a snapshot that it has not kept.
const SNAPSHOT_GONE: [i32; 2] = [239, 246];

fn failed(collection: &str, error: &Error) -> anyhow::Error {
    let reason = mongo::reason(error);
    match &*error.kind {
        ErrorKind::Command(command) if SNAPSHOT_GONE.contains(&command.code) => anyhow!(
            "reading {collection} took longer than MongoDB keeps a snapshot ({reason}): raise \
             minSnapshotHistoryWindowInSeconds (setParameter on each member, 300 by default), remove what was written, and run \
             this again"
        ),
        _ => anyhow!("reading {collection} failed: {reason}; remove what was written, and run this again"),
    }
}
