//! Rolls each day of events up into one `system_analytics` document.
//!
//! The path of an event: [`schedule`] decides that its day is due; [`scan`] reads it with its neighbours from
//! `usage_analytics`, `activity_logs` and `health_checks`; [`fold`] takes it into the day's state; [`daily`] makes the
//! document of that state and of what [`lookup`] finds in `users` and `tools`; [`publish`] writes it in one piece.
//!
//! [`pushdown`] lets MongoDB compute what scan and fold do, and [`verify`] holds both to each other.
//!
//! [`ledger`] makes the rows of each tool's and each user's day of the same fold; [`counters`] writes them and moves the
//! counters in `tools` and `users`. All of it happens under a [`lease`], so that one aggregator works at a time.
//!
//! [`anonymise`] takes a day whose numbers are final, and rewrites its events so that they name nobody.
//!
//! [`rollup`] is these steps for one day, [`serve`] keeps all days rolled up, [`observe`] shows how they stand, and bursts of
//! failed logins, as [`metrics`]; [`status`] and [`show`] are for people, and [`numbers`] lists what a
//! document holds.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod anonymise;
mod clock;
pub mod counters;
pub mod daily;
pub mod fold;
pub mod lease;
pub mod ledger;
pub mod lookup;
pub mod metrics;
pub mod numbers;
pub mod observe;
pub mod publish;
pub mod pushdown;
pub mod retention;
pub mod retry;
pub mod rolled;
pub mod rollup;
pub mod scan;
pub mod schedule;
pub mod serve;
pub mod show;
pub mod source;
pub mod status;
pub mod table;
pub mod verify;
