//! Routes as filters define them once and select them by handle (`fyke.route.*.v1`, `host/docs/extensions.md`).

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use http::HeaderName;
use serde::Deserialize;

use crate::{
    cluster::choice::{Labels, Priority, labels},
    config::resolved::by_weight,
    upstream::RetryPolicy,
};

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
    /// Without a byte in either direction; 0: only the listener's limits.
    #[serde(default)]
    pub idle_timeout_ms: u64,
    /// From the beginning of the stream to its end, upgraded ones included; 0: none.
    #[serde(default)]
    pub max_stream_duration_ms: u64,
    /// When the request is sent again; absent: never.
    #[serde(default, deserialize_with = "shared")]
    pub retry: Option<Arc<RetryPolicy>>,
    /// Attempts beside late ones.
    #[serde(default)]
    pub hedge: Hedge,
    /// Clusters that get a copy, and whose answers nobody waits for.
    #[serde(default)]
    pub mirror: Vec<Mirror>,
    /// Only endpoints with these labels; absent: any.
    #[serde(default, deserialize_with = "labels")]
    pub endpoint_labels: Option<Arc<Labels>>,
    /// Which circuit breakers count it.
    #[serde(default)]
    pub priority: Priority,
    /// What a connection may turn into; empty: anything but a tunnel that a CONNECT asks for.
    #[serde(default)]
    pub upgrades: Vec<Upgrade>,
    /// A CONNECT ends here, and its bytes go to an endpoint of the cluster.
    #[serde(default)]
    pub connect: Option<Connect>,
    /// Redirects of the upstream that the proxy follows itself; absent: none.
    #[serde(default)]
    pub internal_redirect: Option<Box<InternalRedirect>>,
    /// The endpoint's name is presented as host.
    #[serde(default)]
    pub auto_host: bool,
    /// The upstream is told in `x-envoy-attempt-count` which attempt it is.
    #[serde(default)]
    pub attempt_count_header: bool,
    /// Instead of 504, when `timeout_ms` is over.
    #[serde(default)]
    pub timeout_status: Option<u16>,
    /// Readable as `route_metadata.<key>`.
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// Configuration for later filters.
    #[serde(default)]
    pub filters: serde_json::Map<String, serde_json::Value>,
}

/// `hedge` of a route.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hedge {
    /// An attempt that exceeds `per_try_timeout` goes on beside the next one.
    #[serde(default)]
    pub on_per_try_timeout: bool,
}

/// A cluster that gets a copy: `cluster`, or the one that `cluster_header` names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// Its name.
    #[serde(default)]
    pub cluster: Option<String>,
    /// The request header that names it. Without the header, and where it names none, there is no copy.
    #[serde(default)]
    pub cluster_header: Option<String>,
    /// Its share of the requests, of 100. Default 100.
    #[serde(default = "all")]
    pub percent: f64,
    /// The copy's host is the request's, without `-shadow` at its end.
    #[serde(default)]
    pub keep_host: bool,
}

/// One protocol that a connection may turn into.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// As in the `upgrade` header, such as `websocket`; `connect` is the method of that name.
    pub r#type: String,
    /// Whether it may. Default: it may.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// How a CONNECT ends here. There is nothing to choose yet.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connect {}

/// What becomes of a CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tunnel {
    /// It is sent to the upstream, which is a proxy itself.
    Forward,
    /// It ends here.
    Terminate,
}

/// Redirects that the proxy follows itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InternalRedirect {
    /// Statuses that are followed. Default: 302.
    #[serde(default = "found")]
    pub codes: Vec<u16>,
    /// How often for one request. Default 1.
    #[serde(default = "once")]
    pub max_hops: u32,
    /// Also from `https` to `http`, and the other way.
    #[serde(default)]
    pub cross_scheme: bool,
    /// Of these only from `https` to `http` (Envoy's `safe_cross_scheme`).
    #[serde(default)]
    pub safe_cross_scheme: bool,
    /// Headers of the answer that the request takes along (Envoy's `response_headers_to_copy`).
    #[serde(default, deserialize_with = "names")]
    pub copy_headers: Vec<HeaderName>,
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

fn shared<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<RetryPolicy>>, D::Error> {
    Option::<RetryPolicy>::deserialize(deserializer).map(|policy| policy.map(Arc::new))
}

fn names<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<HeaderName>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    names.iter().map(|name| name.parse().map_err(serde::de::Error::custom)).collect()
}

fn default_timeout() -> u64 {
    15_000
}

fn all() -> f64 {
    100.0
}

fn yes() -> bool {
    true
}

fn found() -> Vec<u16> {
    vec![302]
}

fn once() -> u32 {
    1
}

impl RouteAction {
    /// Every cluster that it names.
    pub fn clusters(&self) -> impl Iterator<Item = &String> {
        let weighted = self.weighted_clusters.iter().map(|choice| &choice.cluster);
        self.cluster.iter().chain(weighted).chain(self.mirror.iter().filter_map(|mirror| mirror.cluster.as_ref()))
    }

    /// What becomes of a CONNECT. `None`: it is not allowed, and unlike an upgrade it has to be allowed by name.
    #[must_use]
    pub fn tunnel(&self) -> Option<Tunnel> {
        match self.upgrades.iter().find(|upgrade| upgrade.r#type.eq_ignore_ascii_case("connect")) {
            Some(upgrade) if !upgrade.enabled => None,
            _ if self.connect.is_some() => Some(Tunnel::Terminate),
            Some(_) => Some(Tunnel::Forward),
            None => None,
        }
    }

    /// Whether a connection may turn into `protocol`.
    #[must_use]
    pub fn allows_upgrade(&self, protocol: &str) -> bool {
        let named = self.upgrades.iter().find(|upgrade| upgrade.r#type.eq_ignore_ascii_case(protocol));
        named.map_or(self.upgrades.is_empty(), |upgrade| upgrade.enabled)
    }
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
    /// For balancers that hash.
    pub hash: Option<u64>,
    /// The endpoint, whatever the balancer says.
    pub endpoint: Option<SocketAddr>,
    /// Override of the policy.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Override of `hedge`.
    pub hedges: Option<bool>,
    /// Override of the status of a timeout.
    pub timeout_status: Option<u16>,
    /// The random number that picks among weighted clusters, drawn once so that every look gives the same cluster.
    pub draw: u64,
}

impl Selection {
    /// When the request is sent again, if ever.
    #[must_use]
    pub fn retry(&self) -> Option<&Arc<RetryPolicy>> {
        self.retry.as_ref().or(self.route.action.retry.as_ref())
    }

    /// Whether a late attempt goes on beside the next one.
    #[must_use]
    pub fn hedges(&self) -> bool {
        self.hedges.unwrap_or(self.route.action.hedge.on_per_try_timeout)
    }

    /// The status of a timeout.
    #[must_use]
    pub fn timeout_status(&self) -> Option<u16> {
        self.timeout_status.or(self.route.action.timeout_status)
    }

    /// From the beginning of the stream to its end; `None`: no limit.
    #[must_use]
    pub fn max_stream_duration(&self) -> Option<Duration> {
        let limit = self.route.action.max_stream_duration_ms;
        (limit > 0).then(|| Duration::from_millis(limit))
    }

    /// Without a byte in either direction; `None`: no limit.
    #[must_use]
    pub fn idle_timeout(&self) -> Option<Duration> {
        let limit = self.route.action.idle_timeout_ms;
        (limit > 0).then(|| Duration::from_millis(limit))
    }

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
        by_weight(action.weighted_clusters.iter().map(|choice| (choice.cluster.as_str(), choice.weight)), self.draw)
    }

    /// From the end of the request to the end of the response; `None`: no limit.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        let timeout = self.timeout.unwrap_or(Duration::from_millis(self.route.action.timeout_ms));
        (!timeout.is_zero()).then_some(timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_has_to_be_allowed_by_name() {
        for (json, expected) in [
            (r"{}", None),
            (r#"{"upgrades": [{"type": "websocket"}]}"#, None),
            (r#"{"upgrades": [{"type": "CONNECT"}]}"#, Some(Tunnel::Forward)),
            (r#"{"upgrades": [{"type": "connect", "enabled": false}]}"#, None),
            (r#"{"connect": {}}"#, Some(Tunnel::Terminate)),
            (r#"{"connect": {}, "upgrades": [{"type": "connect"}]}"#, Some(Tunnel::Terminate)),
            (r#"{"connect": {}, "upgrades": [{"type": "connect", "enabled": false}]}"#, None),
            (r#"{"connect": {}, "upgrades": [{"type": "websocket"}]}"#, Some(Tunnel::Terminate)),
        ] {
            let action: RouteAction = serde_json::from_str(json).unwrap();
            assert_eq!(action.tunnel(), expected, "{json}");
        }
    }
}
