//! An in-memory MongoDB server for tests of what stands between drivers and servers.
//!
//! It speaks enough of the protocol for the official drivers: OP_MSG, OP_QUERY for the first hello, OP_COMPRESSED, SCRAM, sessions,
//! transactions, cursors of every kind, change streams. It is not a database: no indexes but `_id`, no disk, no
//! replication. Several servers of one process can share their data and pose as a replica set or as the mongos of a cluster.
//!
//! What real servers do not have: a log of what was asked ([`CommandLog`]), counts of connections, and misbehaviour on demand
//! ([`Faults`]); all of it in Rust, and over the wire as `{fykeTest: ...}`.
//!
//! Layers, each knowing only those above it:
//! - `wire`: bytes to commands and replies to bytes;
//! - `query`: filters, updates, pipelines: pure functions on documents;
//! - `store`: the shared data, transactions, history; one lock;
//! - `commands`: one file for each kind of command;
//! - `connection`, `server`, `deployment`: sockets and who is who.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod args;
mod auth;
mod commands;
mod connection;
mod counts;
mod cursors;
mod deployment;
mod error;
mod faults;
mod handshake;
mod log;
mod options;
mod query;
mod server;
mod store;
mod sync;
mod tls;
mod wire;

pub use counts::ConnectionCounts;
pub use deployment::Deployment;
pub use error::{Failure, RESUMABLE, RETRYABLE_WRITE, TRANSIENT, UNKNOWN_COMMIT, code_name};
pub use faults::{Action, Fault, Faults, When};
pub use log::{CommandLog, CountKey, Entry};
pub use options::{Options, Pose};
pub use server::MongoServer;
pub use wire::Compressor;
