//! `register:` as an operator writes it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Announces a service that is behind this proxy at a registry (`fyke registry`), for as long as the proxy runs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The service that is here.
    pub service: String,
    /// Where others reach it: IP address and port, such as `10.0.0.1:8080`.
    pub address: String,
    /// The registry, such as `http://127.0.0.1:8900`.
    pub registry: String,
    /// File with the service's token, read for each heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
    /// What it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// `az`, `region`, `canary`, `load_balancing_weight`, `instance_id` and others.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub tags: serde_json::Map<String, serde_json::Value>,
    /// What is reported with each heartbeat of how busy the host is. Default `machine`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<RegisterLoad>,
    /// Authorities that the registry's certificate must come from. Default: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Certificate that names the service, in place of a token; with `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What is reported of how busy the host is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegisterLoad {
    /// Processors and memory of the machine.
    Machine,
    /// Those of the proxy's control group (version 2) and its limits, as in a container.
    Group,
    /// Nothing.
    None,
}
