//! Real servers on this machine: each in a directory of its own, on free ports, with a log that error messages name.

pub mod alertmanager;
pub mod blackbox;
mod home;
mod http_server;
mod kafka;
mod mongod;
pub mod mongodb_exporter;
pub mod monitoring;
mod network;
mod ports;
pub mod process;
pub mod prometheus;
mod readiness;

pub use home::Home;
pub use http_server::HttpServer;
pub use kafka::{Kafka, KafkaOptions};
pub use mongod::{Mongod, ReplicaSet, ReplicaSetOptions};
pub use network::{Cut, Network};
pub use ports::free_port;
pub use process::{Ownership, Process};

use std::path::{Path, PathBuf};

/// The checkout this was built from.
pub fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Where `./dev` puts the servers' own files: `DEVTOOLKIT_SERVERS`, else `.dev/servers` in the checkout.
///
/// # Errors
/// When `file` is not there.
pub fn installed(file: &str) -> anyhow::Result<PathBuf> {
    let directory = match std::env::var_os("DEVTOOLKIT_SERVERS") {
        Some(directory) => PathBuf::from(directory),
        None => repository().join(".dev/servers"),
    };
    let path = directory.join(file);
    anyhow::ensure!(
        path.exists(),
        "{} is not there: run `./dev fetch`, or set DEVTOOLKIT_SERVERS to a directory that has it",
        path.display()
    );
    Ok(path)
}
