//! Health of endpoints: what traffic says of them, and what they say when asked.
//!
//! Two halves that know nothing of each other:
//!
//! * [`outlier`]: passive. Workers record how each request ended; hosts that do worse than they should are ejected from
//!   load balancing for a while. Pure: time and randomness are passed in, nothing is awaited.
//! * [`active`]: a task per host asks it at intervals, over whatever transport the caller dials, and a state machine
//!   turns the answers into a health.
//!
//! Both follow Envoy in semantics, names and defaults; where they do not, the item says so and why. Neither
//! decides where a request goes: a balancer reads [`outlier::HostOutlier::is_ejected`] and what
//! [`active::Report`] was told.

#![forbid(unsafe_code)]

pub mod active;
pub mod outlier;
