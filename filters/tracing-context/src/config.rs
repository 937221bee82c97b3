//! The configuration.

use std::collections::BTreeMap;

use fyke_sdk::FilterConfig;
use fyke_sdk::units::Percent;
use serde::Deserialize;

/// All keys have defaults.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which headers are read, the first that make sense count. Default: `[w3c, b3]`.
    pub extract: Option<Vec<Reads>>,
    /// Which headers are written. Default: those that came in, or `[w3c]` where none did.
    pub inject: Option<Vec<Writes>>,
    /// Whose decisions and ids count. Default: internal.
    pub trust: Trust,
    /// Whose addresses are internal. Default: private, link-local and loopback addresses, and unix sockets.
    pub internal_networks: Option<Vec<String>>,
    /// What becomes of the trace of a source that is not trusted. Default: restart.
    pub untrusted: Untrusted,
    /// How many of the traces that nobody has decided on are recorded. Default: `tracing.sample` of the proxy.
    pub sample: Option<Percent>,
    /// Of the traces that this filter decides on, at most so many are recorded in a second, on each worker. Default: no limit.
    pub max_per_second: Option<u32>,
    /// A request with one of these headers is recorded, if its source is trusted. Default: `[x-envoy-force-trace, x-client-trace-id]`.
    pub force_headers: Option<Vec<String>>,
    /// The name of the stream's span: text with properties in it, like `checkout` or `%{route_name}`. Default: the host's.
    pub operation: Option<String>,
    /// What the stream's span says.
    pub tags: BTreeMap<String, Tag>,
    /// A header of the answer that tells the trace: `traceresponse` in its own format, any other one the trace's id. Default: none.
    pub response_header: Option<String>,
}

/// Headers that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Reads {
    /// `traceparent` and `tracestate`.
    W3c,
    /// `b3`, else `x-b3-*`.
    B3,
}

/// Headers that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Writes {
    /// `traceparent` and `tracestate`.
    W3c,
    /// `b3`.
    B3,
    /// `x-b3-*`.
    B3Multi,
}

/// Whose decisions and ids count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Everybody's.
    Always,
    /// Nobody's.
    Never,
    /// Those whose address is internal.
    #[default]
    Internal,
}

/// What becomes of the trace of a source that is not trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, FilterConfig)]
#[serde(rename_all = "snake_case")]
pub enum Untrusted {
    /// A new trace begins here.
    #[default]
    Restart,
    /// The trace goes on, and whether it is recorded is decided here.
    Continue,
}

/// Where a tag's value comes from: exactly one of `literal`, `header` and `property`.
#[derive(Debug, Default, Deserialize, FilterConfig)]
#[serde(deny_unknown_fields, default)]
pub struct Tag {
    /// This text.
    pub literal: Option<String>,
    /// The first value of this header of the request.
    pub header: Option<String>,
    /// This property, like `route_name`; those of the response and the upstream are read when the response is here.
    pub property: Option<String>,
    /// The value where there is no such header or property. Default: no tag.
    pub default: Option<String>,
}
