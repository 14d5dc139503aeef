//! The changes that lead from the schema a server has to the one that is wanted. No I/O.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use bson::{Bson, Document};

use super::{Collection, Index, Validator};

/// One step; each can be carried out on its own, in the order of the list.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The collection is missing.
    CreateCollection {
        /// Its name.
        collection: String,
        /// What it is created with.
        validator: Option<Validator>,
    },
    /// The validator is missing, differs, or is not wanted.
    SetValidator {
        /// The collection's name.
        collection: String,
        /// What it has.
        before: Option<Validator>,
        /// What it gets.
        validator: Option<Validator>,
    },
    /// The index is missing.
    CreateIndex {
        /// The collection's name.
        collection: String,
        /// What it gets.
        index: Index,
    },
    /// The index differs in something that only a new one can have: it is dropped and created.
    ReplaceIndex {
        /// The collection's name.
        collection: String,
        /// What is dropped.
        before: Index,
        /// What is created.
        index: Index,
    },
    /// The index differs in nothing but the time its documents are kept.
    SetExpiry {
        /// The collection's name.
        collection: String,
        /// What it has, under the name it has.
        before: Index,
        /// How long documents are to be kept.
        expire_after: Duration,
    },
}

/// An index that is there although nothing wants it. It is left alone: somebody made it for a reason.
#[derive(Clone, Debug, PartialEq)]
pub struct UnknownIndex {
    /// The collection's name.
    pub collection: String,
    /// The index.
    pub index: Index,
}

/// What a server lacks, and what it has besides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    /// What to change, in order.
    pub changes: Vec<Change>,
    /// What to report.
    pub unknown_indexes: Vec<UnknownIndex>,
}

/// Compares the collections that are wanted with the ones that are there. Collections that nothing wants are ignored.
pub fn diff(wanted: &[Collection], actual: &[Collection]) -> Difference {
    let mut difference = Difference::default();
    for collection in wanted {
        match actual.iter().find(|found| found.name == collection.name) {
            Some(found) => {
                diff_validator(collection, found, &mut difference);
                diff_indexes(collection, found, &mut difference);
            }
            None => create(collection, &mut difference),
        }
    }
    difference
}

fn create(wanted: &Collection, difference: &mut Difference) {
    let collection = &wanted.name;
    difference
        .changes
        .push(Change::CreateCollection { collection: collection.clone(), validator: wanted.validator.clone() });
    for index in &wanted.indexes {
        difference.changes.push(Change::CreateIndex { collection: collection.clone(), index: index.clone() });
    }
}

fn diff_validator(wanted: &Collection, actual: &Collection, difference: &mut Difference) {
    if wanted.validator != actual.validator {
        difference.changes.push(Change::SetValidator {
            collection: wanted.name.clone(),
            before: actual.validator.clone(),
            validator: wanted.validator.clone(),
        });
    }
}

fn diff_indexes(wanted: &Collection, actual: &Collection, difference: &mut Difference) {
    let mut unknown: Vec<&Index> = actual.indexes.iter().collect();
    for index in &wanted.indexes {
        let bears_anothers_name =
            |found: &Index| found.name != index.name && wanted.indexes.iter().any(|other| other.name == found.name);
        let is_in_place = |found: &Index| is_equal(index, found) && !bears_anothers_name(found);
        let Some(position) = counterpart(index, &unknown, is_in_place) else {
            difference.changes.push(Change::CreateIndex { collection: wanted.name.clone(), index: index.clone() });
            continue;
        };
        let found = unknown.swap_remove(position);
        if is_in_place(found) {
            continue;
        }
        let collection = wanted.name.clone();
        let before = found.clone();
        difference.changes.push(match index.expire_after {
            Some(expire_after) if is_in_place(&Index { expire_after: index.expire_after, ..before.clone() }) => {
                Change::SetExpiry { collection, before, expire_after }
            }
            _ => Change::ReplaceIndex { collection, before, index: index.clone() },
        });
    }
    unknown.sort_by(|left, right| left.name.cmp(&right.name));
    difference.unknown_indexes.extend(
        unknown.into_iter().map(|index| UnknownIndex { collection: wanted.name.clone(), index: index.clone() }),
    );
}

/// The index that is, or was meant to be, the wanted one: the same, under any name that is free for it; else the one that
/// bears the wanted name, which has to make room; else one on the same keys, unless it is a special one that somebody
/// made beside ours (partial, with a collation). In this order, no index is created while its name is still taken.
fn counterpart(wanted: &Index, candidates: &[&Index], is_in_place: impl Fn(&Index) -> bool) -> Option<usize> {
    let position = |is_it: &dyn Fn(&Index) -> bool| candidates.iter().position(|index| is_it(index));
    position(&is_in_place)
        .or_else(|| position(&|index| index.name == wanted.name))
        .or_else(|| position(&|index| index.keys == wanted.keys && index.other.is_empty()))
}

/// Names do not count: a server refuses a second index that differs in nothing but its name.
fn is_equal(wanted: &Index, actual: &Index) -> bool {
    Index { name: String::new(), ..wanted.clone() } == Index { name: String::new(), ..actual.clone() }
}

impl Change {
    /// What is changed, such as `index users.email_1`.
    pub fn what(&self) -> String {
        match self {
            Self::CreateCollection { collection, .. } => format!("collection {collection}"),
            Self::SetValidator { collection, .. } => format!("validator {collection}"),
            Self::CreateIndex { collection, index } => format!("index {collection}.{}", index.name),
            Self::ReplaceIndex { collection, before, .. } | Self::SetExpiry { collection, before, .. } => {
                format!("index {collection}.{}", before.name)
            }
        }
    }

    /// What is done to it, in one word.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::CreateCollection { .. } | Self::CreateIndex { .. } => "created",
            Self::SetValidator { before: None, .. } => "added",
            Self::SetValidator { validator: None, .. } => "removed",
            Self::SetValidator { .. } | Self::SetExpiry { .. } => "changed",
            Self::ReplaceIndex { .. } => "replaced",
        }
    }

    /// How it is to be, and how it was.
    pub fn detail(&self) -> String {
        match self {
            Self::CreateCollection { validator: Some(_), .. } => "with a validator".into(),
            Self::CreateCollection { validator: None, .. } => "without a validator".into(),
            Self::SetValidator { before, validator, .. } => describe_rule_change(before.as_ref(), validator.as_ref()),
            Self::CreateIndex { index, .. } => index.to_string(),
            Self::ReplaceIndex { before, index, .. } if before.name == index.name => format!("{index}; was {before}"),
            Self::ReplaceIndex { before, index, .. } => format!("{index} named {}; was {before}", index.name),
            Self::SetExpiry { before, expire_after, .. } => {
                let was = before.expire_after.map_or_else(|| "never".into(), human);
                format!("expires after {}; was {was}", human(*expire_after))
            }
        }
    }
}

impl fmt::Display for Index {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self.keys.iter().map(|(field, kind)| format!("{field}: {kind}")).collect();
        write!(formatter, "{{ {} }}", keys.join(", "))?;
        if self.unique {
            write!(formatter, ", unique")?;
        }
        if self.sparse {
            write!(formatter, ", sparse")?;
        }
        if let Some(expire_after) = self.expire_after {
            write!(formatter, ", expires after {}", human(expire_after))?;
        }
        for (option, value) in &self.other {
            write!(formatter, ", {option}: {value}")?;
        }
        Ok(())
    }
}

/// Whole days where it is some, else seconds.
fn human(duration: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    match duration.as_secs() {
        seconds if seconds > 0 && seconds.is_multiple_of(DAY) => format!("{} days", seconds / DAY),
        seconds => format!("{seconds} s"),
    }
}

/// Names the places of the rule that differ, since the rules themselves fill pages.
fn describe_rule_change(before: Option<&Validator>, after: Option<&Validator>) -> String {
    let (Some(before), Some(after)) = (before, after) else {
        return if after.is_some() { "there was none".into() } else { "none is wanted".into() };
    };
    let mut places = BTreeSet::new();
    collect_differences(&before.rule, &after.rule, "", &mut places);
    if before.level != after.level {
        places.insert(format!("validationLevel {} (was {})", after.level, before.level));
    }
    if before.action != after.action {
        places.insert(format!("validationAction {} (was {})", after.action, before.action));
    }
    const SHOWN: usize = 4;
    let more = places.len().saturating_sub(SHOWN);
    let mut shown = places.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 {
        shown.push_str(&format!(" and {more} more"));
    }
    format!("differed in {shown}")
}

/// Paths of the documents the rule is for (`subscription.plan enum`): the schema's own `properties` steps are left out.
fn collect_differences(before: &Document, after: &Document, path: &str, places: &mut BTreeSet<String>) {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for key in keys {
        let (old, new) = (before.get(key), after.get(key));
        if old == new {
            continue;
        }
        let here = match key.as_str() {
            "$jsonSchema" | "properties" => path.to_owned(),
            "bsonType" | "enum" | "required" | "pattern" | "minimum" | "items" | "additionalProperties" => {
                format!("{path} {key}")
            }
            field if path.is_empty() => field.to_owned(),
            field => format!("{path}.{field}"),
        };
        match (old, new) {
            (Some(Bson::Document(old)), Some(Bson::Document(new))) => collect_differences(old, new, &here, places),
            _ => {
                places.insert(here.trim().to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;
    use crate::schema::wanted;

    fn one(name: &str) -> Collection {
        wanted(true).into_iter().find(|collection| collection.name == name).unwrap()
    }

    fn index<'a>(collection: &'a mut Collection, name: &str) -> &'a mut Index {
        collection.indexes.iter_mut().find(|index| index.name == name).unwrap()
    }

    fn told(change: &Change) -> String {
        format!("{} {}: {}", change.what(), change.verb(), change.detail())
    }

    #[test]
    fn an_empty_server_gets_everything_in_order() {
        let difference = diff(&wanted(false), &[]);
        let indexes: usize = wanted(false).iter().map(|collection| collection.indexes.len()).sum();
        assert_eq!(difference.changes.len(), wanted(false).len() + indexes);
        assert_eq!(told(&difference.changes[0]), "collection users created: with a validator");
        assert_eq!(told(&difference.changes[1]), "index users.email_1 created: { email: 1 }, unique");
        assert_eq!(difference.unknown_indexes, []);
    }

    #[test]
    fn a_server_that_has_everything_gets_nothing() {
        for validator_on_event_collections in [false, true] {
            let wanted = wanted(validator_on_event_collections);
            assert_eq!(diff(&wanted, &wanted), Difference::default());
        }
    }

    #[test]
    fn a_changed_expiry_is_set_without_a_new_index() {
        let mut actual = one("usage_analytics");
        index(&mut actual, "timestamp_1").expire_after = Some(Duration::from_secs(60));
        let changes = diff(&[one("usage_analytics")], &[actual]).changes;
        assert_eq!(changes.len(), 1);
        assert_eq!(told(&changes[0]), "index usage_analytics.timestamp_1 changed: expires after 365 days; was 60 s");
    }

    #[test]
    fn an_index_that_did_not_expire_starts_to() {
        let mut actual = one("sessions");
        index(&mut actual, "expiresAt_1").expire_after = None;
        let changes = diff(&[one("sessions")], &[actual]).changes;
        assert_eq!(changes.len(), 1);
        assert_eq!(told(&changes[0]), "index sessions.expiresAt_1 changed: expires after 0 s; was never");
    }

    #[test]
    fn an_index_that_must_not_expire_is_replaced() {
        let mut actual = one("users");
        index(&mut actual, "metadata.createdAt_1").expire_after = Some(Duration::from_secs(60));
        let changes = diff(&[one("users")], &[actual]).changes;
        assert!(matches!(&changes[..], [Change::ReplaceIndex { .. }]), "{changes:?}");
    }

    #[test]
    fn a_changed_option_replaces_the_index() {
        let mut actual = one("users");
        index(&mut actual, "email_1").unique = false;
        let changes = diff(&[one("users")], &[actual]).changes;
        assert_eq!(changes.len(), 1);
        assert_eq!(told(&changes[0]), "index users.email_1 replaced: { email: 1 }, unique; was { email: 1 }");
    }

    #[test]
    fn other_keys_under_the_wanted_name_replace_the_index() {
        let mut actual = one("users");
        index(&mut actual, "role_1").keys = vec![("role".into(), Bson::Int32(-1))];
        let changes = diff(&[one("users")], &[actual]).changes;
        assert_eq!(changes.len(), 1);
        assert_eq!(told(&changes[0]), "index users.role_1 replaced: { role: 1 }; was { role: -1 }");
    }

    #[test]
    fn the_order_of_keys_counts() {
        let mut actual = one("usage_analytics");
        index(&mut actual, "userId_1_timestamp_1").keys.reverse();
        let changes = diff(&[one("usage_analytics")], &[actual]).changes;
        assert!(matches!(&changes[..], [Change::ReplaceIndex { .. }]), "{changes:?}");
    }

    #[test]
    fn the_wanted_index_under_another_name_is_fine() {
        let mut actual = one("users");
        index(&mut actual, "role_1").name = "by_role".into();
        assert_eq!(diff(&[one("users")], &[actual]), Difference::default());
    }

    #[test]
    fn an_index_hidden_by_somebody_is_replaced() {
        let mut actual = one("users");
        index(&mut actual, "role_1").other = doc! { "hidden": true };
        let changes = diff(&[one("users")], &[actual]).changes;
        assert!(matches!(&changes[..], [Change::ReplaceIndex { .. }]), "{changes:?}");
    }

    #[test]
    fn unknown_indexes_are_reported_and_kept() {
        let mut actual = one("users");
        let foreign = Index::on(["profile.lastName"]);
        let partial =
            Index { name: "open".into(), other: doc! { "partialFilterExpression": { "a": 1 } }, ..Index::on(["role"]) };
        actual.indexes.extend([partial.clone(), foreign.clone()]);
        let difference = diff(&[one("users")], &[actual]);
        assert_eq!(difference.changes, []);
        let unknown: Vec<_> = difference.unknown_indexes.into_iter().map(|unknown| unknown.index).collect();
        assert_eq!(unknown, [partial, foreign]);
    }

    #[test]
    fn a_special_index_of_somebody_else_does_not_stand_in_for_ours() {
        let mut actual = one("users");
        actual.indexes.retain(|index| index.name != "role_1");
        let partial =
            Index { name: "open".into(), other: doc! { "partialFilterExpression": { "a": 1 } }, ..Index::on(["role"]) };
        actual.indexes.push(partial);
        let difference = diff(&[one("users")], &[actual]);
        assert!(matches!(&difference.changes[..], [Change::CreateIndex { .. }]), "{difference:?}");
        assert_eq!(difference.unknown_indexes.len(), 1);
    }

    #[test]
    fn a_changed_validator_names_what_differed() {
        let mut actual = one("users");
        let validator = actual.validator.as_mut().unwrap();
        let schema = validator.rule.get_document_mut("$jsonSchema").unwrap();
        schema.insert("required", ["email"].as_slice());
        let properties = schema.get_document_mut("properties").unwrap();
        properties.insert("role", doc! { "bsonType": "string", "enum": ["user"] });
        validator.action = "warn".into();
        let changes = diff(&[one("users")], &[actual]).changes;
        assert_eq!(changes.len(), 1);
        assert_eq!(
            told(&changes[0]),
            "validator users changed: differed in required, role enum, validationAction error (was warn)"
        );
    }

    #[test]
    fn a_validator_comes_and_goes() {
        let (with, without) = (one("health_checks"), Collection { validator: None, ..one("health_checks") });
        let told_of = |wanted: &Collection, actual: &Collection| {
            diff(std::slice::from_ref(wanted), std::slice::from_ref(actual))
                .changes
                .iter()
                .map(told)
                .collect::<Vec<_>>()
        };
        assert_eq!(told_of(&with, &without), ["validator health_checks added: there was none"]);
        assert_eq!(told_of(&without, &with), ["validator health_checks removed: none is wanted"]);
    }

    #[test]
    fn collections_of_others_are_ignored() {
        let mut actual = wanted(true);
        actual.push(Collection { name: "invoices".into(), indexes: vec![], validator: None });
        assert_eq!(diff(&wanted(true), &actual), Difference::default());
    }

    /// Applying the changes on paper leads to the wanted schema, from whatever mix of missing and changed parts.
    #[test]
    fn after_the_changes_nothing_differs() {
        use proptest::prelude::{ProptestConfig, any, prop, proptest};
        proptest!(ProptestConfig::with_cases(500), |(damage in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..30))| {
            let wanted = wanted(true);
            let mut actual = wanted.clone();
            for (which, kind) in damage {
                if actual.is_empty() { break }
                let at = which.index(actual.len());
                let collection = &mut actual[at];
                match kind % 8 {
                    0 => { actual.remove(at); }
                    1 => collection.validator = None,
                    2 => { collection.indexes.pop(); }
                    3 => collection.indexes.iter_mut().for_each(|index| index.unique ^= true),
                    4 => collection.indexes.iter_mut().for_each(|index| index.expire_after = Some(Duration::from_secs(7))),
                    5 => collection.indexes.iter_mut().for_each(|index| index.keys.reverse()),
                    6 => collection.indexes.iter_mut().for_each(|index| index.name.push('x')),
                    _ => {
                        let names: Vec<String> = collection.indexes.iter().map(|index| index.name.clone()).collect();
                        collection.indexes.iter_mut().zip(names.into_iter().cycle().skip(1)).for_each(|(index, name)| index.name = name);
                    }
                }
            }
            let difference = diff(&wanted, &actual);
            for change in difference.changes {
                apply_on_paper(change, &mut actual);
            }
            assert_eq!(diff(&wanted, &actual).changes, []);
        });
    }

    fn apply_on_paper(change: Change, actual: &mut Vec<Collection>) {
        let find =
            |actual: &mut Vec<Collection>, name: &str| actual.iter().position(|found| found.name == name).unwrap();
        match change {
            Change::CreateCollection { collection, validator } => {
                actual.push(Collection { name: collection, indexes: vec![], validator });
            }
            Change::SetValidator { collection, validator, .. } => {
                let at = find(actual, &collection);
                actual[at].validator = validator;
            }
            Change::CreateIndex { collection, index } => {
                let at = find(actual, &collection);
                assert!(actual[at].indexes.iter().all(|found| found.name != index.name), "the name is taken");
                actual[at].indexes.push(index);
            }
            Change::ReplaceIndex { collection, before, index } => {
                let at = find(actual, &collection);
                actual[at].indexes.retain(|found| *found != before);
                assert!(actual[at].indexes.iter().all(|found| found.name != index.name), "the name is taken");
                actual[at].indexes.push(index);
            }
            Change::SetExpiry { collection, before, expire_after } => {
                let at = find(actual, &collection);
                let found = actual[at].indexes.iter_mut().find(|found| **found == before).unwrap();
                found.expire_after = Some(expire_after);
            }
        }
    }
}
