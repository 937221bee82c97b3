//! What the proxy tells about itself: metrics, access-log sinks and its own log.
//!
//! # What this is
//! * [`registry`] finds series and [`handle`] counts in them. Whoever wants to count asks the [`Registry`] once, when a listener, a cluster or a
//!   filter is set up, and keeps the handle. A handle owns a *cell* of its own on cache lines of its own, so a worker that counts
//!   touches nothing that another worker touches: one relaxed addition, no lock, no allocation, no string. The
//!   scrape walks the cells of a series and adds them up.
//! * [`names`] is the only place where a metric's name, help, kind and label names are written.
//! * [`histogram`] fixes the buckets: fine ones inside, for quantiles; a round subset in the exposition.
//! * [`filter_metrics`] holds what filters define for themselves, found by number, process-wide; [`labelled`] what they define with labels.
//! * [`gather`] reads all of it as exporters want it. [`exemplar`] holds the traced observations that histograms name.
//! * [`prometheus`] writes all of it as text, [`openmetrics`] in the newer format, with exemplars.
//! * [`sink`] takes finished log records from workers and writes them on threads of its own.
//! * [`otlp`] sends spans, metrics and log records to a collector, [`statsd`] metrics to a StatsD server; [`export`] runs that as the
//!   configuration says.
//! * [`events`] keeps what happened lately, for whoever watches; [`event_kinds`] is the only place where kinds of events are written.
//! * [`logging`] sets up `tracing` for the process's own messages, which a thread of theirs writes.
//!
//! # What this is not
//! It has no opinion on what is worth counting, formats no access-log record and serves no HTTP: the admin
//! endpoint calls [`prometheus::render`]. There is no global registry; parts are handed one.
//!
//! # Invariants
//! * Nothing here ever makes a worker wait: a full sink drops the record and counts it.
//! * A counter never goes back: when a handle is dropped (a worker ended, a generation was retired), its cell is folded into the
//!   base of its series, which stays. A gauge's cell is taken away with its handle, and a gauge without handles disappears.
//! * Everything that input can make grow is bounded: series ([`registry::SERIES`]), metrics of filters
//!   ([`filter_metrics::CAPACITY`]), bytes queued for a sink ([`sink::QUEUE_BYTES`]). What does not fit is counted elsewhere, not lost.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that fails may panic")
)]

pub mod event_kinds;
pub mod events;
pub mod exemplar;
pub mod export;
pub mod filter_metrics;
pub mod gather;
pub mod handle;
pub mod histogram;
mod label;
pub mod labelled;
pub mod logging;
pub mod names;
pub mod openmetrics;
pub mod otlp;
pub mod prometheus;
pub mod reading;
pub mod registry;
pub mod sink;
pub mod statsd;

pub use events::Events;
pub use filter_metrics::{FilterMetricError, FilterMetricKind};
pub use handle::{Counter, Gauge, Histogram};
pub use histogram::HistogramReading;
pub use names::{Kind, Metric};
pub use registry::{Reading, Registry};
pub use sink::{SinkHandle, SinkTarget, Sinks};
