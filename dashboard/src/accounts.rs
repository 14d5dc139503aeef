//! What an administrator changes about an account.

use bson::{DateTime, Document, doc, oid::ObjectId};
use common::audit::Action;
use common::day::Day;
use common::documents::user::{self, Plan, Role, SubscriptionStatus};

use crate::app::App;
use crate::failure::Failure;
use crate::record::{around, on_user};
use crate::sessions::{self, Which};
use crate::viewer::Viewer;

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nobody signs in any more, and who is signed in is so no more.
    Suspend {
        /// Why.
        reason: String,
    },
    /// The account may be used again.
    Reinstate,
    /// Another role.
    Role(Role),
    /// Another plan, with the features and limits of that plan.
    Plan {
        /// The plan.
        plan: Plan,
        /// Whether it counts.
        status: SubscriptionStatus,
        /// The last day; none for a plan without an end.
        until: Option<Day>,
    },
    /// The right password opens the account at once.
    Unlock,
}

impl Change {
    /// For the audit log; the reason of a suspension may say something about the person, and stays in the account.
    fn detail(&self) -> String {
        match self {
            Self::Suspend { .. } => "suspend".to_owned(),
            Self::Reinstate => "reinstate".to_owned(),
            Self::Role(role) => format!("role {role}"),
            Self::Plan { plan, status, .. } => format!("plan {plan}, {status}"),
            Self::Unlock => "unlock".to_owned(),
        }
    }

    /// Who administers cannot lock themselves out, and leaves no system without an administrator.
    fn is_for_others_alone(&self) -> bool {
        matches!(self, Self::Suspend { .. } | Self::Role(_))
    }

    fn update(&self, now: DateTime) -> Document {
        let mut set = doc! { "metadata.updatedAt": now };
        let mut unset = Document::new();
        match self {
            Self::Suspend { reason } => {
                set.extend(doc! { "status.isSuspended": true, "status.suspensionReason": reason });
            }
            Self::Reinstate => {
                set.extend(doc! { "status.isSuspended": false, "status.isActive": true });
                unset.insert("status.suspensionReason", "");
            }
            Self::Role(role) => drop(set.insert("role", role.as_str())),
            Self::Plan { plan, status, until } => {
                let (daily, monthly) = plan.limits();
                set.extend(doc! {
                    "subscription.plan": plan.as_str(),
                    "subscription.status": status.as_str(),
                    "subscription.features": plan.features(),
                    "usage.dailyLimit": daily,
                    "usage.monthlyLimit": monthly,
                });
                match until {
                    Some(day) => drop(set.insert("subscription.endDate", DateTime::from_chrono(day.start()))),
                    None => drop(unset.insert("subscription.endDate", "")),
                }
            }
            Self::Unlock => {
                set.insert("authentication.failedLoginAttempts", 0_i64);
                unset.insert("authentication.lockedUntil", "");
            }
        }
        let mut update = doc! { "$set": set };
        if !unset.is_empty() {
            update.insert("$unset", unset);
        }
        update
    }
}

/// Changes the account that was as `seen` says, which is its `metadata.updatedAt`.
///
/// # Errors
/// There is no such account, somebody changed it meanwhile, it is the administrator's own, or MongoDB does not answer.
pub async fn change(app: &App, viewer: &Viewer, id: ObjectId, seen: DateTime, change: Change) -> Result<(), Failure> {
    if id == viewer.user && change.is_for_others_alone() {
        return Err(Failure::Forbidden(
            "nobody suspends their own account or changes their own role: ask another administrator".to_owned(),
        ));
    }
    let act = on_user(app, Action::UsersChange, id, change.detail());
    around(app, viewer, act, async {
        let users = app.database.collection::<Document>(user::COLLECTION);
        let filter = doc! { "_id": id, "metadata.updatedAt": seen };
        let changed = users.update_one(filter, change.update(DateTime::now())).await?;
        if changed.matched_count == 0 {
            let is_there = users.find_one(doc! { "_id": id }).projection(doc! { "_id": 1 }).await?.is_some();
            return Err(if is_there { changed_meanwhile("account") } else { no_user() });
        }
        if matches!(change, Change::Suspend { .. }) {
            sessions::end(app, id, Which::All).await?;
        }
        Ok(())
    })
    .await
}

/// Ends one session of a user, or all.
///
/// # Errors
/// There is no such session, or MongoDB does not answer.
pub async fn end_sessions(app: &App, viewer: &Viewer, id: ObjectId, which: Which) -> Result<u64, Failure> {
    let detail = if matches!(which, Which::One(_)) { "end a session" } else { "end all sessions" };
    around(app, viewer, on_user(app, Action::UsersChange, id, detail), async {
        let ended = sessions::end(app, id, which).await?;
        match which {
            Which::One(_) if ended == 0 => {
                Err(Failure::NotFound("the user has no such session; it may have ended already".to_owned()))
            }
            _ => Ok(ended),
        }
    })
    .await
}

/// The document is not the one that the form showed.
pub fn changed_meanwhile(what: &str) -> Failure {
    Failure::Conflict(format!(
        "somebody changed the {what} since you loaded the page: load the page again, and look first"
    ))
}

/// There is no such user.
pub fn no_user() -> Failure {
    Failure::NotFound("there is no user with this id; /admin/users finds users".to_owned())
}
