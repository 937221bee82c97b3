//! The configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use fyke_sdk::FilterConfig;
use fyke_sdk::units::optional_duration;
use serde::Deserialize;

/// Exactly one of `http` and `grpc`.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Asks over HTTP.
    pub http: Option<Http>,
    /// Asks over gRPC, in Envoy's protocol.
    pub grpc: Option<Grpc>,
    /// What becomes of requests while the service cannot be asked. Default: deny.
    #[serde(default)]
    pub failure_mode: FailureMode,
    /// The status that they are denied with. Default: 403.
    #[serde(default = "forbidden")]
    pub status_on_error: u16,
}

fn forbidden() -> u16 {
    403
}

/// What becomes of requests while the service cannot be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum FailureMode {
    /// They are denied.
    #[default]
    Deny,
    /// They go on.
    Allow,
}

/// 2xx allows, 5xx is a failure of the service, and everything else is the answer for the client.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// The service; needs `allow: { clusters: [...] }`.
    pub cluster: String,
    /// Goes before the request's own path. Default: nothing.
    #[serde(default)]
    pub path_prefix: String,
    /// Request headers that the service sees, beside the method, the path, the host and `authorization`. Default: none.
    #[serde(default)]
    pub request_headers: Vec<String>,
    /// Headers of the service's answer that the upstream gets. What a client sends under these names never gets there.
    #[serde(default)]
    pub upstream_headers: Vec<String>,
    /// Headers of a denial that the client gets; `*` in place of names is all but those that frame the message. Default: `www-authenticate`, `location`, `set-cookie` and `content-type`.
    #[serde(default = "of_denials")]
    pub client_headers: Vec<String>,
    /// How long the service may take. Default: 200 ms.
    #[serde(default, deserialize_with = "optional_duration")]
    pub timeout: Option<Duration>,
}

fn of_denials() -> Vec<String> {
    ["www-authenticate", "location", "set-cookie", "content-type"].map(str::to_owned).to_vec()
}

/// `envoy.service.auth.v3.Authorization/Check`
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Grpc {
    /// The service; needs `allow: { clusters: [...] }`.
    pub cluster: String,
    /// Told to the service with every request, as `context_extensions`. Default: nothing.
    #[serde(default)]
    pub context_extensions: BTreeMap<String, String>,
    /// How long the service may take. Default: 200 ms.
    #[serde(default, deserialize_with = "optional_duration")]
    pub timeout: Option<Duration>,
}
