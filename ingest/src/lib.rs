//! From Kafka to MongoDB.
//!
//! The life of an event here: [`consumer`] polls it on a thread of its own, [`decode`] turns it into BSON in the open
//! [`batch`], or into a dead letter; the full batch goes to [`writer`], which inserts it and, through [`dead_letter`],
//! hands over what was refused; when both are acknowledged, [`offsets`] says how far the topic may be committed.

pub mod batch;
pub mod consumer;
pub mod dead_letter;
pub mod decode;
pub mod metrics;
pub mod offsets;
mod rebalance;
mod refused;
pub mod run;
pub mod writer;
