//! What is left of an event. Pure: the same document and key give the same document.
//!
//! A list says what stays; everything else goes, also what nobody thought of. A value of a type that its field does not have is
//! replaced by a text: so a document that the day left out as unreadable stays one, and no number changes.

use bson::RawDocumentBuf;
use bson::raw::{CStr, RawBsonRef, RawDocument, cstr};

use common::pseudonym::{Key, Kind};

use crate::source::Source;

/// True in each document that is rewritten.
pub const MARK: &CStr = cstr!("anonymised");

/// Stands for a value of a type that its field does not have.
const REMOVED: &str = "(removed)";

/// What stays of a field.
#[derive(Clone, Copy, Debug)]
enum Keep {
    /// A number, a time, a boolean or the id of no person.
    Plain,
    /// A text that the programs choose, or a list of such.
    Text,
    /// A page, without query and fragment, where senders put names and tokens.
    Page,
    /// A code of two letters; another text counts as `other`.
    Country,
    /// A pseudonym in its place.
    Pseudonym(Kind),
    /// The keys that the settings allow; the field goes when none is left.
    Allowed,
    /// These fields; the field goes when none is left.
    Some(&'static [(&'static str, Keep)]),
    /// These fields.
    All(&'static [(&'static str, Keep)]),
}

const TOOL_USE: &[(&str, Keep)] = &[
    ("_id", Keep::Plain),
    ("userId", Keep::Pseudonym(Kind::User)),
    ("toolId", Keep::Plain),
    ("sessionId", Keep::Pseudonym(Kind::Session)),
    (
        "usage",
        Keep::All(&[
            ("startTime", Keep::Plain),
            ("endTime", Keep::Plain),
            ("duration", Keep::Plain),
            ("inputSize", Keep::Plain),
            ("outputSize", Keep::Plain),
            ("success", Keep::Plain),
        ]),
    ),
    ("context", CONTEXT),
    (
        "performance",
        Keep::All(&[("responseTime", Keep::Plain), ("memoryUsage", Keep::Plain), ("cpuUsage", Keep::Plain)]),
    ),
    ("metadata", Keep::Some(&[("version", Keep::Text), ("features", Keep::Text), ("customData", Keep::Allowed)])),
    ("timestamp", Keep::Plain),
];

const ACTIVITY: &[(&str, Keep)] = &[
    ("_id", Keep::Plain),
    ("userId", Keep::Pseudonym(Kind::User)),
    ("sessionId", Keep::Pseudonym(Kind::Session)),
    ("action", Keep::Text),
    ("path", Keep::Page),
    ("context", CONTEXT),
    ("source", Keep::Text),
    ("timestamp", Keep::Plain),
];

const CONTEXT: Keep = Keep::Some(&[("location", Keep::Some(&[("country", Keep::Country)]))]);

/// How events are anonymised.
#[derive(Clone, Debug)]
pub struct Anonymity<'a> {
    /// The day's key.
    pub key: &'a Key,
    /// The keys of `metadata.customData` that stay.
    pub custom_data_allowed: &'a [String],
}

impl Anonymity<'_> {
    /// What is left of `document`, with [`MARK`]; none for a source without people.
    ///
    /// # Errors
    /// The document is not BSON.
    pub fn of(&self, source: Source, document: &RawDocument) -> Result<Option<RawDocumentBuf>, bson::error::Error> {
        let fields = match source {
            Source::ToolUses => TOOL_USE,
            Source::Activities => ACTIVITY,
            Source::HealthChecks => return Ok(None),
        };
        let mut left = self.fields(fields, document)?;
        left.append(MARK, true);
        Ok(Some(left))
    }

    fn fields(&self, fields: &[(&str, Keep)], document: &RawDocument) -> Result<RawDocumentBuf, bson::error::Error> {
        let mut left = RawDocumentBuf::new();
        for element in document {
            let (name, value) = element?;
            let Some((_, keep)) = fields.iter().find(|(field, _)| *field == name.as_str()) else { continue };
            self.value(&mut left, name, *keep, value)?;
        }
        Ok(left)
    }

    fn value(
        &self,
        left: &mut RawDocumentBuf,
        name: &CStr,
        keep: Keep,
        value: RawBsonRef<'_>,
    ) -> Result<(), bson::error::Error> {
        match (keep, value) {
            // Null counts as a field that is not there.
            (_, RawBsonRef::Null) => left.append(name, RawBsonRef::Null),
            (Keep::Pseudonym(kind), RawBsonRef::ObjectId(id)) => left.append(name, self.key.pseudonym(kind, id)),
            (
                Keep::Plain,
                RawBsonRef::Double(_)
                | RawBsonRef::Int32(_)
                | RawBsonRef::Int64(_)
                | RawBsonRef::Decimal128(_)
                | RawBsonRef::Boolean(_)
                | RawBsonRef::DateTime(_)
                | RawBsonRef::ObjectId(_),
            ) => left.append(name, value),
            // Whatever made the document gave it this name, and it cannot be changed.
            (Keep::Plain, _) if name.as_str() == "_id" => left.append(name, value),
            (Keep::Text, RawBsonRef::String(_)) => left.append(name, value),
            (Keep::Text, RawBsonRef::Array(list)) => {
                let is_texts = list.into_iter().all(|item| matches!(item, Ok(RawBsonRef::String(_))));
                left.append(name, if is_texts { value } else { RawBsonRef::String(REMOVED) });
            }
            (Keep::Page, RawBsonRef::String(page)) => {
                left.append(name, page.split(['?', '#']).next().unwrap_or_default());
            }
            (Keep::Country, RawBsonRef::String(country)) => {
                let is_code = country.len() == 2 && country.bytes().all(|letter| letter.is_ascii_alphabetic());
                left.append(name, if is_code { country } else { "other" });
            }
            (Keep::Allowed, RawBsonRef::Document(data)) => {
                let mut allowed = RawDocumentBuf::new();
                for element in data {
                    let (name, value) = element?;
                    if self.custom_data_allowed.iter().any(|key| key == name.as_str()) {
                        allowed.append(name, value);
                    }
                }
                if !allowed.is_empty() {
                    left.append(name, allowed);
                }
            }
            (Keep::All(fields), RawBsonRef::Document(inner)) => left.append(name, self.fields(fields, inner)?),
            (Keep::Some(fields), RawBsonRef::Document(inner)) => {
                let inner = self.fields(fields, inner)?;
                if !inner.is_empty() {
                    left.append(name, inner);
                }
            }
            // What is no country counts for none.
            (Keep::Country | Keep::Allowed, _) => {}
            _ => left.append(name, REMOVED),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use bson::{Bson, DateTime, Document, doc};
    use common::personal::{self, Action};

    use super::super::pseudonym;
    use super::*;

    fn left(source: Source, document: &Document) -> (Document, Key) {
        let key = pseudonym::key(&pseudonym::random()).unwrap();
        let allowed = ["theme".to_owned()];
        let anonymity = Anonymity { key: &key, custom_data_allowed: &allowed };
        let raw = RawDocumentBuf::try_from(document).unwrap();
        let left = anonymity.of(source, &raw).unwrap().unwrap();
        (Document::try_from(left.as_ref()).unwrap(), key)
    }

    fn id(byte: u8) -> ObjectId {
        ObjectId::from_bytes([byte; 12])
    }

    #[test]
    fn of_a_tool_use_stays_what_numbers_need_in_the_same_order() {
        let now = DateTime::from_millis(1_700_000_000_000);
        let usage = doc! { "startTime": now, "endTime": now, "duration": 5_i64, "inputSize": 1_i64, "outputSize": 2_i64, "success": false };
        let performance = doc! { "responseTime": 0.1, "cpuUsage": 3.5 };
        let mut stored = usage.clone();
        stored.insert("errorMessage", "Ada's file is missing");
        let document = doc! {
            "_id": id(9), "userId": id(1), "toolId": id(3), "sessionId": id(2), "usage": stored,
            "context": {
                "userAgent": "Mozilla", "ipAddress": "203.0.113.7", "referrer": "https://example.org/ada",
                "location": { "country": "GB", "region": "ENG", "city": "London" },
            },
            "performance": &performance,
            "metadata": { "version": "1", "features": ["a", "b"], "customData": { "theme": "dark", "name": "Ada" } },
            "timestamp": now, "trace": "4bf92f35", "note": "Ada",
        };
        let (left, key) = left(Source::ToolUses, &document);
        let expected = doc! {
            "_id": id(9), "userId": key.pseudonym(Kind::User, id(1)), "toolId": id(3),
            "sessionId": key.pseudonym(Kind::Session, id(2)), "usage": usage,
            "context": { "location": { "country": "GB" } }, "performance": performance,
            "metadata": { "version": "1", "features": ["a", "b"], "customData": { "theme": "dark" } },
            "timestamp": now, "anonymised": true,
        };
        assert_eq!(bson::serialize_to_vec(&left).unwrap(), bson::serialize_to_vec(&expected).unwrap());
    }

    /// What the register of personal fields says of each field that stays.
    fn staying(fields: &[(&str, Keep)], prefix: &str, found: &mut Vec<(String, Action)>) {
        for (name, keep) in fields {
            let path = format!("{prefix}{name}");
            match keep {
                Keep::Plain | Keep::Country => found.push((path, Action::Keep)),
                Keep::Text if *name == "features" => found.push((format!("{path}[]"), Action::Keep)),
                Keep::Text => found.push((path, Action::Keep)),
                Keep::Page => found.push((path, Action::CutQuery)),
                Keep::Pseudonym(_) => found.push((path, Action::Pseudonym)),
                Keep::Allowed => found.push((format!("{path}.*"), Action::AllowList)),
                Keep::Some(inner) | Keep::All(inner) => staying(inner, &format!("{path}."), found),
            }
        }
    }

    #[test]
    fn each_field_is_treated_as_the_register_of_personal_fields_says() {
        for (source, fields) in [(Source::ToolUses, TOOL_USE), (Source::Activities, ACTIVITY)] {
            let mut stays = vec![(MARK.as_str().to_owned(), Action::Keep)];
            staying(fields, "", &mut stays);
            stays.sort_by(|a, b| a.0.cmp(&b.0));
            let place = personal::place(personal::Kind::Collection, source.collection()).unwrap();
            let registered = place.fields().filter(|(_, rule)| rule.seal != Action::RemoveField);
            let mut registered: Vec<_> = registered.map(|(path, rule)| (path.to_owned(), rule.seal)).collect();
            registered.sort_by(|a, b| a.0.cmp(&b.0));
            assert_eq!(stays, registered, "{source}");
        }
    }

    #[test]
    fn of_an_activity_stay_action_page_and_time() {
        let now = DateTime::from_millis(0);
        let document = doc! {
            "_id": id(9), "action": "page_view", "path": "/reset?token=abc#ada", "context": { "ipAddress": "::1" },
            "timestamp": now,
        };
        let (left, _) = left(Source::Activities, &document);
        assert_eq!(
            left,
            doc! { "_id": id(9), "action": "page_view", "path": "/reset", "timestamp": now, "anonymised": true }
        );
    }

    #[test]
    fn what_is_unreadable_stays_unreadable_and_tells_nothing() {
        let document = doc! {
            "_id": "a", "userId": "ada@example.org", "toolId": { "a": "Ada" }, "sessionId": Bson::Null, "usage": "Ada",
            "performance": ["Ada"], "context": { "location": { "country": "Great Britain" } },
            "metadata": { "version": { "a": "Ada" }, "features": ["a", { "b": "Ada" }], "customData": "Ada" },
        };
        let (left, _) = left(Source::ToolUses, &document);
        let expected = doc! {
            "_id": "a", "userId": REMOVED, "toolId": REMOVED, "sessionId": Bson::Null, "usage": REMOVED,
            "performance": REMOVED, "context": { "location": { "country": "other" } },
            "metadata": { "version": REMOVED, "features": REMOVED }, "anonymised": true,
        };
        assert_eq!(left, expected);
        let health_check = RawDocumentBuf::try_from(doc! {}).unwrap();
        let key = pseudonym::key(&pseudonym::random()).unwrap();
        let anonymity = Anonymity { key: &key, custom_data_allowed: &[] };
        assert_eq!(anonymity.of(Source::HealthChecks, &health_check).unwrap(), None);
    }
}
