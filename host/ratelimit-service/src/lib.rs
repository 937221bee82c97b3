//! A server of Envoy's rate limit service protocol, version 3: proxies ask it whether a request may pass, and it counts.
//!
//! # What this is
//! A [`Service`] has [`Rules`] out of files that envoyproxy/ratelimit reads as well, a [`Store`] of counters, and listeners on which it is asked by
//! gRPC or JSON. `README.md` is for those who run it; this is for those who change it or build it in:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use fyke_ratelimit_service::{Service, Settings};
//!
//! let settings = Settings::from_yaml("settings.yaml", &std::fs::read_to_string("settings.yaml")?)?;
//! let service = Service::start(settings).await?; // reads the rules: what is wrong with them is said here
//! let listeners = service.listen().await?;
//! let handle = service.handle(); // handle.reload().await on SIGHUP
//! service.serve(listeners, std::future::pending()).await?;
//! # Ok(()) }
//! ```
//!
//! # What this is not
//! No limiter: which algorithms there are, and that they are exact over threads, is `fyke-limiter`'s. No proxy: this crate knows nothing of
//! package `fyke`, which only starts it.
//!
//! # A request's way
//! `server/` reads it, `decide.rs` finds its limits in `rules/`, charges them to the `store/`, and makes statuses, headers and
//! `metrics/` of what comes back.
//!
//! # Invariants
//! With the embedded store a limit of L lets exactly L hits pass in a window, from however many connections. With Redis that is so over all
//! services that share it, while it answers. No request waits longer for Redis than its timeout. What clients send makes no memory
//! grow: requests, connections, counters, and series of metrics are bounded. A broken file of rules never takes the place of one that was not.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod clock;
mod decide;
mod error;
mod json;
pub mod messages;
mod metrics;
mod rules;
mod server;
mod service;
mod settings;
mod store;
mod yaml;

use std::future::Future;

use tokio::net::TcpListener;

pub use clock::Clock;
pub use decide::Refusal;
pub use error::{Mistakes, ReloadError, StartError};
pub use fyke_limiter::{Now, Span};
pub use metrics::RuleStats;
pub use rules::{Algorithm, Limit, Measure, Rules};
pub use service::{Env, Handle, Health, Service};
pub use settings::{
    Bytes, ClientLimits, FailureMode, ListenerSettings, OverLimitHits, RedisSettings, ResponseHeaders,
    SentinelSettings, Serves, Settings, TlsSettings,
};
pub use store::{Charge, Count, Embedded, MetricsText, RedisStore, Store, StoreError, StoreStatus};
pub use yaml::Mistake;

/// Starts a service and serves until `shutdown` is ready: [`Service::start`] and [`Service::serve`] in one, for those who need no [`Handle`].
///
/// # Errors
/// [`StartError`]
pub async fn serve(
    settings: Settings,
    listeners: Vec<TcpListener>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), StartError> {
    Service::start(settings).await?.serve(listeners, shutdown).await
}
