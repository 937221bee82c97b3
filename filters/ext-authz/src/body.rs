//! How much of a body the service sees.
//!
//! The host holds the body and passes it on; only what the service is told is copied. A body that is wanted whole is
//! refused by the SDK where it is longer. Of one that is wanted in part the SDK has no beginning to give, so that it is held whole as well, up to what
//! the host holds of any request.

use fyke_sdk::abi::{self, BufferKind};
use fyke_sdk::{ConfigError, Error, Reply, Request, Result, property};

use crate::config;

/// Envoy's mark of a check that carries a body: whether there was more of it. Nobody else's word is taken for it.
pub const PARTIAL: &str = "x-envoy-auth-partial-body";

/// What the service sees, where the configuration does not say.
const MAXIMUM: u64 = 8 * 1024;

/// How much of a body the service sees.
#[derive(Debug)]
pub struct Limits {
    max: usize,
    beyond: Beyond,
    encoding: Encoding,
    /// The host tells an upgrade of HTTP/1 that has no body as a request that is over: Fyke does.
    tells_ends: bool,
}

/// What becomes of a longer body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beyond {
    Refuse,
    Cut,
}

/// How gRPC carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Text,
    Bytes,
}

/// What the service is shown of a body.
#[derive(Debug)]
pub struct Excerpt {
    pub bytes: Vec<u8>,
    /// Of all of the body.
    pub length: usize,
    pub encoding: Encoding,
}

impl Limits {
    pub fn build(raw: &config::Body) -> Result<Self, ConfigError> {
        let max = raw.max.unwrap_or(MAXIMUM);
        if max == 0 {
            return Err(ConfigError::at("max", "must be at least 1B: without `body` the service sees none"));
        }
        Ok(Self {
            max: usize::try_from(max).unwrap_or(usize::MAX),
            beyond: if raw.partial { Beyond::Cut } else { Beyond::Refuse },
            encoding: if raw.as_bytes { Encoding::Bytes } else { Encoding::Text },
            tells_ends: abi::call_foreign_function("fyke.features.v1", b"").is_ok(),
        })
    }

    /// The most that is held of a body.
    pub fn held(&self) -> usize {
        match self.beyond {
            Beyond::Refuse => self.max,
            // The host's own limit is nearer: `limits.buffer` in Fyke.
            Beyond::Cut => usize::MAX,
        }
    }

    /// Whether a body comes that the service has to see.
    pub fn await_body(&self, request: &Request) -> bool {
        if request.end_of_stream() || request.method() == b"CONNECT" {
            return false;
        }
        if !request.contains("upgrade") {
            return true;
        }
        // What follows an upgrade is no body and never ends. But whoever only says that it upgrades must not get past the service with one.
        let framed = request.get("content-length").is_some_and(|length| length != b"0");
        let http1 = property::text(&["request", "protocol"]).is_none_or(|protocol| protocol.starts_with("HTTP/1"));
        framed || request.contains("transfer-encoding") || request.method() != b"GET" || (http1 && self.tells_ends)
    }

    /// The answer to a request that announces more than is held: sooner than its body could tell, and the same.
    pub fn refuse(&self, request: &Request) -> Option<Reply> {
        let announced: u64 = std::str::from_utf8(request.get("content-length")?).ok()?.parse().ok()?;
        let held = u64::try_from(self.held()).unwrap_or(u64::MAX);
        (announced > held).then(|| Reply::new(413).details("request_body_too_large"))
    }

    /// What the service is shown of a body that is held.
    ///
    /// # Errors
    /// When the host does not hand it out: nobody is asked about less than there is.
    pub fn show(&self, length: usize) -> Result<Excerpt> {
        let shown = length.min(self.max);
        // No host has a buffer where there are no bytes.
        let bytes = if shown == 0 { Some(Vec::new()) } else { abi::buffer(BufferKind::RequestBody, 0, shown) };
        let bytes = bytes.filter(|bytes| bytes.len() == shown);
        let bytes = bytes.ok_or_else(|| Error::new("the host does not hand out the body that it holds"))?;
        Ok(Excerpt { bytes, length, encoding: self.encoding })
    }
}

impl Excerpt {
    /// The value of [`PARTIAL`].
    pub fn mark(&self) -> &'static str {
        if self.bytes.len() < self.length { "true" } else { "false" }
    }
}
