//! `retry` of a route, as a filter defines it (`fyke.route.define.v1`).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName};
use serde::Deserialize;

use crate::cluster::choice::{Labels, labels};

/// One condition, under the name that Envoy has for it in `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// A status of 500 and above, or no answer at all.
    #[serde(rename = "5xx")]
    ServerError,
    /// 502, 503 or 504.
    GatewayError,
    /// No answer: the connection broke, or the time of this attempt was over.
    Reset,
    /// The same, but only when nothing of the request had been sent.
    ResetBeforeRequest,
    /// No connection.
    ConnectFailure,
    /// The answer has `x-envoy-ratelimited`.
    EnvoyRatelimited,
    /// 409.
    #[serde(rename = "retriable-4xx")]
    Retriable4xx,
    /// The endpoint says that it has not looked at the request (RFC 9113, section 8.7).
    RefusedStream,
    /// One of `statuses`.
    RetriableStatusCodes,
    /// One of `headers` fits the answer's.
    RetriableHeaders,
    /// `grpc-status` 1.
    Cancelled,
    /// `grpc-status` 4.
    DeadlineExceeded,
    /// `grpc-status` 13.
    Internal,
    /// `grpc-status` 8.
    ResourceExhausted,
    /// `grpc-status` 14.
    Unavailable,
}

/// When, how often and how soon a request is sent again. Defaults are Envoy's.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// Any of these is enough.
    #[serde(default)]
    pub on: BTreeSet<Condition>,
    /// Attempts beyond the first. Default 1.
    #[serde(default = "one")]
    pub attempts: u32,
    /// For each attempt, from when the request was complete to the head of the answer; 0: none.
    #[serde(default)]
    pub per_try_timeout_ms: u64,
    /// For each attempt, without a byte of the answer; 0: none.
    #[serde(default)]
    pub per_try_idle_timeout_ms: u64,
    /// For `retriable-status-codes`.
    #[serde(default)]
    pub statuses: BTreeSet<u16>,
    /// For `retriable-headers`.
    #[serde(default)]
    pub headers: Vec<HeaderCondition>,
    /// Between attempts.
    #[serde(default)]
    pub backoff: Backoff,
    /// Instead of `backoff`, when the answer says when to come back.
    #[serde(default)]
    pub rate_limited_backoff: Option<RateLimited>,
    /// Prefers endpoints that this request was not sent to (Envoy's `previous_hosts`).
    #[serde(default)]
    pub avoid_previous_hosts: bool,
    /// Prefers priorities none of whose endpoints this request was sent to (Envoy's `previous_priorities`).
    #[serde(default)]
    pub avoid_previous_priorities: bool,
    /// Once it is sent again, prefers endpoints that do not have all of these labels (Envoy's `omit_host_metadata`).
    #[serde(default, deserialize_with = "labels")]
    pub avoid_labels: Option<Arc<Labels>>,
    /// How many picks `avoid_labels` may refuse before any endpoint will do. Default 3.
    #[serde(default = "three")]
    pub host_attempts: u32,
    /// Bytes of the request's body that are held to be sent again; a longer one is not retried once they have gone. Default, and most:
    /// what the listener holds.
    #[serde(default)]
    pub buffer: Option<usize>,
}

/// `base` doubles with each attempt up to `max`; the wait is drawn from all that is shorter.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// Default 25 ms.
    #[serde(default = "base")]
    pub base_ms: u64,
    /// Default ten times `base`.
    #[serde(default)]
    pub max_ms: Option<u64>,
}

/// Waits that answers ask for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimited {
    /// The first that is there and readable counts.
    pub headers: Vec<ResetHeader>,
    /// A longer wait is not waited for: `backoff` counts instead. Default 300 s.
    #[serde(default = "five_minutes")]
    pub max_ms: u64,
}

/// Says when the endpoint wants to be asked again.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResetHeader {
    /// Such as `retry-after`.
    #[serde(deserialize_with = "name")]
    pub name: HeaderName,
    /// How its value reads. Default `seconds`; `retry-after` may be a date as well (RFC 9110, section 10.2.3).
    #[serde(default)]
    pub format: ResetFormat,
}

/// How a time is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetFormat {
    /// From now.
    #[default]
    Seconds,
    /// Since 1970.
    UnixTimestamp,
}

/// A condition on a header of the answer. Without any kind: it is there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderCondition {
    #[serde(deserialize_with = "name")]
    name: HeaderName,
    #[serde(default)]
    exact: Option<String>,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    suffix: Option<String>,
    #[serde(default)]
    contains: Option<String>,
    #[serde(default, deserialize_with = "expression")]
    regex: Option<regex_lite::Regex>,
    #[serde(default)]
    present: Option<bool>,
    #[serde(default)]
    invert: bool,
}

impl HeaderCondition {
    /// Whether the answer's headers fit.
    #[must_use]
    pub fn fits(&self, fields: &HeaderMap) -> bool {
        let value = fields.get(&self.name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let Some(value) = value else { return (self.present == Some(false)) != self.invert };
        let is = |wanted: &Option<String>, test: fn(&str, &str) -> bool| {
            wanted.as_deref().is_none_or(|wanted| test(&value, wanted))
        };
        let fits = self.present != Some(false)
            && is(&self.exact, |value, wanted| value == wanted)
            && is(&self.prefix, |value, wanted| value.starts_with(wanted))
            && is(&self.suffix, |value, wanted| value.ends_with(wanted))
            && is(&self.contains, |value, wanted| value.contains(wanted))
            && self.regex.as_ref().is_none_or(|regex| regex.is_match(&value));
        fits != self.invert
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            on: BTreeSet::new(),
            attempts: one(),
            per_try_timeout_ms: 0,
            per_try_idle_timeout_ms: 0,
            statuses: BTreeSet::new(),
            headers: Vec::new(),
            backoff: Backoff::default(),
            rate_limited_backoff: None,
            avoid_previous_hosts: false,
            avoid_previous_priorities: false,
            avoid_labels: None,
            host_attempts: three(),
            buffer: None,
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base_ms: base(), max_ms: None }
    }
}

impl RetryPolicy {
    /// `per_try_timeout`, where there is one.
    #[must_use]
    pub fn per_try_timeout(&self) -> Option<Duration> {
        (self.per_try_timeout_ms > 0).then(|| Duration::from_millis(self.per_try_timeout_ms))
    }

    /// How long an attempt may go without the head of an answer: until then there is nothing else that could move.
    #[must_use]
    pub fn patience(&self) -> Option<Duration> {
        self.per_try_timeout().into_iter().chain(self.per_try_idle_timeout()).min()
    }

    /// `per_try_idle_timeout`, where there is one.
    #[must_use]
    pub fn per_try_idle_timeout(&self) -> Option<Duration> {
        (self.per_try_idle_timeout_ms > 0).then(|| Duration::from_millis(self.per_try_idle_timeout_ms))
    }
}

fn one() -> u32 {
    1
}

fn three() -> u32 {
    3
}

fn base() -> u64 {
    25
}

fn five_minutes() -> u64 {
    300_000
}

fn name<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<HeaderName, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn expression<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<regex_lite::Regex>, D::Error> {
    // The whole value, as everywhere in routes.
    let whole = |pattern: String| regex_lite::Regex::new(&format!("^(?:{pattern})$"));
    Option::<String>::deserialize(deserializer)?.map(whole).transpose().map_err(serde::de::Error::custom)
}
