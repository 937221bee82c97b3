//! The configuration as it is written. CONFIG.md is the contract; `build.rs` checks what types cannot say.

use std::collections::BTreeMap;
use std::time::Duration;

use fyke_sdk::FilterConfig;
use fyke_sdk::units::{Percent, optional_duration};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Either `virtual_hosts`, or bare `routes` for every domain.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Routes by domain.
    pub virtual_hosts: Option<Vec<VirtualHost>>,
    /// Routes of one virtual host that serves every domain.
    pub routes: Option<Vec<Route>>,
}

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
}

/// A condition and what follows from it. Exactly one of `cluster`, `weighted_clusters`, `cluster_header`, `redirect`, `respond`.
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
    /// Where to, says this request header.
    pub cluster_header: Option<String>,
    /// Somewhere else, says the answer.
    pub redirect: Option<Redirect>,
    /// The answer itself.
    pub respond: Option<Respond>,
    /// What the upstream sees instead of path and host.
    pub rewrite: Option<Rewrite>,
    /// From the end of the request to the end of the response; `0s`: none. Default: 15 s.
    #[serde(default, deserialize_with = "optional_duration")]
    pub timeout: Option<Duration>,
    /// Not supported yet, and refused.
    pub retry: Option<serde::de::IgnoredAny>,
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

/// All that is given must hold.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The whole path.
    pub path: Option<String>,
    /// Its beginning.
    pub path_prefix: Option<String>,
    /// Its beginning, up to its end or a `/`.
    pub path_separated_prefix: Option<String>,
    /// The whole path, as a regular expression.
    pub path_regex: Option<String>,
    /// One of these methods.
    pub method: Option<OneOrMany>,
    /// Conditions on headers.
    #[serde(default)]
    pub headers: Vec<ValueMatch>,
    /// Conditions on query parameters.
    #[serde(default)]
    pub query: Vec<ValueMatch>,
    /// Conditions on cookies.
    #[serde(default)]
    pub cookies: Vec<ValueMatch>,
    /// This share of the requests, at random.
    pub fraction: Option<Percent>,
}

/// `GET`, or `[GET, HEAD]`.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Many.
    Many(Vec<String>),
}

/// A condition on a named value. At most one kind; none means `present: true`.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct ValueMatch {
    /// Of the header, parameter or cookie.
    pub name: String,
    /// The whole value.
    pub exact: Option<String>,
    /// Its beginning.
    pub prefix: Option<String>,
    /// Its end.
    pub suffix: Option<String>,
    /// A part of it.
    pub contains: Option<String>,
    /// The whole value, as a regular expression.
    pub regex: Option<String>,
    /// An integer in `start <= value < end`.
    pub range: Option<Range>,
    /// Whether there is a value at all.
    pub present: Option<bool>,
    /// The opposite.
    #[serde(default)]
    pub invert: bool,
}

/// `start <= value < end`.
#[derive(Debug, Clone, Copy, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first that matches.
    pub start: i64,
    /// The first that does not.
    pub end: i64,
}

/// One of several clusters.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Weighted {
    /// The cluster.
    pub cluster: String,
    /// Its share of the sum of all weights.
    pub weight: u32,
}

/// The parts of the new location; what is not given stays as it was.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
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

/// An answer.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// Default: empty.
    #[serde(default)]
    pub body: String,
    /// Default: `content-type: text/plain`, if there is a body.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// At most one of `prefix`, `path` and `regex`, and at most one of `host` and `host_header`. The query stays.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// In place of the matched prefix.
    pub prefix: Option<String>,
    /// The whole path.
    pub path: Option<String>,
    /// In place of what an expression finds.
    pub regex: Option<RegexRewrite>,
    /// The upstream's `:authority`.
    pub host: Option<String>,
    /// The upstream's `:authority`, taken from this request header.
    pub host_header: Option<String>,
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

/// In this order: remove, set, add.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct HeaderChanges {
    /// Makes it the only value.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Adds a value.
    #[serde(default)]
    pub add: BTreeMap<String, String>,
    /// Removes every value.
    #[serde(default)]
    pub remove: Vec<String>,
}
