//! Metrics with labels that filters define: `fyke.metric.define.v1` and `fyke.metric.record.v1`.
//!
//! A family is the process's: filters that define the same name with the same kind, labels and buckets share it. The values of labels come from
//! traffic, so the number of series of a filter is bounded (`limits.series`); what is beyond counts in one series of the family whose values
//! are all `_overflow`. A series that is there is found without a lock of the family's own and without allocating: the key is the label
//! values as the filter encodes them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
};

mod definition;

use dashmap::DashMap;

pub use definition::Definition;

use super::{
    filter_metrics::{FilterMetricError, FilterMetricKind},
    handle::lock,
};

/// Most families of all filters together.
pub const MOST_FAMILIES: usize = 10_000;
/// Most families of one filter.
pub const FAMILIES_PER_FILTER: usize = 1_000;
/// What is longer of a label's value is cut off, in bytes.
pub const LONGEST_VALUE: usize = 256;
/// The value of every label of the series that counts what does not fit.
pub const OVERFLOW: &str = "_overflow";

/// All families.
#[derive(Debug, Default)]
pub struct LabelledMetrics {
    index: Mutex<Index>,
    overflows: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Index {
    /// The newest is last. There are several of a name while the versions of a filter differ that run beside each other.
    families: BTreeMap<String, Vec<Arc<Family>>>,
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
    pub fn define(&self, owner: &str, limit: usize, definition: Definition) -> Result<Arc<Family>, String> {
        let definition = definition.complete()?;
        let mut index = lock(&self.index);
        let Index { families, owners } = &mut *index;
        let owner = owners.entry(owner.to_owned()).or_default();
        owner.series.most.store(limit, Ordering::Relaxed);
        if let Some(known) = families.get_mut(&definition.name) {
            if let Some(family) = known.iter().find(|family| family.definition == definition) {
                return Ok(Arc::clone(family));
            }
            // Another version of the filter may count otherwise; another filter may not, for as long as this one counts.
            let others = |family: &&Arc<Family>| !Arc::ptr_eq(&family.owned, &owner.series) && is_used(family);
            if known.iter().any(|family| others(&family)) {
                return Err(format!(
                    "\"{}\" is defined already by another filter, with another kind, other labels or other buckets",
                    definition.name
                ));
            }
            known.retain(|family| {
                let used = is_used(family);
                if !used {
                    family.owned.now.fetch_sub(family.series.len(), Ordering::Relaxed);
                }
                used
            });
            let family = Family::new(definition, owner, &self.overflows);
            known.push(Arc::clone(&family));
            return Ok(family);
        }
        if families.len() >= MOST_FAMILIES {
            return Err(format!("there are {MOST_FAMILIES} labelled metrics already"));
        }
        if owner.families >= FAMILIES_PER_FILTER {
            return Err(format!("a filter may define {FAMILIES_PER_FILTER} labelled metrics"));
        }
        owner.families += 1;
        let family = Family::new(definition, owner, &self.overflows);
        families.insert(family.definition.name.clone(), vec![Arc::clone(&family)]);
        Ok(family)
    }

    /// Records that went into a series of overflow.
    #[must_use]
    pub fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::Relaxed)
    }

    /// All families by name, each with its series by label values. Of those of one name, which differ, the newest that counts.
    #[must_use]
    pub fn gather(&self) -> Vec<FamilyReading> {
        let families: Vec<_> = lock(&self.index).families.values().filter_map(|known| newest(known)).collect();
        families.iter().map(|family| family.read()).collect()
    }

    /// The same of those that one filter has defined.
    #[must_use]
    pub fn gather_of(&self, owner: &str) -> Vec<FamilyReading> {
        let families: Vec<_> = {
            let index = lock(&self.index);
            let Some(owner) = index.owners.get(owner) else { return Vec::new() };
            let is_its = |family: &Arc<Family>| Arc::ptr_eq(&family.owned, &owner.series);
            index.families.values().filter_map(|known| newest(known)).filter(is_its).collect()
        };
        families.iter().map(|family| family.read()).collect()
    }

    /// The one of this name, whoever has defined it.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<FamilyReading> {
        let family = newest(lock(&self.index).families.get(name)?)?;
        Some(family.read())
    }
}

/// Of families of one name, which differ, the newest that counts.
fn newest(known: &[Arc<Family>]) -> Option<Arc<Family>> {
    known.iter().rev().find(|family| is_used(family)).or(known.last()).cloned()
}

/// Whether some instance has it.
fn is_used(family: &Arc<Family>) -> bool {
    Arc::strong_count(family) > 1
}

/// One metric with all its series.
#[derive(Debug)]
pub struct Family {
    definition: Definition,
    /// By the label values as [`Family::record`] takes them.
    series: DashMap<Box<[u8]>, Single, ahash::RandomState>,
    /// Made when something does not fit.
    overflow: OnceLock<Single>,
    /// Series of all families of the filter that defined this one.
    owned: Arc<Series>,
    overflows: Arc<AtomicU64>,
}

impl Family {
    fn new(definition: Definition, owner: &Owner, overflows: &Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self {
            series: DashMap::default(),
            overflow: OnceLock::new(),
            owned: Arc::clone(&owner.series),
            overflows: Arc::clone(overflows),
            definition,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// Counts, sets or observes. `values` has a little-endian `u32` length and that many bytes for each label, in order.
    ///
    /// # Errors
    /// [`FilterMetricError::Refused`]: another number of values, or a counter that would not rise.
    pub fn record(&self, value: i64, values: &[u8]) -> Result<(), FilterMetricError> {
        if self.definition.kind == FilterMetricKind::Counter && value <= 0 {
            return Err(FilterMetricError::Refused);
        }
        if self.count_known(value, values) {
            return Ok(());
        }
        let texts = decode(values, self.definition.labels.len()).ok_or(FilterMetricError::Refused)?;
        let key = encode(&texts);
        if !texts.is_empty() && texts.iter().all(|text| text == OVERFLOW) {
            self.count_overflow(value);
        } else if !self.count_known(value, &key) {
            self.count_new(value, key.into());
        }
        Ok(())
    }

    /// Counts in the series of this key, if there is one.
    fn count_known(&self, value: i64, key: &[u8]) -> bool {
        self.series.get(key).is_some_and(|series| {
            series.count(value, &self.definition);
            true
        })
    }

    fn count_overflow(&self, value: i64) {
        self.overflow.get_or_init(|| Single::new(&self.definition)).count(value, &self.definition);
    }

    fn count_new(&self, value: i64, key: Box<[u8]>) {
        // Without labels there is one series, and always room for it.
        let free = self.definition.labels.is_empty();
        if !free && !self.owned.take_one() {
            self.overflows.fetch_add(1, Ordering::Relaxed);
            self.count_overflow(value);
            return;
        }
        let series = match self.series.entry(key) {
            dashmap::Entry::Occupied(entry) => {
                // Another worker was first.
                if !free {
                    self.owned.now.fetch_sub(1, Ordering::Relaxed);
                }
                entry.into_ref()
            }
            dashmap::Entry::Vacant(entry) => entry.insert(Single::new(&self.definition)),
        };
        series.count(value, &self.definition);
    }

    fn read(&self) -> FamilyReading {
        let labels = self.definition.labels.len();
        let mut series: Vec<_> = self
            .series
            .iter()
            .filter_map(|entry| Some((decode(entry.key(), labels)?, entry.value().read(&self.definition))))
            .collect();
        series.sort_by(|(one, _), (other, _)| one.cmp(other));
        if let Some(overflow) = self.overflow.get() {
            series.push((vec![OVERFLOW.to_owned(); labels], overflow.read(&self.definition)));
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
}

impl Single {
    fn new(definition: &Definition) -> Self {
        let buckets = match definition.kind {
            FilterMetricKind::Histogram => definition.buckets.len() + 1,
            _ => 0,
        };
        Self { value: AtomicI64::new(0), buckets: std::iter::repeat_with(AtomicU64::default).take(buckets).collect() }
    }

    fn count(&self, value: i64, definition: &Definition) {
        match definition.kind {
            FilterMetricKind::Gauge => self.value.store(value, Ordering::Relaxed),
            FilterMetricKind::Counter => self.add(value),
            FilterMetricKind::Histogram => {
                self.add(value);
                let index = definition.buckets.partition_point(|bound| *bound < value);
                if let Some(bucket) = self.buckets.get(index) {
                    bucket.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Stays at the end of what can be told, rather than to begin anew below zero.
    fn add(&self, value: i64) {
        let _ = self.value.try_update(Ordering::Relaxed, Ordering::Relaxed, |sum| Some(sum.saturating_add(value)));
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
mod tests;
