//! `builtin:redis`: what clients of Redis do, by command and prefix of keys; and many clients over few connections.
//!
//! # What this is
//! A filter of TCP connections that reads RESP2 and RESP3 in both directions while they pass. Without a pool it changes nothing and counts. With a
//! pool every exchange borrows a connection, of those that all clients share.
//!
//! # What this is not
//! No cluster client: keys lead nowhere, and `MOVED` is the client's to follow. No access control: that is Redis's (ACL).
//!
//! # The parts
//! | file | owns |
//! |---|---|
//! | `config.rs` | the configuration |
//! | `resp/` | where messages begin and end |
//! | `commands.rs`, `facts.rs`, `prefix.rs` | which commands there are, what one is, its key's prefix |
//! | `dialogue.rs` | which reply belongs to which command, and the state of a connection |
//! | `plain.rs` | a client with a connection of its own |
//! | `pool/` | clients that share connections |
//! | `patience.rs` | how much is done in one call |
//! | `memory.rs` | how much is remembered of all connections |
//! | `stats.rs`, `panels.rs` | metrics, and the charts of the dashboard |
//! | `filter.rs` | the filter |
//!
//! # Invariants
//! Bodies are not copied into the module beyond what stands next to a head. Commands that wait for replies are bounded by `in_flight` and in sum, what is kept of a
//! command or reply by constants. A reply goes to the client whose command it answers, or to nobody. Nothing that a peer sends makes the
//! module panic or recurse.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod commands;
mod config;
mod dialogue;
mod facts;
mod filter;
mod memory;
mod panels;
mod patience;
mod plain;
mod pool;
mod prefix;
mod stats;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use filter::Redis;
