//! `builtin:fault`: delays and aborts requests, so that one sees what becomes of a system when a part of it is slow or broken.
//!
//! # What this is
//! A share of the requests, or those that say so in a header, wait and are then answered with an error, sent on, or both.
//!
//! # What this is not
//! It does not touch what the upstream does: no cut bodies, no slow ones.
//!
//! # The parts
//! `config.rs` the configuration; `plan.rs` what becomes of one request; `filter.rs` the filter.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod config;
mod filter;
mod plan;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use filter::Fault;
