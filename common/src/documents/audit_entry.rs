//! `audit_log`: who did what, on whom or on what, and with which result. [`crate::audit`] writes it.

use bson::DateTime;
use serde::{Deserialize, Serialize};

/// The collection's name.
pub const COLLECTION: &str = "audit_log";

/// What `previous` of the first entry is: the digest of no entry.
pub const NO_ENTRY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

enumeration! {
    /// What somebody did.
    Action {
        PrivacyExport = "privacy.export",
        PrivacyErase = "privacy.erase",
        PrivacyResume = "privacy.resume",
        PrivacyReapply = "privacy.reapply",
        KeysCreate = "keys.create",
        KeysRotate = "keys.rotate",
        KeysRetire = "keys.retire",
        SecretsProtect = "secrets.protect",
        UsersSetPassword = "users.set_password",
        UsersChange = "users.change",
        UsersRead = "users.read",
        SuggestionsChange = "suggestions.change",
        DeadLettersShow = "dead_letters.show",
        DeadLettersReplay = "dead_letters.replay",
        Suspicious = "suspicious",
        Migrate = "migrate",
        SeedDemo = "seed_demo",
        ConfigSet = "config.set",
        ConfigUnset = "config.unset",
        AccessApply = "access.apply",
        Restore = "restore",
    }
}

enumeration! {
    /// Which of the two entries of an act it is.
    Phase {
        Begun = "begun",
        Ended = "ended",
    }
}

enumeration! {
    /// How an act ended.
    Outcome { Succeeded = "succeeded", Failed = "failed" }
}

enumeration! {
    /// What kind of thing an act was about.
    TargetKind {
        Person = "person",
        Setting = "setting",
        Key = "key",
        Database = "database",
        Topic = "topic",
        Suggestion = "suggestion",
        Access = "access",
    }
}

/// One entry. An act has two: one from before it began, and one with its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Its number: 1, 2, 3, without a gap.
    #[serde(rename = "_id")]
    pub number: i64,
    /// SHA-256 of the entry before, in hexadecimal: of its BSON as it is stored. Of the first entry, [`NO_ENTRY`].
    pub previous: String,
    /// When it was written, by the clock of the machine that wrote it.
    pub at: DateTime,
    /// Whether the act begins or has ended.
    pub phase: Phase,
    /// Of an end: the number of the entry of the act's beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begun: Option<i64>,
    /// Who did it.
    pub who: Who,
    /// What was done: the name of an [`Action`], of this version or of a later one.
    pub action: String,
    /// On whom, or on what.
    pub target: Target,
    /// How it was done, such as the options of the command; absent where there is nothing to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Of an end: how it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Of an end that failed: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Who {
    /// The user of the operating system that the program ran as.
    pub system_user: String,
    /// The machine.
    pub host: String,
    /// The program and its version.
    pub program: String,
    /// The user that the program signed in to MongoDB as; absent where MongoDB asks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_user: Option<String>,
    /// Keyed digest of the id of the user of DevToolkit who asked for it, in the dashboard; absent where nobody signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// On whom or on what something was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// What kind of thing it is.
    pub kind: TargetKind,
    /// The thing's name; absent for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of a person: keyed digest of the id; absent where no keyring was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}
