//! Collections that the application writes about people, and the days of each user.

use super::rule::{Action, Class, Export, IMPERSONAL, Kept, Kind, Place, Rule};
use crate::documents::{configuration_history, session, suggestion, system_configuration, user, user_day};
use crate::schema::SESSIONS_TTL;

/// A field of a document that is about one person alone, and goes with the person.
const OWN: Rule = Rule {
    paths: &[],
    class: Class::Personal,
    export: Export::Written,
    delete: Action::RemoveDocument,
    anonymise: Action::RemoveDocument,
    seal: Action::Keep,
};

/// The same of `users`, where another person's document may say that this person created it.
const ACCOUNT: Rule = Rule { export: Export::WrittenWhere(&["_id"]), ..OWN };

/// The same of `suggestions`, where people vote, answer, and are assigned.
const SUGGESTION: Rule = Rule { export: Export::WrittenWhere(&["userId"]), ..OWN };

const SECRET: Rule = Rule { class: Class::Secret, export: Export::LeftOut, ..OWN };

pub(super) const USERS: Place = Place {
    kind: Kind::Collection,
    name: user::COLLECTION,
    purpose: "the account: who may use DevToolkit, with which plan and which preferences",
    kept: Kept::WithTheAccount,
    people: &["_id", "metadata.createdBy"],
    rules: &[
        Rule { paths: &["_id", "email"], class: Class::Identifier, anonymise: Action::PseudonymOfErasure, ..ACCOUNT },
        Rule { paths: &["password"], anonymise: Action::Blank, ..SECRET },
        Rule {
            paths: &["authentication.verificationToken", "authentication.resetToken"],
            anonymise: Action::RemoveField,
            ..SECRET
        },
        Rule {
            paths: &[
                "authentication.isVerified",
                "subscription.plan",
                "subscription.status",
                "subscription.startDate",
                "subscription.endDate",
                "subscription.features[]",
                "usage.dailyCount",
                "usage.monthlyCount",
                "usage.totalCount",
                "usage.dailyLimit",
                "usage.monthlyLimit",
                "usage.lastResetDate",
                "usage.lastUsageDate",
                "metadata.createdAt",
                "metadata.source",
            ],
            anonymise: Action::Keep,
            ..ACCOUNT
        },
        Rule {
            paths: &[
                "profile.avatar",
                "profile.bio",
                "profile.website",
                "profile.location",
                "authentication.verificationTokenExpiry",
                "authentication.resetTokenExpiry",
                "authentication.lastPasswordChange",
                "authentication.lockedUntil",
                "status.suspensionReason",
                "status.lastLogin",
                "status.lastActivity",
                "metadata.ipAddress",
                "metadata.userAgent",
            ],
            anonymise: Action::RemoveField,
            ..ACCOUNT
        },
        Rule {
            paths: &[
                "profile.firstName",
                "profile.lastName",
                "preferences.theme",
                "preferences.language",
                "preferences.timezone",
                "preferences.notifications.email",
                "preferences.notifications.push",
                "preferences.notifications.marketing",
                "preferences.privacy.profileVisibility",
                "preferences.privacy.showActivity",
                "authentication.failedLoginAttempts",
                "role",
                "status.isActive",
                "status.isSuspended",
                "metadata.updatedAt",
            ],
            anonymise: Action::Blank,
            ..ACCOUNT
        },
        Rule {
            paths: &["metadata.createdBy"],
            class: Class::Identifier,
            export: Export::OwnId,
            delete: Action::RemoveField,
            anonymise: Action::RemoveField,
            ..ACCOUNT
        },
    ],
};

pub(super) const SESSIONS: Place = Place {
    kind: Kind::Collection,
    name: session::COLLECTION,
    purpose: "who is signed in, from which device",
    kept: Kept::For(SESSIONS_TTL, "expiresAt"),
    people: &["userId"],
    rules: &[
        Rule { paths: &["_id", "userId"], class: Class::Identifier, ..OWN },
        Rule { paths: &["sessionToken"], ..SECRET },
        Rule {
            paths: &[
                "deviceInfo.userAgent",
                "deviceInfo.ipAddress",
                "deviceInfo.location",
                "deviceInfo.deviceType",
                "deviceInfo.browser",
                "deviceInfo.os",
                "isActive",
                "expiresAt",
                "createdAt",
                "lastAccessedAt",
            ],
            ..OWN
        },
    ],
};

pub(super) const USER_DAYS: Place = Place {
    kind: Kind::Collection,
    name: user_day::COLLECTION,
    purpose: "what each user used on each day: the counters of the account are their sums",
    kept: Kept::WithTheAccount,
    people: &["userId"],
    rules: &[
        Rule { paths: &["_id", "userId"], class: Class::Identifier, anonymise: Action::PseudonymOfErasure, ..OWN },
        Rule {
            paths: &["date", "usage", "failures", "pageViews", "visits", "minutes", "lastUsedAt", "lastActivityAt"],
            anonymise: Action::Keep,
            ..OWN
        },
        Rule { paths: &["updatedAt"], class: Class::None, anonymise: Action::Keep, ..OWN },
    ],
};

/// `--keep-suggestions` leaves the person's own suggestions and does [`AUTHOR_GOES`] instead.
pub(super) const SUGGESTIONS: Place = Place {
    kind: Kind::Collection,
    name: suggestion::COLLECTION,
    purpose: "feedback, wishes and reports of faults, with who voted for them and who answered",
    kept: Kept::Forever,
    people: &["userId", "votes.voters[]", "implementation.assignedTo", "adminResponse.respondedBy"],
    rules: &[
        // What tells a suggestion from another: whoever took part in it may know.
        Rule { paths: &["_id"], class: Class::None, export: Export::Written, ..SUGGESTION },
        Rule { paths: &["title"], export: Export::Written, ..SUGGESTION },
        Rule { paths: &["userId"], class: Class::Identifier, export: Export::OwnId, ..SUGGESTION },
        Rule {
            paths: &[
                "description",
                "attachments[].type",
                "attachments[].url",
                "attachments[].name",
                "metadata.userAgent",
                "metadata.ipAddress",
            ],
            ..SUGGESTION
        },
        Rule {
            paths: &[
                "type",
                "category",
                "priority",
                "status",
                "metadata.createdAt",
                "metadata.updatedAt",
                "metadata.implementedAt",
            ],
            class: Class::None,
            ..SUGGESTION
        },
        Rule {
            paths: &["votes.voters[]"],
            class: Class::Identifier,
            export: Export::OwnId,
            delete: Action::TakeVote,
            anonymise: Action::TakeVote,
            ..SUGGESTION
        },
        Rule {
            paths: &["votes.upvotes", "votes.downvotes"],
            class: Class::None,
            delete: Action::TakeVote,
            anonymise: Action::TakeVote,
            ..SUGGESTION
        },
        Rule {
            paths: &["implementation.assignedTo"],
            class: Class::Identifier,
            export: Export::OwnId,
            delete: Action::RemoveField,
            anonymise: Action::RemoveField,
            ..SUGGESTION
        },
        Rule {
            paths: &[
                "implementation.estimatedEffort",
                "implementation.targetVersion",
                "implementation.implementationNotes",
            ],
            class: Class::None,
            export: Export::WrittenWhere(&["userId", "implementation.assignedTo"]),
            ..SUGGESTION
        },
        Rule {
            paths: &["adminResponse.respondedBy"],
            class: Class::Identifier,
            export: Export::OwnId,
            delete: Action::NobodysId,
            anonymise: Action::NobodysId,
            ..SUGGESTION
        },
        Rule {
            paths: &["adminResponse.message", "adminResponse.respondedAt"],
            export: Export::WrittenWhere(&["userId", "adminResponse.respondedBy"]),
            ..SUGGESTION
        },
    ],
};

/// What happens to a suggestion whose author is erased with `--keep-suggestions`; its other fields stay.
pub const AUTHOR_GOES: &[(&str, Action)] = &[
    ("userId", Action::NobodysId),
    ("metadata.userAgent", Action::RemoveField),
    ("metadata.ipAddress", Action::RemoveField),
];

pub(super) const SYSTEM_CONFIGURATION: Place = Place {
    kind: Kind::Collection,
    name: system_configuration::COLLECTION,
    purpose: "settings of the application, with who changed them last",
    kept: Kept::Forever,
    people: &["lastModifiedBy"],
    rules: &[
        // The value of a secret setting is one; which settings are secret may change.
        Rule { paths: &["value"], class: Class::Secret, export: Export::LeftOut, ..IMPERSONAL },
        Rule {
            paths: &[
                "validation.required",
                "validation.min",
                "validation.max",
                "validation.pattern",
                "validation.enum[]",
            ],
            export: Export::LeftOut,
            ..IMPERSONAL
        },
        Rule {
            paths: &[
                "_id",
                "key",
                "category",
                "description",
                "dataType",
                "environment",
                "isActive",
                "isSecret",
                "version",
                "createdAt",
                "updatedAt",
            ],
            export: Export::Written,
            ..IMPERSONAL
        },
        Rule {
            paths: &["lastModifiedBy"],
            class: Class::Identifier,
            export: Export::OwnId,
            delete: Action::RemoveField,
            anonymise: Action::RemoveField,
            ..IMPERSONAL
        },
    ],
};

pub(super) const CONFIGURATION_HISTORY: Place = Place {
    kind: Kind::Collection,
    name: configuration_history::COLLECTION,
    purpose: "what each setting was before each change, with who had made it so; secret values are not kept",
    kept: Kept::Forever,
    people: &["lastModifiedBy"],
    rules: &[
        Rule {
            paths: &[
                "value",
                "validation.required",
                "validation.min",
                "validation.max",
                "validation.pattern",
                "validation.enum[]",
            ],
            export: Export::LeftOut,
            ..IMPERSONAL
        },
        Rule {
            paths: &[
                "_id",
                "key",
                "version",
                "category",
                "description",
                "dataType",
                "environment",
                "isActive",
                "isSecret",
                "updatedAt",
                "replacedAt",
            ],
            export: Export::Written,
            ..IMPERSONAL
        },
        Rule {
            paths: &["lastModifiedBy"],
            class: Class::Identifier,
            export: Export::OwnId,
            delete: Action::RemoveField,
            anonymise: Action::RemoveField,
            ..IMPERSONAL
        },
    ],
};
