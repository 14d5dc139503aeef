//! From the documents of a day to what is counted of them. A document that lacks what is counted, or has it of another type,
//! is left out with a reason.

use bson::oid::ObjectId;
use common::documents::activity_log::Action;

use super::elements::{Broken, Elements, Value};
use crate::fold::exact::Mean;
use crate::fold::{Activity, HealthCheck, ToolUse};

/// Why a document was left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{field} is {found}, expected {expected}")]
pub struct Unreadable {
    field: &'static str,
    found: String,
    expected: &'static str,
}

/// Shows a document of `usage_analytics` to `add`.
///
/// Shown, not returned: two ways to read a document would meet in one value, which the compiler moves in pieces of other sizes
/// than it was written in, and for that a processor waits a dozen cycles. It was a seventh of a scan's profile.
///
/// # Errors
/// A field that is counted is missing or not of its type.
pub fn tool_use(document: &[u8], add: impl FnOnce(&ToolUse)) -> Result<(), Unreadable> {
    match usual_tool_use(document) {
        Some(tool_use) => add(&tool_use),
        None => add(&any_tool_use(document)?),
    }
    Ok(())
}

/// Of a document with the fields that the day's scan asks for, as ingest stores them: the same bytes around the same values.
/// Names are compared, not looked for.
fn usual_tool_use(document: &[u8]) -> Option<ToolUse> {
    let mut rest = Rest::of(document)?;
    let user = ObjectId::from_bytes(rest.after(b"\x07userId\0")?.take()?);
    let tool = ObjectId::from_bytes(rest.after(b"\x07toolId\0")?.take()?);
    let session = ObjectId::from_bytes(rest.after(b"\x07sessionId\0")?.take()?);
    let start = i64::from_le_bytes(rest.after(b"\x03usage\0\x33\0\0\0\x09startTime\0")?.take()?);
    let end = i64::from_le_bytes(rest.after(b"\x09endTime\0")?.take()?);
    let [success] = rest.after(b"\x08success\0")?.take()?;
    let response_time = f64::from_le_bytes(rest.after(b"\0\x03performance\0\x1b\0\0\0\x01responseTime\0")?.take()?);
    let is_usual = rest.0 == b"\0\0" && Mean::takes(response_time);
    is_usual.then_some(ToolUse {
        user: Some(user),
        tool,
        session: Some(session),
        start,
        end,
        success: success != 0,
        response_time: Some(response_time),
    })
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// Of a whole document, what follows its length.
    fn of(document: &'a [u8]) -> Option<Self> {
        let (length, rest) = document.split_first_chunk()?;
        (usize::try_from(i32::from_le_bytes(*length)) == Ok(document.len())).then_some(Self(rest))
    }

    fn after(&mut self, expected: &[u8]) -> Option<&mut Self> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(self)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}

#[cold]
fn any_tool_use(document: &[u8]) -> Result<ToolUse, Unreadable> {
    let (mut user, mut tool, mut session, mut response_time) = (None, None, None, None);
    let (mut start, mut end, mut success) = (None, None, None);
    for_each(document, |key, value| {
        match key {
            b"userId" => user = optional_id("userId", value)?,
            b"toolId" => tool = optional_id("toolId", value)?,
            b"sessionId" => session = optional_id("sessionId", value)?,
            b"usage" => for_each(sub_document("usage", value)?, |key, value| {
                match key {
                    b"startTime" => start = Some(millis("usage.startTime", value)?),
                    b"endTime" => end = Some(millis("usage.endTime", value)?),
                    b"success" => success = Some(boolean("usage.success", value)?),
                    _ => {}
                }
                Ok(())
            })?,
            b"performance" if value != Value::Null => for_each(sub_document("performance", value)?, |key, value| {
                if key == b"responseTime" {
                    response_time = optional_duration("performance.responseTime", value)?;
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(ToolUse {
        user,
        tool: required("toolId", tool, "an ObjectId")?,
        session,
        start: required("usage.startTime", start, "a date")?,
        end: required("usage.endTime", end, "a date")?,
        success: required("usage.success", success, "a boolean")?,
        response_time,
    })
}

/// Shows a document of `activity_logs` to `add`.
///
/// # Errors
/// A field that is counted is missing or not of its type.
pub fn activity(document: &[u8], add: impl FnOnce(&Activity)) -> Result<(), Unreadable> {
    match usual_activity(document) {
        Some(activity) => add(&activity),
        None => add(&any_activity(document)?),
    }
    Ok(())
}

fn usual_activity(document: &[u8]) -> Option<Activity> {
    let mut rest = Rest::of(document)?;
    let user = ObjectId::from_bytes(rest.after(b"\x07userId\0")?.take()?);
    let session = ObjectId::from_bytes(rest.after(b"\x07sessionId\0")?.take()?);
    let length = u32::from_le_bytes(rest.after(b"\x02action\0")?.take()?);
    let (action, after) = rest.0.split_at_checked(usize::try_from(length).ok()?)?;
    let action = *Action::ALL.iter().find(|known| action.strip_suffix(b"\0") == Some(known.as_str().as_bytes()))?;
    let mut rest = Rest(after);
    let at = i64::from_le_bytes(rest.after(b"\x09timestamp\0")?.take()?);
    (rest.0 == b"\0").then_some(Activity { user: Some(user), session: Some(session), action, at })
}

#[cold]
fn any_activity(document: &[u8]) -> Result<Activity, Unreadable> {
    let (mut user, mut session, mut action, mut at) = (None, None, None, None);
    for_each(document, |key, value| {
        match key {
            b"userId" => user = optional_id("userId", value)?,
            b"sessionId" => session = optional_id("sessionId", value)?,
            b"action" => action = Some(known_action(value)?),
            b"timestamp" => at = Some(millis("timestamp", value)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(Activity {
        user,
        session,
        action: required("action", action, KNOWN_ACTION)?,
        at: required("timestamp", at, "a date")?,
    })
}

/// A document of `health_checks`.
///
/// # Errors
/// A field that is counted is missing or not of its type.
pub fn health_check(document: &[u8]) -> Result<HealthCheck, Unreadable> {
    let (mut tool, mut healthy) = (None, None);
    for_each(document, |key, value| {
        match key {
            b"toolId" => tool = optional_id("toolId", value)?,
            b"healthy" => healthy = Some(boolean("healthy", value)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(HealthCheck {
        tool: required("toolId", tool, "an ObjectId")?,
        healthy: required("healthy", healthy, "a boolean")?,
    })
}

fn for_each<'a>(
    document: &'a [u8],
    mut read: impl FnMut(&'a [u8], Value<'a>) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    for element in Elements::of(document)? {
        let (name, value) = element?;
        read(name, value)?;
    }
    Ok(())
}

impl From<Broken> for Unreadable {
    fn from(_: Broken) -> Self {
        Self { field: "the document", found: "broken".into(), expected: "BSON" }
    }
}

const KNOWN_ACTION: &str = "one of page_view, signup, login, login_failed, logout";

fn known_action(value: Value<'_>) -> Result<Action, Unreadable> {
    let Value::Text(text) = value else { return Err(unexpected("action", value, KNOWN_ACTION)) };
    let known = Action::ALL.iter().find(|action| action.as_str().as_bytes() == text);
    // The text itself may be anything, so it is not repeated.
    known.copied().ok_or_else(|| Unreadable { field: "action", found: "another string".into(), expected: KNOWN_ACTION })
}

fn optional_id(field: &'static str, value: Value<'_>) -> Result<Option<ObjectId>, Unreadable> {
    match value {
        Value::ObjectId(id) => Ok(Some(id)),
        Value::Null => Ok(None),
        other => Err(unexpected(field, other, "an ObjectId")),
    }
}

fn optional_duration(field: &'static str, value: Value<'_>) -> Result<Option<f64>, Unreadable> {
    let number = match value {
        Value::Double(number) => number,
        Value::Int32(number) => number.into(),
        Value::Int64(number) => number as f64,
        Value::Null => return Ok(None),
        other => return Err(unexpected(field, other, "a number")),
    };
    if !Mean::takes(number) {
        return Err(Unreadable { field, found: "out of range".into(), expected: "milliseconds from 0 to 2^32" });
    }
    Ok(Some(number))
}

fn millis(field: &'static str, value: Value<'_>) -> Result<i64, Unreadable> {
    match value {
        Value::DateTime(millis) => Ok(millis),
        other => Err(unexpected(field, other, "a date")),
    }
}

fn boolean(field: &'static str, value: Value<'_>) -> Result<bool, Unreadable> {
    match value {
        Value::Boolean(boolean) => Ok(boolean),
        other => Err(unexpected(field, other, "a boolean")),
    }
}

fn sub_document<'a>(field: &'static str, value: Value<'a>) -> Result<&'a [u8], Unreadable> {
    match value {
        Value::Document(document) => Ok(document),
        other => Err(unexpected(field, other, "a document")),
    }
}

fn required<T>(field: &'static str, value: Option<T>, expected: &'static str) -> Result<T, Unreadable> {
    value.ok_or_else(|| Unreadable { field, found: "missing".into(), expected })
}

fn unexpected(field: &'static str, value: Value<'_>, expected: &'static str) -> Unreadable {
    Unreadable { field, found: format!("of type {:?}", value.element_type()), expected }
}

#[cfg(test)]
mod tests {
    use bson::{DateTime, Document, RawDocumentBuf, doc, rawdoc};

    use super::*;

    fn raw(document: &Document) -> Vec<u8> {
        RawDocumentBuf::try_from(document).unwrap().into_bytes()
    }

    fn usual() -> Document {
        let time = DateTime::from_millis(1_705_276_800_000);
        doc! {
            "userId": ObjectId::new(), "toolId": ObjectId::new(), "sessionId": ObjectId::new(),
            "usage": { "startTime": time, "endTime": time, "success": true },
            "performance": { "responseTime": 5.5 },
        }
    }

    /// Of this document, and of every one that differs in a byte or ends early.
    fn lead_to_the_same<T: PartialEq + std::fmt::Debug>(
        document: &Document,
        short: fn(&[u8]) -> Option<T>,
        long: fn(&[u8]) -> Result<T, Unreadable>,
    ) {
        let bytes = raw(document);
        assert_eq!(short(&bytes).unwrap(), long(&bytes).unwrap());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            for byte in 0..=u8::MAX {
                changed[at] = byte;
                if let Some(read) = short(&changed) {
                    assert_eq!(Ok(read), long(&changed), "byte {at} is {byte}");
                }
            }
            assert_eq!(short(&bytes[..at]), None);
        }
    }

    #[test]
    fn the_short_way_leads_where_the_long_one_does() {
        lead_to_the_same(&usual(), usual_tool_use, any_tool_use);
        for action in Action::ALL {
            let activity = doc! {
                "userId": ObjectId::new(), "sessionId": ObjectId::new(), "action": action.as_str(),
                "timestamp": DateTime::now(),
            };
            lead_to_the_same(&activity, usual_activity, any_activity);
        }
    }

    #[test]
    fn optional_fields_may_be_missing_or_null() {
        let mut document = usual();
        for field in ["userId", "sessionId", "performance"] {
            document.insert(field, bson::Bson::Null);
            assert!(any_tool_use(&raw(&document)).is_ok(), "{field} null");
            document.remove(field);
            assert!(any_tool_use(&raw(&document)).is_ok(), "{field} missing");
        }
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_named() {
        let mut wrong = usual();
        wrong.insert("userId", "64a0");
        let reason = any_tool_use(&raw(&wrong)).unwrap_err();
        assert_eq!(reason.to_string(), "userId is of type String, expected an ObjectId");
        let mut missing = usual();
        missing.get_document_mut("usage").unwrap().remove("success");
        let reason = any_tool_use(&raw(&missing)).unwrap_err();
        assert_eq!(reason.to_string(), "usage.success is missing, expected a boolean");
        let activity = rawdoc! { "action": "dance", "timestamp": DateTime::now() };
        let reason = any_activity(activity.as_bytes()).unwrap_err();
        assert!(reason.to_string().starts_with("action is another string, expected one of page_view"), "{reason}");
        let check = rawdoc! { "toolId": ObjectId::new(), "healthy": 1 };
        assert!(health_check(check.as_bytes()).is_err());
    }

    #[test]
    fn a_response_time_may_be_any_number_that_can_be_one() {
        for (value, readable) in [
            (bson::Bson::Int32(5), true),
            (bson::Bson::Int64(5), true),
            (f64::NAN.into(), false),
            ((-1.0).into(), false),
        ] {
            let mut document = usual();
            document.insert("performance", doc! { "responseTime": value });
            assert_eq!(tool_use(&raw(&document), |_| ()).is_ok(), readable);
        }
    }
}
