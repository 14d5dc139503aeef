//! Tests that run the real programs on real servers.
//!
//! - [`servers`] starts, stops, kills and pauses real `mongod` replica sets and Kafka brokers, and real Prometheus servers,
//!   Alertmanagers and exporters.
//! - [`world`] is what a test holds: a database, a topic and a group of its own, and the programs of the workspace.
//! - [`guarded`] is a replica set that asks for passwords, with the roles of access.json.
//! - [`recount`] counts a day again from the list of its events, to compare the aggregator with.
//! - [`chaos`] kills all of it at random, and looks for what is lost; `src/bin/chaos.rs` is behind `./dev chaos`.
//! - `src/bin/servers.rs` is the program behind `./dev up`, `./dev down` and `./dev test`.

pub mod chaos;
pub mod eventually;
pub mod guarded;
pub mod http;
pub mod load;
pub mod recount;
pub mod servers;
pub mod topic;
pub mod world;
