//! The one place through which every change by an administrator or a moderator goes.

use std::fmt;
use std::future::Future;

use bson::oid::ObjectId;

use crate::failure::Failure;
use crate::viewer::Viewer;

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// An account.
    User(ObjectId),
    /// A suggestion.
    Suggestion(ObjectId),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user {id}"),
            Self::Suggestion(id) => write!(f, "suggestion {id}"),
        }
    }
}

/// Does the work, and writes down who did what to whom and how it ended.
///
/// # Errors
/// Those of the work.
pub async fn around<T>(
    viewer: &Viewer,
    action: &'static str,
    target: Target,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let done = work.await;
    let outcome = if done.is_ok() { "done" } else { "refused" };
    tracing::info!(actor = %viewer.user, action, %target, outcome, "a change by an administrator");
    done
}
