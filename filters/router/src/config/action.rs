//! What becomes of a request.

use std::collections::BTreeMap;
use std::time::Duration;

use fyke_sdk::FilterConfig;
use fyke_sdk::units::optional_duration;
use serde::Deserialize;
use serde_json::{Map, Value};

/// One of several clusters.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Weighted {
    /// The cluster.
    pub cluster: Option<String>,
    /// Instead: the request header that names the cluster.
    pub cluster_header: Option<String>,
    /// Its share of the sum of all weights.
    pub weight: u32,
    /// The `:authority` that this cluster gets, instead of what `rewrite` says.
    pub host: Option<String>,
    /// Changes to the request's headers, before those of the route.
    pub request_headers: Option<HeaderChanges>,
    /// Changes to the response's headers, before those of the route.
    pub response_headers: Option<HeaderChanges>,
    /// Only endpoints with all of these labels, beside those of the route.
    #[serde(default)]
    pub endpoint_labels: BTreeMap<String, String>,
    /// Configuration of later filters, in place of the route's for the same filter.
    #[serde(default)]
    pub filters: Map<String, Value>,
}

/// What decides among `weighted_clusters`.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum WeightedBy {
    /// A random number.
    Random,
    /// The route's `hash`; a random number where a request has none.
    Hash,
    /// The number in this request header, so that several proxies decide alike; a random one where there is none.
    Header(String),
}

/// The parts of the new location; what is not given stays as it was.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// Short for `scheme: https`.
    #[serde(default)]
    pub https: bool,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Host, without its port.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// The whole path. A query in it replaces the request's.
    pub path: Option<String>,
    /// In place of the matched prefix.
    pub prefix: Option<String>,
    /// In place of what an expression finds.
    pub regex: Option<RegexRewrite>,
    /// Drops the query.
    #[serde(default)]
    pub strip_query: bool,
    /// 301, 302, 303, 307 or 308. Default: 301.
    #[serde(default = "moved_permanently")]
    pub code: u16,
}

fn moved_permanently() -> u16 {
    301
}

/// An answer. At most one of `body` and `body_format`.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// As it is. Default: empty.
    #[serde(default)]
    pub body: String,
    /// With properties and commands in it, as in values of headers.
    pub body_format: Option<String>,
    /// Default: `content-type: text/plain`, if there is a body.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// At most one of `prefix`, `path`, `path_template` and `regex`, and one of `host`, `host_header` and `host_regex`. The
/// query stays.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// In place of the matched prefix.
    pub prefix: Option<String>,
    /// The whole path.
    pub path: Option<String>,
    /// The whole path, with names of `match.path_template` in it.
    pub path_template: Option<String>,
    /// In place of what an expression finds.
    pub regex: Option<RegexRewrite>,
    /// The upstream's `:authority`.
    pub host: Option<String>,
    /// The upstream's `:authority`, taken from this request header.
    pub host_header: Option<String>,
    /// The upstream's `:authority`, made of the path without its query.
    pub host_regex: Option<RegexRewrite>,
}

/// Every match of `pattern` in the path, without its query, becomes `substitution`, in which `\1` is the first group.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct RegexRewrite {
    /// The expression.
    pub pattern: String,
    /// Literal, but for `\0` to `\9` and `\\`.
    pub substitution: String,
}

/// In this order: remove, set, `set_if_present`, add, `add_if_absent`. In values, `%{path}` is a property,
/// `%REQ(name)%` and the like are Envoy's commands, and `%%` is a percent sign.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderChanges {
    /// Makes it the only value.
    pub set: BTreeMap<String, String>,
    /// Makes it the only value where there is one.
    pub set_if_present: BTreeMap<String, String>,
    /// Adds a value.
    pub add: BTreeMap<String, String>,
    /// Adds a value where there is none.
    pub add_if_absent: BTreeMap<String, String>,
    /// Removes every value.
    pub remove: Vec<String>,
}

/// What a `grpc-timeout` header of the request may do.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct GrpcTimeout {
    /// A longer timeout counts as this. Default: no limit.
    #[serde(default, deserialize_with = "optional_duration")]
    pub max: Option<Duration>,
    /// Taken off a timeout that is longer than this, so that the client hears from the proxy before it gives up.
    /// Default: `0s`.
    #[serde(default, deserialize_with = "optional_duration")]
    pub offset: Option<Duration>,
}
