//! What differs between the rights that are wanted and those that there are. Pure.

use std::collections::BTreeSet;

use super::acl::Acl;

/// Kafka's name for everybody.
const EVERYBODY: &str = "User:*";

/// What differs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// To be created.
    pub missing: Vec<Acl>,
    /// Of the file's principals, to be removed.
    pub excess: Vec<Acl>,
    /// Of everybody, on what the file is about: reported only, because other programs may need them.
    pub of_everybody: Vec<Acl>,
}

impl Difference {
    /// Principal and difference of each.
    pub fn lines(&self) -> Vec<(&str, String)> {
        let verb = |acl: &Acl| if acl.is_allowed { "may" } else { "is denied" };
        let missing = self.missing.iter().map(|acl| (acl.principal.as_str(), format!("lacks {acl}")));
        let excess = self.excess.iter().map(|acl| (acl.principal.as_str(), format!("{} {acl}, too", verb(acl))));
        let of_everybody = self.of_everybody.iter().map(|acl| {
            (acl.principal.as_str(), format!("may {acl}: remove it with kafka-acls.sh if nobody else needs it"))
        });
        missing.chain(excess).chain(of_everybody).collect()
    }
}

/// Compares. Principals that are not in the file are left alone.
pub fn difference(wanted: &BTreeSet<Acl>, found: &BTreeSet<Acl>) -> Difference {
    let is_ours = |acl: &&Acl| wanted.iter().any(|known| known.principal == acl.principal);
    let concerns = |acl: &&Acl| {
        let covers = |known: &Acl| {
            known.kind == acl.kind
                && (acl.name == "*" || acl.name == known.name || (acl.is_prefix && known.name.starts_with(&acl.name)))
        };
        acl.principal == EVERYBODY && acl.is_allowed && wanted.iter().any(covers)
    };
    Difference {
        missing: wanted.difference(found).cloned().collect(),
        excess: found.difference(wanted).filter(is_ours).cloned().collect(),
        of_everybody: found.iter().filter(concerns).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::acl::{Kind, Operation};
    use super::*;

    fn acl(principal: &str, name: &str, operation: Operation) -> Acl {
        Acl {
            principal: principal.to_owned(),
            kind: Kind::Topic,
            name: name.to_owned(),
            is_prefix: false,
            operation,
            host: "*".to_owned(),
            is_allowed: true,
        }
    }

    #[test]
    fn too_few_rights_too_many_and_those_of_everybody_are_named() {
        let wanted = BTreeSet::from([acl("User:tools", "events", Operation::Write)]);
        assert_eq!(difference(&wanted, &wanted), Difference::default());
        let prefixed = Acl { is_prefix: true, ..acl("User:*", "ev", Operation::Read) };
        let denied = Acl { is_allowed: false, ..acl("User:tools", "events", Operation::Describe) };
        let found = BTreeSet::from([
            acl("User:tools", "events", Operation::Read),
            denied,
            acl("User:other", "events", Operation::All),
            acl("User:*", "*", Operation::Read),
            acl("User:*", "others", Operation::Read),
            prefixed,
        ]);
        let said: Vec<String> = difference(&wanted, &found).lines().into_iter().map(|(_, line)| line).collect();
        let everybodys = "remove it with kafka-acls.sh if nobody else needs it";
        assert_eq!(
            said,
            [
                "lacks Write on topic events".to_owned(),
                "may Read on topic events, too".to_owned(),
                "is denied Describe on topic events, too".to_owned(),
                format!("may Read on topic *: {everybodys}"),
                format!("may Read on topic ev…: {everybodys}"),
            ]
        );
    }
}
