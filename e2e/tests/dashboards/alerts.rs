//! The alerts of config/prometheus/alerts.

use std::collections::BTreeMap;

use e2e::servers::repository;
use serde_json::Value;

/// The expressions of the alerts, by name.
pub fn alerts() -> BTreeMap<String, String> {
    let mut alerts = BTreeMap::new();
    for file in std::fs::read_dir(repository().join("config/prometheus/alerts")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let rules: Value = serde_yaml_ng::from_str(&text).unwrap();
        for rule in rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
            let (name, expr) = (rule["alert"].as_str().unwrap(), rule["expr"].as_str().unwrap());
            alerts.insert(name.to_owned(), expr.to_owned());
        }
    }
    alerts
}
