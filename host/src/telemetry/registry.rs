//! Series by name and labels, and readings of them.
//!
//! A *series* is a metric with label values. It holds a base and the cells of its live handles. [`Registry::counter`]
//! and its siblings give every caller a cell of its own; so does cloning a handle, which is therefore not for the hot path. The only
//! locks are taken when a handle is made, when it is dropped, and by a reading.
//!
//! Lock order: families, then a series. Handles never take the first, so a drop cannot deadlock with a reading.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

pub use super::handle::{Counter, Gauge, Histogram};
use super::{
    events::Events,
    filter_metrics::FilterMetrics,
    handle::{CounterCell, GaugeCell, Handle, Series, lock},
    histogram::{Buckets, HistogramCell, HistogramReading},
    labelled::LabelledMetrics,
    names::{self, Kind, Metric},
};

/// Most series of the proxy's own metrics. Registrations beyond it count in a series whose labels are all [`OVERFLOW`].
pub const SERIES: usize = 100_000;

/// The label value of what did not fit.
pub const OVERFLOW: &str = "overflow";

/// All numbers of the process. Clones are the same registry.
#[derive(Debug, Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    families: Mutex<Families>,
    filter_metrics: FilterMetrics,
    labelled: LabelledMetrics,
    events: Events,
    limit: AtomicUsize,
    overflows: AtomicU64,
}

#[derive(Debug, Default)]
struct Families {
    by_name: BTreeMap<&'static str, Family>,
    series: usize,
}

#[derive(Debug)]
struct Family {
    metric: &'static Metric,
    series: BTreeMap<Labels, AnySeries>,
}

/// Label values in the order of the metric's label names.
type Labels = Vec<String>;

#[derive(Debug, Clone)]
enum AnySeries {
    Counter(Arc<Series<CounterCell>>),
    Time(Arc<Series<CounterCell>>),
    Gauge(Arc<Series<GaugeCell>>),
    Histogram(Arc<Series<HistogramCell>>, Buckets),
}

impl Default for Registry {
    fn default() -> Self {
        Self::with_limit(SERIES)
    }
}

impl Registry {
    /// An empty registry that holds [`SERIES`] series.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty registry that holds at most `limit` series.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                families: Mutex::default(),
                filter_metrics: FilterMetrics::default(),
                labelled: LabelledMetrics::default(),
                events: Events::default(),
                limit: AtomicUsize::new(limit),
                overflows: AtomicU64::new(0),
            }),
        }
    }

    /// From now on at most `limit` series are made; those that there are stay.
    pub fn limit(&self, limit: usize) {
        self.inner.limit.store(limit, Ordering::Relaxed);
    }

    /// A new cell in the counter series of `metric` with these labels. `labels` names every label of the metric, in any order.
    #[must_use]
    pub fn counter(&self, metric: &'static Metric, labels: &[(&str, &str)]) -> Counter {
        match self.series(metric, labels) {
            AnySeries::Counter(series) | AnySeries::Time(series) => Counter(Handle::attach(series)),
            _ => Counter(Handle::detached(metric)),
        }
    }

    /// A new cell in the gauge series of `metric` with these labels. The series shows the sum of its cells.
    #[must_use]
    pub fn gauge(&self, metric: &'static Metric, labels: &[(&str, &str)]) -> Gauge {
        match self.series(metric, labels) {
            AnySeries::Gauge(series) => Gauge(Handle::attach(series)),
            _ => Gauge(Handle::detached(metric)),
        }
    }

    /// A new cell in the histogram series of `metric` with these labels.
    #[must_use]
    pub fn histogram(&self, metric: &'static Metric, labels: &[(&str, &str)]) -> Histogram {
        match self.series(metric, labels) {
            AnySeries::Histogram(series, buckets) => Histogram { handle: Handle::attach(series), buckets },
            _ => Histogram { handle: Handle::detached(metric), buckets: Buckets::Numbers },
        }
    }

    /// What the series shows now; `None` when it does not exist.
    #[must_use]
    pub fn read(&self, metric: &Metric, labels: &[(&str, &str)]) -> Option<Reading> {
        let labels = ordered(metric, labels);
        let families = lock(&self.inner.families);
        families.by_name.get(metric.name)?.series.get(&labels)?.read()
    }

    /// The sum of all series of a counter whose first label has this value.
    #[must_use]
    pub fn sum(&self, metric: &Metric, first: &str) -> u64 {
        let families = lock(&self.inner.families);
        let Some(family) = families.by_name.get(metric.name) else { return 0 };
        let begins = family.series.range(vec![first.to_owned()]..);
        let own = begins.take_while(|(labels, _)| labels.first().is_some_and(|label| label == first));
        let each = own.map(|(_, series)| match series.read() {
            Some(Reading::Counter(value)) => value,
            _ => 0,
        });
        each.fold(0, u64::saturating_add)
    }

    /// Every family that has a series, by name. Series of gauges whose handles are all gone are forgotten on the way.
    #[must_use]
    pub fn gather(&self) -> Vec<FamilyReading> {
        let mut gathered = self.gather_only(|_| true);
        let own = [
            (&names::SERIES_OVERFLOWS, self.inner.overflows.load(Ordering::Relaxed)),
            (&names::FILTER_METRICS_OVERFLOWS, self.inner.filter_metrics.overflows()),
            (&names::FILTER_SERIES_OVERFLOWS, self.inner.labelled.overflows()),
        ];
        gathered.extend(
            own.map(|(metric, count)| FamilyReading { metric, series: vec![(Labels::new(), Reading::Counter(count))] }),
        );
        gathered
    }

    /// The same of some metrics, without those that the registry counts itself.
    #[must_use]
    pub fn gather_only(&self, wanted: impl Fn(&Metric) -> bool) -> Vec<FamilyReading> {
        let mut families = lock(&self.inner.families);
        let mut gathered = Vec::with_capacity(families.by_name.len() + 1);
        let mut forgotten = 0;
        for family in families.by_name.values_mut().filter(|family| wanted(family.metric)) {
            let before = family.series.len();
            family.series.retain(|_, series| !series.is_abandoned());
            forgotten += before - family.series.len();
            let series: Vec<_> =
                family.series.iter().filter_map(|(labels, series)| Some((labels.clone(), series.read()?))).collect();
            if !series.is_empty() {
                gathered.push(FamilyReading { metric: family.metric, series });
            }
        }
        families.series = families.series.saturating_sub(forgotten);
        gathered
    }

    /// The metrics that filters defined for themselves.
    #[must_use]
    pub fn filter_metrics(&self) -> &FilterMetrics {
        &self.inner.filter_metrics
    }

    /// The metrics with labels that filters defined for themselves.
    #[must_use]
    pub fn labelled(&self) -> &LabelledMetrics {
        &self.inner.labelled
    }

    /// What happens to the process: whoever may count may also tell.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    /// Finds or makes the series.
    fn series(&self, metric: &'static Metric, labels: &[(&str, &str)]) -> AnySeries {
        let mut labels = ordered(metric, labels);
        let mut families = lock(&self.inner.families);
        let Families { by_name, series } = &mut *families;
        let family = by_name.entry(metric.name).or_insert_with(|| Family { metric, series: BTreeMap::new() });
        debug_assert_eq!(family.metric.kind, metric.kind, "{}", metric.name);
        if *series >= self.inner.limit.load(Ordering::Relaxed) && !family.series.contains_key(&labels) {
            self.inner.overflows.fetch_add(1, Ordering::Relaxed);
            labels.fill_with(|| OVERFLOW.to_owned());
        }
        let found = family.series.entry(labels).or_insert_with(|| {
            *series += 1;
            AnySeries::new(metric.kind)
        });
        // Cloned under the lock: `gather` may forget a series only while it is the sole owner.
        found.clone()
    }
}

/// What one series shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Of a counter.
    Counter(u64),
    /// Of a counter of time, in nanoseconds.
    Time(u64),
    /// Of a gauge.
    Gauge(i64),
    /// Of a histogram.
    Histogram(HistogramReading),
}

/// A metric and its series.
#[derive(Debug, Clone)]
pub struct FamilyReading {
    /// The metric.
    pub metric: &'static Metric,
    /// Label values, in the order of the metric's label names, and what each series shows.
    pub series: Vec<(Vec<String>, Reading)>,
}

impl FamilyReading {
    /// Adds readings to others; each metric is in one piece afterwards.
    pub fn merge(all: &mut Vec<Self>, more: impl IntoIterator<Item = Self>) {
        for family in more {
            match all.iter_mut().find(|known| known.metric.name == family.metric.name) {
                Some(known) => known.series.extend(family.series),
                None => all.push(family),
            }
        }
    }
}

impl AnySeries {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter(Arc::default()),
            Kind::Time => Self::Time(Arc::default()),
            Kind::Gauge => Self::Gauge(Arc::default()),
            Kind::Histogram(buckets) => Self::Histogram(Arc::default(), buckets),
        }
    }

    /// `None` for a gauge without handles.
    fn read(&self) -> Option<Reading> {
        match self {
            Self::Counter(series) => Some(Reading::Counter(series.sum().value())),
            Self::Time(series) => Some(Reading::Time(series.sum().value())),
            Self::Gauge(series) if series.is_idle() => None,
            Self::Gauge(series) => Some(Reading::Gauge(series.sum().value())),
            Self::Histogram(series, buckets) => Some(Reading::Histogram(series.sum().read(*buckets))),
        }
    }

    /// Whether nobody can ever count in this gauge again without registering anew.
    fn is_abandoned(&self) -> bool {
        matches!(self, Self::Gauge(series) if Arc::strong_count(series) == 1)
    }
}

/// Label values in the order of the metric's label names.
fn ordered(metric: &Metric, labels: &[(&str, &str)]) -> Labels {
    debug_assert!(
        labels.len() == metric.labels.len() && labels.iter().all(|(name, _)| metric.labels.contains(name)),
        "{} has the labels {:?}, not {labels:?}",
        metric.name,
        metric.labels
    );
    metric
        .labels
        .iter()
        .map(|name| {
            let given = labels.iter().find(|(given, _)| given == name);
            given.map_or_else(String::new, |(_, value)| (*value).to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    const WEB: &[(&str, &str)] = &[("listener", "web")];

    #[test]
    fn a_series_is_the_sum_of_its_cells_and_survives_them() {
        let registry = Registry::new();
        let one = registry.counter(&names::LISTENER_CONNECTIONS, WEB);
        let two = one.clone();
        one.inc();
        two.add(2);
        let read = || registry.read(&names::LISTENER_CONNECTIONS, WEB);
        assert_eq!(read(), Some(Reading::Counter(3)));
        assert_eq!((one.own(), two.own()), (1, 2));
        drop(one);
        assert_eq!(read(), Some(Reading::Counter(3)));
        two.inc();
        drop(two);
        assert_eq!(read(), Some(Reading::Counter(4)));
    }

    #[test]
    fn a_gauge_leaves_with_its_handles() {
        let registry = Registry::new();
        let one = registry.gauge(&names::LISTENER_CONNECTIONS_ACTIVE, WEB);
        let two = registry.gauge(&names::LISTENER_CONNECTIONS_ACTIVE, WEB);
        one.set(5);
        two.sub(2);
        let read = || registry.read(&names::LISTENER_CONNECTIONS_ACTIVE, WEB);
        assert_eq!(read(), Some(Reading::Gauge(3)));
        drop(one);
        assert_eq!(read(), Some(Reading::Gauge(-2)));
        drop(two);
        assert_eq!(read(), None);
        let _ = registry.gather();
        assert_eq!(lock(&registry.inner.families).series, 0);
    }

    #[test]
    fn one_threads_way_to_count_reads_like_everybodys() {
        let registry = Registry::new();
        let counter = registry.counter(&names::LISTENER_REQUESTS, &[("listener", "a"), ("class", "2xx")]);
        let gauge = registry.gauge(&names::LISTENER_CONNECTIONS_ACTIVE, WEB);
        let histogram = registry.histogram(&names::LISTENER_REQUEST_DURATION, WEB);
        counter.inc();
        counter.bump();
        gauge.add(5);
        gauge.shift(-2);
        histogram.observe(Duration::from_millis(3));
        histogram.note(Duration::from_millis(3));
        assert_eq!((counter.own(), gauge.own()), (2, 3));
        let Some(Reading::Histogram(reading)) = registry.read(&names::LISTENER_REQUEST_DURATION, WEB) else {
            panic!("no histogram");
        };
        assert_eq!(reading.cumulative().find(|(bound, _)| *bound >= 0.003), Some((0.005, 2)));
        assert_eq!((reading.count(), reading.sum()), (2, 0.006));
    }

    #[test]
    fn labels_may_come_in_any_order() {
        let registry = Registry::new();
        let one = registry.counter(&names::LISTENER_REQUESTS, &[("listener", "a"), ("class", "2xx")]);
        let two = registry.counter(&names::LISTENER_REQUESTS, &[("class", "2xx"), ("listener", "a")]);
        one.inc();
        two.inc();
        assert_eq!(
            registry.read(&names::LISTENER_REQUESTS, &[("listener", "a"), ("class", "2xx")]),
            Some(Reading::Counter(2))
        );
    }

    #[test]
    fn a_sum_is_that_of_one_first_label() {
        let registry = Registry::new();
        let counter = |listener, class| {
            let counter = registry.counter(&names::LISTENER_REQUESTS, &[("listener", listener), ("class", class)]);
            counter.inc();
            counter
        };
        let _held = [counter("a", "2xx"), counter("a", "5xx"), counter("ab", "2xx"), counter("A", "2xx")];
        let sum = |listener| registry.sum(&names::LISTENER_REQUESTS, listener);
        assert_eq!((sum("a"), sum("ab"), sum(""), sum("b")), (2, 1, 0, 0));
        assert_eq!(registry.sum(&names::LISTENER_SENT, "a"), 0);
    }

    #[test]
    fn series_beyond_the_limit_share_an_overflow_series() {
        let registry = Registry::with_limit(2);
        let handles: Vec<_> = ["a", "b", "c", "d"]
            .iter()
            .map(|name| registry.counter(&names::LISTENER_SENT, &[("listener", name)]))
            .collect();
        handles.iter().for_each(Counter::inc);
        assert_eq!(registry.read(&names::LISTENER_SENT, &[("listener", OVERFLOW)]), Some(Reading::Counter(2)));
        let overflows = registry.gather().into_iter().find(|family| family.metric.name == names::SERIES_OVERFLOWS.name);
        assert_eq!(overflows.unwrap().series, [(vec![], Reading::Counter(2))]);
    }

    #[test]
    fn nothing_is_lost_or_counted_twice_while_workers_come_and_go() {
        let registry = Registry::new();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let counter = registry.counter(&names::LISTENER_CONNECTIONS, WEB);
                        let histogram = registry.histogram(&names::LISTENER_REQUEST_DURATION, WEB);
                        for _ in 0..100 {
                            counter.inc();
                            histogram.observe(Duration::from_millis(1));
                        }
                    }
                });
            }
            let mut last = 0;
            for _ in 0..200 {
                if let Some(Reading::Counter(now)) = registry.read(&names::LISTENER_CONNECTIONS, WEB) {
                    assert!(now >= last, "a counter went back from {last} to {now}");
                    last = now;
                }
            }
        });
        assert_eq!(registry.read(&names::LISTENER_CONNECTIONS, WEB), Some(Reading::Counter(20_000)));
        let Some(Reading::Histogram(reading)) = registry.read(&names::LISTENER_REQUEST_DURATION, WEB) else {
            panic!("no histogram");
        };
        assert_eq!((reading.count(), reading.sum()), (20_000, 20.0));
    }
}
