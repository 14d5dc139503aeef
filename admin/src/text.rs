//! Texts as the operator's terminal shows them: nothing in what strangers wrote reaches it as a command.

use chrono::{DateTime, SecondsFormat, Utc};

/// Control characters, and those that turn the direction of writing, are shown by number.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '\'' | '\\' => printable.push(letter),
            letter => printable.extend(letter.escape_debug()),
        }
    }
    printable
}

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
    fn nothing_reaches_the_terminal_as_a_command() {
        assert_eq!(printable("a\u{1b}[2J\tü \"b\" \\ \u{202e}x\u{9b}"), r#"a\u{1b}[2J\tü "b" \ \u{202e}x\u{9b}"#);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!((shortened("äöü", 2), shortened("äöü", 3)), ("äö…".to_owned(), "äöü".to_owned()));
    }
}
