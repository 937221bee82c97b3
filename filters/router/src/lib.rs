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
//! | `config.rs`, `config/` | the configuration as written; unknown keys are errors |
//! | `build.rs`, `build/` | from there to the table, every error with its place |
//! | `table.rs` | virtual hosts by domain, and the order of header changes |
//! | `index.rs` | the candidates among a virtual host's many routes, in order |
//! | `matching.rs`, `subject.rs` | whether a route matches a request |
//! | `uri_template.rs`, `path_regex.rs` | paths like `/users/{id}/**`, and expressions |
//! | `values.rs`, `case.rs` | header, query and cookie conditions |
//! | `scan.rs` | how much text expressions are given |
//! | `action.rs` | what a matched route does |
//! | `redirect.rs`, `rewrite.rs` | new locations and paths out of old ones |
//! | `headers.rs` | changes to headers |
//! | `hash.rs`, `weighted.rs` | the number that picks an endpoint, and the cluster that the router picks itself |
//! | `envoy.rs` | what requests ask for in `x-envoy-*` and `grpc-timeout` headers |
//! | `explain.rs` | why a route matches a request or does not, in words |
//! | `router.rs` | the filter |
//!
//! Invariants: the table never changes; an input that the configuration accepted cannot fail later; a request that matches
//! nothing gets 404 with `route_not_found`, never a default.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod action;
mod build;
mod case;
mod config;
mod envoy;
mod explain;
mod hash;
mod headers;
mod index;
mod matching;
mod path_regex;
mod redirect;
mod rewrite;
mod router;
mod scan;
mod subject;
mod table;
#[cfg(test)]
mod tests;
mod uri_template;
mod values;
mod weighted;

pub use config::Config;
pub use router::Router;
