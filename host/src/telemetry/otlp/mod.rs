//! OTLP: spans, metrics and log records to a collector, over gRPC or HTTP (OpenTelemetry Protocol specification 1.x).
//!
//! # What this is
//! * Workers make records ([`span::SpanRecord`], [`log::LogRecord`]) and push them into a [`queue::Queue`], which never
//!   makes them wait.
//! * An [`exporter::Exporter`] per queue, a task of the control plane, takes them out, turns them into OTLP's messages
//!   ([`record`], [`value`]) and packs them into requests. An [`exporter::MetricsExporter`] does the same with readings
//!   of all metrics ([`metric`]) at an interval.
//! * A request is encoded once, then sent and, where the specification says so, sent again ([`backoff`]).
//! * [`statistics`] says what became of every record.
//!
//! # What this is not
//! It decides neither what is recorded nor what is sampled, reads no environment variables, and knows no TLS: the host
//! connects ([`connect::Connect`]). Of the messages it has the types of `opentelemetry-proto`; of gRPC only a unary
//! call.
//!
//! # Invariants
//! * A record that was pushed ends in exactly one number of [`statistics::Statistics`].
//! * Memory is bounded by the queue, one request, its compressed form, and one answer of 64 KiB. A collector that is
//!   slow, gone or hostile costs dropped records and nothing else.
//! * No request is above [`settings::MESSAGE_BYTES`] before compression, and what is in it is legal UTF-8.
//! * Time comes from the runtime, dates and randomness from [`Environment`].

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test that fails may panic"
    )
)]

pub mod backoff;
mod batch;
mod body;
mod client;
pub mod connect;
mod delivery;
pub mod endpoint;
pub mod exporter;
pub mod log;
pub mod metric;
pub mod queue;
pub mod record;
pub mod settings;
pub mod span;
pub mod statistics;
pub mod stop;
#[cfg(test)]
mod testing;
pub mod value;

pub use delivery::Environment;
