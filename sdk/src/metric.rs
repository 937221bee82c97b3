//! Metrics, with labels. Defined once in `configure`, recorded by number; how many labels a metric has is part of its type, so a
//! value that is missing does not compile. Where only the configuration knows the labels, they are counted when it is read:
//! [`Env::metric`](crate::Env::metric).
//!
//! On Fyke the labels are labels (`fyke.metric.define.v1`). Other hosts know only names, so each series there is a metric of its own,
//! `name.label=.=value;`, from which tag rules make labels again; after a thousand of them the values are all `_overflow`.

mod dynamic;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::rc::Rc;

use crate::abi::{self, Fields, MetricKind, Status};
use crate::error::ConfigError;

pub use dynamic::{DynamicCounter, DynamicGauge, DynamicHistogram, MetricDefinition};

/// Series of one metric on hosts without labels.
const SERIES: usize = 1_000;

/// A number that only grows, with `N` labels; from [`Env::counter`](crate::Env::counter).
#[derive(Debug, Clone)]
pub struct Counter<const N: usize>(Metric);

/// A number that goes up and down, with `N` labels; from [`Env::gauge`](crate::Env::gauge).
#[derive(Debug, Clone)]
pub struct Gauge<const N: usize>(Metric);

/// A distribution, with `N` labels; from [`Env::histogram`](crate::Env::histogram).
#[derive(Debug, Clone)]
pub struct Histogram<const N: usize>(Metric);

impl<const N: usize> Counter<N> {
    pub(crate) fn define(name: &str, labels: [&str; N]) -> Result<Self, ConfigError> {
        Metric::define(MetricKind::Counter, name, &labels, &[]).map(Self)
    }

    /// Adds one to the series with these values, which are in the order of the labels.
    pub fn increment(&self, values: [&str; N]) {
        self.add(1, values);
    }

    /// Adds `count`; zero does nothing.
    pub fn add(&self, count: u32, values: [&str; N]) {
        if count > 0 {
            self.0.change(i64::from(count), values, Change::Add);
        }
    }
}

impl<const N: usize> Gauge<N> {
    pub(crate) fn define(name: &str, labels: [&str; N]) -> Result<Self, ConfigError> {
        Metric::define(MetricKind::Gauge, name, &labels, &[]).map(Self)
    }

    /// Sets it.
    pub fn set(&self, value: i64, values: [&str; N]) {
        self.0.change(value, values, Change::Set);
    }
}

impl Gauge<0> {
    /// Adds to it, or takes from it. (Hosts can do that without labels only.)
    pub fn add(&self, delta: i64) {
        self.0.change(delta, [], Change::Add);
    }
}

impl<const N: usize> Histogram<N> {
    pub(crate) fn define(name: &str, labels: [&str; N]) -> Result<Self, ConfigError> {
        Metric::define(MetricKind::Histogram, name, &labels, &[]).map(Self)
    }

    /// Takes one value into account.
    pub fn record(&self, value: u64, values: [&str; N]) {
        self.0.change(i64::try_from(value).unwrap_or(i64::MAX), values, Change::Set);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Add,
    Set,
}

/// What all of them are.
#[derive(Debug, Clone)]
enum Metric {
    /// By the ABI's own functions.
    Plain(u32),
    /// By Fyke's.
    Labelled { handle: u32, labels: usize, scratch: Rc<RefCell<Vec<u8>>> },
    /// Many plain ones.
    Encoded(Rc<Encoded>),
}

#[derive(Debug)]
struct Encoded {
    kind: MetricKind,
    name: String,
    labels: Box<[String]>,
    series: RefCell<Series>,
}

#[derive(Debug, Default)]
struct Series {
    ids: HashMap<Vec<u8>, u32>,
    /// Reused, so that a series that is known costs no allocation.
    key: Vec<u8>,
}

impl Metric {
    fn define(kind: MetricKind, name: &str, labels: &[&str], buckets: &[u64]) -> Result<Self, ConfigError> {
        let failed = |status: Status| ConfigError::new(format!("metric \"{name}\": {status}"));
        if labels.is_empty() && buckets.is_empty() {
            return abi::define_metric(kind, name).map(Self::Plain).map_err(failed);
        }
        match abi::call_foreign_function("fyke.metric.define.v1", definition(kind, name, labels, buckets).as_bytes()) {
            Ok(answer) => match <[u8; 4]>::try_from(answer.as_slice()) {
                Ok(bytes) => Ok(Self::Labelled {
                    handle: u32::from_le_bytes(bytes),
                    labels: labels.len(),
                    scratch: Rc::default(),
                }),
                Err(_) => Err(ConfigError::new(format!("metric \"{name}\": the host gave it no handle"))),
            },
            // Buckets are such a host's own.
            Err(Status::NOT_FOUND) if labels.is_empty() => {
                abi::define_metric(kind, name).map(Self::Plain).map_err(failed)
            }
            Err(Status::NOT_FOUND) => Ok(Self::Encoded(Rc::new(Encoded {
                kind,
                name: name.to_owned(),
                labels: labels.iter().map(|label| (*label).to_owned()).collect(),
                series: RefCell::default(),
            }))),
            Err(status) => Err(failed(status)),
        }
    }

    fn change<'a>(&self, value: i64, values: impl IntoIterator<Item = &'a str>, change: Change) {
        let plain = match self {
            Self::Plain(id) => *id,
            Self::Labelled { handle, labels, scratch } => {
                let mut record = scratch.borrow_mut();
                record.clear();
                record.extend_from_slice(&handle.to_le_bytes());
                record.extend_from_slice(&value.to_le_bytes());
                for value in exactly(*labels, values) {
                    abi::push_field(&mut record, value.as_bytes());
                }
                // There is nobody to tell: the handle is the host's own.
                let _ = abi::call_foreign_function("fyke.metric.record.v1", &record);
                return;
            }
            Self::Encoded(encoded) => match encoded.series(values) {
                Some(id) => id,
                None => return,
            },
        };
        match change {
            Change::Add => abi::increment_metric(plain, value),
            Change::Set => abi::record_metric(plain, value),
        }
    }
}

/// So many values: what is missing is empty, and what is too much is left out.
fn exactly<'a>(count: usize, values: impl IntoIterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    values.into_iter().chain(std::iter::repeat("")).take(count)
}

/// What the host is told, in JSON.
fn definition(kind: MetricKind, name: &str, labels: &[&str], buckets: &[u64]) -> String {
    let word = match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    };
    let mut json = format!("{{\"kind\":\"{word}\",\"name\":");
    crate::configure::push_json(&mut json, name);
    json.push_str(",\"labels\":[");
    for (at, label) in labels.iter().enumerate() {
        if at > 0 {
            json.push(',');
        }
        crate::configure::push_json(&mut json, label);
    }
    json.push(']');
    for (at, bound) in buckets.iter().enumerate() {
        let _ = write!(json, "{}{bound}", if at == 0 { ",\"buckets\":[" } else { "," });
    }
    json.push_str(if buckets.is_empty() { "}" } else { "]}" });
    json
}

impl Encoded {
    fn series<'a>(&self, values: impl IntoIterator<Item = &'a str>) -> Option<u32> {
        let mut series = self.series.borrow_mut();
        let Series { ids, key } = &mut *series;
        key.clear();
        for value in exactly(self.labels.len(), values) {
            abi::push_field(key, value.as_bytes());
        }
        if let Some(id) = ids.get(key.as_slice()) {
            return Some(*id);
        }
        let full = ids.len() >= SERIES;
        let mut values = Fields::new(key);
        let name = self.labels.iter().fold(self.name.clone(), |mut name, label| {
            let value = if full { "_overflow".to_owned() } else { values.text().unwrap_or_default() };
            let _ = write!(name, ".{label}=.={};", value.replace(";.", ";_"));
            name
        });
        // Defining a name again gives its number: what overflows shares one.
        let id = abi::define_metric(self.kind, &name).ok()?;
        if !full {
            ids.insert(key.clone(), id);
        }
        Some(id)
    }
}
