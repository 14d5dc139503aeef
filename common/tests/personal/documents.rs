//! One document of each collection, with every field there is. The structs are written out: a new field does not compile until
//! it is here.

use std::collections::BTreeMap;

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Document, doc, serialize_to_document};
use common::day::Day;
use common::documents::{
    activity_log, audit_entry, configuration_history, dead_letter_replay, erasure, health_check, lease, migration,
    privacy_request, rollup_day, session, suggestion, system_analytics, system_configuration, tool, tool_category,
    tool_day, usage_analytics, user, user_day,
};
use serde::Serialize;

/// Of every collection.
pub fn samples() -> Vec<(&'static str, Document)> {
    vec![
        (user::COLLECTION, document(user())),
        (session::COLLECTION, document(session())),
        (tool::COLLECTION, document(tool())),
        (usage_analytics::COLLECTION, document(usage_analytics())),
        (system_analytics::COLLECTION, document(system_analytics())),
        (suggestion::COLLECTION, document(suggestion())),
        (system_configuration::COLLECTION, document(system_configuration())),
        (activity_log::COLLECTION, document(activity_log())),
        (tool_category::COLLECTION, document(tool_category())),
        (health_check::COLLECTION, document(health_check())),
        (tool_day::COLLECTION, document(tool_day())),
        (user_day::COLLECTION, document(user_day())),
        (rollup_day::COLLECTION, document(rollup_day())),
        (lease::COLLECTION, document(lease())),
        (migration::COLLECTION, document(migration())),
        (erasure::COLLECTION, document(erasure())),
        (privacy_request::COLLECTION, document(privacy_request())),
        (dead_letter_replay::COLLECTION, document(dead_letter_replay())),
        (audit_entry::COLLECTION, document(audit_entry())),
        (configuration_history::COLLECTION, document(configuration_history())),
    ]
}

fn document(value: impl Serialize) -> Document {
    serialize_to_document(&value).unwrap()
}

const ID: ObjectId = ObjectId::from_bytes([1; 12]);
const TIME: DateTime = DateTime::from_millis(1_705_314_602_340);

fn text() -> String {
    "x".to_owned()
}

fn day() -> Day {
    Day::parse("2024-01-15").unwrap()
}

fn map() -> BTreeMap<String, i64> {
    BTreeMap::from([("key".to_owned(), 1)])
}

fn user() -> user::User {
    user::User {
        id: ID,
        email: text(),
        password: text(),
        profile: user::Profile {
            first_name: text(),
            last_name: text(),
            avatar: Some(text()),
            bio: Some(text()),
            website: Some(text()),
            location: Some(text()),
        },
        preferences: user::Preferences {
            theme: user::Theme::Dark,
            language: text(),
            timezone: text(),
            notifications: user::Notifications { email: true, push: true, marketing: true },
            privacy: user::Privacy { profile_visibility: user::ProfileVisibility::Private, show_activity: true },
        },
        authentication: user::Authentication {
            is_verified: true,
            verification_token: Some(text()),
            verification_token_expiry: Some(TIME),
            reset_token: Some(text()),
            reset_token_expiry: Some(TIME),
            last_password_change: Some(TIME),
            failed_login_attempts: 1,
            locked_until: Some(TIME),
        },
        role: user::Role::User,
        subscription: user::Subscription {
            plan: user::Plan::Pro,
            status: user::SubscriptionStatus::Active,
            start_date: TIME,
            end_date: Some(TIME),
            features: vec![text()],
        },
        usage: user::Usage {
            daily_count: 1,
            monthly_count: 1,
            total_count: 1,
            daily_limit: 1,
            monthly_limit: 1,
            last_reset_date: Some(TIME),
            last_usage_date: Some(TIME),
        },
        status: user::Status {
            is_active: true,
            is_suspended: true,
            suspension_reason: Some(text()),
            last_login: Some(TIME),
            last_activity: Some(TIME),
        },
        metadata: user::Metadata {
            created_at: TIME,
            updated_at: TIME,
            created_by: Some(ID),
            source: user::Source::Web,
            ip_address: Some(text()),
            user_agent: Some(text()),
        },
    }
}

fn session() -> session::Session {
    session::Session {
        id: ID,
        user_id: ID,
        session_token: text(),
        device_info: session::DeviceInfo {
            user_agent: text(),
            ip_address: text(),
            location: Some(text()),
            device_type: session::DeviceType::Desktop,
            browser: Some(text()),
            os: Some(text()),
        },
        is_active: true,
        expires_at: TIME,
        created_at: TIME,
        last_accessed_at: TIME,
    }
}

fn tool() -> tool::Tool {
    tool::Tool {
        id: ID,
        name: text(),
        slug: text(),
        description: text(),
        category: text(),
        subcategory: Some(text()),
        tags: vec![text()],
        metadata: tool::Metadata {
            version: text(),
            author: text(),
            license: Some(text()),
            repository: Some(text()),
            documentation: Some(text()),
            changelog: Some(text()),
        },
        features: tool::Features {
            ai_powered: true,
            real_time: true,
            collaborative: true,
            offline: true,
            api_access: true,
        },
        configuration: tool::Configuration {
            is_active: true,
            is_public: true,
            is_featured: true,
            requires_auth: true,
            requires_pro: true,
            maintenance_mode: true,
        },
        usage: tool::Usage {
            total_usage: 1,
            daily_usage: 1,
            weekly_usage: 1,
            monthly_usage: 1,
            average_rating: Some(1.0),
            total_ratings: 1,
        },
        performance: tool::Performance {
            average_response_time: Some(1.0),
            uptime: Some(1.0),
            error_rate: Some(1.0),
            last_health_check: Some(TIME),
        },
        ui: tool::Ui { icon: text(), color: text(), screenshots: vec![text()], demo_url: Some(text()) },
        dependencies: tool::Dependencies { external: vec![text()], internal: vec![ID] },
        limits: tool::Limits { daily_limit: 1, monthly_limit: 1, rate_limit_per_minute: 1, max_file_size: 1 },
        timestamps: tool::Timestamps {
            created_at: TIME,
            updated_at: TIME,
            last_used: Some(TIME),
            deprecated_at: Some(TIME),
        },
    }
}

fn context() -> usage_analytics::Context {
    usage_analytics::Context {
        user_agent: Some(text()),
        ip_address: Some(text()),
        referrer: Some(text()),
        location: Some(usage_analytics::Location { country: Some(text()), region: Some(text()), city: Some(text()) }),
    }
}

fn usage_analytics() -> usage_analytics::UsageAnalytics {
    usage_analytics::UsageAnalytics {
        id: ID,
        user_id: Some(ID),
        tool_id: ID,
        session_id: ID,
        usage: usage_analytics::Usage {
            start_time: TIME,
            end_time: TIME,
            duration: 1,
            input_size: 1,
            output_size: 1,
            success: true,
            error_message: Some(text()),
        },
        context: Some(context()),
        performance: Some(usage_analytics::Performance {
            response_time: Some(1.0),
            memory_usage: Some(1.0),
            cpu_usage: Some(1.0),
        }),
        metadata: Some(usage_analytics::Metadata {
            version: Some(text()),
            features: Some(vec![text()]),
            custom_data: Some(doc! { "key": [{ "inner": 1 }] }),
        }),
        timestamp: TIME,
        anonymised: Some(true),
    }
}

fn activity_log() -> activity_log::ActivityLog {
    activity_log::ActivityLog {
        id: ID,
        user_id: Some(ID),
        session_id: Some(ID),
        action: activity_log::Action::Login,
        path: Some(text()),
        context: Some(context()),
        source: Some(text()),
        timestamp: TIME,
        anonymised: Some(true),
    }
}

fn health_check() -> health_check::HealthCheck {
    health_check::HealthCheck {
        id: ID,
        tool_id: ID,
        healthy: false,
        response_time: Some(1.0),
        message: Some(text()),
        timestamp: TIME,
    }
}

fn inputs() -> rollup_day::Inputs {
    rollup_day::Inputs { tool_usage: 1, activity: 1, health_checks: 1, unreadable: 1 }
}

fn system_analytics() -> system_analytics::SystemAnalytics {
    system_analytics::SystemAnalytics {
        id: ID,
        date: day(),
        metrics: system_analytics::Metrics {
            users: system_analytics::Users { total: 1, active: Some(1), new: 1, verified: 1, premium: 1 },
            tools: system_analytics::Tools {
                total_usage: 1,
                unique_users: 1,
                average_session_duration: Some(1.0),
                most_used_tools: vec![system_analytics::MostUsedTool {
                    tool_id: ID,
                    tool_name: text(),
                    usage_count: 1,
                }],
            },
            performance: system_analytics::Performance {
                average_response_time: Some(1.0),
                error_rate: Some(1.0),
                uptime: Some(1.0),
                peak_concurrent_users: Some(1),
            },
            engagement: system_analytics::Engagement {
                page_views: Some(1),
                bounce_rate: Some(1.0),
                average_session_duration: Some(1.0),
                return_user_rate: Some(1.0),
            },
        },
        trends: system_analytics::Trends {
            user_growth: Some(1.0),
            usage_growth: Some(1.0),
            performance_change: Some(1.0),
        },
        rollup: Some(system_analytics::Rollup {
            definition_version: 1,
            engine: system_analytics::Engine::Scan,
            settings: system_analytics::RollupSettings {
                visit_gap_minutes: 1,
                presence_minutes: 1,
                most_used_tools: 1,
            },
            inputs: inputs(),
            expired: vec![text()],
            computed_at: TIME,
            provisional: true,
        }),
        created_at: TIME,
        updated_at: TIME,
    }
}

fn suggestion() -> suggestion::Suggestion {
    suggestion::Suggestion {
        id: ID,
        user_id: ID,
        r#type: suggestion::Type::Bug,
        category: suggestion::Category::Ui,
        title: text(),
        description: text(),
        priority: suggestion::Priority::Low,
        status: suggestion::Status::Pending,
        votes: suggestion::Votes { upvotes: 1, downvotes: 1, voters: vec![ID] },
        implementation: Some(suggestion::Implementation {
            estimated_effort: Some(suggestion::Effort::Small),
            assigned_to: Some(ID),
            target_version: Some(text()),
            implementation_notes: Some(text()),
        }),
        admin_response: Some(suggestion::AdminResponse { message: text(), responded_by: ID, responded_at: TIME }),
        attachments: vec![suggestion::Attachment {
            r#type: suggestion::AttachmentType::Link,
            url: text(),
            name: Some(text()),
        }],
        metadata: suggestion::Metadata {
            created_at: TIME,
            updated_at: TIME,
            implemented_at: Some(TIME),
            user_agent: Some(text()),
            ip_address: Some(text()),
        },
    }
}

fn system_configuration() -> system_configuration::SystemConfiguration {
    system_configuration::SystemConfiguration {
        id: ID,
        key: text(),
        value: Bson::Int64(1),
        category: system_configuration::Category::Limits,
        description: text(),
        data_type: system_configuration::DataType::Number,
        validation: Some(system_configuration::Validation {
            required: true,
            min: Some(1.0),
            max: Some(1.0),
            pattern: Some(text()),
            r#enum: Some(vec![Bson::Int64(1)]),
        }),
        environment: system_configuration::Environment::All,
        is_active: true,
        is_secret: true,
        last_modified_by: Some(ID),
        version: 1,
        created_at: TIME,
        updated_at: TIME,
    }
}

fn tool_category() -> tool_category::ToolCategory {
    tool_category::ToolCategory {
        id: ID,
        slug: text(),
        name: text(),
        description: Some(text()),
        icon: Some(text()),
        order: 1,
        is_active: true,
        created_at: TIME,
        updated_at: TIME,
    }
}

fn tool_day() -> tool_day::ToolDay {
    tool_day::ToolDay {
        id: ID,
        date: day(),
        tool_id: ID,
        usage: 1,
        failures: 1,
        unique_users: 1,
        duration: tool_day::Duration { total: 1, min: Some(1), max: Some(1) },
        response_time: tool_day::ResponseTime {
            count: 1,
            total: 1.0,
            histogram: vec![tool_day::Bucket { up_to: 1.0, count: 1 }],
        },
        by_plan: map(),
        by_country: map(),
        health_checks: Some(1),
        healthy_checks: Some(1),
        last_used_at: Some(TIME),
        last_health_check_at: Some(TIME),
        updated_at: TIME,
    }
}

fn user_day() -> user_day::UserDay {
    user_day::UserDay {
        id: ID,
        date: day(),
        user_id: ID,
        usage: 1,
        failures: 1,
        page_views: Some(1),
        visits: Some(1),
        minutes: Some(1.0),
        last_used_at: Some(TIME),
        last_activity_at: TIME,
        updated_at: TIME,
    }
}

fn rollup_day() -> rollup_day::RollupDay {
    rollup_day::RollupDay {
        date: day(),
        state: Some(rollup_day::State::Failed),
        rolled_at: Some(TIME),
        inputs: Some(inputs()),
        duration_ms: Some(1),
        attempts: 1,
        last_error: Some(text()),
        dirty_since: Some(TIME),
        dirty_marks: 1,
        sealed_at: Some(TIME),
        expired: vec![text()],
        anonymisation: Some(rollup_day::Anonymisation {
            closed_at: Some(TIME),
            started_at: Some(TIME),
            key: Some(Binary { subtype: BinarySubtype::Generic, bytes: vec![1] }),
            finished_at: Some(TIME),
            documents: Some(rollup_day::Anonymised { tool_usage: 1, activity: 1, uncounted: 1 }),
        }),
    }
}

fn lease() -> lease::Lease {
    lease::Lease { name: text(), holder: text(), fence: 1, acquired_at: TIME, expires_at: TIME }
}

fn migration() -> migration::Migration {
    migration::Migration {
        id: ID,
        applied_at: TIME,
        program_version: text(),
        changes: vec![migration::AppliedChange { what: text(), change: text(), detail: text() }],
        error: Some(text()),
    }
}

fn erasure() -> erasure::Erasure {
    erasure::Erasure { digest: text(), kind: erasure::Kind::User, tag: 1, requested_at: TIME, completed_at: Some(TIME) }
}

fn privacy_request() -> privacy_request::PrivacyRequest {
    let before = privacy_request::Numbers { total_usage: 1, active_users: 1, page_views: Some(1) };
    let affected = privacy_request::AffectedDay { is_sealed: true, before: Some(before), events: 1 };
    privacy_request::PrivacyRequest {
        id: ID,
        subject: text(),
        mode: privacy_request::Mode::Delete,
        keep_suggestions: true,
        state: privacy_request::State::Complete,
        sealed_id: Some(text()),
        sealed_secret: Some(text()),
        requested_at: TIME,
        completed_at: Some(TIME),
        documents: map(),
        days: BTreeMap::from([(day(), affected)]),
        kafka_holds_until: BTreeMap::from([("key".to_owned(), Some(TIME))]),
    }
}

fn dead_letter_replay() -> dead_letter_replay::DeadLetterReplay {
    dead_letter_replay::DeadLetterReplay {
        id: ID,
        topic: text(),
        partition: 1,
        offsets: text(),
        last_arrived: TIME,
        replayed_at: TIME,
    }
}

fn audit_entry() -> audit_entry::AuditEntry {
    audit_entry::AuditEntry {
        number: 1,
        previous: text(),
        at: TIME,
        phase: audit_entry::Phase::Ended,
        begun: Some(1),
        who: audit_entry::Who {
            system_user: text(),
            host: text(),
            program: text(),
            database_user: Some(text()),
            user: Some(text()),
        },
        action: text(),
        target: audit_entry::Target {
            kind: audit_entry::TargetKind::Person,
            name: Some(text()),
            subject: Some(text()),
        },
        detail: Some(text()),
        outcome: Some(audit_entry::Outcome::Failed),
        error: Some(text()),
    }
}

fn configuration_history() -> configuration_history::FormerConfiguration {
    let now = system_configuration();
    configuration_history::FormerConfiguration {
        id: ID,
        key: text(),
        version: 1,
        value: Some(text().into()),
        category: now.category,
        description: text(),
        data_type: now.data_type,
        validation: now.validation,
        environment: now.environment,
        is_active: true,
        is_secret: true,
        last_modified_by: Some(ID),
        updated_at: TIME,
        replaced_at: TIME,
    }
}
