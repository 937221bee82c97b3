//! Bodies in both directions, with or without filters in between.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    expect,
    patience::{Late, Patience},
    stream::Stream,
};
use crate::{
    cluster::{body::BodyError, lease::Lease},
    filter::{flow, pump::Pump},
    wasm::exchange::{Direction, Waiting},
};

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

/// A request's body on its way to the upstream. It belongs to the stream but does not keep it alive.
pub struct RequestFlow {
    stream: std::rc::Weak<Stream>,
    source: Option<Incoming>,
    gate: Option<expect::Waiting>,
    filtered: bool,
    trailers_sent: bool,
}

impl RequestFlow {
    /// The rest of a request's body.
    #[must_use]
    pub fn new(stream: &Rc<Stream>, source: Option<Incoming>, gate: Option<expect::Waiting>, filtered: bool) -> Self {
        Self { stream: Rc::downgrade(stream), source, gate, filtered, trailers_sent: false }
    }
}

impl Body for RequestFlow {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        if let Some(gate) = &mut self.gate {
            std::task::ready!(gate.poll(cx));
            self.gate = None;
        }
        let this = &mut *self;
        let Some(stream) = this.stream.upgrade() else {
            return Poll::Ready(Some(Err("the stream is over".into())));
        };
        if this.filtered {
            return poll_filtered(&stream, Direction::Request, &mut this.source, &mut this.trailers_sent, cx);
        }
        let Some(source) = &mut this.source else { return Poll::Ready(None) };
        let polled = match Pin::new(&mut *source).poll_frame(cx) {
            Poll::Ready(polled) => polled,
            Poll::Pending => {
                // The answer may be through before the request is: whoever ends the stream wakes this.
                stream.exchange.borrow_mut().wait(Waiting::RequestBody, cx.waker());
                return Poll::Pending;
            }
        };
        let ended = polled.is_none() || source.is_end_stream();
        stream.move_on();
        let mut exchange = stream.exchange.borrow_mut();
        if let Some(Ok(frame)) = &polled
            && let Some(data) = frame.data_ref()
        {
            exchange.request.bytes += data.len() as u64;
        }
        if ended && exchange.request_received.is_none() {
            exchange.request_received = Some(Instant::now());
            exchange.wake();
        }
        Poll::Ready(polled.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        !self.filtered && self.source.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Some(source) if !self.filtered => source.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

/// A response's body on its way to the client. It owns the stream: dropped, the stream ends.
pub struct ResponseFlow {
    stream: Rc<Stream>,
    source: Option<Incoming>,
    lease: Option<Lease>,
    filtered: bool,
    trailers_sent: bool,
    patience: Patience,
}

impl ResponseFlow {
    /// The rest of a response's body.
    #[must_use]
    pub(super) fn new(
        stream: Rc<Stream>,
        source: Option<Incoming>,
        lease: Option<Lease>,
        filtered: bool,
        patience: Patience,
    ) -> Self {
        let mut flow = Self { stream, source, lease, filtered, trailers_sent: false, patience };
        flow.settle();
        flow
    }

    /// Gives the connection back as soon as the upstream's body has been read to its end.
    fn settle(&mut self) {
        if self.source.as_ref().is_none_or(Body::is_end_stream) {
            self.source = None;
            // A filter may hold the rest for as long as it likes: a timer that is over must not be asked again and again.
            self.patience = Patience::default();
            if let Some(lease) = self.lease.take() {
                lease.finish();
            }
        }
    }

    fn ended(&self) -> bool {
        if self.source.is_some() {
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
        self.stream.end(self.ended());
    }
}

impl Body for ResponseFlow {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        if !this.filtered && this.stream.keeps_heads() {
            // A filter of the request may cut the stream off.
            let mut exchange = this.stream.exchange.borrow_mut();
            if exchange.is_interrupted() {
                drop(exchange);
                return cut_off(&this.stream);
            }
            exchange.wait(Waiting::ResponseBody, cx.waker());
        }
        let polled = if this.filtered {
            let stream = Rc::clone(&this.stream);
            poll_filtered(&stream, Direction::Response, &mut this.source, &mut this.trailers_sent, cx)
        } else {
            match &mut this.source {
                None => Poll::Ready(None),
                Some(source) => {
                    Pin::new(source).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
                }
            }
        };
        match &polled {
            Poll::Pending => {
                let (details, why) = match std::task::ready!(this.patience.poll(this.stream.moves(), cx)) {
                    Late::Deadline => ("upstream_timeout", "the response took longer than the route's timeout"),
                    Late::Idle => ("stream_idle_timeout", "nothing has moved for as long as the route allows"),
                };
                this.stream.exchange.borrow_mut().details = details.into();
                this.stream.failed(why);
                return Poll::Ready(Some(Err(why.into())));
            }
            Poll::Ready(None) => {
                this.source = None;
                if let Some(lease) = this.lease.take() {
                    lease.finish();
                }
            }
            Poll::Ready(Some(Ok(frame))) => {
                this.stream.move_on();
                if !this.filtered {
                    let mut exchange = this.stream.exchange.borrow_mut();
                    if let Some(data) = frame.data_ref() {
                        exchange.response.bytes += data.len() as u64;
                    } else if let Some(trailers) = frame.trailers_ref()
                        && this.stream.keeps_heads()
                    {
                        exchange.response.trailers = Some(trailers.clone());
                    }
                }
                this.settle();
            }
            Poll::Ready(Some(Err(error))) => {
                this.stream.failed(&error.to_string());
                if this.stream.exchange.borrow().details == "via_upstream" {
                    this.stream.exchange.borrow_mut().details = "upstream_reset_after_response".into();
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ended()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
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

fn cut_off(stream: &Stream) -> Polled {
    stream.failed("a filter cut the response off");
    Poll::Ready(Some(Err("a filter cut the response off".into())))
}

/// Takes what has come through the filters, and feeds them from `source` while they take more.
fn poll_filtered(
    stream: &Rc<Stream>,
    direction: Direction,
    source: &mut Option<Incoming>,
    trailers_sent: &mut bool,
    cx: &mut Context<'_>,
) -> Polled {
    let weak = Rc::downgrade(&stream.exchange);
    loop {
        {
            let mut exchange = stream.exchange.borrow_mut();
            if exchange.finished {
                return Poll::Ready(Some(Err("the stream is over".into())));
            }
            Pump { env: &stream.runtime.env, weak: &weak, waker: Some(cx.waker()) }.run(&mut exchange, direction);
            if exchange.is_interrupted() {
                if direction == Direction::Request {
                    // The task that answers sees it and drops this request.
                    exchange.wake();
                    return Poll::Pending;
                }
                drop(exchange);
                return cut_off(stream);
            }
            let half = exchange.half(direction);
            if let Some(bytes) = half.outlet.body.pop() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if half.outlet.end || half.outlet.head_end {
                if let Some(trailers) = half.trailers.clone().filter(|_| !*trailers_sent && !half.outlet.head_end) {
                    *trailers_sent = true;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                return Poll::Ready(None);
            }
            let who = if direction == Direction::Request { Waiting::RequestBody } else { Waiting::ResponseBody };
            exchange.wait(who, cx.waker());
            if source.is_none() || !exchange.wants_more(direction) {
                return Poll::Pending;
            }
        }
        match std::task::ready!(poll_source(source, cx)) {
            Ok(piece) => feed(stream, direction, piece),
            Err(error) => return Poll::Ready(Some(Err(error.into()))),
        }
    }
}

/// A piece of a body.
pub enum Piece {
    /// Bytes.
    Data(Bytes),
    /// Bytes, and they were the last.
    Last(Bytes),
    /// The end, perhaps with trailers.
    End(Option<HeaderMap>),
}

/// Reads the next piece of a body; the source is gone after its end.
pub fn poll_source(source: &mut Option<Incoming>, cx: &mut Context<'_>) -> Poll<Result<Piece, hyper::Error>> {
    let Some(body) = source else { return Poll::Ready(Ok(Piece::End(None))) };
    let piece = match std::task::ready!(Pin::new(&mut *body).poll_frame(cx)) {
        None => Piece::End(None),
        Some(Err(error)) => {
            *source = None;
            return Poll::Ready(Err(error));
        }
        Some(Ok(frame)) => match frame.into_data() {
            Ok(data) if body.is_end_stream() => Piece::Last(data),
            Ok(data) => Piece::Data(data),
            Err(frame) => Piece::End(frame.into_trailers().ok()),
        },
    };
    if !matches!(piece, Piece::Data(_)) {
        *source = None;
    }
    Poll::Ready(Ok(piece))
}

/// Gives a piece to the first filter of a direction.
pub fn feed(stream: &Stream, direction: Direction, piece: Piece) {
    stream.move_on();
    let mut exchange = stream.exchange.borrow_mut();
    let ended = !matches!(piece, Piece::Data(_));
    match piece {
        Piece::Data(data) => flow::push_data(&mut exchange, direction, 0, data),
        Piece::Last(data) => {
            flow::push_data(&mut exchange, direction, 0, data);
            flow::push_end(&mut exchange, direction, 0, None);
        }
        Piece::End(trailers) => flow::push_end(&mut exchange, direction, 0, trailers),
    }
    if ended && direction == Direction::Request && exchange.request_received.is_none() {
        exchange.request_received = Some(Instant::now());
        exchange.wake();
    }
}
