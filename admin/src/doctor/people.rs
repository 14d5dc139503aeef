//! Who signs in to MongoDB, how, from where, and with which rights.

use std::path::Path;

use anyhow::Context;
use bson::{Bson, Document, doc};
use common::settings::Settings;
use mongodb::Database;
use mongodb::error::{Error, ErrorKind};

use super::finding::Finding;
use crate::access::difference::{Change, MECHANISM, differences};
use crate::access::found::{self, ANYWHERE, Found};
use crate::access::wanted::Access;

const SIGN_IN: &str = "sign-in to MongoDB";
const ROLES: &str = "roles and users";
const ADDRESSES: &str = "addresses of users";

pub(super) async fn check(settings: &Settings, database: &Database, file: &Path) -> Vec<Finding> {
    let sign_in = sign_in(database).await.unwrap_or_else(|error| Finding::unseen(SIGN_IN, &error));
    let access = match Access::read(file, settings) {
        Ok(access) => access,
        Err(error) => {
            let todo = "name the file with the roles and users with --access";
            return vec![sign_in, Finding::amber(ROLES, format!("{error:#}"), todo)];
        }
    };
    match found::read(database, &access).await {
        Ok(found) => vec![sign_in, roles(&access, &found), addresses(&access, &found)],
        Err(error) => vec![sign_in, Finding::unseen(ROLES, &error), Finding::unseen(ADDRESSES, &error)],
    }
}

async fn sign_in(database: &Database) -> anyhow::Result<Finding> {
    let status = database.run_command(doc! { "connectionStatus": 1 }).await?;
    let users = status.get_document("authInfo").and_then(|info| info.get_array("authenticatedUsers"));
    let Some(user) = users.ok().and_then(|users| users.first()).and_then(Bson::as_document) else {
        let found = "signed in as nobody: mongodb.username is empty, or MongoDB asks for no password";
        let todo = "start mongod with --keyFile, create users (admin access apply), and set mongodb.username";
        return Ok(Finding::red(SIGN_IN, found, todo));
    };
    let (name, home) = (user.get_str("user")?, user.get_str("db")?);
    // Everybody may look at the own user.
    let command = doc! { "usersInfo": { "user": name, "db": home } };
    let info = database.client().database(home).run_command(command).await?;
    let info = info.get_array("users").ok().and_then(|users| users.first()).and_then(Bson::as_document);
    let mechanisms = info.context("MongoDB does not show our own user")?.get_array("mechanisms").cloned();
    let mechanisms: Vec<String> =
        mechanisms.unwrap_or_default().iter().filter_map(Bson::as_str).map(str::to_owned).collect();
    let found = format!("as {name}@{home} with {}", mechanisms.join(", "));
    if !asks_for_passwords(database).await? {
        let found = format!("{found}; but MongoDB lets anybody in who reaches it, without a password");
        let todo = "start each mongod with security.authorization: enabled (or --keyFile), and without \
                    security.transitionToAuth";
        return Ok(Finding::red(SIGN_IN, found, todo));
    }
    if mechanisms == [MECHANISM] {
        return Ok(Finding::green(SIGN_IN, found));
    }
    let todo = "admin access apply leaves users SCRAM-SHA-256 alone; of this one, db.updateUser(…, { mechanisms: [\"SCRAM-SHA-256\"] })";
    Ok(Finding::red(SIGN_IN, found, todo))
}

fn roles(access: &Access, found: &Found) -> Finding {
    let changes = differences(access, found);
    if changes.is_empty() {
        let (roles, users) = (access.roles.len(), access.users.len());
        return Finding::green(ROLES, format!("{roles} roles and {users} users are as in access.json"));
    }
    let named: Vec<String> = changes.iter().map(|change| format!("{} {}", change.what(), change.detail())).collect();
    let todo = "look at admin access diff, then run admin access apply";
    let is_more = changes.iter().any(|change| matches!(change, Change::UpdateRole { .. } | Change::UpdateUser { .. }));
    if is_more { Finding::red(ROLES, named.join("; "), todo) } else { Finding::amber(ROLES, named.join("; "), todo) }
}

fn addresses(access: &Access, found: &Found) -> Finding {
    let open = |name: &&str| {
        let sources = found.users.get(*name).map(|user| &user.user.client_source);
        sources.is_none_or(|sources| sources.is_empty() || sources.contains(ANYWHERE))
    };
    let open: Vec<&str> = access.users.iter().map(|user| user.name.as_str()).filter(open).collect();
    if open.is_empty() {
        return Finding::green(ADDRESSES, "each user signs in from its address ranges alone");
    }
    let found = format!("from anywhere: {}", open.join(", "));
    Finding::amber(ADDRESSES, found, "set security.client_sources, and run admin access apply")
}

/// Whether the primary refuses what a user has no right to.
async fn asks_for_passwords(database: &Database) -> anyhow::Result<bool> {
    match options(database).await {
        Ok(options) => Ok(enforces(&options)),
        // A server that lets everybody in would have told.
        Err(error) if error.downcast_ref::<Error>().is_some_and(is_unauthorized) => Ok(true),
        Err(error) => Err(error),
    }
}

fn is_unauthorized(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(refusal) if refusal.code == 13)
}

fn enforces(options: &Document) -> bool {
    let Ok(security) = options.get_document("security") else { return false };
    let is_on =
        security.get_str("authorization").is_ok_and(|text| text == "enabled") || security.contains_key("keyFile");
    is_on && !security.get_bool("transitionToAuth").unwrap_or(false)
}

/// What MongoDB was started with.
pub(super) async fn options(database: &Database) -> anyhow::Result<Document> {
    let admin = database.client().database("admin");
    let options = admin.run_command(doc! { "getCmdLineOpts": 1 }).await.context("reading mongod's options")?;
    Ok(options.get_document("parsed").cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_asks_for_passwords_only_with_an_option_for_it() {
        assert!(enforces(&doc! { "security": { "authorization": "enabled" } }));
        assert!(enforces(&doc! { "security": { "keyFile": "/key" } }));
        assert!(!enforces(&doc! { "security": { "keyFile": "/key", "transitionToAuth": true } }));
        assert!(!enforces(&doc! { "security": { "authorization": "disabled" } }));
        assert!(!enforces(&doc! { "storage": {} }));
    }
}
