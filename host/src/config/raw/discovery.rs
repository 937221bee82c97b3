//! `discovery:` of a cluster as an operator writes it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Endpoint;
use crate::config::units::Duration;

/// Where endpoints are found: exactly one of `dns`, `srv`, `file`, `rest`, `sentinel` and `xds`. What cannot be reached, and an empty list, change nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Discovery {
    /// Name and port, such as `users.internal:8080`: its addresses are the endpoints. Or a list of names and addresses, each with what an endpoint has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsNames>,
    /// Name of a service, such as `_users._tcp.internal`: its SRV records name the endpoints with port, priority and weight (RFC 2782).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srv: Option<String>,
    /// File with `{"hosts": [{"ip_address": "10.0.0.1", "port": 8080, "tags": {"az": "eu-1a", "load_balancing_weight": 2}}]}`. It is
    /// followed when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// URL of a registry: `.../v1/registration/SERVICE` is asked for a list as in `file`, `.../v3/discovery:endpoints` as Envoy's REST EDS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest: Option<String>,
    /// File with a token that a registry is shown (`authorization: Bearer`), read each time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
    /// Authorities that a registry's certificate must come from. Default: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Certificate that a registry is shown; with `key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Name of a primary that Redis Sentinel watches: whoever is the primary is the endpoint. `servers` are the sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<String>,
    /// As whom to log in at sentinels. Default: their default user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password at sentinels. Default: nobody logs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Name of one of `control_planes`, which is asked for the service's assignment (Envoy's EDS). An assignment without endpoints means
    /// what it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xds: Option<String>,
    /// Name of the service at a control plane, or at a registry that is asked as Envoy's REST EDS. Default: the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How long an answer holds. Default: what DNS says (1 s to 10 min), else 5s for DNS, 30s for a registry and 1s for sentinels. A registry or a sentinel is asked after
    /// this and up to as much again, drawn anew each time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Duration>,
    /// What the addresses of a name are. Default strict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<DnsMode>,
    /// Which addresses are asked for. Default all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// Addresses of name servers, such as `10.0.0.2:53`. Default: the system's, and its hosts file. With `sentinel`: those of the sentinels, such as
    /// `10.0.0.2:26379`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub servers: Vec<String>,
}

/// One name, or several.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum DnsNames {
    /// One.
    One(String),
    /// Several, and addresses among them; what is said of one holds for each of its addresses.
    Several(#[schemars(length(min = 1, max = 256))] Vec<Endpoint>),
}

/// What the addresses of a name are.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DnsMode {
    /// Each is an endpoint (Envoy's STRICT_DNS).
    Strict,
    /// All are the same endpoint; new connections go to the one that is named first (Envoy's LOGICAL_DNS).
    Logical,
}

/// Families of addresses.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4 and IPv6.
    All,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}
