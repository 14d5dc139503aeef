//! Carries out one change.

use std::path::Path;

use anyhow::{Context, ensure};
use bson::{Bson, Document, doc};
use mongodb::Database;

use super::difference::{Change, MECHANISM};
use super::wanted::{Resource, Role, RoleName, User};

/// Carries it out; false when a user is not created, because nobody says its password.
///
/// # Errors
/// MongoDB refuses, or a file with a password cannot be read.
pub(super) async fn apply(database: &Database, change: &Change, passwords: Option<&Path>) -> anyhow::Result<bool> {
    match change {
        Change::CreateRole(role) => run(database, &role.name.db, role_command("createRole", role)).await?,
        Change::UpdateRole { wanted, .. } => run(database, &wanted.name.db, role_command("updateRole", wanted)).await?,
        Change::UpdateUser { wanted, .. } => run(database, "admin", user_command("updateUser", wanted)).await?,
        Change::CreateUser(user) => {
            let Some(directory) = passwords else { return Ok(false) };
            let mut command = user_command("createUser", user);
            command.insert("pwd", password(directory, &user.name)?);
            run(database, "admin", command).await?;
        }
    }
    Ok(true)
}

async fn run(database: &Database, on: &str, mut command: Document) -> anyhow::Result<()> {
    command.insert("writeConcern", doc! { "w": "majority" });
    database.client().database(on).run_command(command).await?;
    Ok(())
}

fn role_command(command: &str, role: &Role) -> Document {
    let privileges = role.privileges.iter().map(|(resource, actions)| {
        let resource = match resource {
            Resource::Cluster { cluster } => doc! { "cluster": cluster },
            Resource::Everything { any_resource } => doc! { "anyResource": any_resource },
            Resource::Collections { db, collection } => doc! { "db": db, "collection": collection },
        };
        Bson::from(doc! { "resource": resource, "actions": actions.iter().cloned().collect::<Vec<_>>() })
    });
    doc! { command: &role.name.role, "privileges": privileges.collect::<Vec<_>>(), "roles": names(role.roles.iter()) }
}

fn user_command(command: &str, user: &User) -> Document {
    // None lets every address in.
    let sources: Vec<&str> = user.client_source.iter().map(String::as_str).collect();
    let restrictions = if sources.is_empty() { vec![] } else { vec![doc! { "clientSource": sources }] };
    doc! {
        command: &user.name,
        "roles": names(user.roles.iter()),
        "mechanisms": [MECHANISM],
        "authenticationRestrictions": restrictions,
    }
}

fn names<'a>(roles: impl Iterator<Item = &'a RoleName>) -> Vec<Document> {
    roles.map(|RoleName { role, db }| doc! { "role": role, "db": db }).collect()
}

fn password(directory: &Path, user: &str) -> anyhow::Result<String> {
    let file = directory.join(user).join("password");
    let text = std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    let password = text.trim_end_matches(['\r', '\n']);
    ensure!(!password.is_empty(), "{} is empty, expected a password", file.display());
    Ok(password.to_owned())
}
