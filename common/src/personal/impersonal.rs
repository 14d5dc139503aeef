//! Collections about tools, days and the system itself.

use super::rule::{Class, Export, IMPERSONAL, Kept, Kind, Place, Rule};
use crate::documents::{
    audit_entry, dead_letter_replay, erasure, lease, migration, privacy_request, rollup_day, system_analytics, tool,
    tool_category, tool_day,
};
use crate::schema::DEAD_LETTER_REPLAYS_TTL;

/// A collection that no person is found in.
const fn impersonal(name: &'static str, purpose: &'static str, rules: &'static [Rule]) -> Place {
    Place { kind: Kind::Collection, name, purpose, kept: Kept::Forever, people: &[], rules }
}

pub(super) const TOOLS: Place = impersonal(
    tool::COLLECTION,
    "what DevToolkit offers, and how each tool is doing",
    &[Rule {
        paths: &[
            "_id",
            "name",
            "slug",
            "description",
            "category",
            "subcategory",
            "tags[]",
            "metadata.version",
            "metadata.author",
            "metadata.license",
            "metadata.repository",
            "metadata.documentation",
            "metadata.changelog",
            "features.aiPowered",
            "features.realTime",
            "features.collaborative",
            "features.offline",
            "features.apiAccess",
            "configuration.isActive",
            "configuration.isPublic",
            "configuration.isFeatured",
            "configuration.requiresAuth",
            "configuration.requiresPro",
            "configuration.maintenanceMode",
            "usage.totalUsage",
            "usage.dailyUsage",
            "usage.weeklyUsage",
            "usage.monthlyUsage",
            "usage.averageRating",
            "usage.totalRatings",
            "performance.averageResponseTime",
            "performance.uptime",
            "performance.errorRate",
            "performance.lastHealthCheck",
            "ui.icon",
            "ui.color",
            "ui.screenshots[]",
            "ui.demoUrl",
            "dependencies.external[]",
            "dependencies.internal[]",
            "limits.dailyLimit",
            "limits.monthlyLimit",
            "limits.rateLimitPerMinute",
            "limits.maxFileSize",
            "timestamps.createdAt",
            "timestamps.updatedAt",
            "timestamps.lastUsed",
            "timestamps.deprecatedAt",
        ],
        ..IMPERSONAL
    }],
);

pub(super) const TOOL_CATEGORIES: Place = impersonal(
    tool_category::COLLECTION,
    "the shelves that the tools stand on",
    &[Rule {
        paths: &["_id", "slug", "name", "description", "icon", "order", "isActive", "createdAt", "updatedAt"],
        ..IMPERSONAL
    }],
);

pub(super) const SYSTEM_ANALYTICS: Place = impersonal(
    system_analytics::COLLECTION,
    "the numbers of each day: counts and means over everybody",
    &[Rule {
        paths: &[
            "_id",
            "date",
            "metrics.users.total",
            "metrics.users.active",
            "metrics.users.new",
            "metrics.users.verified",
            "metrics.users.premium",
            "metrics.tools.totalUsage",
            "metrics.tools.uniqueUsers",
            "metrics.tools.averageSessionDuration",
            "metrics.tools.mostUsedTools[].toolId",
            "metrics.tools.mostUsedTools[].toolName",
            "metrics.tools.mostUsedTools[].usageCount",
            "metrics.performance.averageResponseTime",
            "metrics.performance.errorRate",
            "metrics.performance.uptime",
            "metrics.performance.peakConcurrentUsers",
            "metrics.engagement.pageViews",
            "metrics.engagement.bounceRate",
            "metrics.engagement.averageSessionDuration",
            "metrics.engagement.returnUserRate",
            "trends.userGrowth",
            "trends.usageGrowth",
            "trends.performanceChange",
            "rollup.definitionVersion",
            "rollup.engine",
            "rollup.settings.visitGapMinutes",
            "rollup.settings.presenceMinutes",
            "rollup.settings.mostUsedTools",
            "rollup.inputs.toolUsage",
            "rollup.inputs.activity",
            "rollup.inputs.healthChecks",
            "rollup.inputs.unreadable",
            "rollup.expired[]",
            "rollup.computedAt",
            "rollup.provisional",
            "createdAt",
            "updatedAt",
        ],
        ..IMPERSONAL
    }],
);

pub(super) const TOOL_DAYS: Place = impersonal(
    tool_day::COLLECTION,
    "the numbers of each tool on each day: counts over everybody, by plan and by country",
    &[Rule {
        paths: &[
            "_id",
            "date",
            "toolId",
            "usage",
            "failures",
            "uniqueUsers",
            "duration.total",
            "duration.min",
            "duration.max",
            "responseTime.count",
            "responseTime.total",
            "responseTime.histogram[].upTo",
            "responseTime.histogram[].count",
            "byPlan.*",
            "byCountry.*",
            "healthChecks",
            "healthyChecks",
            "lastUsedAt",
            "lastHealthCheckAt",
            "updatedAt",
        ],
        ..IMPERSONAL
    }],
);

pub(super) const ROLLUP_DAYS: Place = impersonal(
    rollup_day::COLLECTION,
    "what the aggregator knows about each day",
    &[
        // There only while the day's events are rewritten: whoever has it can tell whose a pseudonym is.
        Rule { paths: &["anonymisation.key"], class: Class::Secret, ..IMPERSONAL },
        Rule {
            paths: &[
                "_id",
                "state",
                "rolledAt",
                "inputs.toolUsage",
                "inputs.activity",
                "inputs.healthChecks",
                "inputs.unreadable",
                "durationMs",
                "attempts",
                "lastError",
                "dirtySince",
                "dirtyMarks",
                "sealedAt",
                "expired[]",
                "anonymisation.closedAt",
                "anonymisation.startedAt",
                "anonymisation.finishedAt",
                "anonymisation.documents.toolUsage",
                "anonymisation.documents.activity",
                "anonymisation.documents.uncounted",
            ],
            ..IMPERSONAL
        },
    ],
);

pub(super) const LEASES: Place = impersonal(
    lease::COLLECTION,
    "which process may do what only one may do at a time",
    &[Rule { paths: &["_id", "holder", "fence", "acquiredAt", "expiresAt"], ..IMPERSONAL }],
);

pub(super) const MIGRATIONS: Place = impersonal(
    migration::COLLECTION,
    "what admin migrate changed",
    &[Rule {
        paths: &[
            "_id",
            "appliedAt",
            "programVersion",
            "changes[].what",
            "changes[].change",
            "changes[].detail",
            "error",
        ],
        ..IMPERSONAL
    }],
);

pub(super) const ERASURES: Place = impersonal(
    erasure::COLLECTION,
    "who was erased, as keyed digests only, so that a replay or a restored backup brings nobody back",
    &[
        Rule { paths: &["_id"], class: Class::Identifier, ..IMPERSONAL },
        Rule { paths: &["kind", "tag", "requestedAt", "completedAt"], ..IMPERSONAL },
    ],
);

pub(super) const PRIVACY_REQUESTS: Place = impersonal(
    privacy_request::COLLECTION,
    "erasures under way and their receipts; an id is there only while an erasure is under way, and encrypted",
    &[
        Rule { paths: &["subject"], class: Class::Identifier, ..IMPERSONAL },
        Rule { paths: &["sealedId", "sealedSecret"], class: Class::Secret, export: Export::LeftOut, ..IMPERSONAL },
        Rule {
            paths: &[
                "_id",
                "mode",
                "keepSuggestions",
                "state",
                "requestedAt",
                "completedAt",
                "documents.*",
                "days.*.isSealed",
                "days.*.events",
                "days.*.before.totalUsage",
                "days.*.before.activeUsers",
                "days.*.before.pageViews",
                "kafkaHoldsUntil.*",
            ],
            ..IMPERSONAL
        },
    ],
);

pub(super) const DEAD_LETTER_REPLAYS: Place = Place {
    kept: Kept::For(DEAD_LETTER_REPLAYS_TTL, "replayedAt"),
    ..impersonal(
        dead_letter_replay::COLLECTION,
        "which dead letters were sent to ingest again: places on the topic, no content",
        &[Rule { paths: &["_id", "topic", "partition", "offsets", "lastArrived", "replayedAt"], ..IMPERSONAL }],
    )
};

/// People are there as keyed digests, so that an entry stays as it is when a person is erased: nobody may change an entry.
pub(super) const AUDIT_LOG: Place = impersonal(
    audit_entry::COLLECTION,
    "who did what with personal data and settings; people as keyed digests only; the auditor removes what is too old",
    &[
        Rule {
            paths: &["who.user", "target.subject"],
            class: Class::Identifier,
            export: Export::LeftOut,
            ..IMPERSONAL
        },
        // Of those who operate the system, in their office.
        Rule {
            paths: &["who.systemUser", "who.databaseUser"],
            class: Class::Identifier,
            export: Export::LeftOut,
            ..IMPERSONAL
        },
        // An entry that has the digest of the person's id.
        Rule {
            paths: &["_id", "at", "phase", "begun", "action", "target.kind", "target.name", "outcome"],
            export: Export::Written,
            ..IMPERSONAL
        },
        Rule {
            paths: &["previous", "who.host", "who.program", "detail", "error"],
            export: Export::LeftOut,
            ..IMPERSONAL
        },
    ],
);
