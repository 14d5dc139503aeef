//! What an update changed, as the oplog has it since MongoDB 4.4 (`$v: 2`), applied to a document.
//!
//! A diff has fields that were removed (`d`), changed in their place (`u`), added at the end (`i`), and diffs of inner documents
//! (`s` before the field's name). A diff of an array has `a: true`, its new length (`l`), and elements by number (`u3`, `s3`).

use anyhow::{Context, bail, ensure};
use bson::{Bson, Document};

/// Applies a diff. To apply it again changes nothing.
///
/// # Errors
/// The diff has a part that is not known.
pub fn apply(document: &mut Document, diff: &Document) -> anyhow::Result<()> {
    for (key, value) in diff {
        match (key.as_str(), value) {
            ("d", Bson::Document(removed)) => {
                for field in removed.keys() {
                    document.remove(field);
                }
            }
            // A changed field keeps its place, a field that is new goes to the end.
            ("u", Bson::Document(fields)) => {
                for (field, value) in fields {
                    document.insert(field.clone(), value.clone());
                }
            }
            // Where the field is there already, the server moves it to the end, too.
            ("i", Bson::Document(fields)) => {
                for (field, value) in fields {
                    document.remove(field);
                    document.insert(field.clone(), value.clone());
                }
            }
            (_, Bson::Document(inner)) if key.len() > 1 && key.starts_with('s') => {
                inner_diff(document.get_mut(&key[1..]), inner)?;
            }
            _ => bail!("a diff has the unknown part {key:?}"),
        }
    }
    Ok(())
}

/// A field that is there no more, or is of another kind, was changed by a later entry, which is applied later.
fn inner_diff(field: Option<&mut Bson>, diff: &Document) -> anyhow::Result<()> {
    match field {
        Some(Bson::Document(inner)) if !is_of_array(diff) => apply(inner, diff),
        Some(Bson::Array(inner)) if is_of_array(diff) => apply_to_array(inner, diff),
        _ => Ok(()),
    }
}

fn is_of_array(diff: &Document) -> bool {
    diff.get_bool("a").unwrap_or(false)
}

fn apply_to_array(array: &mut Vec<Bson>, diff: &Document) -> anyhow::Result<()> {
    for (key, value) in diff {
        let number = |text: &str| text.parse::<usize>().with_context(|| format!("a diff has the unknown part {key:?}"));
        match (key.as_str(), value) {
            ("a", _) => {}
            ("l", Bson::Int32(length)) => array.resize(usize::try_from(*length)?, Bson::Null),
            (_, value) if key.starts_with('u') => {
                let place = number(&key[1..])?;
                ensure!(place < 2_000_000, "a diff changes element {place} of an array");
                if place >= array.len() {
                    array.resize(place + 1, Bson::Null);
                }
                array[place] = value.clone();
            }
            (_, Bson::Document(inner)) if key.starts_with('s') => inner_diff(array.get_mut(number(&key[1..])?), inner)?,
            _ => bail!("a diff has the unknown part {key:?}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bson::{bson, doc};

    use super::*;

    #[test]
    fn a_diff_changes_removes_adds_and_goes_into_documents_and_arrays() {
        let mut document = doc! {
            "_id": 1, "kept": 1, "changed": 1, "removed": 1,
            "inner": { "a": 1, "b": { "c": 1 } }, "list": [1, { "x": 1 }, 3, 4],
        };
        let diff = doc! {
            "d": { "removed": false }, "u": { "changed": "new" }, "i": { "added": [1] },
            "sinner": { "u": { "a": 2 }, "sb": { "i": { "d": 3 } } },
            "slist": { "a": true, "l": 3, "u0": 9, "s1": { "u": { "x": 2 } } },
        };
        let expected = doc! {
            "_id": 1, "kept": 1, "changed": "new",
            "inner": { "a": 2, "b": { "c": 1, "d": 3 } }, "list": [9, { "x": 2 }, 3], "added": [1],
        };
        for _ in 0..2 {
            apply(&mut document, &diff).unwrap();
            assert_eq!(document, expected);
            assert_eq!(document.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_array_grows_and_what_is_gone_is_left_alone() {
        let mut document = doc! { "list": [1], "text": "x" };
        apply(
            &mut document,
            &doc! { "slist": { "a": true, "u2": 3 }, "sgone": { "u": { "a": 1 } }, "stext": { "u": { "a": 1 } } },
        )
        .unwrap();
        assert_eq!(document.get("list"), Some(&bson!([1, null, 3])));
        assert_eq!(document.get_str("text").unwrap(), "x");
    }

    #[test]
    fn an_unknown_part_is_refused() {
        for unknown in [doc! { "z": 1 }, doc! { "u": 1 }, doc! { "sx": 1 }] {
            assert!(apply(&mut doc! {}, &unknown).is_err(), "{unknown}");
        }
        assert!(apply(&mut doc! { "l": [] }, &doc! { "sl": { "a": true, "q1": 1 } }).is_err());
    }
}
