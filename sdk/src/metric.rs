//! Metrics, with labels. Defined once in `configure`, recorded by number; how many labels a metric has is part of its type, so a
//! value that is missing does not compile.
//!
//! On Fyke the labels are labels (`fyke.metric.define.v1`). Other hosts know only names, so each series there is a metric of its own,
//! `name.label=.=value;`, from which tag rules make labels again; after a thousand of them the values are all `_overflow`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::rc::Rc;

use crate::abi::{self, MetricKind, Status};
use crate::error::ConfigError;

/// Series of one metric on hosts without labels.
const SERIES: usize = 1_000;

/// A number that only grows, with `N` labels; from [`Env::counter`](crate::Env::counter).
#[derive(Debug, Clone)]
pub struct Counter<const N: usize>(Metric<N>);

/// A number that goes up and down, with `N` labels; from [`Env::gauge`](crate::Env::gauge).
#[derive(Debug, Clone)]
pub struct Gauge<const N: usize>(Metric<N>);

/// A distribution, with `N` labels; from [`Env::histogram`](crate::Env::histogram).
#[derive(Debug, Clone)]
pub struct Histogram<const N: usize>(Metric<N>);

impl<const N: usize> Counter<N> {
    pub(crate) fn define(name: &str, labels: [&str; N]) -> Result<Self, ConfigError> {
        Metric::define(MetricKind::Counter, name, labels).map(Self)
    }

    /// Adds one to the series with these values, which are in the order of the labels.
    pub fn increment(&self, values: [&str; N]) {
        self.add(1, values);
    }

    /// Adds `count`; zero does nothing.
    pub fn add(&self, count: u32, values: [&str; N]) {
        if count > 0 {
            self.0.change(i64::from(count), &values, Change::Add);
        }
    }
}

impl<const N: usize> Gauge<N> {
    pub(crate) fn define(name: &str, labels: [&str; N]) -> Result<Self, ConfigError> {
        Metric::define(MetricKind::Gauge, name, labels).map(Self)
    }

    /// Sets it.
    pub fn set(&self, value: i64, values: [&str; N]) {
        self.0.change(value, &values, Change::Set);
    }
}

impl Gauge<0> {
    /// Adds to it, or takes from it. (Hosts can do that without labels only.)
    pub fn add(&self, delta: i64) {
        self.0.change(delta, &[], Change::Add);
    }
}

impl<const N: usize> Histogram<N> {
    pub(crate) fn define(name: &str, labels: [&str; N]) -> Result<Self, ConfigError> {
        Metric::define(MetricKind::Histogram, name, labels).map(Self)
    }

    /// Takes one value into account.
    pub fn record(&self, value: u64, values: [&str; N]) {
        self.0.change(i64::try_from(value).unwrap_or(i64::MAX), &values, Change::Set);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Add,
    Set,
}

#[derive(Debug, Clone)]
enum Metric<const N: usize> {
    /// By the ABI's own functions.
    Plain(u32),
    /// By Fyke's.
    Labelled { handle: u32, scratch: Rc<RefCell<Vec<u8>>> },
    /// Many plain ones.
    Encoded(Rc<Encoded<N>>),
}

#[derive(Debug)]
struct Encoded<const N: usize> {
    kind: MetricKind,
    name: String,
    labels: [String; N],
    series: RefCell<HashMap<Vec<u8>, u32>>,
}

impl<const N: usize> Metric<N> {
    fn define(kind: MetricKind, name: &str, labels: [&str; N]) -> Result<Self, ConfigError> {
        let failed = |status: Status| ConfigError::new(format!("metric \"{name}\": {status}"));
        if N == 0 {
            return abi::define_metric(kind, name).map(Self::Plain).map_err(failed);
        }
        let word = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let mut definition = format!("{{\"kind\":\"{word}\",\"name\":");
        crate::configure::push_json(&mut definition, name);
        definition.push_str(",\"labels\":[");
        for (at, label) in labels.iter().enumerate() {
            if at > 0 {
                definition.push(',');
            }
            crate::configure::push_json(&mut definition, label);
        }
        definition.push_str("]}");
        match abi::call_foreign_function("fyke.metric.define.v1", definition.as_bytes()) {
            Ok(answer) => match <[u8; 4]>::try_from(answer.as_slice()) {
                Ok(bytes) => Ok(Self::Labelled { handle: u32::from_le_bytes(bytes), scratch: Rc::default() }),
                Err(_) => Err(ConfigError::new(format!("metric \"{name}\": the host gave it no handle"))),
            },
            Err(Status::NOT_FOUND) => Ok(Self::Encoded(Rc::new(Encoded {
                kind,
                name: name.to_owned(),
                labels: labels.map(str::to_owned),
                series: RefCell::default(),
            }))),
            Err(status) => Err(failed(status)),
        }
    }

    fn change(&self, value: i64, values: &[&str; N], change: Change) {
        let plain = match self {
            Self::Plain(id) => *id,
            Self::Labelled { handle, scratch } => {
                let mut record = scratch.borrow_mut();
                record.clear();
                record.extend_from_slice(&handle.to_le_bytes());
                record.extend_from_slice(&value.to_le_bytes());
                for value in values {
                    record.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
                    record.extend_from_slice(value.as_bytes());
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

impl<const N: usize> Encoded<N> {
    fn series(&self, values: &[&str; N]) -> Option<u32> {
        let mut key = Vec::new();
        for value in values {
            key.extend_from_slice(&value.len().to_le_bytes());
            key.extend_from_slice(value.as_bytes());
        }
        let mut series = self.series.borrow_mut();
        if let Some(id) = series.get(&key) {
            return Some(*id);
        }
        let full = series.len() >= SERIES;
        let name = self.labels.iter().zip(values).fold(self.name.clone(), |mut name, (label, value)| {
            let value = if full { "_overflow" } else { value };
            let _ = write!(name, ".{label}=.={};", value.replace(";.", ";_"));
            name
        });
        // Defining a name again gives its number: what overflows shares one.
        let id = abi::define_metric(self.kind, &name).ok()?;
        if !full {
            series.insert(key, id);
        }
        Some(id)
    }
}
