//! The answer as it goes to the client: its head, how long it says that it is, and its body.

use std::{rc::Rc, task::Poll};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::upgrade::OnUpgrade;

use super::{
    admit, connect, extended, framing,
    outcome::Abort,
    response_flow::ResponseFlow,
    stream::{Stream, Tail},
    upgrade,
};
use crate::{
    filter::chain::Chain,
    upstream::dispatch::Purpose,
    wasm::{
        exchange::{Direction, Half, Waiting},
        tap,
    },
};

/// What a response's body is made of.
pub enum ResponseBody {
    /// All there.
    Full(Option<Bytes>),
    /// Flowing, and the owner of its stream.
    Flow(ResponseFlow),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = crate::cluster::body::BodyError;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(
                bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(http_body::Frame::data(bytes))),
            ),
            Self::Flow(flow) => std::pin::Pin::new(flow).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Flow(flow) => flow.is_end_stream(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Full(bytes) => http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Flow(flow) => flow.size_hint(),
        }
    }
}

/// Makes the answer that goes to the client.
pub(super) fn respond(
    stream: &Rc<Stream>,
    mut tail: Tail,
    on_upgrade: Option<OnUpgrade>,
) -> Result<Response<ResponseBody>, Abort> {
    let chain = &stream.runtime.chain;
    let local = tail.source.is_none() && tail.lease.is_none();
    let (status, fields, version, filtered) = {
        let mut exchange = stream.exchange.borrow_mut();
        let exchange = &mut *exchange;
        exchange.waits_no_more(Waiting::Main);
        tap::sending(exchange);
        let fed = exchange.was_fed(Direction::Response);
        let Some(head) = &mut exchange.response_head else { return Err(Abort("no answer".to_owned())) };
        if tail.tunnel.is_some() {
            // Whatever filters make of it: what comes behind it is the tunnel's.
            exchange.response.outlet.head_end = true;
            if on_upgrade.is_none() || !stands(stream.purpose, head.status) {
                // A filter says something else. Nothing has gone through the tunnel yet.
                (tail.tunnel, tail.lease) = (None, None);
                admit::strip_hop(&mut head.fields);
                head.fields.remove(header::SEC_WEBSOCKET_ACCEPT);
            }
        }
        let claims = head.status == StatusCode::SWITCHING_PROTOCOLS || (stream.connects && head.status.is_success());
        if tail.tunnel.is_none() && claims {
            // Somebody answered as if it were a plain request, or changed the answer. To the client that would say that the tunnel stands.
            head.status = StatusCode::BAD_GATEWAY;
            exchange.details = "upgrade_not_made".into();
        }
        let mut fields = if chain.reads_response_late { head.fields.clone() } else { std::mem::take(&mut head.fields) };
        fields.remove(header::TRANSFER_ENCODING);
        exchange.response.outlet.head_end |= exchange.is_head;
        if exchange.response.outlet.head_end && tail.source.take().is_some() {
            // A filter ended the answer at its head, or made something else of the client's HEAD: the upstream's body has nowhere to go,
            // nor has its connection with the rest of it.
            tail.lease = None;
        }
        if tail.tunnel.is_none() && !exchange.is_head && !chain.is_empty() {
            frame(&exchange.response, &tail, chain, head.status, &mut fields);
        }
        exchange.response_sent = true;
        (head.status, fields, exchange.version, chain.response_body || local || fed)
    };
    match (tail.tunnel, on_upgrade) {
        (Some(upstream), Some(downstream)) => {
            upgrade::spawn(Rc::clone(stream), tail.lease, downstream, upstream);
            let mut fields = fields;
            connect::unframe(&mut fields);
            let status = extended::answer(version, status, &mut fields);
            Ok(build(status, fields, version, ResponseBody::Full(None)))
        }
        _ => {
            let flow = ResponseFlow::new(Rc::clone(stream), (tail.source, tail.lease), filtered, tail.deadline);
            Ok(build(status, fields, version, ResponseBody::Flow(flow)))
        }
    }
}

/// Whether an answer says that there is a tunnel.
fn stands(purpose: Purpose, status: StatusCode) -> bool {
    match purpose {
        Purpose::Connect => status.is_success(),
        Purpose::Upgrade | Purpose::Answer => status == StatusCode::SWITCHING_PROTOCOLS,
    }
}

/// Says how long the answer is, where that is known: filters may have changed the body, or written what they like into the head.
fn frame(half: &Half, tail: &Tail, chain: &Chain, status: StatusCode, fields: &mut HeaderMap) {
    if status == StatusCode::NO_CONTENT {
        fields.remove(header::CONTENT_LENGTH);
    } else if half.outlet.head_end {
        // What a 304 says of a length is that of the body it stands for.
        if status != StatusCode::NOT_MODIFIED {
            framing::without_body(fields);
        }
    } else if half.outlet.end && half.trailers.is_none() {
        framing::set_length(fields, half.outlet.body.len() as u64);
    } else {
        let left = match &tail.source {
            Some(source) => source.size_hint().exact(),
            None => Some(0),
        };
        let edits = (chain.edits_response && chain.response_body) || half.lossy;
        match left.filter(|_| !edits && half.trailers.is_none()) {
            Some(left) => framing::set_length(fields, half.bytes + left),
            None => drop(fields.remove(header::CONTENT_LENGTH)),
        }
    }
}

pub(super) fn build(
    status: StatusCode,
    fields: HeaderMap,
    version: Version,
    body: ResponseBody,
) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    if version >= Version::HTTP_2 {
        response.headers_mut().remove(header::CONNECTION);
    }
    response
}
