//! One request to one cluster.

use std::rc::Rc;

use http::{
    Extensions, HeaderMap, HeaderValue, Method, Request, Response, Uri, Version,
    header::{CONNECTION, HOST, UPGRADE},
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body::Body;
use hyper::body::Incoming;

use super::{UpstreamError, extended, outcome};
use crate::cluster::{
    Choice, RequestBody,
    lease::{Lease, SendError},
    local::LocalCluster,
};

/// What a request asks of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An answer.
    Answer,
    /// Another protocol, which the field `upgrade` names. It is told as the HTTP version of the connection has it.
    Upgrade,
    /// A tunnel to the request's authority (RFC 9110, section 9.3.6).
    Connect,
}

/// A request as the chain left it.
pub struct Outgoing {
    /// `:method`
    pub method: Method,
    /// `:path`
    pub path: PathAndQuery,
    /// `:scheme`
    pub scheme: Scheme,
    /// Fields, `host` among them.
    pub fields: HeaderMap,
    /// Body.
    pub body: RequestBody,
    /// What it is to become.
    pub purpose: Purpose,
    /// For hyper: upgrades and informational answers.
    pub extensions: Extensions,
}

impl Outgoing {
    /// The same request once more.
    #[must_use]
    pub fn again(&self, body: RequestBody) -> Self {
        Self {
            method: self.method.clone(),
            path: self.path.clone(),
            scheme: self.scheme.clone(),
            fields: self.fields.clone(),
            body,
            purpose: self.purpose,
            extensions: self.extensions.clone(),
        }
    }
}

/// The head of an answer, with the connection that the body comes over.
#[derive(Debug)]
pub struct Answered {
    /// The answer.
    pub response: Response<Incoming>,
    /// The connection: call [`Lease::finish`] when the body has been read to its end.
    pub lease: Lease,
}

/// Where a request comes from once more, when the pooled connection that it was sent over turns out to be stale.
#[derive(Clone, Copy)]
pub enum Replay<'a> {
    /// It is copied beforehand.
    Copy,
    /// It can be made again, as it was. Asked only for a request without a body.
    Make(&'a dyn Fn() -> Box<Outgoing>),
}

/// Sends a request to an endpoint of the cluster and waits for the head of the answer.
///
/// Cancel safe: dropping it resets the request.
///
/// # Errors
/// [`UpstreamError`].
pub async fn dispatch(
    cluster: &Rc<LocalCluster>,
    mut outgoing: Box<Outgoing>,
    replay: Replay<'_>,
    choice: Option<&Choice>,
    leased: impl Fn(&Lease),
) -> Result<Answered, UpstreamError> {
    let host = if cluster.shared.settings.tls.is_some() {
        outgoing.fields.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned)
    } else {
        None
    };
    let host = host.as_deref();
    let mut lease = cluster.lease(choice, host, false).await?;
    leased(&lease);
    if asks_over_http2(&lease, &outgoing) {
        // Boxed: it happens rarely, and every request would carry the room for it.
        Box::pin(extended::check(&lease, &mut outgoing)).await?;
    }
    // Only where it could be sent again: a pooled connection, no body, a method that may be repeated.
    let repeatable = lease.is_reused() && outgoing.method.is_idempotent() && outgoing.body.is_end_stream();
    // Boxed: few requests need it, and all would carry the room for it.
    let copy = (repeatable && matches!(replay, Replay::Copy)).then(|| Box::new(outgoing.again(RequestBody::Empty)));
    let failed = match send(&mut lease, choice, outgoing).await {
        Ok(response) => return Ok(answered(response, lease)),
        Err(failed) => failed,
    };
    // Over HTTP/2 a stream may fail alone; then the connection was not stale, and another one would not help.
    let whole = !lease.is_http2() || failed.unsent.is_some() || not_processed(&failed.error);
    if !lease.is_reused() || !whole {
        return Err(classify(&lease, failed));
    }
    let again = match (failed.unsent, copy) {
        (Some(request), _) => Box::new(from_request(*request, lease.is_http2())),
        (None, copy)
            if repeatable && !failed.error.is_user() && !failed.error.is_parse() && !failed.error.is_timeout() =>
        {
            match (copy, replay) {
                (Some(copy), _) => copy,
                (None, Replay::Make(make)) => make(),
                (None, Replay::Copy) => {
                    return Err(classify(&lease, SendError { error: failed.error, unsent: None }));
                }
            }
        }
        (None, _) => return Err(classify(&lease, SendError { error: failed.error, unsent: None })),
    };
    drop(lease);
    // Boxed: it happens rarely, and every request would carry the room for it.
    Box::pin(again_on_fresh(cluster, host, again, choice, leased)).await
}

async fn again_on_fresh(
    cluster: &Rc<LocalCluster>,
    host: Option<&str>,
    mut outgoing: Box<Outgoing>,
    choice: Option<&Choice>,
    leased: impl Fn(&Lease),
) -> Result<Answered, UpstreamError> {
    cluster.metrics.stale_retries.inc();
    let mut lease = cluster.lease(choice, host, true).await?;
    leased(&lease);
    if asks_over_http2(&lease, &outgoing) {
        extended::check(&lease, &mut outgoing).await?;
    }
    match send(&mut lease, choice, outgoing).await {
        Ok(response) => Ok(answered(response, lease)),
        Err(failed) => Err(classify(&lease, failed)),
    }
}

fn asks_over_http2(lease: &Lease, outgoing: &Outgoing) -> bool {
    outgoing.purpose == Purpose::Upgrade && lease.is_http2()
}

/// Sends a request, with the endpoint's own name as host where the route wants that.
fn send(
    lease: &mut Lease,
    choice: Option<&Choice>,
    mut outgoing: Box<Outgoing>,
) -> impl Future<Output = Result<Response<Incoming>, SendError>> + use<> {
    // The authority of a CONNECT is where it leads to.
    if outgoing.purpose != Purpose::Connect
        && choice.is_some_and(|choice| choice.presents_host)
        && let Some(name) = lease.hostname()
        && let Ok(name) = HeaderValue::from_str(name)
    {
        outgoing.fields.insert(HOST, name);
    }
    lease.send(into_request(*outgoing, lease.is_http2()))
}

fn answered(response: Response<Incoming>, lease: Lease) -> Answered {
    lease.answered(response.status(), || outcome::of_answer(response.status(), response.headers()));
    lease.told(response.headers());
    Answered { response, lease }
}

/// Whether an HTTP/2 peer says that it has not looked at the request: a refused stream, or one above a GOAWAY's last
/// (RFC 9113, section 8.7), or the connection has broken.
fn not_processed(error: &hyper::Error) -> bool {
    match of_http2(error) {
        Some(error) => error.reason() == Some(h2::Reason::REFUSED_STREAM) || error.is_go_away() || error.is_io(),
        None => error.is_closed() || error.is_canceled() || error.is_incomplete_message(),
    }
}

/// Whether an HTTP/2 endpoint refused just this stream.
fn is_refused(error: &hyper::Error) -> bool {
    of_http2(error).is_some_and(|error| error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// What HTTP/2 says of an error of hyper's, if it does.
#[must_use]
pub fn of_http2<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a h2::Error> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
}

fn classify(lease: &Lease, failed: SendError) -> UpstreamError {
    let (address, error) = (lease.address(), failed.error);
    let error = if error.is_parse() || error.is_parse_too_large() {
        UpstreamError::Protocol { address, error }
    } else if error.is_user() {
        // The client's doing: nothing is wrong with the endpoint.
        return UpstreamError::RequestBody { error };
    } else if is_refused(&error) {
        UpstreamError::Refused { address, error }
    } else {
        UpstreamError::Reset { address, error }
    };
    lease.broke();
    error
}

fn into_request(outgoing: Outgoing, http2: bool) -> Request<RequestBody> {
    let Outgoing { mut method, path, scheme, mut fields, body, purpose, mut extensions } = outgoing;
    match purpose {
        Purpose::Upgrade if http2 => method = extended::ask(&mut fields, &mut extensions),
        Purpose::Upgrade => drop(fields.insert(CONNECTION, HeaderValue::from_static("upgrade"))),
        Purpose::Answer | Purpose::Connect => {}
    }
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.headers_mut() = fields;
    *request.extensions_mut() = extensions;
    let fields = request.headers_mut();
    if http2 {
        let authority = fields.remove(HOST).and_then(|host| authority(&host));
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = match (purpose, authority) {
            // Nothing but the authority (RFC 9113, section 8.5).
            (Purpose::Connect, Some(authority)) => Uri::from(authority),
            (_, authority) => {
                let mut parts = http::uri::Parts::default();
                parts.path_and_query = Some(path.clone());
                if let Some(authority) = authority {
                    parts.authority = Some(authority);
                    parts.scheme = Some(scheme);
                }
                Uri::from_parts(parts).unwrap_or_else(|_| Uri::from(path))
            }
        };
    } else {
        // A filter may have taken it away; HTTP/1.1 has no request without it (RFC 9112, section 3.2).
        let host = fields.entry(HOST).or_insert(HeaderValue::from_static(""));
        // RFC 9112, section 3.2.3.
        let target = if purpose == Purpose::Connect { authority(host) } else { None };
        *request.uri_mut() = target.map_or_else(|| Uri::from(path), Uri::from);
    }
    request
}

fn authority(host: &HeaderValue) -> Option<Authority> {
    Authority::try_from(host.as_bytes()).ok()
}

/// Undoes [`into_request`].
fn from_request(request: Request<RequestBody>, http2: bool) -> Outgoing {
    let (mut parts, body) = request.into_parts();
    let mut fields = parts.headers;
    let purpose = if http2 && extended::unask(&mut fields, &mut parts.extensions) {
        parts.method = Method::GET;
        Purpose::Upgrade
    } else if parts.method == Method::CONNECT {
        Purpose::Connect
    } else if !http2 && fields.contains_key(UPGRADE) && fields.get(CONNECTION).is_some_and(|value| value == "upgrade") {
        Purpose::Upgrade
    } else {
        Purpose::Answer
    };
    let uri = parts.uri.into_parts();
    if http2
        && let Some(authority) = uri.authority
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        fields.insert(HOST, value);
    }
    Outgoing {
        method: parts.method,
        path: uri.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/")),
        scheme: uri.scheme.unwrap_or(Scheme::HTTP),
        fields,
        body,
        purpose,
        extensions: parts.extensions,
    }
}

#[cfg(test)]
mod tests {
    use http::header::SEC_WEBSOCKET_KEY;
    use hyper::ext::Protocol;

    use super::*;

    fn outgoing() -> Outgoing {
        let mut fields = HeaderMap::new();
        fields.insert(HOST, HeaderValue::from_static("a.example:81"));
        fields.insert("x-a", HeaderValue::from_static("1"));
        Outgoing {
            method: Method::PUT,
            path: PathAndQuery::from_static("/p?q=1"),
            scheme: Scheme::HTTPS,
            fields,
            body: RequestBody::Empty,
            purpose: Purpose::Answer,
            extensions: Extensions::new(),
        }
    }

    #[test]
    fn http1_is_in_origin_form_with_a_host() {
        let request = into_request(outgoing(), false);
        assert_eq!(request.uri().to_string(), "/p?q=1");
        assert_eq!(request.headers()[HOST], "a.example:81");
    }

    #[test]
    fn http2_has_an_authority_and_no_host_and_goes_back_again() {
        let request = into_request(outgoing(), true);
        assert_eq!(request.uri().to_string(), "https://a.example:81/p?q=1");
        assert!(!request.headers().contains_key(HOST));
        let back = from_request(request, true);
        assert_eq!(back.fields[HOST], "a.example:81");
        assert_eq!((back.path.as_str(), back.scheme), ("/p?q=1", Scheme::HTTPS));
    }

    #[test]
    fn an_upgrade_is_told_as_the_connection_has_it_and_can_be_told_anew() {
        let upgrade = || {
            let mut outgoing = outgoing();
            (outgoing.method, outgoing.purpose) = (Method::GET, Purpose::Upgrade);
            outgoing.fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
            outgoing.fields.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("k"));
            outgoing
        };
        let old = into_request(upgrade(), false);
        assert_eq!(
            (old.method(), &old.headers()[CONNECTION], &old.headers()[UPGRADE]),
            (&Method::GET, &HeaderValue::from_static("upgrade"), &HeaderValue::from_static("websocket"))
        );
        let new = into_request(upgrade(), true);
        assert_eq!((new.method(), new.uri().to_string()), (&Method::CONNECT, "https://a.example:81/p?q=1".to_owned()));
        assert_eq!(new.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
        assert!([UPGRADE, CONNECTION, SEC_WEBSOCKET_KEY].iter().all(|name| !new.headers().contains_key(name)));
        let back = from_request(new, true);
        assert_eq!((&back.method, back.purpose), (&Method::GET, Purpose::Upgrade));
        assert_eq!(
            (&back.fields[UPGRADE], &back.fields[SEC_WEBSOCKET_KEY]),
            (&old.headers()[UPGRADE], &HeaderValue::from_static("k"))
        );
        assert_eq!(from_request(old, false).purpose, Purpose::Upgrade);
    }

    #[test]
    fn a_connect_is_in_authority_form() {
        for http2 in [false, true] {
            let mut outgoing = outgoing();
            (outgoing.method, outgoing.purpose) = (Method::CONNECT, Purpose::Connect);
            let request = into_request(outgoing, http2);
            assert_eq!(
                (request.uri().to_string(), request.headers().contains_key(HOST)),
                ("a.example:81".to_owned(), !http2)
            );
            let back = from_request(request, http2);
            assert_eq!(
                (back.purpose, &back.fields[HOST]),
                (Purpose::Connect, &HeaderValue::from_static("a.example:81"))
            );
        }
    }
}
