//! `builtin:cors`: cross-origin resource sharing, as the Fetch standard has it (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
//!
//! # What this is
//! It answers preflight requests of allowed origins itself, and writes on every other answer who may read it.
//!
//! # What this is not
//! It protects nothing: browsers do, by what it tells them. Requests of other origins pass as they are, without the headers that
//! would let a page read the answer. It is not CSRF protection.
//!
//! # The parts
//! `config.rs` the configuration; `origin.rs` which origins are allowed, `pattern.rs` those that are told by what
//! they are like; `filter.rs` the filter.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod config;
mod filter;
mod origin;
mod pattern;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use filter::Cors;
