//! The dashboards of config/grafana as far as tests look at them, and what Grafana would ask Prometheus for.
#![allow(dead_code, reason = "each of the tests that share this uses a part")]

use std::collections::BTreeMap;

use e2e::servers::repository;
use serde::Deserialize;
use serde_json::Value;

/// One file of config/grafana/dashboards.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dashboard {
    pub uid: String,
    pub title: String,
    pub description: String,
    pub schema_version: u32,
    pub links: Vec<Link>,
    pub templating: List<Variable>,
    pub annotations: List<Annotation>,
    pub panels: Vec<Panel>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
pub struct List<T> {
    pub list: Vec<T>,
}

#[derive(Debug, Deserialize)]
pub struct Link {
    #[serde(default)]
    pub url: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub datasource: Option<DataSource>,
    pub query: Value,
    pub all_value: Option<String>,
    #[serde(default)]
    pub current: Value,
}

#[derive(Debug, Deserialize)]
pub struct Annotation {
    pub name: String,
    pub datasource: DataSource,
    pub expr: String,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
pub struct DataSource {
    #[serde(rename = "type")]
    pub kind: String,
    pub uid: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Panel {
    pub id: u32,
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    #[serde(default)]
    pub description: String,
    pub datasource: Option<DataSource>,
    pub grid_pos: GridPos,
    #[serde(default)]
    pub links: Vec<Link>,
    #[serde(default)]
    pub field_config: Value,
    #[serde(default)]
    pub options: Value,
    #[serde(default)]
    pub targets: Vec<Target>,
}

/// In cells of a grid 24 wide.
#[derive(Debug, Deserialize)]
pub struct GridPos {
    pub x: u32,
    pub y: u32,
    pub w: u32,
    pub h: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    pub ref_id: String,
    pub expr: String,
    pub legend_format: Option<String>,
    /// It asks for the value now, and not for the time range shown.
    #[serde(default)]
    pub instant: bool,
}

/// What Grafana asks Prometheus for, its variables filled in.
#[derive(Debug)]
pub struct Query {
    /// Dashboard, panel, query: for messages.
    pub place: String,
    pub expr: String,
    /// The labels that the legend shows.
    pub legend_labels: Vec<String>,
}

/// All dashboards, by the name of the file without `.json`.
pub fn dashboards() -> BTreeMap<String, Dashboard> {
    let directory = repository().join("config/grafana/dashboards");
    let mut dashboards = BTreeMap::new();
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let dashboard = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        dashboards.insert(path.file_stem().unwrap().to_str().unwrap().to_owned(), dashboard);
    }
    dashboards
}

impl Dashboard {
    /// The panels that show something: all but the rows' headings.
    pub fn panels_with_data(&self) -> impl Iterator<Item = &Panel> {
        self.panels.iter().filter(|panel| panel.kind != "row")
    }

    /// What its panels and its annotations ask for; `range` is the time range shown, `rate_interval` the time that rates
    /// are taken over, such as `2m`.
    pub fn queries(&self, range: &str, rate_interval: &str) -> Vec<Query> {
        let filled = |expr: &str| self.fill_in(expr, range, rate_interval);
        let panels = self.panels_with_data().flat_map(|panel| {
            panel.targets.iter().map(|target| Query {
                place: format!("{}, {}, {}", self.uid, panel.title, target.ref_id),
                expr: filled(&target.expr),
                legend_labels: legend_labels(target.legend_format.as_deref().unwrap_or_default()),
            })
        });
        let annotations = self.annotations.list.iter().map(|annotation| Query {
            place: format!("{}, annotation {}", self.uid, annotation.name),
            expr: filled(&annotation.expr),
            legend_labels: Vec::new(),
        });
        panels.chain(annotations).collect()
    }

    fn fill_in(&self, expr: &str, range: &str, rate_interval: &str) -> String {
        let mut values =
            vec![("__range".to_owned(), range.to_owned()), ("__rate_interval".to_owned(), rate_interval.to_owned())];
        values.extend(self.templating.list.iter().map(|variable| (variable.name.clone(), variable.value())));
        let filled =
            values.iter().fold(expr.to_owned(), |expr, (name, value)| expr.replace(&format!("${name}"), value));
        assert!(!filled.contains('$'), "{}: a variable that there is not, in {filled}", self.uid);
        filled
    }
}

impl Variable {
    /// What stands for it when the dashboard is opened.
    fn value(&self) -> String {
        let current = self.current["value"].as_str().unwrap_or_default();
        self.all_value.clone().unwrap_or_else(|| current.to_owned())
    }
}

impl Panel {
    /// What it shows: the title without what is good.
    pub fn subject(&self) -> &str {
        self.title.split(": ").next().unwrap()
    }
}

impl Panel {
    /// Whether an answer can be one that is no number: a share, a mean or a percentile of nothing, a daily number that is null.
    pub fn has_not_a_number(&self) -> bool {
        let of_nothing = ["histogram_quantile", " / ", "devtoolkit_daily_"];
        self.targets.iter().any(|target| of_nothing.iter().any(|sign| target.expr.contains(sign)))
    }

    /// The colour that Grafana gives to a value of the query `ref_id`; `None` is a query without an answer.
    pub fn color(&self, ref_id: &str, value: Option<f64>) -> String {
        let defaults = &self.field_config["defaults"];
        let special = match value {
            None => Some("null"),
            Some(value) if value.is_nan() => Some("nan"),
            Some(_) => None,
        };
        let mapped = |mapping: &Value| match special {
            Some(special) => {
                let is_meant = mapping["type"] == "special"
                    && mapping["options"]["match"]
                        .as_str()
                        .is_some_and(|matched| matched.split('+').any(|it| it == special));
                mapping["options"]["result"]["color"].as_str().filter(|_| is_meant).map(str::to_owned)
            }
            None => {
                let value = value.unwrap_or_default().to_string();
                mapping["options"][value]["color"].as_str().filter(|_| mapping["type"] == "value").map(str::to_owned)
            }
        };
        if let Some(color) = defaults["mappings"].as_array().into_iter().flatten().find_map(mapped) {
            return color;
        }
        let overridden = self.field_config["overrides"].as_array().into_iter().flatten().find(|overriding| {
            overriding["matcher"]["id"] == "byFrameRefID" && overriding["matcher"]["options"] == ref_id
        });
        let properties = overridden.and_then(|overriding| overriding["properties"].as_array());
        let thresholds = properties.into_iter().flatten().find(|property| property["id"] == "thresholds");
        let thresholds = thresholds.map_or(&defaults["thresholds"], |property| &property["value"]);
        // Grafana takes the first step for what is no number.
        let value = value.filter(|value| !value.is_nan()).unwrap_or(f64::NEG_INFINITY);
        let steps = thresholds["steps"].as_array().unwrap();
        let step = steps.iter().rev().find(|step| step["value"].as_f64().is_none_or(|least| value >= least)).unwrap();
        step["color"].as_str().unwrap().to_owned()
    }
}

fn legend_labels(legend: &str) -> Vec<String> {
    legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap().to_owned()).collect()
}
