//! The configuration.

mod answer;
mod redis;
mod rule;
mod source;

use fyke_limiter::Span;
use fyke_sdk::FilterConfig;
use serde::Deserialize;

pub use answer::{Answer, Shown};
pub use redis::Redis;
pub use rule::{Condition, Cost, CostSource, Part, Rule};
pub use source::{Mask, Source};

/// Who may do how much.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Rules of the same name share what they count where they have the same domain: in all configurations of this filter, those of routes among them.
    /// Default: empty.
    pub domain: String,
    /// Which of the rules that are about a request have a say. Default: `all`.
    pub apply: Apply,
    /// The rules, at most 100.
    pub rules: Vec<Rule>,
    /// Those that any of these is true of pass without being counted. Default: none.
    pub allow: Vec<Condition>,
    /// Those that any of these is true of are refused, unless `allow` has them. Default: none.
    pub deny: Vec<Condition>,
    /// The service that rules with `global: true` ask.
    pub global: Option<Global>,
    /// Redis servers that count rules with `global: true`, in the place of a service.
    pub redis: Option<Redis>,
    /// What clients are told.
    pub answer: Answer,
    /// What becomes of requests while limits cannot be looked up. Default: `open`.
    pub failure_mode: FailureMode,
    /// How many may wait at the same time, on one worker, by `limit.delay`; more are refused. Default: 1000.
    pub max_delayed: Option<u32>,
}

/// Which rules have a say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Apply {
    /// All that are about a request must let it pass; where one refuses, none is charged.
    #[default]
    All,
    /// The one with most conditions, then with most parts of its key, then the first.
    MostSpecific,
}

/// What becomes of requests while limits cannot be looked up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum FailureMode {
    /// They go on.
    #[default]
    Open,
    /// They are refused.
    Closed,
    /// Of global rules: their own `limit` is applied, by this process alone. Those without one go on.
    Local,
}

/// A service of Envoy's protocol, `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`.
#[derive(Debug, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Global {
    /// The service; needs `allow: { clusters: [...] }`, and `protocol: http2` in the cluster.
    pub cluster: String,
    /// The domain that the service is told. Default: the filter's own, which must not be empty then.
    pub domain: Option<String>,
    /// How long a request waits for it. Default: 20ms.
    pub timeout: Option<Span>,
    /// What becomes of requests while it cannot be asked. Default: the filter's own.
    pub failure_mode: Option<FailureMode>,
    /// With `failure_mode: local`: how many processes ask the same service; each applies so many times less than its rules say. Default: 1.
    pub peers: Option<u32>,
}
