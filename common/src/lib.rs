//! What every program of DevToolkit Analytics shares.
//!
//! [`event`] is the wire form of the three events and how an event becomes a document; [`documents`] holds the typed
//! document of each collection and [`schema`] their indexes and validators. [`settings`], [`program`], [`telemetry`],
//! [`terminal`], [`metrics`] and [`shutdown`] are what a program needs to start, to print, to be watched and to end;
//! [`kafka`] and [`mongo`] connect it. [`keyring`] holds the keys that
//! protect secrets in the database, [`secrets`] is what the database holds instead of them. [`size`] says how large a message
//! may be. [`address`] gives a host one spelling, and [`suspicious`] is what counts as an attack on logins. [`personal`] is the
//! register of personal fields. [`kept`] is how old the oldest documents are, [`pseudonym`] what takes the place of a
//! person's id. [`hex`] writes bytes as text. [`audit`] writes down who did what, and [`configuration`] holds the rules of `system_configuration`
//! and changes its settings.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod address;
pub mod audit;
pub mod configuration;
pub mod cron;
pub mod day;
pub mod demo;
pub mod documents;
pub mod event;
pub mod hex;
pub mod kafka;
pub mod kept;
pub mod keyring;
pub mod metrics;
pub mod mongo;
pub mod personal;
pub mod program;
pub mod pseudonym;
pub mod schema;
pub mod sealed_days;
pub mod secrets;
pub mod settings;
pub mod shutdown;
pub mod size;
pub mod suspicious;
pub mod telemetry;
pub mod terminal;
pub mod text;
pub mod tls;
pub mod tombstones;
pub mod watchdog;
