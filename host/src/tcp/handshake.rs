//! A new connection to an endpoint in the hands of a filter, until it may be lent (`fyke.upstream.opened.v1`).
//!
//! It has a stream context of its own in that filter alone: what the endpoint says is upstream data, and what the filter writes towards
//! upstream goes to the endpoint.

use std::{cell::RefCell, future::poll_fn, net::SocketAddr, rc::Rc, task::Poll};

use futures_util::future::LocalBoxFuture;
use tokio::time::Instant;

use super::{
    far::Far,
    way::{Filtered, Way},
};
use crate::{
    cluster::{
        connect::Ends,
        lending::{Key, Prepare},
    },
    filter::finish,
    transport::{
        Transport,
        way::{Broken, Step},
    },
    wasm::{
        env::Env,
        exchange::{Connection, Direction, Exchange},
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

impl Filtered for Hand {
    fn env(&self) -> &Rc<Env> {
        &self.env
    }

    fn exchange(&self) -> &Rc<RefCell<Exchange>> {
        &self.exchange
    }
}

async fn shake(hand: Hand, mut transport: Transport) -> Result<Transport, String> {
    let (mut up, mut down) = (Way::new(Direction::Request, true), Way::new(Direction::Response, true));
    // There is nobody downstream: nothing comes from there, and what is let go goes nowhere.
    let (mut nobody, mut nowhere) = (Far::default(), tokio::io::sink());
    poll_fn(|cx| {
        let written = up.step(&hand, cx, &mut nobody, &mut transport, false);
        let read = down.step(&hand, cx, &mut transport, &mut nowhere, false);
        let steps = match (written, read) {
            (Ok(written), Ok(read)) => [written, read],
            (Err(Broken::Reading(error) | Broken::Writing(error)), _)
            | (_, Err(Broken::Reading(error) | Broken::Writing(error))) => {
                return Poll::Ready(Err(error.to_string()));
            }
        };
        let said_all = up.is_clear() && hand.exchange.borrow_mut().request.outlet.body.is_empty();
        if said_all && let Some(verdict) = verdict(&hand) {
            return Poll::Ready(verdict);
        }
        if down.has_ended() {
            return Poll::Ready(Err("the endpoint has closed it".to_owned()));
        }
        if !hand.exchange.borrow_mut().wants_more(Direction::Response) {
            return Poll::Ready(Err("the endpoint says more than the filter wants to read".to_owned()));
        }
        if steps.contains(&Step::Yields) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await?;
    Ok(transport)
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
