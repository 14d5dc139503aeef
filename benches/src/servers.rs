//! The servers of a benchmark: nobody else uses them.

use anyhow::ensure;
use e2e::servers::{Kafka, KafkaOptions, ReplicaSet, ReplicaSetOptions};
use mongodb::{Client, Database};
use std::process::Command;

/// A one-member replica set and a broker, gone when dropped.
pub struct Servers {
    pub mongodb: ReplicaSet,
    pub kafka: Kafka,
}

impl Servers {
    pub async fn start() -> anyhow::Result<Self> {
        let mongodb = ReplicaSetOptions { cache_gb: 4.0, ..ReplicaSetOptions::default() };
        let java_args = ["-Xmx1g", "-XX:+UseSerialGC"].map(str::to_owned).to_vec();
        let kafka = KafkaOptions { java_args, ..KafkaOptions::default() };
        let (mongodb, kafka) = tokio::try_join!(ReplicaSet::start(mongodb), Kafka::start(kafka))?;
        Ok(Self { mongodb, kafka })
    }

    /// A program of the same build, with the settings for these servers.
    pub fn program(&self, name: &str, database: &str, topic: &str) -> anyhow::Result<Command> {
        let path = std::env::current_exe()?.with_file_name(name);
        ensure!(path.exists(), "{} is not there: run cargo build --release --workspace --bins", path.display());
        let mut command = Command::new(path);
        command
            .env("DEVTOOLKIT__MONGODB__URI", self.mongodb.uri())
            .env("DEVTOOLKIT__MONGODB__DATABASE", database)
            .env("DEVTOOLKIT__KAFKA__BROKERS", self.kafka.brokers())
            .env("DEVTOOLKIT__KAFKA__TOPIC", topic)
            .env("DEVTOOLKIT__KAFKA__GROUP_ID", database)
            .env("DEVTOOLKIT__TELEMETRY__LISTEN", "127.0.0.1:0")
            .env("DEVTOOLKIT__TELEMETRY__LOG_FILTER", "warn");
        Ok(command)
    }

    /// A fresh database with its indexes, and the topics.
    pub async fn migrate(&self, database: &str, topic: &str) -> anyhow::Result<Database> {
        let output = self.program("admin", database, topic)?.arg("migrate").output()?;
        ensure!(output.status.success(), "admin migrate failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Client::with_uri_str(self.mongodb.uri()).await?.database(database))
    }
}
