//! What CloudEvents 1.0 allows in an attribute, whatever its name.

use super::{Invalid, Reason};

type Result<T> = std::result::Result<T, Box<Invalid>>;

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
