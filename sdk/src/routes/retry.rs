//! When a request is sent again, how often, and after how long: Envoy's `config.route.v3.RetryPolicy`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{is_default, milliseconds, optional_milliseconds};

/// When a request is sent again.
///
/// ```
/// use std::time::Duration;
/// use fyke_sdk::{RetryOn, RetryPolicy};
///
/// let policy = RetryPolicy::on([RetryOn::GatewayError]).attempts(3).per_try_timeout(Duration::from_secs(1));
/// assert_eq!((policy.attempts, policy.avoid_previous_hosts), (3, true));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetryPolicy {
    /// After what. Nothing means never.
    pub on: Vec<RetryOn>,
    /// So many tries after the first one (Envoy's `num_retries`). Default: 1.
    pub attempts: u32,
    /// The time limit of each try; the route's `timeout` limits all of them together. Default: none.
    #[serde(
        rename = "per_try_timeout_ms",
        serialize_with = "optional_milliseconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub per_try_timeout: Option<Duration>,
    /// The longest time without a byte of a try's answer. Default: none.
    #[serde(
        rename = "per_try_idle_timeout_ms",
        serialize_with = "optional_milliseconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub per_try_idle_timeout: Option<Duration>,
    /// What [`RetryOn::StatusCodes`] means.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<u16>,
    /// What [`RetryOn::Headers`] means: any of these in the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderMatch>,
    /// How long to wait between tries. Default: as [`Backoff::default`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// Waits as long as the answer says. Default: not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limited_backoff: Option<RateLimitedBackoff>,
    /// Tries an endpoint that was not tried yet, where there is one. Default: yes: the endpoint that has just failed is
    /// the worst guess.
    pub avoid_previous_hosts: bool,
    /// Tries an endpoint of a priority of which none was tried yet, where there is one (Envoy's `previous_priorities`). Default: no.
    #[serde(skip_serializing_if = "is_default")]
    pub avoid_previous_priorities: bool,
    /// Further tries rather go to endpoints that do not have all of these labels (Envoy's `omit_host_metadata`). Default: they go to any.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub avoid_labels: BTreeMap<String, String>,
    /// How often an endpoint is picked anew for that before one that was tried is taken all the same. Default: 3.
    pub host_attempts: u32,
    /// A longer body is not kept for another try, in bytes. Default: as much as the listener keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer: Option<u64>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            on: Vec::new(),
            attempts: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            statuses: Vec::new(),
            headers: Vec::new(),
            backoff: None,
            rate_limited_backoff: None,
            avoid_previous_hosts: true,
            avoid_previous_priorities: false,
            avoid_labels: BTreeMap::new(),
            host_attempts: 3,
            buffer: None,
        }
    }
}

impl RetryPolicy {
    /// One more try after any of these.
    #[must_use]
    pub fn on(conditions: impl IntoIterator<Item = RetryOn>) -> Self {
        Self { on: conditions.into_iter().collect(), ..Self::default() }
    }

    /// So many tries after the first one.
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// The time limit of each try.
    #[must_use]
    pub fn per_try_timeout(self, timeout: Duration) -> Self {
        Self { per_try_timeout: Some(timeout), ..self }
    }

    /// How long to wait between tries.
    #[must_use]
    pub fn backoff(self, base: Duration, max: Duration) -> Self {
        Self { backoff: Some(Backoff { base, max }), ..self }
    }
}

/// After what a request is sent again: the words of Envoy's `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryOn {
    /// `5xx`: any such status, and no answer at all.
    #[serde(rename = "5xx")]
    ServerError,
    /// `gateway-error`: 502, 503, 504.
    GatewayError,
    /// `reset`: no answer, because the connection or the stream ended.
    Reset,
    /// `reset-before-request`: as `reset`, and nothing of the request was sent.
    ResetBeforeRequest,
    /// `connect-failure`: no connection to the endpoint.
    ConnectFailure,
    /// `envoy-ratelimited`: the answer has `x-envoy-ratelimited`.
    EnvoyRatelimited,
    /// `retriable-4xx`: 409.
    #[serde(rename = "retriable-4xx")]
    Retriable4xx,
    /// `refused-stream`: the endpoint refused the HTTP/2 stream before it looked at it.
    RefusedStream,
    /// `retriable-status-codes`: one of [`RetryPolicy::statuses`].
    #[serde(rename = "retriable-status-codes")]
    StatusCodes,
    /// `retriable-headers`: one of [`RetryPolicy::headers`].
    #[serde(rename = "retriable-headers")]
    Headers,
    /// `cancelled`: gRPC status 1.
    Cancelled,
    /// `deadline-exceeded`: gRPC status 4.
    DeadlineExceeded,
    /// `internal`: gRPC status 13.
    Internal,
    /// `resource-exhausted`: gRPC status 8.
    ResourceExhausted,
    /// `unavailable`: gRPC status 14.
    Unavailable,
}

impl RetryOn {
    /// All of them: those of `x-envoy-retry-on` first.
    pub const ALL: [Self; 15] = [
        Self::ServerError,
        Self::GatewayError,
        Self::Reset,
        Self::ResetBeforeRequest,
        Self::ConnectFailure,
        Self::EnvoyRatelimited,
        Self::Retriable4xx,
        Self::RefusedStream,
        Self::StatusCodes,
        Self::Headers,
        Self::Cancelled,
        Self::DeadlineExceeded,
        Self::Internal,
        Self::ResourceExhausted,
        Self::Unavailable,
    ];

    /// The word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServerError => "5xx",
            Self::GatewayError => "gateway-error",
            Self::Reset => "reset",
            Self::ResetBeforeRequest => "reset-before-request",
            Self::ConnectFailure => "connect-failure",
            Self::EnvoyRatelimited => "envoy-ratelimited",
            Self::Retriable4xx => "retriable-4xx",
            Self::RefusedStream => "refused-stream",
            Self::StatusCodes => "retriable-status-codes",
            Self::Headers => "retriable-headers",
            Self::Cancelled => "cancelled",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::Internal => "internal",
            Self::ResourceExhausted => "resource-exhausted",
            Self::Unavailable => "unavailable",
        }
    }

    /// By its word.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Whether it is about a gRPC status, as the words of `x-envoy-retry-grpc-on` are.
    #[must_use]
    pub const fn is_grpc(self) -> bool {
        matches!(
            self,
            Self::Cancelled | Self::DeadlineExceeded | Self::Internal | Self::ResourceExhausted | Self::Unavailable
        )
    }
}

/// Exponential, with full jitter (Envoy's `RetryBackOff`): before try `n` the wait is random, up to `base * (2^n - 1)`
/// or `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Backoff {
    /// Default: 25 ms.
    #[serde(rename = "base_ms", serialize_with = "milliseconds")]
    pub base: Duration,
    /// Default: ten times `base`.
    #[serde(rename = "max_ms", serialize_with = "milliseconds")]
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(25), max: Duration::from_millis(250) }
    }
}

/// Waits as long as a header of the answer says (Envoy's `RateLimitedRetryBackOff`). The first header that can be read
/// counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RateLimitedBackoff {
    /// The headers.
    pub headers: Vec<ResetHeader>,
    /// A longer wait is not believed, and the usual backoff applies. Default: 300 s.
    #[serde(rename = "max_ms", serialize_with = "milliseconds")]
    pub max: Duration,
}

/// A header that says when to try again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResetHeader {
    /// Its name, in lower case.
    pub name: String,
    /// What its value means.
    pub format: ResetFormat,
}

/// What the value of a [`ResetHeader`] means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetFormat {
    /// So many seconds from now.
    #[default]
    Seconds,
    /// At this moment, in seconds since the epoch.
    UnixTimestamp,
}

/// A condition on a header of an answer (Envoy's `HeaderMatcher`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeaderMatch {
    /// Its name, in lower case.
    pub name: String,
    /// The condition.
    #[serde(flatten)]
    pub test: HeaderTest,
    /// The opposite.
    #[serde(skip_serializing_if = "is_default")]
    pub invert: bool,
}

impl HeaderMatch {
    /// There is such a header.
    #[must_use]
    pub fn present(name: impl Into<String>) -> Self {
        Self { name: name.into(), test: HeaderTest::Present(true), invert: false }
    }
}

/// What a header's value must be like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderTest {
    /// This.
    Exact(String),
    /// Begins so.
    Prefix(String),
    /// Ends so.
    Suffix(String),
    /// Has this in it.
    Contains(String),
    /// The whole of it matches this expression.
    Regex(String),
    /// Is there (`true`), or not.
    Present(bool),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_has_one_word_everywhere() {
        for condition in RetryOn::ALL {
            assert_eq!(serde_json::to_value(condition).unwrap(), condition.name());
            assert_eq!(RetryOn::named(condition.name()), Some(condition));
        }
        assert_eq!(RetryOn::named("http3-post-connect-failure"), None);
    }

    #[test]
    fn a_policy_is_written_as_the_host_reads_it() {
        let policy = RetryPolicy {
            statuses: vec![418],
            headers: vec![
                HeaderMatch::present("x-again"),
                HeaderMatch { name: "x-b".into(), test: HeaderTest::Prefix("a".into()), invert: true },
            ],
            rate_limited_backoff: Some(RateLimitedBackoff {
                headers: vec![ResetHeader { name: "x-reset".into(), format: ResetFormat::UnixTimestamp }],
                max: Duration::from_mins(5),
            }),
            ..RetryPolicy::on([RetryOn::ServerError, RetryOn::StatusCodes])
                .per_try_timeout(Duration::from_secs(2))
                .backoff(Duration::from_millis(25), Duration::from_millis(250))
        };
        assert_eq!(
            serde_json::to_value(policy).unwrap(),
            serde_json::json!({
                "on": ["5xx", "retriable-status-codes"], "attempts": 1, "per_try_timeout_ms": 2000, "statuses": [418],
                "headers": [{"name": "x-again", "present": true}, {"name": "x-b", "prefix": "a", "invert": true}],
                "backoff": {"base_ms": 25, "max_ms": 250},
                "rate_limited_backoff": {"headers": [{"name": "x-reset", "format": "unix_timestamp"}], "max_ms": 300_000},
                "avoid_previous_hosts": true, "host_attempts": 3,
            })
        );
    }
}
