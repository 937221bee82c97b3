//! `builtin:ext-authz`: asks an authorisation service about every request, and does what it says.
//!
//! # What this is
//! One call for each request, before anything behind this filter sees it: over HTTP, where the status is the answer, or over gRPC in
//! Envoy's protocol (`envoy.service.auth.v3.Authorization/Check`), so that services written for Envoy work unchanged.
//!
//! # What this is not
//! It decides nothing and remembers nothing. It changes no body: one that the service is shown is held by the host meanwhile, and goes on as it came.
//!
//! # The parts
//! | file | owns |
//! |---|---|
//! | `config.rs` | the configuration |
//! | `body.rs` | how much of a body the service sees |
//! | `verdict.rs` | what a service can say |
//! | `query.rs` | its changes to a query |
//! | `metadata.rs` | its metadata, as properties of the stream |
//! | `http.rs` | asking over HTTP |
//! | `grpc.rs` | asking over gRPC |
//! | `messages.rs` | the messages of Envoy's protocol |
//! | `filter.rs` | the filter |
//!
//! Invariant: a request goes on only when the service allowed it, when it could not be asked and `failure_mode: allow` says so, or when the configuration
//! says that it is not asked (`fraction`, `disabled`).

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod body;
mod config;
mod filter;
mod grpc;
mod http;
mod messages;
mod metadata;
mod query;
#[cfg(test)]
mod tests;
mod verdict;

pub use config::Config;
pub use filter::ExtAuthz;
