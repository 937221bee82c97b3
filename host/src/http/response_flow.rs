//! A response's body on its way to the client.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    exchange_body::{Polled, cut_off, is_through, poll_filtered},
    patience::{Late, Patience},
    stream::Stream,
};
use crate::{
    cluster::{body::BodyError, lease::Lease},
    wasm::{
        exchange::{Direction, Waiting},
        under_way::UnderWay,
    },
};

/// What an answer under way holds of its upstream. Its stream has it, so that the connection can take it away from a client that does
/// not read.
#[derive(Default)]
pub(super) struct Down {
    source: Option<Incoming>,
    lease: Option<Lease>,
    patience: Patience,
    /// The timeout begins when the request has come whole, and it had not when the answer began.
    unbegun: bool,
    /// The client has taken all that there was: the upstream is waited for.
    waiting: bool,
    /// Times that the client wanted more, and how many of them the last look knew of.
    asked: u64,
    seen: u64,
    /// Since when it wanted nothing, as far as looks can tell.
    still: Option<Instant>,
    /// When it was given up.
    given_up: Option<Instant>,
}

impl Down {
    /// Gives the connection back as soon as the upstream's body has been read to its end.
    fn settle(&mut self) {
        if self.source.as_ref().is_none_or(Body::is_end_stream) {
            self.source = None;
            // A filter may hold the rest for as long as it likes: a timer that is over must not be asked again and again.
            self.patience = Patience::default();
            self.unbegun = false;
            if let Some(lease) = self.lease.take() {
                lease.finish();
            }
        }
    }

    /// Which limit is over, as far as a look from outside can tell.
    fn late(&self, deadline: Option<Instant>, idle: Duration, now: Instant) -> Option<Late> {
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Some(Late::Deadline);
        }
        self.still.is_some_and(|since| now.duration_since(since) >= idle).then_some(Late::Idle)
    }
}

/// A response's body on its way to the client. It owns the stream: dropped, the stream ends.
pub struct ResponseFlow {
    stream: Rc<Stream>,
    filtered: bool,
    trailers_sent: bool,
}

impl ResponseFlow {
    /// The rest of a response's body, which has to be through at the `deadline`.
    #[must_use]
    pub(super) fn new(
        stream: Rc<Stream>,
        (source, lease): (Option<Incoming>, Option<Lease>),
        filtered: bool,
        deadline: Option<Instant>,
    ) -> Self {
        {
            let mut down = stream.down.borrow_mut();
            let limits = stream.limits.get();
            let exchange = stream.exchange.borrow();
            down.source = source;
            down.lease = lease;
            down.patience = Patience::new(deadline, limits.idle);
            down.unbegun = limits.timeout.is_some() && exchange.request_received.is_none();
            down.settle();
            if down.source.is_some() {
                exchange.connection.answers.begin(&stream);
            }
        }
        Self { stream, filtered, trailers_sent: false }
    }

    fn ended(&self) -> bool {
        let down = self.stream.down.borrow();
        if down.source.is_some() || down.given_up.is_some() {
            return false;
        }
        if !self.filtered {
            return true;
        }
        let exchange = self.stream.exchange.borrow();
        let outlet = &exchange.response.outlet;
        outlet.head_end
            || (outlet.end && outlet.body.is_empty() && (self.trailers_sent || exchange.response.trailers.is_none()))
    }
}

impl Drop for ResponseFlow {
    fn drop(&mut self) {
        self.stream.exchange.borrow_mut().waits_no_more(Waiting::ResponseBody);
        self.stream.exchange.borrow().connection.answers.end(&self.stream);
        {
            let mut down = self.stream.down.borrow_mut();
            // Whoever sends an answer by its length asks for nothing behind its last byte.
            if !self.filtered && down.source.as_ref().is_some_and(is_through) {
                down.source = None;
                down.settle();
            }
        }
        self.stream.end(self.ended());
        // The stream may live on, in a filter's callout: what it had of the upstream does not.
        let held = {
            let mut down = self.stream.down.borrow_mut();
            (down.source.take(), down.lease.take())
        };
        drop(held);
    }
}

impl Body for ResponseFlow {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        let stream = &this.stream;
        // A filter of the request may cut the stream off.
        let may_be_cut = !this.filtered && stream.keeps_heads();
        if may_be_cut && stream.exchange.borrow().is_interrupted() {
            return cut_off(stream);
        }
        let mut down = stream.down.borrow_mut();
        if down.given_up.is_some() {
            return Poll::Ready(Some(Err("the client took too long".into())));
        }
        down.asked += 1;
        let polled = if this.filtered {
            poll_filtered(stream, Direction::Response, &mut down.source, &mut this.trailers_sent, cx)
        } else {
            match &mut down.source {
                None => Poll::Ready(None),
                Some(source) => {
                    Pin::new(source).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
                }
            }
        };
        down.waiting = polled.is_pending();
        match &polled {
            Poll::Pending => {
                if may_be_cut {
                    stream.exchange.borrow_mut().wait(Waiting::ResponseBody, cx.waker());
                }
                if down.source.is_none() {
                    down.settle();
                }
                if down.unbegun {
                    let mut exchange = stream.exchange.borrow_mut();
                    if exchange.request_received.is_some() {
                        down.unbegun = false;
                        down.patience.until(stream.limits.get().deadline(&exchange));
                    } else {
                        // Whoever notes the request's end wakes this.
                        exchange.wait(Waiting::ResponseBody, cx.waker());
                    }
                }
                let which = std::task::ready!(down.patience.poll(stream.moves(), cx));
                return Poll::Ready(Some(Err(late(stream, which).into())));
            }
            Poll::Ready(None) => {
                down.source = None;
                down.settle();
            }
            Poll::Ready(Some(Ok(frame))) => {
                stream.move_on();
                if let (Some(trailers), Some(lease)) = (frame.trailers_ref(), &down.lease) {
                    lease.reported(trailers);
                }
                if !this.filtered {
                    let mut exchange = stream.exchange.borrow_mut();
                    if let Some(data) = frame.data_ref() {
                        exchange.response.went_by(data.len());
                    } else if let Some(trailers) = frame.trailers_ref() {
                        // Nothing comes behind them, and nobody asks.
                        down.source = None;
                        if stream.keeps_heads() {
                            exchange.response.trailers = Some(trailers.clone());
                        }
                    }
                }
                down.settle();
            }
            Poll::Ready(Some(Err(error))) => {
                stream.failed(&error.to_string());
                if stream.exchange.borrow().details == "via_upstream" {
                    stream.exchange.borrow_mut().details = "upstream_reset_after_response".into();
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ended()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.stream.down.borrow().source {
            Some(source) if !self.filtered => source.size_hint(),
            None if !self.filtered => SizeHint::with_exact(0),
            _ => {
                let exchange = self.stream.exchange.borrow();
                let outlet = &exchange.response.outlet;
                if outlet.head_end {
                    SizeHint::with_exact(0)
                } else if outlet.end && exchange.response.trailers.is_none() {
                    SizeHint::with_exact(outlet.body.len() as u64)
                } else {
                    SizeHint::default()
                }
            }
        }
    }
}

impl UnderWay for Stream {
    fn look(&self, idle: Duration, now: Instant) -> Option<Instant> {
        let mut down = self.down.try_borrow_mut().ok()?;
        if down.given_up.is_some() {
            return down.given_up;
        }
        down.source.as_ref()?;
        // While the upstream is waited for, the timer inside the body says how long.
        let took = down.seen != down.asked || down.waiting;
        down.seen = down.asked;
        down.still = if took { None } else { Some(down.still.unwrap_or(now)) };
        let limits = self.limits.get();
        let which = down.late(limits.deadline(&self.exchange.borrow()), limits.idle.unwrap_or(idle), now)?;
        down.given_up = Some(now);
        let held = (down.source.take(), down.lease.take());
        drop(down);
        late(self, which);
        drop(held);
        Some(now)
    }
}

/// Notes that an answer takes longer than it may, and says why.
fn late(stream: &Stream, which: Late) -> &'static str {
    let (details, why) = match which {
        Late::Deadline => ("upstream_timeout", "the response took longer than the route's timeout"),
        Late::Idle => ("stream_idle_timeout", "nothing has moved for as long as the route allows"),
    };
    stream.exchange.borrow_mut().details = details.into();
    stream.failed(why);
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(300);

    /// With a client that has taken nothing for so many seconds, and so many left until the deadline.
    fn late(still: Option<u64>, left: Option<u64>) -> Option<Late> {
        let now = Instant::now() + 2 * IDLE;
        let still = still.and_then(|seconds| now.checked_sub(Duration::from_secs(seconds)));
        let down = Down { still, ..Down::default() };
        down.late(left.map(|seconds| now + Duration::from_secs(seconds)), IDLE, now)
    }

    #[test]
    fn a_client_that_takes_nothing_has_until_the_deadline_or_as_long_as_idleness_may_last() {
        assert_eq!(late(Some(1), Some(0)), Some(Late::Deadline));
        assert_eq!(late(Some(300), Some(1)), Some(Late::Idle));
        assert_eq!(late(Some(299), Some(1)), None);
        assert_eq!(late(Some(299), None), None);
    }

    #[test]
    fn one_that_takes_what_there_is_has_until_the_deadline() {
        assert_eq!(late(None, None), None);
        assert_eq!(late(None, Some(1)), None);
        assert_eq!(late(None, Some(0)), Some(Late::Deadline));
    }
}
