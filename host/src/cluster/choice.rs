//! What a request asks of the endpoint that it goes to.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use serde::Deserialize;

/// Keys and values.
pub type Labels = [(String, String)];

/// Reads them from an object; none: any will do.
///
/// # Errors
/// It is no object of texts.
pub fn labels<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<Labels>>, D::Error> {
    let labels = BTreeMap::<String, String>::deserialize(deserializer)?;
    Ok((!labels.is_empty()).then(|| labels.into_iter().collect()))
}

/// What a request asks of the endpoint that it goes to. The default asks for nothing.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// For balancers that hash: the same number goes to the same endpoint. Without one they draw.
    pub hash: Option<u64>,
    /// This one, whatever the balancer says, as long as it belongs to the cluster and is not unhealthy (Envoy's override host).
    pub endpoint: Option<SocketAddr>,
    /// Only endpoints with these labels (Envoy's `metadata_match`).
    pub labels: Option<Arc<Labels>>,
    /// Rather not these: the request was there already.
    pub avoid: Vec<SocketAddr>,
    /// Nor any of their priorities (Envoy's `previous_priorities`).
    pub avoid_priorities: bool,
    /// Nor those with all of these labels, if another one is found in so many picks (Envoy's `omit_host_metadata`).
    pub avoid_labels: Option<(Arc<Labels>, u32)>,
    /// The endpoint's own name is presented as host (Envoy's `auto_host_rewrite`).
    pub presents_host: bool,
    /// Who is told to be the client, where the cluster tells (`proxy_protocol`): its address, and the one that it connected to.
    pub client: Option<(SocketAddr, SocketAddr)>,
    /// Which circuit breakers count it.
    pub priority: Priority,
}

/// Which circuit breakers count a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// The usual ones.
    #[default]
    Default,
    /// Those under `high`.
    High,
}

impl Priority {
    /// The word for metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::High => "high",
        }
    }
}
