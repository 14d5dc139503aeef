//! What people are called.

use serde::Deserialize;

/// The name in `profile` of a user's document.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Name {
    /// Given name.
    pub first_name: String,
    /// Family name; may be empty.
    pub last_name: String,
}

impl Name {
    /// First and last name.
    pub fn full(&self) -> String {
        full(&self.first_name, &self.last_name)
    }
}

/// First and last name, of which either may be empty.
pub fn full(first: &str, last: &str) -> String {
    format!("{first} {last}").trim().to_owned()
}
