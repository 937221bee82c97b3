//! `builtin:stats-tags`: turns what a request *is* into labels of metrics.
//!
//! # What this is
//! Rules, each of which takes a value from somewhere (a header, the route, the caller's certificate, a path template), changes it,
//! and gives it to a label; and metrics, each of which names the labels that it carries. Everything is counted when the stream is
//! over. A module of both kinds: on a listener of TCP it counts connections.
//!
//! # What this is not
//! It keeps no numbers: series, their limit (`limits.series`) and their export are the host's. It changes nothing of a stream.
//!
//! # The parts
//! | file | owns |
//! |---|---|
//! | `config/` | the configuration, and what Istio's switch stands for |
//! | `source.rs` | where values come from; each property is read once for a stream |
//! | `templates.rs` | path templates and their index |
//! | `identity.rs` | what a SPIFFE id says |
//! | `expressions.rs` | regular expressions, and what they may cost |
//! | `operation.rs` | what is done to a value |
//! | `labels.rs` | rules in order, and the values of one stream |
//! | `metrics.rs` | which metrics there are, and what each measures |
//! | `panels.rs` | its charts in the dashboard |
//! | `frames.rs` | gRPC messages in a body |
//! | `stat_names.rs` | dotted names and Envoy's tags |
//! | `filter.rs` | the filter, of streams and of connections |
//!
//! Invariants: whatever a client sends, a label's value is UTF-8 of at most `maximum_length` bytes; nothing of a stream is kept
//! when it is over; what a client can make regular expressions cost is bounded.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod config;
mod expressions;
mod filter;
mod frames;
mod identity;
mod labels;
mod metrics;
mod operation;
mod panels;
#[cfg(test)]
mod rings;
mod source;
mod stat_names;
mod templates;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use filter::StatsTags;
