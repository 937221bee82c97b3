//! What a plan is built from, and what it keeps of it.

use std::collections::BTreeMap;

/// A host as discovery, health checks and outlier detection describe it together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Host {
    /// What the policies by hash know it by, usually its address; it should be unique. Of hosts with the same key the
    /// first gets nearly all requests on a ring.
    pub key: String,
    /// Share of the requests relative to its peers; 0 counts as 1. Envoy: `load_balancing_weight`.
    pub weight: u32,
    /// The lowest number is used first. Gaps do not matter. Envoy: `priority`.
    pub priority: u32,
    /// Zone or any other locality; empty for unknown. Envoy: `locality`.
    pub zone: String,
    /// Weight of the whole zone at this priority; the largest that a host of it names counts, 0 takes it out. Envoy:
    /// `load_balancing_weight` of the locality.
    pub locality_weight: u32,
    /// Labels for subsets. Envoy: metadata under `envoy.lb`.
    pub labels: BTreeMap<String, String>,
    /// Its health.
    pub health: Health,
    /// When it became healthy, in milliseconds on the clock of [`Request::now_ms`](crate::cluster::balance::Request::now_ms); `None` for
    /// long ago.
    pub healthy_since: Option<u64>,
}

/// Health of a host, everything considered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Health {
    /// Takes requests.
    #[default]
    Healthy,
    /// Takes requests that healthy hosts have no room for.
    Degraded,
    /// Is about to leave: takes requests only where no host is healthy or degraded.
    Draining,
    /// Takes requests in panic only.
    Unhealthy,
}

impl Health {
    /// The word for metrics and pages.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// Whether it takes requests in ordinary operation: Envoy's "available".
    pub(crate) const fn is_available(self) -> bool {
        matches!(self, Self::Healthy | Self::Degraded)
    }
}

/// What a plan keeps of a host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    /// At least 1.
    pub weight: u32,
    /// Number of lower priorities in use.
    pub level: u16,
    pub health: Health,
}
