//! Routes as filters define them once and select them by handle (`fyke.route.*.v1`, `host/docs/extensions.md`).

use std::{rc::Rc, sync::Arc, time::Duration};

use serde::Deserialize;

/// What a route's action says, as its filter defined it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteAction {
    /// `route_name`
    #[serde(default)]
    pub name: String,
    /// `xds.virtual_host_name`
    #[serde(default)]
    pub virtual_host: String,
    /// The cluster.
    #[serde(default)]
    pub cluster: Option<String>,
    /// Instead of `cluster`.
    #[serde(default)]
    pub weighted_clusters: Vec<WeightedCluster>,
    /// From the end of the request to the end of the response; 0: none.
    #[serde(default = "default_timeout")]
    pub timeout_ms: u64,
    /// Readable as `route_metadata.<key>`.
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// Configuration for later filters.
    #[serde(default)]
    pub filters: serde_json::Map<String, serde_json::Value>,
}

/// One choice of a weighted route.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightedCluster {
    /// Its cluster.
    pub cluster: String,
    /// Its share of the sum of weights.
    pub weight: u32,
}

fn default_timeout() -> u64 {
    15_000
}

/// A route of one instance, with the plugin contexts that its `filters` were given.
#[derive(Debug, Clone)]
pub struct Route {
    /// As defined.
    pub action: Arc<RouteAction>,
    /// For each filter that this route configures: its name and the number of that configuration in the filter's VM.
    pub plugins: Vec<(String, usize)>,
}

/// The route that a stream takes.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The route.
    pub route: Rc<Route>,
    /// Index of the filter that selected it, which is asked again after `clear_route_cache`.
    pub by: usize,
    /// Override of the cluster.
    pub cluster: Option<String>,
    /// Override of the timeout.
    pub timeout: Option<Duration>,
    /// Override of the host.
    pub host: Option<Vec<u8>>,
    /// The random number that picks among weighted clusters, drawn once so that every look gives the same cluster.
    pub draw: u64,
}

impl Selection {
    /// The cluster that this selection names.
    #[must_use]
    pub fn cluster(&self) -> Option<&str> {
        if let Some(cluster) = &self.cluster {
            return Some(cluster);
        }
        let action = &self.route.action;
        if let Some(cluster) = &action.cluster {
            return Some(cluster);
        }
        let total: u64 = action.weighted_clusters.iter().map(|choice| u64::from(choice.weight)).sum();
        let mut left = self.draw.checked_rem(total)?;
        for choice in &action.weighted_clusters {
            let weight = u64::from(choice.weight);
            if left < weight {
                return Some(&choice.cluster);
            }
            left -= weight;
        }
        None
    }

    /// From the end of the request to the end of the response; `None`: no limit.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        let timeout = self.timeout.unwrap_or(Duration::from_millis(self.route.action.timeout_ms));
        (!timeout.is_zero()).then_some(timeout)
    }
}
