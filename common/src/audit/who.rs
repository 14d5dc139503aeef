//! Who this process is: its user, its machine, its name, and its user at the database.

use std::path::Path;

use anyhow::Context;
use bson::{Bson, Document, doc};
use mongodb::Database;
use nix::unistd::{Uid, User, gethostname};

use crate::documents::audit_entry::Who;

/// Who does what this process does, for the user of DevToolkit with this digest.
///
/// # Errors
/// MongoDB fails.
pub(super) async fn of_this_process(database: &Database, user: Option<String>) -> anyhow::Result<Who> {
    let status = database.run_command(doc! { "connectionStatus": 1 }).await.context("asking MongoDB for our user")?;
    Ok(Who {
        system_user: system_user(),
        host: gethostname().map_or_else(|_| "unknown".to_owned(), |name| name.to_string_lossy().into_owned()),
        program: program(),
        database_user: database_user(&status),
        user,
    })
}

/// A container may have a user without a name.
fn system_user() -> String {
    let id = Uid::effective();
    User::from_uid(id).ok().flatten().map_or_else(|| format!("uid {id}"), |user| user.name)
}

fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let name = path.file_stem().unwrap_or_else(|| Path::new("unknown").as_os_str());
    format!("{} {}", name.to_string_lossy(), env!("CARGO_PKG_VERSION"))
}

fn database_user(status: &Document) -> Option<String> {
    let users = status.get_document("authInfo").ok()?.get_array("authenticatedUsers").ok()?;
    let user = users.first().and_then(Bson::as_document)?;
    Some(format!("{}@{}", user.get_str("user").ok()?, user.get_str("db").ok()?))
}
