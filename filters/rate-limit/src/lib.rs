//! `builtin:rate-limit`: refuses, or delays, what comes too often.
//!
//! # What this is
//! Rules, each of which says whom it is about (`when`), what is counted apart (`key`) and how much of it may come (`limit`). Limits are exact
//! over all workers of the process; rules that say `global` are counted for all processes: by Redis, or by a service of
//! Envoy's protocol. A module of both kinds: on a
//! listener of TCP it limits connections.
//!
//! # What this is not
//! It keeps no counts itself (that is `fyke-limiter`, the host, and Redis), and it is no authentication: a key that clients choose freely is theirs to
//! choose anew.
//!
//! # The parts
//! | file | owns |
//! |---|---|
//! | `config/` | the configuration |
//! | `source.rs`, `expression.rs` | where values come from, and what is looked for in them |
//! | `condition.rs`, `part.rs` | whom a rule is about, and what of it is counted apart |
//! | `rule.rs`, `conflicts.rs` | rules, ready; those that can never have a say |
//! | `cost.rs` | how much something counts, now or afterwards |
//! | `key.rs` | what rules count by, in this process and in Redis |
//! | `limiter.rs` | local limits: what is taken, held and given back |
//! | `service.rs`, `messages.rs` | global limits: Envoy's protocol |
//! | `redis/` | global limits: Redis |
//! | `verdict.rs` | what limits say of a stream |
//! | `answer.rs` | what clients are told |
//! | `stats.rs`, `busiest.rs` | what is counted |
//! | `panels.rs` | charts of the dashboard |
//! | `check.rs` | what becomes of a stream |
//! | `complaints.rs` | what is said of failures |
//! | `explain.rs` | the same, for a person |
//! | `filter.rs` | the filter, of streams and of connections |
//!
//! Invariants: where one rule refuses, none is charged. What cannot be asked costs no request more than its timeout, and is decided by
//! `failure_mode`. What a client sends makes neither a key, nor a label, nor a list here grow without bound.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod answer;
mod busiest;
mod check;
mod complaints;
mod condition;
mod config;
mod conflicts;
mod cost;
mod explain;
mod expression;
mod filter;
mod key;
mod limiter;
mod messages;
mod panels;
mod part;
mod redis;
mod rule;
mod service;
mod source;
mod stats;
#[cfg(test)]
mod tests;
mod verdict;

pub use config::Config;
pub use filter::RateLimit;
