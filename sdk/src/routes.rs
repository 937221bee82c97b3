//! Routes: what a filter that routes defines once, in `configure`, and selects by number for each stream.
//!
//! The bytes are those of `fyke.route.define.v1` and `fyke.route.select.v1` in the host's `docs/extensions.md`.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::abi::{self, Status};
use crate::error::{ConfigError, Result};

/// Where routes are defined; from [`Env::routes`](crate::Env::routes).
#[derive(Debug)]
pub struct Routes {
    _private: (),
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self { _private: () }
    }

    /// Defines a route.
    ///
    /// # Errors
    /// When this host has no routes (it is not Fyke), or refuses this one: a cluster or filter that it does not know. The host
    /// keeps the exact reason and reports it together with the place that the error names.
    pub fn define(&self, action: &RouteAction) -> Result<RouteHandle, ConfigError> {
        let arguments = serde_json::to_vec(action).map_err(|error| ConfigError::new(error.to_string()))?;
        let answer = abi::call_foreign_function("fyke.route.define.v1", &arguments).map_err(|status| {
            ConfigError::new(match status {
                Status::NOT_FOUND => {
                    "this host has no routes that a filter can define (fyke.route.define.v1)".to_owned()
                }
                Status::BAD_ARGUMENT => match action.clusters() {
                    clusters if clusters.is_empty() => "the host refused the route".to_owned(),
                    clusters => format!("the host refused the route to {clusters}: is there such a cluster?"),
                },
                other => other.to_string(),
            })
        })?;
        match answer.as_slice().try_into() {
            Ok(bytes) => Ok(RouteHandle(u32::from_le_bytes(bytes))),
            Err(_) => Err(ConfigError::new("the host answered a route without a handle")),
        }
    }
}

/// The action of one route.
#[derive(Debug, Clone, Serialize)]
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
            metadata: Map::new(),
            filters: Map::new(),
        }
    }
}

impl RouteAction {
    fn clusters(&self) -> String {
        let weighted = self.weighted_clusters.iter().map(|weighted| weighted.cluster.as_str());
        self.cluster
            .as_deref()
            .into_iter()
            .chain(weighted)
            .map(|name| format!("\"{name}\""))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// One of several clusters and its share.
#[derive(Debug, Clone, Serialize)]
pub struct WeightedCluster {
    /// The cluster.
    pub cluster: String,
    /// Its share of the sum of all weights.
    pub weight: u32,
}

fn milliseconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// A route that was defined. Valid for the life of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteHandle(u32);

/// What one selection changes about its route.
#[derive(Debug, Clone, Copy, Default)]
pub struct RouteOverrides<'a> {
    /// The cluster.
    pub cluster: Option<&'a [u8]>,
    /// The timeout; zero: none.
    pub timeout: Option<Duration>,
    /// The host to present to the upstream, as `:authority`.
    pub host: Option<&'a [u8]>,
}

impl RouteHandle {
    pub(crate) fn select(self, overrides: &RouteOverrides<'_>) -> Result<()> {
        let flags = u32::from(overrides.cluster.is_some())
            | u32::from(overrides.timeout.is_some()) << 1
            | u32::from(overrides.host.is_some()) << 2;
        let [a, b, c, d] = self.0.to_le_bytes();
        let [e, f, g, h] = flags.to_le_bytes();
        let plain = [a, b, c, d, e, f, g, h];
        if flags == 0 {
            // The usual case, without an allocation.
            abi::call_foreign_function(SELECT, &plain)?;
            return Ok(());
        }
        let mut arguments = plain.to_vec();
        if let Some(cluster) = overrides.cluster {
            push(&mut arguments, cluster);
        }
        if let Some(timeout) = overrides.timeout {
            arguments.extend_from_slice(&u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).to_le_bytes());
        }
        if let Some(host) = overrides.host {
            push(&mut arguments, host);
        }
        abi::call_foreign_function(SELECT, &arguments)?;
        Ok(())
    }
}

const SELECT: &str = "fyke.route.select.v1";

fn push(arguments: &mut Vec<u8>, bytes: &[u8]) {
    arguments.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    arguments.extend_from_slice(bytes);
}
