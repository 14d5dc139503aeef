//! The database's documents, typed: one file per collection, named after one document of it.
//!
//! Every struct follows the schema reference field for field. A field that a document may lack is an `Option` and is left
//! out when it is `None`, never stored as null, unless its comment says otherwise: "not there" then has one form, which
//! sparse indexes and `$exists` agree on. Counts are `i64`, measured or averaged numbers `f64`; times are UTC.
//! The server-side counterpart of each struct, its indexes and validator, is in [`crate::schema`].

/// Declares an enumeration that is stored as a string, with the list of its stored names for the validators.
macro_rules! enumeration {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $(
                #[doc = concat!("Stored as `", $text, "`.")]
                #[serde(rename = $text)]
                $variant,
            )+
        }

        impl $name {
            /// Every value, in the order of the schema reference.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// Every value as it is stored, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            /// The value as it is stored.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(self.as_str())
            }
        }
    };
}

pub mod activity_log;
pub mod audit_entry;
pub mod configuration_history;
pub mod dead_letter_replay;
pub mod erasure;
pub mod health_check;
pub mod lease;
pub mod migration;
pub mod privacy_request;
pub mod rollup_day;
pub mod session;
pub mod suggestion;
pub mod system_analytics;
pub mod system_configuration;
pub mod tool;
pub mod tool_category;
pub mod tool_day;
pub mod usage_analytics;
pub mod user;
pub mod user_day;

pub use activity_log::ActivityLog;
pub use audit_entry::AuditEntry;
pub use configuration_history::FormerConfiguration;
pub use erasure::Erasure;
pub use health_check::HealthCheck;
pub use lease::Lease;
pub use migration::Migration;
pub use privacy_request::PrivacyRequest;
pub use rollup_day::RollupDay;
pub use session::Session;
pub use suggestion::Suggestion;
pub use system_analytics::SystemAnalytics;
pub use system_configuration::SystemConfiguration;
pub use tool::Tool;
pub use tool_category::ToolCategory;
pub use tool_day::ToolDay;
pub use usage_analytics::UsageAnalytics;
pub use user::User;
pub use user_day::UserDay;
