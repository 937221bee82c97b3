//! A new connection to an endpoint in the hands of a filter, until it may be lent (`fyke.upstream.opened.v1`).
//!
//! It has a stream context of its own in that filter alone: what the endpoint says is upstream data, and what the filter writes towards
//! upstream goes to the endpoint.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use futures_util::future::LocalBoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::{
    cluster::{
        connect::Ends,
        lending::{Key, Prepare},
    },
    filter::{finish, flow, pump::Pump},
    transport::Transport,
    wasm::{
        env::Env,
        exchange::{Connection, Direction, Exchange, Waiting},
        leasing::{Opening, Verdict},
        vm::Plugin,
    },
};

/// Has a filter make connections fit to be lent.
pub(super) struct Handshakes {
    pub env: Rc<Env>,
    pub plugin: Rc<Plugin>,
    pub cluster: String,
    pub key: Rc<Key>,
    /// Where it is for.
    pub connection: Rc<Connection>,
    /// Bytes that the filter may hold.
    pub limit: usize,
}

impl Prepare for Handshakes {
    fn prepare(
        &self,
        transport: Transport,
        address: SocketAddr,
        ends: Ends,
    ) -> LocalBoxFuture<'static, Result<Transport, String>> {
        let mut exchange = Exchange::tcp(Rc::clone(&self.connection), &[Rc::clone(&self.plugin)], self.limit);
        let address_text = address.to_string();
        let mut event = Vec::new();
        for part in [self.cluster.as_bytes(), address_text.as_bytes(), &self.key.identity, self.key.share.as_bytes()] {
            event.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            event.extend_from_slice(part);
        }
        exchange.opening = Some(Box::new(Opening { event, verdict: Verdict::Open }));
        exchange.upstream = Some(address);
        exchange.ends = ends;
        let hand = Hand { env: Rc::clone(&self.env), exchange: Rc::new(RefCell::new(exchange)) };
        Box::pin(shake(hand, transport))
    }
}

/// The connection's exchange, ended when this is dropped.
struct Hand {
    env: Rc<Env>,
    exchange: Rc<RefCell<Exchange>>,
}

impl Drop for Hand {
    fn drop(&mut self) {
        finish::finish(&self.env, &mut self.exchange.borrow_mut(), Instant::now());
    }
}

/// What is written next, and whether something may still be on its way.
#[derive(Default)]
struct Outgoing {
    unsent: Bytes,
    dirty: bool,
}

async fn shake(hand: Hand, mut transport: Transport) -> Result<Transport, String> {
    let mut outgoing = Outgoing::default();
    poll_fn(|cx| {
        loop {
            for direction in [Direction::Request, Direction::Response] {
                let weak = Rc::downgrade(&hand.exchange);
                let pump = Pump { env: &hand.env, weak: &weak, waker: Some(cx.waker()) };
                pump.run(&mut hand.exchange.borrow_mut(), direction);
            }
            match write(&hand, &mut outgoing, &mut transport, cx) {
                Ok(Poll::Pending) => {}
                Ok(Poll::Ready(())) => {
                    if let Some(verdict) = verdict(&hand) {
                        return Poll::Ready(verdict);
                    }
                }
                Err(error) => return Poll::Ready(Err(error.to_string())),
            }
            {
                let mut exchange = hand.exchange.borrow_mut();
                // There is nobody downstream.
                exchange.response.outlet.body.clear();
                exchange.wait(Waiting::Main, cx.waker());
            }
            if !hand.exchange.borrow_mut().wants_more(Direction::Response) {
                return Poll::Ready(Err("the endpoint says more than the filter wants to read".to_owned()));
            }
            let mut scratch = hand.env.stock.scratch.0.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut transport).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.to_string())),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    return Poll::Ready(Err("the endpoint has closed it".to_owned()));
                }
                Poll::Ready(Ok(())) => {
                    let bytes = Bytes::copy_from_slice(buffer.filled());
                    drop(scratch);
                    flow::push_data(&mut hand.exchange.borrow_mut(), Direction::Response, 0, bytes);
                }
            }
        }
    })
    .await?;
    Ok(transport)
}

/// Writes what the filter has said.
fn write(
    hand: &Hand,
    outgoing: &mut Outgoing,
    transport: &mut Transport,
    cx: &mut Context<'_>,
) -> io::Result<Poll<()>> {
    loop {
        if outgoing.unsent.is_empty() {
            match hand.exchange.borrow_mut().request.outlet.body.pop() {
                Some(next) => outgoing.unsent = next,
                None => break,
            }
        }
        match Pin::new(&mut *transport).poll_write(cx, &outgoing.unsent)? {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(count) => {
                outgoing.unsent.advance(count);
                outgoing.dirty = true;
            }
        }
    }
    if outgoing.dirty && Pin::new(transport).poll_flush(cx)?.is_pending() {
        return Ok(Poll::Pending);
    }
    outgoing.dirty = false;
    Ok(Poll::Ready(()))
}

/// What the filter has decided, once all that it has said is written.
fn verdict(hand: &Hand) -> Option<Result<(), String>> {
    let mut exchange = hand.exchange.borrow_mut();
    if exchange.reset || exchange.filters.iter().any(|filter| filter.skipped) {
        return Some(Err("the filter has failed".to_owned()));
    }
    if exchange.closing {
        return Some(Err("the filter has closed it".to_owned()));
    }
    let opening = exchange.opening.as_mut()?;
    let verdict = match std::mem::take(&mut opening.verdict) {
        Verdict::Open => return None,
        Verdict::Ready => Ok(()),
        Verdict::Refused(why) if why.is_empty() => Err("the filter has refused it".to_owned()),
        Verdict::Refused(why) => Err(why),
    };
    if verdict.is_ok() {
        // What is left of what was said belongs to nobody.
        if exchange.filters.iter_mut().any(|filter| filter.response.held_bytes() > 0) {
            return Some(Err("the endpoint has said more than the filter has read".to_owned()));
        }
        // It goes on without this context.
        for filter in &mut exchange.filters {
            filter.upstream_closed = true;
        }
    }
    Some(verdict)
}
