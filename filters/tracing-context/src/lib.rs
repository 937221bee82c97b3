//! `builtin:tracing-context`: to which trace a request belongs, whether that is recorded, and what upstreams are told of it.
//!
//! # What this is
//! It reads the headers of W3C Trace Context and of B3, decides whether the trace is sampled, makes the stream part of it in the host, which records
//! the spans, and writes the headers for the upstream. Where a host records nothing, the headers are written all the same.
//!
//! # What this is not
//! It records nothing and sends nothing anywhere: that is the host's part (`tracing:`). It does not touch `baggage`.
//!
//! # The parts
//! `config.rs` the configuration, `settings.rs` what becomes of it. On the way of a request: `extract.rs` what came in (`w3c.rs`, `state.rs`, `b3.rs`),
//! `trust.rs` from whom, `decide.rs` what becomes of it (`sampling.rs`), `inject.rs` what goes out, `tags.rs` what is said of it; `filter.rs` calls them
//! in that order.
//!
//! # Invariants
//! - Nothing that a client sends makes a request fail: what is malformed counts as absent.
//! - Behind this filter the headers of all known formats agree with each other, or are gone.
//! - A source that is not trusted neither decides nor chooses an id by which something is decided.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod b3;
mod config;
mod decide;
mod extract;
mod filter;
mod inject;
mod sampling;
mod settings;
mod state;
mod tags;
#[cfg(test)]
mod tests;
mod trust;
mod w3c;

pub use config::Config;
pub use filter::TracingContext;
