//! No number on a board is green while its source is silent: `ingest`, the aggregator, Kafka and MongoDB hang (SIGSTOP), and are
//! killed, one after the other, and a real Prometheus is asked what each board shows meanwhile.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "tests and their helpers")]

#[path = "dashboards/grafana.rs"]
mod grafana;
#[path = "dashboards/promql.rs"]
mod promql;
#[path = "expressions/two_days.rs"]
mod two_days;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use common::metrics::Metric;
use e2e::eventually::{PATIENCE, eventually};
use e2e::servers::alertmanager::AlertmanagerOptions;
use e2e::servers::monitoring::{Monitoring, MonitoringOptions};
use e2e::servers::prometheus::{Prometheus, faster_waits};
use e2e::servers::{Home, Kafka, KafkaOptions, Ownership, ReplicaSet, ReplicaSetOptions, free_port};
use e2e::world::{Running, World};
use grafana::{Panel, dashboards};
use promql_parser::parser::VectorSelector;
use two_days::{TOOLS, USERS, two_days};

/// Prometheus scrapes every 3 seconds, and a rate is taken over four scrapes.
const FASTER: u32 = 15;
const RATE_INTERVAL: &str = "12s";
const RANGE: &str = "60s";
/// Two scrapes: what only passes is over by then.
const SCRAPES: f64 = 6.0;
/// The longest window of the numbers is 15 minutes, here a minute; and an alert must be pending.
const HONEST_WITHIN: Duration = Duration::from_secs(100);
/// Nobody hears of alerts.
const NOBODY: &str = "http://127.0.0.1:9/";

/// What the programs know from Kafka alone.
const FROM_KAFKA: &[&str] = &[
    "devtoolkit_ingest_lag_messages",
    "devtoolkit_ingest_without_progress_seconds",
    "devtoolkit_ingest_delay_seconds_bucket",
    "devtoolkit_ingest_assigned_partitions",
];
/// What the programs know from MongoDB alone, or what stands still without MongoDB.
const FROM_MONGODB: &[&str] = &[
    "devtoolkit_ingest_without_progress_seconds",
    "devtoolkit_ingest_delay_seconds_bucket",
    "devtoolkit_aggregator_days_due",
    "devtoolkit_aggregator_days_failed",
    "devtoolkit_aggregator_oldest_dirty_timestamp_seconds",
    "devtoolkit_aggregator_lease_held",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Ingest,
    Aggregator,
    Kafka,
    Mongodb,
}

impl Source {
    /// Whether it is what a series says something about.
    fn has(self, selector: &VectorSelector) -> bool {
        let name = selector.name.as_deref().unwrap_or_default();
        let is_of = |metrics: &[Metric]| metrics.iter().any(|metric| name.starts_with(metric.name));
        let job = selector.matchers.find_matchers("job").into_iter().next().map(|matcher| matcher.value);
        let is_job = |wanted: &str| job.as_deref() == Some(wanted);
        match self {
            Self::Ingest => is_of(ingest::metrics::METRICS) || is_job("ingest"),
            Self::Aggregator => is_of(aggregator::metrics::METRICS) || is_job("aggregator"),
            Self::Kafka => FROM_KAFKA.contains(&name) || name == "devtoolkit_ready" && is_job("ingest"),
            Self::Mongodb => {
                FROM_MONGODB.contains(&name)
                    || name == "devtoolkit_ready"
                    || name.starts_with("mongodb_") && !name.starts_with("mongodb_exporter")
                    || is_job("mongodb")
            }
        }
    }
}

/// What one number of a board asks.
struct Number {
    place: String,
    query: String,
    ref_id: String,
    expr: String,
    sources: BTreeSet<Source>,
    is_alerts: bool,
}

/// The numbers of all boards, and the panels by place.
fn numbers() -> (Vec<Number>, BTreeMap<String, Panel>) {
    let (mut numbers, mut panels) = (Vec::new(), BTreeMap::new());
    for dashboard in dashboards().into_values() {
        let queries: BTreeMap<_, _> =
            dashboard.queries(RANGE, RATE_INTERVAL).into_iter().map(|query| (query.place, query.expr)).collect();
        for panel in dashboard.panels.into_iter().filter(|panel| panel.kind == "stat") {
            let place = format!("{}, {}", dashboard.uid, panel.title);
            for target in &panel.targets {
                let query = format!("{place}, {}", target.ref_id);
                let expr = faster_waits(&queries[&query], FASTER);
                let selectors = promql::selectors(&expr);
                let all = [Source::Ingest, Source::Aggregator, Source::Kafka, Source::Mongodb];
                let sources = all.into_iter().filter(|source| selectors.iter().any(|series| source.has(series)));
                let is_alerts = target.expr.contains("ALERTS");
                let (place, ref_id, sources) = (place.clone(), target.ref_id.clone(), sources.collect());
                numbers.push(Number { place, query, ref_id, expr, sources, is_alerts });
            }
            panels.insert(place, panel);
        }
    }
    (numbers, panels)
}

struct Boards {
    numbers: Vec<Number>,
    panels: BTreeMap<String, Panel>,
    monitoring: Monitoring,
}

impl Boards {
    fn prometheus(&self) -> &Prometheus {
        &self.monitoring.prometheus
    }

    /// The colours that a number has now; `None` while Prometheus does not answer.
    async fn colours(&self, number: &Number) -> Option<Vec<String>> {
        let samples = self.prometheus().query(&number.expr).await.ok()?;
        let panel = &self.panels[&number.place];
        if samples.is_empty() {
            return Some(vec![panel.color(&number.ref_id, None)]);
        }
        Some(samples.iter().map(|sample| panel.color(&number.ref_id, Some(sample.value))).collect())
    }

    /// The numbers that are green although `source` is silent. Of alerts, those boards on which none fires and none is pending.
    async fn lies(&self, source: Source) -> Option<Vec<String>> {
        let (mut lies, mut calm) = (Vec::new(), BTreeMap::<&str, bool>::new());
        for number in self.numbers.iter().filter(|number| number.is_alerts || number.sources.contains(&source)) {
            let is_green = self.colours(number).await?.iter().any(|colour| colour == "green");
            if number.is_alerts {
                *calm.entry(&number.place).or_insert(true) &= is_green;
            } else if is_green {
                lies.push(format!("{}: {}", number.query, number.expr));
            }
        }
        lies.extend(calm.into_iter().filter(|(_, is_calm)| *is_calm).map(|(place, _)| place.to_owned()));
        Some(lies)
    }

    /// The time of the last scrape of Prometheus itself, in seconds.
    async fn last_scrape(&self) -> Option<f64> {
        let scrapes = self.prometheus().query(r#"max(timestamp(up{job="prometheus"}))"#).await.ok()?;
        Some(scrapes.first()?.value)
    }

    /// Waits until no number lies, also two scrapes later. Returns the lies that there still are after [`HONEST_WITHIN`].
    async fn lasting_lies(&self, source: Source, what: &str) -> Vec<String> {
        let start = Instant::now();
        let mut honest_since = None;
        let lies = eventually(PATIENCE, &format!("answer of Prometheus while {what}"), async || {
            let scraped = self.last_scrape().await?;
            let lies = self.lies(source).await?;
            if !lies.is_empty() {
                honest_since = None;
                return (start.elapsed() > HONEST_WITHIN).then_some(lies);
            }
            let since = *honest_since.get_or_insert(scraped);
            (scraped >= since + SCRAPES).then_some(lies)
        })
        .await;
        lies.into_iter().map(|lie| format!("{what}: {lie}")).collect()
    }

    /// Waits until all programs and servers work again.
    async fn until_well(&self, after: &str) {
        let well = r#"sum(devtoolkit_ready) == 2 and on () sum(devtoolkit_ingest_assigned_partitions) == 4
            and on () sum(rate(devtoolkit_ingest_events_total[12s])) > 0 and on () sum(mongodb_up) == 1"#;
        eventually(PATIENCE, &format!("a pipeline that is well after {after}"), async || {
            let answer = self.prometheus().query(well).await.ok()?;
            (!answer.is_empty()).then_some(())
        })
        .await;
    }
}

/// A program on an address of its own, where Prometheus looks for it also after a restart.
struct Program<'a> {
    world: &'a World,
    name: &'static str,
    task: &'static str,
    address: String,
}

impl<'a> Program<'a> {
    fn new(world: &'a World, name: &'static str, task: &'static str) -> Self {
        Self { world, name, task, address: format!("127.0.0.1:{}", free_port().unwrap()) }
    }

    fn start(&self) -> Running {
        let mut command = self.world.command(self.name);
        command.arg(self.task).env("DEVTOOLKIT__TELEMETRY__LISTEN", &self.address);
        self.world.start(self.name, command)
    }
}

#[tokio::test]
#[ignore = "takes six minutes: ./dev silence-check"]
async fn no_number_is_green_while_its_source_hangs_or_is_dead() {
    let (numbers, panels) = numbers();
    for (source, least) in [(Source::Ingest, 9), (Source::Aggregator, 15), (Source::Kafka, 5), (Source::Mongodb, 9)] {
        let concerned = numbers.iter().filter(|number| number.sources.contains(&source)).count();
        assert!(concerned >= least, "only {concerned} numbers are about {source:?}");
    }
    let home = Home::temporary("silence").unwrap();
    let monitored = ReplicaSetOptions { monitored: true, ..ReplicaSetOptions::default() };
    let (mut mongodb, mut kafka) =
        tokio::try_join!(ReplicaSet::start(monitored), Kafka::start(KafkaOptions::default())).unwrap();
    let world = World::on("silence", &mongodb.uri(), &kafka.brokers()).await.with_env("AGGREGATOR__REFRESH", "1s");
    two_days(&world).await;
    let (ingest, aggregator) = (Program::new(&world, "ingest", "run"), Program::new(&world, "aggregator", "serve"));
    let (mut worker, mut serving) = (ingest.start(), aggregator.start());
    let monitoring = MonitoringOptions {
        mongodb_uri: mongodb.uri(),
        ingest: vec![ingest.address.clone()],
        aggregator: vec![aggregator.address.clone()],
        dashboard: Vec::new(),
        backup: Vec::new(),
        certificates: Vec::new(),
        alerts: AlertmanagerOptions { page_url: NOBODY.to_owned(), ticket_url: NOBODY.to_owned(), faster: FASTER },
    };
    let monitoring = Monitoring::start(home.path(), Ownership::Owned, &monitoring).await.unwrap();
    let boards = Boards { numbers, panels, monitoring };
    let _live = world.spawn("emit", &["generate", "--live", "--rate", "100", "--users", USERS, "--tools", TOOLS]);
    boards.until_well("the start").await;

    let mut lies = Vec::new();
    worker.process.pause().unwrap();
    lies.extend(boards.lasting_lies(Source::Ingest, "ingest hangs").await);
    worker.process.resume().unwrap();
    boards.until_well("ingest hung").await;
    worker.process.kill().unwrap();
    lies.extend(boards.lasting_lies(Source::Ingest, "ingest is dead").await);
    worker = ingest.start();
    boards.until_well("ingest was dead").await;

    serving.process.pause().unwrap();
    lies.extend(boards.lasting_lies(Source::Aggregator, "the aggregator hangs").await);
    serving.process.resume().unwrap();
    boards.until_well("the aggregator hung").await;
    serving.process.kill().unwrap();
    lies.extend(boards.lasting_lies(Source::Aggregator, "the aggregator is dead").await);
    serving = aggregator.start();
    boards.until_well("the aggregator was dead").await;

    kafka.pause().unwrap();
    lies.extend(boards.lasting_lies(Source::Kafka, "Kafka hangs").await);
    kafka.resume().unwrap();
    boards.until_well("Kafka hung").await;
    kafka.kill().unwrap();
    lies.extend(boards.lasting_lies(Source::Kafka, "Kafka is dead").await);
    kafka.restart().await.unwrap();
    boards.until_well("Kafka was dead").await;

    mongodb.member(0).pause().unwrap();
    lies.extend(boards.lasting_lies(Source::Mongodb, "MongoDB hangs").await);
    mongodb.member(0).resume().unwrap();
    boards.until_well("MongoDB hung").await;
    mongodb.member(0).kill().unwrap();
    lies.extend(boards.lasting_lies(Source::Mongodb, "MongoDB is dead").await);
    mongodb.member(0).start().await.unwrap();
    boards.until_well("MongoDB was dead").await;
    assert!(lies.is_empty(), "green without a source, after {HONEST_WITHIN:?}:\n{}", lies.join("\n"));
    for program in [&mut worker, &mut serving] {
        program.stop(Duration::from_secs(20)).await;
    }
}
