//! The options that name a person.

use bson::oid::ObjectId;
use clap::Args;
use mongodb::Database;

use crate::erasure::person;

/// Who is meant.
#[derive(Args, Debug, Clone)]
#[group(required = true, multiple = false)]
pub(super) struct Person {
    /// The person's id: 24 hexadecimal digits
    #[arg(long, value_name = "ID", value_parser = object_id)]
    user: Option<ObjectId>,
    /// The person's email address
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
}

fn object_id(text: &str) -> Result<ObjectId, String> {
    ObjectId::parse_str(text).map_err(|_| format!("'{text}' is not an id, expected 24 hexadecimal digits"))
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
