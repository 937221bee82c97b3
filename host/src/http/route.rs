//! The way to the upstream: which cluster, the request as it is sent, and the head of the answer.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{Extensions, HeaderValue, Request, StatusCode, header};
use http_body::Body;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use tokio::time::Instant;

use super::{
    admit, connect,
    exchange_body::RequestFlow,
    expect,
    extended::Asked,
    framing,
    outcome::Abort,
    path,
    patience::{Late, Limits, Patience},
    policy, redirect,
    stream::{Stream, Tail, host_reply},
    upgrade::Far,
};
use crate::{
    cluster::{RequestBody, demand::bring, lease::Lease, local::LocalCluster},
    filter::{finish, flow, reply},
    upstream::{
        Outgoing, UpstreamError,
        dispatch::{Answered, Purpose, Replay, dispatch},
    },
    wasm::{
        exchange::{Direction, Waiting},
        foreign,
        maps::ResponseHead,
        route::Tunnel,
        tap,
    },
};

/// Executes the decision: picks the cluster, sends the request, and puts the answer's head into the exchange. Follows redirects where
/// the route says so.
pub(super) async fn route(stream: &Rc<Stream>, mut source: Option<Incoming>, expects: bool) -> Result<Tail, Abort> {
    loop {
        match once(stream, source.take(), expects).await {
            Routed::Answered(tail) => return Ok(tail),
            Routed::Elsewhere => {}
        }
    }
}

enum Routed {
    /// The answer's head is in the exchange, or a reply waits there.
    Answered(Tail),
    /// The request has another target now.
    Elsewhere,
}

async fn once(stream: &Rc<Stream>, source: Option<Incoming>, expects: bool) -> Routed {
    let nothing = || Routed::Answered(Tail::none());
    let (cluster, tunnel) = match decide_now(stream) {
        Ok(decision) => decision,
        Err(later) => match later.await {
            Ok(decision) => decision,
            Err(Undecided::Interrupted) => return nothing(),
            Err(Undecided::Failed(error)) => {
                host_reply(stream, &error);
                return nothing();
            }
        },
    };
    cluster.metrics.active.shift(1);
    // Without filters no time has passed since the request's head was complete.
    let (keeps, late) = (stream.keeps_heads(), stream.runtime.chain.reads_response_late);
    let since = if keeps { Instant::now() } else { stream.exchange.borrow().started };
    stream.exchange.borrow_mut().asked.at = Some(since);
    stream.cluster.replace(Some((Rc::clone(&cluster), since)));
    if tunnel == Tunnel::Terminate {
        // Boxed: few requests are a CONNECT.
        return Routed::Answered(Box::pin(connect::terminate(stream, &cluster)).await);
    }
    let outgoing = prepare(stream, &cluster, source, expects);
    let purpose = outgoing.purpose;
    let asked = if purpose == Purpose::Upgrade { Asked::of(&outgoing.fields).map(Box::new) } else { None };
    let answer = {
        let seen = |lease: &Lease| {
            let mut exchange = stream.exchange.borrow_mut();
            exchange.upstream = Some(lease.address());
            exchange.ends.clone_from(lease.ends());
            exchange.attempts += 1;
            if late {
                exchange.asked.ready = Some(Instant::now());
            }
        };
        let mut choice = policy::choice(stream);
        if cluster.shared.settings.proxy_protocol.is_some() {
            choice.get_or_insert_default().client = stream.exchange.borrow().connection.client();
        }
        if let Some(policy) = policy::of(stream, &outgoing.fields) {
            // Boxed: most requests are sent once, and should not carry the room for more.
            let executing = policy.execute(stream, &cluster, outgoing, choice, &seen);
            answered(stream, Box::pin(executing).as_mut()).await
        } else {
            // Where the head is kept for filters, it need not be copied once more in case the connection is stale.
            let again = || prepare(stream, &cluster, None, false);
            let replay = if keeps { Replay::Make(&again) } else { Replay::Copy };
            let dispatch = pin!(dispatch(&cluster, outgoing, replay, choice.as_deref(), seen));
            answered(stream, dispatch).await
        }
    };
    match answer {
        None => nothing(),
        Some(Ok(answered)) => match redirect::follow(stream, answered) {
            Some(answered) => Routed::Answered(accept(stream, answered, purpose, asked)),
            None => Routed::Elsewhere,
        },
        Some(Err(error)) => {
            failed(stream, &cluster, &error);
            nothing()
        }
    }
}

/// Counts that there was no answer, and has the client told why.
pub(super) fn failed(stream: &Stream, cluster: &LocalCluster, error: &UpstreamError) {
    if let Some(trace) = &mut stream.exchange.borrow_mut().trace {
        trace.gave_up(error.label());
    }
    match error {
        UpstreamError::Timeout { .. } | UpstreamError::PerTryTimeout { .. } => cluster.metrics.timeout.inc(),
        UpstreamError::Cluster(_) => cluster.metrics.unreachable.inc(),
        // The client's doing: nothing is wrong with the cluster.
        UpstreamError::RequestBody { .. } => {}
        _ => cluster.metrics.reset.inc(),
    }
    if matches!(error, UpstreamError::Timeout { .. })
        && let Some(address) = stream.exchange.borrow().upstream
    {
        cluster.timed_out(address);
    }
    host_reply(stream, error);
}

/// Counts an answer that the client does not see.
pub(super) fn settle(stream: &Stream, status: StatusCode) {
    let Some((cluster, since)) = stream.cluster.borrow_mut().take() else { return };
    cluster.metrics.active.shift(-1);
    if let Some(counter) = cluster.metrics.classes.get(usize::from(status.as_u16() / 100).saturating_sub(1)) {
        counter.inc();
    }
    cluster.metrics.duration.observe(since.elapsed());
}

enum Undecided {
    Interrupted,
    Failed(UpstreamError),
}

/// Where a request goes.
type Decision = (Rc<LocalCluster>, Tunnel);
/// Where it will go.
type Deciding<'a> = Pin<Box<dyn Future<Output = Result<Decision, Undecided>> + 'a>>;

/// Decides, or begins to. Boxed: it happens rarely, and every request would carry the room for it.
fn decide_now(stream: &Stream) -> Result<Decision, Deciding<'_>> {
    decide(stream, &[]).map_err(|undecided| Box::pin(decide_later(stream, undecided)) as _)
}

/// Decides when the clusters that the request names have come, if it is for want of these that it could not be decided.
async fn decide_later(stream: &Stream, mut undecided: Undecided) -> Result<Decision, Undecided> {
    // Weights may lead to another one each time.
    let (mut brought, mut deadline) = (Vec::new(), None);
    loop {
        let Undecided::Failed(UpstreamError::UnknownCluster { cluster }) = undecided else { return Err(undecided) };
        brought.push(self::brought(stream, cluster, &mut deadline).await?);
        undecided = match decide(stream, &brought) {
            Ok(decision) => return Ok(decision),
            Err(undecided) => undecided,
        };
    }
}

/// A cluster that is not there, when whoever can be asked for it has brought it.
async fn brought(stream: &Stream, name: String, deadline: &mut Option<Instant>) -> Result<Rc<LocalCluster>, Undecided> {
    let env = &stream.runtime.env;
    let mut bringing = pin!(bring(&env.demand, &env.clusters, &env.registry, &name, deadline));
    let cluster = poll_fn(|cx| {
        if let Poll::Ready(cluster) = bringing.as_mut().poll(cx) {
            return Poll::Ready(Ok(cluster));
        }
        let mut exchange = stream.exchange.borrow_mut();
        if exchange.is_interrupted() {
            return Poll::Ready(Err(Undecided::Interrupted));
        }
        exchange.wait(Waiting::Main, cx.waker());
        Poll::Pending
    });
    cluster.await?.ok_or_else(|| Undecided::Failed(UpstreamError::UnknownCluster { cluster: name.clone() }))
}

/// What becomes of a request. `brought`: clusters that it named before, and that were not there.
fn decide(stream: &Stream, brought: &[Rc<LocalCluster>]) -> Result<Decision, Undecided> {
    let mut exchange = stream.exchange.borrow_mut();
    let exchange = &mut *exchange;
    let env = &stream.runtime.env;
    finish::route_again(env, exchange);
    if exchange.is_interrupted() {
        return Err(Undecided::Interrupted);
    }
    let name = exchange
        .cluster
        .as_deref()
        .or_else(|| exchange.selection.as_ref().and_then(|selection| selection.cluster()))
        .or_else(|| stream.runtime.target.cluster(|| fastrand::u64(..)));
    let Some(name) = name else { return Err(Undecided::Failed(UpstreamError::NotRouted)) };
    let brought = brought.iter().find(|cluster| *cluster.name == *name);
    // One that has come, and whose endpoints have not, is waited for as if it were not there.
    let is_ready = |cluster: &Rc<LocalCluster>| brought.is_some() || cluster.is_warm() || !env.demand.follows(name);
    let Some(cluster) = env.clusters.get(name).or_else(|| brought.cloned()).filter(is_ready) else {
        return Err(Undecided::Failed(UpstreamError::UnknownCluster { cluster: name.to_owned() }));
    };
    // A header may name any; those that a route names were looked at when it was defined.
    let is_tcp = cluster.shared.settings.protocol == crate::config::resolved::ClusterProtocol::Tcp;
    if is_tcp && exchange.selection.as_ref().is_none_or(|selection| selection.route.action.connect.is_none()) {
        return Err(Undecided::Failed(UpstreamError::UnknownCluster { cluster: name.to_owned() }));
    }
    exchange.routed_to = Some(Rc::clone(&cluster));
    // Envoy's default for a route without a timeout; a listener with a fixed cluster gets the same.
    let timeout = Some(Duration::from_secs(15));
    let limits = exchange.selection.as_ref().map_or(Limits { timeout, ..Limits::default() }, |selection| Limits {
        timeout: selection.timeout(),
        duration: selection.max_stream_duration(),
        idle: selection.idle_timeout(),
    });
    if let Some(selection) = &exchange.selection {
        foreign::apply_host(&mut exchange.request_head, selection);
        let upgrades = stream.purpose == Purpose::Upgrade;
        let protocol = exchange.request_head.fields.get(header::UPGRADE).filter(|_| upgrades);
        if protocol.is_some_and(|protocol| {
            !selection.route.action.allows_upgrade(&String::from_utf8_lossy(protocol.as_bytes()))
        }) {
            reply::by_host(exchange, StatusCode::FORBIDDEN, "upgrade_not_allowed", None);
            return Err(Undecided::Interrupted);
        }
    }
    let Some(tunnel) = connect::decide(exchange, stream.purpose) else { return Err(Undecided::Interrupted) };
    // A rewrite must not make a dot segment out of two harmless halves: `/static../x` with `/static` taken off. Removing the
    // segment would lead out of the prefix just as the upstream would, so such a request goes nowhere.
    if !stream.runtime.chain.is_empty() {
        match path::normalize(&exchange.request_head.path) {
            Ok(None) => {}
            Ok(Some(normal)) if !path::climbs(&exchange.request_head.path) => exchange.request_head.path = normal,
            Ok(Some(_)) | Err(path::Escapes) => {
                reply::by_host(exchange, StatusCode::BAD_REQUEST, "bad_path", None);
                return Err(Undecided::Interrupted);
            }
        }
    }
    stream.limits.set(limits);
    Ok((cluster, tunnel))
}

/// Makes the request that goes to the upstream.
fn prepare(stream: &Rc<Stream>, cluster: &LocalCluster, source: Option<Incoming>, expects: bool) -> Box<Outgoing> {
    let chain = &stream.runtime.chain;
    let mut exchange = stream.exchange.borrow_mut();
    let exchange = &mut *exchange;
    // What was fed to filters on the way can only be had from them.
    let filtered = chain.request_body || exchange.was_fed(Direction::Request);
    let edits = chain.edits_request || exchange.request.lossy;
    tap::asking(&stream.runtime.env, exchange);
    let head = &mut exchange.request_head;
    // Filters may still ask for the request's headers when they see the answer, or log.
    let mut fields = if stream.keeps_heads() { head.pack() } else { std::mem::take(&mut head.fields) };
    let mut extensions = Extensions::new();
    let http1 = cluster.shared.settings.protocol != crate::config::resolved::ClusterProtocol::Http2;
    let purpose = match stream.purpose {
        // A filter may have taken the upgrade away: then an upstream that changes the protocol all the same is wrong.
        Purpose::Upgrade if !fields.contains_key(header::UPGRADE) => Purpose::Answer,
        purpose => purpose,
    };
    if http1 && purpose == Purpose::Answer && fields.contains_key(header::TE) {
        fields.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    fields.remove(header::TRANSFER_ENCODING);
    let outlet = &exchange.request.outlet;
    let body = if outlet.head_end {
        framing::without_body(&mut fields);
        if purpose == Purpose::Connect {
            // Not even that it has none.
            connect::unframe(&mut fields);
        }
        RequestBody::Empty
    } else if filtered && outlet.end && exchange.request.trailers.is_none() {
        // The filters have let go of all of it: its length is known.
        let bytes = collect(outlet.body.len(), std::iter::from_fn(|| exchange.request.pop()));
        fields.remove(header::EXPECT);
        framing::set_length(&mut fields, bytes.len() as u64);
        RequestBody::Full { bytes: Some(bytes), trailers: None }
    } else {
        let left = source.as_ref().and_then(|source| source.size_hint().exact());
        match left.filter(|_| !edits).map(|left| left + exchange.request.bytes) {
            Some(length) => framing::set_length(&mut fields, length),
            None => {
                fields.remove(header::CONTENT_LENGTH);
                // Said outright, because hyper sends no body with a GET whose length it is not told.
                fields.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
        }
        let untouched = exchange.request.bytes == 0;
        let gate = (expects && http1 && untouched).then(|| Arc::new(expect::Gate::default()));
        if gate.is_none() {
            fields.remove(header::EXPECT);
        }
        let waiting = gate.as_ref().map(|gate| expect::Waiting::new(Arc::clone(gate)));
        if let Some(gate) = gate {
            let mut request = Request::new(());
            hyper::ext::on_informational(&mut request, move |response| {
                if response.status() == StatusCode::CONTINUE {
                    gate.open();
                }
            });
            extensions = std::mem::take(request.extensions_mut());
        }
        RequestBody::Stream(Box::pin(RequestFlow::new(stream, source, waiting, filtered)))
    };
    Box::new(Outgoing {
        method: head.method.clone(),
        path: head.path.clone(),
        scheme: head.scheme.clone(),
        fields,
        body,
        purpose,
        extensions,
    })
}

fn collect(length: usize, mut chunks: impl Iterator<Item = Bytes>) -> Bytes {
    let Some(first) = chunks.next() else { return Bytes::new() };
    if first.len() == length {
        return first;
    }
    let mut all = BytesMut::with_capacity(length);
    all.extend_from_slice(&first);
    for chunk in chunks {
        all.extend_from_slice(&chunk);
    }
    all.freeze()
}

/// Waits for the head of the answer, the end of the route's patience, or a filter that replies instead (`None`).
pub(super) async fn answered<T>(
    stream: &Stream,
    mut dispatch: std::pin::Pin<&mut impl Future<Output = Result<T, UpstreamError>>>,
) -> Option<Result<T, UpstreamError>> {
    let connection = Rc::clone(&stream.exchange.borrow().connection);
    let limits = stream.limits.get();
    let mut alarm = None;
    // Boxed: few routes have such limits, and all requests would carry the room for the timer.
    let end = limits.end(&stream.exchange.borrow());
    let mut patience = limits.is_unusual().then(|| Box::new(Patience::new(end, limits.idle)));
    poll_fn(|cx| {
        if let Poll::Ready(result) = dispatch.as_mut().poll(cx) {
            return Poll::Ready(Some(result));
        }
        if let Some(patience) = &mut patience
            && let Poll::Ready(late) = patience.poll(stream.moves(), cx)
        {
            let limit = |limit: Option<Duration>| limit.unwrap_or_default();
            return Poll::Ready(Some(Err(match late {
                Late::Deadline => UpstreamError::Timeout { timeout: limit(limits.duration) },
                Late::Idle => UpstreamError::Idle { timeout: limit(limits.idle) },
            })));
        }
        let mut exchange = stream.exchange.borrow_mut();
        if exchange.is_interrupted() {
            return Poll::Ready(None);
        }
        exchange.wait(Waiting::Main, cx.waker());
        if let Some(timeout) = limits.timeout
            && let Some(received) = exchange.request_received
        {
            let alarm = alarm.get_or_insert_with(|| connection.alarm.lend(received + timeout));
            if alarm.poll(cx).is_ready() {
                return Poll::Ready(Some(Err(UpstreamError::Timeout { timeout })));
            }
        }
        Poll::Pending
    })
    .await
}

/// Puts the head of an answer into the exchange. `asked` is the protocol that was asked for.
fn accept(stream: &Stream, answered: Answered, purpose: Purpose, asked: Option<Box<Asked>>) -> Tail {
    let Answered { mut response, lease } = answered;
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    // One that does not say to what it changes has no meaning (RFC 9110, section 15.2.2).
    if switching && (purpose != Purpose::Upgrade || !response.headers().contains_key(header::UPGRADE)) {
        reply::by_host(&mut stream.exchange.borrow_mut(), StatusCode::BAD_GATEWAY, "unexpected_upgrade", None);
        return Tail::none();
    }
    // hyper offers it with the answers that make a tunnel: 101, and those to a CONNECT that say so.
    let tunnels = switching || response.extensions().get::<OnUpgrade>().is_some();
    let tunnel = tunnels.then(|| Far::Switched(hyper::upgrade::on(&mut response)));
    let (mut parts, incoming) = response.into_parts();
    let mut fields = parts.headers;
    let protocol = if switching { fields.get(header::UPGRADE).cloned() } else { None };
    admit::strip_hop(&mut fields);
    if tunnels {
        connect::unframe(&mut fields);
    }
    if let Some(protocol) = protocol {
        fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(header::UPGRADE, protocol);
    } else if tunnels && let Some(asked) = asked {
        fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        parts.status = asked.switched(&mut fields);
    }
    let ends = incoming.is_end_stream();
    let mut exchange = stream.exchange.borrow_mut();
    exchange.details = "via_upstream".into();
    exchange.response_head = Some(ResponseHead { status: parts.status, fields });
    flow::start(&mut exchange, Direction::Response, 0, ends);
    let deadline = stream.limits.get().deadline(&exchange).filter(|_| !ends);
    Tail { source: (!ends).then_some(incoming), lease: Some(lease), deadline, tunnel }
}
