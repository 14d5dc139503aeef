//! What an operation of the profiler looks like without its values: names of fields and operators, nothing else.

use bson::{Bson, Document};
use common::text::shortened;

const MOST_CHARACTERS: usize = 1_000;

/// What stands for a value, and for a field's name that may be one.
const VALUE: &str = "?";

/// The command's name, and its shape: `("find", "{ userId: ?, timestamp: { $gte: ? } } sort { timestamp: -1 }")`.
pub(super) fn of(profiled: &Document) -> (String, String) {
    let command = |name: &str| profiled.get_document(name).ok().filter(|command| !command.is_empty());
    let (prefix, command) = match (command("originatingCommand"), command("command")) {
        (Some(original), _) => ("getMore ", original),
        (None, Some(command)) => ("", command),
        (None, None) => ("", &Document::new()),
    };
    let operation = match command.keys().next().map(String::as_str) {
        // Single updates and deletes of a command: only the profiler's own word names them.
        Some("q") | None => profiled.get_str("op").map(name).unwrap_or_default(),
        // The text of a command that is too long for the profiler, values and all.
        Some("$truncated") => return (profiled.get_str("op").map(name).unwrap_or_default(), "(too long)".to_owned()),
        Some(command) => name(command),
    };
    let parts = ["key", "filter", "query", "q", "pipeline", "u", "update", "sort"];
    let parts = parts.into_iter().filter_map(|part| match (part, command.get(part)?) {
        ("key", Bson::String(field)) => Some(name(field)),
        ("sort", Bson::Document(order)) if !order.is_empty() => Some(format!("sort {}", fields(order, direction))),
        ("key" | "sort", _) => None,
        (_, Bson::Document(_) | Bson::Array(_)) => command.get(part).map(value),
        _ => None,
    });
    let shape = parts.collect::<Vec<_>>().join(" ");
    (format!("{prefix}{operation}"), shortened(&shape, MOST_CHARACTERS))
}

fn value(of: &Bson) -> String {
    match of {
        Bson::Document(document) => fields(document, value),
        Bson::Array(items) => {
            // However many alternatives there are, the query is the same.
            let mut shapes: Vec<String> = items.iter().map(value).collect();
            shapes.dedup();
            format!("[{}]", shapes.join(", "))
        }
        _ => VALUE.to_owned(),
    }
}

fn fields(document: &Document, shape: fn(&Bson) -> String) -> String {
    if document.is_empty() {
        return "{}".to_owned();
    }
    let fields = document.iter().map(|(field, inner)| match (field.as_str(), inner) {
        ("$sort", Bson::Document(order)) => format!("$sort: {}", fields(order, direction)),
        (field, inner) => format!("{}: {}", name(field), shape(inner)),
    });
    format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
}

fn direction(of: &Bson) -> String {
    match of {
        Bson::Int32(1) | Bson::Int64(1) | Bson::Double(1.0) => "1".to_owned(),
        Bson::Int32(-1) | Bson::Int64(-1) | Bson::Double(-1.0) => "-1".to_owned(),
        other => value(other),
    }
}

/// A path of names, as it is or not at all. Where documents are used as maps, keys are values: addresses, ids and numbers
/// are no names, and neither is what stands beside them.
fn name(path: &str) -> String {
    let is_position = |part: &str| (1..=2).contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_digit());
    let is_name = |part: &str| {
        part.len() <= 40
            && part.starts_with(|first: char| first.is_ascii_alphabetic() || "$_".contains(first))
            && part.chars().all(|letter| letter.is_ascii_alphanumeric() || "$_-".contains(letter))
            && part.chars().filter(char::is_ascii_digit).count() <= 3
    };
    let is_shown = path.split('.').all(|part| is_name(part) || is_position(part));
    if is_shown { path.to_owned() } else { VALUE.to_owned() }
}

#[cfg(test)]
mod tests {
    use bson::{doc, oid::ObjectId};

    use super::*;

    fn shape(command: Document) -> (String, String) {
        of(&doc! { "op": "command", "command": command })
    }

    #[test]
    fn names_and_operators_stay() {
        let (operation, shape) = shape(doc! {
            "find": "users",
            "filter": { "email": "secret", "$or": [{ "a": 1 }, { "a": 2 }, { "b.c": { "$in": ["x", "y"] } }] },
            "sort": { "timestamp": -1, "score": { "$meta": "textScore" } },
            "comment": "secret",
        });
        assert_eq!(operation, "find");
        assert_eq!(
            shape,
            "{ email: ?, $or: [{ a: ? }, { b.c: { $in: [?] } }] } sort { timestamp: -1, score: { $meta: ? } }"
        );
    }

    #[test]
    fn stages_stay_in_order() {
        let pipeline = vec![
            doc! { "$match": { "action": "secret" } },
            doc! { "$group": { "_id": "$userId", "n": { "$sum": 1 } } },
            doc! { "$sort": { "n": -1 } },
            doc! { "$limit": 5 },
        ];
        let expected =
            "[{ $match: { action: ? } }, { $group: { _id: ?, n: { $sum: ? } } }, { $sort: { n: -1 } }, { $limit: ? }]";
        assert_eq!(shape(doc! { "aggregate": "x", "pipeline": pipeline }), ("aggregate".into(), expected.into()));
    }

    #[test]
    fn keys_that_are_values_are_no_names() {
        let id = ObjectId::from_bytes([0xa4; 12]).to_hex();
        let shape = |key: &str| of(&doc! { "op": "update", "command": { "q": {}, "u": { "$inc": { key: 1 } } } }).1;
        for key in
            ["votes.alice.smith@example.com", &format!("votes.{id}"), "votes.123", "votes.10-0-0-1", "a\u{1b}[2J", ""]
        {
            assert_eq!(shape(key), "{} { $inc: { ?: ? } }", "{key}");
        }
        for key in ["votes.0.voters", "address2", "items.$.price"] {
            assert_eq!(shape(key), format!("{{}} {{ $inc: {{ {key}: ? }} }}"));
        }
    }

    #[test]
    fn what_is_cut_off_or_missing_shows_nothing() {
        let truncated = doc! { "op": "query", "command": { "$truncated": "{ find: \"x\", filter: { a: \"secret" } };
        assert_eq!(of(&truncated), ("query".into(), "(too long)".into()));
        assert_eq!(of(&doc! { "op": "insert", "command": { "insert": "x", "documents": [{ "a": "secret" }] } }).1, "");
        assert_eq!(of(&doc! {}), (String::new(), String::new()));
    }

    #[test]
    fn a_continued_query_is_the_query() {
        let more = doc! {
            "op": "getmore",
            "command": { "getMore": 12_i64, "collection": "x" },
            "originatingCommand": { "find": "x", "filter": { "a": { "$gt": 5 } } },
        };
        assert_eq!(of(&more), ("getMore find".into(), "{ a: { $gt: ? } }".into()));
    }
}
