//! What access.json and the settings want.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;
use common::settings::Settings;
use serde::Deserialize;

/// Where the file is in the repository, and in the image.
pub const FILE: &str = "config/mongodb/access.json";

/// What stands for the database of the settings in the file.
const DATABASE: &str = "devtoolkit";

/// Roles and users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// In the order of the file: a role comes before what names it.
    pub roles: Vec<Role>,
    /// All of them belong to the database admin.
    pub users: Vec<User>,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name and its database.
    pub name: RoleName,
    /// What it may do, by what it may do it to.
    pub privileges: Privileges,
    /// Whose rights it has, too.
    pub roles: BTreeSet<RoleName>,
}

/// Actions by resource.
pub type Privileges = BTreeMap<Resource, BTreeSet<String>>;

/// The name of a role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleName {
    /// Its name.
    pub role: String,
    /// The database that it belongs to.
    pub db: String,
}

/// What something may be done to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(untagged)]
pub enum Resource {
    /// The collections of a name; an empty name is all of them.
    Collections {
        /// The database; empty is each.
        db: String,
        /// The collection.
        collection: String,
    },
    /// The whole set of servers.
    Cluster {
        /// Always true.
        cluster: bool,
    },
    /// Whatever there is.
    Everything {
        /// Always true.
        #[serde(rename = "anyResource")]
        any_resource: bool,
    },
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub roles: BTreeSet<RoleName>,
    /// The address ranges that it may sign in from; empty lets every address in.
    pub client_source: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    roles: Vec<FileRole>,
    users: Vec<FileUser>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRole {
    role: String,
    db: String,
    privileges: Vec<Privilege>,
    roles: BTreeSet<RoleName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileUser {
    user: String,
    roles: BTreeSet<RoleName>,
}

/// Some actions on a resource.
#[derive(Deserialize)]
pub(super) struct Privilege {
    pub resource: Resource,
    pub actions: BTreeSet<String>,
}

/// Actions by resource; a resource may be named more than once.
pub(super) fn by_resource(privileges: impl IntoIterator<Item = Privilege>) -> Privileges {
    let mut by_resource = Privileges::new();
    for Privilege { resource, actions } in privileges {
        by_resource.entry(resource).or_default().extend(actions);
    }
    by_resource
}

impl Access {
    /// Reads the file, for the database and the addresses of the settings.
    ///
    /// # Errors
    /// The file cannot be read, or is not of the form.
    pub fn read(file: &Path, settings: &Settings) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("{} cannot be read; name the file with the roles with --file", file.display()))?;
        Self::parse(&text, settings).with_context(|| format!("{} is not as it should be", file.display()))
    }

    fn parse(text: &str, settings: &Settings) -> anyhow::Result<Self> {
        let File { roles, users } = serde_json::from_str(text)?;
        let database = settings.mongodb.database.as_str();
        let sources = &settings.security.client_sources;
        let roles = roles.into_iter().map(|role| role.for_database(database)).collect();
        let users = users.into_iter().map(|FileUser { user, roles }| User {
            roles: roles.into_iter().map(|role| role.for_database(database)).collect(),
            client_source: sources.get(&user).into_iter().flatten().cloned().collect(),
            name: user,
        });
        Ok(Self { roles, users: users.collect() })
    }
}

/// Also of a database that is named after it, such as that of a rehearsal.
fn named(db: String, database: &str) -> String {
    match db.strip_prefix(DATABASE) {
        Some(rest) if rest.is_empty() || rest.starts_with('_') => format!("{database}{rest}"),
        _ => db,
    }
}

impl RoleName {
    fn for_database(self, database: &str) -> Self {
        Self { db: named(self.db, database), ..self }
    }
}

impl FileRole {
    fn for_database(self, database: &str) -> Role {
        let privileges = self.privileges.into_iter().map(|Privilege { resource, actions }| {
            let resource = match resource {
                Resource::Collections { db, collection } => {
                    Resource::Collections { db: named(db, database), collection }
                }
                other => other,
            };
            Privilege { resource, actions }
        });
        Role {
            privileges: by_resource(privileges),
            name: RoleName { role: self.role, db: self.db }.for_database(database),
            roles: self.roles.into_iter().map(|role| role.for_database(database)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_is_read_for_the_database_of_the_settings() {
        let mut settings = Settings::default();
        settings.mongodb.database = "other".to_owned();
        settings.security.client_sources = BTreeMap::from([("ingest".to_owned(), vec!["10.0.0.0/8".to_owned()])]);
        let access = Access::parse(include_str!("../../../config/mongodb/access.json"), &settings).unwrap();
        let ingest = access.roles.iter().find(|role| role.name.role == "ingest").unwrap();
        assert_eq!(ingest.name.db, "other");
        let events = Resource::Collections { db: "other".to_owned(), collection: "usage_analytics".to_owned() };
        assert_eq!(ingest.privileges[&events], BTreeSet::from(["find".to_owned(), "insert".to_owned()]));
        let sources = |name: &str| access.users.iter().find(|user| user.name == name).unwrap().client_source.len();
        assert_eq!((sources("ingest"), sources("aggregator")), (1, 0));
    }
}
