//! What the host does for a route: retries, hedging, mirroring, picking an endpoint.

use std::collections::BTreeMap;
use std::time::Duration;

use fyke_sdk::FilterConfig;
use fyke_sdk::units::{Percent, optional_duration, optional_size};
use serde::Deserialize;

use super::{RegexRewrite, ValueMatch};

/// When a request is sent again.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// After what: the words of Envoy's `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.
    pub on: Vec<String>,
    /// So many tries after the first. Default: 1.
    pub attempts: Option<u32>,
    /// The time limit of each try. Default: none.
    #[serde(default, deserialize_with = "optional_duration")]
    pub per_try_timeout: Option<Duration>,
    /// The longest time without a byte of a try's answer. Default: none.
    #[serde(default, deserialize_with = "optional_duration")]
    pub per_try_idle_timeout: Option<Duration>,
    /// Statuses that `retriable-status-codes` means.
    #[serde(default)]
    pub statuses: Vec<u16>,
    /// Headers of the answer that `retriable-headers` means: one of them suffices.
    #[serde(default)]
    pub headers: Vec<ValueMatch>,
    /// Only requests that meet one of these are sent again. Default: all.
    #[serde(default)]
    pub request_headers: Vec<ValueMatch>,
    /// How long to wait between tries. Default: `{ base: 25ms, max: 250ms }`.
    pub backoff: Option<Backoff>,
    /// Waits as long as the answer says. Default: not.
    pub rate_limited_backoff: Option<RateLimitedBackoff>,
    /// Takes an endpoint that was not tried yet, where there is one. Default: yes.
    pub avoid_previous_hosts: Option<bool>,
    /// Takes an endpoint of a priority of which none was tried yet, where there is one. Default: no.
    #[serde(default)]
    pub avoid_previous_priorities: bool,
    /// Rather takes endpoints that do not have all of these labels. Default: any.
    #[serde(default)]
    pub avoid_labels: BTreeMap<String, String>,
    /// How often an endpoint is picked anew for that. Default: 3.
    pub host_attempts: Option<u32>,
    /// A longer body is not kept for another try. Default: as much as the listener keeps.
    #[serde(default, deserialize_with = "optional_size")]
    pub buffer: Option<u64>,
}

/// Exponential, with full jitter.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// Default: 25 ms.
    #[serde(default, deserialize_with = "optional_duration")]
    pub base: Option<Duration>,
    /// Default: ten times `base`.
    #[serde(default, deserialize_with = "optional_duration")]
    pub max: Option<Duration>,
}

/// Headers of the answer that say when to try again.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct RateLimitedBackoff {
    /// The first that can be read counts.
    pub headers: Vec<ResetHeader>,
    /// A longer wait is not believed. Default: 300 s.
    #[serde(default, deserialize_with = "optional_duration")]
    pub max: Option<Duration>,
}

/// A header that says when to try again.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct ResetHeader {
    /// Its name.
    pub name: String,
    /// Default: `seconds`.
    #[serde(default)]
    pub format: ResetFormat,
}

/// What such a header's value means.
#[derive(Debug, Clone, Copy, Default, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum ResetFormat {
    /// So many seconds from now.
    #[default]
    Seconds,
    /// At this moment, in seconds since the epoch.
    UnixTimestamp,
}

/// When a second request is sent while the first is under way.
#[derive(Debug, Clone, Copy, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Hedge {
    /// When a try exceeds `retry.per_try_timeout`.
    #[serde(default)]
    pub on_per_try_timeout: bool,
}

/// A cluster that gets a copy.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The cluster.
    pub cluster: Option<String>,
    /// Instead: the request header that names the cluster. Requests whose header is missing, or names none, are not copied.
    pub cluster_header: Option<String>,
    /// Of this share of the requests. Default: `100%`.
    pub fraction: Option<Percent>,
    /// Leaves the copy's host as it is. Default: it has `-shadow` at its end.
    #[serde(default)]
    pub keep_host: bool,
}

/// A part of a request that is hashed. Exactly one of `header`, `cookie`, `query`, `source_address`.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Hash {
    /// All values of this header.
    pub header: Option<String>,
    /// What is hashed in place of each of them: every match of an expression becomes something else.
    pub header_regex: Option<RegexRewrite>,
    /// The value of this cookie.
    pub cookie: Option<CookieHash>,
    /// The first value of this query parameter.
    pub query: Option<String>,
    /// The client's address, without its port.
    pub source_address: Option<bool>,
    /// Where this is there, or something before it, what follows does not count. Default: no.
    #[serde(default)]
    pub terminal: bool,
}

/// A cookie that keeps a client with its endpoint.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct CookieHash {
    /// Its name.
    pub name: String,
    /// A client without the cookie gets one for so long; `0s`: until it is closed. Default: it gets none.
    #[serde(default, deserialize_with = "optional_duration")]
    pub ttl: Option<Duration>,
    /// The new cookie's path.
    pub path: Option<String>,
    /// Its other attributes, as `SameSite: Strict`; an empty value is left out, as in `HttpOnly: ""`.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// Which circuit breakers count a request.
#[derive(Debug, Clone, Copy, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Those of most.
    Default,
    /// Those that are kept for important ones.
    High,
}

/// `websocket`, or `{ type: websocket, enabled: false }`.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(untagged)]
pub enum Upgrade {
    /// May be.
    Enabled(String),
    /// May be, or may not.
    Said(UpgradeRule),
}

/// A protocol, and whether it may be.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct UpgradeRule {
    /// The word of the `upgrade` header, or `connect`.
    pub r#type: String,
    /// Default: yes.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn yes() -> bool {
    true
}

/// There is nothing to choose yet.
#[derive(Debug, Clone, Copy, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Connect {}

/// Redirects of the upstream that the proxy follows itself.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct InternalRedirect {
    /// Of these statuses: 301, 302, 303, 307, 308. Default: 302.
    pub codes: Option<Vec<u16>>,
    /// So many, one after the other. Default: 1.
    pub max_hops: Option<u32>,
    /// Also from `https` to `http` and back. Default: no.
    #[serde(default)]
    pub cross_scheme: bool,
    /// Of these only from `https` to `http`. Default: both.
    #[serde(default)]
    pub safe_cross_scheme: bool,
    /// Not to a route that a redirect has led to before. Default: to any.
    #[serde(default)]
    pub avoid_previous_routes: bool,
    /// Only to routes of these names. Default: to any.
    pub allowed_routes: Option<Vec<String>>,
    /// Headers of the answer that the request takes along; those that it does not have are taken off the request.
    #[serde(default)]
    pub copy_headers: Vec<String>,
}
