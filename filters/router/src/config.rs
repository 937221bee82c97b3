//! The configuration as it is written. CONFIG.md is the contract, Envoy's `config.route.v3` the vocabulary; `build`
//! checks what types cannot say.
//!
//! | file | owns |
//! |---|---|
//! | `config.rs` | the router, its virtual hosts, and their routes |
//! | `config/matching.rs` | Envoy's `RouteMatch` |
//! | `config/action.rs` | Envoy's `RouteAction`, `RedirectAction` and `DirectResponseAction` |
//! | `config/policy.rs` | retries, hedging, mirroring, hashing: what the host executes |

mod action;
mod matching;
mod policy;

use std::collections::BTreeMap;
use std::time::Duration;

use fyke_sdk::FilterConfig;
use fyke_sdk::units::{optional_duration, optional_size};
use serde::Deserialize;
use serde_json::{Map, Value};

pub use action::{GrpcTimeout, HeaderChanges, Redirect, RegexRewrite, Respond, Rewrite, Weighted, WeightedBy};
pub use matching::{Match, OneOrMany, PropertyMatch, Range, TlsMatch, ValueMatch};
pub use policy::{
    Backoff, Connect, CookieHash, Hash, Hedge, InternalRedirect, Mirror, Priority, RateLimitedBackoff, ResetFormat,
    Retry, Upgrade, UpgradeRule,
};

/// Either `virtual_hosts`, or bare `routes` for every domain.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Routes by domain.
    pub virtual_hosts: Option<Vec<VirtualHost>>,
    /// Routes of one virtual host that serves every domain.
    pub routes: Option<Vec<Route>>,
    /// Changes to the headers of every routed request, after those of its route and its virtual host.
    pub request_headers: Option<HeaderChanges>,
    /// Changes to the headers of every response, after those of its route and its virtual host.
    pub response_headers: Option<HeaderChanges>,
    /// Honours and removes `x-envoy-*` headers of requests that change timeouts, retries and hedging. Default: they
    /// pass like any other.
    pub envoy_headers: Option<EnvoyHeaders>,
    /// The longest `body` of a `respond`. Default: `4KiB`.
    #[serde(default, deserialize_with = "optional_size")]
    pub max_direct_response_body: Option<u64>,
}

/// There is nothing to choose yet.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct EnvoyHeaders {}

/// Domains, and their routes in order.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct VirtualHost {
    /// For logs and metrics. Default: the first domain.
    pub name: Option<String>,
    /// `api.example.com`, `*.example.com`, `example.*` or `*`.
    pub domains: Vec<String>,
    /// The first match wins.
    pub routes: Vec<Route>,
    /// Which requests are sent to `https` with 301 before any route is looked at. Default: `none`.
    #[serde(default)]
    pub require_tls: RequireTls,
    /// Changes to the request's headers, after those of the route.
    pub request_headers: Option<HeaderChanges>,
    /// Changes to the response's headers, after those of the route.
    pub response_headers: Option<HeaderChanges>,
    /// For routes without a `retry` of their own.
    pub retry: Option<Retry>,
    /// For routes without a `hedge` of their own.
    pub hedge: Option<Hedge>,
    /// For routes without a `mirror` of their own.
    pub mirror: Option<Vec<Mirror>>,
    /// Configuration of later filters, for routes that have none of their own for the filter.
    #[serde(default)]
    pub filters: Map<String, Value>,
    /// Tells the upstream in `x-envoy-attempt-count` which attempt it sees. Default: no.
    #[serde(default)]
    pub include_request_attempt_count: bool,
}

/// Which requests must come over TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum RequireTls {
    /// None.
    #[default]
    None,
    /// Those without `x-envoy-internal: true`.
    ExternalOnly,
    /// All.
    All,
}

/// A condition and what follows from it. Exactly one of `cluster`, `weighted_clusters`, `cluster_header`, `redirect`,
/// `respond`.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// For logs and metrics. Default: the route's place, as in `virtual_hosts[0].routes[3]`.
    pub name: Option<String>,
    /// Default: every request.
    #[serde(default)]
    pub r#match: Match,
    /// Where to.
    pub cluster: Option<String>,
    /// Where to, by shares.
    pub weighted_clusters: Option<Vec<Weighted>>,
    /// What decides among `weighted_clusters`. Default: `random`.
    pub weighted_by: Option<WeightedBy>,
    /// Where to, says this request header.
    pub cluster_header: Option<String>,
    /// Somewhere else, says the answer.
    pub redirect: Option<Redirect>,
    /// The answer itself.
    pub respond: Option<Respond>,
    /// What the upstream sees instead of path and host.
    pub rewrite: Option<Rewrite>,
    /// The upstream's `:authority` is the name of the endpoint that was picked. Default: no.
    #[serde(default)]
    pub auto_host: bool,
    /// Appends the request's host to `x-forwarded-host` where the upstream gets another one. Default: no.
    #[serde(default)]
    pub append_x_forwarded_host: bool,
    /// From the end of the request to the end of the response; `0s`: none. Default: 15 s.
    #[serde(default, deserialize_with = "optional_duration")]
    pub timeout: Option<Duration>,
    /// The longest time without a byte in either direction; `0s`: none. Default: the listener's.
    #[serde(default, deserialize_with = "optional_duration")]
    pub idle_timeout: Option<Duration>,
    /// From the beginning of the request to the end of the response; `0s`: none. Default: none.
    #[serde(default, deserialize_with = "optional_duration")]
    pub max_stream_duration: Option<Duration>,
    /// A `grpc-timeout` header of the request is the timeout. Default: it is not looked at.
    pub grpc_timeout: Option<GrpcTimeout>,
    /// When a request is sent again. Default: the virtual host's, else never.
    pub retry: Option<Retry>,
    /// When a request is sent a second time while the first is under way. Default: the virtual host's, else never.
    pub hedge: Option<Hedge>,
    /// Clusters that get a copy. Default: the virtual host's, else none.
    pub mirror: Option<Vec<Mirror>>,
    /// What `ring_hash` and `maglev` pick an endpoint by. Default: at random.
    #[serde(default)]
    pub hash: Vec<Hash>,
    /// Only endpoints with all of these labels.
    #[serde(default)]
    pub endpoint_labels: BTreeMap<String, String>,
    /// The request header that names an endpoint of the cluster, as `ip:port`. Without it, and when it names none, the
    /// load balancer picks.
    pub endpoint_header: Option<String>,
    /// Which circuit breakers count the request. Default: `default`.
    pub priority: Option<Priority>,
    /// Protocols that the stream may change to, or may not. Default: any.
    #[serde(default)]
    pub upgrades: Vec<Upgrade>,
    /// A CONNECT ends here, and its bytes go to an endpoint of the cluster. Needs `match: { connect: true }`. Default: it is forwarded
    /// to the cluster, whose endpoints are proxies.
    pub connect: Option<Connect>,
    /// Redirects of the upstream that the proxy follows itself. Default: none.
    pub internal_redirect: Option<InternalRedirect>,
    /// Changes to the request's headers.
    pub request_headers: Option<HeaderChanges>,
    /// Changes to the response's headers.
    pub response_headers: Option<HeaderChanges>,
    /// Readable by other filters as `route_metadata.<key>`.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Configuration of later filters for this route.
    #[serde(default)]
    pub filters: Map<String, Value>,
}
