//! The rule of each collection: the typed document of [`crate::documents`] in the server's words.

use bson::{Bson, Document, doc};

use super::json_schema::{
    any_object, binary, boolean, count, count_or_null, date, day, list_of, map_of, matching, number, number_or_null,
    object, object_id, one_of, string,
};
use crate::documents::{
    activity_log, audit_entry, erasure, privacy_request, rollup_day, session, suggestion, system_configuration, user,
};
use crate::keyring::{DIGEST_PATTERN, Sealed};
use crate::secrets::PASSWORD_PATTERN;

pub(super) fn users() -> Document {
    let profile = object(
        [("firstName", string()), ("lastName", string())],
        [("avatar", string()), ("bio", string()), ("website", string()), ("location", string())],
    );
    let notifications = object([("email", boolean()), ("push", boolean()), ("marketing", boolean())], []);
    let privacy =
        object([("profileVisibility", one_of(user::ProfileVisibility::NAMES)), ("showActivity", boolean())], []);
    let preferences = object(
        [
            ("theme", one_of(user::Theme::NAMES)),
            ("language", string()),
            ("timezone", string()),
            ("notifications", notifications),
            ("privacy", privacy),
        ],
        [],
    );
    let authentication = object(
        [("isVerified", boolean()), ("failedLoginAttempts", count())],
        [
            ("verificationToken", matching(DIGEST_PATTERN)),
            ("verificationTokenExpiry", date()),
            ("resetToken", matching(DIGEST_PATTERN)),
            ("resetTokenExpiry", date()),
            ("lastPasswordChange", date()),
            ("lockedUntil", date()),
        ],
    );
    let subscription = object(
        [
            ("plan", one_of(user::Plan::NAMES)),
            ("status", one_of(user::SubscriptionStatus::NAMES)),
            ("startDate", date()),
            ("features", list_of(string())),
        ],
        [("endDate", date())],
    );
    let usage = object(
        [
            ("dailyCount", count()),
            ("monthlyCount", count()),
            ("totalCount", count()),
            ("dailyLimit", count()),
            ("monthlyLimit", count()),
        ],
        [("lastResetDate", date()), ("lastUsageDate", date())],
    );
    let status = object(
        [("isActive", boolean()), ("isSuspended", boolean())],
        [("suspensionReason", string()), ("lastLogin", date()), ("lastActivity", date())],
    );
    let metadata = object(
        [("createdAt", date()), ("updatedAt", date()), ("source", one_of(user::Source::NAMES))],
        [("createdBy", object_id()), ("ipAddress", string()), ("userAgent", string())],
    );
    object(
        [
            ("_id", object_id()),
            ("email", string()),
            ("password", matching(PASSWORD_PATTERN)),
            ("profile", profile),
            ("preferences", preferences),
            ("authentication", authentication),
            ("role", one_of(user::Role::NAMES)),
            ("subscription", subscription),
            ("usage", usage),
            ("status", status),
            ("metadata", metadata),
        ],
        [],
    )
}

pub(super) fn sessions() -> Document {
    let device_info = object(
        [("userAgent", string()), ("ipAddress", string()), ("deviceType", one_of(session::DeviceType::NAMES))],
        [("location", string()), ("browser", string()), ("os", string())],
    );
    object(
        [
            ("_id", object_id()),
            ("userId", object_id()),
            ("sessionToken", matching(DIGEST_PATTERN)),
            ("deviceInfo", device_info),
            ("isActive", boolean()),
            ("expiresAt", date()),
            ("createdAt", date()),
            ("lastAccessedAt", date()),
        ],
        [],
    )
}

pub(super) fn tools() -> Document {
    let metadata = object(
        [("version", string()), ("author", string())],
        [("license", string()), ("repository", string()), ("documentation", string()), ("changelog", string())],
    );
    let features = object(
        [
            ("aiPowered", boolean()),
            ("realTime", boolean()),
            ("collaborative", boolean()),
            ("offline", boolean()),
            ("apiAccess", boolean()),
        ],
        [],
    );
    let configuration = object(
        [
            ("isActive", boolean()),
            ("isPublic", boolean()),
            ("isFeatured", boolean()),
            ("requiresAuth", boolean()),
            ("requiresPro", boolean()),
            ("maintenanceMode", boolean()),
        ],
        [],
    );
    let usage = object(
        [
            ("totalUsage", count()),
            ("dailyUsage", count()),
            ("weeklyUsage", count()),
            ("monthlyUsage", count()),
            ("totalRatings", count()),
        ],
        [("averageRating", number())],
    );
    // Nullable, as in the daily document: the mean of nothing is null.
    let performance = object(
        [],
        [
            ("averageResponseTime", number_or_null()),
            ("uptime", number_or_null()),
            ("errorRate", number_or_null()),
            ("lastHealthCheck", date()),
        ],
    );
    let ui =
        object([("icon", string()), ("color", string()), ("screenshots", list_of(string()))], [("demoUrl", string())]);
    let dependencies = object([("external", list_of(string())), ("internal", list_of(object_id()))], []);
    let limits = object(
        [("dailyLimit", count()), ("monthlyLimit", count()), ("rateLimitPerMinute", count()), ("maxFileSize", count())],
        [],
    );
    let timestamps =
        object([("createdAt", date()), ("updatedAt", date())], [("lastUsed", date()), ("deprecatedAt", date())]);
    object(
        [
            ("_id", object_id()),
            ("name", string()),
            ("slug", string()),
            ("description", string()),
            ("category", string()),
            ("tags", list_of(string())),
            ("metadata", metadata),
            ("features", features),
            ("configuration", configuration),
            ("usage", usage),
            ("performance", performance),
            ("ui", ui),
            ("dependencies", dependencies),
            ("limits", limits),
            ("timestamps", timestamps),
        ],
        [("subcategory", string())],
    )
}

/// Shared by the two collections of events that have one.
fn event_context() -> Document {
    let location = object([], [("country", string()), ("region", string()), ("city", string())]);
    object([], [("userAgent", string()), ("ipAddress", string()), ("referrer", string()), ("location", location)])
}

pub(super) fn usage_analytics() -> Document {
    let usage = object(
        [
            ("startTime", date()),
            ("endTime", date()),
            ("duration", count()),
            ("inputSize", count()),
            ("outputSize", count()),
            ("success", boolean()),
        ],
        [("errorMessage", string())],
    );
    let performance = object([], [("responseTime", number()), ("memoryUsage", number()), ("cpuUsage", number())]);
    let metadata = object([], [("version", string()), ("features", list_of(string())), ("customData", any_object())]);
    object(
        [
            ("_id", object_id()),
            ("toolId", object_id()),
            ("sessionId", object_id()),
            ("usage", usage),
            ("timestamp", date()),
        ],
        [
            ("userId", object_id()),
            ("context", event_context()),
            ("performance", performance),
            ("metadata", metadata),
            ("anonymised", boolean()),
        ],
    )
}

pub(super) fn activity_logs() -> Document {
    object(
        [("_id", object_id()), ("action", one_of(activity_log::Action::NAMES)), ("timestamp", date())],
        [
            ("userId", object_id()),
            ("sessionId", object_id()),
            ("path", string()),
            ("context", event_context()),
            ("source", string()),
            ("anonymised", boolean()),
        ],
    )
}

pub(super) fn health_checks() -> Document {
    object(
        [("_id", object_id()), ("toolId", object_id()), ("healthy", boolean()), ("timestamp", date())],
        [("responseTime", number()), ("message", string())],
    )
}

/// Ratios and means are always there, null when there was nothing to divide by. A count is null where the events that it counts
/// had expired before the day was first rolled up.
pub(super) fn system_analytics() -> Document {
    let users = object(
        [
            ("total", count()),
            ("active", count_or_null()),
            ("new", count()),
            ("verified", count()),
            ("premium", count()),
        ],
        [],
    );
    let most_used_tool = object([("toolId", object_id()), ("toolName", string()), ("usageCount", count())], []);
    let tools = object(
        [
            ("totalUsage", count()),
            ("uniqueUsers", count()),
            ("averageSessionDuration", number_or_null()),
            ("mostUsedTools", list_of(most_used_tool)),
        ],
        [],
    );
    let performance = object(
        [
            ("averageResponseTime", number_or_null()),
            ("errorRate", number_or_null()),
            ("uptime", number_or_null()),
            ("peakConcurrentUsers", count_or_null()),
        ],
        [],
    );
    let engagement = object(
        [
            ("pageViews", count_or_null()),
            ("bounceRate", number_or_null()),
            ("averageSessionDuration", number_or_null()),
            ("returnUserRate", number_or_null()),
        ],
        [],
    );
    let metrics =
        object([("users", users), ("tools", tools), ("performance", performance), ("engagement", engagement)], []);
    let trends = object(
        [("userGrowth", number_or_null()), ("usageGrowth", number_or_null()), ("performanceChange", number_or_null())],
        [],
    );
    object(
        [
            ("_id", object_id()),
            ("date", day()),
            ("metrics", metrics),
            ("trends", trends),
            ("createdAt", date()),
            ("updatedAt", date()),
        ],
        // Not of the reference, so that a document without it is still one of the reference's.
        [("rollup", any_object())],
    )
}

pub(super) fn suggestions() -> Document {
    let votes = object([("upvotes", count()), ("downvotes", count()), ("voters", list_of(object_id()))], []);
    let implementation = object(
        [],
        [
            ("estimatedEffort", one_of(suggestion::Effort::NAMES)),
            ("assignedTo", object_id()),
            ("targetVersion", string()),
            ("implementationNotes", string()),
        ],
    );
    let admin_response = object([("message", string()), ("respondedBy", object_id()), ("respondedAt", date())], []);
    let attachment =
        object([("type", one_of(suggestion::AttachmentType::NAMES)), ("url", string())], [("name", string())]);
    let metadata = object(
        [("createdAt", date()), ("updatedAt", date())],
        [("implementedAt", date()), ("userAgent", string()), ("ipAddress", string())],
    );
    object(
        [
            ("_id", object_id()),
            ("userId", object_id()),
            ("type", one_of(suggestion::Type::NAMES)),
            ("category", one_of(suggestion::Category::NAMES)),
            ("title", string()),
            ("description", string()),
            ("priority", one_of(suggestion::Priority::NAMES)),
            ("status", one_of(suggestion::Status::NAMES)),
            ("votes", votes),
            ("metadata", metadata),
        ],
        [("implementation", implementation), ("adminResponse", admin_response), ("attachments", list_of(attachment))],
    )
}

/// What a setting's value must pass. The one place where the reference itself stores null for what does not apply.
fn validation() -> Document {
    object(
        [("required", boolean())],
        [
            ("min", number_or_null()),
            ("max", number_or_null()),
            ("pattern", doc! { "bsonType": ["string", "null"] }),
            ("enum", doc! { "bsonType": ["array", "null"] }),
        ],
    )
}

pub(super) fn system_configuration() -> Document {
    let mut configuration = object(
        [
            ("_id", object_id()),
            ("key", string()),
            // Of any type: that it is of `dataType` and passes `validation` is checked by whoever reads it, because the
            // two rules together are more than a schema can say, and a reader has to cope with a bad value anyway.
            ("value", doc! {}),
            ("category", one_of(system_configuration::Category::NAMES)),
            ("description", string()),
            ("dataType", one_of(system_configuration::DataType::NAMES)),
            ("environment", one_of(system_configuration::Environment::NAMES)),
            ("isActive", boolean()),
            ("isSecret", boolean()),
            ("version", count()),
            ("createdAt", date()),
            ("updatedAt", date()),
        ],
        [("validation", validation()), ("lastModifiedBy", object_id())],
    );
    // A secret's value is sealed, whatever its `dataType`.
    let public = doc! { "properties": { "isSecret": { "enum": [false] } } };
    let sealed = doc! { "properties": { "value": matching(Sealed::PATTERN) } };
    configuration.insert("anyOf", vec![Bson::from(public), sealed.into()]);
    configuration
}

pub(super) fn tool_categories() -> Document {
    object(
        [
            ("_id", object_id()),
            ("slug", matching("^[a-z0-9]+(-[a-z0-9]+)*$")),
            ("name", string()),
            ("order", count()),
            ("isActive", boolean()),
            ("createdAt", date()),
            ("updatedAt", date()),
        ],
        [("description", string()), ("icon", string())],
    )
}

pub(super) fn tool_days() -> Document {
    let duration = object([("total", number())], [("min", number()), ("max", number())]);
    let bucket = object([("upTo", number()), ("count", count())], []);
    let response_time = object([("count", count()), ("total", number()), ("histogram", list_of(bucket))], []);
    object(
        [
            ("_id", object_id()),
            ("date", day()),
            ("toolId", object_id()),
            ("usage", count()),
            ("failures", count()),
            ("uniqueUsers", count()),
            ("duration", duration),
            ("responseTime", response_time),
            ("byPlan", map_of(count())),
            ("byCountry", map_of(count())),
            ("updatedAt", date()),
        ],
        [
            ("healthChecks", count_or_null()),
            ("healthyChecks", count_or_null()),
            ("lastUsedAt", date()),
            ("lastHealthCheckAt", date()),
        ],
    )
}

pub(super) fn user_days() -> Document {
    object(
        [
            ("_id", object_id()),
            ("date", day()),
            ("userId", object_id()),
            ("usage", count()),
            ("failures", count()),
            ("pageViews", count_or_null()),
            ("visits", count_or_null()),
            ("minutes", number_or_null()),
            ("updatedAt", date()),
        ],
        [("lastUsedAt", date()), ("lastActivityAt", date())],
    )
}

pub(super) fn rollup_days() -> Document {
    let inputs =
        object([("toolUsage", count()), ("activity", count()), ("healthChecks", count()), ("unreadable", count())], []);
    let documents = object([("toolUsage", count()), ("activity", count()), ("uncounted", count())], []);
    let anonymisation = object(
        [],
        [
            ("closedAt", date()),
            ("startedAt", date()),
            ("key", binary()),
            ("finishedAt", date()),
            ("documents", documents),
        ],
    );
    object(
        [("_id", day())],
        // All of it optional: a day may be marked dirty before it was ever rolled up.
        [
            ("state", one_of(rollup_day::State::NAMES)),
            ("rolledAt", date()),
            ("inputs", inputs),
            ("durationMs", count()),
            ("attempts", count()),
            ("lastError", string()),
            ("dirtySince", date()),
            ("dirtyMarks", count()),
            ("sealedAt", date()),
            ("expired", list_of(string())),
            ("anonymisation", anonymisation),
        ],
    )
}

pub(super) fn dead_letter_replays() -> Document {
    object(
        [
            ("_id", object_id()),
            ("topic", string()),
            ("partition", count()),
            ("offsets", string()),
            ("lastArrived", date()),
            ("replayedAt", date()),
        ],
        [],
    )
}

pub(super) fn leases() -> Document {
    object(
        [("_id", string()), ("holder", string()), ("fence", count()), ("acquiredAt", date()), ("expiresAt", date())],
        [],
    )
}

pub(super) fn migrations() -> Document {
    let change = object([("what", string()), ("change", string()), ("detail", string())], []);
    object(
        [("_id", object_id()), ("appliedAt", date()), ("programVersion", string()), ("changes", list_of(change))],
        [("error", string())],
    )
}

pub(super) fn erasures() -> Document {
    object(
        [
            ("_id", digest()),
            ("kind", one_of(erasure::Kind::NAMES)),
            ("tag", doc! { "bsonType": "long" }),
            ("requestedAt", date()),
        ],
        [("completedAt", date())],
    )
}

pub(super) fn privacy_requests() -> Document {
    let numbers = object([("totalUsage", count()), ("activeUsers", count())], [("pageViews", count())]);
    let day = object([("isSealed", boolean())], [("events", count()), ("before", numbers)]);
    object(
        [
            ("_id", object_id()),
            ("subject", digest()),
            ("mode", one_of(privacy_request::Mode::NAMES)),
            ("keepSuggestions", boolean()),
            ("state", one_of(privacy_request::State::NAMES)),
            ("requestedAt", date()),
            ("documents", map_of(count())),
            ("days", map_of(day)),
            ("kafkaHoldsUntil", map_of(doc! { "bsonType": ["date", "null"] })),
        ],
        [("sealedId", string()), ("sealedSecret", string()), ("completedAt", date())],
    )
}

pub(super) fn audit_log() -> Document {
    let who = object(
        [("systemUser", string()), ("host", string()), ("program", string())],
        [("databaseUser", string()), ("user", digest())],
    );
    let target =
        object([("kind", one_of(audit_entry::TargetKind::NAMES))], [("name", string()), ("subject", digest())]);
    object(
        [
            ("_id", doc! { "bsonType": "long", "minimum": 1 }),
            ("previous", matching("^[0-9a-f]{64}$")),
            ("at", date()),
            ("phase", one_of(audit_entry::Phase::NAMES)),
            ("who", who),
            // Of any name: a later version may know more of them.
            ("action", string()),
            ("target", target),
        ],
        [
            ("begun", doc! { "bsonType": "long", "minimum": 1 }),
            ("detail", string()),
            ("outcome", one_of(audit_entry::Outcome::NAMES)),
            ("error", string()),
        ],
    )
}

pub(super) fn configuration_history() -> Document {
    object(
        [
            ("_id", object_id()),
            ("key", string()),
            ("version", count()),
            ("category", one_of(system_configuration::Category::NAMES)),
            ("description", string()),
            ("dataType", one_of(system_configuration::DataType::NAMES)),
            ("environment", one_of(system_configuration::Environment::NAMES)),
            ("isActive", boolean()),
            ("isSecret", boolean()),
            ("updatedAt", date()),
            ("replacedAt", date()),
        ],
        [("value", doc! {}), ("validation", validation()), ("lastModifiedBy", object_id())],
    )
}

/// A keyed digest: the id of the key, and HMAC-SHA-256 in hexadecimal.
fn digest() -> Document {
    matching(DIGEST_PATTERN)
}
