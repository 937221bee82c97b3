//! One of `control_planes:`.

use std::time::Duration;

use fyke_envoy::xds;

use super::Origin;
use crate::config::fingerprint::Fingerprint;

/// Within which bounds clusters are asked for when somebody needs one.
#[derive(Debug, Clone)]
pub struct OnDemand {
    /// How long one is waited for.
    pub timeout: Duration,
    /// The most of them.
    pub clusters: usize,
}

/// A control plane.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    /// Its key.
    pub name: String,
    /// How to speak with it. Where its state is kept is not in there.
    pub settings: xds::Settings,
    /// Clusters that it is asked for when somebody needs one.
    pub on_demand: Option<OnDemand>,
    /// Whether it is told how much goes where.
    pub load_reports: bool,
    /// Where it is written.
    pub origin: Origin,
    /// Of all of it: the same is the same control plane.
    pub fingerprint: Fingerprint,
}

impl ControlPlane {
    /// Where it is, in words.
    #[must_use]
    pub fn address(&self) -> String {
        match &self.settings.address {
            xds::Address::Tcp(address) => address.clone(),
            xds::Address::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Whether listeners come from there.
    #[must_use]
    pub fn has_listeners(&self) -> bool {
        self.settings.types.contains(&xds::ResourceType::Listener)
    }
}
