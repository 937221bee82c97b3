//! Metrics with labels that filters define: `fyke.metric.define.v1` and `fyke.metric.record.v1`.
//!
//! A family is the process's: filters that define the same name with the same kind, labels and buckets share it. The values of labels come from
//! traffic, so the number of series of a filter is bounded (`limits.series`); what is beyond counts in one series of the family whose values
//! are all `_overflow`. A series that is there is found without a lock of the family's own and without allocating: the key is the label
//! values as the filter encodes them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
};

use dashmap::DashMap;
use serde::Deserialize;

use super::{
    filter_metrics::{FilterMetricError, FilterMetricKind},
    handle::lock,
};

/// Most families of all filters together.
pub const MOST_FAMILIES: usize = 10_000;
/// Most families of one filter.
pub const FAMILIES_PER_FILTER: usize = 1_000;
/// Most labels of a family.
pub const MOST_LABELS: usize = 16;
/// Most buckets of a histogram.
pub const MOST_BUCKETS: usize = 64;
/// Longest name of a metric or a label, in bytes.
pub const LONGEST_NAME: usize = 256;
/// What is longer of a label's value is cut off, in bytes.
pub const LONGEST_VALUE: usize = 256;
/// The value of every label of the series that counts what does not fit.
pub const OVERFLOW: &str = "_overflow";

/// Bounds of histograms that name none.
const BUCKETS: [i64; 25] = [
    1,
    2,
    5,
    10,
    25,
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
];

/// What a filter wants to count.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// `counter`, `gauge` or `histogram`.
    pub kind: FilterMetricKind,
    /// Name, legal in the exposition format.
    pub name: String,
    /// Names of labels.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Inclusive upper bounds of a histogram, rising. Empty: about three for each power of ten up to 100 million.
    #[serde(default)]
    pub buckets: Vec<i64>,
}

impl Definition {
    /// Why it cannot be, if so.
    fn check(&self) -> Result<(), String> {
        let legal = |name: &str, more: &[u8]| {
            let letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_' || more.contains(byte);
            name.len() <= LONGEST_NAME
                && name.as_bytes().first().is_some_and(letter)
                && name.bytes().all(|byte| letter(&byte) || byte.is_ascii_digit())
        };
        if !legal(&self.name, b":") {
            return Err(format!("\"{}\" is no name of a metric", self.name));
        }
        if self.name.starts_with("fyke_") {
            return Err(format!("\"{}\": names that begin with fyke_ are the proxy's own", self.name));
        }
        if self.labels.len() > MOST_LABELS {
            return Err(format!("\"{}\" has more than {MOST_LABELS} labels", self.name));
        }
        for (index, label) in self.labels.iter().enumerate() {
            if !legal(label, b"") || label.starts_with("__") || label == "le" {
                return Err(format!("\"{label}\" is no name of a label"));
            }
            if self.labels.iter().take(index).any(|earlier| earlier == label) {
                return Err(format!("label \"{label}\" is there twice"));
            }
        }
        if !self.buckets.is_empty() && self.kind != FilterMetricKind::Histogram {
            return Err(format!("\"{}\" is no histogram, and has no buckets", self.name));
        }
        if self.buckets.len() > MOST_BUCKETS {
            return Err(format!("\"{}\" has more than {MOST_BUCKETS} buckets", self.name));
        }
        if !self.buckets.is_sorted_by(|one, other| one < other) {
            return Err(format!("the buckets of \"{}\" do not rise", self.name));
        }
        Ok(())
    }
}

/// All families.
#[derive(Debug, Default)]
pub struct LabelledMetrics {
    index: Mutex<Index>,
    overflows: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Index {
    families: BTreeMap<String, Arc<Family>>,
    owners: HashMap<String, Owner>,
}

#[derive(Debug, Default)]
struct Owner {
    families: usize,
    series: Arc<Series>,
}

/// Series of all families of a filter.
#[derive(Debug, Default)]
struct Series {
    now: AtomicUsize,
    /// The last configuration of the filter has the say.
    most: AtomicUsize,
}

impl Series {
    fn take_one(&self) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        let more = |now: usize| (now < most).then_some(now + 1);
        self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

impl LabelledMetrics {
    /// The family of this definition, made if there is none. `owner` is the filter, whose own series `limit` bounds. Takes a lock; filters define
    /// while they are configured.
    ///
    /// # Errors
    /// Why it cannot be: an illegal name, the same name with another kind, labels or buckets, too many of them.
    pub fn define(&self, owner: &str, limit: usize, mut definition: Definition) -> Result<Arc<Family>, String> {
        definition.check()?;
        if definition.kind == FilterMetricKind::Histogram && definition.buckets.is_empty() {
            definition.buckets = BUCKETS.to_vec();
        }
        let mut index = lock(&self.index);
        index.owners.entry(owner.to_owned()).or_default().series.most.store(limit, Ordering::Relaxed);
        if let Some(family) = index.families.get(&definition.name) {
            return if family.definition == definition {
                Ok(Arc::clone(family))
            } else {
                Err(format!(
                    "\"{}\" is defined already, with another kind, other labels or other buckets",
                    definition.name
                ))
            };
        }
        if index.families.len() >= MOST_FAMILIES {
            return Err(format!("there are {MOST_FAMILIES} labelled metrics already"));
        }
        let owner = index.owners.entry(owner.to_owned()).or_default();
        if owner.families >= FAMILIES_PER_FILTER {
            return Err(format!("a filter may define {FAMILIES_PER_FILTER} labelled metrics"));
        }
        owner.families += 1;
        let family = Arc::new(Family {
            series: DashMap::new(),
            overflow: Single::new(&definition),
            owned: Arc::clone(&owner.series),
            overflows: Arc::clone(&self.overflows),
            definition,
        });
        index.families.insert(family.definition.name.clone(), Arc::clone(&family));
        Ok(family)
    }

    /// Records that went into a series of overflow.
    #[must_use]
    pub fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::Relaxed)
    }

    /// All families by name, each with its series by label values.
    #[must_use]
    pub fn gather(&self) -> Vec<FamilyReading> {
        let families: Vec<_> = lock(&self.index).families.values().cloned().collect();
        families.iter().map(|family| family.read()).collect()
    }
}

/// One metric with all its series.
#[derive(Debug)]
pub struct Family {
    definition: Definition,
    /// By the label values as [`Family::record`] takes them.
    series: DashMap<Box<[u8]>, Arc<Single>>,
    overflow: Single,
    /// Series of all families of the filter that defined this one.
    owned: Arc<Series>,
    overflows: Arc<AtomicU64>,
}

impl Family {
    /// Counts, sets or observes. `values` has a little-endian `u32` length and that many bytes for each label, in order.
    ///
    /// # Errors
    /// [`FilterMetricError::Refused`]: another number of values, or a counter that would not rise.
    pub fn record(&self, value: i64, values: &[u8]) -> Result<(), FilterMetricError> {
        if self.definition.kind == FilterMetricKind::Counter && value <= 0 {
            return Err(FilterMetricError::Refused);
        }
        if let Some(series) = self.series.get(values) {
            series.count(value, &self.definition);
            return Ok(());
        }
        let texts = decode(values, self.definition.labels.len()).ok_or(FilterMetricError::Refused)?;
        if !texts.is_empty() && texts.iter().all(|text| text == OVERFLOW) {
            self.overflow.count(value, &self.definition);
        } else {
            self.count_new(value, &encode(&texts));
        }
        Ok(())
    }

    fn count_new(&self, value: i64, key: &[u8]) {
        if let Some(series) = self.series.get(key) {
            series.count(value, &self.definition);
            return;
        }
        // Without labels there is one series, and always room for it.
        let free = self.definition.labels.is_empty();
        if !free && !self.owned.take_one() {
            self.overflows.fetch_add(1, Ordering::Relaxed);
            self.overflow.count(value, &self.definition);
            return;
        }
        match self.series.entry(key.into()) {
            dashmap::Entry::Occupied(entry) => {
                // Another worker was first.
                if !free {
                    self.owned.now.fetch_sub(1, Ordering::Relaxed);
                }
                entry.get().count(value, &self.definition);
            }
            dashmap::Entry::Vacant(entry) => {
                let series = Arc::new(Single::new(&self.definition));
                series.count(value, &self.definition);
                entry.insert(series);
            }
        }
    }

    fn read(&self) -> FamilyReading {
        let labels = self.definition.labels.len();
        let mut series: Vec<_> = self
            .series
            .iter()
            .filter_map(|entry| Some((decode(entry.key(), labels)?, entry.value().read(&self.definition))))
            .collect();
        series.sort_by(|(one, _), (other, _)| one.cmp(other));
        if self.overflow.touched.load(Ordering::Relaxed) > 0 {
            series.push((vec![OVERFLOW.to_owned(); labels], self.overflow.read(&self.definition)));
        }
        FamilyReading {
            name: self.definition.name.clone(),
            kind: self.definition.kind,
            labels: self.definition.labels.clone(),
            series,
        }
    }
}

/// One series. Counters and gauges have a value only, histograms counts for their buckets and their sum as the value.
#[derive(Debug)]
#[repr(align(128))]
struct Single {
    value: AtomicI64,
    buckets: Box<[AtomicU64]>,
    touched: AtomicU64,
}

impl Single {
    fn new(definition: &Definition) -> Self {
        let buckets = match definition.kind {
            FilterMetricKind::Histogram => definition.buckets.len() + 1,
            _ => 0,
        };
        Self {
            value: AtomicI64::new(0),
            buckets: std::iter::repeat_with(AtomicU64::default).take(buckets).collect(),
            touched: AtomicU64::new(0),
        }
    }

    fn count(&self, value: i64, definition: &Definition) {
        self.touched.fetch_add(1, Ordering::Relaxed);
        match definition.kind {
            FilterMetricKind::Gauge => self.value.store(value, Ordering::Relaxed),
            FilterMetricKind::Counter => {
                self.value.fetch_add(value, Ordering::Relaxed);
            }
            FilterMetricKind::Histogram => {
                self.value.fetch_add(value, Ordering::Relaxed);
                let index = definition.buckets.partition_point(|bound| *bound < value);
                if let Some(bucket) = self.buckets.get(index) {
                    bucket.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn read(&self, definition: &Definition) -> Shown {
        let value = self.value.load(Ordering::Relaxed);
        if definition.kind != FilterMetricKind::Histogram {
            return Shown::Number(value);
        }
        let mut total = 0;
        let mut counts = self.buckets.iter().map(|bucket| {
            total += bucket.load(Ordering::Relaxed);
            total
        });
        let buckets: Vec<_> = definition.buckets.iter().copied().zip(counts.by_ref()).collect();
        let count = counts.next().unwrap_or_default();
        Shown::Histogram { buckets, sum: value, count }
    }
}

/// A family as it was at one moment.
#[derive(Debug, Clone)]
pub struct FamilyReading {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: FilterMetricKind,
    /// Names of its labels.
    pub labels: Vec<String>,
    /// Label values, and what they have.
    pub series: Vec<(Vec<String>, Shown)>,
}

/// What a series shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A counter or a gauge.
    Number(i64),
    /// Cumulative counts by inclusive upper bound, the sum, and the number of all observations.
    Histogram {
        /// Bounds and counts.
        buckets: Vec<(i64, u64)>,
        /// Sum.
        sum: i64,
        /// Number.
        count: u64,
    },
}

/// Exactly `count` values, cut and made legal. `None`: more or fewer.
fn decode(mut bytes: &[u8], count: usize) -> Option<Vec<String>> {
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        bytes = rest;
        // Cut last, so that what was cut once stays as it is.
        let mut text = String::from_utf8_lossy(value.get(..LONGEST_VALUE).unwrap_or(value)).into_owned();
        let cut = (0..=LONGEST_VALUE.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(cut.unwrap_or_default());
        values.push(text);
    }
    bytes.is_empty().then_some(values)
}

fn encode(values: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(json: &str) -> Definition {
        serde_json::from_str(json).unwrap()
    }

    fn values(values: &[&str]) -> Vec<u8> {
        encode(&values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn series_are_told_apart_by_their_labels() {
        let metrics = LabelledMetrics::default();
        let family =
            metrics.define("f", 1_000, definition(r#"{"kind":"counter","name":"hits","labels":["a","b"]}"#)).unwrap();
        family.record(2, &values(&["x", "y"])).unwrap();
        family.record(3, &values(&["x", "y"])).unwrap();
        family.record(1, &values(&["xy", ""])).unwrap();
        let [reading] = &metrics.gather()[..] else { panic!("one family") };
        let expected = [
            (vec!["x".to_owned(), "y".to_owned()], Shown::Number(5)),
            (vec!["xy".to_owned(), String::new()], Shown::Number(1)),
        ];
        assert_eq!(reading.series, expected);
    }

    #[test]
    fn what_a_kind_does_not_allow_is_refused() {
        let metrics = LabelledMetrics::default();
        let counter =
            metrics.define("f", 1_000, definition(r#"{"kind":"counter","name":"c","labels":["a"]}"#)).unwrap();
        for (value, bytes) in [
            (0, values(&["x"])),
            (-1, values(&["x"])),
            (1, values(&[])),
            (1, values(&["x", "y"])),
            (1, vec![9, 0, 0, 0, 1]),
        ] {
            assert_eq!(counter.record(value, &bytes), Err(FilterMetricError::Refused), "{value} {bytes:?}");
        }
        let gauge = metrics.define("f", 1_000, definition(r#"{"kind":"gauge","name":"g"}"#)).unwrap();
        gauge.record(5, b"").unwrap();
        gauge.record(-5, b"").unwrap();
        assert_eq!(metrics.gather()[1].series, [(vec![], Shown::Number(-5))]);
    }

    #[test]
    fn a_histogram_counts_into_its_own_buckets() {
        let metrics = LabelledMetrics::default();
        let family =
            metrics.define("f", 1_000, definition(r#"{"kind":"histogram","name":"h","buckets":[-1,10,20]}"#)).unwrap();
        for value in [-5, 10, 11, 99] {
            family.record(value, b"").unwrap();
        }
        let shown = Shown::Histogram { buckets: vec![(-1, 1), (10, 2), (20, 3)], sum: 115, count: 4 };
        assert_eq!(metrics.gather()[0].series, [(vec![], shown)]);
    }

    #[test]
    fn the_same_definition_is_shared_and_another_one_of_that_name_refused() {
        let metrics = LabelledMetrics::default();
        let first = metrics.define("f", 1_000, definition(r#"{"kind":"counter","name":"c","labels":["a"]}"#)).unwrap();
        let second = metrics.define("g", 1_000, definition(r#"{"kind":"counter","name":"c","labels":["a"]}"#)).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        for json in [
            r#"{"kind":"gauge","name":"c","labels":["a"]}"#,
            r#"{"kind":"counter","name":"c"}"#,
            r#"{"kind":"counter","name":"1"}"#,
            r#"{"kind":"counter","name":""}"#,
            r#"{"kind":"counter","name":"fyke_x"}"#,
            r#"{"kind":"counter","name":"x","labels":["le"]}"#,
            r#"{"kind":"counter","name":"x","labels":["__x"]}"#,
            r#"{"kind":"counter","name":"x","labels":["a","a"]}"#,
            r#"{"kind":"counter","name":"x","labels":["a b"]}"#,
            r#"{"kind":"counter","name":"x","buckets":[1]}"#,
            r#"{"kind":"histogram","name":"x","buckets":[2,1]}"#,
        ] {
            metrics.define("f", 1_000, definition(json)).unwrap_err();
        }
    }

    #[test]
    fn series_of_a_filter_are_bounded() {
        let metrics = LabelledMetrics::default();
        let define = |owner: &str, name: &str| {
            metrics
                .define(owner, 100, definition(&format!(r#"{{"kind":"counter","name":"{name}","labels":["a"]}}"#)))
                .unwrap()
        };
        for name in ["one", "two"] {
            let family = define("f", name);
            for value in 0..75 {
                family.record(1, &values(&[&value.to_string()])).unwrap();
            }
        }
        let counts: Vec<_> = metrics.gather().iter().map(|family| family.series.len()).collect();
        assert_eq!(counts, [75, 25 + 1]);
        assert_eq!(metrics.overflows(), 50);
        assert_eq!(metrics.gather()[1].series.last().unwrap(), &(vec![OVERFLOW.to_owned()], Shown::Number(50)));
        define("another", "three").record(1, &values(&["x"])).unwrap();
        assert_eq!(metrics.overflows(), 50, "every filter has its own bound");
    }

    #[test]
    fn long_and_illegal_values_are_made_legal_and_meet_in_one_series() {
        let metrics = LabelledMetrics::default();
        let family = metrics.define("f", 1_000, definition(r#"{"kind":"counter","name":"c","labels":["a"]}"#)).unwrap();
        let long = format!("{}é{}", "x".repeat(LONGEST_VALUE - 1), "y".repeat(100));
        family.record(1, &values(&[&long])).unwrap();
        family.record(1, &values(&["x".repeat(LONGEST_VALUE - 1).as_str()])).unwrap();
        family.record(1, &[1, 0, 0, 0, 0xff]).unwrap();
        family.record(1, &values(&["\u{fffd}"])).unwrap();
        for length in [86_u32, 200, 256, 300] {
            let bytes = [&length.to_le_bytes()[..], &vec![0xff; length as usize]].concat();
            family.record(2, &bytes).unwrap();
        }
        let series = &metrics.gather()[0].series;
        let mut shown: Vec<_> = series.iter().map(|(labels, _)| labels.clone()).collect();
        shown.dedup();
        assert_eq!((shown.len(), series.len()), (3, 3), "{series:?}");
        let series: Vec<_> =
            series.iter().filter(|(labels, _)| labels[0].chars().count() != LONGEST_VALUE / 3).collect();
        assert!(series.iter().all(|(_, shown)| *shown == Shown::Number(2)), "{series:?}");
    }

    #[test]
    fn a_client_that_says_overflow_makes_no_second_series_of_it() {
        let metrics = LabelledMetrics::default();
        let family = metrics.define("f", 1, definition(r#"{"kind":"counter","name":"c","labels":["a"]}"#)).unwrap();
        for value in ["x", OVERFLOW, "y"] {
            family.record(1, &values(&[value])).unwrap();
        }
        let series = &metrics.gather()[0].series;
        assert_eq!(
            series[..],
            [(vec!["x".to_owned()], Shown::Number(1)), (vec![OVERFLOW.to_owned()], Shown::Number(2))]
        );
    }
}
