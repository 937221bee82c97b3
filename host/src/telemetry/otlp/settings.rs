//! What an exporter is told: where, how, how much at once, how much may wait.
//!
//! Defaults are those of OpenTelemetry's environment variables ("OpenTelemetry Environment Variable Specification" and
//! "OpenTelemetry Protocol Exporter"), named at each field; where a default differs, the field says why. Nothing here
//! reads the environment.

use std::time::Duration;

use http::{HeaderName, HeaderValue, header};

use crate::telemetry::otlp::endpoint::Endpoint;

/// Largest request, in bytes before compression. A gRPC server refuses more than 4 MiB by default.
pub const MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Most records that a queue can be made for: their places are allocated when it is made.
pub const QUEUE_RECORDS: usize = 1 << 20;

/// All of it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the collector is (`OTEL_EXPORTER_OTLP_ENDPOINT`). No default.
    pub endpoint: Endpoint,
    /// How it is spoken to (`OTEL_EXPORTER_OTLP_PROTOCOL`). Default: gRPC.
    pub protocol: Protocol,
    /// Sent with each request (`OTEL_EXPORTER_OTLP_HEADERS`); made by [`header()`], so that values are never printed.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// For one attempt, connecting included (`OTEL_EXPORTER_OTLP_TIMEOUT`). Default: 10 s.
    pub timeout: Duration,
    /// When a batch is sent.
    pub batch: BatchLimits,
    /// How much waits to become one.
    pub queue: QueueLimits,
    /// How requests are compressed (`OTEL_EXPORTER_OTLP_COMPRESSION`). Default: not at all.
    pub compression: Compression,
}

impl Settings {
    /// The defaults, for this endpoint.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            protocol: Protocol::Grpc,
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            batch: BatchLimits::default(),
            queue: QueueLimits::default(),
            compression: Compression::None,
        }
    }

    /// Whether they can be worked with.
    ///
    /// # Errors
    /// [`SettingsError`] for the first setting that cannot.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.protocol == Protocol::Grpc && !self.endpoint.path().is_empty() {
            return Err(SettingsError::PathWithGrpc(self.endpoint.path().to_owned()));
        }
        for (name, limit) in [
            ("batch.records", self.batch.records),
            ("batch.bytes", self.batch.bytes),
            ("queue.records", self.queue.records),
            ("queue.bytes", self.queue.bytes),
        ] {
            if limit == 0 {
                return Err(SettingsError::Zero(name));
            }
        }
        if self.timeout.is_zero() {
            return Err(SettingsError::Zero("timeout"));
        }
        if self.batch.delay.is_zero() {
            return Err(SettingsError::Zero("batch.delay"));
        }
        if self.batch.bytes > MESSAGE_BYTES {
            return Err(SettingsError::TooLarge { name: "batch.bytes", limit: MESSAGE_BYTES });
        }
        if self.queue.records > QUEUE_RECORDS {
            return Err(SettingsError::TooLarge { name: "queue.records", limit: QUEUE_RECORDS });
        }
        match self.headers.iter().find(|(name, _)| is_ours(name)) {
            Some((name, _)) => Err(SettingsError::HeaderIsOurs(name.clone())),
            None => Ok(()),
        }
    }
}

/// How OTLP is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// gRPC over HTTP/2 with prior knowledge (`grpc`), by custom on port 4317.
    #[default]
    Grpc,
    /// Protobuf in POST requests of HTTP/1.1 (`http/protobuf`), by custom on port 4318.
    Http,
}

/// How requests are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952, at the fastest level.
    Gzip,
}

/// A batch is sent when it has so many records, or is so large, or so much time has gone by since the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most records of one request (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`). Default: 512.
    pub records: usize,
    /// Largest request, in bytes before compression; a single record may be larger, up to [`MESSAGE_BYTES`].
    /// Default: 1 MiB.
    pub bytes: usize,
    /// Longest time that records wait to become a batch (`OTEL_BSP_SCHEDULE_DELAY`). Default: 5 s.
    pub delay: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { records: 512, bytes: 1024 * 1024, delay: Duration::from_secs(5) }
    }
}

/// What waits while batches are sent. A record that does not fit is dropped and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Most records (`OTEL_BSP_MAX_QUEUE_SIZE`, 2048 there). Default: 8192, because a proxy's records come from all of
    /// its workers at once.
    pub records: usize,
    /// Most memory of records, in bytes; OpenTelemetry has no such limit. Default: 8 MiB.
    pub bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { records: 8192, bytes: 8 * 1024 * 1024 }
    }
}

/// Why settings cannot be worked with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A limit is zero.
    #[error("`{0}` must be more than zero")]
    Zero(&'static str),
    /// A limit is larger than what can be kept.
    #[error("`{name}` must be {limit} at most")]
    TooLarge {
        /// The setting.
        name: &'static str,
        /// Its largest value.
        limit: usize,
    },
    /// gRPC's paths are fixed.
    #[error("gRPC has no path, but the endpoint has `{0}`: leave it out, or choose the protocol `http`")]
    PathWithGrpc(String),
    /// The name of a header is not legal.
    #[error("`{0}` is not the name of a header")]
    HeaderName(String),
    /// The value of a header is not legal. It is not shown, because it may be a secret.
    #[error("the value of the header `{0}` holds characters that a header cannot have")]
    HeaderValue(String),
    /// The exporter itself sets this header.
    #[error("the header `{0}` is set by the exporter itself: leave it out")]
    HeaderIsOurs(HeaderName),
}

/// A header for [`Settings::headers`]. Its value is marked as sensitive: it is not printed, and HTTP/2 does not index
/// it.
///
/// # Errors
/// [`SettingsError`] where the name or the value is not legal, or the exporter sets the header itself.
pub fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), SettingsError> {
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| SettingsError::HeaderName(name.escape_debug().to_string()))?;
    let mut value = HeaderValue::from_str(value).map_err(|_| SettingsError::HeaderValue(parsed.to_string()))?;
    value.set_sensitive(true);
    if is_ours(&parsed) { Err(SettingsError::HeaderIsOurs(parsed)) } else { Ok((parsed, value)) }
}

/// Headers of framing, which only the exporter can get right.
fn is_ours(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::EXPECT,
        header::HOST,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ]
    .contains(name)
        || name.as_str().starts_with("grpc-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(endpoint: &str) -> Settings {
        Settings::new(endpoint.parse().unwrap())
    }

    #[test]
    fn the_defaults_can_be_worked_with() {
        assert_eq!(settings("127.0.0.1:4317").check(), Ok(()));
    }

    #[test]
    fn limits_of_zero_and_beyond_the_range_are_refused() {
        let mut none = settings("a:1");
        none.queue.records = 0;
        assert_eq!(none.check(), Err(SettingsError::Zero("queue.records")));
        let mut large = settings("a:1");
        large.batch.bytes = MESSAGE_BYTES + 1;
        assert!(matches!(large.check(), Err(SettingsError::TooLarge { name: "batch.bytes", .. })));
    }

    #[test]
    fn a_path_goes_with_http_only() {
        let mut with_path = settings("http://a:1/otlp");
        assert!(matches!(with_path.check(), Err(SettingsError::PathWithGrpc(_))));
        with_path.protocol = Protocol::Http;
        assert_eq!(with_path.check(), Ok(()));
    }

    #[test]
    fn headers_of_framing_are_refused_and_secrets_are_not_printed() {
        assert!(matches!(header("Content-Type", "x"), Err(SettingsError::HeaderIsOurs(_))));
        assert!(matches!(header("grpc-timeout", "1S"), Err(SettingsError::HeaderIsOurs(_))));
        assert!(matches!(header("a b", "x"), Err(SettingsError::HeaderName(_))));
        let error = header("authorization", "secret\n").unwrap_err();
        assert!(!error.to_string().contains("secret"));
        let mut settings = settings("a:1");
        settings.headers.push(header("authorization", "secret").unwrap());
        assert!(!format!("{settings:?}").contains("secret"));
    }
}
