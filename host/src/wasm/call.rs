//! One call into a guest: the engine's [`Host`] for its length.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use fyke_engine::{
    Buffer, BufferKind, ContextId, GrpcCall, Host, HttpCall, LocalResponse, LogLevel, Map, MapKind, MetricKind,
    SharedData, Status, StreamKind,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{
    call_out::{self, Answer},
    env::Env,
    exchange::{BodyHold, Direction, Exchange, Hold, Kind, Reply},
    foreign,
    grants::Capability,
    grpc,
    maps::{Fields, Frozen, ResponseHead},
    outside, properties,
    rope::{Noted, ReadOnly},
    tap,
    vm::{Slot, Vm},
    watched::with_stream_map,
};
use crate::{callout::grpc::frame, cluster::local::LocalCluster, shared::Scope};

/// The stream that runs.
pub struct Current<'a> {
    /// Its context.
    pub context: ContextId,
    /// It.
    pub exchange: &'a mut Exchange,
    /// The filter's place in the chain.
    pub index: usize,
}

/// What a guest may use while it runs.
pub struct Call<'a> {
    env: &'a Rc<Env>,
    vm: &'a Rc<Vm>,
    slot: &'a Rc<Slot>,
    current: Option<Current<'a>>,
    /// The plugin context of a stream that is not known to the instance yet.
    root: Option<ContextId>,
    answer: Option<&'a mut Answer>,
    grpc: Option<&'a mut grpc::Received>,
}

impl<'a> Call<'a> {
    /// A call on behalf of a plugin context.
    pub fn for_root(env: &'a Rc<Env>, vm: &'a Rc<Vm>, slot: &'a Rc<Slot>) -> Self {
        Self { env, vm, slot, current: None, root: None, answer: None, grpc: None }
    }

    /// A call that makes a stream's context under a plugin context.
    pub fn for_new_stream(env: &'a Rc<Env>, vm: &'a Rc<Vm>, slot: &'a Rc<Slot>, root: ContextId) -> Self {
        Self { root: Some(root), ..Self::for_root(env, vm, slot) }
    }

    /// A call on behalf of a plugin context that is given a callout's answer.
    pub fn for_answer(env: &'a Rc<Env>, vm: &'a Rc<Vm>, slot: &'a Rc<Slot>, answer: Option<&'a mut Answer>) -> Self {
        Self { answer, ..Self::for_root(env, vm, slot) }
    }

    /// A call on behalf of a plugin context that is given an event of a gRPC call.
    pub fn for_grpc(env: &'a Rc<Env>, vm: &'a Rc<Vm>, slot: &'a Rc<Slot>, received: &'a mut grpc::Received) -> Self {
        Self { grpc: Some(received), ..Self::for_root(env, vm, slot) }
    }

    /// A call on behalf of a stream.
    pub fn for_stream(env: &'a Rc<Env>, vm: &'a Rc<Vm>, slot: &'a Rc<Slot>, current: Current<'a>) -> Self {
        Self { current: Some(current), ..Self::for_root(env, vm, slot) }
    }

    /// Surroundings.
    #[must_use]
    pub fn env(&self) -> &'a Rc<Env> {
        self.env
    }

    /// Where it stands.
    #[must_use]
    pub fn vm(&self) -> &'a Rc<Vm> {
        self.vm
    }

    /// The instance.
    #[must_use]
    pub fn slot(&self) -> &'a Rc<Slot> {
        self.slot
    }

    /// Runs `f` with the stream of a context, if it is one.
    pub fn stream<T>(&mut self, cx: ContextId, f: impl FnOnce(&mut Exchange, usize) -> T) -> Option<T> {
        if let Some(current) = &mut self.current
            && current.context == cx
        {
            return Some(f(current.exchange, current.index));
        }
        let (exchange, index) = self.slot.stream(cx)?;
        // Another filter's context of the stream that runs, which is borrowed already: they share the instance.
        if let Some(current) = &mut self.current
            && std::ptr::eq(exchange.as_ptr(), &raw const *current.exchange)
        {
            return Some(f(current.exchange, index));
        }
        let mut exchange = exchange.try_borrow_mut().ok()?;
        Some(f(&mut exchange, index))
    }

    /// The plugin context of a context: a stream's root, or the root itself.
    fn root(&mut self, cx: ContextId) -> ContextId {
        self.stream(cx, |exchange, index| exchange.filters.get(index).map(|filter| filter.root))
            .flatten()
            .or_else(|| self.root.filter(|_| self.slot.settings(cx).is_none()))
            .unwrap_or(cx)
    }

    /// A cluster that there is and that the filter may use.
    pub(super) fn cluster(&mut self, cx: ContextId, name: &str) -> Option<Rc<LocalCluster>> {
        let root = self.root(cx);
        let settings = self.slot.settings(root).map(|settings| &**settings);
        let allowed =
            self.env.clusters.contains(name) && self.vm.grants.allow(settings, Capability::Clusters, name.as_bytes());
        allowed.then(|| self.env.clusters.get(name)).flatten()
    }

    /// The scope of what the filter shares, if it was granted.
    pub(super) fn shared(&mut self, cx: ContextId) -> Option<&'a Scope> {
        self.may(cx, Capability::SharedData, b"").then_some(&self.vm.scope)
    }

    /// The same for queues.
    fn queues(&mut self, cx: ContextId) -> Option<&'a Scope> {
        self.may(cx, Capability::Queues, b"").then_some(&self.vm.scope)
    }

    /// Whether the filter of a context may use a thing.
    fn may(&mut self, cx: ContextId, capability: Capability, what: &[u8]) -> bool {
        let root = self.root(cx);
        self.vm.grants.allow(self.slot.settings(root).map(|settings| &**settings), capability, what)
    }

    /// Whether some filter of this instance may.
    fn any_may(&self, capability: Capability) -> bool {
        self.vm.grants.allow_any(self.slot.roots.iter().map(|root| &*root.settings), capability, b"")
    }

    fn filter_name(&mut self, cx: ContextId) -> String {
        let root = self.root(cx);
        self.slot.settings(root).map_or_else(|| self.vm.name.to_string(), |settings| settings.name.clone())
    }

    fn is_current(&self, cx: ContextId) -> bool {
        self.current.as_ref().is_some_and(|current| current.context == cx)
    }
}

/// The direction of a stream that a guest names, if this kind of stream has it.
pub(super) fn direction(kind: Kind, stream: StreamKind) -> Option<Direction> {
    match (kind, stream) {
        (Kind::Http, StreamKind::Request) | (Kind::Tcp, StreamKind::Downstream) => Some(Direction::Request),
        (Kind::Http, StreamKind::Response) | (Kind::Tcp, StreamKind::Upstream) => Some(Direction::Response),
        _ => None,
    }
}

impl Host for Call<'_> {
    fn log(&mut self, cx: ContextId, level: LogLevel, message: &[u8]) {
        let name = self.filter_name(cx);
        outside::log(&self.vm.lines, &name, level, message);
    }

    fn log_level(&self) -> LogLevel {
        outside::log_level()
    }

    fn now(&self) -> u64 {
        if self.any_may(Capability::Clock) { outside::now() } else { 0 }
    }

    fn monotonic(&self) -> u64 {
        if !self.any_may(Capability::Clock) {
            return 0;
        }
        u64::try_from(self.env.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn random(&mut self, out: &mut [u8]) -> bool {
        let granted = self.any_may(Capability::Random);
        if granted {
            self.env.stock.entropy.fill(out);
        }
        granted
    }

    fn set_tick_period(&mut self, root: ContextId, period: Option<Duration>) {
        self.vm.tick(self.slot, root, period);
    }

    fn done(&mut self, cx: ContextId) -> Status {
        let root = self.root(cx);
        self.slot.is_done(root);
        Status::Ok
    }

    fn with_map(&mut self, cx: ContextId, map: MapKind, f: &mut dyn FnMut(&mut dyn Map)) -> bool {
        match map {
            MapKind::CallHeaders => {
                return self.answer.as_mut().map(|answer| f(&mut Frozen(&mut answer.head))).is_some();
            }
            MapKind::CallTrailers => {
                return self.answer.as_mut().map(|answer| f(&mut Frozen(&mut Fields(&mut answer.trailers)))).is_some();
            }
            MapKind::GrpcInitialMetadata => {
                return self.grpc.as_mut().map(|grpc| f(&mut Frozen(&mut Fields(&mut grpc.initial)))).is_some();
            }
            MapKind::GrpcTrailingMetadata => {
                return self.grpc.as_mut().map(|grpc| f(&mut Frozen(&mut Fields(&mut grpc.trailing)))).is_some();
            }
            _ => {}
        }
        let scribe = &self.env.stock.scribe;
        self.stream(cx, |exchange, index| with_stream_map(scribe, exchange, index, map, f)).unwrap_or(false)
    }

    fn with_buffer(&mut self, cx: ContextId, buffer: BufferKind, f: &mut dyn FnMut(&mut dyn Buffer)) -> bool {
        let (kind, direction) = match buffer {
            BufferKind::CallBody => return self.answer.as_ref().map(|answer| f(&mut ReadOnly(&answer.body))).is_some(),
            BufferKind::GrpcMessage => {
                return self.grpc.as_ref().map(|grpc| f(&mut ReadOnly(&grpc.message))).is_some();
            }
            BufferKind::RequestBody => (Kind::Http, Direction::Request),
            BufferKind::ResponseBody => (Kind::Http, Direction::Response),
            BufferKind::DownstreamData => (Kind::Tcp, Direction::Request),
            BufferKind::UpstreamData => (Kind::Tcp, Direction::Response),
            _ => return false,
        };
        let running = self.is_current(cx);
        self.stream(cx, |exchange, index| {
            // What has been cut off once does not grow any further, however long the guest goes on.
            if exchange.reset || exchange.kind != kind {
                return false;
            }
            let most_held = exchange.most_held();
            let Some(filter) = exchange.filters.get_mut(index) else { return false };
            let stage = filter.stage(direction);
            // The buffer exists from the first body callback until the body has gone on.
            if !stage.headers_seen || stage.finished {
                return false;
            }
            let before = stage.held.len();
            let mut written = false;
            f(&mut Noted { buffer: &mut stage.held, written: &mut written });
            let now = stage.held.len();
            if written {
                filter.altered = true;
                tap::wrote(exchange, index, direction, before, now);
            }
            // A guest may make a body larger, but not without end; what is cut off here is told to the peer.
            if now > before && now > most_held {
                exchange.reset = true;
                exchange.details = "buffer_overflow".into();
                if !running {
                    exchange.wake();
                }
            }
            true
        })
        .unwrap_or(false)
    }

    fn continue_stream(&mut self, cx: ContextId, stream: StreamKind) {
        let running = self.is_current(cx);
        self.stream(cx, |exchange, index| {
            let Some(direction) = direction(exchange.kind, stream) else { return };
            let Some(filter) = exchange.filters.get_mut(index) else { return };
            let stage = filter.stage(direction);
            stage.resume = true;
            let holds = stage.hold != Hold::None || stage.body_hold != BodyHold::None;
            exchange.half(direction).settled = false;
            // A callback of one direction may let the other one go, whose task then sleeps.
            if !running || holds {
                exchange.wake();
            }
        });
    }

    fn close_stream(&mut self, cx: ContextId, stream: StreamKind) {
        let running = self.is_current(cx);
        self.stream(cx, |exchange, _| {
            if direction(exchange.kind, stream).is_none() {
                return;
            }
            match exchange.kind {
                Kind::Http => exchange.reset = true,
                Kind::Tcp => exchange.closing = true,
            }
            exchange.details = "closed_by_filter".into();
            if !running {
                exchange.wake();
            }
        });
    }

    fn send_local_response(&mut self, cx: ContextId, response: LocalResponse<'_>) {
        let running = self.is_current(cx);
        let mut head = ResponseHead {
            status: u16::try_from(response.status)
                .ok()
                .filter(|status| (200..600).contains(status))
                .and_then(|status| StatusCode::from_u16(status).ok())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            fields: HeaderMap::with_capacity(response.headers.len() + 1),
        };
        for (key, value) in response.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(key), HeaderValue::from_bytes(value)) {
                // The host frames what it sends; see PROXY-WASM.md 1.4, "Local response".
                if name != http::header::CONTENT_LENGTH && name != http::header::TRANSFER_ENCODING {
                    let _ = head.fields.try_append(name, value);
                }
            }
        }
        let details = String::from_utf8_lossy(response.details).into_owned();
        let reply = Reply {
            head,
            body: Bytes::copy_from_slice(response.body),
            grpc_status: response.grpc_status,
            details: if details.is_empty() { "filter_reply".into() } else { details.into() },
            from: None,
        };
        self.stream(cx, |exchange, index| {
            let reply = Reply { from: Some(index), ..reply };
            if exchange.response_sent {
                // Too late to say anything else: the only honest answer is to cut the response off.
                exchange.reset = true;
            } else {
                let accepted = exchange.reply_with(reply);
                let Some(filter) = exchange.filters.get_mut(index) else { return };
                if accepted {
                    filter.plugin.metrics.replies.inc();
                } else {
                    // The filter thinks that it has answered and will not let anything go. What it holds is another one's answer.
                    filter.request.resume = true;
                    filter.response.resume = true;
                    exchange.unsettle();
                }
            }
            if !running {
                exchange.wake();
            }
        });
    }

    fn clear_route_cache(&mut self, cx: ContextId) {
        self.stream(cx, |exchange, index| {
            // A filter before the one that routes has nothing to clear.
            if exchange.selection.as_ref().is_some_and(|selection| selection.by < index) {
                exchange.route_cleared = true;
            }
        });
    }

    fn http_call(&mut self, cx: ContextId, call: HttpCall<'_>) -> Result<u32, Status> {
        let root = self.root(cx);
        let request =
            call_out::callout_request(&self.vm.grants, self.slot.settings(root).map(|settings| &**settings), &call)?;
        if !self.env.clusters.contains(&request.cluster) {
            return Err(Status::BadArgument);
        }
        let Some(place) = self.slot.room_for_call(request.size()) else {
            self.vm.metrics().failed_calls.inc();
            return Err(Status::InternalFailure);
        };
        let token = self.slot.token();
        call_out::begin(self.vm, self.slot, self.env, call_out::PendingCall { root, token, request }, place);
        Ok(token)
    }

    fn grpc_call(&mut self, cx: ContextId, call: GrpcCall<'_>) -> Result<u32, Status> {
        let root = self.root(cx);
        let asked = grpc::asked(&call)?;
        if self.cluster(cx, asked.cluster()).is_none() {
            return Err(Status::ParseFailure);
        }
        let Some(place) = self.slot.room_for_call(asked.size()) else {
            self.vm.metrics().failed_calls.inc();
            return Err(Status::InternalFailure);
        };
        let token = self.slot.token();
        grpc::begin((self.vm, self.slot, self.env), (root, token), asked, place);
        Ok(token)
    }

    fn grpc_send(&mut self, _cx: ContextId, token: u32, message: &[u8], end_of_stream: bool) -> Status {
        grpc::send(self.slot, token, frame(message), end_of_stream)
    }

    fn grpc_close(&mut self, _cx: ContextId, token: u32) -> Status {
        grpc::half_close(self.slot, token)
    }

    fn grpc_cancel(&mut self, _cx: ContextId, token: u32) -> Status {
        grpc::cancel(self.slot, token)
    }

    fn status(&mut self, _cx: ContextId, message: &mut Vec<u8>) -> u32 {
        let Some(status) = self.grpc.as_ref().and_then(|grpc| grpc.status.as_ref()) else { return 0 };
        message.extend_from_slice(status.message.as_bytes());
        status.code
    }

    fn shared_data(&mut self, cx: ContextId, key: &[u8], out: &mut Vec<u8>) -> SharedData {
        outside::read_shared(self.shared(cx), key, out)
    }

    fn set_shared_data(&mut self, cx: ContextId, key: &[u8], value: &[u8], cas: u32) -> Status {
        outside::write_shared(self.shared(cx), key, value, cas)
    }

    fn register_queue(&mut self, cx: ContextId, name: &[u8]) -> u32 {
        let root = self.root(cx);
        let queue = self.queues(cx).and_then(|scope| scope.queues.register(&scope.name, name));
        let Some(queue) = queue else { return 0 };
        self.vm.scope.queues.listen(queue, root, &self.slot.ready);
        queue
    }

    fn resolve_queue(&mut self, cx: ContextId, vm: &[u8], name: &[u8]) -> Option<u32> {
        self.queues(cx)?.resolve_queue(vm, name)
    }

    fn enqueue(&mut self, cx: ContextId, queue: u32, value: &[u8]) -> Status {
        outside::enqueue(self.queues(cx), queue, value)
    }

    fn dequeue(&mut self, cx: ContextId, queue: u32, out: &mut Vec<u8>) -> Status {
        outside::dequeue(self.queues(cx), queue, out)
    }

    fn define_metric(&mut self, cx: ContextId, kind: MetricKind, name: &[u8]) -> Result<u32, Status> {
        if !self.may(cx, Capability::Metrics, b"") {
            return Ok(foreign::NO_METRIC);
        }
        let root = self.root(cx);
        let owner = self.slot.settings(root).map(|settings| &**settings);
        Ok(foreign::define_metric(&self.env.registry, owner, kind, name))
    }

    fn record_metric(&mut self, _cx: ContextId, metric: u32, value: u64) -> Status {
        foreign::record_metric(&self.env.registry, metric, value)
    }

    fn increment_metric(&mut self, _cx: ContextId, metric: u32, delta: i64) -> Status {
        foreign::increment_metric(&self.env.registry, metric, delta)
    }

    fn metric(&mut self, _cx: ContextId, metric: u32) -> Result<u64, Status> {
        foreign::metric(&self.env.registry, metric)
    }

    fn property(&mut self, cx: ContextId, path: &[u8], out: &mut Vec<u8>) -> Status {
        let root = self.root(cx);
        let (env, slot) = (self.env, self.slot);
        let settings = slot.settings(root);
        let found = properties::of_plugin(
            path,
            settings.map(|settings| &**settings),
            &env.node,
            env.tracer.as_ref().map(|tracer| tracer.sample),
            out,
        ) || self.stream(cx, |exchange, _| properties::of_stream(exchange, path, out)).unwrap_or(false);
        if found { Status::Ok } else { Status::NotFound }
    }

    fn set_property(&mut self, cx: ContextId, path: &[u8], value: &[u8]) {
        if self.slot.ordinary || self.may(cx, Capability::SetProperties, b"") {
            self.stream(cx, |exchange, _| properties::set(exchange, path, value));
        }
    }

    fn foreign_function(&mut self, cx: ContextId, name: &[u8], args: &[u8], out: &mut Vec<u8>) -> Status {
        let granted = self.slot.ordinary
            || (self.may(cx, Capability::ForeignFunctions, name)
                && (!name.starts_with(b"fyke.metric.") || self.may(cx, Capability::Metrics, b"")));
        if granted { foreign::call(self, cx, name, args, out) } else { Status::NotFound }
    }
}
