//! The dashboards of config/grafana, held to what an operator needs of them and to what the rest of the repository says; and
//! what they and the alerts ask for, held to what the programs declare and Prometheus keeps.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "tests and their helpers")]

#[path = "dashboards/grafana.rs"]
mod grafana;
#[path = "dashboards/promql.rs"]
mod promql;
#[path = "alerts/rules.rs"]
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use common::metrics::{Kind, Metric, Values};
use e2e::servers::repository;
use grafana::{Dashboard, DataSource, Panel, dashboards};
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::VectorSelector;
use regex::Regex;
use rules::Alert;
use serde_json::Value;

/// Grafana shows an unknown unit as a suffix, silently.
const UNITS: [&str; 11] =
    ["bytes", "cpm", "dateTimeFromNow", "eps", "mps", "none", "ops", "percentunit", "s", "short", "wps"];
const DATE: &str = "time:YYYY-MM-DD";
const GRID_WIDTH: u32 = 24;

fn read(file: &str) -> String {
    let path = repository().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(file: &str) -> Value {
    serde_yaml_ng::from_str(&read(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// What the programs declare, by the names that its series have.
fn declared() -> BTreeMap<String, Metric> {
    let all = [
        common::metrics::SHARED,
        ingest::metrics::METRICS,
        aggregator::metrics::METRICS,
        dashboard::metrics::METRICS,
        admin::backup::metrics::METRICS,
    ];
    let mut declared = BTreeMap::new();
    for metric in all.into_iter().flatten() {
        let suffixes: &[&str] =
            if matches!(metric.kind, Kind::Histogram(_)) { &["_bucket", "_sum", "_count"] } else { &[""] };
        declared.extend(suffixes.iter().map(|suffix| (format!("{}{suffix}", metric.name), *metric)));
    }
    declared
}

/// The selectors of expressions, and where each is.
fn selectors(expressions: impl Iterator<Item = (String, String)>) -> Vec<(String, VectorSelector)> {
    let selectors = expressions
        .flat_map(|(place, expr)| promql::selectors(&expr).into_iter().map(move |selector| (place.clone(), selector)));
    selectors.collect()
}

fn of_dashboards() -> Vec<(String, VectorSelector)> {
    let queries = dashboards().into_values().flat_map(|dashboard| dashboard.queries("1h", "1m"));
    selectors(queries.map(|query| (query.place, query.expr)))
}

fn of_alerts() -> Vec<(String, VectorSelector)> {
    selectors(rules::alerts().into_iter().map(|rule| (format!("alert {}", rule.alert), rule.expr)))
}

/// Whether `metric` can have a series that `matcher` takes.
fn can_match(metric: &Metric, matcher: &Matcher) -> bool {
    let added_by_prometheus = ["job", "instance", "le"].contains(&matcher.name.as_str());
    let label = metric.labels.iter().find(|label| label.name == matcher.name);
    added_by_prometheus
        || label.is_some_and(|label| match (label.values, &matcher.op) {
            (Values::Known(values), MatchOp::Equal | MatchOp::NotEqual) => values().contains(&matcher.value.as_str()),
            (Values::Known(values), _) => values().iter().any(|value| matcher.is_match(value)),
            (Values::Found(_), _) => true,
        })
}

#[test]
fn grafana_has_nothing_to_rewrite() {
    for (file, dashboard) in dashboards() {
        assert_eq!(dashboard.uid, format!("devtoolkit-{file}"), "links use the uid");
        assert_eq!(dashboard.schema_version, 39, "{file}: every Grafana since 11.0 takes it as it is");
        for key in ["id", "version", "iteration"] {
            assert!(!dashboard.rest.contains_key(key), "{file}: {key} is Grafana's own, and changes with each save");
        }
        let ids: BTreeSet<_> = dashboard.panels.iter().map(|panel| panel.id).collect();
        assert_eq!(ids.len(), dashboard.panels.len(), "{file}: an id given twice");
        assert!(!dashboard.title.is_empty() && !dashboard.description.is_empty(), "{file}");
    }
}

#[test]
fn every_panel_says_what_it_shows_what_is_good_and_what_to_do() {
    for (file, dashboard) in dashboards() {
        for panel in dashboard.panels_with_data() {
            let place = format!("{file}, {}", panel.title);
            assert!(panel.title.contains(": "), "{place}: the title is what it shows, a colon, what is good");
            assert!(
                panel.description.contains(" If "),
                "{place}: the description says what it shows, and if it is bad, what to do"
            );
            let unit = panel.field_config["defaults"]["unit"].as_str().unwrap_or_default();
            assert!(unit == DATE || UNITS.contains(&unit), "{place}: the unit is {unit:?}");
            assert!(!panel.targets.is_empty(), "{place} asks for nothing");
            let refs: BTreeSet<_> = panel.targets.iter().map(|target| &target.ref_id).collect();
            assert_eq!(refs.len(), panel.targets.len(), "{place}: two queries of one name");
            for target in &panel.targets {
                let legend = target.legend_format.as_deref().unwrap_or_default();
                assert!(panel.kind == "table" || !legend.is_empty(), "{place}: the legend would be the query");
            }
        }
    }
}

/// Grafana gives a number without an answer the colour of the first threshold, which is green for most. And over a time
/// range it shows the last answer that there was, however long ago.
#[test]
fn a_number_without_an_answer_is_not_green() {
    for (file, dashboard) in dashboards() {
        for panel in dashboard.panels_with_data().filter(|panel| panel.kind == "stat") {
            let place = format!("{file}, {}", panel.title);
            assert_eq!(panel.options["reduceOptions"]["calcs"], serde_json::json!(["last"]), "{place}");
            for target in &panel.targets {
                assert!(target.instant, "{place}: {} shows an answer of the past", target.ref_id);
                for silent in [None, Some(f64::NAN)] {
                    let color = panel.color(&target.ref_id, silent);
                    let is_never = silent.is_some() && !panel.has_not_a_number();
                    assert!(is_never || color != "green", "{place}: {} is green without an answer", target.ref_id);
                }
            }
        }
    }
}

#[test]
fn every_dashboard_begins_with_whether_all_is_well() {
    for (file, dashboard) in dashboards() {
        let mut rows = dashboard.panels.split(|panel| panel.kind == "row");
        assert!(rows.next().unwrap().is_empty(), "{file} begins with a row");
        let overview = rows.next().unwrap();
        let stats = overview.iter().filter(|panel| panel.kind == "stat").count();
        assert!(stats >= 6, "{file}: {stats} numbers in the first row");
        assert!(overview[0].targets[0].expr.contains("ALERTS"), "{file}: alerts come first");
    }
}

#[test]
fn panels_cover_the_grid_without_holes_or_overlaps() {
    for (file, dashboard) in dashboards() {
        let mut covered = BTreeMap::new();
        for panel in &dashboard.panels {
            let at = &panel.grid_pos;
            assert!(at.w > 0 && at.h > 0 && at.x + at.w <= GRID_WIDTH, "{file}, {}: outside of the grid", panel.title);
            for cell in (at.y..at.y + at.h).flat_map(|y| (at.x..at.x + at.w).map(move |x| (y, x))) {
                let other = covered.insert(cell, &panel.title);
                assert_eq!(other, None, "{file}: {} overlaps", panel.title);
            }
        }
        let height = dashboard.panels.iter().map(|panel| panel.grid_pos.y + panel.grid_pos.h).max().unwrap();
        let hole =
            (0..height).flat_map(|y| (0..GRID_WIDTH).map(move |x| (y, x))).find(|cell| !covered.contains_key(cell));
        assert_eq!(hole, None, "{file}: nothing at this line and column");
    }
}

#[test]
fn everything_is_asked_of_the_datasource_that_is_chosen() {
    let datasources = yaml("config/grafana/provisioning/datasources/prometheus.yml");
    let prometheus = &datasources["datasources"][0];
    let chosen = DataSource { kind: "prometheus".to_owned(), uid: "${datasource}".to_owned() };
    for (file, dashboard) in dashboards() {
        let panels = dashboard.panels_with_data().map(|panel| panel.datasource.as_ref());
        let annotations = dashboard.annotations.list.iter().map(|annotation| Some(&annotation.datasource));
        let queries = dashboard.templating.list.iter().filter(|variable| variable.kind == "query");
        for datasource in panels.chain(annotations).chain(queries.map(|variable| variable.datasource.as_ref())) {
            assert_eq!(datasource, Some(&chosen), "{file}");
        }
        let variable = dashboard.templating.list.iter().find(|variable| variable.kind == "datasource").unwrap();
        assert_eq!(variable.name, "datasource", "{file}");
        assert_eq!(variable.query, prometheus["type"], "{file}");
        assert_eq!(variable.current["value"], prometheus["uid"], "{file}");
    }
    let scraped = &yaml("config/prometheus/prometheus.yml")["global"]["scrape_interval"];
    assert_eq!(&prometheus["jsonData"]["timeInterval"], scraped, "rates are taken over four scrapes");
}

/// The anchors of docs/OPERATIONS.md.
fn anchors() -> BTreeSet<String> {
    let anchor = |heading: &str| heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    read("docs/OPERATIONS.md").lines().filter(|line| line.starts_with('#')).map(anchor).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let (dashboards, anchors) = (dashboards(), anchors());
    for (file, dashboard) in &dashboards {
        let panels = dashboard.panels.iter().flat_map(|panel| &panel.links);
        for link in panels.chain(&dashboard.links).filter(|link| !link.url.is_empty()) {
            let leads = if let Some(board) = link.url.strip_prefix("/d/devtoolkit-") {
                dashboards.contains_key(board)
            } else if let Some(anchor) = link.url.strip_prefix("${operations}#") {
                anchors.contains(anchor)
            } else {
                link.url == "${operations}"
            };
            assert!(leads, "{file}: {}", link.url);
        }
    }
}

#[test]
fn every_alert_is_explained_from_a_panel() {
    let links: BTreeSet<_> = dashboards()
        .into_values()
        .flat_map(|dashboard| dashboard.panels)
        .flat_map(|panel| panel.links)
        .map(|link| link.url)
        .collect();
    for Alert { alert, .. } in rules::alerts() {
        assert!(links.contains(&format!("${{operations}}#{}", alert.to_lowercase())), "no panel links to {alert}");
    }
}

#[test]
fn the_runbook_names_boards_and_panels_that_there_are() {
    let dashboards = dashboards();
    let boards: BTreeSet<_> =
        dashboards.values().filter_map(|dashboard| dashboard.title.strip_prefix("DevToolkit: ")).collect();
    let panels: BTreeSet<_> = dashboards.values().flat_map(Dashboard::panels_with_data).map(Panel::subject).collect();
    let text = read("docs/OPERATIONS.md").replace('\n', " ");
    let board = Regex::new(r"[Bb]oard \*([^*]+)\*(?:[,:] \*([^*]+)\*)?").unwrap();
    for found in board.captures_iter(&text) {
        assert!(boards.contains(&found[1]), "board {}", &found[1]);
        let panel = found.get(2).map(|panel| panel.as_str());
        assert!(panel.is_none_or(|panel| panels.contains(panel)), "{panel:?} of board {}", &found[1]);
    }
    let panel = Regex::new(r"[Pp]anel \*([^*]+)\*").unwrap();
    for found in panel.captures_iter(&text) {
        assert!(panels.contains(&found[1]), "panel {}", &found[1]);
    }
    assert!(
        board.find_iter(&text).count() > 3 && panel.find_iter(&text).count() > 1,
        "the runbook has changed its words"
    );
}

#[test]
fn every_expression_is_one() {
    for dashboard in dashboards().values() {
        for query in dashboard.queries("1h", "1m") {
            assert!(!promql::selectors(&query.expr).is_empty(), "{}: {} looks at nothing", query.place, query.expr);
        }
    }
}

#[test]
fn what_the_programs_do_not_declare_is_not_asked_for() {
    let declared = declared();
    for (place, selector) in of_dashboards().into_iter().chain(of_alerts()) {
        let name = selector.name.clone().unwrap_or_default();
        if !name.starts_with("devtoolkit_") {
            continue;
        }
        let metric = declared.get(&name).unwrap_or_else(|| panic!("{place}: {name} is not declared"));
        for matcher in &selector.matchers.matchers {
            assert!(can_match(metric, matcher), "{place}: {name} is never {matcher}");
        }
    }
}

#[test]
fn what_the_programs_declare_is_shown() {
    let shown: BTreeSet<_> = of_dashboards().into_iter().filter_map(|(_, selector)| selector.name).collect();
    let shown: BTreeSet<_> =
        declared().into_iter().filter(|(series, _)| shown.contains(series)).map(|(_, metric)| metric.name).collect();
    let ours: BTreeSet<_> =
        declared().into_values().map(|metric| metric.name).filter(|name| name.starts_with("devtoolkit_")).collect();
    let missing: Vec<_> = ours.difference(&shown).collect();
    assert!(missing.is_empty(), "on no dashboard: {missing:?}");
}

#[test]
fn what_prometheus_does_not_keep_of_mongodb_is_not_asked_for() {
    let prometheus = yaml("config/prometheus/prometheus.yml");
    let jobs = prometheus["scrape_configs"].as_array().unwrap();
    let mongodb = jobs.iter().find(|job| job["job_name"] == "mongodb").unwrap();
    let relabelings = mongodb["metric_relabel_configs"].as_array().unwrap();
    let keep = relabelings.iter().find(|relabeling| relabeling["action"] == "keep").unwrap();
    let keep = Regex::new(&format!("^(?:{})$", keep["regex"].as_str().unwrap())).unwrap();
    for (place, selector) in of_dashboards().into_iter().chain(of_alerts()) {
        let name = selector.name.unwrap_or_default();
        assert!(!name.starts_with("mongodb_") || keep.is_match(&name), "{place}: {name} is not kept");
    }
}
