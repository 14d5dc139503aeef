//! Which roles and users a server has.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use bson::{Bson, Document, doc};
use mongodb::Database;

use super::wanted::{Access, Privilege, RoleName, User, by_resource};
use super::wanted::{Privileges, Resource, Role};

/// Of the roles and users that are wanted, those that are there.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// By name.
    pub roles: BTreeMap<RoleName, Role>,
    /// By name.
    pub users: BTreeMap<String, FoundUser>,
}

/// A user as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundUser {
    /// As far as it is wanted, too.
    pub user: User,
    /// How it may sign in.
    pub mechanisms: BTreeSet<String>,
}

/// Reads them.
///
/// # Errors
/// MongoDB fails, or does not let us look.
pub async fn read(database: &Database, wanted: &Access) -> anyhow::Result<Found> {
    let mut found = Found::default();
    for Role { name, .. } in &wanted.roles {
        let answer = database
            .client()
            .database(&name.db)
            .run_command(doc! { "rolesInfo": { "role": &name.role, "db": &name.db }, "showPrivileges": true })
            .await
            .with_context(|| format!("MongoDB does not show the role {}@{}", name.role, name.db))?;
        if let Some(role) = documents(&answer, "roles").next() {
            found.roles.insert(name.clone(), role_of(name, role)?);
        }
    }
    let names: Vec<Document> = wanted.users.iter().map(|user| doc! { "user": &user.name, "db": "admin" }).collect();
    let answer = database
        .client()
        .database("admin")
        .run_command(doc! { "usersInfo": names, "showAuthenticationRestrictions": true })
        .await
        .context("MongoDB does not show its users")?;
    for user in documents(&answer, "users") {
        let found_user = user_of(user)?;
        found.users.insert(found_user.user.name.clone(), found_user);
    }
    Ok(found)
}

fn documents<'a>(answer: &'a Document, list: &str) -> impl Iterator<Item = &'a Document> {
    answer.get_array(list).into_iter().flatten().filter_map(Bson::as_document)
}

fn role_of(name: &RoleName, role: &Document) -> anyhow::Result<Role> {
    let privileges: Vec<Privilege> = documents(role, "privileges")
        .map(|privilege| bson::deserialize_from_document(privilege.clone()))
        .collect::<Result<_, _>>()
        .with_context(|| format!("the privileges of the role {}@{}", name.role, name.db))?;
    Ok(Role { name: name.clone(), privileges: granted(by_resource(privileges)), roles: role_names(role)? })
}

/// A privilege without an action is none.
fn granted(mut privileges: Privileges) -> Privileges {
    privileges.retain(|_: &Resource, actions| !actions.is_empty());
    privileges
}

fn role_names(of: &Document) -> anyhow::Result<BTreeSet<RoleName>> {
    let name =
        |role: &Document| Ok(RoleName { role: role.get_str("role")?.to_owned(), db: role.get_str("db")?.to_owned() });
    documents(of, "roles").map(name).collect()
}

fn user_of(user: &Document) -> anyhow::Result<FoundUser> {
    let texts = |of: &Document, list: &str| -> BTreeSet<String> {
        of.get_array(list).into_iter().flatten().filter_map(Bson::as_str).map(str::to_owned).collect()
    };
    let restrictions = documents(user, "authenticationRestrictions");
    Ok(FoundUser {
        mechanisms: texts(user, "mechanisms"),
        user: User {
            name: user.get_str("user").context("a user without a name")?.to_owned(),
            roles: role_names(user)?,
            client_source: restrictions.flat_map(|restriction| texts(restriction, "clientSource")).collect(),
        },
    })
}
