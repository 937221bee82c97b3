//! What a route does with the streams that select it: the JSON of `fyke.route.define.v1`.
//!
//! The words are Envoy's (`config.route.v3.RouteAction`); what is left at its default is not sent, and means the same
//! to the host.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{RetryPolicy, is_default, milliseconds, optional_milliseconds};

/// The action of one route. Everything but the cluster may be left at its default:
///
/// ```
/// use std::time::Duration;
/// use fyke_sdk::{RetryOn, RetryPolicy, RouteAction};
///
/// let action = RouteAction {
///     name: "users".to_owned(),
///     retry: Some(RetryPolicy::on([RetryOn::ServerError, RetryOn::ConnectFailure]).attempts(2)),
///     idle_timeout: Some(Duration::from_secs(30)),
///     ..RouteAction::to("users")
/// };
/// assert_eq!(action.cluster.as_deref(), Some("users"));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteAction {
    /// `route_name` in logs and metrics.
    pub name: String,
    /// The virtual host's name in logs and metrics.
    pub virtual_host: String,
    /// The cluster. Without it and `weighted_clusters`, every selection must name one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Several clusters instead; the host picks one for each stream.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weighted_clusters: Vec<WeightedCluster>,
    /// From the end of the request to the end of the response; zero: no limit. Default: 15 s.
    #[serde(rename = "timeout_ms", serialize_with = "milliseconds")]
    pub timeout: Duration,
    /// The longest time without a byte in either direction; zero: no limit. Default: the listener's.
    #[serde(
        rename = "idle_timeout_ms",
        serialize_with = "optional_milliseconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub idle_timeout: Option<Duration>,
    /// From the beginning of the request to the end of the response, whatever moves; zero: no limit. Default: none.
    #[serde(
        rename = "max_stream_duration_ms",
        serialize_with = "optional_milliseconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_stream_duration: Option<Duration>,
    /// When a request is sent again. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// When a request is sent a second time while the first is still under way. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hedge: Option<HedgePolicy>,
    /// Clusters that get a copy of requests, whose answers nobody reads. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirror: Vec<Mirror>,
    /// Only endpoints with all of these labels (Envoy's `metadata_match`). Default: every endpoint.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoint_labels: BTreeMap<String, String>,
    /// Which of a cluster's circuit breakers count the stream. Default: [`Priority::Default`].
    #[serde(skip_serializing_if = "is_default")]
    pub priority: Priority,
    /// Protocols that the stream may change to, or may not. Default: any but CONNECT, which has to be allowed by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upgrades: Vec<Upgrade>,
    /// A CONNECT ends here: the proxy opens a connection to an endpoint of the cluster and answers 200 (Envoy's `connect_config`).
    /// Default: one that [`RouteAction::upgrades`] allows is forwarded to the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Connect>,
    /// Redirects of the upstream that the proxy follows itself. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_redirect: Option<InternalRedirect>,
    /// Presents the chosen endpoint's name as `:authority` (Envoy's `auto_host_rewrite`). Default: no.
    #[serde(skip_serializing_if = "is_default")]
    pub auto_host: bool,
    /// Tells the upstream in `x-envoy-attempt-count` which attempt it sees. Default: no.
    #[serde(skip_serializing_if = "is_default")]
    pub attempt_count_header: bool,
    /// The status that a timeout is answered with. Default: 504.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_status: Option<u16>,
    /// Readable as the properties `route_metadata.<key>`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// Configuration for filters behind this one, by their names.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub filters: Map<String, Value>,
}

impl Default for RouteAction {
    fn default() -> Self {
        Self {
            name: String::new(),
            virtual_host: String::new(),
            cluster: None,
            weighted_clusters: Vec::new(),
            timeout: Duration::from_secs(15),
            idle_timeout: None,
            max_stream_duration: None,
            retry: None,
            hedge: None,
            mirror: Vec::new(),
            endpoint_labels: BTreeMap::new(),
            priority: Priority::Default,
            upgrades: Vec::new(),
            connect: None,
            internal_redirect: None,
            auto_host: false,
            attempt_count_header: false,
            timeout_status: None,
            metadata: Map::new(),
            filters: Map::new(),
        }
    }
}

impl RouteAction {
    /// To one cluster, everything else at its default.
    #[must_use]
    pub fn to(cluster: impl Into<String>) -> Self {
        Self { cluster: Some(cluster.into()), ..Self::default() }
    }

    /// The clusters that it names, for messages.
    pub(super) fn clusters(&self) -> String {
        let weighted = self.weighted_clusters.iter().map(|weighted| weighted.cluster.as_str());
        let mirrored = self.mirror.iter().filter_map(|mirror| mirror.cluster.as_deref());
        let names: Vec<_> = self
            .cluster
            .as_deref()
            .into_iter()
            .chain(weighted)
            .chain(mirrored)
            .map(|name| format!("\"{name}\""))
            .collect();
        names.join(", ")
    }
}

/// One of several clusters and its share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WeightedCluster {
    /// The cluster.
    pub cluster: String,
    /// Its share of the sum of all weights.
    pub weight: u32,
}

/// A cluster that gets a copy of some requests (Envoy's `RequestMirrorPolicy`). Either `cluster` or `cluster_header`.
///
/// ```
/// use fyke_sdk::Mirror;
///
/// let tenth = Mirror { percent: 10.0, ..Mirror::to("next") };
/// assert_eq!(tenth.cluster.as_deref(), Some("next"));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mirror {
    /// The cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The request header that names it. Requests without it, and those whose header names no cluster, are not copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_header: Option<String>,
    /// The share of requests, from 0 to 100.
    pub percent: f64,
    /// The copy has the request's host. Default: `-shadow` is added to it, so that logs can tell the two apart.
    #[serde(skip_serializing_if = "is_default")]
    pub keep_host: bool,
}

impl Mirror {
    /// Copies all requests to this cluster.
    #[must_use]
    pub fn to(cluster: impl Into<String>) -> Self {
        Self { cluster: Some(cluster.into()), cluster_header: None, percent: 100.0, keep_host: false }
    }

    /// Copies requests to the cluster that this header of theirs names.
    #[must_use]
    pub fn by_header(name: impl Into<String>) -> Self {
        Self { cluster: None, cluster_header: Some(name.into()), percent: 100.0, keep_host: false }
    }
}

/// When a second request is sent while the first is under way (Envoy's `HedgePolicy`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct HedgePolicy {
    /// A try that exceeds [`RetryPolicy::per_try_timeout`] goes on beside the next one, and the first answer wins.
    pub on_per_try_timeout: bool,
}

/// Which circuit breakers count a stream (Envoy's `RoutingPriority`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Those of most streams.
    #[default]
    Default,
    /// Those that are kept for important ones.
    High,
}

/// A protocol that the stream may change to (Envoy's `UpgradeConfig`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upgrade {
    /// `websocket`, `connect`, or another word of the `upgrade` header, in lower case.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it may.
    pub enabled: bool,
}

/// How a CONNECT ends at the proxy (Envoy's `ConnectConfig`). There is nothing to choose yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Connect {}

/// Redirects of the upstream that the proxy follows itself (Envoy's `InternalRedirectPolicy`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InternalRedirect {
    /// Of these statuses. Default: 302.
    pub codes: Vec<u16>,
    /// So many, one after the other. Default: 1.
    pub max_hops: u32,
    /// Also from `https` to `http` and back. Default: no.
    pub cross_scheme: bool,
    /// Of these only from `https` to `http` (Envoy's `safe_cross_scheme`): what came in the clear is not sent on as if it had not. Default: both.
    #[serde(skip_serializing_if = "is_default")]
    pub safe_cross_scheme: bool,
    /// Headers of the answer that the request takes along; those that the answer does not have are taken off it (Envoy's `response_headers_to_copy`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub copy_headers: Vec<String>,
}

impl Default for InternalRedirect {
    fn default() -> Self {
        Self { codes: vec![302], max_hops: 1, cross_scheme: false, safe_cross_scheme: false, copy_headers: Vec::new() }
    }
}
