//! What a tool links to emit events.
//!
//! ```text
//! Event -> validated as ingest will -> bounded queue -> Kafka -> delivery report -> Counts
//! ```
//!
//! - [`emitter`] is all that a tool needs: [`Emitter::connect`], [`Emitter::emit`], [`Emitter::flush`]; `examples/tool.rs` is
//!   a whole tool.
//! - [`delivery`] counts what became of each event, and tells of failures.
//! - [`ids`] makes ids for events.
//! - [`generate`] makes the events of a believable DevToolkit, for demos, tests and benchmarks.
//! - [`commands`] is the program `emit`: `emit generate` and `emit file`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod commands;
pub mod delivery;
pub mod emitter;
pub mod generate;
pub mod ids;

pub use delivery::{Counts, Undelivered};
pub use emitter::{Emitter, EmitterOptions, Refused, Unusable};
