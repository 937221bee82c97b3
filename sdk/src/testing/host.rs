//! Drives one filter against the [`World`].

use std::cell::Cell;
use std::time::Duration;

use crate::abi::{Action, MapKind, Side};
use crate::error::ConfigError;
use crate::filter::{HttpFilter, Present};
use crate::redis::{RedisError, Value};
use crate::runtime::{Received, Runtime, Waking};
use crate::testing::redis;
use crate::testing::world::{Pair, SentReply, StreamState, World};

const ROOT: u32 = 1;

/// Gives the answer to a callout to whoever waits for it.
pub(crate) fn answer(runtime: &impl Waking, token: u32, headers: &[(&str, &str)], body: &[u8]) {
    answer_pairs(runtime, token, owned(headers), body.to_vec());
}

fn owned(headers: &[(&str, &str)]) -> Vec<Pair> {
    headers.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

pub(super) fn answer_pairs(runtime: &impl Waking, token: u32, headers: Vec<Pair>, body: Vec<u8>) {
    let size = body.len();
    let count = u32::try_from(headers.len()).unwrap_or(u32::MAX);
    World::with(|world| {
        world.effective = ROOT;
        world.answer = (headers, body);
    });
    runtime.on_http_call_response(token, count, size);
}

/// A message for a gRPC call.
pub(super) fn grpc_message(runtime: &impl Waking, token: u32, message: &[u8]) {
    World::with(|world| {
        world.effective = ROOT;
        world.answer = (Vec::new(), message.to_vec());
    });
    runtime.on_grpc_receive(token, Received::Message(message.len()));
}

/// The end of a gRPC call.
pub(super) fn grpc_close(runtime: &impl Waking, token: u32, code: u32, message: &str) {
    World::with(|world| {
        world.effective = ROOT;
        world.status = (code, message.to_owned());
    });
    runtime.on_grpc_close(token, code);
}

/// Time passes; timers fire on the way.
pub(super) fn advance(runtime: &impl Waking, duration: Duration) {
    let end = World::with(|world| world.now) + u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    loop {
        let due = World::with(|world| {
            let (at, period) = world.tick.filter(|(at, _)| *at <= end)?;
            world.now = at;
            world.tick = Some((at + u64::from(period) * 1_000_000, period));
            world.effective = ROOT;
            Some(())
        });
        if due.is_none() {
            break;
        }
        runtime.on_tick(ROOT);
    }
    World::with(|world| world.now = end);
}

/// Gives the keys that were derived to whoever waits for them. Whether there were any.
pub(crate) fn answer_keys(runtime: &impl Waking) -> bool {
    let mut any = false;
    while let Some((token, context, key)) = World::with(|world| world.keys.pop_front()) {
        any = true;
        let size = World::with(|world| {
            world.effective = context;
            world.arguments = [&token.to_le_bytes()[..], &key].concat();
            world.arguments.len()
        });
        runtime.on_key(size);
    }
    any
}

/// What the filter told the host when it refused its configuration.
pub(super) fn refusal() -> ConfigError {
    let refusal = World::with(|world| world.refusal.take()).unwrap_or_default();
    let refusal: serde_json::Value = serde_json::from_str(&refusal).unwrap_or_default();
    let text = |key: &str| refusal.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    ConfigError::at(text("path"), text("message"))
}

/// One instance of a filter, configured. Making one resets this thread's [`World`].
pub struct Host<F: HttpFilter + Present> {
    runtime: Runtime<F>,
    next: Cell<u32>,
}

impl<F: HttpFilter + Present> Host<F> {
    /// An instance with this configuration, in JSON.
    ///
    /// # Errors
    /// The filter's refusal, as it was told to the host.
    pub fn configure(configuration: &str) -> Result<Self, ConfigError> {
        Self::configure_in(configuration, |_| {})
    }

    /// As [`Host::configure`], in a world that `prepare` has arranged.
    ///
    /// # Errors
    /// The filter's refusal.
    pub fn configure_in(configuration: &str, prepare: impl FnOnce(&mut World)) -> Result<Self, ConfigError> {
        World::reset();
        World::with(prepare);
        let host = Self { runtime: Runtime::new(), next: Cell::new(ROOT + 1) };
        host.runtime.on_context_create(ROOT, 0);
        host.reconfigure(configuration)?;
        Ok(host)
    }

    /// A new configuration for the streams to come.
    ///
    /// # Errors
    /// The filter's refusal; the old configuration stays.
    pub fn reconfigure(&self, configuration: &str) -> Result<(), ConfigError> {
        World::with(|world| world.configuration = configuration.as_bytes().to_vec());
        if self.runtime.on_configure(ROOT, configuration.len()) {
            return Ok(());
        }
        Err(refusal())
    }

    /// The runtime, for callbacks that have no method here.
    pub fn runtime(&self) -> &Runtime<F> {
        &self.runtime
    }

    /// A stream that nothing has happened to yet.
    pub fn open(&self) -> u32 {
        let stream = self.next.replace(self.next.get() + 1);
        World::with(|world| {
            world.stream_mut(stream);
            world.effective = stream;
        });
        self.runtime.on_context_create(stream, ROOT);
        stream
    }

    /// A request without a body, through its headers' phase.
    pub fn request(&self, headers: &[(&str, &str)]) -> u32 {
        let stream = self.open();
        self.request_headers(stream, headers, true);
        stream
    }

    /// The headers' phase of a request.
    pub fn request_headers(&self, stream: u32, headers: &[(&str, &str)], end_of_stream: bool) -> Action {
        self.headers(Side::Request, stream, headers, end_of_stream)
    }

    /// The headers' phase of a response.
    pub fn response_headers(&self, stream: u32, headers: &[(&str, &str)], end_of_stream: bool) -> Action {
        self.headers(Side::Response, stream, headers, end_of_stream)
    }

    fn headers(&self, side: Side, stream: u32, headers: &[(&str, &str)], end_of_stream: bool) -> Action {
        self.headers_of(side, stream, owned(headers), end_of_stream)
    }

    pub(super) fn headers_of(&self, side: Side, stream: u32, headers: Vec<Pair>, end_of_stream: bool) -> Action {
        World::with(|world| {
            world.effective = stream;
            world.stream_mut(stream).set_pairs(side.headers(), headers);
        });
        let wanted = match side {
            Side::Request => F::CALLBACKS.on_request || F::CALLBACKS.on_request_with_body,
            Side::Response => F::CALLBACKS.on_response || F::CALLBACKS.on_response_with_body,
        };
        if wanted { self.runtime.on_headers(side, stream, end_of_stream) } else { Action::Continue }
    }

    /// A chunk of a body; what the filter held so far is before it.
    pub fn body(&self, side: Side, stream: u32, bytes: &[u8], end_of_stream: bool) -> Action {
        let size = World::with(|world| {
            world.effective = stream;
            let body = world.stream_mut(stream).bodies.get_mut(side as usize);
            body.map_or(0, |body| {
                body.extend_from_slice(bytes);
                body.len()
            })
        });
        let wanted = match side {
            Side::Request => F::CALLBACKS.on_request_chunk || F::CALLBACKS.on_request_with_body,
            Side::Response => F::CALLBACKS.on_response_chunk || F::CALLBACKS.on_response_with_body,
        };
        if wanted { self.runtime.on_body(side, stream, size, end_of_stream) } else { Action::Continue }
    }

    pub(super) fn trailers_of(&self, side: Side, stream: u32, trailers: Vec<Pair>) -> Action {
        let (map, whole, chunks) = match side {
            Side::Request => {
                (MapKind::RequestTrailers, F::CALLBACKS.on_request_with_body, F::CALLBACKS.on_request_chunk)
            }
            Side::Response => {
                (MapKind::ResponseTrailers, F::CALLBACKS.on_response_with_body, F::CALLBACKS.on_response_chunk)
            }
        };
        World::with(|world| {
            world.effective = stream;
            world.stream_mut(stream).set_pairs(map, trailers);
        });
        // As the module exports the callback.
        let wanted = whole || (chunks && F::CALLBACKS.waits);
        if wanted { self.runtime.on_trailers(side, stream) } else { Action::Continue }
    }

    /// Takes what of a body may go on.
    pub fn take_body(&self, side: Side, stream: u32) -> Vec<u8> {
        World::with(|world| {
            world.stream_mut(stream).bodies.get_mut(side as usize).map(std::mem::take).unwrap_or_default()
        })
    }

    /// Answers a callout; no headers mean that it failed.
    pub fn answer(&self, token: u32, headers: &[(&str, &str)], body: &[u8]) {
        answer(&self.runtime, token, headers, body);
    }

    /// A message for a gRPC call.
    pub fn grpc_message(&self, token: u32, message: &[u8]) {
        grpc_message(&self.runtime, token, message);
    }

    /// The end of a gRPC call.
    pub fn grpc_close(&self, token: u32, code: u32, message: &str) {
        grpc_close(&self.runtime, token, code, message);
    }

    /// Gives the keys that were derived to whoever waits for them.
    pub fn answer_keys(&self) {
        answer_keys(&self.runtime);
    }

    /// Answers a call of Redis, unless the context that asked is gone.
    pub fn answer_redis(&self, token: u32, said: Result<Vec<Value>, RedisError>) {
        redis::answer(&self.runtime, token, &said);
    }

    /// Time passes; timers fire on the way.
    pub fn advance(&self, duration: Duration) {
        advance(&self.runtime, duration);
    }

    /// Asks a filter that routes to select again.
    pub fn reroute(&self, stream: u32) {
        World::with(|world| world.effective = stream);
        if F::CALLBACKS.on_reroute {
            self.runtime.on_foreign_function(stream, 1, 0);
        }
    }

    /// What the filter says it would make of a stream's request.
    #[must_use]
    pub fn explain(&self, stream: u32) -> Vec<String> {
        World::with(|world| world.effective = stream);
        if F::CALLBACKS.explain {
            self.runtime.on_foreign_function(stream, 2, 0);
        }
        self.stream(stream, |stream| std::mem::take(&mut stream.explained))
    }

    /// The end of a stream: log, then delete.
    pub fn finish(&self, stream: u32) {
        World::with(|world| world.effective = stream);
        if F::CALLBACKS.on_log {
            self.runtime.on_log(stream);
        }
        self.runtime.on_delete(stream);
    }

    /// Looks at a stream.
    pub fn stream<T>(&self, stream: u32, look: impl FnOnce(&mut StreamState) -> T) -> T {
        World::with(|world| look(world.stream_mut(stream)))
    }

    /// The local reply to a stream.
    #[must_use]
    pub fn reply(&self, stream: u32) -> Option<SentReply> {
        self.stream(stream, |stream| stream.reply.clone())
    }

    /// A request header as the next filter sees it.
    #[must_use]
    pub fn request_header(&self, stream: u32, name: &str) -> Option<String> {
        self.stream(stream, |stream| stream.header(MapKind::RequestHeaders, name))
    }

    /// A response header as the next filter sees it.
    #[must_use]
    pub fn response_header(&self, stream: u32, name: &str) -> Option<String> {
        self.stream(stream, |stream| stream.header(MapKind::ResponseHeaders, name))
    }
}
