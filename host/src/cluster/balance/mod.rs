//! Load balancing: which host of a cluster gets a request.
//!
//! The control plane builds a [`Plan`] from [`Settings`] and the cluster's [`Host`]s whenever membership, weights or
//! health change. A plan is immutable and shared by all workers. Each worker keeps one [`Local`] for each cluster: the
//! positions of round robin and a random generator. [`Plan::pick`] joins the two with what only the moment knows: the
//! [`Request`], the [`Load`] of the hosts, and which of them are still usable. Nothing in here does I/O, reads a clock
//! or starts a thread.
//!
//! A pick narrows down in Envoy's order, each step in a module of its own:
//! ```text
//! override host   plan         the host that a session sticks to
//! subset          subset       hosts whose labels the request asks for, or the fallback
//! priority        priority     level by availability (overprovisioning, panic), then healthy or degraded hosts
//! locality        zone         own zone first, or zones by weight
//! policy          round_robin, least_request, random, ewma, hashed (ring, maglev)
//! ```
//!
//! Invariants
//! - A pick ends after a bounded number of steps (linear in the number of hosts at worst) and allocates nothing, except
//!   for the first round robin pick after a new plan.
//! - Weights hold under every policy as long as the hosts are equally loaded; weight 0 counts as 1, for Envoy refuses
//!   it.
//! - A host is known by its index in the slice that the plan was built from.
//! - Any input gives a plan, and any request a host or a [`NoHost`] that says why; nothing panics.

mod alias;
mod area;
mod error;
mod ewma;
mod group;
mod hashed;
mod host;
mod least_request;
mod local;
mod maglev;
mod plan;
mod pool;
mod priority;
mod random;
mod request;
mod ring;
mod round_robin;
mod schedule;
mod settings;
mod slow_start;
mod subset;
mod zone;

pub use error::NoHost;
pub use ewma::Ewma;
pub use host::{Health, Host};
pub use local::Local;
pub use plan::Plan;
pub use request::{Load, Override, Request};
pub use settings::{
    Availability, DirectRouting, Fallback, LeastRequest, Locality, Maglev, OnPanic, PeakEwma, Policy, RingHash,
    Selection, Selector, Settings, SlowStart, Subsets, ZoneAware,
};
