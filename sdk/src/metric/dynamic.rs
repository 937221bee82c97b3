//! Metrics whose labels only a configuration knows.

use super::{Change, Metric};
use crate::abi::MetricKind;
use crate::error::ConfigError;

/// A metric on its way to be defined; from [`Env::metric`](crate::Env::metric).
#[derive(Debug, Clone)]
#[must_use = "end with counter(), gauge() or histogram()"]
pub struct MetricDefinition {
    name: String,
    labels: Vec<String>,
    buckets: Vec<u64>,
}

/// As [`Counter`](crate::Counter), with labels that were named at run time.
#[derive(Debug, Clone)]
pub struct DynamicCounter(Metric);

/// As [`Gauge`](crate::Gauge), with labels that were named at run time.
#[derive(Debug, Clone)]
pub struct DynamicGauge(Metric);

/// As [`Histogram`](crate::Histogram), with labels that were named at run time.
#[derive(Debug, Clone)]
pub struct DynamicHistogram(Metric);

impl MetricDefinition {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), labels: Vec::new(), buckets: Vec::new() }
    }

    /// The names of its labels, in the order in which values will come. Default: none.
    pub fn labels<S: AsRef<str>>(mut self, labels: impl IntoIterator<Item = S>) -> Self {
        self.labels = labels.into_iter().map(|label| label.as_ref().to_owned()).collect();
        self
    }

    /// The inclusive upper bounds of a histogram's buckets, rising. Default: the host's. Fyke only; other hosts have buckets of
    /// their own.
    pub fn buckets(mut self, bounds: impl IntoIterator<Item = u64>) -> Self {
        self.buckets = bounds.into_iter().collect();
        self
    }

    /// Defines a number that only grows.
    ///
    /// # Errors
    /// As [`Env::counter`](crate::Env::counter).
    pub fn counter(self) -> Result<DynamicCounter, ConfigError> {
        self.define(MetricKind::Counter).map(DynamicCounter)
    }

    /// Defines a number that goes up and down.
    ///
    /// # Errors
    /// As [`Env::counter`](crate::Env::counter).
    pub fn gauge(self) -> Result<DynamicGauge, ConfigError> {
        self.define(MetricKind::Gauge).map(DynamicGauge)
    }

    /// Defines a distribution.
    ///
    /// # Errors
    /// As [`Env::counter`](crate::Env::counter).
    pub fn histogram(self) -> Result<DynamicHistogram, ConfigError> {
        self.define(MetricKind::Histogram).map(DynamicHistogram)
    }

    fn define(&self, kind: MetricKind) -> Result<Metric, ConfigError> {
        let labels: Vec<&str> = self.labels.iter().map(String::as_str).collect();
        Metric::define(kind, &self.name, &labels, &self.buckets)
    }
}

impl DynamicCounter {
    /// Adds `count` to the series with these values, which are in the order of the labels; zero does nothing. A value that is
    /// missing is empty, and one too many is left out.
    pub fn add<'a>(&self, count: u64, values: impl IntoIterator<Item = &'a str>) {
        if count > 0 {
            self.0.change(i64::try_from(count).unwrap_or(i64::MAX), values, Change::Add);
        }
    }
}

impl DynamicGauge {
    /// Sets it; values as in [`DynamicCounter::add`].
    pub fn set<'a>(&self, value: i64, values: impl IntoIterator<Item = &'a str>) {
        self.0.change(value, values, Change::Set);
    }
}

impl DynamicHistogram {
    /// Takes one value into account; label values as in [`DynamicCounter::add`].
    pub fn record<'a>(&self, value: u64, values: impl IntoIterator<Item = &'a str>) {
        self.0.change(i64::try_from(value).unwrap_or(i64::MAX), values, Change::Set);
    }
}

#[cfg(test)]
mod tests {
    use crate::env::Env;
    use crate::testing::World;

    #[test]
    fn labels_that_only_a_configuration_knows_are_labels() {
        World::reset();
        let mut env = Env::new();
        let counter = env.metric("requests_total").labels(["a", "b"]).counter().unwrap();
        counter.add(2, ["x", "y"]);
        counter.add(1, ["x"]);
        counter.add(1, ["x", "", "z"]);
        counter.add(0, ["never"]);
        let series = World::with(|world| world.labelled[0].series.clone());
        let owned = |values: [&str; 2]| values.map(str::to_owned).to_vec();
        assert_eq!(series.into_iter().collect::<Vec<_>>(), [(owned(["x", ""]), vec![2]), (owned(["x", "y"]), vec![2])]);
        assert!(env.metric("requests_total").labels(["a"]).counter().is_err());
    }

    #[test]
    fn buckets_are_part_of_what_a_histogram_is() {
        World::reset();
        let mut env = Env::new();
        let histogram = env.metric("time").buckets([1, 10]).histogram().unwrap();
        histogram.record(7, []);
        World::with(|world| {
            assert_eq!(world.labelled[0].buckets, [1, 10]);
            assert_eq!(world.labelled[0].series[&Vec::<String>::new()], [7]);
        });
        assert!(env.metric("time").buckets([1, 10]).histogram().is_ok());
        assert!(env.metric("time").buckets([1]).histogram().is_err());
    }

    #[test]
    fn another_host_gets_a_name_for_each_series_and_no_more_than_a_thousand() {
        World::reset();
        World::with(|world| world.knows_fyke = false);
        let mut env = Env::new();
        let counter = env.metric("seen").labels(["who"]).counter().unwrap();
        for number in 0..3000 {
            counter.add(1, [number.to_string().as_str()]);
        }
        World::with(|world| {
            assert_eq!(world.metrics.len(), 1001);
            assert_eq!(world.metrics[0].1, "seen.who=.=0;");
            assert_eq!(
                (world.metrics[1000].1.as_str(), &world.metrics[1000].2[..]),
                ("seen.who=.=_overflow;", &[2000][..])
            );
        });
    }
}
