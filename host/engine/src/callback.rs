//! The calls that a host makes into a guest, as names and as a set.

use crate::module::AbiVersion;

macro_rules! callbacks {
    ($($(#[$doc:meta])* $variant:ident $name:literal $export:literal),+ $(,)?) => {
        /// A callback of the ABI. In the order of a stream's life, callouts and lifecycle last.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Callback { $($(#[$doc])* $variant),+ }

        impl Callback {
            /// All of them, in order.
            pub const ALL: &'static [Callback] = &[$(Callback::$variant),+];

            /// The name used in configuration, metrics and logs: `request_headers`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Callback::$variant => $name),+ }
            }

            /// The callback of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Callback> {
                match name { $($name => Some(Callback::$variant),)+ _ => None }
            }

            /// The name of the module's export.
            #[must_use]
            pub fn export(self) -> &'static str {
                match self { $(Callback::$variant => $export),+ }
            }

            /// The callback that a module's export is, if it is one.
            #[must_use]
            pub fn from_export(export: &str) -> Option<Callback> {
                match export { $($export => Some(Callback::$variant),)+ _ => None }
            }
        }
    };
}

callbacks! {
    /// A TCP connection from downstream.
    NewConnection "new_connection" "proxy_on_new_connection",
    /// Bytes from downstream.
    DownstreamData "downstream_data" "proxy_on_downstream_data",
    /// Downstream closed.
    DownstreamConnectionClose "downstream_connection_close" "proxy_on_downstream_connection_close",
    /// Bytes from upstream.
    UpstreamData "upstream_data" "proxy_on_upstream_data",
    /// Upstream closed.
    UpstreamConnectionClose "upstream_connection_close" "proxy_on_upstream_connection_close",
    /// Request headers.
    RequestHeaders "request_headers" "proxy_on_request_headers",
    /// A piece of the request body.
    RequestBody "request_body" "proxy_on_request_body",
    /// Request trailers.
    RequestTrailers "request_trailers" "proxy_on_request_trailers",
    /// Response headers.
    ResponseHeaders "response_headers" "proxy_on_response_headers",
    /// A piece of the response body.
    ResponseBody "response_body" "proxy_on_response_body",
    /// Response trailers.
    ResponseTrailers "response_trailers" "proxy_on_response_trailers",
    /// The answer of an HTTP callout.
    HttpCallResponse "http_call_response" "proxy_on_http_call_response",
    /// Initial metadata of a gRPC callout.
    GrpcReceiveInitialMetadata "grpc_receive_initial_metadata" "proxy_on_grpc_receive_initial_metadata",
    /// A message of a gRPC callout.
    GrpcReceive "grpc_receive" "proxy_on_grpc_receive",
    /// Trailing metadata of a gRPC callout.
    GrpcReceiveTrailingMetadata "grpc_receive_trailing_metadata" "proxy_on_grpc_receive_trailing_metadata",
    /// End of a gRPC callout.
    GrpcClose "grpc_close" "proxy_on_grpc_close",
    /// The plugin's timer.
    Tick "tick" "proxy_on_tick",
    /// Something is in a shared queue.
    QueueReady "queue_ready" "proxy_on_queue_ready",
    /// An event of the host's own (`host/docs/extensions.md`).
    ForeignFunction "foreign_function" "proxy_on_foreign_function",
    /// The context is about to end.
    Done "done" "proxy_on_done",
    /// Time to write the access log.
    Log "log" "proxy_on_log",
    /// The last call of a context.
    Delete "delete" "proxy_on_delete",
    /// A context begins.
    ContextCreate "context_create" "proxy_on_context_create",
    /// The VM's configuration.
    VmStart "vm_start" "proxy_on_vm_start",
    /// The plugin's configuration.
    Configure "configure" "proxy_on_configure",
}

impl Callback {
    /// Number of `i32` parameters, and whether an `i32` comes back.
    pub(crate) fn signature(self, abi: AbiVersion) -> (usize, bool) {
        use Callback as C;
        match self {
            C::RequestHeaders | C::ResponseHeaders if abi == AbiVersion::V0_1_0 => (2, true),
            C::RequestHeaders | C::ResponseHeaders => (3, true),
            C::DownstreamData | C::UpstreamData | C::RequestBody | C::ResponseBody => (3, true),
            C::RequestTrailers | C::ResponseTrailers | C::VmStart | C::Configure => (2, true),
            C::NewConnection | C::Done => (1, true),
            C::Tick | C::Log | C::Delete => (1, false),
            C::DownstreamConnectionClose | C::UpstreamConnectionClose | C::QueueReady | C::ContextCreate => (2, false),
            C::GrpcReceiveInitialMetadata | C::GrpcReceive | C::GrpcReceiveTrailingMetadata | C::GrpcClose => {
                (3, false)
            }
            C::ForeignFunction => (3, false),
            C::HttpCallResponse => (5, false),
        }
    }
}

/// A set of [`Callback`]s: what a module exports, or what a plugin wants.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct CallbackSet(u32);

impl CallbackSet {
    /// No callback.
    pub const EMPTY: CallbackSet = CallbackSet(0);
    /// Every callback.
    pub const ALL: CallbackSet = CallbackSet((1 << Callback::ALL.len()) - 1);
    /// Those without which no guest works, whatever a plugin says it wants: creation, start,
    /// configuration and deletion of contexts.
    pub const LIFECYCLE: CallbackSet = CallbackSet(
        Self::bit(Callback::ContextCreate)
            | Self::bit(Callback::VmStart)
            | Self::bit(Callback::Configure)
            | Self::bit(Callback::Delete),
    );

    /// Those of HTTP messages.
    pub const HTTP: CallbackSet = CallbackSet(
        Self::bit(Callback::RequestHeaders)
            | Self::bit(Callback::RequestBody)
            | Self::bit(Callback::RequestTrailers)
            | Self::bit(Callback::ResponseHeaders)
            | Self::bit(Callback::ResponseBody)
            | Self::bit(Callback::ResponseTrailers),
    );
    /// Those of TCP connections.
    pub const TCP: CallbackSet = CallbackSet(
        Self::bit(Callback::NewConnection)
            | Self::bit(Callback::DownstreamData)
            | Self::bit(Callback::DownstreamConnectionClose)
            | Self::bit(Callback::UpstreamData)
            | Self::bit(Callback::UpstreamConnectionClose),
    );

    const fn bit(callback: Callback) -> u32 {
        1 << (callback as u8)
    }

    /// Whether `callback` is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(self, callback: Callback) -> bool {
        self.0 & Self::bit(callback) != 0
    }

    /// Adds `callback`.
    pub const fn insert(&mut self, callback: Callback) {
        self.0 |= Self::bit(callback);
    }

    /// Those in both.
    #[must_use]
    pub const fn intersect(self, other: CallbackSet) -> CallbackSet {
        CallbackSet(self.0 & other.0)
    }

    /// Those in either.
    #[must_use]
    pub const fn union(self, other: CallbackSet) -> CallbackSet {
        CallbackSet(self.0 | other.0)
    }

    /// Those that are not in the other.
    #[must_use]
    pub const fn without(self, other: CallbackSet) -> CallbackSet {
        CallbackSet(self.0 & !other.0)
    }

    /// Whether the two have one in common.
    #[must_use]
    pub const fn meets(self, other: CallbackSet) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, in the order of [`Callback::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Callback> {
        Callback::ALL.iter().copied().filter(move |callback| self.contains(*callback))
    }
}

impl FromIterator<Callback> for CallbackSet {
    fn from_iter<I: IntoIterator<Item = Callback>>(callbacks: I) -> Self {
        let mut set = CallbackSet::EMPTY;
        for callback in callbacks {
            set.insert(callback);
        }
        set
    }
}

impl std::fmt::Debug for CallbackSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter().map(Callback::name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_exports_lead_back_to_their_callback() {
        for callback in Callback::ALL.iter().copied() {
            assert_eq!(Callback::from_name(callback.name()), Some(callback));
            assert_eq!(Callback::from_export(callback.export()), Some(callback));
            assert_eq!(callback.export(), format!("proxy_on_{}", callback.name()));
            assert!(CallbackSet::ALL.contains(callback));
        }
        assert_eq!(Callback::from_name("nope"), None);
    }

    #[test]
    fn a_set_holds_what_was_inserted() {
        let set: CallbackSet = [Callback::Log, Callback::RequestHeaders].into_iter().collect();
        assert!(set.contains(Callback::Log));
        assert!(!set.contains(Callback::Tick));
        assert_eq!(set.iter().collect::<Vec<_>>(), [Callback::RequestHeaders, Callback::Log]);
        assert_eq!(set.intersect(CallbackSet::LIFECYCLE), CallbackSet::EMPTY);
        assert_eq!(CallbackSet::ALL.without(CallbackSet::ALL.without(set)), set);
        assert_eq!(format!("{set:?}"), r#"{"request_headers", "log"}"#);
    }
}
