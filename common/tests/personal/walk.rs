//! The paths of all fields of a document, a validator and a JSON Schema: `a.b`, `a[]` in a list, `a.*` in a free map.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bson::{Bson, Document};
use serde_json::Value;

pub fn document(document: &Document) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    fields(document, "", &mut paths);
    paths
}

fn fields(document: &Document, prefix: &str, paths: &mut BTreeSet<String>) {
    assert!(!document.is_empty(), "the sample of {prefix} is empty: give it a field");
    for (name, value) in document {
        stored(value, format!("{prefix}{name}"), paths);
    }
}

fn stored(value: &Bson, path: String, paths: &mut BTreeSet<String>) {
    match value {
        Bson::Document(inner) => fields(inner, &format!("{path}."), paths),
        Bson::Array(values) => {
            assert!(!values.is_empty(), "the sample of {path} is empty: give it an element");
            values.iter().for_each(|value| stored(value, format!("{path}[]"), paths));
        }
        _ => {
            paths.insert(path);
        }
    }
}

pub fn validator(rule: &Document) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    allowed(rule, "", &mut paths);
    paths
}

fn allowed(rule: &Document, path: &str, paths: &mut BTreeSet<String>) {
    let has_type = |wanted: &str| match rule.get("bsonType") {
        Some(Bson::String(found)) => found == wanted,
        Some(Bson::Array(found)) => found.iter().any(|found| found.as_str() == Some(wanted)),
        _ => false,
    };
    let inside = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if has_type("object") {
        let named = rule.get_document("properties").ok();
        for (name, inner) in named.into_iter().flatten() {
            allowed(inner.as_document().unwrap(), &inside(name), paths);
        }
        match rule.get("additionalProperties") {
            Some(Bson::Document(inner)) => allowed(inner, &inside("*"), paths),
            _ if named.is_none() => _ = paths.insert(inside("*")),
            _ => {}
        }
    } else if has_type("array") {
        match rule.get_document("items") {
            Ok(inner) => allowed(inner, &format!("{path}[]"), paths),
            Err(_) => _ = paths.insert(format!("{path}[]")),
        }
    } else {
        paths.insert(path.to_owned());
    }
}

/// Of a file below docs/schemas, with the files that it refers to. `cloudevent.v1.json` refers to the others by type only: its
/// own paths are the attributes.
pub fn json_schema(file: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    let root = read(file);
    described(&root, &root, "", &mut paths);
    paths
}

fn read(file: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas").join(file);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn described(schema: &Value, root: &Value, path: &str, paths: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        return match reference.strip_prefix('#') {
            Some(pointer) => described(root.pointer(pointer).unwrap(), root, path, paths),
            None => {
                let other = read(reference);
                described(&other, &other, path, paths);
            }
        };
    }
    let inside = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    // A free value may be an object, and then has any fields.
    if schema["type"] == "object" || schema["additionalProperties"].is_object() {
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            described(inner, root, &inside(name), paths);
        }
        if schema["additionalProperties"] != false {
            paths.insert(inside("*"));
        }
    } else if schema["type"] == "array" {
        described(&schema["items"], root, &format!("{path}[]"), paths);
    } else {
        paths.insert(path.to_owned());
    }
}
