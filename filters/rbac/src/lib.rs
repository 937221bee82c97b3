//! `builtin:rbac`: lets requests and connections through by who makes them and what they want.
//!
//! # What this is
//! Policies, each of permissions (what is wanted) and principals (who wants it). A policy matches when any of its permissions and any of its
//! principals do. Of requests, and of TCP connections, before anything of them reaches the upstream.
//!
//! # What this is not
//! It asks nobody (`builtin:ext-authz` does), and reads no tokens.
//!
//! # The parts
//! `config.rs` the configuration; `rule.rs` one condition, and `text.rs` and `network.rs` what it is made of; `subject.rs` what conditions look
//! at; `rules.rs` policies and the verdict; `filter.rs` the filter.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod config;
mod filter;
mod network;
mod rule;
mod rules;
mod subject;
#[cfg(test)]
mod tests;
mod text;

pub use config::Config;
pub use filter::Rbac;
