//! The register of personal fields: every field of every collection, event, topic and log, what it tells of a person, and what
//! export, erasure, the sealing of a day and retention do with it.
//!
//! `common/tests/personal.rs` fails when a document, a validator or a JSON Schema has a field that is not here. The table of
//! docs/PRIVACY.md is made of it (`./dev docs`). Programs read it: what an export leaves out and what an erasure removes is
//! written down once.
//!
//! [`rule`] is what the register is made of; [`accounts`], [`events`], [`impersonal`] and [`elsewhere`] hold its entries.

mod accounts;
mod elsewhere;
mod events;
mod impersonal;
pub mod projection;
mod rule;

pub use accounts::AUTHOR_GOES;
pub use rule::{Action, Class, Export, Kept, Kind, NOBODY, Place, Rule};

/// Every place there is, those about people first.
pub const REGISTER: &[Place] = &[
    accounts::USERS,
    accounts::SESSIONS,
    events::USAGE_ANALYTICS,
    events::ACTIVITY_LOGS,
    accounts::USER_DAYS,
    accounts::SUGGESTIONS,
    accounts::SYSTEM_CONFIGURATION,
    accounts::CONFIGURATION_HISTORY,
    impersonal::ERASURES,
    impersonal::PRIVACY_REQUESTS,
    impersonal::AUDIT_LOG,
    impersonal::SYSTEM_ANALYTICS,
    impersonal::TOOL_DAYS,
    impersonal::ROLLUP_DAYS,
    impersonal::TOOLS,
    impersonal::TOOL_CATEGORIES,
    events::HEALTH_CHECKS,
    impersonal::LEASES,
    impersonal::MIGRATIONS,
    impersonal::DEAD_LETTER_REPLAYS,
    events::ATTRIBUTES,
    events::TOOL_USAGE,
    events::ACTIVITY,
    events::HEALTH_CHECK,
    elsewhere::EVENTS_TOPIC,
    elsewhere::DEAD_LETTER_TOPIC,
    elsewhere::ERASURES_TOPIC,
    elsewhere::LOGS,
    elsewhere::PROFILER,
    elsewhere::BACKUPS,
];

/// The place of a kind with this name.
pub fn place(kind: Kind, name: &str) -> Option<&'static Place> {
    REGISTER.iter().find(|place| place.kind == kind && place.name == name)
}

/// The collections with documents about people.
pub fn collections_about_people() -> impl Iterator<Item = &'static Place> {
    REGISTER.iter().filter(|place| place.kind == Kind::Collection && !place.people.is_empty())
}
