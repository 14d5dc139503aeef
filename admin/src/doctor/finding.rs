//! What a check says.

use common::mongo;
use serde::Serialize;

/// How good it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// As it should be.
    Green,
    /// Could be better, or cannot be seen from here.
    Amber,
    /// Wrong.
    Red,
}

impl State {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Amber => "amber",
            Self::Red => "red",
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How good it is.
    pub state: State,
    /// What there is.
    pub found: String,
    /// What to do; none where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub todo: Option<String>,
}

impl Finding {
    pub(super) fn green(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Green, found: found.into(), todo: None }
    }

    pub(super) fn amber(check: &'static str, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { check, state: State::Amber, found: found.into(), todo: Some(todo.into()) }
    }

    pub(super) fn red(check: &'static str, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { check, state: State::Red, found: found.into(), todo: Some(todo.into()) }
    }

    /// It cannot be seen.
    pub(super) fn unseen(check: &'static str, error: &anyhow::Error) -> Self {
        let why = format!("cannot be seen: {}", mongo::in_words(error));
        Self::amber(
            check,
            why,
            "give this user the role inspector of config/mongodb/access.json, or run this as another user",
        )
    }
}
