//! What of a document a person gets to see, by the register.

use std::collections::{BTreeMap, BTreeSet};

use super::{Export, Place};
use bson::oid::ObjectId;
use bson::{Bson, Document};

/// The rules of one collection as a tree of field names.
#[derive(Debug)]
pub struct Projection {
    place: &'static Place,
    root: Node,
    /// Fields that the register does not have.
    unknown: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Node {
    fields: BTreeMap<&'static str, Node>,
    /// What is in a list, or in a map whatever its keys.
    any: Option<Box<Node>>,
    export: Option<Export>,
}

/// So many unknown fields are named; a map that nobody knows may have any number.
const MOST_UNKNOWN: usize = 100;

impl Projection {
    /// By the rules of this place.
    pub fn new(place: &'static Place) -> Self {
        let mut root = Node::default();
        for (path, rule) in place.fields() {
            root.at(path).export = Some(rule.export);
        }
        Self { place, root, unknown: BTreeSet::new() }
    }

    /// The document without secrets, without other people's ids, and without what is not this person's to know.
    pub fn project(&mut self, document: Document, person: ObjectId) -> Document {
        let links = self.place.people.iter().filter(|path| holds(&document, path, person)).copied().collect();
        let mut view = View { links, person, unknown: &mut self.unknown };
        view.document(document, &self.root, "").unwrap_or_default()
    }

    /// As `collection.field`.
    pub fn unknown(&self) -> impl Iterator<Item = String> {
        self.unknown.iter().map(|path| format!("{}.{path}", self.place.name))
    }
}

impl Node {
    /// The node of a path, made where it is missing.
    fn at(&mut self, path: &'static str) -> &mut Self {
        let mut node = self;
        for name in path.split('.') {
            let (name, in_list) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
            node = if name == "*" { node.in_any() } else { node.fields.entry(name).or_default() };
            if in_list {
                node = node.in_any();
            }
        }
        node
    }

    fn in_any(&mut self) -> &mut Self {
        self.any.get_or_insert_default()
    }
}

/// Whether the person's id is at a path, `votes.voters[]` among them.
fn holds(document: &Document, path: &str, person: ObjectId) -> bool {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    match document.get(name.trim_end_matches("[]")) {
        Some(Bson::Document(inner)) => holds(inner, rest, person),
        Some(Bson::Array(values)) => values.contains(&Bson::ObjectId(person)),
        value => value == Some(&Bson::ObjectId(person)),
    }
}

/// One document as one person may see it.
struct View<'a> {
    /// Where the document holds the person's id.
    links: Vec<&'static str>,
    person: ObjectId,
    unknown: &'a mut BTreeSet<String>,
}

impl View<'_> {
    /// None when nothing is left of it.
    fn document(&mut self, document: Document, node: &Node, prefix: &str) -> Option<Document> {
        if document.is_empty() {
            return self.may_see(node).then_some(document);
        }
        let mut seen = Document::new();
        for (name, value) in document {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match node.fields.get(name.as_str()).or(node.any.as_deref()) {
                Some(node) => {
                    if let Some(value) = self.value(value, node, &path) {
                        seen.insert(name, value);
                    }
                }
                None => self.is_unknown(path),
            }
        }
        (!seen.is_empty()).then_some(seen)
    }

    fn value(&mut self, value: Bson, node: &Node, path: &str) -> Option<Bson> {
        if let Some(export) = node.export {
            return self.leaf(value, export);
        }
        match (value, &node.any) {
            (Bson::Document(inner), _) => self.document(inner, node, path).map(Bson::Document),
            (Bson::Array(values), Some(node)) => {
                if values.is_empty() {
                    return self.may_see(node).then_some(Bson::Array(values));
                }
                let path = format!("{path}[]");
                let seen: Vec<Bson> = values.into_iter().filter_map(|value| self.value(value, node, &path)).collect();
                (!seen.is_empty()).then_some(Bson::Array(seen))
            }
            (Bson::Null, _) => None,
            // Of no form that the register knows: what is in it is not known either.
            _ => {
                self.is_unknown(path.to_owned());
                None
            }
        }
    }

    fn is_unknown(&mut self, path: String) {
        if self.unknown.len() < MOST_UNKNOWN {
            self.unknown.insert(path);
        }
    }

    /// Whether anything of the kind that may be there is written: then it is written, too, that nothing is there.
    fn may_see(&self, node: &Node) -> bool {
        let is_written = match node.export {
            Some(Export::Written) => true,
            Some(Export::WrittenWhere(links)) => links.iter().any(|link| self.links.contains(link)),
            _ => false,
        };
        is_written || node.fields.values().chain(node.any.as_deref()).any(|node| self.may_see(node))
    }

    /// What the rule says of the value, whatever is in it.
    fn leaf(&self, value: Bson, export: Export) -> Option<Bson> {
        let is_seen = match export {
            Export::Written => true,
            Export::WrittenWhere(links) => links.iter().any(|link| self.links.contains(link)),
            Export::OwnId => value == Bson::ObjectId(self.person),
            Export::LeftOut | Export::NotConcerned => false,
        };
        is_seen.then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use crate::personal::{self, Kind};
    use bson::doc;

    use super::*;

    const ME: ObjectId = ObjectId::from_bytes([1; 12]);
    const OTHER: ObjectId = ObjectId::from_bytes([2; 12]);

    fn seen(collection: &str, document: Document) -> (Document, Vec<String>) {
        let mut projection = Projection::new(personal::place(Kind::Collection, collection).unwrap());
        let seen = projection.project(document, ME);
        (seen, projection.unknown().collect())
    }

    fn suggestion(author: ObjectId, responded_by: ObjectId) -> Document {
        doc! {
            "_id": OTHER, "userId": author, "title": "t", "description": "d",
            "votes": { "upvotes": 2, "downvotes": 0, "voters": [OTHER, ME] },
            "adminResponse": { "message": "m", "respondedBy": responded_by },
            "metadata": { "ipAddress": "192.0.2.1" },
        }
    }

    #[test]
    fn a_voter_sees_the_title_and_the_own_vote_alone() {
        let expected = doc! { "_id": OTHER, "title": "t", "votes": { "voters": [ME] } };
        assert_eq!(seen("suggestions", suggestion(OTHER, OTHER)).0, expected);
    }

    #[test]
    fn an_author_sees_all_but_who_else_took_part() {
        let mut expected = suggestion(ME, OTHER);
        expected.get_document_mut("votes").unwrap().insert("voters", vec![ME]);
        expected.get_document_mut("adminResponse").unwrap().remove("respondedBy");
        assert_eq!(seen("suggestions", suggestion(ME, OTHER)).0, expected);
    }

    #[test]
    fn who_answered_sees_the_answer() {
        let (answered, _) = seen("suggestions", suggestion(OTHER, ME));
        assert_eq!(answered.get("adminResponse"), Some(&doc! { "message": "m", "respondedBy": ME }.into()));
        assert_eq!((answered.get("description"), answered.get("metadata")), (None, None));
    }

    #[test]
    fn secrets_and_unknown_fields_are_left_out_and_unknown_ones_are_named() {
        let user = doc! {
            "_id": ME, "email": "me@example.com", "password": "p", "phoneNumber": "1",
            "authentication": { "resetToken": "r", "isVerified": true }, "profile": { "nick": { "name": 1 } }, "usage": 7,
        };
        let (seen, unknown) = seen("users", user);
        let expected = doc! { "_id": ME, "email": "me@example.com", "authentication": { "isVerified": true } };
        assert_eq!(seen, expected);
        assert_eq!(unknown, ["users.phoneNumber", "users.profile.nick", "users.usage"]);
    }

    #[test]
    fn of_an_account_that_the_person_created_only_that_is_written() {
        let user =
            doc! { "_id": OTHER, "email": "other@example.com", "metadata": { "createdBy": ME, "source": "admin" } };
        assert_eq!(seen("users", user).0, doc! { "metadata": { "createdBy": ME } });
    }

    #[test]
    fn what_a_tool_said_of_a_use_is_written_whole() {
        let custom = doc! { "userId": ME, "metadata": { "customData": { "a": [{ "b": 1 }], "c": { "d": [] } } } };
        assert_eq!(seen("usage_analytics", custom.clone()).0, custom);
    }
}
