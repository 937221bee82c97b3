//! `control_planes:` as an operator writes them.

use std::{collections::BTreeMap, num::NonZeroUsize};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ClusterTls;
use crate::config::units::Duration;

/// A control plane that speaks Envoy's xDS protocol, version 3, over gRPC. What it sends is put beside what is written here.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlPlane {
    /// Where it is: `host:port`, or `unix:` and the path of a socket.
    pub grpc: String,
    /// How it tells what there is. Default `state_of_the_world`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<XdsMode>,
    /// How many streams there are. Default `aggregated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<XdsStreams>,
    /// What it is asked for; whatever these refer to is asked for besides. Clusters with `discovery: { xds }` need nothing of it. Default: both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<XdsResources>>,
    /// Names of runtime layers that it is asked for (RTDS), the first at the bottom: where what it sends names a key, what they set takes the
    /// place of the default. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runtime: Vec<String>,
    /// It is asked for a cluster when a request or a connection is to go to one that is not there (Envoy's ODCDS). Default: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_demand: Option<OnDemand>,
    /// Tells it how much goes where, as often and of which clusters as it wants to hear (LRS). Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_reports: Option<bool>,
    /// TLS towards it: whom to believe, and what to show. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<ClusterTls>>,
    /// Sent with each stream, such as `authorization`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How long a resource that others refer to may take before it is taken not to be. Default 15s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch_timeout: Option<Duration>,
    /// How long connecting may take. Default 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Duration>,
}

/// Clusters that a control plane is asked for one by one.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnDemand {
    /// How long a request waits for its cluster, and for endpoints of it, before it is answered with 503. Default 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// The most clusters that are asked for in this way: further ones are not. What a client says may choose them. Default 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<NonZeroUsize>,
}

/// How a control plane tells what there is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum XdsMode {
    /// All of it, each time.
    StateOfTheWorld,
    /// What has changed.
    Delta,
}

/// How many streams there are.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum XdsStreams {
    /// One for all types (ADS).
    Aggregated,
    /// One for each type.
    Separate,
}

/// What a control plane is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum XdsResources {
    /// Listeners (LDS).
    Listeners,
    /// Clusters (CDS).
    Clusters,
}
