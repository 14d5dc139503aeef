//! docker-compose.yml as the tests look at it.

use std::collections::BTreeMap;

use e2e::servers::repository;
use serde::Deserialize;
use serde_yaml_ng::Value;

#[derive(Debug, Deserialize)]
pub struct ComposeFile {
    pub services: BTreeMap<String, Service>,
    pub networks: BTreeMap<String, Network>,
    pub volumes: BTreeMap<String, Value>,
}

/// What of a service the tests look at; what the file does not say of it is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    pub image: String,
    pub build: Option<Build>,
    pub pull_policy: String,
    pub user: String,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub networks: Vec<String>,
    pub network_mode: String,
    pub ports: Vec<String>,
    pub volumes: Vec<String>,
    pub depends_on: BTreeMap<String, Dependency>,
    pub healthcheck: Option<Health>,
    pub profiles: Vec<String>,
    pub restart: String,
    pub read_only: bool,
    pub cap_drop: Vec<String>,
    pub cap_add: Vec<String>,
    pub security_opt: Vec<String>,
    pub mem_limit: String,
    pub memswap_limit: String,
    pub tmpfs: Vec<String>,
    pub ulimits: BTreeMap<String, Value>,
    pub logging: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub struct Build {
    pub context: String,
    pub target: String,
}

#[derive(Debug, Deserialize)]
pub struct Dependency {
    pub condition: String,
}

#[derive(Debug, Deserialize)]
pub struct Health {
    pub test: Vec<String>,
    pub retries: u64,
    pub interval: String,
}

impl Health {
    pub fn interval_seconds(&self) -> u64 {
        self.interval.trim_end_matches('s').parse().unwrap()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Network {
    pub internal: bool,
}

/// Something at `target` in the container: a path of the checkout, or a volume.
#[derive(Debug)]
pub struct Mount<'a> {
    pub source: &'a str,
    pub target: &'a str,
    pub read_only: bool,
}

impl ComposeFile {
    pub fn read() -> Self {
        let text = std::fs::read_to_string(repository().join("docker-compose.yml")).unwrap();
        let mut file: Value = serde_yaml_ng::from_str(&text).unwrap();
        // Once for each anchor within an anchor.
        for _ in 0..4 {
            file.apply_merge().unwrap();
        }
        serde_yaml_ng::from_value(file).unwrap()
    }
}

impl Service {
    pub fn mounts(&self) -> impl Iterator<Item = Mount<'_>> {
        self.volumes.iter().map(|volume| {
            let parts: Vec<&str> = volume.split(':').collect();
            Mount { source: parts[0], target: parts[1], read_only: parts.get(2) == Some(&"ro") }
        })
    }

    /// Started by hand only.
    pub fn is_on_demand(&self) -> bool {
        !self.profiles.is_empty()
    }

    /// It does its work and ends, or is started by hand.
    pub fn ends(&self) -> bool {
        self.restart != "unless-stopped"
    }
}

impl Mount<'_> {
    pub fn is_path(&self) -> bool {
        self.source.starts_with('.')
    }
}
