//! One request: through the chain, to its cluster, and the answer back.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

pub use super::respond::ResponseBody;
use super::{
    admit::{self, Admitted},
    exchange_body::{feed, poll_source},
    extended::{self, Said},
    outcome::{self, Abort},
    patience::Limits,
    respond::respond,
    response_flow::Down,
    route,
    runtime::ListenerRuntime,
    upgrade::Far,
};
use crate::{
    clock,
    cluster::{lease::Lease, local::LocalCluster, ways::Passed},
    filter::{finish, flow, pump::Pump, reply},
    listener::activity::{Activity, Busy},
    telemetry::Histogram,
    upstream::{UpstreamError, dispatch::Purpose},
    wasm::exchange::{Connection, Direction, Exchange, Hold, Reply, Waiting},
};

/// Bytes of a response that are taken through the filters before its head goes out, where they are there already.
const READY: usize = 64 * 1024;

/// A stream and its end: whoever drops the last reference ends it.
pub struct Stream {
    /// Listener, filters, surroundings.
    pub runtime: Rc<ListenerRuntime>,
    /// What filters see.
    pub exchange: Rc<RefCell<Exchange>>,
    pub(super) cluster: RefCell<Option<(Rc<LocalCluster>, Instant)>>,
    failed: Cell<bool>,
    ended: Cell<bool>,
    /// What the client asks of its connection.
    pub(super) purpose: Purpose,
    /// The request was a CONNECT, extended or not: a 2xx means to its client that the tunnel stands.
    pub(super) connects: bool,
    /// Noted before the head goes to the upstream, and is no longer here to be asked.
    grpc: bool,
    busy: Busy,
    /// Pieces of bodies that have moved, either way.
    moves: Cell<u64>,
    /// How long things may take, once that is decided.
    pub(super) limits: Cell<Limits>,
    /// What the answer holds of its upstream while it goes out.
    pub(super) down: RefCell<Down>,
}

impl Stream {
    /// Pieces of bodies that have moved so far, either way.
    #[must_use]
    pub fn moves(&self) -> u64 {
        self.moves.get()
    }

    /// Notes that a piece of a body has moved.
    pub fn move_on(&self) {
        self.moves.set(self.moves.get() + 1);
        self.busy.move_on();
    }

    /// Notes that the stream broke after its answer had begun.
    pub fn failed(&self, why: &str) {
        if !self.failed.replace(true) {
            let exchange = self.exchange.borrow();
            tracing::debug!(
                listener = &*exchange.connection.listener,
                path = exchange.request_head.path.path(),
                "stream broke: {why}"
            );
        }
    }

    /// Ends the stream: counters, then log, done and delete. `whole` says that the answer went out to its last byte.
    pub fn end(&self, whole: bool) {
        if self.ended.replace(true) {
            return;
        }
        let now = Instant::now();
        let metrics = &self.runtime.metrics;
        let mut exchange = self.exchange.borrow_mut();
        if exchange.request_received.is_none() {
            self.busy.unread();
        }
        // What did not end well, and neither by an upstream's fault nor by a filter's, the client gave up.
        if whole || self.failed.get() || exchange.reset {
            self.busy.answered();
        }
        // Before the answer's head has come there are no details yet.
        let undecided = matches!(&*exchange.details, "" | "via_upstream");
        if !whole && !self.failed.get() && !exchange.reset && undecided {
            exchange.details = "downstream_disconnected".into();
        }
        let class = exchange
            .response_head
            .as_ref()
            .filter(|_| exchange.response_sent)
            .map(|head| usize::from(head.status.as_u16() / 100));
        let counter = |classes: &[crate::telemetry::registry::Counter; 5],
                       reset: &crate::telemetry::registry::Counter| {
            match class.and_then(|class| classes.get(class.saturating_sub(1))) {
                Some(counter) if whole => counter.bump(),
                _ => reset.bump(),
            }
        };
        counter(&metrics.classes, &metrics.reset);
        if let Some((cluster, since)) = self.cluster.borrow_mut().take() {
            cluster.metrics.active.shift(-1);
            let duration = now.duration_since(since);
            // What a filter or the host has answered in place of the upstream is what the client sees of it.
            let passed = Passed { failed: !whole || class.is_none_or(|class| class >= 5), time: duration };
            let way = (&self.runtime.env.registry, &*exchange.connection.listener, &*cluster.name);
            cluster.ways.note(metrics, passed, way);
            if exchange.details == "via_upstream" {
                counter(&cluster.metrics.classes, &cluster.metrics.reset);
                cluster.metrics.duration.note(duration);
                exemplify(&exchange, &cluster.metrics.duration, duration);
            }
        }
        metrics.requests_active.shift(-1);
        metrics.worker_active.shift(-1);
        let duration = now.duration_since(exchange.started);
        metrics.duration.note(duration);
        exemplify(&exchange, &metrics.duration, duration);
        finish::finish(&self.runtime.env, &mut exchange, now);
    }

    /// Whether some filter may still look at the heads when the answer is under way.
    #[must_use]
    pub fn keeps_heads(&self) -> bool {
        !self.runtime.chain.is_empty()
    }

    fn pump(&self, exchange: &mut Exchange, direction: Direction, waker: &std::task::Waker) {
        let weak = Rc::downgrade(&self.exchange);
        Pump { env: &self.runtime.env, weak: &weak, waker: Some(waker) }.run(exchange, direction);
    }

    /// Waits until the headers of a direction have passed every filter, feeding the body to filters that hold only headers.
    async fn passed(&self, direction: Direction, source: &mut Option<Incoming>, deadline: Option<Instant>) -> Passage {
        let mut sleep = pin!(None::<tokio::time::Sleep>);
        poll_fn(|cx| {
            loop {
                {
                    let mut exchange = self.exchange.borrow_mut();
                    self.pump(&mut exchange, direction, cx.waker());
                    if exchange.is_interrupted() {
                        return Poll::Ready(Passage::Interrupted);
                    }
                    if exchange.head_passed(direction) {
                        return Poll::Ready(Passage::Passed);
                    }
                    exchange.wait(Waiting::Main, cx.waker());
                    let reads = exchange
                        .filters
                        .iter_mut()
                        .any(|filter| matches!(filter.stage(direction).hold, Hold::HeadersOnly | Hold::AllAndBuffer));
                    if let Some(deadline) = deadline {
                        if sleep.is_none() {
                            sleep.set(Some(tokio::time::sleep_until(deadline)));
                        }
                        if let Some(sleep) = sleep.as_mut().as_pin_mut()
                            && sleep.poll(cx).is_ready()
                        {
                            return Poll::Ready(Passage::Late);
                        }
                    }
                    if source.is_none() || !reads || !exchange.wants_more(direction) {
                        return Poll::Pending;
                    }
                }
                match std::task::ready!(poll_source(source, direction, cx)) {
                    Ok(piece) => feed(self, direction, piece),
                    Err(error) => return Poll::Ready(Passage::Broken(error.to_string())),
                }
            }
        })
        .await
    }
}

impl Stream {
    /// Takes what has already come of a response's body through the filters, without waiting for more. A short answer is whole
    /// then, and keeps a `Content-Length` although filters may have changed it.
    async fn take_ready(&self, source: &mut Option<Incoming>) -> Result<(), String> {
        if !self.runtime.chain.response_body {
            return Ok(());
        }
        poll_fn(|cx| {
            loop {
                {
                    let mut exchange = self.exchange.borrow_mut();
                    self.pump(&mut exchange, Direction::Response, cx.waker());
                    let enough = exchange.response.outlet.body.len() >= READY;
                    if source.is_none()
                        || enough
                        || exchange.is_interrupted()
                        || !exchange.wants_more(Direction::Response)
                    {
                        return Poll::Ready(Ok(()));
                    }
                }
                match poll_source(source, Direction::Response, cx) {
                    Poll::Pending => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(piece)) => feed(self, Direction::Response, piece),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error.to_string())),
                }
            }
        })
        .await
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.end(false);
    }
}

enum Passage {
    Passed,
    Interrupted,
    Late,
    Broken(String),
}

/// What a response still has to bring after its head.
pub(super) struct Tail {
    pub(super) source: Option<Incoming>,
    pub(super) lease: Option<Lease>,
    /// When the route's timeout is over.
    pub(super) deadline: Option<Instant>,
    pub(super) tunnel: Option<Far>,
}

impl Tail {
    pub(super) fn none() -> Self {
        Self { source: None, lease: None, deadline: None, tunnel: None }
    }
}

/// Serves one request.
///
/// Cancel safe: dropped, the stream is ended and its upstream request reset.
///
/// # Errors
/// [`Abort`]: the stream is to be reset without an answer.
pub async fn serve(
    runtime: Rc<ListenerRuntime>,
    connection: Rc<Connection>,
    activity: Arc<Activity>,
    mut request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Abort> {
    let busy = Busy::begin(activity);
    let tunnels = request.headers().contains_key(header::UPGRADE) || request.method() == Method::CONNECT;
    let on_upgrade = tunnels.then(|| hyper::upgrade::on(&mut request));
    let connects = request.method() == Method::CONNECT;
    let said = extended::translate(&mut request);
    let (parts, incoming) = request.into_parts();
    let version = parts.version;
    let most = runtime.limits.headers;
    let admitted = match said {
        Said::Unknown => Err(admit::UNKNOWN_PROTOCOL),
        _ => admit::request(parts.method, parts.uri, version, parts.headers, &connection, most),
    };
    let Admitted { mut head, upgrades, expects } = match admitted {
        Ok(admitted) => admitted,
        Err(refused) => {
            busy.answered();
            if !incoming.is_end_stream() {
                busy.unread();
            }
            return Ok(refuse(&runtime, &refused));
        }
    };
    let mut purpose = if upgrades { Purpose::Upgrade } else { Purpose::Answer };
    if let Said::Upgrade(protocol) = said {
        head.fields.insert(header::UPGRADE, protocol);
        purpose = Purpose::Upgrade;
    } else if connects {
        purpose = Purpose::Connect;
    }
    let metrics = &runtime.metrics;
    metrics.requests_active.shift(1);
    metrics.worker_active.shift(1);
    metrics.worker_streams.bump();
    // To whoever wants a tunnel, gRPC's way of failing would say that it stands.
    let grpc = !connects && outcome::is_grpc(&head.fields);
    let exchange = Exchange::new(connection, version, head, &runtime.chain.plugins, runtime.limits.buffer);
    let stream = Rc::new(Stream {
        exchange: Rc::new(RefCell::new(exchange)),
        cluster: RefCell::new(None),
        failed: Cell::new(false),
        ended: Cell::new(false),
        purpose,
        connects,
        grpc,
        busy,
        moves: Cell::new(0),
        limits: Cell::default(),
        down: RefCell::default(),
        runtime,
    });
    let ends = incoming.is_end_stream();
    let overload = stream.runtime.overload.load();
    let shed = !overload.is_normal() && overload.sheds(fastrand::u32(..));
    if shed {
        // No filter hears of it: what is shed has to cost nothing.
        stream.runtime.metrics.shed.inc();
        reply::by_host(&mut stream.exchange.borrow_mut(), StatusCode::SERVICE_UNAVAILABLE, "overload_shed", None);
    } else {
        let mut exchange = stream.exchange.borrow_mut();
        if ends {
            exchange.request_received = Some(exchange.started);
        }
        flow::start(&mut exchange, Direction::Request, 0, ends);
    }
    let mut source = (!ends).then_some(incoming);
    let passage = if shed { Passage::Interrupted } else { stream.passed(Direction::Request, &mut source, None).await };
    let mut tail = match passage {
        Passage::Passed => {
            // Pinned where it is made: `await` alone would move all of it once more.
            let mut routed = pin!(route::route(&stream, source, expects));
            poll_fn(|cx| routed.as_mut().poll(cx)).await?
        }
        Passage::Broken(error) => return Err(Abort(error)),
        Passage::Interrupted | Passage::Late => Tail::none(),
    };
    // From here on the response is in the exchange, or a reply waits; a reply may be given in place of another one's answer.
    loop {
        let reply = {
            let mut exchange = stream.exchange.borrow_mut();
            if exchange.reset {
                return Err(Abort(exchange.details.to_string()));
            }
            exchange.reply.take()
        };
        if let Some(reply) = reply {
            tail = Tail::none();
            begin_reply(&stream, *reply);
        }
        match stream.passed(Direction::Response, &mut tail.source, tail.deadline).await {
            Passage::Passed => match stream.take_ready(&mut tail.source).await {
                Ok(()) if !stream.exchange.borrow().is_interrupted() => break,
                Ok(()) => {}
                Err(error) => broken(&stream, &error),
            },
            Passage::Interrupted => {}
            Passage::Late => {
                if let Some((cluster, _)) = &*stream.cluster.borrow() {
                    cluster.metrics.timeout.inc();
                }
                host_reply(
                    &stream,
                    &UpstreamError::Timeout { timeout: stream.limits.get().timeout.unwrap_or_default() },
                );
            }
            Passage::Broken(error) => broken(&stream, &error),
        }
        if stream.exchange.borrow().reply.is_none() && !stream.exchange.borrow().reset {
            return Err(Abort("the stream was answered twice".to_owned()));
        }
    }
    respond(&stream, tail, on_upgrade)
}

/// Shows a duration as an example of its bucket, where its trace can be looked at.
fn exemplify(exchange: &Exchange, histogram: &Histogram, duration: Duration) {
    if let Some(example) = exchange.trace.as_ref().and_then(|trace| trace.example()) {
        histogram.exemplify(duration, example, clock::wall().into());
    }
}

/// The upstream's answer broke off before its head went out: the client can still be told.
fn broken(stream: &Stream, error: &str) {
    tracing::debug!("the upstream's answer broke off while filters held it: {error}");
    reply::by_host(&mut stream.exchange.borrow_mut(), StatusCode::BAD_GATEWAY, "upstream_reset", None);
}

/// What a connection was let in for is no more: the client has to connect again (RFC 9110, section 15.5.20).
#[must_use]
pub fn misdirected() -> Response<ResponseBody> {
    let mut response =
        Response::new(ResponseBody::Full(Some(Bytes::from_static(b"misdirected request: chain_removed\n"))));
    *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
    *response.headers_mut() = outcome::plain_fields();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn refuse(runtime: &ListenerRuntime, refused: &admit::Refused) -> Response<ResponseBody> {
    if refused.status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE {
        runtime.metrics.too_large.inc();
    } else {
        runtime.metrics.malformed.inc();
    }
    tracing::debug!(details = refused.details, "request refused");
    let body =
        format!("{}: {}\n", refused.status.canonical_reason().unwrap_or("error").to_lowercase(), refused.details);
    let mut response = Response::new(ResponseBody::Full(Some(Bytes::from(body))));
    *response.status_mut() = refused.status;
    *response.headers_mut() = outcome::plain_fields();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn begin_reply(stream: &Stream, mut given: Reply) {
    let mut exchange = stream.exchange.borrow_mut();
    if stream.grpc {
        outcome::for_grpc(&mut given);
    }
    reply::begin(&mut exchange, given);
}

/// Answers in the upstream's place, and says why in the log. What a client does to its own request worries no operator.
pub(super) fn host_reply(stream: &Stream, error: &UpstreamError) {
    let mut exchange = stream.exchange.borrow_mut();
    exchange.upstream_failure = Some(error.to_string());
    let (listener, details) = (&*exchange.connection.listener, error.label());
    let cluster = exchange.routed_to.as_ref().map_or("none", |cluster| &*cluster.name);
    let (method, path) = (&exchange.request_head.method, exchange.request_head.path.path());
    if matches!(error, UpstreamError::RequestBody { .. }) {
        tracing::debug!(listener, cluster, %method, path, details, "request broken off: {error}");
    } else {
        tracing::warn!(listener, cluster, %method, path, details, "no answer from upstream: {error}");
    }
    let late = matches!(error, UpstreamError::Timeout { .. } | UpstreamError::PerTryTimeout { .. });
    let instead = exchange.selection.as_ref().filter(|_| late).and_then(|selection| selection.timeout_status());
    let status = instead.and_then(|status| StatusCode::from_u16(status).ok());
    reply::by_host(&mut exchange, status.unwrap_or_else(|| outcome::status(error)), details, None);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// hyper moves a stream's future once for each request: its size is part of what a request costs.
    #[test]
    fn a_streams_future_stays_small() {
        fn size<A, B, C, D, F: Future>(_: fn(A, B, C, D) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(serve);
        assert!(size <= 3072, "{size} bytes");
    }
}
