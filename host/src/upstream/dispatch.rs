//! One request to one cluster.

use std::rc::Rc;

use http::{
    Extensions, HeaderMap, HeaderValue, Method, Request, Response, Uri, Version,
    header::HOST,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body::Body;
use hyper::body::Incoming;

use super::{UpstreamError, outcome};
use crate::cluster::{
    Choice, RequestBody,
    lease::{Lease, SendError},
    local::LocalCluster,
};

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
    outgoing: Box<Outgoing>,
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
    outgoing: Box<Outgoing>,
    choice: Option<&Choice>,
    leased: impl Fn(&Lease),
) -> Result<Answered, UpstreamError> {
    cluster.metrics.stale_retries.inc();
    let mut lease = cluster.lease(choice, host, true).await?;
    leased(&lease);
    match send(&mut lease, choice, outgoing).await {
        Ok(response) => Ok(answered(response, lease)),
        Err(failed) => Err(classify(&lease, failed)),
    }
}

/// Sends a request, with the endpoint's own name as host where the route wants that.
fn send(
    lease: &mut Lease,
    choice: Option<&Choice>,
    mut outgoing: Box<Outgoing>,
) -> impl Future<Output = Result<Response<Incoming>, SendError>> + use<> {
    if choice.is_some_and(|choice| choice.presents_host)
        && let Some(name) = lease.hostname()
        && let Ok(name) = HeaderValue::from_str(name)
    {
        outgoing.fields.insert(HOST, name);
    }
    lease.send(into_request(*outgoing, lease.is_http2()))
}

fn answered(response: Response<Incoming>, lease: Lease) -> Answered {
    lease.answered(|| outcome::of_answer(response.status(), response.headers()));
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

/// What HTTP/2 says of it, if it does.
fn of_http2(error: &hyper::Error) -> Option<&h2::Error> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref() {
            return Some(error);
        }
        source = cause.source();
    }
    None
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
    let mut request = Request::new(outgoing.body);
    *request.method_mut() = outgoing.method;
    *request.headers_mut() = outgoing.fields;
    *request.extensions_mut() = outgoing.extensions;
    if http2 {
        *request.version_mut() = Version::HTTP_2;
        let authority = request.headers_mut().remove(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = Some(outgoing.path.clone());
        if let Some(authority) = authority {
            parts.authority = Some(authority);
            parts.scheme = Some(outgoing.scheme);
        }
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_else(|_| Uri::from(outgoing.path));
    } else {
        *request.uri_mut() = Uri::from(outgoing.path);
        // A filter may have taken it away; HTTP/1.1 has no request without it (RFC 9112, section 3.2).
        request.headers_mut().entry(HOST).or_insert(HeaderValue::from_static(""));
    }
    request
}

fn from_request(request: Request<RequestBody>, http2: bool) -> Outgoing {
    let (parts, body) = request.into_parts();
    let mut fields = parts.headers;
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
        extensions: parts.extensions,
    }
}

#[cfg(test)]
mod tests {
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
}
