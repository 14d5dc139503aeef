//! From Kafka to MongoDB.
//!
//! The life of an event here: [`consumer`] takes it from [`messages`] on a thread of its own, [`decode`] turns it into BSON in the open
//! [`batch`], or into a dead letter; the full batch goes to [`writer`], which inserts it and, through [`dead_letter`],
//! hands over what was refused; when both are acknowledged, [`offsets`] says how far the topic may be committed.
//!
//! Beside the path, `kept` says what a dead letter keeps of its message, `flow` says when reading pauses, `positions` notices
//! offsets that were left out, [`lag`] says how many messages wait, and `expiry` how long Kafka still keeps them. `topic` asks Kafka how long that is, and
//! whether the topic was created again. [`late`] marks
//! the days of late events dirty before their offsets are committed, and `commits` hears of commits that fail. [`conflicts`]
//! compares absorbed events with the stored ones. [`throttle`] bounds rates: [`live_settings`] changes the rates while the worker
//! runs, and [`check_config`] shows them. [`presence`] and [`tools`] count what the live dashboards show.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod batch;
pub mod check_config;
mod commits;
pub mod conflicts;
pub mod consumer;
pub mod dead_letter;
pub mod decode;
mod expiry;
mod flow;
mod kept;
pub mod lag;
pub mod late;
pub mod live_settings;
pub mod messages;
pub mod metrics;
pub mod offsets;
mod positions;
pub mod presence;
mod rebalance;
mod refused;
mod reread;
mod retry;
pub mod run;
pub mod throttle;
pub mod tools;
mod topic;
pub mod window;
pub mod writer;
