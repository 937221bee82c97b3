//! A request's body on its way to the upstream, and what bodies of both directions have in common: the way through the filters.

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

use super::{expect, stream::Stream};
use crate::{
    cluster::body::BodyError,
    filter::{flow, pump::Pump},
    wasm::exchange::{Direction, Waiting},
};

pub(super) type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

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
        let ended = match &polled {
            Some(Ok(frame)) => frame.is_trailers() || is_through(source),
            Some(Err(_)) => source.is_end_stream(),
            None => true,
        };
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

pub(super) fn cut_off(stream: &Stream) -> Polled {
    stream.failed("a filter cut the response off");
    Poll::Ready(Some(Err("a filter cut the response off".into())))
}

/// Takes what has come through the filters, and feeds them from `source` while they take more.
pub(super) fn poll_filtered(
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
            if let Some(bytes) = half.pop() {
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
        match std::task::ready!(poll_source(source, direction, cx)) {
            Ok(piece) => feed(stream, direction, piece),
            Err(error) => return Poll::Ready(Some(Err(error.into()))),
        }
    }
}

/// Whether nothing can come any more, or nothing but a sign that it was all. Whoever forwards a body by its length asks for no more than
/// that, and HTTP/2 may say the end in a frame of its own.
#[must_use]
pub fn is_through(body: &Incoming) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

/// A piece of a body.
pub enum Piece {
    /// Bytes.
    Data(Bytes),
    /// Bytes, and they were the last, perhaps with trailers behind them.
    Last(Bytes, Option<HeaderMap>),
    /// The end, perhaps with trailers.
    End(Option<HeaderMap>),
}

/// Reads the next piece of a body; the source is gone after its end.
pub fn poll_source(
    source: &mut Option<Incoming>,
    direction: Direction,
    cx: &mut Context<'_>,
) -> Poll<Result<Piece, hyper::Error>> {
    let Some(body) = source else { return Poll::Ready(Ok(Piece::End(None))) };
    let piece = match std::task::ready!(Pin::new(&mut *body).poll_frame(cx)) {
        None => Piece::End(None),
        Some(Err(error)) => {
            *source = None;
            return Poll::Ready(Err(error));
        }
        Some(Ok(frame)) => match frame.into_data() {
            Ok(data) if body.is_end_stream() => Piece::Last(data, None),
            Ok(data) if is_through(body) => behind_the_last(body, data, direction, cx),
            Ok(data) => Piece::Data(data),
            Err(frame) => Piece::End(frame.into_trailers().ok()),
        },
    };
    if !matches!(piece, Piece::Data(_)) {
        *source = None;
    }
    Poll::Ready(Ok(piece))
}

/// All bytes that the length promised are here: what says that they were all, or trailers, most often came with them.
fn behind_the_last(body: &mut Incoming, data: Bytes, direction: Direction, cx: &mut Context<'_>) -> Piece {
    loop {
        return match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(None) => Piece::Last(data, None),
            Poll::Ready(Some(Ok(frame))) => match frame.into_trailers() {
                Ok(trailers) => Piece::Last(data, Some(trailers)),
                Err(_) => continue,
            },
            // Told with the next poll.
            Poll::Ready(Some(Err(_))) => Piece::Data(data),
            // An upstream that takes requests by their length will not ask again; clients are answered to the very end.
            Poll::Pending if direction == Direction::Request => Piece::Last(data, None),
            Poll::Pending => Piece::Data(data),
        };
    }
}

/// Gives a piece to the first filter of a direction.
pub fn feed(stream: &Stream, direction: Direction, piece: Piece) {
    stream.move_on();
    let mut exchange = stream.exchange.borrow_mut();
    let ended = !matches!(piece, Piece::Data(_));
    match piece {
        Piece::Data(data) => flow::push_data(&mut exchange, direction, 0, data),
        Piece::Last(data, trailers) => {
            flow::push_data(&mut exchange, direction, 0, data);
            flow::push_end(&mut exchange, direction, 0, trailers);
        }
        Piece::End(trailers) => flow::push_end(&mut exchange, direction, 0, trailers),
    }
    if ended && direction == Direction::Request && exchange.request_received.is_none() {
        exchange.request_received = Some(Instant::now());
        exchange.wake();
    }
}
