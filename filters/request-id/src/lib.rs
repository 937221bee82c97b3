//! `builtin:request-id`: gives every request an id, and says who sent it (`x-forwarded-*`).
//!
//! # What this is
//! Two small duties at the edge of a net, done on the request's headers: `x-request-id`, by which logs of several services are
//! joined, and `x-forwarded-for`, `-proto` and `-host`, by which services learn about the client. With `trusted_hops: 0` this
//! proxy is the edge: what clients claim in those headers is replaced. With more, the claim of the proxy in front is kept.
//!
//! # What this is not
//! It decides nothing about trust by address, and it does not tell later filters which address is the client's.
//!
//! # The parts
//! `config.rs` the configuration; `identity.rs` ids; `forwarded.rs` who sent it; `filter.rs` the filter. Invariant: whatever a
//! client sends, behind this filter there is exactly one `x-request-id`, and it fits on a line.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod config;
mod filter;
mod forwarded;
mod identity;
#[cfg(test)]
mod rings;

pub use config::Config;
pub use filter::RequestId;
