//! The operator's program.
//!
//! `main.rs` -> one file per subcommand: [`migrate`] brings the database (with `common::schema`) and the Kafka topics
//! ([`topics`]) in order and says when events get another [`identity`] and what [`anonymisation`] would do, [`seed_demo`] fills a database with the demo DevToolkit
//! of `common::demo`, [`dead_letters`] shows what ingest refused and sends it again. [`suspicious`], [`slow_queries`] and
//! [`storage`] say who attacks logins, what the database is slow at (with [`profiler`]), and what fills its disk. [`privacy`] is what a
//! person may ask for, and [`erasure`] how a person is erased. [`audit`] shows and checks what was written down about
//! all that, [`config`] changes settings of the application, [`access`] brings MongoDB's roles and users and Kafka's ACLs in order, [`tls`] makes certificates, and [`doctor`] looks at everything that protects data. [`keys`] makes, rotates and retires the keys of `common::keyring`,
//! [`secrets`] protects what stands unprotected; [`protected`] says in which fields.
//!
//! [`backup`] makes, verifies and restores backups, and [`recover`] is a restore with all that follows from it.
//!
//! [`report`] and [`text`] are how they show what they did or found, [`since`] how they are told a time, [`updates`] how
//! they change many documents, [`closed`] how they write files that nobody else may open.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod access;
pub mod anonymisation;
pub mod audit;
pub mod backup;
pub mod closed;
pub mod config;
pub mod dead_letters;
pub mod doctor;
pub mod erasure;
pub mod identity;
pub mod keys;
pub mod migrate;
pub mod privacy;
pub mod profiler;
pub mod protected;
pub mod recover;
pub mod report;
pub mod secrets;
pub mod seed_demo;
pub mod since;
pub mod slow_queries;
pub mod storage;
pub mod suspicious;
pub mod text;
pub mod tls;
pub mod topics;
pub mod updates;
pub mod users;
