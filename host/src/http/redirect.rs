//! Redirects of the upstream that the proxy follows in the client's place (Envoy's `InternalRedirectPolicy`).
//!
//! The request keeps its method, save for 303, and goes through the router again with the new target; the filters behind and before it see
//! one request. Only a request without a body is sent again.

use http::{
    HeaderMap, HeaderValue, Method, StatusCode, Uri, header,
    uri::{PathAndQuery, Scheme},
};

use super::{route::settle, stream::Stream};
use crate::{
    filter::finish,
    upstream::{dispatch::Answered, execute::drain},
    wasm::{
        exchange::{Exchange, Redirect},
        route::InternalRedirect,
    },
};

/// Where the request came from, for the endpoint that it is sent to in the end.
const ORIGINAL: &str = "x-envoy-original-url";

/// Takes an answer that is to be followed, and gives the request its new target. `None`: the request is to be routed again.
pub(super) fn follow(stream: &Stream, answered: Answered) -> Option<Answered> {
    let followed = {
        let mut exchange = stream.exchange.borrow_mut();
        let (status, fields) = (answered.response.status(), answered.response.headers());
        target(&exchange, status, fields).filter(|target| redirect(stream, &mut exchange, (status, fields), target))
    };
    if followed.is_none() {
        return Some(answered);
    }
    if let Some(trace) = &mut stream.exchange.borrow_mut().trace {
        trace.redirected();
    }
    settle(stream, answered.response.status());
    let _drained = tokio::task::spawn_local(drain(answered));
    None
}

/// The new target, if the route's policy lets the request go there.
fn target(exchange: &Exchange, status: StatusCode, fields: &HeaderMap) -> Option<Uri> {
    let policy: &InternalRedirect = exchange.selection.as_ref()?.route.action.internal_redirect.as_deref()?;
    // A tunnel leads where its client said, or nowhere.
    let without_body = exchange.request.outlet.head_end && exchange.request_head.method != Method::CONNECT;
    if !policy.codes.contains(&status.as_u16()) || exchange.hops >= policy.max_hops || !without_body {
        return None;
    }
    let target: Uri = fields.get(header::LOCATION)?.to_str().ok()?.parse().ok()?;
    let same = match (target.scheme(), target.authority()) {
        (Some(scheme), Some(authority)) => {
            if authority.as_str().contains('@') || !(*scheme == Scheme::HTTP || *scheme == Scheme::HTTPS) {
                return None;
            }
            *scheme == exchange.request_head.scheme
        }
        // Relative: an absolute path of the same host. Two slashes begin another host (RFC 3986, section 4.2).
        (None, None) => target.path().starts_with('/') && !target.path().starts_with("//"),
        _ => return None,
    };
    // To `http` from `https` is safe, in that nobody takes what came in the clear for what did not.
    let is_safe = exchange.request_head.scheme == Scheme::HTTPS;
    let crosses = policy.cross_scheme && target.scheme().is_some() && (is_safe || !policy.safe_cross_scheme);
    (same || crosses).then_some(target)
}

/// Gives the request its new target, and asks the filter that routes. `false`: it says that the redirect is not to be followed, and everything is
/// as it was.
fn redirect(stream: &Stream, exchange: &mut Exchange, answer: (StatusCode, &HeaderMap), target: &Uri) -> bool {
    let (status, fields) = answer;
    let head = exchange.request_head.clone();
    copy(exchange, fields);
    retarget(exchange, status, target);
    exchange.redirect = Redirect::Asked;
    finish::route_again(&stream.runtime.env, exchange);
    if std::mem::take(&mut exchange.redirect) == Redirect::Refused {
        exchange.request_head = head;
        exchange.hops -= 1;
        return false;
    }
    true
}

/// Takes along what the policy says of the answer's headers; what the answer does not have is not what it was before, either.
fn copy(exchange: &mut Exchange, fields: &HeaderMap) {
    let policy = exchange.selection.as_ref().and_then(|selection| selection.route.action.internal_redirect.as_deref());
    let Some(policy) = policy.filter(|policy| !policy.copy_headers.is_empty()) else { return };
    let head = &mut exchange.request_head;
    head.unpack();
    for name in &policy.copy_headers {
        head.fields.remove(name);
        for value in fields.get_all(name) {
            head.fields.append(name, value.clone());
        }
    }
}

fn retarget(exchange: &mut Exchange, status: StatusCode, target: &Uri) {
    exchange.hops += 1;
    let head = &mut exchange.request_head;
    head.unpack();
    let host = head.fields.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let before = HeaderValue::from_str(&format!("{}://{host}{}", head.scheme, head.path));
    if let Ok(before) = before {
        // Of the first hop, whatever the client says.
        if exchange.hops == 1 {
            head.fields.insert(ORIGINAL, before);
        }
    }
    if let Some(authority) = target.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.fields.insert(header::HOST, host);
    }
    if let Some(scheme) = target.scheme() {
        head.scheme = scheme.clone();
    }
    if status == StatusCode::SEE_OTHER && head.method != Method::HEAD {
        head.method = Method::GET;
    }
    head.path = target.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    exchange.route_cleared = true;
}
