//! `builtin:router`: which cluster a request goes to, or which answer it gets instead.
//!
//! # What this is
//! A table, made of the configuration once and only read afterwards. A request looks up its virtual host by `:authority`, walks
//! that host's routes in order, and the first that matches decides: it selects a route that was defined to the host at
//! configure time (`fyke.route.define.v1`), redirects, or responds. The host executes the selection when the chain is through.
//!
//! # What this is not
//! It picks no endpoint, keeps no timer and no retry: those are parts of the route that it *names*. Per request it makes three
//! or four hostcalls: read the path, read the authority (unless one virtual host serves every domain), read what the
//! candidate routes ask for, select.
//!
//! # The parts
//! | file | owns |
//! |---|---|
//! | `config.rs` | the configuration as written; unknown keys are errors |
//! | `build.rs` | from there to the table, every error with its place |
//! | `table.rs` | virtual hosts by domain |
//! | `index.rs` | the candidates among a virtual host's many routes, in order |
//! | `matching.rs` | whether a route matches a request |
//! | `values.rs` | header, query and cookie conditions |
//! | `scan.rs` | how much text expressions are given |
//! | `rewrite.rs` | new paths out of old ones |
//! | `action.rs` | what a matched route does |
//! | `router.rs` | the filter |
//!
//! Invariants: the table never changes; an input that the configuration accepted cannot fail later; a request that matches
//! nothing gets 404 with `route_not_found`, never a default.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod action;
mod build;
mod config;
mod index;
mod matching;
mod rewrite;
mod router;
mod scan;
mod table;
#[cfg(test)]
mod tests;
mod values;

pub use config::Config;
pub use router::Router;
