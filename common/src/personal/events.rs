//! Events: on Kafka, and as they are stored.

use super::rule::{Action, Class, Export, IMPERSONAL, Kept, Kind, Place, Rule};
use crate::documents::{activity_log, health_check, usage_analytics};
use crate::event::EventType;
use crate::schema::{ACTIVITY_LOGS_TTL, HEALTH_CHECKS_TTL, USAGE_ANALYTICS_TTL};

/// A field of a stored event that counts and tells nothing of who it was.
const COUNTED: Rule = Rule {
    paths: &[],
    class: Class::None,
    export: Export::Written,
    delete: Action::RemoveDocument,
    anonymise: Action::Keep,
    seal: Action::Keep,
};

/// What no number of a daily document needs.
const REMOVED: Rule =
    Rule { class: Class::Personal, anonymise: Action::RemoveField, seal: Action::RemoveField, ..COUNTED };

const LINKS: Rule =
    Rule { class: Class::Identifier, anonymise: Action::PseudonymOfErasure, seal: Action::Pseudonym, ..COUNTED };

const CONTEXT: Rule = Rule {
    paths: &[
        "context.userAgent",
        "context.ipAddress",
        "context.referrer",
        "context.location.region",
        "context.location.city",
    ],
    ..REMOVED
};

pub(super) const USAGE_ANALYTICS: Place = Place {
    kind: Kind::Collection,
    name: usage_analytics::COLLECTION,
    purpose: "each use of a tool: the daily numbers are computed from them",
    kept: Kept::For(USAGE_ANALYTICS_TTL, "timestamp"),
    people: &["userId"],
    rules: &[
        Rule { paths: &["userId", "sessionId"], ..LINKS },
        CONTEXT,
        Rule { paths: &["usage.errorMessage"], ..REMOVED },
        Rule { paths: &["metadata.customData.*"], anonymise: Action::AllowList, seal: Action::AllowList, ..REMOVED },
        Rule {
            paths: &[
                "_id",
                "toolId",
                "usage.startTime",
                "usage.endTime",
                "usage.duration",
                "usage.inputSize",
                "usage.outputSize",
                "usage.success",
                "context.location.country",
                "performance.responseTime",
                "performance.memoryUsage",
                "performance.cpuUsage",
                "metadata.version",
                "metadata.features[]",
                "timestamp",
                "anonymised",
            ],
            ..COUNTED
        },
    ],
};

pub(super) const ACTIVITY_LOGS: Place = Place {
    kind: Kind::Collection,
    name: activity_log::COLLECTION,
    purpose: "page views, sign-ups, sign-ins and failed ones: daily numbers, and attacks on logins",
    kept: Kept::For(ACTIVITY_LOGS_TTL, "timestamp"),
    people: &["userId"],
    rules: &[
        Rule { paths: &["userId", "sessionId"], ..LINKS },
        CONTEXT,
        Rule { paths: &["path"], anonymise: Action::CutQuery, seal: Action::CutQuery, ..REMOVED },
        Rule { paths: &["_id", "action", "context.location.country", "source", "timestamp", "anonymised"], ..COUNTED },
    ],
};

pub(super) const HEALTH_CHECKS: Place = Place {
    kind: Kind::Collection,
    name: health_check::COLLECTION,
    purpose: "whether a tool answered when it was checked; no user is involved",
    kept: Kept::For(HEALTH_CHECKS_TTL, "timestamp"),
    people: &[],
    rules: &[Rule { paths: &["_id", "toolId", "healthy", "responseTime", "message", "timestamp"], ..IMPERSONAL }],
};

/// On the topic nothing can be changed; what is stored of it is in a collection.
const ON_KAFKA: Rule = Rule {
    paths: &[],
    class: Class::None,
    export: Export::NotConcerned,
    delete: Action::Expire,
    anonymise: Action::Expire,
    seal: Action::Expire,
};

const AS_THE_TOPIC: Kept = Kept::Until("as long as the topic that the event is on");

pub(super) const ATTRIBUTES: Place = Place {
    kind: Kind::Event,
    name: "attributes of every event",
    purpose: "which event it is, who sent it and when; id and source become the document's _id",
    kept: AS_THE_TOPIC,
    people: &[],
    rules: &[
        Rule { paths: &["specversion", "type", "time", "source", "datacontenttype", "dataschema"], ..ON_KAFKA },
        Rule { paths: &["id", "traceparent"], class: Class::Identifier, ..ON_KAFKA },
        // Not read and not stored, and a sender may put anything into them.
        Rule { paths: &["subject", "data", "data_base64", "*"], class: Class::Personal, ..ON_KAFKA },
    ],
};

const DATA_CONTEXT: Rule = Rule { class: Class::Personal, ..Rule { paths: CONTEXT.paths, ..ON_KAFKA } };

const DATA_LINKS: Rule = Rule { paths: &["userId", "sessionId"], class: Class::Identifier, ..ON_KAFKA };

pub(super) const TOOL_USAGE: Place = Place {
    kind: Kind::Event,
    name: EventType::ToolUsage.as_str(),
    purpose: "becomes a document of usage_analytics",
    kept: AS_THE_TOPIC,
    people: &["userId"],
    rules: &[
        DATA_LINKS,
        DATA_CONTEXT,
        Rule { paths: &["usage.errorMessage", "metadata.customData.*"], class: Class::Personal, ..ON_KAFKA },
        Rule {
            paths: &[
                "toolId",
                "usage.startTime",
                "usage.endTime",
                "usage.duration",
                "usage.inputSize",
                "usage.outputSize",
                "usage.success",
                "context.location.country",
                "performance.responseTime",
                "performance.memoryUsage",
                "performance.cpuUsage",
                "metadata.version",
                "metadata.features[]",
            ],
            ..ON_KAFKA
        },
    ],
};

pub(super) const ACTIVITY: Place = Place {
    kind: Kind::Event,
    name: EventType::Activity.as_str(),
    purpose: "becomes a document of activity_logs",
    kept: AS_THE_TOPIC,
    people: &["userId"],
    rules: &[
        DATA_LINKS,
        DATA_CONTEXT,
        Rule { paths: &["path"], class: Class::Personal, ..ON_KAFKA },
        Rule { paths: &["action", "context.location.country"], ..ON_KAFKA },
    ],
};

pub(super) const HEALTH_CHECK: Place = Place {
    kind: Kind::Event,
    name: EventType::HealthCheck.as_str(),
    purpose: "becomes a document of health_checks",
    kept: AS_THE_TOPIC,
    people: &[],
    rules: &[Rule { paths: &["toolId", "healthy", "responseTime", "message"], ..ON_KAFKA }],
};
