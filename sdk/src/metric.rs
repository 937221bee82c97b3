//! Metrics. Defined once in `configure`, recorded by number. (Labels are to come.)

use crate::abi::{self, MetricKind};
use crate::error::ConfigError;

pub(crate) fn define(kind: MetricKind, name: &str) -> Result<u32, ConfigError> {
    abi::define_metric(kind, name).map_err(|status| ConfigError::new(format!("metric \"{name}\": {status}")))
}

/// A number that only grows.
#[derive(Debug, Clone, Copy)]
pub struct Counter(pub(crate) u32);

impl Counter {
    /// Adds one.
    pub fn increment(self) {
        self.add(1);
    }

    /// Adds `count`; zero does nothing.
    pub fn add(self, count: u32) {
        if count > 0 {
            abi::increment_metric(self.0, i64::from(count));
        }
    }
}

/// A number that goes up and down.
#[derive(Debug, Clone, Copy)]
pub struct Gauge(pub(crate) u32);

impl Gauge {
    /// Sets it.
    pub fn set(self, value: i64) {
        abi::record_metric(self.0, value);
    }

    /// Adds to it, or takes from it.
    pub fn add(self, delta: i64) {
        abi::increment_metric(self.0, delta);
    }
}

/// A distribution.
#[derive(Debug, Clone, Copy)]
pub struct Histogram(pub(crate) u32);

impl Histogram {
    /// Takes one value into account.
    pub fn record(self, value: u64) {
        abi::record_metric(self.0, i64::try_from(value).unwrap_or(i64::MAX));
    }
}
