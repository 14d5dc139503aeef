//! Backups of the database, and restores to a second. No other program is needed on the server's host.
//!
//! [`full`] reads every collection while others write, and saves the [`oplog`] of that time; [`range`] saves the oplog since the
//! last backup. Both write a [`stream`] of documents as objects, compressed and encrypted ([`age`]), into a [`store`], and a
//! [`manifest`] last. [`catalog`] knows which backups there are and to which seconds they restore. [`restore`] loads a full
//! backup into a [`target`], and applies entries of the oplog ([`entry`], [`diff`]) with [`replay`].
//!
//! [`archive`] is the monthly archive, [`keep`] says which backups may go, [`copy`] copies to a second place. [`recovery`] is
//! what the database remembers of a recovery that is not finished, [`rehearsal`] is the record of those.
//!
//! [`moment`] is a point of the oplog, [`documents`] is raw BSON from and to the server, [`progress`] is what a terminal shows,
//! [`hash`] is SHA-256.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod age;
pub mod archive;
pub mod catalog;
pub mod copy;
pub mod diff;
pub mod documents;
pub mod entry;
pub mod full;
pub mod hash;
pub mod keep;
pub mod manifest;
pub mod moment;
pub mod oplog;
pub mod progress;
pub mod range;
pub mod recovery;
pub mod rehearsal;
pub mod replay;
pub mod restore;
pub mod store;
pub mod stream;
pub mod target;
