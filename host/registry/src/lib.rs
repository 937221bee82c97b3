#![doc = include_str!("../README.md")]
//!
//! # The parts
//! From the outside in, and who may know whom (always downwards): [`serve`] is `server` (sockets, TLS, routes) over `store` (what lasts) over `catalog`
//! (what is known now); `auth` says who may; `load` turns reports into weights; `eds` and `host` are how hosts are written. [`client`] is the
//! other side: what a proxy needs to register itself; it shares `host` with the server and nothing else.
//!
//! What holds: every read is answered from the catalog, in memory, whatever the store does. Nothing from the network or from a file panics,
//! and everything that such input makes grow has a limit in [`Limits`] or beside the type. Time comes from a [`Clock`], so that tests move
//! it. Nothing is global: two registries in one process know nothing of each other.

#![forbid(unsafe_code)]

mod auth;
mod catalog;
pub mod client;
pub mod clock;
mod eds;
mod error;
mod files;
mod host;
mod load;
mod metrics;
mod server;
mod settings;
mod store;
mod yaml;

pub use clock::Clock;
pub use error::{Problem, ServeError};
pub use load::Load;
pub use server::{Registry, serve};
pub use settings::{Limits, RedisSettings, Settings, TlsSettings};

/// A span of time in milliseconds.
fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
