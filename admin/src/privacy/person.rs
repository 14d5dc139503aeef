//! The options that name a person.

use bson::oid::ObjectId;
use clap::Args;
use mongodb::Database;

use crate::erasure::person;
use crate::text::id_parser;

/// Who is meant.
#[derive(Args, Debug, Clone)]
#[group(required = true, multiple = false)]
pub(super) struct Person {
    /// The person's id: 24 hexadecimal digits
    #[arg(long, value_name = "ID", value_parser = id_parser)]
    user: Option<ObjectId>,
    /// The person's email address
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
}

impl Person {
    /// The person's id.
    ///
    /// # Errors
    /// Nobody has the address, or MongoDB fails.
    pub(super) async fn id(&self, database: &Database) -> anyhow::Result<ObjectId> {
        match (self.user, &self.email) {
            (Some(id), _) => Ok(id),
            (None, Some(email)) => person::by_email(database, email).await,
            (None, None) => anyhow::bail!("name the person with --user ID or --email ADDRESS"),
        }
    }
}
