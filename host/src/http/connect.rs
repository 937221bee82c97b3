//! CONNECT: a tunnel to where the request's authority says, or rather to where its route says (RFC 9110, section 9.3.6).
//!
//! A CONNECT has an authority and nothing else: no scheme, no path, no body. A route has to allow it (Envoy's `connect_matcher`, and its
//! `upgrade_configs`). Then the proxy is the tunnel's end and opens a connection to an endpoint of the cluster (`connect: {}`), or the request is
//! forwarded as it is, and its answer decides. What the client has sent behind the head goes first through the tunnel.

use std::{pin::pin, rc::Rc};

use http::{HeaderMap, Method, StatusCode, header, uri::Authority};
use tokio::time::Instant;

use super::{
    policy, route,
    stream::{Stream, Tail},
    upgrade::Far,
};
use crate::{
    cluster::{
        connect::Asks,
        dial::{self, Line},
        local::LocalCluster,
    },
    filter::{flow, reply},
    upstream::{UpstreamError, dispatch::Purpose},
    wasm::{
        exchange::{Direction, Exchange},
        maps::ResponseHead,
        route::Tunnel,
        tap,
    },
};

/// What a route makes of a CONNECT. `None`: the client was told why nothing.
pub(super) fn decide(exchange: &mut Exchange, purpose: Purpose) -> Option<Tunnel> {
    let head = &exchange.request_head;
    if (purpose == Purpose::Connect) != (head.method == Method::CONNECT) {
        // What the client has sent is not what would follow.
        reply::by_host(exchange, StatusCode::INTERNAL_SERVER_ERROR, "connect_changed", None);
        return None;
    }
    if purpose != Purpose::Connect {
        return Some(Tunnel::Forward);
    }
    if Authority::try_from(head.authority()).is_err() {
        reply::by_host(exchange, StatusCode::BAD_REQUEST, "bad_target", None);
        return None;
    }
    let tunnel = exchange.selection.as_ref().and_then(|selection| selection.route.action.tunnel());
    if tunnel.is_none() {
        reply::by_host(exchange, StatusCode::FORBIDDEN, "upgrade_not_allowed", None);
    }
    tunnel
}

/// Opens a connection for the tunnel, and gives the answer that a proxy behind this one would have given.
pub(super) async fn terminate(stream: &Rc<Stream>, cluster: &Rc<LocalCluster>) -> Tail {
    let choice = policy::choice(stream).map(|choice| *choice).unwrap_or_default();
    let (host, client) = {
        let mut exchange = stream.exchange.borrow_mut();
        tap::asking(&stream.runtime.env, &mut exchange);
        (String::from_utf8_lossy(exchange.request_head.authority()).into_owned(), exchange.connection.client())
    };
    let asks = Asks { host: Some(&host), client };
    let dialling = pin!(async {
        dial::dial(cluster, choice, asks, stream.runtime.connect_attempts).await.map_err(UpstreamError::Cluster)
    });
    match route::answered(stream, dialling).await {
        None => Tail::none(),
        Some(Ok(line)) => stands(stream, line),
        Some(Err(error)) => {
            route::failed(stream, cluster, &error);
            Tail::none()
        }
    }
}

fn stands(stream: &Stream, line: Line) -> Tail {
    let mut exchange = stream.exchange.borrow_mut();
    exchange.upstream = Some(line.address);
    exchange.ends.clone_from(&line.ends);
    exchange.attempts += 1;
    exchange.asked.ready = Some(Instant::now());
    exchange.details = "via_upstream".into();
    exchange.response_head = Some(ResponseHead { status: StatusCode::OK, fields: HeaderMap::new() });
    flow::start(&mut exchange, Direction::Response, 0, true);
    Tail { tunnel: Some(Far::Line(Box::new(line))), ..Tail::none() }
}

/// Takes off what an answer that makes a tunnel must not say (RFC 9110, section 9.3.6).
pub(super) fn unframe(fields: &mut HeaderMap) {
    fields.remove(header::CONTENT_LENGTH);
    fields.remove(header::TRANSFER_ENCODING);
}
