//! `builtin:body-transform`: changes JSON bodies on their way.
//!
//! # What this is
//! Removes, renames and sets fields of JSON objects, of requests and of responses. It is the example of the SDK's guide, so it is
//! written to be read.
//!
//! # What this is not
//! A language: there are no conditions and no expressions. Bodies are taken whole, up to 256 KiB.
//!
//! # The parts
//! `config.rs` the configuration; `document.rs` documents, opened no further than needed; `path.rs` where in one; `changes.rs` what is done to one; `filter.rs` the filter.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod changes;
mod config;
mod document;
mod filter;
mod path;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use filter::BodyTransform;
