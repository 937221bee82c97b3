//! How the service runs: a value that is deserialised, or made by a program.

mod address;
mod redis;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use fyke_limiter::Span;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Visitor};

pub(crate) use address::Address;
pub(crate) use redis::Deployment;
pub use redis::{FailureMode, RedisSettings, SentinelSettings};

use crate::error::Mistakes;
use crate::yaml::{self, Mistake, Place};

/// How the service runs. Unknown keys are errors.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A file of rules, or a directory with one for each domain.
    pub rules: PathBuf,
    /// How often it is looked whether the rules (and certificates) have changed. Default: `1s`, a quarter more or less.
    #[serde(default = "poll")]
    pub poll: Span,
    /// Where it listens. Default: everything on `127.0.0.1:8081`.
    #[serde(default = "listeners")]
    pub listeners: Vec<ListenerSettings>,
    /// How much memory the counters of this process may take. Default: 150 MB, which is 3.6 million counters; it begins small.
    #[serde(default = "memory")]
    pub memory: Bytes,
    /// Where several services share their counters. Default: this process has its own.
    #[serde(default)]
    pub redis: Option<RedisSettings>,
    /// Whether hits over a limit count. Default: they do.
    #[serde(default)]
    pub over_limit_hits: OverLimitHits,
    /// From which part of its limit on a rule counts `near_limit`, from 0 to 1. Default: 0.8.
    #[serde(default = "near_limit_ratio")]
    pub near_limit_ratio: f64,
    /// Whether everything passes, and only metrics say what would not. Default: no.
    #[serde(default)]
    pub shadow_mode: bool,
    /// Whether answers have headers for the downstream. Default: no.
    #[serde(default)]
    pub response_headers: ResponseHeaders,
    /// What clients may do to the service.
    #[serde(default)]
    pub limits: ClientLimits,
}

/// One address.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerSettings {
    /// Where.
    pub address: SocketAddr,
    /// What is served there. Default: everything.
    #[serde(default = "everything")]
    pub serves: BTreeSet<Serves>,
    /// Certificates. Default: no TLS.
    #[serde(default)]
    pub tls: Option<TlsSettings>,
}

/// What a listener serves. `GET /healthcheck` is served everywhere; its reasons only with [`Serves::Admin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Serves {
    /// `envoy.service.ratelimit.v3.RateLimitService` and `grpc.health.v1.Health`.
    Grpc,
    /// `POST /json`.
    Json,
    /// `GET /rlconfig` and `GET /metrics`.
    Admin,
}

/// Certificates of a listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// The certificate chain, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// Who signs the certificates of clients, in PEM. Clients without one are refused. Default: clients need none.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// Whether hits over a limit count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverLimitHits {
    /// Each descriptor is counted by itself, over its limit or not: what envoyproxy/ratelimit does. Hits that are reported after the fact need
    /// it.
    #[default]
    Count,
    /// Where one descriptor of a request is over its limit, none of them is counted.
    Ignore,
}

/// Headers for the downstream: of the descriptor that is over its limit, or else of the one that has least left.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResponseHeaders {
    /// Whether there are any. Default: no.
    pub enabled: bool,
    /// How many in each unit. Default: `x-ratelimit-limit`.
    pub limit: String,
    /// How many are left. Default: `x-ratelimit-remaining`.
    pub remaining: String,
    /// Seconds until the count begins anew. Default: `x-ratelimit-reset`.
    pub reset: String,
}

/// What clients may do to the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientLimits {
    /// Connections at the same time; more are closed at once. Default: 10000.
    pub connections: usize,
    /// Requests at the same time on one HTTP/2 connection. Default: 1000.
    pub streams: u32,
    /// Bytes of a request. Default: 64 KiB.
    pub request: Bytes,
    /// Descriptors of a request. Default: 256.
    pub descriptors: usize,
    /// Entries of a descriptor. Default: 32.
    pub entries: usize,
    /// How long a connection may have no request before it is closed. Default: `1h`.
    pub idle_timeout: Span,
    /// How old a connection may get, a tenth more or less, before it is told to go (HTTP/2 GOAWAY), so that clients look names up anew.
    /// Default: as old as it likes.
    pub connection_age: Option<Span>,
    /// How long requests may take to end when the service ends. Default: `10s`.
    pub drain: Span,
}

/// A number of bytes: `150000000`, `"150MB"`, `"64KiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub usize);

impl Settings {
    /// With rules, and everything else by default.
    #[must_use]
    pub fn new(rules: impl Into<PathBuf>) -> Self {
        Self {
            rules: rules.into(),
            poll: poll(),
            listeners: listeners(),
            memory: memory(),
            redis: None,
            over_limit_hits: OverLimitHits::default(),
            near_limit_ratio: near_limit_ratio(),
            shadow_mode: false,
            response_headers: ResponseHeaders::default(),
            limits: ClientLimits::default(),
        }
    }

    /// Reads a file's text. `file` is what mistakes call it.
    ///
    /// # Errors
    /// What is wrong, with its line.
    pub fn from_yaml(file: &str, text: &str) -> Result<Self, Mistakes> {
        let wrong = |place: Place, path: String, message: String| {
            let (line, column) = (place.line, place.column);
            Mistakes(vec![Mistake { file: file.to_owned(), line, column, path, message }])
        };
        let root = yaml::parse(text).map_err(|mistake| Mistakes(vec![Mistake { file: file.to_owned(), ..mistake }]))?;
        let json = root.to_json();
        let settings: Self = serde_path_to_error::deserialize(&json).map_err(|error| {
            let path = if error.path().iter().len() == 0 { String::new() } else { error.path().to_string() };
            let message = error.into_inner().to_string();
            let message = if path.starts_with("redis") { redis::without_value(&message) } else { message };
            wrong(root.find(&path), path, message)
        })?;
        settings.check().map_err(|(path, message)| wrong(root.find(path), path.to_owned(), message))?;
        Ok(settings)
    }

    /// What makes no sense although its type fits: where, and why.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        if !(0.0..=1.0).contains(&self.near_limit_ratio) {
            return Err(("near_limit_ratio", format!("must be from 0 to 1, not {}", self.near_limit_ratio)));
        }
        if self.listeners.is_empty() {
            return Err(("listeners", "must have one at least".to_owned()));
        }
        if self.limits.connections == 0 {
            return Err(("limits.connections", "must be above zero".to_owned()));
        }
        if self.limits.request.0 == 0 || self.limits.request.0 > 64 << 20 {
            return Err(("limits.request", "must be above zero and at most 64MiB".to_owned()));
        }
        let headers = &self.response_headers;
        for (path, name) in [
            ("response_headers.limit", &headers.limit),
            ("response_headers.remaining", &headers.remaining),
            ("response_headers.reset", &headers.reset),
        ] {
            if http::HeaderName::try_from(name).is_err() {
                return Err((path, format!("{name:?} is no name of a header")));
            }
        }
        if let Some(redis) = &self.redis {
            redis.deployment()?;
        }
        Ok(())
    }
}

impl Default for ResponseHeaders {
    fn default() -> Self {
        let name = |name: &str| format!("x-ratelimit-{name}");
        Self { enabled: false, limit: name("limit"), remaining: name("remaining"), reset: name("reset") }
    }
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            streams: 1_000,
            request: Bytes(64 << 10),
            descriptors: 256,
            entries: 32,
            idle_timeout: Span::HOUR,
            connection_age: None,
            drain: span(10_000),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor;

        impl Visitor<'_> for BytesVisitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of bytes, like 65536, 64KiB or 150MB")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Bytes, E> {
                usize::try_from(number).map(Bytes).map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Bytes, E> {
                usize::try_from(number).map(Bytes).map_err(E::custom)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Bytes, E> {
                let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
                let (number, unit) = text.split_at(split);
                let factor = match unit.trim() {
                    "" | "B" => Some(1_usize),
                    "KB" => Some(1_000),
                    "MB" => Some(1_000_000),
                    "GB" => Some(1_000_000_000),
                    "KiB" => Some(1 << 10),
                    "MiB" => Some(1 << 20),
                    "GiB" => Some(1 << 30),
                    _ => None,
                };
                let number = number.parse::<usize>().ok();
                let bytes = number.zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
                bytes
                    .map(Bytes)
                    .ok_or_else(|| E::custom(format!("expected bytes, like 65536, 64KiB or 150MB, not {text:?}")))
            }
        }

        deserializer.deserialize_any(BytesVisitor).map_err(D::Error::custom)
    }
}

pub(crate) const fn duration(span: Span) -> Duration {
    Duration::from_nanos(span.nanoseconds())
}

const fn span(milliseconds: u64) -> Span {
    match Span::new(milliseconds * 1_000_000) {
        Some(span) => span,
        None => Span::DAY,
    }
}

const fn poll() -> Span {
    span(1_000)
}

const fn memory() -> Bytes {
    Bytes(150_000_000)
}

const fn near_limit_ratio() -> f64 {
    0.8
}

fn everything() -> BTreeSet<Serves> {
    BTreeSet::from([Serves::Grpc, Serves::Json, Serves::Admin])
}

fn listeners() -> Vec<ListenerSettings> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8081));
    vec![ListenerSettings { address, serves: everything(), tls: None }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &str) -> String {
        Settings::from_yaml("settings.yaml", text).err().map(|mistakes| mistakes.to_string()).unwrap_or_default()
    }

    #[test]
    fn little_is_needed() {
        let settings = Settings::from_yaml("settings.yaml", "rules: rules/").unwrap();
        assert_eq!(settings.rules, PathBuf::from("rules/"));
        assert_eq!(settings.listeners.len(), 1);
        assert_eq!(settings.memory, Bytes(150_000_000));
        assert!(settings.redis.is_none());
    }

    #[test]
    fn a_mistake_is_named_with_its_line_and_key() {
        let unknown = mistake("rules: r\nredis:\n  url: redis://h\n  timeuot: 5ms\n");
        assert!(unknown.starts_with("settings.yaml:4:3: redis.timeuot: unknown field `timeuot`"), "{unknown}");
        let typed = mistake("rules: r\nlisteners:\n- address: nowhere\n");
        assert!(typed.starts_with("settings.yaml:3:3: listeners[0].address: "), "{typed}");
        let bytes = mistake("rules: r\nmemory: much\n");
        assert_eq!(bytes, "settings.yaml:2:1: memory: expected bytes, like 65536, 64KiB or 150MB, not \"much\"");
        let ratio = mistake("rules: r\nnear_limit_ratio: 1.5\n");
        assert_eq!(ratio, "settings.yaml:2:1: near_limit_ratio: must be from 0 to 1, not 1.5");
        assert_eq!(mistake("poll: 1s\n"), "settings.yaml:1:1: missing field `rules`");
        let broken = mistake("rules: [");
        assert!(broken.starts_with("settings.yaml:2:1: not YAML: "), "{broken}");
    }
}
