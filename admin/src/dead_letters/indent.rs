//! JSON on many lines, with every token as it came: a parser would lose what a letter may be about, such as a key that is
//! there twice or a number too large.

use serde::de::IgnoredAny;

/// Deeper than any event may be; indentation grows with the square of the depth.
const MAX_DEPTH: usize = 64;

/// None when it is not JSON, or nested too deeply to be read by a person.
pub(super) fn indent(text: &str) -> Option<String> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut indented = String::with_capacity(text.len() * 2);
    let (mut depth, mut is_in_string, mut is_escaped) = (0, false, false);
    let mut letters = text.chars().filter(|letter| *letter >= ' ').peekable();
    let break_line = |indented: &mut String, depth: usize| {
        indented.push('\n');
        indented.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(letter) = letters.next() {
        if is_in_string {
            indented.push(letter);
            is_in_string = letter != '"' || is_escaped;
            is_escaped = letter == '\\' && !is_escaped;
            continue;
        }
        match letter {
            ' ' => {}
            '{' | '[' => {
                indented.push(letter);
                while letters.next_if_eq(&' ').is_some() {}
                if let Some(end) = letters.next_if(|next| matches!(next, '}' | ']')) {
                    indented.push(end);
                    continue;
                }
                depth += 1;
                if depth > MAX_DEPTH {
                    return None;
                }
                break_line(&mut indented, depth);
            }
            '}' | ']' => {
                depth -= 1;
                break_line(&mut indented, depth);
                indented.push(letter);
            }
            ',' => {
                indented.push(letter);
                break_line(&mut indented, depth);
            }
            ':' => indented.push_str(": "),
            _ => {
                is_in_string = letter == '"';
                indented.push(letter);
            }
        }
    }
    Some(indented)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_stays_as_it_came() {
        let text = "\t{ \"a\":1.50,\r\n\"a\" : [ ] ,\"b\":{\"c,[\\\"}\\\\\":[true,1e999, { } ]}} ";
        let expected = r#"{
  "a": 1.50,
  "a": [],
  "b": {
    "c,[\"}\\": [
      true,
      1e999,
      {}
    ]
  }
}"#;
        assert_eq!(indent(text).as_deref(), Some(expected));
        assert_eq!(indent("\"x\"").as_deref(), Some("\"x\""));
    }

    #[test]
    fn what_is_no_json_or_too_deep_is_left_alone() {
        for wrong in ["", "{", "{\"a\":}", "hello", "{} {}"] {
            assert_eq!(indent(wrong), None, "{wrong}");
        }
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(indent(&nested(MAX_DEPTH)).is_some());
        assert_eq!(indent(&nested(100_000)), None);
    }
}
