//! What stands around every page.

use common::documents::user::Theme;

use crate::pages::assets::{KEYS_PATH, STYLE_PATH};
use crate::viewer::{Viewer, Who};
use crate::words::Language;

/// The entries of the navigation: for whom, path, name.
const ENTRIES: [(Who, &str, &str); 7] = [
    (Who::User, "/", "My usage"),
    (Who::User, "/tools", "Tools"),
    (Who::Admin, "/live", "Live"),
    (Who::Admin, "/admin", "Days"),
    (Who::Admin, "/admin/users", "Users"),
    (Who::Moderator, "/admin/suggestions", "Suggestions"),
    (Who::Admin, "/admin/config", "Configuration"),
];

/// An entry of the navigation.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where it leads.
    pub path: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Whether it is this page.
    pub is_here: bool,
}

/// The head, the navigation and the foot of a page.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Of the browser's tab.
    pub title: String,
    /// Where the stylesheet is.
    pub style: &'static str,
    /// Where the script for keys is.
    pub script: &'static str,
    /// The user's colours.
    pub theme: Theme,
    /// How numbers are written.
    pub language: Language,
    /// What the viewer may open.
    pub entries: Vec<Entry>,
    /// Who asks.
    pub viewer: Option<Viewer>,
}

impl Frame {
    /// Of a page that anyone sees.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            style: &STYLE_PATH,
            script: &KEYS_PATH,
            theme: Theme::System,
            language: Language::of("en"),
            entries: Vec::new(),
            viewer: None,
        }
    }

    /// Of a page for who is signed in.
    pub fn of(viewer: &Viewer, title: impl Into<String>, here: &'static str) -> Self {
        let is_open = |(who, ..): &&(Who, &str, &str)| who.allows(Some(viewer));
        Self {
            theme: viewer.theme,
            language: Language::of(&viewer.language),
            entries: ENTRIES
                .iter()
                .filter(is_open)
                .map(|&(_, path, name)| Entry { path, name, is_here: path == here })
                .collect(),
            viewer: Some(viewer.clone()),
            ..Self::new(title)
        }
    }
}
