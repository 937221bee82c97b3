//! Metrics that filters define for themselves: `proxy_define_metric` and its siblings.
//!
//! They are the process's: two instances that define the same name and kind get the same number, and each reads what all
//! have counted. Numbers are looked up without a lock, in a table that only grows. Unlike the proxy's own metrics, these have one
//! cell for all workers, because `proxy_get_metric` must see the total at once.
//!
//! Both the number of metrics and the length of their names come from guests, so both are bounded. What does not
//! fit counts in one overflow metric of its kind, and the guest gets that one's number: refusing would make guests of the official SDK panic.

use std::{
    collections::HashMap,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    handle::lock,
    histogram::{Buckets, HistogramCell},
    registry::Reading,
};

/// What there is to be said about a metric of which only its name is known.
pub const OF_FILTERS: &str = "Defined by a filter.";
/// Most metrics of all filters together.
pub const CAPACITY: usize = 10_000;
/// Longest name, in bytes.
pub const NAME_BYTES: usize = 512;

const CHUNK: usize = 256;
const CHUNKS: usize = CAPACITY.div_ceil(CHUNK) + 1;

/// How a filter's metric counts; the numbers are the ABI's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterMetricKind {
    /// Only rises.
    Counter = 0,
    /// Rises and falls.
    Gauge = 1,
    /// Observations in buckets.
    Histogram = 2,
}

impl FilterMetricKind {
    const ALL: [Self; 3] = [Self::Counter, Self::Gauge, Self::Histogram];

    /// The word for `# TYPE`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Why a metric could not be changed or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilterMetricError {
    /// No metric has this number: `NOT_FOUND`.
    #[error("no metric has this number")]
    Unknown,
    /// The kind of the metric does not allow it, or a counter was to be incremented by less than one: `BAD_ARGUMENT`.
    #[error("this kind of metric does not allow that")]
    Refused,
}

/// A filter's metric as it was at one moment.
#[derive(Debug, Clone)]
pub struct FilterMetricReading {
    /// As the filter wrote it.
    pub name: String,
    /// Its kind.
    pub kind: FilterMetricKind,
    /// What it shows.
    pub reading: Reading,
}

/// All metrics that filters defined.
#[derive(Debug)]
pub struct FilterMetrics {
    index: Mutex<Index>,
    chunks: [OnceLock<Box<[OnceLock<Entry>]>>; CHUNKS],
    overflows: AtomicU64,
}

#[derive(Debug, Default)]
struct Index {
    by_name: HashMap<(FilterMetricKind, String), u32>,
    by_owner: HashMap<String, usize>,
    length: usize,
}

#[derive(Debug)]
struct Entry {
    name: String,
    /// The filter that was the first to define it.
    owner: Box<str>,
    value: Value,
}

#[derive(Debug)]
#[repr(align(128))]
enum Value {
    Counter(AtomicU64),
    /// Two's complement: a gauge may go below zero.
    Gauge(AtomicU64),
    Histogram(Box<HistogramCell>),
}

impl Default for FilterMetrics {
    fn default() -> Self {
        let metrics =
            Self { index: Mutex::default(), chunks: [const { OnceLock::new() }; CHUNKS], overflows: AtomicU64::new(0) };
        {
            let mut index = lock(&metrics.index);
            for kind in FilterMetricKind::ALL {
                // The first numbers: see `overflow`.
                metrics.append(&mut index, kind, "", format!("filter_metrics.overflow.{}", kind.word()));
            }
        }
        metrics
    }
}

impl FilterMetrics {
    /// The number of the metric of this kind and name, made if there is none. `owner` is the filter, whose own new metrics
    /// `limit` bounds (`limits.series`). Takes a lock; filters define at configure time.
    pub fn define(&self, owner: &str, limit: usize, kind: FilterMetricKind, name: &str) -> u32 {
        let mut index = lock(&self.index);
        let key = (kind, name.to_owned());
        if let Some(id) = index.by_name.get(&key) {
            return *id;
        }
        let owned = index.by_owner.get(owner).copied().unwrap_or_default();
        if owned >= limit || index.length >= CAPACITY || name.len() > NAME_BYTES {
            self.overflows.fetch_add(1, Ordering::Relaxed);
            return overflow(kind);
        }
        *index.by_owner.entry(owner.to_owned()).or_default() += 1;
        self.append(&mut index, kind, owner, key.1)
    }

    /// `proxy_record_metric`: a counter is added to, a gauge set, a histogram observes.
    ///
    /// # Errors
    /// [`FilterMetricError::Unknown`].
    pub fn record(&self, id: u32, value: u64) -> Result<(), FilterMetricError> {
        match self.value(id)? {
            Value::Counter(cell) => {
                cell.fetch_add(value, Ordering::Relaxed);
            }
            Value::Gauge(cell) => cell.store(value, Ordering::Relaxed),
            Value::Histogram(cell) => cell.observe(Buckets::Numbers, value),
        }
        Ok(())
    }

    /// `proxy_increment_metric`: counters by one or more, gauges by anything.
    ///
    /// # Errors
    /// [`FilterMetricError::Unknown`]; [`FilterMetricError::Refused`] for a histogram and for a counter with `delta` below one.
    pub fn increment(&self, id: u32, delta: i64) -> Result<(), FilterMetricError> {
        match self.value(id)? {
            Value::Counter(cell) if delta > 0 => {
                cell.fetch_add(delta.unsigned_abs(), Ordering::Relaxed);
                Ok(())
            }
            Value::Gauge(cell) => {
                cell.fetch_add(delta.cast_unsigned(), Ordering::Relaxed);
                Ok(())
            }
            Value::Counter(_) | Value::Histogram(_) => Err(FilterMetricError::Refused),
        }
    }

    /// `proxy_get_metric`: a gauge below zero is its two's complement.
    ///
    /// # Errors
    /// [`FilterMetricError::Unknown`]; [`FilterMetricError::Refused`] for a histogram.
    pub fn value_of(&self, id: u32) -> Result<u64, FilterMetricError> {
        match self.value(id)? {
            Value::Counter(cell) | Value::Gauge(cell) => Ok(cell.load(Ordering::Relaxed)),
            Value::Histogram(_) => Err(FilterMetricError::Refused),
        }
    }

    /// All metrics, in the order in which they were defined. The overflow metrics are left out while nothing overflowed.
    #[must_use]
    pub fn gather(&self) -> Vec<FilterMetricReading> {
        let length = lock(&self.index).length;
        let first = if self.overflows() == 0 { FilterMetricKind::ALL.len() } else { 0 };
        (first..length).filter_map(|position| self.entry(position)).map(Entry::read).collect()
    }

    /// The same of those that one filter was the first to define.
    #[must_use]
    pub fn gather_of(&self, owner: &str) -> Vec<FilterMetricReading> {
        let length = lock(&self.index).length;
        let entries = (FilterMetricKind::ALL.len()..length).filter_map(|position| self.entry(position));
        entries.filter(|entry| &*entry.owner == owner).map(Entry::read).collect()
    }

    /// The one of this name, whoever has defined it; of several kinds the first.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<FilterMetricReading> {
        let index = lock(&self.index);
        let known = FilterMetricKind::ALL.into_iter().find_map(|kind| index.by_name.get(&(kind, name.to_owned())));
        let position = known.map(|id| (id >> 2) as usize)?;
        drop(index);
        self.entry(position).map(Entry::read)
    }

    /// How many definitions did not fit.
    #[must_use]
    pub fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::Relaxed)
    }

    fn append(&self, index: &mut Index, kind: FilterMetricKind, owner: &str, name: String) -> u32 {
        let position = index.length;
        let chunk = self
            .chunks
            .get(position / CHUNK)
            .map(|chunk| chunk.get_or_init(|| std::iter::repeat_with(OnceLock::new).take(CHUNK).collect()));
        let Some(slot) = chunk.and_then(|chunk| chunk.get(position % CHUNK)) else {
            debug_assert!(false, "the table holds more than its capacity");
            return overflow(kind);
        };
        let value = match kind {
            FilterMetricKind::Counter => Value::Counter(AtomicU64::new(0)),
            FilterMetricKind::Gauge => Value::Gauge(AtomicU64::new(0)),
            FilterMetricKind::Histogram => Value::Histogram(Box::default()),
        };
        let id = number(position, kind);
        index.by_name.insert((kind, name.clone()), id);
        index.length += 1;
        slot.get_or_init(|| Entry { name, owner: owner.into(), value });
        id
    }

    fn entry(&self, position: usize) -> Option<&Entry> {
        self.chunks.get(position / CHUNK)?.get()?.get(position % CHUNK)?.get()
    }

    fn value(&self, id: u32) -> Result<&Value, FilterMetricError> {
        let entry = self.entry((id >> 2) as usize).ok_or(FilterMetricError::Unknown)?;
        // A number whose kind is not the entry's was never given out.
        if id & 3 == entry.kind() as u32 { Ok(&entry.value) } else { Err(FilterMetricError::Unknown) }
    }
}

impl Entry {
    fn kind(&self) -> FilterMetricKind {
        match self.value {
            Value::Counter(_) => FilterMetricKind::Counter,
            Value::Gauge(_) => FilterMetricKind::Gauge,
            Value::Histogram(_) => FilterMetricKind::Histogram,
        }
    }

    fn read(&self) -> FilterMetricReading {
        FilterMetricReading {
            name: self.name.clone(),
            kind: self.kind(),
            reading: match &self.value {
                Value::Counter(cell) => Reading::Counter(cell.load(Ordering::Relaxed)),
                Value::Gauge(cell) => Reading::Gauge(cell.load(Ordering::Relaxed).cast_signed()),
                Value::Histogram(cell) => Reading::Histogram(cell.read(Buckets::Numbers)),
            },
        }
    }
}

/// As in Envoy, the kind is in the two low bits.
fn number(position: usize, kind: FilterMetricKind) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX >> 2) << 2 | kind as u32
}

fn overflow(kind: FilterMetricKind) -> u32 {
    number(kind as usize, kind)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn define(metrics: &FilterMetrics, kind: FilterMetricKind, name: &str) -> u32 {
        metrics.define("filter", CAPACITY, kind, name)
    }

    #[test]
    fn the_same_name_is_the_same_metric_and_another_kind_another() {
        let metrics = FilterMetrics::default();
        let counter = define(&metrics, FilterMetricKind::Counter, "requests");
        assert_eq!(counter, metrics.define("other", CAPACITY, FilterMetricKind::Counter, "requests"));
        let gauge = define(&metrics, FilterMetricKind::Gauge, "requests");
        assert_ne!(counter, gauge);
        assert_eq!((counter & 3, gauge & 3), (0, 1));
    }

    #[test]
    fn counters_follow_the_rules_of_the_abi() {
        let metrics = FilterMetrics::default();
        let id = define(&metrics, FilterMetricKind::Counter, "c");
        assert_eq!(metrics.increment(id, 2), Ok(()));
        assert_eq!(metrics.increment(id, 0), Err(FilterMetricError::Refused));
        assert_eq!(metrics.increment(id, -1), Err(FilterMetricError::Refused));
        assert_eq!(metrics.record(id, 3), Ok(()));
        assert_eq!(metrics.value_of(id), Ok(5));
    }

    #[test]
    fn gauges_follow_the_rules_of_the_abi() {
        let metrics = FilterMetrics::default();
        let id = define(&metrics, FilterMetricKind::Gauge, "g");
        assert_eq!(metrics.increment(id, -3), Ok(()));
        assert_eq!(metrics.value_of(id), Ok((-3_i64).cast_unsigned()));
        assert!(matches!(metrics.gather()[0].reading, Reading::Gauge(-3)));
        assert_eq!(metrics.record(id, 7), Ok(()));
        assert_eq!(metrics.value_of(id), Ok(7));
    }

    #[test]
    fn histograms_only_record() {
        let metrics = FilterMetrics::default();
        let id = define(&metrics, FilterMetricKind::Histogram, "h");
        assert_eq!(metrics.record(id, 7), Ok(()));
        assert_eq!(metrics.increment(id, 1), Err(FilterMetricError::Refused));
        assert_eq!(metrics.value_of(id), Err(FilterMetricError::Refused));
    }

    #[test]
    fn numbers_that_were_never_given_out_are_unknown() {
        let metrics = FilterMetrics::default();
        let id = define(&metrics, FilterMetricKind::Counter, "c");
        for wrong in [id | 1, id | 3, id + 4, u32::MAX] {
            assert_eq!(metrics.record(wrong, 1), Err(FilterMetricError::Unknown));
        }
    }

    #[test]
    fn what_does_not_fit_counts_in_the_overflow_metric() {
        let metrics = FilterMetrics::default();
        for index in 0..CAPACITY + 100 {
            let id = define(&metrics, FilterMetricKind::Counter, &format!("metric.{index}"));
            assert_eq!(metrics.increment(id, 1), Ok(()));
        }
        assert_eq!(metrics.overflows(), 103);
        assert_eq!(metrics.value_of(overflow(FilterMetricKind::Counter)), Ok(103));
        assert_eq!(metrics.gather().len(), CAPACITY);
        assert_eq!(define(&metrics, FilterMetricKind::Gauge, "late"), overflow(FilterMetricKind::Gauge));
    }

    #[test]
    fn one_filter_cannot_take_the_numbers_of_another() {
        let metrics = FilterMetrics::default();
        for index in 0..5 {
            metrics.define("greedy", 3, FilterMetricKind::Counter, &format!("{index}"));
        }
        assert_eq!(metrics.overflows(), 2);
        let id = metrics.define("modest", 3, FilterMetricKind::Counter, "mine");
        assert_ne!(id, overflow(FilterMetricKind::Counter));
        let long = "x".repeat(NAME_BYTES + 1);
        assert_eq!(metrics.define("modest", 3, FilterMetricKind::Counter, &long), overflow(FilterMetricKind::Counter));
    }

    #[test]
    fn threads_share_a_metric() {
        let metrics = FilterMetrics::default();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for index in 0..300 {
                        let id = define(&metrics, FilterMetricKind::Counter, &format!("{index}"));
                        assert_eq!(metrics.increment(id, 1), Ok(()));
                    }
                });
            }
        });
        assert!(metrics.gather().iter().all(|metric| metric.reading == Reading::Counter(4)));
    }
}
