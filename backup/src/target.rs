//! Where a restore writes: collections beside the live ones, or another database.

use std::collections::BTreeMap;

use anyhow::Context;
use bson::{Bson, Document, doc};
use common::documents::{activity_log, health_check, usage_analytics};
use common::mongo;
use mongodb::Database;

use crate::recovery::{self, RESTORING};

/// What a collection is besides its documents. Indexes and validators come last: a document between two entries of the oplog
/// may break both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shape {
    /// What `create` was told.
    pub options: Document,
    /// As `listIndexes` has them.
    pub indexes: Vec<Document>,
}

/// Options that a collection only takes when it is created.
const FIXED: [&str; 3] = ["collation", "clusteredIndex", "storageEngine"];
/// Options that say what is valid.
const VALIDATION: [&str; 3] = ["validator", "validationLevel", "validationAction"];

/// What is restored in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// All collections.
    Whole,
    /// All but the raw events: users, settings, roll-ups. It is small, and people can be served with it.
    WithoutEvents,
    /// The raw events.
    Events,
}

/// Collections of raw events.
const EVENTS: [&str; 3] = [usage_analytics::COLLECTION, activity_log::COLLECTION, health_check::COLLECTION];

impl Phase {
    /// Whether a collection belongs to it. What has no name is of all collections.
    pub fn has(self, collection: &str) -> bool {
        match self {
            Self::Whole => true,
            Self::WithoutEvents => !EVENTS.contains(&collection),
            Self::Events => EVENTS.contains(&collection) || collection.is_empty(),
        }
    }
}

/// A place for a restored database.
#[derive(Debug)]
pub struct Target {
    /// The database.
    pub database: Database,
    /// What of it is restored.
    pub phase: Phase,
    prefix: &'static str,
    shapes: BTreeMap<String, Shape>,
}

impl Target {
    /// Beside the live collections of a database, until [`Target::swap`].
    pub fn beside(database: Database, phase: Phase) -> Self {
        Self { database, phase, prefix: RESTORING, shapes: BTreeMap::new() }
    }

    /// In a database of its own, whose collections are dropped first.
    pub fn alone(database: Database) -> Self {
        Self { database, phase: Phase::Whole, prefix: "", shapes: BTreeMap::new() }
    }

    /// What a collection is called while it is restored.
    pub fn name(&self, collection: &str) -> String {
        format!("{}{collection}", self.prefix)
    }

    /// The collections that are there.
    pub fn collections(&self) -> impl Iterator<Item = &str> {
        self.shapes.keys().map(String::as_str)
    }

    /// A collection's shape.
    pub fn shape(&mut self, collection: &str) -> Option<&mut Shape> {
        self.shapes.get_mut(collection)
    }

    /// Drops what an earlier restore left.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn clear(&mut self) -> anyhow::Result<()> {
        for name in self.live_names().await?.into_iter().filter(|name| name.starts_with(self.prefix)) {
            drop_collection(&self.database, &name).await?;
        }
        self.shapes.clear();
        Ok(())
    }

    async fn live_names(&self) -> anyhow::Result<Vec<String>> {
        let names = self.database.list_collection_names().await.context("the collections cannot be listed")?;
        Ok(names.into_iter().filter(|name| !name.starts_with("system.")).collect())
    }

    /// Creates a collection.
    ///
    /// # Errors
    /// MongoDB fails, or has it already.
    pub async fn create(&mut self, collection: &str, shape: Shape) -> anyhow::Result<()> {
        let mut command = doc! { "create": self.name(collection) };
        for option in FIXED {
            command.extend(shape.options.get(option).map(|value| (option.to_owned(), value.clone())));
        }
        self.run(&self.database, command)
            .await
            .with_context(|| format!("collection {collection} cannot be created"))?;
        self.shapes.insert(collection.to_owned(), shape);
        Ok(())
    }

    /// Drops a collection, or nothing where it is gone.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn drop(&mut self, collection: &str) -> anyhow::Result<()> {
        self.shapes.remove(collection);
        drop_collection(&self.database, &self.name(collection)).await
    }

    /// Renames a collection, over another where there is one.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn rename(&mut self, from: &str, to: &str) -> anyhow::Result<()> {
        self.rename_live(&self.name(from), &self.name(to)).await?;
        if let Some(shape) = self.shapes.remove(from) {
            self.shapes.insert(to.to_owned(), shape);
        }
        Ok(())
    }

    /// Makes indexes and validators: the last step before the collections are used.
    ///
    /// # Errors
    /// MongoDB fails, or documents break a unique index.
    pub async fn complete(&self) -> anyhow::Result<()> {
        for (collection, shape) in &self.shapes {
            let name = self.name(collection);
            let indexes = shape.indexes.iter().filter(|index| name_of(index) != "_id_").map(|index| {
                // Servers before 4.4 wrote the collection's name into each index.
                let fields = index.iter().filter(|(field, _)| *field != "ns");
                Bson::Document(fields.map(|(field, value)| (field.clone(), value.clone())).collect())
            });
            let indexes: Vec<Bson> = indexes.collect();
            if !indexes.is_empty() {
                let command = doc! { "createIndexes": &name, "indexes": indexes };
                self.run(&self.database, command).await.with_context(|| format!("indexes of {collection}"))?;
            }
            let options = shape.options.iter().filter(|(option, _)| !FIXED.contains(&option.as_str()));
            let options = options.filter(|(option, value)| {
                // A validator that was taken away is an empty one.
                let is_empty = value.as_document().is_some_and(Document::is_empty);
                VALIDATION.contains(&option.as_str()) && !is_empty || option.as_str() == "changeStreamPreAndPostImages"
            });
            let mut command = doc! { "collMod": &name };
            command.extend(options.map(|(option, value)| (option.clone(), value.clone())));
            if command.len() > 1 {
                self.run(&self.database, command).await.with_context(|| format!("validator of {collection}"))?;
            }
        }
        Ok(())
    }

    /// Puts the restored collections into the place of the live ones, and drops those that there were not. A reader sees the
    /// collections change one after another. The live collections of `kept` stay.
    ///
    /// # Errors
    /// MongoDB fails: to restore again is safe.
    pub async fn swap(&self, kept: &[&str]) -> anyhow::Result<()> {
        for collection in kept {
            drop_collection(&self.database, &self.name(collection)).await?;
        }
        let replaced = self.shapes.keys().filter(|collection| !kept.contains(&collection.as_str()));
        for collection in replaced {
            self.rename_live(&self.name(collection), collection).await?;
        }
        for name in self.live_names().await? {
            let stays = self.shapes.contains_key(&name) || kept.contains(&name.as_str());
            if !stays && self.phase.has(&name) && !recovery::is_its(&name) {
                drop_collection(&self.database, &name).await?;
            }
        }
        Ok(())
    }

    /// How many documents a collection has.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn count(&self, collection: &str) -> anyhow::Result<u64> {
        let collection = self.database.collection::<Document>(&self.name(collection));
        Ok(collection.estimated_document_count().await?)
    }

    async fn rename_live(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let database = self.database.name();
        let (from, to) = (format!("{database}.{from}"), format!("{database}.{to}"));
        let command = doc! { "renameCollection": &from, "to": &to, "dropTarget": true };
        let admin = self.database.client().database("admin");
        self.run(&admin, command).await.with_context(|| format!("{from} cannot be renamed to {to}"))
    }

    async fn run(&self, database: &Database, mut command: Document) -> anyhow::Result<()> {
        command.insert("writeConcern", doc! { "w": "majority" });
        let reply = database.run_command(command).await?;
        if let Ok(error) = reply.get_document("writeConcernError") {
            anyhow::bail!(
                "a majority did not acknowledge it: {}",
                mongo::without_values(error.get_str("errmsg").unwrap_or(""))
            );
        }
        Ok(())
    }
}

/// The name of an index.
pub fn name_of(index: &Document) -> &str {
    index.get_str("name").unwrap_or_default()
}

async fn drop_collection(database: &Database, name: &str) -> anyhow::Result<()> {
    let dropped = database.collection::<Document>(name).drop().await;
    dropped.with_context(|| format!("collection {name} cannot be dropped"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_collection_is_restored_in_one_of_the_phases() {
        for collection in ["users", "system_analytics", "usage_analytics", "activity_logs", "health_checks"] {
            let phases = [Phase::WithoutEvents, Phase::Events].map(|phase| phase.has(collection));
            assert_eq!(phases.iter().filter(|has| **has).count(), 1, "{collection}");
            assert!(Phase::Whole.has(collection));
        }
        assert!(Phase::Events.has("usage_analytics"));
    }
}
