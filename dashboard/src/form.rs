//! What a form sent.

use bson::{DateTime, oid::ObjectId};

use crate::failure::Failure;
use crate::texts::known;

/// The fields of a form, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a body.
    pub fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// The field, without spaces around; empty where it is not there.
    pub fn text(&self, field: &str) -> &str {
        self.exact(field).trim()
    }

    /// The field as it came, for passwords.
    pub fn exact(&self, field: &str) -> &str {
        self.0.iter().find(|(name, _)| name == field).map_or("", |(_, value)| value)
    }

    /// Whether a box was ticked.
    pub fn is_set(&self, field: &str) -> bool {
        !self.exact(field).is_empty()
    }

    /// A text of one line, of at most so many letters, without control characters.
    ///
    /// # Errors
    /// It is longer, or has control characters.
    pub fn line(&self, field: &'static str, most: usize) -> Result<&str, Failure> {
        let text = self.text(field);
        if text.chars().any(char::is_control) {
            return Err(Failure::field(field, text, "one line without control characters"));
        }
        if text.chars().count() > most {
            return Err(Failure::field(field, text, format!("at most {most} letters")));
        }
        Ok(text)
    }

    /// A text of several lines, of at most so many letters, without other control characters.
    ///
    /// # Errors
    /// It is longer, or has control characters.
    pub fn lines(&self, field: &'static str, most: usize) -> Result<String, Failure> {
        let text = self.text(field).replace("\r\n", "\n");
        if text.chars().any(|letter| letter.is_control() && letter != '\n') {
            return Err(Failure::field(field, &text, "text without control characters"));
        }
        if text.chars().count() > most {
            return Err(Failure::field(field, &text, format!("at most {most} letters")));
        }
        Ok(text)
    }

    /// A time that a page wrote into its own form.
    ///
    /// # Errors
    /// It is none.
    pub fn millis(&self, field: &'static str) -> Result<DateTime, Failure> {
        let text = self.text(field);
        let millis = text.parse().map_err(|_| Failure::field(field, text, "what the page has: load the page again"))?;
        Ok(DateTime::from_millis(millis))
    }

    /// An id of 24 hex digits.
    ///
    /// # Errors
    /// It is none.
    pub fn id(&self, field: &'static str) -> Result<ObjectId, Failure> {
        let text = self.text(field);
        ObjectId::parse_str(text).map_err(|_| Failure::field(field, text, "an id of 24 hex digits"))
    }

    /// One of the words of an enumeration.
    ///
    /// # Errors
    /// Another word.
    pub fn one_of<T: Copy>(
        &self,
        field: &'static str,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Result<T, Failure> {
        let text = self.text(field);
        known(text, all, name).map_err(|expected| Failure::field(field, text, expected))
    }
}
