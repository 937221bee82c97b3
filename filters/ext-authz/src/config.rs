//! The configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use fyke_sdk::FilterConfig;
use fyke_sdk::units::{Percent, optional_duration, optional_size};
use serde::Deserialize;

/// Exactly one of `http` and `grpc`; what is `disabled` needs neither.
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
    /// Whether requests that go on because the service cannot be asked say so to the upstream, with `x-envoy-auth-failure-mode-allowed: true`. What a client sends under this name then never gets there. Default: false.
    #[serde(default)]
    pub failure_header: bool,
    /// Shows the service the request's body, which is held until it has answered. Default: it sees the head alone.
    pub body: Option<Body>,
    /// The share of requests that the service is asked about, drawn for each. Default: all.
    pub fraction: Option<Percent>,
    /// What becomes of the others. Default: allow.
    #[serde(default)]
    pub unasked: Unasked,
    /// Lets all requests go on as they are, unasked: for routes. Default: false.
    #[serde(default)]
    pub disabled: bool,
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

/// What becomes of requests that the service is not asked about, by `fraction`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Unasked {
    /// They go on.
    #[default]
    Allow,
    /// They are denied, with `status_on_error`.
    Deny,
}

/// How much of a body the service sees. Upgrades, CONNECT and requests without a body are asked about at once.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Body {
    /// The most that it sees. A longer body is answered with 413. Default: `8KiB`.
    #[config(schema = r#""anyOf":[{"type":"string"},{"type":"null"}]"#)]
    #[serde(deserialize_with = "optional_size")]
    pub max: Option<u64>,
    /// Of a longer body it sees the first bytes instead. Default: false.
    pub partial: bool,
    /// Over gRPC: sent as bytes (`raw_body`), not as text (`body`), in which what is not UTF-8 is replaced. Default: false.
    pub as_bytes: bool,
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
    /// Headers that the service gets besides, in place of the request's own. `%{path}` is a property of the stream, `%%` a percent sign. Default: none.
    #[serde(default)]
    pub headers_to_add: BTreeMap<String, String>,
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
