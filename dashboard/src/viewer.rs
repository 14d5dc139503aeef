//! Who asks.

use bson::oid::ObjectId;
use common::documents::user::{Role, Theme};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// Also who is not signed in.
    Anyone,
    /// Whoever is signed in.
    User,
    /// Moderators and admins.
    Moderator,
    /// Admins.
    Admin,
}

impl Who {
    /// Whether this is one of them.
    pub fn allows(self, viewer: Option<&Viewer>) -> bool {
        let rank = match viewer.map(|viewer| viewer.role) {
            None => Self::Anyone,
            Some(Role::User) => Self::User,
            Some(Role::Moderator) => Self::Moderator,
            Some(Role::Admin) => Self::Admin,
        };
        rank >= self
    }
}

/// A person who is signed in.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// The user.
    pub user: ObjectId,
    /// The session.
    pub session: ObjectId,
    /// First and last name.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// The colours the user wants.
    pub theme: Theme,
    /// The language whose numbers the user wants.
    pub language: String,
    /// What every form of this session sends.
    pub csrf: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_what_the_lower_ones_may() {
        let viewer = |role| Viewer {
            user: ObjectId::new(),
            session: ObjectId::new(),
            name: String::new(),
            role,
            theme: Theme::System,
            language: "en".to_owned(),
            csrf: String::new(),
        };
        let viewers = [None, Some(viewer(Role::User)), Some(viewer(Role::Moderator)), Some(viewer(Role::Admin))];
        for (least, who) in [Who::Anyone, Who::User, Who::Moderator, Who::Admin].into_iter().enumerate() {
            for (rank, viewer) in viewers.iter().enumerate() {
                assert_eq!(who.allows(viewer.as_ref()), rank >= least, "{who:?} {viewer:?}");
            }
        }
    }
}
