//! The shipped alerts, as their files have them.
#![allow(dead_code, reason = "each of the tests that share this uses a part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use e2e::servers::repository;
use serde::Deserialize;

#[derive(Deserialize)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Alert>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    pub alert: String,
    pub expr: String,
    /// There is none without: a single scrape is no symptom.
    #[serde(rename = "for")]
    _lasts: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

/// The files in a directory, by name.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// All of config/prometheus/alerts.
pub fn alerts() -> Vec<Alert> {
    let read = |path: PathBuf| serde_yaml_ng::from_str::<RuleFile>(&std::fs::read_to_string(path).unwrap()).unwrap();
    let files = files(&repository().join("config/prometheus/alerts")).into_iter().map(read);
    files.flat_map(|file| file.groups).flat_map(|group| group.rules).collect()
}
