//! `builtin:mongo`: what clients of MongoDB do, by database, collection, command, call site and application; who may do it, and how often.
//!
//! # What this is
//! A filter of TCP connections that reads MongoDB's wire protocol in both directions while it passes: OP_MSG, OP_COMPRESSED and the legacy
//! opcodes. It counts under labels and under the names that Envoy's `mongo_proxy` has, writes records of operations, and refuses
//! operations with an error of MongoDB's own where rules or limits say so.
//!
//! # What this is not
//! No server and no driver: it changes no message. Without `pool`, one connection of a client is one connection to a server. Its rules are no substitute for
//! MongoDB's roles: what a pipeline does to other collections is not looked at.
//!
//! # How a message goes
//! [`wire`] finds it and lets its documents be walked through ([`bson`]), piece by piece, wherever the stream is cut; of a document only the
//! heads of its elements are read, and long values pass without being shown to the module at all. What is kept of it
//! ([`message`]) becomes a series ([`series`]), under which it is counted (`stats.rs`), decided about (`rules.rs`, `limiter.rs`, `refusal.rs`) and
//! written down (`log.rs`). What waits for a reply is in `flight.rs`.
//!
//! # The parts
//! | file | owns |
//! |---|---|
//! | `config/` | the configuration |
//! | `wire/` | frames, bodies, compression |
//! | `bson/` | walking through documents, printing and writing them |
//! | `message/` | requests, replies, and which commands there are |
//! | `callsite.rs` | call sites in comments |
//! | `connection.rs` | what is known of a connection |
//! | `flight.rs`, `cursors.rs` | operations and cursors that are open |
//! | `identity.rs` | as whom a client has logged in |
//! | `series.rs`, `names.rs`, `stats.rs` | labels, names of metrics, counting |
//! | `rules.rs`, `limiter.rs`, `refusal.rs` | who may do what, how often, and what others get |
//! | `fault.rs` | operations that wait or fail on purpose |
//! | `log.rs`, `json.rs`, `chance.rs` | records |
//! | `operation.rs`, `answer.rs` | what is done about a request and a reply |
//! | `pool/` | clients that share connections |
//! | `patience.rs` | how much is done in one call |
//! | `panels.rs` | charts of the dashboard |
//! | `filter.rs` | the filter |
//!
//! # Invariants
//! A message that cannot be read blinds nobody: it is counted, passes, and the stream goes on behind it. Without rules, limits, faults and `pool` nothing is ever
//! held. Memory of a connection is bounded: operations that wait by `in_flight`, compressed bytes by `inspect.compressed`, everything else by
//! constants. Nothing that a peer sends makes the module panic, recurse, or keep more names than it may.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod answer;
mod bson;
mod callsite;
mod chance;
mod config;
mod connection;
mod cursors;
mod fault;
mod filter;
mod flight;
mod identity;
mod json;
mod limiter;
mod log;
mod memory;
mod message;
mod names;
mod operation;
mod panels;
mod patience;
mod pool;
mod refusal;
mod rules;
mod series;
mod stats;
#[cfg(test)]
mod tests;
mod wire;

pub use config::Config;
pub use filter::Mongo;
