//! What differs between the roles and users that are wanted and those that are there. Pure.

use std::collections::BTreeSet;

use super::found::{Found, FoundUser};
use super::wanted::{Access, Privileges, Resource, Role, User};

/// The one way to sign in.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// A role or a user that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is not there.
    CreateRole(Role),
    /// It is another.
    UpdateRole {
        /// As it is to be.
        wanted: Role,
        /// What differs.
        differs: Vec<String>,
    },
    /// It is not there.
    CreateUser(User),
    /// It is another.
    UpdateUser {
        /// As it is to be.
        wanted: User,
        /// What differs.
        differs: Vec<String>,
    },
}

impl Change {
    /// The role or the user.
    pub fn what(&self) -> String {
        match self {
            Self::CreateRole(wanted) | Self::UpdateRole { wanted, .. } => {
                format!("role {}@{}", wanted.name.role, wanted.name.db)
            }
            Self::CreateUser(wanted) | Self::UpdateUser { wanted, .. } => format!("user {}", wanted.name),
        }
    }

    /// What differs.
    pub fn detail(&self) -> String {
        match self {
            Self::CreateRole(_) | Self::CreateUser(_) => "is missing".to_owned(),
            Self::UpdateRole { differs, .. } | Self::UpdateUser { differs, .. } => differs.join("; "),
        }
    }
}

/// Roles first, in the order of the file: a user needs its roles, and a role those that it names.
pub fn differences(wanted: &Access, found: &Found) -> Vec<Change> {
    let roles = wanted.roles.iter().filter_map(|role| match found.roles.get(&role.name) {
        None => Some(Change::CreateRole(role.clone())),
        Some(found) => {
            let mut differs = privileges(&role.privileges, &found.privileges);
            differs.extend(names("the role", &role.roles, &found.roles, |role| format!("{}@{}", role.role, role.db)));
            (!differs.is_empty()).then(|| Change::UpdateRole { wanted: role.clone(), differs })
        }
    });
    let users = wanted.users.iter().filter_map(|user| match found.users.get(&user.name) {
        None => Some(Change::CreateUser(user.clone())),
        Some(found) => {
            let differs = user_differs(user, found);
            (!differs.is_empty()).then(|| Change::UpdateUser { wanted: user.clone(), differs })
        }
    });
    roles.chain(users).collect()
}

fn user_differs(wanted: &User, found: &FoundUser) -> Vec<String> {
    let mut differs = names("the role", &wanted.roles, &found.user.roles, |role| format!("{}@{}", role.role, role.db));
    differs.extend(names("the address range", &wanted.client_source, &found.user.client_source, Clone::clone));
    let mechanism = BTreeSet::from([MECHANISM.to_owned()]);
    differs.extend(names("the mechanism", &mechanism, &found.mechanisms, Clone::clone));
    differs
}

fn names<T: Ord>(kind: &str, wanted: &BTreeSet<T>, found: &BTreeSet<T>, name: impl Fn(&T) -> String) -> Vec<String> {
    let lacks = wanted.difference(found).map(|item| format!("lacks {kind} {}", name(item)));
    let more: Vec<String> = found.difference(wanted).map(|item| format!("has {kind} {}, too", name(item))).collect();
    lacks.chain(more).collect()
}

fn privileges(wanted: &Privileges, found: &Privileges) -> Vec<String> {
    let resources: BTreeSet<&Resource> = wanted.keys().chain(found.keys()).collect();
    let none = BTreeSet::new();
    let mut differs = Vec::new();
    for resource in resources {
        let (wanted, found) = (wanted.get(resource).unwrap_or(&none), found.get(resource).unwrap_or(&none));
        let on = match resource {
            Resource::Cluster { .. } => "the cluster".to_owned(),
            Resource::Everything { .. } => "everything".to_owned(),
            Resource::Collections { db, collection } if collection.is_empty() => {
                format!("all collections of {}", if db.is_empty() { "all databases" } else { db })
            }
            Resource::Collections { db, collection } => format!("{db}.{collection}"),
        };
        let list = |actions: Vec<&String>| actions.into_iter().cloned().collect::<Vec<_>>().join(", ");
        let lacks: Vec<&String> = wanted.difference(found).collect();
        if !lacks.is_empty() {
            differs.push(format!("lacks {} on {on}", list(lacks)));
        }
        let more: Vec<&String> = found.difference(wanted).collect();
        if !more.is_empty() {
            differs.push(format!("may {} on {on}, too", list(more)));
        }
    }
    differs
}

#[cfg(test)]
mod tests {
    use super::super::wanted::RoleName;
    use super::*;

    fn role(actions: &[&str]) -> Role {
        let resource = Resource::Collections { db: "d".to_owned(), collection: "c".to_owned() };
        let actions = actions.iter().map(|action| (*action).to_owned()).collect();
        Role {
            name: RoleName { role: "r".to_owned(), db: "d".to_owned() },
            privileges: Privileges::from([(resource, actions)]),
            roles: BTreeSet::new(),
        }
    }

    #[test]
    fn rights_that_are_missing_and_rights_that_are_too_many_are_named() {
        let wanted = Access { roles: vec![role(&["find", "insert"])], users: vec![] };
        let with = |actions: &[&str]| Found {
            roles: [(wanted.roles[0].name.clone(), role(actions))].into(),
            ..Found::default()
        };
        assert_eq!(differences(&wanted, &with(&["find", "insert"])), []);
        let changes = differences(&wanted, &with(&["find", "remove"]));
        assert_eq!(changes[0].detail(), "lacks insert on d.c; may remove on d.c, too");
        assert_eq!(differences(&wanted, &Found::default()), [Change::CreateRole(role(&["find", "insert"]))]);
    }

    #[test]
    fn a_user_signs_in_from_its_addresses_and_in_one_way() {
        let user = |source: &str| User {
            name: "u".to_owned(),
            roles: BTreeSet::new(),
            client_source: BTreeSet::from([source.to_owned()]),
        };
        let wanted = Access { roles: vec![], users: vec![user("10.0.0.0/8")] };
        let mechanisms = BTreeSet::from(["SCRAM-SHA-1".to_owned(), MECHANISM.to_owned()]);
        let found = FoundUser { user: user("0.0.0.0/0"), mechanisms };
        let found = Found { users: [("u".to_owned(), found)].into(), ..Found::default() };
        let detail = differences(&wanted, &found)[0].detail();
        assert_eq!(
            detail,
            "lacks the address range 10.0.0.0/8; has the address range 0.0.0.0/0, too; has the mechanism SCRAM-SHA-1, too"
        );
    }
}
