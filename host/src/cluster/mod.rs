//! Clusters: where endpoints are, and connections to them.
//!
//! A [`shared::SharedCluster`] exists once per process and holds what must be counted once: the permits for
//! connections. Each worker has a [`local::LocalCluster`] on top of it, with its own pools and its own view of how busy
//! each endpoint is; nothing of it crosses threads. A [`lease::Lease`] is one connection lent for one request, a [`dial::Line`] one
//! that carries the bytes of one downstream connection.
//!
//! Clusters know endpoints, protocols and how busy things are. Which cluster a request goes to, how long it may take
//! and whether it is tried again is decided above, in [`crate::upstream`].

pub mod balance;
pub mod body;
pub mod breakers;
pub mod choice;
pub mod clusters;
pub mod connect;
pub mod demand;
pub mod dial;
pub mod endpoint;
pub mod error;
pub mod found;
mod happy_eyeballs;
pub mod health;
pub mod learned;
pub mod lease;
pub mod lending;
pub mod load;
pub mod local;
pub mod members;
pub mod membership;
pub mod metrics;
pub mod outliers;
pub mod pool;
mod preconnect;
pub mod readings;
pub mod settings;
pub mod shared;
pub mod sweep;
pub mod view;
mod wait;
pub mod watch;
pub mod ways;

pub use body::RequestBody;
pub use choice::Choice;
pub use clusters::Clusters;
pub use error::ClusterError;

#[cfg(test)]
mod day;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
