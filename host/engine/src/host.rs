//! What a hostcall needs from outside, behind one trait.
//!
//! The engine owns the sandbox: guest memory, the ABI's encodings, context ids, deadlines. Everything
//! that a hostcall touches beyond that (header maps, bodies, timers, callouts, metrics) belongs to
//! whoever embeds the engine, and is lent to it as a `&mut dyn Host` for the length of one call into a
//! guest. Streams therefore live in the embedder, never in the store, and nothing is copied to hand them over.
//!
//! Every method may be called while a guest is on the stack, so an implementation must never call back
//! into the instance that is running; it records what was asked (continue, close, reply) and
//! acts when the call has returned.

use std::time::Duration;

use crate::types::{BufferKind, ContextId, LogLevel, MapKind, MetricKind, Status, StreamKind};

/// A header or trailer map of a stream or a callout, as a guest sees it: pseudo headers first, keys in lower case.
pub trait Map {
    /// Number of entries, pseudo headers included.
    fn len(&self) -> usize;
    /// Whether there is no entry.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Calls `each` once per entry, in order.
    fn for_each(&self, each: &mut dyn FnMut(&[u8], &[u8]));
    /// The first value of `key` (any case).
    fn get(&self, key: &[u8]) -> Option<&[u8]>;
    /// Appends an entry.
    ///
    /// # Errors
    /// [`Refused`] when the map cannot be written in this phase, or the name or value is not legal in HTTP.
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused>;
    /// Leaves exactly one entry for `key`.
    ///
    /// # Errors
    /// As [`Map::add`].
    fn replace(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused>;
    /// Removes every entry of `key`; absent is fine.
    ///
    /// # Errors
    /// As [`Map::add`].
    fn remove(&mut self, key: &[u8]) -> Result<(), Refused>;
    /// Replaces the whole map, pseudo headers included.
    ///
    /// # Errors
    /// As [`Map::add`].
    fn replace_all(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), Refused>;
}

/// Bytes that a guest may read in ranges and, where the phase allows it, replace.
pub trait Buffer {
    /// Bytes held now.
    fn len(&self) -> usize;
    /// Whether nothing is held.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Appends the bytes `start..start + length` (clipped to what is held) to `out`.
    fn copy_to(&self, start: usize, length: usize, out: &mut Vec<u8>);
    /// Replaces the bytes `start..start + length` (clipped) with `bytes`.
    ///
    /// # Errors
    /// [`Refused`] when the buffer is read-only in this phase.
    fn splice(&mut self, start: usize, length: usize, bytes: &[u8]) -> Result<(), Refused>;
}

/// The write was not possible; the reason has been logged or counted by the embedder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// `proxy_send_local_response`.
#[derive(Debug, Clone, Copy)]
pub struct LocalResponse<'a> {
    /// HTTP status as the guest gave it; the embedder checks its range.
    pub status: u32,
    /// For `response.code_details`.
    pub details: &'a [u8],
    /// Body; may be empty.
    pub body: &'a [u8],
    /// Additional headers.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// gRPC status; `None` when the guest passed -1.
    pub grpc_status: Option<u32>,
}

/// `proxy_http_call`.
#[derive(Debug, Clone, Copy)]
pub struct HttpCall<'a> {
    /// Name of the cluster.
    pub cluster: &'a [u8],
    /// Headers with `:method`, `:path`, `:authority`.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// Body; may be empty.
    pub body: &'a [u8],
    /// Trailers.
    pub trailers: &'a [(&'a [u8], &'a [u8])],
    /// `None` for the guest's 0: no timeout.
    pub timeout: Option<Duration>,
}

/// `proxy_grpc_call` (with a message) and `proxy_grpc_stream` (without).
#[derive(Debug, Clone, Copy)]
pub struct GrpcCall<'a> {
    /// Name of the cluster, or a serialized `envoy.config.core.v3.GrpcService`.
    pub cluster: &'a [u8],
    /// Fully qualified service.
    pub service: &'a [u8],
    /// Method.
    pub method: &'a [u8],
    /// Initial metadata.
    pub metadata: &'a [(&'a [u8], &'a [u8])],
    /// The request of a unary call.
    pub message: Option<&'a [u8]>,
    /// `None`: no deadline.
    pub timeout: Option<Duration>,
}

/// Result of reading shared data.
pub enum SharedData {
    /// Nothing under that key.
    Missing,
    /// `out` was filled; the number is the compare-and-swap token, never zero.
    Found(u32),
}

/// The services that one call into a guest may use. `cx` is always the *effective* context: the one
/// that is running, or the one that the guest switched to with `proxy_set_effective_context`.
/// Where the ABI redirects a call to the plugin context (callouts, ticks), the engine passes the root's id.
///
/// `Status` results must be among those that PROXY-WASM.md calls SDK-safe for that hostcall.
pub trait Host {
    /// `proxy_log`, and the guest's standard output (info) and standard error (error).
    fn log(&mut self, cx: ContextId, level: LogLevel, message: &[u8]);
    /// The level below which a guest need not bother.
    fn log_level(&self) -> LogLevel {
        LogLevel::Info
    }
    /// Nanoseconds since the Unix epoch.
    fn now(&self) -> u64;
    /// Nanoseconds of a monotonic clock, for WASI.
    fn monotonic(&self) -> u64;
    /// Fills `out` with unpredictable bytes. `false`: the guest may have none, and its call fails.
    fn random(&mut self, out: &mut [u8]) -> bool;
    /// `proxy_set_tick_period_milliseconds`; `None` switches the timer off.
    fn set_tick_period(&mut self, root: ContextId, period: Option<Duration>);
    /// `proxy_done`.
    fn done(&mut self, cx: ContextId) -> Status {
        let _ = cx;
        Status::NotFound
    }

    /// Runs `f` with the map if it exists in this phase; returns whether it did.
    fn with_map(&mut self, cx: ContextId, map: MapKind, f: &mut dyn FnMut(&mut dyn Map)) -> bool;
    /// Runs `f` with the buffer if it exists in this phase; returns whether it did. VM and plugin
    /// configuration and foreign-function arguments are the engine's own and never asked for.
    fn with_buffer(&mut self, cx: ContextId, buffer: BufferKind, f: &mut dyn FnMut(&mut dyn Buffer)) -> bool;

    /// `proxy_continue_stream` (and the two of 0.1.0). Recorded; acted on when the guest has returned.
    fn continue_stream(&mut self, cx: ContextId, stream: StreamKind);
    /// `proxy_close_stream`. Recorded.
    fn close_stream(&mut self, cx: ContextId, stream: StreamKind);
    /// `proxy_send_local_response`. Recorded; a second one on the same stream is ignored.
    fn send_local_response(&mut self, cx: ContextId, response: LocalResponse<'_>);
    /// `proxy_clear_route_cache` of 0.1.0, and the foreign function of that name.
    fn clear_route_cache(&mut self, cx: ContextId);
    /// `proxy_get_status`: code and message of the last callout.
    fn status(&mut self, cx: ContextId, message: &mut Vec<u8>) -> u32 {
        let _ = (cx, message);
        0
    }

    /// `proxy_http_call` from `cx` (the stream or root that asked); the answer goes to its root. `Ok` is the token.
    ///
    /// # Errors
    /// `BadArgument` or `InternalFailure`.
    fn http_call(&mut self, cx: ContextId, call: HttpCall<'_>) -> Result<u32, Status>;
    /// `proxy_grpc_call` and `proxy_grpc_stream`.
    ///
    /// # Errors
    /// `ParseFailure` or `InternalFailure`.
    fn grpc_call(&mut self, cx: ContextId, call: GrpcCall<'_>) -> Result<u32, Status> {
        let _ = (cx, call);
        Err(Status::InternalFailure)
    }
    /// `proxy_grpc_send`.
    fn grpc_send(&mut self, cx: ContextId, token: u32, message: &[u8], end_of_stream: bool) -> Status {
        let _ = (cx, token, message, end_of_stream);
        Status::NotFound
    }
    /// `proxy_grpc_close`: half-close.
    fn grpc_close(&mut self, cx: ContextId, token: u32) -> Status {
        let _ = (cx, token);
        Status::NotFound
    }
    /// `proxy_grpc_cancel`.
    fn grpc_cancel(&mut self, cx: ContextId, token: u32) -> Status {
        let _ = (cx, token);
        Status::NotFound
    }

    /// `proxy_get_shared_data`: appends the value to `out`.
    fn shared_data(&mut self, cx: ContextId, key: &[u8], out: &mut Vec<u8>) -> SharedData;
    /// `proxy_set_shared_data`: `Ok` or `CasMismatch`; anything else traps the guest, for the ABI has no word for it.
    fn set_shared_data(&mut self, cx: ContextId, key: &[u8], value: &[u8], cas: u32) -> Status;
    /// `proxy_register_shared_queue`: the queue's id, never zero.
    fn register_queue(&mut self, cx: ContextId, name: &[u8]) -> u32 {
        let _ = (cx, name);
        0
    }
    /// `proxy_resolve_shared_queue`.
    fn resolve_queue(&mut self, cx: ContextId, vm: &[u8], name: &[u8]) -> Option<u32> {
        let _ = (cx, vm, name);
        None
    }
    /// `proxy_enqueue_shared_queue`: `Ok` or `NotFound`.
    fn enqueue(&mut self, cx: ContextId, queue: u32, value: &[u8]) -> Status {
        let _ = (cx, queue, value);
        Status::NotFound
    }
    /// `proxy_dequeue_shared_queue`: `Ok`, `NotFound` or `Empty`.
    fn dequeue(&mut self, cx: ContextId, queue: u32, out: &mut Vec<u8>) -> Status {
        let _ = (cx, queue, out);
        Status::NotFound
    }

    /// `proxy_define_metric`. The same name gives a usable id for the same series.
    ///
    /// # Errors
    /// `BadArgument` never reaches official-SDK guests; implementations return a usable id where they can.
    fn define_metric(&mut self, cx: ContextId, kind: MetricKind, name: &[u8]) -> Result<u32, Status>;
    /// `proxy_record_metric`.
    fn record_metric(&mut self, cx: ContextId, metric: u32, value: u64) -> Status;
    /// `proxy_increment_metric`.
    fn increment_metric(&mut self, cx: ContextId, metric: u32, delta: i64) -> Status;
    /// `proxy_get_metric`.
    ///
    /// # Errors
    /// `NotFound` or `BadArgument`.
    fn metric(&mut self, cx: ContextId, metric: u32) -> Result<u64, Status>;

    /// `proxy_get_property`: `path` is joined by NUL bytes; the value is appended to `out`. `Ok` or `NotFound`.
    fn property(&mut self, cx: ContextId, path: &[u8], out: &mut Vec<u8>) -> Status;
    /// `proxy_set_property`. The result is not a status: the SDK accepts `Ok` only.
    fn set_property(&mut self, cx: ContextId, path: &[u8], value: &[u8]);
    /// `proxy_call_foreign_function`: the result is appended to `out`. `Ok`, `NotFound`, `BadArgument`,
    /// `SerializationFailure` or `InternalFailure`.
    fn foreign_function(&mut self, cx: ContextId, name: &[u8], args: &[u8], out: &mut Vec<u8>) -> Status;
}
