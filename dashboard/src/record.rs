//! The one place through which every change by an administrator or a moderator goes, and every look at somebody else's data.

use std::future::Future;

use bson::oid::ObjectId;
use common::audit::{self, Act, Action, TargetKind};

use crate::app::App;
use crate::failure::Failure;
use crate::viewer::Viewer;

/// On an account.
pub fn on_user(app: &App, action: Action, id: ObjectId, detail: impl Into<String>) -> Act {
    Act::on_person(action, Some(&app.keyring), id).with_detail(detail)
}

/// On a suggestion.
pub fn on_suggestion(id: ObjectId, detail: impl Into<String>) -> Act {
    Act::on(Action::SuggestionsChange, TargetKind::Suggestion, id.to_hex()).with_detail(detail)
}

/// Does the work, and writes down before and after who does what to whom. What cannot be written down is not done.
///
/// # Errors
/// Those of the work, or MongoDB does not answer.
pub async fn around<T>(
    app: &App,
    viewer: &Viewer,
    act: Act,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let act = act.by_user(&app.keyring, viewer.user);
    let work = async { work.await.map_err(anyhow::Error::new) };
    audit::around(&app.database, act, work).await.map_err(Failure::from)
}
