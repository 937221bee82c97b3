//! `builtin:headers`: adds, sets and removes headers of requests and responses.
//!
//! # What this is
//! Two lists of changes, taken apart at configure time, made on the head of every request and every response. Values may contain
//! properties of the stream: `for=%{source.address}`.
//!
//! # What this is not
//! It decides nothing: there are no conditions. A route's own changes are the router's `request_headers` and `response_headers`.
//!
//! # The parts
//! `config.rs` the configuration; `changes.rs` changes, checked and made; `filter.rs` the filter.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod changes;
mod config;
mod filter;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use filter::HeadersFilter;
