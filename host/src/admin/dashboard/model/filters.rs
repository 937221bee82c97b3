//! Filters: what runs, how it does, what went wrong.

use serde::Serialize;

use super::{Provenance, Time};

/// A filter in the list of all.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct FilterSummary {
    /// Its name.
    pub name: String,
    /// Its module, as the configuration names it.
    pub module: String,
    /// Version that runs, as the module says.
    pub version: String,
    /// Where it was defined, when it last saw a stream.
    pub provenance: Provenance,
    /// Listeners whose chains have it.
    pub listeners: Vec<String>,
    /// Streams per second.
    pub rate: Option<f64>,
    /// Share of the streams that it failed.
    pub errors: Option<f64>,
    /// Instances alive.
    pub instances: Option<u64>,
    /// Their linear memory, in bytes.
    pub memory: Option<u64>,
    /// 99th percentile of a call's processor time, in seconds.
    pub cpu_p99: Option<f64>,
    /// Traps since the process started.
    pub traps: Option<u64>,
    /// Whether it traps too often to be replaced now.
    pub breaker_open: bool,
    /// Share of the streams that a canary gets.
    pub canary: Option<f64>,
    /// Panels that it declares.
    pub panels: usize,
}

/// A filter.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct FilterPage {
    /// What the list says of it.
    pub summary: FilterSummary,
    /// Ends of streams that it cannot serve: `close` or `open`.
    pub on_failure: String,
    /// Whose instance a stream uses: `worker` or `stream`.
    pub isolation: String,
    /// Proxy-Wasm ABI of the module.
    pub abi: String,
    /// Callbacks that are called.
    pub callbacks: Vec<String>,
    /// What it may use: keys of `allow`.
    pub grants: Vec<String>,
    /// Versions with streams, the one that new streams get first.
    pub versions: Vec<Version>,
    /// The canary, while there is one.
    pub canary: Option<Canary>,
    /// Changes over the admin endpoint that `rollback` would take back, newest first.
    pub changes: Vec<String>,
    /// The last traps, newest first.
    pub traps: Vec<Trap>,
    /// Traps by reason, those that happened.
    pub traps_by_reason: Vec<(String, u64)>,
    /// The last configurations that it refused, newest first.
    pub refusals: Vec<Refusal>,
    /// Clusters that it calls.
    pub callouts: Vec<Callout>,
    /// Metrics that it defines.
    pub metrics: Vec<MetricRow>,
    /// Metrics that are not in the list because there are too many.
    pub metrics_left_out: usize,
    /// Its configuration as JSON, secrets masked.
    pub configuration: String,
}

/// One version of a filter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Version {
    /// What it is to the others.
    pub role: VersionRole,
    /// As the module says; empty: it does not.
    pub version: String,
    /// SHA-256 of the module, in hex.
    pub sha256: String,
    /// Generation that brought it.
    pub generation: u64,
    /// Since when it runs.
    pub since: Option<Time>,
    /// Share of the new streams that it gets.
    pub share: f64,
    /// Streams per second.
    pub rate: Option<f64>,
    /// Share of its streams that failed.
    pub errors: Option<f64>,
    /// Instances alive.
    pub instances: Option<u64>,
    /// Their linear memory, in bytes.
    pub memory: Option<u64>,
    /// The most an instance may have, in bytes.
    pub memory_limit: Option<u64>,
    /// Processor time of a call in seconds: median, 90th, 99th percentile.
    pub cpu: Option<[f64; 3]>,
    /// The most a call may take, in seconds.
    pub cpu_limit: Option<f64>,
    /// Traps.
    pub traps: Option<u64>,
}

/// What a version is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionRole {
    /// It gets new streams.
    Stable,
    /// It gets a share of them, on trial.
    Canary,
    /// It only ends the streams that it has.
    Old,
}

/// A version on trial.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Canary {
    /// Its version.
    pub version: String,
    /// Share of the new streams.
    pub share: f64,
    /// Since when.
    pub since: Option<Time>,
    /// Streams that are needed before it is judged.
    pub min_streams: u64,
    /// What it has come to.
    pub canary: Tally,
    /// What the version before has come to, in the same time.
    pub stable: Tally,
    /// When it is taken back, in words: `errors above +5%`.
    pub rollback_on: Vec<String>,
}

/// What a version has come to.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Tally {
    /// Streams.
    pub streams: u64,
    /// Those that ended with an error.
    pub errors: u64,
    /// Those that the filter failed: traps.
    pub failed: u64,
    /// How long one typically takes, in seconds.
    pub typical: Option<f64>,
}

/// A call that broke.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trap {
    /// When.
    pub at: Time,
    /// Why, by the word of the metric: `unreachable`, `deadline`.
    pub reason: String,
    /// What the guest said.
    pub message: String,
    /// In which callback.
    pub phase: String,
    /// On which worker.
    pub worker: Option<u32>,
    /// Of which version.
    pub version: String,
    /// Innermost frame first.
    pub backtrace: Vec<Frame>,
}

/// A frame of a backtrace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Frame {
    /// Function, demangled.
    pub function: String,
    /// Offset in the module, or source and line.
    pub place: String,
}

/// A configuration that a filter did not take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Refusal {
    /// When.
    pub at: Time,
    /// Where that configuration was written.
    pub origin: String,
    /// Where in it.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to try.
    pub help: Option<String>,
}

/// Calls to a cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Callout {
    /// The cluster.
    pub cluster: String,
    /// Calls per second.
    pub rate: Option<f64>,
    /// Calls.
    pub calls: u64,
    /// Those without an answer.
    pub failed: u64,
    /// Median duration in seconds.
    pub p50: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
}

/// How a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// Only rises.
    #[default]
    Counter,
    /// Rises and falls.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

impl MetricKind {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A series of a filter's metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricRow {
    /// Name of the metric.
    pub name: String,
    /// How it counts.
    pub kind: MetricKind,
    /// Names and values of its labels.
    pub labels: Vec<(String, String)>,
    /// What it shows: a total, or the number of observations.
    pub value: f64,
    /// Per second, of what only rises.
    pub rate: Option<f64>,
    /// Median and 99th percentile of a histogram.
    pub quantiles: Option<(f64, f64)>,
}
