//! Tunnels: WebSocket and whatever else a `101 Switching Protocols` leads to, and what a CONNECT asks for.
//!
//! Bytes go both ways and no filter sees them; they are moved as those of a TCP connection are ([`crate::transport::both`]). The end of one
//! direction is passed on as a half-close, and the other one goes on; what breaks on one side ends both. On a connection that is the tunnel's
//! own, an accident is passed on as a reset, so that nobody takes it for an end; hyper has no such word for a stream of HTTP/2.

mod side;

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::Poll,
};

use http::Version;
use hyper::upgrade::OnUpgrade;

use self::side::End;
use super::stream::Stream;
use crate::{
    cluster::{dial::Line, lease::Lease},
    transport::{
        both::{Both, Cut, Look, part},
        way::{Between, Step, Way},
    },
    wasm::exchange::Direction,
};

/// One read's worth; also what a tunnel holds in each direction when a side does not read.
const CHUNK: usize = 16 * 1024;

/// The upstream's side of a tunnel.
pub(super) enum Far {
    /// A connection, or a stream of one, that changes its protocol.
    Switched(OnUpgrade),
    /// A connection of the tunnel's own.
    Line(Box<Line>),
}

/// Joins both sides once each of them has changed its protocol. The stream lives as long as the tunnel.
pub(super) fn spawn(stream: Rc<Stream>, lease: Option<Lease>, downstream: OnUpgrade, upstream: Far) {
    let tasks = Rc::clone(&stream.runtime.tasks);
    tasks.spawn(async move {
        // A connection of HTTP/1.1 has left the pool for good: it is closed with the tunnel.
        let _lease = lease;
        let whole = match join(&stream, downstream, upstream).await {
            Ok(()) => true,
            Err(broken) => {
                let mut exchange = stream.exchange.borrow_mut();
                if exchange.details == "via_upstream" {
                    exchange.details = broken.details().into();
                }
                drop(exchange);
                stream.failed(&format!("tunnel: {broken}"));
                false
            }
        };
        stream.end(whole);
    });
}

/// Why a tunnel ended before both of its directions had.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the client's side did not change its protocol: {0}")]
    ClientUnmade(hyper::Error),
    #[error("the upstream's side did not change its protocol: {0}")]
    UpstreamUnmade(hyper::Error),
    #[error("idle for too long")]
    Idle,
    #[error("a peer does not read")]
    Stalled,
    #[error("the stream has lasted as long as its route allows")]
    Late,
    #[error("{0}")]
    Cut(#[from] Cut),
}

impl Broken {
    /// `response.code_details`.
    fn details(&self) -> &'static str {
        match self {
            Self::ClientUnmade(_) | Self::Cut(Cut::Near(_)) => "downstream_disconnected",
            Self::UpstreamUnmade(_) | Self::Cut(Cut::Far(_)) => "upstream_reset_after_response",
            Self::Idle | Self::Stalled => "stream_idle_timeout",
            Self::Late => "upstream_timeout",
        }
    }
}

async fn join(stream: &Stream, downstream: OnUpgrade, upstream: Far) -> Result<(), Broken> {
    let downstream = async { downstream.await.map_err(Broken::ClientUnmade) };
    let (downstream, mut far) = match upstream {
        Far::Switched(upstream) => {
            let upstream = async { upstream.await.map_err(Broken::UpstreamUnmade) };
            let (downstream, upstream) = tokio::try_join!(downstream, upstream)?;
            (downstream, End::endpoint(upstream))
        }
        Far::Line(line) => (downstream.await?, End::Line(line)),
    };
    let (mut near, counted) = End::client(downstream);
    // Until its end was seen, any other end is an accident and must look like one.
    near.cut();
    far.cut();
    let result = carry(stream, &mut near, &mut far, counted).await;
    // Idle, nothing was on its way: then an ordinary close says all there is to say.
    if matches!(result, Ok(()) | Err(Broken::Idle)) {
        part(&mut near.side(), Some(&mut far.side())).await;
        near.spare();
        far.spare();
    }
    result
}

/// Counts what passes, and does nothing else.
struct Counting<'a> {
    stream: &'a Stream,
    /// The bytes of an HTTP/2 connection are counted with the connection, those of its tunnels among them.
    apart: bool,
    /// Bytes of the request's direction that were counted before, and are still to pass.
    counted: Cell<usize>,
}

impl Between for Counting<'_> {
    type Direction = Direction;

    fn scratch(&self) -> &RefCell<Box<[u8]>> {
        &self.stream.runtime.env.stock.scratch.0
    }

    fn most(&self) -> usize {
        CHUNK
    }

    fn passed(&self, direction: Direction, count: usize) {
        self.stream.move_on();
        self.stream.exchange.borrow_mut().half(direction).went_by(count);
        if !self.apart {
            return;
        }
        let metrics = &self.stream.runtime.metrics;
        match direction {
            Direction::Request => {
                let before = self.counted.get().min(count);
                self.counted.set(self.counted.get() - before);
                metrics.received.add((count - before) as u64);
            }
            Direction::Response => metrics.sent.add(count as u64),
        }
    }
}

/// Carries bytes both ways until both ways have ended, or the stream has lasted as long as its route allows.
async fn carry(stream: &Stream, near: &mut End, far: &mut End, counted: usize) -> Result<(), Broken> {
    let (until, version) = {
        let exchange = stream.exchange.borrow();
        (stream.limits.get().end(&exchange), exchange.version)
    };
    let idle = stream.limits.get().idle.unwrap_or(stream.runtime.limits.idle_timeout);
    let counting = Counting { stream, apart: version < Version::HTTP_2, counted: Cell::new(counted) };
    let mut both = Both::new(Way::new(Direction::Request, false), Way::new(Direction::Response, false), idle);
    let all = poll_fn(|cx| {
        match both.look(cx) {
            Look::Idle if both.is_clear() => return Poll::Ready(Err(Broken::Idle)),
            Look::Idle => return Poll::Ready(Err(Broken::Stalled)),
            Look::Fine if both.is_stuck() => return Poll::Ready(Err(Broken::Stalled)),
            Look::Fine | Look::Early => {}
        }
        match both.step(&counting, cx, &mut near.side(), &mut far.side(), false) {
            Err(cut) => Poll::Ready(Err(cut.into())),
            Ok((Step::Done, Step::Done)) => Poll::Ready(Ok(())),
            Ok((Step::Yields, _) | (_, Step::Yields)) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Ok(_) => Poll::Pending,
        }
    });
    match until {
        None => all.await,
        Some(until) => tokio::time::timeout_at(until, all).await.unwrap_or(Err(Broken::Late)),
    }
}
