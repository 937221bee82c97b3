//! What the service counts, and Prometheus' text of it.
//!
//! Names and labels are those that envoyproxy/ratelimit has behind its statsd exporter's usual mapping, so that dashboards go on working; what it
//! does not have begins with `fyke_ratelimit_`. All names are in `text.rs`.

mod histogram;
mod registry;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use histogram::Histogram;
pub use registry::RuleStats;
pub(crate) use registry::{Hit, Registry};
pub(crate) use text::{Text, render};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted of the service as a whole.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub requests: Counter,
    /// Requests that made no sense.
    pub service_errors: Counter,
    /// Requests that could not be decided because the store failed, under `failure_mode: error`.
    pub store_errors: Counter,
    pub global_shadow_mode: Counter,
    pub seconds: Histogram,
    pub config_load_success: Counter,
    pub config_load_error: Counter,
    pub connections: Counter,
    pub connections_closed: Counter,
    pub connections_refused: Counter,
}
