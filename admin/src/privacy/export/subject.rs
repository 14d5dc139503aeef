//! Whom an export is about.

use anyhow::Context;
use bson::oid::ObjectId;
use bson::{Document, doc};
use common::documents::user;
use mongodb::{ClientSession, Database};

/// A person.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    /// The user's id.
    pub id: ObjectId,
    /// Whether `users` has the person.
    pub has_account: bool,
}

impl Subject {
    /// Looks for the account, as the session reads.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn find(id: ObjectId, database: &Database, session: &mut ClientSession) -> anyhow::Result<Self> {
        let users = database.collection::<Document>(user::COLLECTION);
        let found = users.find_one(doc! { "_id": id }).projection(doc! { "_id": 1 }).session(&mut *session).await;
        let found = found.context("the collection users cannot be read")?;
        Ok(Self { id, has_account: found.is_some() })
    }
}
