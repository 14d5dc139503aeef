//! How metrics are declared: once, as data. The recorder, the series that are there from the start and docs/METRICS.md are
//! made of the declarations, and whoever writes to a series gets it from its declaration.

mod shared;

use metrics::{Counter, Gauge, Histogram, Key, Level, Metadata};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use shared::METRICS as SHARED;
pub(crate) use shared::{collect_process, dependency_up, ready};

/// Declares metrics, and lists them as `METRICS`: a metric that is not listed could not be declared.
#[macro_export]
macro_rules! declare_metrics {
    ($($name:ident = $metric:expr;)+) => {
        $(const $name: $crate::metrics::Metric = $metric;)+

        /// Every metric that is declared here, in the order of docs/METRICS.md.
        pub const METRICS: &[$crate::metrics::Metric] = &[$($name),+];
    };
}

/// What a metric is for Prometheus.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by these upper bounds, in the metric's unit.
    Histogram(&'static [f64]),
}

/// A label of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it can be.
    pub values: Values,
}

/// The values of a label. Never a user, a session, an event or free text: each value is a series.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// These, known beforehand: their series are there from the start.
    Known(fn() -> Vec<&'static str>),
    /// Found while the program runs: what they are, and how many at most.
    Found(&'static str),
}

/// A metric, declared.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, which ends in its unit, before `_total` where it is a counter: <https://prometheus.io/docs/practices/naming/>.
    pub name: &'static str,
    /// What it is for Prometheus.
    pub kind: Kind,
    /// What it tells, in a sentence without its full stop.
    pub help: &'static str,
    /// Its labels, in the order in which values are given.
    pub labels: &'static [Label],
}

/// Declares a counter.
pub const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, help, labels: &[] }
}

/// Declares a gauge.
pub const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, help, labels: &[] }
}

/// Declares a histogram with upper bounds in its unit.
pub const fn histogram(name: &'static str, bounds: &'static [f64], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram(bounds), help, labels: &[] }
}

/// A label whose values are known beforehand.
pub const fn known(name: &'static str, values: fn() -> Vec<&'static str>) -> Label {
    Label { name, values: Values::Known(values) }
}

/// A label whose values are found while the program runs; `which` says what they are and how many at most.
pub const fn found(name: &'static str, which: &'static str) -> Label {
    Label { name, values: Values::Found(which) }
}

impl Metric {
    /// The same, told apart by labels.
    #[must_use]
    pub const fn by(self, labels: &'static [Label]) -> Self {
        Self { labels, ..self }
    }

    /// The series with these values of its labels. Looked up anew with each call, so keep it where that is often.
    pub fn counter(&self, values: &[&str]) -> Counter {
        metrics::with_recorder(|recorder| recorder.register_counter(&self.key(values), &METADATA))
    }

    /// As [`Metric::counter`].
    pub fn gauge(&self, values: &[&str]) -> Gauge {
        metrics::with_recorder(|recorder| recorder.register_gauge(&self.key(values), &METADATA))
    }

    /// As [`Metric::counter`].
    pub fn histogram(&self, values: &[&str]) -> Histogram {
        metrics::with_recorder(|recorder| recorder.register_histogram(&self.key(values), &METADATA))
    }

    fn key(&self, values: &[&str]) -> Key {
        debug_assert_eq!(self.labels.len(), values.len(), "the labels of {}", self.name);
        let label = |(label, value): (&Label, &&str)| metrics::Label::new(label.name, (*value).to_owned());
        Key::from_parts(self.name, self.labels.iter().zip(values).map(label).collect::<Vec<_>>())
    }

    fn describe(&self) {
        metrics::with_recorder(|recorder| match self.kind {
            Kind::Counter => recorder.describe_counter(self.name.into(), None, self.help.into()),
            Kind::Gauge => recorder.describe_gauge(self.name.into(), None, self.help.into()),
            Kind::Histogram(_) => recorder.describe_histogram(self.name.into(), None, self.help.into()),
        });
    }

    /// Shows the series that are known beforehand: a rate over a series that does not exist yet is no rate.
    fn show(&self) {
        for values in self.known_values() {
            match self.kind {
                Kind::Counter => drop(self.counter(&values)),
                Kind::Gauge => drop(self.gauge(&values)),
                Kind::Histogram(_) => drop(self.histogram(&values)),
            }
        }
    }

    /// The values of the labels of each series that is known beforehand.
    fn known_values(&self) -> Vec<Vec<&'static str>> {
        let mut series = vec![Vec::new()];
        for label in self.labels {
            let values = match label.values {
                Values::Known(values) => values(),
                Values::Found(_) => Vec::new(),
            };
            let longer = |known: &Vec<&'static str>| {
                let with = |value: &&'static str| [known.as_slice(), &[*value]].concat();
                values.iter().map(with).collect::<Vec<_>>()
            };
            series = series.iter().flat_map(longer).collect();
        }
        series
    }
}

/// Where a series is written from is of no concern to the exporter.
const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// Installs the recorder of the process for the metrics that `program` declares and those that all programs share, and shows
/// every series that is known beforehand.
///
/// # Errors
/// A recorder is installed already, or a histogram has no bounds.
pub fn install(program: &'static str, declared: &[Metric]) -> anyhow::Result<PrometheusHandle> {
    let all = || SHARED.iter().chain(declared);
    let mut builder = PrometheusBuilder::new();
    for metric in all() {
        // Without bounds of its own the exporter would make a summary of it.
        if let Kind::Histogram(bounds) = metric.kind {
            builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), bounds)?;
        }
    }
    let handle = builder.install_recorder()?;
    for metric in all() {
        metric.describe();
        metric.show();
    }
    shared::build_info(program);
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_known_beforehand_where_every_label_is() {
        assert_eq!(counter("a_total", "A").known_values(), [Vec::<&str>::new()]);
        const KNOWN: &[Label] = &[known("x", || vec!["1", "2"]), known("y", || vec!["3"])];
        assert_eq!(counter("a_total", "A").by(KNOWN).known_values(), [["1", "3"], ["2", "3"]]);
        const FOUND: &[Label] = &[known("x", || vec!["1"]), found("y", "at most 500")];
        assert!(counter("a_total", "A").by(FOUND).known_values().is_empty());
    }
}
