//! Every field of every document, validator and JSON Schema is in the register of personal fields, and docs/PRIVACY.md shows it.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

#[path = "personal/documents.rs"]
mod documents;
#[path = "personal/table.rs"]
mod table;
#[path = "personal/walk.rs"]
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use common::documents::{audit_entry, erasure, privacy_request};
use common::event::EventType;
use common::personal::{self, Action, Class, Export, Kept, Kind, Place, REGISTER, Rule};
use common::schema;

const SCHEMAS: [(&str, &str); 4] = [
    ("cloudevent.v1.json", "attributes of every event"),
    ("tool-usage.v1.json", EventType::ToolUsage.as_str()),
    ("activity.v1.json", EventType::Activity.as_str()),
    ("health-check.v1.json", EventType::HealthCheck.as_str()),
];

/// The paths that somebody may write, by place, each with where it was found.
fn found() -> BTreeMap<(Kind, String), BTreeMap<String, String>> {
    let mut found: BTreeMap<(Kind, String), BTreeMap<String, String>> = BTreeMap::new();
    let mut add = |kind, name: &str, paths: BTreeSet<String>, source: &str| {
        let place = found.entry((kind, name.to_owned())).or_default();
        for path in paths {
            place.entry(path).or_insert_with(|| source.to_owned());
        }
    };
    for (collection, document) in documents::samples() {
        add(Kind::Collection, collection, walk::document(&document), "its type in common/src/documents");
    }
    for collection in schema::wanted(true) {
        let rule = &collection.validator.as_ref().unwrap().rule;
        let paths = walk::validator(rule.get_document("$jsonSchema").unwrap());
        add(Kind::Collection, &collection.name, paths, "its validator in common/src/schema/validators.rs");
    }
    for (file, name) in SCHEMAS {
        add(Kind::Event, name, walk::json_schema(file), &format!("docs/schemas/{file}"));
    }
    found
}

/// Whether the register has the path, or what the map holds is written down field by field: a validator that lets every
/// field of `rollup` in says `rollup.*`.
fn is_classified(place: &Place, path: &str) -> bool {
    let before = path.strip_suffix('*').filter(|before| !before.is_empty());
    let is_written_down = before.is_some_and(|before| place.fields().any(|(known, _)| known.starts_with(before)));
    place.rule(path).is_some() || is_written_down
}

#[test]
fn every_field_is_classified() {
    let mut missing = Vec::new();
    for ((kind, name), paths) in found() {
        let Some(place) = personal::place(kind, &name) else {
            missing.push(format!(
                "{name} is not in the register: write a Place for it in a file of common/src/personal/, with its purpose, how \
                 long it is kept, the fields that hold a user's id, and a rule for each field, and name it in REGISTER \
                 (common/src/personal.rs)"
            ));
            continue;
        };
        for (path, source) in paths.iter().filter(|(path, _)| !is_classified(place, path)) {
            missing.push(format!(
                "{name}: the field {path} (of {source}) is not classified: write \"{path}\" into common/src/personal/, at the \
                 place {name:?}, into the paths of the rule that says what the field tells of a person (class) and what \
                 export, delete, anonymise and seal do with it; where no rule is right, write one"
            ));
        }
    }
    let count = missing.len();
    assert!(
        missing.is_empty(),
        "{count} not in the register of personal fields:\n- {}\nThen run ./dev docs.",
        missing.join("\n- ")
    );
}

#[test]
fn the_register_has_no_field_that_is_gone() {
    let found = found();
    for place in REGISTER.iter().filter(|place| matches!(place.kind, Kind::Collection | Kind::Event)) {
        let name = place.name;
        let paths = found.get(&(place.kind, name.to_owned()));
        let paths = paths.unwrap_or_else(|| panic!("{name} is in the register, and nowhere else: remove it there"));
        for (path, _) in place.fields() {
            let before = path.strip_suffix('*').filter(|before| !before.is_empty());
            let is_there =
                paths.keys().any(|known| known == path || before.is_some_and(|before| known.starts_with(before)));
            assert!(
                is_there,
                "{name}: {path} is in the register, and no document and no schema has it: remove it there"
            );
        }
    }
}

/// A wildcard classifies whatever comes: only where whatever may come.
#[test]
fn only_maps_are_classified_as_a_whole() {
    let found = found();
    for place in REGISTER.iter().filter(|place| matches!(place.kind, Kind::Collection | Kind::Event)) {
        for (path, _) in place.fields().filter(|(path, _)| path.contains('*')) {
            let paths = &found[&(place.kind, place.name.to_owned())];
            assert!(paths.contains_key(path), "{}: {path} is no map: name its fields one by one", place.name);
        }
    }
}

#[test]
fn documents_expire_when_the_register_says() {
    for collection in schema::wanted(true) {
        let expiring =
            collection.indexes.iter().find_map(|index| Some((index.expire_after?, index.keys[0].0.as_str())));
        let place =
            personal::place(Kind::Collection, &collection.name).expect("every_field_is_classified says what to do");
        let registered = match place.kept {
            Kept::For(duration, field) => Some((duration, field)),
            Kept::WithTheAccount | Kept::Forever | Kept::Until(_) => None,
        };
        assert_eq!(registered, expiring, "{}: common/src/personal and common/src/schema.rs differ", collection.name);
    }
}

#[test]
fn every_field_is_there_once() {
    let mut places = BTreeSet::new();
    for place in REGISTER {
        assert!(places.insert((place.kind, place.name)), "{} is there twice", place.name);
        let mut paths = BTreeSet::new();
        for (path, _) in place.fields() {
            assert!(paths.insert(path), "{}: {path} is there twice", place.name);
        }
    }
}

#[test]
fn what_finds_a_person_is_an_identifier_and_known() {
    for place in REGISTER {
        let rules = place.people.iter().map(|path| (path, place.rule(path)));
        for (path, rule) in rules {
            assert_eq!(rule.map(|rule| rule.class), Some(Class::Identifier), "{}: {path}", place.name);
        }
        for (_, rule) in place.fields() {
            if let Export::WrittenWhere(links) = rule.export {
                assert!(links.iter().all(|link| place.people.contains(link)), "{}: {links:?}", place.name);
            }
        }
    }
}

fn is_about_people(rule: &Rule) -> bool {
    matches!(rule.class, Class::Identifier | Class::Personal)
}

#[test]
fn no_secret_is_exported_and_nothing_personal_outlives_an_erasure() {
    for place in REGISTER.iter().filter(|place| place.kind == Kind::Collection) {
        for (path, rule) in place.fields() {
            let name = place.name;
            let is_exported = !matches!(rule.export, Export::LeftOut | Export::NotConcerned);
            assert!(rule.class != Class::Secret || !is_exported, "{name}: {path}");
            // Digests outlive a person: by these a replay and a restored backup bring nobody back, and nobody may change the
            // audit log.
            if [erasure::COLLECTION, privacy_request::COLLECTION, audit_entry::COLLECTION].contains(&name) {
                continue;
            }
            assert!(!is_about_people(rule) || rule.delete != Action::Keep, "{name}: {path}");
            // Under a pseudonym, a plan or a day's numbers tell of nobody.
            assert!(rule.class != Class::Identifier || rule.anonymise != Action::Keep, "{name}: {path}");
        }
    }
}

#[test]
fn what_anonymise_leaves_of_an_event_is_what_a_sealed_day_leaves() {
    for name in [EventType::ToolUsage, EventType::Activity].map(EventType::collection) {
        for (path, rule) in personal::place(Kind::Collection, name).unwrap().fields() {
            // Only the pseudonym is another: of the erasure in place of the day.
            let is_pseudonym = rule.anonymise == Action::PseudonymOfErasure && rule.seal == Action::Pseudonym;
            assert!(is_pseudonym || rule.anonymise == rule.seal, "{name}: {path}");
            assert_eq!(rule.seal != Action::Keep, is_about_people(rule), "{name}: {path}");
        }
    }
}

#[test]
fn privacy_shows_the_register() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/PRIVACY.md");
    let written = std::fs::read_to_string(&path).unwrap();
    let current = table::replaced(&written);
    if std::env::var_os("DEVTOOLKIT_WRITE_DOCS").is_some() {
        std::fs::write(&path, current).unwrap();
        return;
    }
    let changed = current.lines().find(|line| !written.lines().any(|known| known == *line));
    assert!(written == current, "docs/PRIVACY.md is not current: run ./dev docs; for one, it lacks {changed:?}");
}
