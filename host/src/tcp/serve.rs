//! The life of one TCP connection.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{io::AsyncWriteExt, time::Instant};

use super::{
    leased,
    way::{Filtered, Joined, Way},
};
use crate::{
    cluster::{
        Choice,
        connect::Asks,
        demand::bring,
        dial::{self, Line},
        local::LocalCluster,
        ways::Passed,
    },
    filter::finish,
    http::runtime::ListenerRuntime,
    listener::io::Io,
    transport::{
        Transport,
        both::{Both, Cut, Look, part},
        way::Step,
    },
    upstream::UpstreamError,
    wasm::{
        env::Env,
        exchange::{Connection, Direction, Exchange, Waiting},
    },
};

/// How long what has passed the filters may take to be written, when a filter closes the connection.
const FAREWELL: Duration = Duration::from_secs(5);

/// A connection and its end: whoever drops the last reference ends it.
pub(super) struct Session {
    pub runtime: Rc<ListenerRuntime>,
    pub exchange: Rc<RefCell<Exchange>>,
    reported: Cell<(u64, u64)>,
}

impl Filtered for Session {
    fn env(&self) -> &Rc<Env> {
        &self.runtime.env
    }

    fn exchange(&self) -> &Rc<RefCell<Exchange>> {
        &self.exchange
    }
}

impl Session {
    pub(super) fn details(&self, details: &'static str) {
        let mut exchange = self.exchange.borrow_mut();
        if exchange.details.is_empty() {
            exchange.details = details.into();
        }
    }

    /// Whether nothing is on its way, with the filters or behind them.
    pub(super) fn is_clear(&self, both: &Joined) -> bool {
        let mut exchange = self.exchange.borrow_mut();
        both.is_clear() && [Direction::Request, Direction::Response].iter().all(|way| exchange.buffered(*way) == 0)
    }

    /// Counts the bytes that have moved since the last time.
    fn report(&self, io: &Io) {
        let metrics = &self.runtime.metrics;
        let (received, sent) = io.activity.bytes();
        let before = self.reported.replace((received, sent));
        metrics.received.add(received - before.0);
        metrics.sent.add(sent - before.1);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.runtime.metrics.worker_active.sub(1);
        finish::finish(&self.runtime.env, &mut self.exchange.borrow_mut(), Instant::now());
    }
}

/// How a connection ends.
pub(super) enum End {
    /// Both directions came to their end, or a filter closed it and all was written.
    Whole,
    /// It must not look like an end: what is missing is lost.
    Cut,
}

/// Serves a connection to its end. Cancel safe: dropped, both sides are reset and the filters are told.
pub async fn serve(runtime: Rc<ListenerRuntime>, connection: Rc<Connection>, mut io: Io) {
    // Until the end was seen, any other end is an accident and must look like one.
    io.transport.cut();
    runtime.metrics.worker_streams.inc();
    runtime.metrics.worker_active.add(1);
    let exchange = Exchange::tcp(connection, &runtime.chain.plugins, runtime.limits.buffer);
    let session = Rc::new(Session { exchange: Rc::new(RefCell::new(exchange)), runtime, reported: Cell::default() });
    let mut line = None;
    let end = run(&session, &mut io, &mut line).await;
    if session.exchange.borrow().reset {
        session.details("filter_failed");
    }
    if matches!(end, End::Whole) {
        let _ = tokio::time::timeout(FAREWELL, last_words(&session, &mut io)).await;
        session.report(&io);
        part(&mut io, line.as_mut().map(|line| &mut line.transport)).await;
        // All was said. From here on a drop is an ordinary close.
        io.transport.spare();
        if let Some(line) = &line {
            line.transport.spare();
        }
    } else {
        session.report(&io);
    }
}

/// Writes what filters have said to the client of a connection that came to nothing.
async fn last_words(session: &Session, io: &mut Io) -> std::io::Result<()> {
    // What an inner filter has said may still stand before an outer one.
    poll_fn(|cx| {
        session.pump(Direction::Response, cx);
        Poll::Ready(())
    })
    .await;
    loop {
        let next = session.exchange.borrow_mut().response.pop();
        let Some(bytes) = next else { return io.flush().await };
        io.write_all(&bytes).await?;
    }
}

/// `line` is the connection to the upstream, once there is one.
async fn run(session: &Rc<Session>, io: &mut Io, line: &mut Option<Line>) -> End {
    let idle = session.runtime.limits.idle_timeout;
    match tokio::time::timeout(idle, admitted(session, io)).await {
        Ok(Ok(())) => {}
        Ok(Err(end)) => return end,
        Err(_) => {
            session.runtime.metrics.idle_timeouts.inc();
            session.details("idle_timeout");
            return End::Whole;
        }
    }
    if session.exchange.borrow().leasing.is_some() {
        return leased::exchange_bytes(session, io).await;
    }
    *line = connect(session, io).await;
    let Some(line) = line else {
        let exchange = session.exchange.borrow();
        return if exchange.reset || exchange.closed_by_client { End::Cut } else { End::Whole };
    };
    line.transport.cut();
    exchange_bytes(session, io, &mut line.transport).await
}

/// Waits until every filter has let the new connection through, or its client has broken it off. A client that has ended its own
/// direction may still wait for an answer.
async fn admitted(session: &Session, io: &Io) -> Result<(), End> {
    let mut broken = pin!(io.transport.wire().broken());
    poll_fn(|cx| {
        session.pump(Direction::Request, cx);
        let mut exchange = session.exchange.borrow_mut();
        if exchange.reset {
            return Poll::Ready(Err(End::Cut));
        }
        if exchange.closing {
            return Poll::Ready(Err(End::Whole));
        }
        if exchange.head_passed(Direction::Request) {
            return Poll::Ready(Ok(()));
        }
        if broken.as_mut().poll(cx).is_ready() {
            break_off(&mut exchange);
            return Poll::Ready(Err(End::Cut));
        }
        Poll::Pending
    })
    .await
}

/// The client has reset the connection.
fn break_off(exchange: &mut Exchange) {
    exchange.details = "downstream_reset".into();
    exchange.closed_by_client = true;
}

/// Connects to the cluster. `None`: there is none, nobody answers, or a filter or the client has closed the connection meanwhile.
async fn connect(session: &Session, io: &Io) -> Option<Line> {
    let runtime = &session.runtime;
    let (name, server_name) = {
        let exchange = session.exchange.borrow();
        let server_name = exchange.connection.tls.as_ref().and_then(|tls| tls.server_name.clone());
        let named = exchange.cluster.clone();
        (named.or_else(|| runtime.target.cluster(|| fastrand::u64(..)).map(str::to_owned)), server_name)
    };
    let Some(name) = name else {
        return failed(session, "none", &UpstreamError::NotRouted);
    };
    let env = &runtime.env;
    // One that has come, and whose endpoints have not, is waited for as if it were not there.
    let is_ready = |cluster: &Rc<LocalCluster>| cluster.is_warm() || !env.demand.follows(&name);
    let cluster = match env.clusters.get(&name).filter(is_ready) {
        Some(cluster) => Some(cluster),
        None => {
            // Boxed: it happens rarely, and every connection would carry the room for it.
            let mut deadline = None;
            let bringing = Box::pin(bring(&env.demand, &env.clusters, &env.registry, &name, &mut deadline));
            unless_closed(session, io, bringing).await?
        }
    };
    let Some(cluster) = cluster else {
        return failed(session, &name, &UpstreamError::UnknownCluster { cluster: name.clone() });
    };
    let client = {
        let mut exchange = session.exchange.borrow_mut();
        exchange.routed_to = Some(Rc::clone(&cluster));
        exchange.connection.client()
    };
    let asks = Asks { host: server_name.as_deref(), client };
    let begun = Instant::now();
    let dialled = dial::dial(&cluster, Choice::default(), asks, runtime.connect_attempts);
    let dialled = unless_closed(session, io, dialled).await?;
    let passed = Passed { failed: dialled.is_err(), time: begun.elapsed() };
    let listener = Rc::clone(&session.exchange.borrow().connection.listener);
    cluster.ways.note(&runtime.metrics, passed, (&env.registry, &listener, &cluster.name));
    match dialled {
        Ok(line) => {
            let mut exchange = session.exchange.borrow_mut();
            exchange.upstream = Some(line.address);
            exchange.ends.clone_from(&line.ends);
            exchange.attempts += 1;
            drop(exchange);
            Some(line)
        }
        Err(error) => {
            cluster.metrics.unreachable.inc();
            failed(session, &name, &UpstreamError::Cluster(error))
        }
    }
}

/// What is waited for; `None`: a filter or the client has closed the connection meanwhile.
async fn unless_closed<T>(session: &Session, io: &Io, awaited: impl Future<Output = T>) -> Option<T> {
    let mut awaited = pin!(awaited);
    let mut gone = pin!(io.transport.wire().broken());
    poll_fn(|cx| {
        if let Poll::Ready(done) = awaited.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        let mut exchange = session.exchange.borrow_mut();
        exchange.wait(Waiting::Main, cx.waker());
        if gone.as_mut().poll(cx).is_ready() {
            break_off(&mut exchange);
            return Poll::Ready(None);
        }
        if exchange.reset || exchange.closing { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

fn failed(session: &Session, cluster: &str, error: &UpstreamError) -> Option<Line> {
    session.details(error.label());
    let mut exchange = session.exchange.borrow_mut();
    exchange.upstream_failure = Some(error.to_string());
    tracing::warn!(listener = &*exchange.connection.listener, cluster, details = error.label(), "no upstream: {error}");
    None
}

/// Moves bytes both ways until both ways are over.
async fn exchange_bytes(session: &Rc<Session>, io: &mut Io, line: &mut Transport) -> End {
    let chain = &session.runtime.chain;
    let filtered = (chain.request_body, chain.response_body);
    join(session, io, filtered, |both, cx, io, last| both.step(&**session, cx, io, line, last)).await
}

/// Joins a client with what it talks to: `step` moves what can be moved now, as [`Both::step`] does. `filtered` says which directions are looked
/// at, up and down.
pub(super) async fn join(
    session: &Rc<Session>,
    io: &mut Io,
    filtered: (bool, bool),
    mut step: impl FnMut(&mut Joined, &mut Context<'_>, &mut Io, bool) -> Result<(Step, Step), Cut>,
) -> End {
    let up = Way::new(Direction::Request, filtered.0);
    let down = Way::new(Direction::Response, filtered.1);
    let has_filters = !session.runtime.chain.is_empty();
    let mut both = Both::new(up, down, session.runtime.limits.idle_timeout);
    let mut farewell = false;
    poll_fn(|cx| {
        let look = both.look(cx);
        if look != Look::Early {
            session.report(io);
            if farewell {
                return Poll::Ready(End::Cut);
            }
        }
        if look == Look::Idle || (look == Look::Fine && both.is_stuck()) {
            session.runtime.metrics.idle_timeouts.inc();
            session.details("idle_timeout");
            return Poll::Ready(if session.is_clear(&both) { End::Whole } else { End::Cut });
        }
        let stepped = step(&mut both, cx, io, farewell);
        {
            let mut exchange = session.exchange.borrow_mut();
            if has_filters {
                exchange.wait(Waiting::Main, cx.waker());
                if exchange.reset {
                    return Poll::Ready(End::Cut);
                }
                if exchange.closing && !farewell {
                    farewell = true;
                    both.look_in(FAREWELL);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            exchange.closed_by_client = both.up.has_ended();
            exchange.closed_by_upstream = both.down.has_ended();
        }
        match stepped {
            Err(Cut::Near(error)) => Poll::Ready(broken(session, true, &error)),
            Err(Cut::Far(error)) => Poll::Ready(broken(session, false, &error)),
            Ok((Step::Done, Step::Done)) => {
                session.details(if both.down.has_ended() { "closed" } else { "closed_by_filter" });
                Poll::Ready(End::Whole)
            }
            Ok((Step::Yields, _) | (_, Step::Yields)) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Ok(_) => Poll::Pending,
        }
    })
    .await
}

fn broken(session: &Session, client: bool, error: &std::io::Error) -> End {
    session.details(if client { "downstream_reset" } else { "upstream_reset" });
    let mut exchange = session.exchange.borrow_mut();
    exchange.closed_by_client |= client;
    exchange.closed_by_upstream |= !client;
    tracing::debug!(listener = &*exchange.connection.listener, client, "connection broke: {error}");
    End::Cut
}
