//! The ABI's numbers, as types.

/// A context of one instance: a plugin (root) or a stream. Unique for the life of the instance, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContextId(pub u32);

/// `proxy_status_t`. Only the ones that guests survive are here (PROXY-WASM.md, "SDK-safe").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// No such thing.
    NotFound = 1,
    /// An argument was out of range.
    BadArgument = 2,
    /// A value could not be serialized.
    SerializationFailure = 3,
    /// An argument could not be parsed.
    ParseFailure = 4,
    /// A queue had nothing.
    Empty = 7,
    /// The compare-and-swap token was stale.
    CasMismatch = 8,
    /// The host could not.
    InternalFailure = 10,
}

macro_rules! abi_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $value:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum $name { $($(#[$vdoc])* $variant = $value),+ }

        impl $name {
            /// The variant of the ABI's number, if there is one.
            #[must_use]
            pub fn from_abi(value: u32) -> Option<Self> {
                match value { $($value => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

abi_enum! {
    /// `proxy_log_level_t`.
    LogLevel {
        /// Trace.
        Trace = 0,
        /// Debug.
        Debug = 1,
        /// Information.
        Info = 2,
        /// Warning.
        Warn = 3,
        /// Error.
        Error = 4,
        /// Critical.
        Critical = 5,
    }
}
abi_enum! {
    /// `proxy_map_type_t`.
    MapKind {
        /// Request headers.
        RequestHeaders = 0,
        /// Request trailers.
        RequestTrailers = 1,
        /// Response headers.
        ResponseHeaders = 2,
        /// Response trailers.
        ResponseTrailers = 3,
        /// Initial metadata of a gRPC callout.
        GrpcInitialMetadata = 4,
        /// Trailing metadata of a gRPC callout.
        GrpcTrailingMetadata = 5,
        /// Headers of a callout's answer.
        CallHeaders = 6,
        /// Trailers of a callout's answer.
        CallTrailers = 7,
    }
}
abi_enum! {
    /// `proxy_buffer_type_t`.
    BufferKind {
        /// Request body.
        RequestBody = 0,
        /// Response body.
        ResponseBody = 1,
        /// Bytes from downstream.
        DownstreamData = 2,
        /// Bytes from upstream.
        UpstreamData = 3,
        /// Body of a callout's answer.
        CallBody = 4,
        /// Message of a gRPC callout.
        GrpcMessage = 5,
        /// The VM's configuration.
        VmConfiguration = 6,
        /// The plugin's configuration.
        PluginConfiguration = 7,
        /// Arguments of a foreign function call from the host.
        ForeignFunctionArguments = 8,
    }
}
abi_enum! {
    /// `proxy_stream_type_t`.
    StreamKind {
        /// HTTP request.
        Request = 0,
        /// HTTP response.
        Response = 1,
        /// TCP, from downstream.
        Downstream = 2,
        /// TCP, from upstream.
        Upstream = 3,
    }
}
abi_enum! {
    /// `proxy_peer_type_t`.
    PeerKind {
        /// Not known.
        Unknown = 0,
        /// This side closed.
        Local = 1,
        /// The other side closed.
        Remote = 2,
    }
}
abi_enum! {
    /// `proxy_metric_type_t`.
    MetricKind {
        /// Counter.
        Counter = 0,
        /// Gauge.
        Gauge = 1,
        /// Histogram.
        Histogram = 2,
    }
}

/// What a headers (or trailers) callback decided. Wider than the ABI's two: see PROXY-WASM.md 1.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadersAction {
    /// 0: go on.
    Continue,
    /// 1: the ABI's PAUSE, whose meaning (`stop_all` or `headers_only`) is the plugin's setting.
    Pause,
    /// 2: go on, and the stream ends with these headers.
    ContinueAndEndStream,
    /// 3: hold everything; too much body is an error.
    PauseAllAndBuffer,
    /// 4 and above: hold everything; too much body is backpressure.
    PauseAllAndWatermark,
}

/// What a body or data callback decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataAction {
    /// 0: go on with all that is held.
    Continue,
    /// 1 and anything above 3: hold; too much is an error.
    PauseAndBuffer,
    /// 2: hold; too much is backpressure.
    PauseAndWatermark,
    /// 3: the guest took the bytes; nothing is held.
    PauseNoBuffer,
}

impl HeadersAction {
    /// The action that a headers callback returned.
    #[must_use]
    pub fn from_abi(value: i32) -> Self {
        match value {
            0 => HeadersAction::Continue,
            1 => HeadersAction::Pause,
            2 => HeadersAction::ContinueAndEndStream,
            3 => HeadersAction::PauseAllAndBuffer,
            _ => HeadersAction::PauseAllAndWatermark,
        }
    }

    /// The action that a trailers callback returned: there is nothing behind trailers, so there is only one way to stop.
    #[must_use]
    pub fn from_trailers_abi(value: i32) -> Self {
        if value == 0 { HeadersAction::Continue } else { HeadersAction::Pause }
    }
}

impl DataAction {
    /// The action that a body or data callback returned.
    #[must_use]
    pub fn from_abi(value: i32) -> Self {
        match value {
            0 => DataAction::Continue,
            2 => DataAction::PauseAndWatermark,
            3 => DataAction::PauseNoBuffer,
            _ => DataAction::PauseAndBuffer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_of_the_abi_are_no_enum_and_the_strictest_stop() {
        assert_eq!(LogLevel::from_abi(5), Some(LogLevel::Critical));
        assert_eq!(LogLevel::from_abi(6), None);
        assert_eq!(MapKind::from_abi(u32::MAX), None);
        assert_eq!(HeadersAction::from_abi(0), HeadersAction::Continue);
        assert_eq!(HeadersAction::from_abi(99), HeadersAction::PauseAllAndWatermark);
        assert_eq!(HeadersAction::from_abi(-1), HeadersAction::PauseAllAndWatermark);
        assert_eq!(HeadersAction::from_trailers_abi(2), HeadersAction::Pause);
        assert_eq!(DataAction::from_abi(4), DataAction::PauseAndBuffer);
        assert_eq!(DataAction::from_abi(-1), DataAction::PauseAndBuffer);
    }
}
