//! What CloudEvents 1.0 allows in attributes, and in the content type of its data.

use fluent_uri::{Uri, UriRef};

use super::invalid::quoted;
use super::{Invalid, Reason};

type Result<T> = std::result::Result<T, Box<Invalid>>;

/// The media type of a whole event.
const CLOUDEVENT: &str = "application/cloudevents+json";

/// The type String: no control characters and no noncharacters. Lone surrogates cannot come: the text is UTF-8.
///
/// # Errors
/// It holds one.
#[inline]
pub fn check_string(text: &str) -> Result<()> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(());
    }
    check_characters(text)
}

#[cold]
fn check_characters(text: &str) -> Result<()> {
    let Some((place, character)) = text.chars().enumerate().find(|(_, character)| is_forbidden(*character)) else {
        return Ok(());
    };
    let kind = if character.is_control() { "control character" } else { "noncharacter" };
    let problem = format!(
        "holds the {kind} U+{:04X} after {place} characters, expected none: CloudEvents allows neither control characters \
         nor noncharacters in an attribute",
        u32::from(character)
    );
    Err(Invalid::new(Reason::InvalidAttribute, problem))
}

/// Unicode's control characters are U+0000 to U+001F and U+007F to U+009F. The noncharacters are U+FDD0 to U+FDEF and the
/// last two of each plane.
fn is_forbidden(character: char) -> bool {
    character.is_control() || matches!(character, '\u{fdd0}'..='\u{fdef}') || u32::from(character) & 0xfffe == 0xfffe
}

/// The name of an extension attribute; those of the other attributes are known.
///
/// # Errors
/// It is none.
pub fn check_name(name: &str) -> Result<()> {
    let is_name = !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'));
    if is_name && name != "data" {
        return Ok(());
    }
    Err(Invalid::new(
        Reason::InvalidAttribute,
        "is not the name of an attribute, expected lower-case letters a-z and digits only (CloudEvents); a field of the event \
         itself belongs into data",
    ))
}

/// The attribute `source`, which is not empty.
///
/// # Errors
/// It is no URI-reference.
pub fn check_source(source: &str) -> Result<()> {
    // Of these alone every text is a URI-reference, and nearly every source is made.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~');
    if source.bytes().all(is_plain) {
        return Ok(());
    }
    check_string(source)?;
    UriRef::parse(source).map(drop).map_err(|error| {
        let problem = format!(
            "is not a URI-reference (RFC 3986) at byte {}, expected a text such as /tools/json-formatter; other characters \
             than a URI may have are percent-encoded",
            error.index()
        );
        Invalid::new(Reason::InvalidAttribute, problem)
    })
}

/// The attributes `subject` and `dataschema`, and extension attributes, where their value is a string.
///
/// # Errors
/// CloudEvents does not allow it.
pub fn check_other(name: &str, text: &str) -> Result<()> {
    check_string(text)?;
    match name {
        "subject" if text.is_empty() => Err(Invalid::new(
            Reason::WrongLength,
            "is empty, expected at least one character; an event without a subject leaves it out",
        )),
        "dataschema" if Uri::parse(text).is_err() => Err(Invalid::new(
            Reason::InvalidAttribute,
            "is not an absolute URI (RFC 3986), expected one such as https://example.com/schema.json",
        )),
        _ => Ok(()),
    }
}

/// The attribute `datacontenttype`.
///
/// # Errors
/// It declares something else than JSON.
pub fn check_data_content_type(content_type: &str) -> Result<()> {
    check_string(content_type)?;
    if declares_json(media_type(content_type)) {
        return Ok(());
    }
    let problem = format!("is {}, expected a JSON type such as application/json", quoted(content_type));
    Err(Invalid::new(Reason::UnsupportedFormat, problem))
}

/// Whether a message with this header `content-type` is a whole event, and not one in binary mode. CloudEvents takes a message
/// without the header, or with a JSON type, for one in binary mode; without an attribute's header it can be no event, so the
/// value is read as a whole event.
///
/// # Errors
/// The format is none that is read here.
pub fn is_structured_mode(content_type: Option<&str>, has_attributes: bool) -> Result<bool> {
    let Some(content_type) = content_type else { return Ok(!has_attributes) };
    let media_type = media_type(content_type);
    if media_type.eq_ignore_ascii_case(CLOUDEVENT) {
        return Ok(true);
    }
    let is_cloudevents = content_type
        .get(.."application/cloudevents".len())
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case("application/cloudevents"));
    if declares_json(media_type) && !is_cloudevents {
        return Ok(!has_attributes);
    }
    let expected = if is_cloudevents {
        "application/cloudevents+json: one event a message, as JSON"
    } else {
        "application/cloudevents+json for a whole event, or a JSON type such as application/json with the attributes in \
         headers that begin with ce_"
    };
    Err(Invalid::new(Reason::UnsupportedFormat, format!("is {}, expected {expected}", quoted(content_type))))
}

/// Without parameters such as `; charset=utf-8`.
fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim_matches(' ')
}

/// The media types `*/json` and `*/*+json`.
fn declares_json(media_type: &str) -> bool {
    let Some((kind, subtype)) = media_type.split_once('/') else { return false };
    let is_token =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte));
    let suffix = subtype.rsplit('+').next().unwrap_or_default();
    !kind.is_empty() && is_token(kind) && is_token(subtype) && suffix.eq_ignore_ascii_case("json")
}
