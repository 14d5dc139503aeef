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

/// Stands among the address ranges of a user with a restriction that names no client: one of several is enough to get in.
pub const ANYWHERE: &str = "of all addresses";

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
    let sources = |restriction| {
        let sources = texts(restriction, "clientSource");
        if sources.is_empty() { BTreeSet::from([ANYWHERE.to_owned()]) } else { sources }
    };
    Ok(FoundUser {
        mechanisms: texts(user, "mechanisms"),
        user: User {
            name: user.get_str("user").context("a user without a name")?.to_owned(),
            roles: role_names(user)?,
            client_source: documents(user, "authenticationRestrictions").flat_map(sources).collect(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restriction_without_a_client_lets_everybody_in() {
        let sources = |restrictions: Vec<Document>| {
            let user = doc! { "user": "u", "authenticationRestrictions": restrictions };
            user_of(&user).unwrap().user.client_source.into_iter().collect::<Vec<_>>()
        };
        let (client, server) = (doc! { "clientSource": ["10.0.0.0/8"] }, doc! { "serverAddress": ["10.0.0.1/32"] });
        assert_eq!(sources(vec![client.clone()]), ["10.0.0.0/8"]);
        assert_eq!(sources(vec![client, server]), ["10.0.0.0/8", ANYWHERE]);
        assert_eq!(sources(vec![]), Vec::<String>::new());
    }

    #[test]
    fn a_role_for_everything_is_read() {
        let name = RoleName { role: "r".to_owned(), db: "d".to_owned() };
        let privileges = vec![doc! { "resource": { "anyResource": true }, "actions": ["anyAction"] }];
        let role = role_of(&name, &doc! { "privileges": privileges }).unwrap();
        assert_eq!(role.privileges.keys().collect::<Vec<_>>(), [&Resource::Everything { any_resource: true }]);
    }
}
