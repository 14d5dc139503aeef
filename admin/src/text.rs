//! Short forms of texts and times.

use chrono::{DateTime, SecondsFormat, Utc};

/// At most `most` characters.
pub fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `2024-01-15T10:30:00.000Z`
pub fn instant_text(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!((shortened("äöü", 2), shortened("äöü", 3)), ("äö…".to_owned(), "äöü".to_owned()));
    }
}
