//! Hosts as answers show them: the shape of lyft/discovery, which is that of Envoy's v1 service discovery.

mod address;
mod name;
mod tags;
mod value;

use std::{fmt, net::IpAddr};

use serde::Serialize;

pub use name::ServiceName;
pub use tags::{Scalar, Tags};

pub(crate) use address::{Selector, host_address, ip, place};
pub(crate) use value::{Fields, form, number, object, port, text, typed};

/// A host of a service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Host {
    /// Where it is; never unspecified, multicast or broadcast.
    pub ip_address: IpAddr,
    /// When it was last heard of: RFC 3339, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_check_in: Option<String>,
    /// Where it listens; never 0.
    pub port: u16,
    /// What it runs; empty when it did not say.
    pub revision: String,
    /// The service.
    pub service: String,
    /// The repository that the service is built from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_repo_name: Option<String>,
    /// What else is known of it.
    pub tags: Tags,
}

/// A share of the traffic, relative to the other hosts: 1 to 100, as Envoy's v1 `load_balancing_weight`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Weight(u8);

impl Weight {
    /// The most.
    pub const MAX: Self = Self(100);

    /// `None` when it is not 1 to 100.
    #[must_use]
    pub fn new(weight: u8) -> Option<Self> {
        (1..=100).contains(&weight).then_some(Self(weight))
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// The nearest weight to a number; of what is no number, the least.
    pub(crate) fn nearest(to: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 1 to 100")]
        Self(to.round().clamp(1.0, 100.0) as u8)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
