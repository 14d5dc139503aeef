//! Everything that the programs write to stdout and stderr. No text from an event or the database acts on a terminal, and a
//! reader that closes the output early, as `| head` does, stops no work.

use std::borrow::Cow;
use std::fmt::{Arguments, Write as _};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::Context;
use serde::Serialize;
use tracing_subscriber::fmt::MakeWriter;

/// Prints a line to stdout, as `println!` does, with control characters escaped. Never panics; [`output_error`] tells what
/// could not be written.
#[macro_export]
macro_rules! print_line {
    ($($text:tt)*) => { $crate::terminal::print(format_args!($($text)*)) };
}

/// Prints a line to stderr, as `eprintln!` does, with control characters escaped. Never panics.
#[macro_export]
macro_rules! error_line {
    ($($text:tt)*) => { $crate::terminal::print_error(format_args!($($text)*)) };
}

/// What became of stdout.
#[derive(Debug, Default)]
struct Output {
    /// Nobody reads any more.
    is_closed: bool,
    /// The first error other than a closed pipe.
    error: Option<io::Error>,
}

static OUTPUT: Mutex<Output> = Mutex::new(Output { is_closed: false, error: None });

/// Whether colours are wanted: only a terminal shows them.
static COLOURS: LazyLock<[bool; 2]> = LazyLock::new(|| [io::stdout().is_terminal(), io::stderr().is_terminal()]);

/// See [`print_line!`].
pub fn print(text: Arguments<'_>) {
    write_out(&mut io::stdout().lock(), &OUTPUT, &format!("{}\n", harmless(&text.to_string(), COLOURS[0])));
}

/// See [`error_line!`].
pub fn print_error(text: Arguments<'_>) {
    // Where stderr is closed there is nobody to tell.
    let _ = io::stderr().write_all(format!("{}\n", harmless(&text.to_string(), COLOURS[1])).as_bytes());
}

/// Prints one JSON document to stdout. What a terminal would act on is escaped as JSON has it.
///
/// # Errors
/// The value has no form in JSON.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let json = json_escaped(&serde_json::to_string_pretty(value)?);
    write_out(&mut io::stdout().lock(), &OUTPUT, &format!("{json}\n"));
    Ok(())
}

/// Asked once at the end of a program: a reader that closed the output has seen what it wanted, a full disk has not.
///
/// # Errors
/// A part of the output was not written.
pub fn output_error() -> anyhow::Result<()> {
    if let Err(error) = io::stdout().flush() {
        note(&OUTPUT, error);
    }
    let error = OUTPUT.lock().unwrap_or_else(PoisonError::into_inner).error.take();
    error.map_or(Ok(()), Err).context("the output could not be written whole")
}

fn write_out(stdout: &mut impl Write, output: &Mutex<Output>, text: &str) {
    let is_over = |output: &Output| output.is_closed || output.error.is_some();
    if is_over(&output.lock().unwrap_or_else(PoisonError::into_inner)) {
        return;
    }
    if let Err(error) = stdout.write_all(text.as_bytes()) {
        note(output, error);
    }
}

fn note(output: &Mutex<Output>, error: io::Error) {
    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
    if error.kind() == ErrorKind::BrokenPipe {
        output.is_closed = true;
    } else {
        output.error.get_or_insert(error);
    }
}

/// One line of text from an event or the database, for a table or a sentence: control characters, line ends among them, and
/// characters that turn the direction of writing are shown by number.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for piece in text.split_inclusive(['"', '\'', '\\']) {
        // escape_debug would escape these three, too.
        let end = piece.len() - usize::from(piece.ends_with(['"', '\'', '\\']));
        printable.extend(piece[..end].escape_debug());
        printable.push_str(&piece[end..]);
    }
    printable
}

/// The same for a text of several lines, and where `colours` are wanted those of our own tables stay.
fn harmless(text: &str, colours: bool) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte == b'\n' || (b' '..=b'~').contains(&byte);
    if text.bytes().all(is_plain) {
        return text.into();
    }
    let mut harmless = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(index) = rest.find(['\n', '\u{1b}']) {
        harmless.push_str(&printable(&rest[..index]));
        rest = &rest[index..];
        let kept = if rest.starts_with('\n') { 1 } else { colour_length(rest).filter(|_| colours).unwrap_or(0) };
        harmless.push_str(&rest[..kept]);
        if kept == 0 {
            harmless.push_str("\\u{1b}");
        }
        rest = &rest[kept.max(1)..];
    }
    harmless.push_str(&printable(rest));
    harmless.into()
}

/// The length of the sequence that sets a colour (SGR) at the start of `text`, if there is one.
fn colour_length(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[end..].starts_with('m').then_some(2 + end + 1)
}

/// JSON in which nothing acts on a terminal. Outside of its strings there is nothing to escape.
pub(crate) fn json_escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter == '\n' || (' '..='~').contains(&letter) || !is_control(letter) {
            escaped.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

fn is_control(letter: char) -> bool {
    // A letter before it, so that an accent of its own is not escaped.
    !matches!(letter, '"' | '\'' | '\\') && format!("a{letter}").escape_debug().nth(1) == Some('\\')
}

/// Where log lines go: each event is one line on stderr, whatever its fields hold.
#[derive(Debug, Clone, Copy)]
pub enum LogWriter {
    /// Lines for people.
    Text,
    /// Lines that are JSON.
    Json,
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // tracing hands over whole lines.
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = match self {
            Self::Text => text.replace('\n', "\\n"),
            Self::Json => json_escaped(text),
        };
        print_error(format_args!("{text}"));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_as_a_command() {
        assert_eq!(printable("a\u{1b}[2J\tü \"b\" \\ \u{202e}x\u{9b}\n"), r#"a\u{1b}[2J\tü "b" \ \u{202e}x\u{9b}\n"#);
        assert_eq!(printable("e\u{301} नमस्ते"), "e\u{301} नमस्ते", "accents and vowel signs stay");
        assert_eq!(harmless("a\nb\u{1b}[2J\u{1b}[1;32mc\u{1b}[0m", true), "a\nb\\u{1b}[2J\u{1b}[1;32mc\u{1b}[0m");
        assert_eq!(harmless("\u{1b}[1;32mc", false), "\\u{1b}[1;32mc");
    }

    #[test]
    fn a_closed_output_is_no_error_and_a_full_disk_is_one() {
        struct Broken(ErrorKind);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let result = |kind| {
            let output = Mutex::new(Output::default());
            write_out(&mut Broken(kind), &output, "text");
            let output = output.into_inner().unwrap();
            (output.is_closed, output.error.map(|error| error.kind()))
        };
        assert_eq!(result(ErrorKind::BrokenPipe), (true, None));
        assert_eq!(result(ErrorKind::StorageFull), (false, Some(ErrorKind::StorageFull)));
    }

    proptest! {
        #[test]
        fn only_line_ends_are_left_of_control_characters(text in any::<String>()) {
            let shown = harmless(&text, false);
            prop_assert!(shown.chars().all(|c| c == '\n' || !is_control(c)));
            prop_assert_eq!(printable(&printable(&text)), printable(&text), "escaped twice is escaped once");
        }

        #[test]
        fn escaped_json_is_the_same_json(text in any::<String>()) {
            let json = json_escaped(&serde_json::to_string(&text).unwrap());
            prop_assert!(json.chars().all(|c| !is_control(c)));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
