//! The ABI, Proxy-Wasm 0.2.1: numbers, encodings, and one safe function per hostcall.
//!
//! This is the only part of the SDK with `unsafe` in it, and all of that is in `guest/`, which exists on wasm32 only, and in `allocator.rs`.
//! On every other target the same functions are served by [`crate::testing`], so that filters and their tests run natively.
//! Nothing above this module knows which of the two it is talking to.
//!
//! Invariants: no function here panics, whatever the host answers; a status that the ABI does not name is carried, not interpreted.

pub mod allocator;
mod fields;
mod pairs;

#[cfg(target_arch = "wasm32")]
mod guest;
#[cfg(target_arch = "wasm32")]
pub use guest::*;

#[cfg(not(target_arch = "wasm32"))]
pub use crate::testing::hostcalls::*;

pub(crate) use fields::{Fields, foreign_arguments, push_field};
pub use pairs::{Pairs, encode_pairs};

#[cfg(all(target_arch = "wasm32", feature = "allocator"))]
#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator::new();

/// What a hostcall answered. A number, because hosts answer more than the specification names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// Done.
    pub const OK: Self = Self(0);
    /// No such thing, or a foreign function that the host does not know.
    pub const NOT_FOUND: Self = Self(1);
    /// An argument was malformed or refers to something that does not exist or is not granted.
    pub const BAD_ARGUMENT: Self = Self(2);
    /// What was to be parsed could not be; of a gRPC call: no such cluster.
    pub const PARSE_FAILURE: Self = Self(4);
    /// Shared data changed in the meantime.
    pub const CAS_MISMATCH: Self = Self(8);
    /// The host could not.
    pub const INTERNAL_FAILURE: Self = Self(10);

    /// `Ok` for [`Status::OK`].
    ///
    /// # Errors
    /// The status itself otherwise.
    pub fn ok(self) -> Result<(), Self> {
        if self == Self::OK { Ok(()) } else { Err(self) }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            1 => f.write_str("the host answered NOT_FOUND"),
            2 => f.write_str("the host answered BAD_ARGUMENT"),
            10 => f.write_str("the host answered INTERNAL_FAILURE"),
            other => write!(f, "the host answered status {other}"),
        }
    }
}

impl std::error::Error for Status {}

/// What a callback answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Action {
    /// The next filter may have it.
    Continue = 0,
    /// Held until `continue_stream`.
    Pause = 1,
}

/// The directions of an HTTP stream; the numbers are `proxy_stream_type_t`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Side {
    /// From downstream to upstream.
    Request = 0,
    /// From upstream to downstream.
    Response = 1,
}

/// `proxy_map_type_t`, as far as the SDK uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum MapKind {
    /// Request headers.
    RequestHeaders = 0,
    /// Request trailers.
    RequestTrailers = 1,
    /// Response headers.
    ResponseHeaders = 2,
    /// Response trailers.
    ResponseTrailers = 3,
    /// Initial metadata of a gRPC callout's answer.
    GrpcInitialMetadata = 4,
    /// Trailing metadata of a gRPC callout's answer.
    GrpcTrailingMetadata = 5,
    /// Headers of a callout's answer.
    CallHeaders = 6,
}

/// `proxy_buffer_type_t`, as far as the SDK uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum BufferKind {
    /// Request body.
    RequestBody = 0,
    /// Response body.
    ResponseBody = 1,
    /// What a TCP client sent.
    DownstreamData = 2,
    /// What a TCP server sent.
    UpstreamData = 3,
    /// Body of a callout's answer.
    CallBody = 4,
    /// A message of a gRPC callout's answer.
    GrpcMessage = 5,
    /// The plugin's configuration.
    PluginConfiguration = 7,
    /// What the host says with `proxy_on_foreign_function`.
    ForeignArguments = 8,
}

impl Side {
    /// The headers of this direction.
    #[must_use]
    pub const fn headers(self) -> MapKind {
        match self {
            Self::Request => MapKind::RequestHeaders,
            Self::Response => MapKind::ResponseHeaders,
        }
    }

    /// The body of this direction.
    #[must_use]
    pub const fn body(self) -> BufferKind {
        match self {
            Self::Request => BufferKind::RequestBody,
            Self::Response => BufferKind::ResponseBody,
        }
    }
}

/// `proxy_log_level_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    /// Every step.
    Trace = 0,
    /// For whoever debugs this filter.
    Debug = 1,
    /// Worth a line in normal operation.
    Info = 2,
    /// Wrong, but handled.
    Warn = 3,
    /// A human must act.
    Error = 4,
    /// The filter cannot work.
    Critical = 5,
}

impl Level {
    /// By its number; what the ABI does not name is the most there is.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Trace,
            1 => Self::Debug,
            2 => Self::Info,
            3 => Self::Warn,
            4 => Self::Error,
            _ => Self::Critical,
        }
    }
}

/// `proxy_metric_type_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum MetricKind {
    /// Only grows.
    Counter = 0,
    /// Goes up and down.
    Gauge = 1,
    /// A distribution.
    Histogram = 2,
}
