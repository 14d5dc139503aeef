//! `system_configuration` of the demo.

use bson::{Bson, bson};
use common::day::Day;
use common::demo;
use common::documents::SystemConfiguration;
use common::documents::system_configuration::{Category, DataType, Environment, Validation};

use super::chance::{Chance, days_before, start};

/// A setting, without what follows from its place in the list.
struct Setting {
    key: &'static str,
    value: Bson,
    category: Category,
    description: &'static str,
    data_type: DataType,
    validation: Validation,
    environment: Environment,
    is_active: bool,
    is_secret: bool,
}

impl Setting {
    fn new(key: &'static str, category: Category, data_type: DataType, value: Bson, description: &'static str) -> Self {
        Self {
            key,
            value,
            category,
            description,
            data_type,
            validation: Validation { required: true, ..Validation::default() },
            environment: Environment::All,
            is_active: true,
            is_secret: false,
        }
    }

    fn number(key: &'static str, category: Category, value: i32, range: [f64; 2], description: &'static str) -> Self {
        let mut setting = Self::new(key, category, DataType::Number, Bson::Int32(value), description);
        setting.validation.min = Some(range[0]);
        setting.validation.max = Some(range[1]);
        setting
    }

    fn flag(key: &'static str, value: bool, description: &'static str) -> Self {
        Self::new(key, Category::FeatureFlags, DataType::Boolean, Bson::Boolean(value), description)
    }

    /// There, but without effect until somebody turns it on.
    fn inactive(mut self) -> Self {
        self.is_active = false;
        self
    }

    fn only_in(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    fn one_of<const N: usize>(mut self, values: [&str; N]) -> Self {
        self.validation.r#enum = Some(values.iter().map(|value| Bson::from(*value)).collect());
        self
    }

    fn matching(mut self, pattern: &str) -> Self {
        self.validation.pattern = Some(pattern.to_owned());
        self
    }
}

fn settings() -> Vec<Setting> {
    use Category::{FeatureFlags, Integrations, Limits, Security, Ui};
    vec![
        Setting::number(
            "ai_rate_limit_per_minute",
            Limits,
            10,
            [1.0, 100.0],
            "Maximum AI API calls per minute per user",
        )
        .only_in(Environment::Production),
        Setting::number(
            "ingest_max_events_per_second",
            Limits,
            20_000,
            [1.0, 1e9],
            "Events that the ingest workers store per second, each of them, at most",
        )
        .inactive(),
        Setting::number(
            "ingest_tool_events_per_minute",
            Limits,
            100_000,
            [1.0, 1e9],
            "Events of one tool that are stored per minute; more go to the dead letters",
        )
        .inactive(),
        Setting::number(
            "ingest_source_events_per_minute",
            Limits,
            1_000_000,
            [1.0, 1e9],
            "Events of one source that are stored per minute; more go to the dead letters",
        )
        .inactive(),
        Setting::number(
            "ingest_user_events_per_minute",
            Limits,
            10_000,
            [1.0, 1e9],
            "Events of one user that are stored per minute; more go to the dead letters",
        )
        .inactive(),
        Setting::number(
            "max_upload_size_bytes",
            Limits,
            5_242_880,
            [1024.0, 1e8],
            "Largest file a tool takes, in bytes",
        ),
        Setting::number("free_daily_limit", Limits, 100, [0.0, 1e6], "Tool uses per day on the free plan"),
        Setting::flag("tool_history", true, "Keep what a user did in a tool, on the user's own device"),
        Setting::flag("collaboration", false, "Several people in one tool at once").only_in(Environment::Staging),
        Setting::new(
            "beta_tools",
            FeatureFlags,
            DataType::Array,
            bson!(["ai-data-modeler", "er-diagram-viewer"]),
            "Slugs of tools that are marked as beta",
        ),
        Setting::new(
            "ai_model",
            Integrations,
            DataType::String,
            "gemini-1.5-flash".into(),
            "Model behind the AI tools",
        )
        .matching("^[a-z0-9.-]+$"),
        Setting::new(
            "ai_api_key",
            Integrations,
            DataType::String,
            Chance::for_document(demo::id("secret", 0)).sealed().into(),
            "Key for the model's provider",
        )
        .secret()
        .inactive(),
        Setting::new("default_theme", Ui, DataType::String, "system".into(), "Colours for visitors without an account")
            .one_of(["light", "dark", "system"]),
        Setting::new(
            "banner",
            Ui,
            DataType::Object,
            bson!({ "text": "Welcome to the demo", "level": "info" }),
            "Line above every page",
        ),
        Setting::number(
            "password_min_length",
            Security,
            12,
            [8.0, 128.0],
            "Shortest password that is accepted, letters",
        ),
        Setting::number("max_failed_logins", Security, 5, [1.0, 100.0], "Failed sign-ins that lock an account"),
        Setting::number("session_days", Security, 30, [1.0, 365.0], "Days after which one has to sign in again"),
    ]
}

pub(super) fn all(as_of: Day) -> impl Iterator<Item = SystemConfiguration> {
    let created_at = days_before(as_of, 700);
    settings().into_iter().zip(0u32..).map(move |(setting, number)| {
        let was_changed = number % 3 == 0;
        SystemConfiguration {
            id: demo::id("setting", number),
            key: setting.key.into(),
            value: setting.value,
            category: setting.category,
            description: setting.description.into(),
            data_type: setting.data_type,
            validation: Some(setting.validation),
            environment: setting.environment,
            is_active: setting.is_active,
            is_secret: setting.is_secret,
            last_modified_by: was_changed.then(|| demo::user_id(0)),
            version: if was_changed { 3 } else { 1 },
            created_at,
            updated_at: if was_changed { start(as_of.minus(30)) } else { created_at },
        }
    })
}
