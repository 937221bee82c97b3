//! WebSocket and other protocols over HTTP/2: extended CONNECT (RFC 8441), told as the upgrade of HTTP/1.1 that it stands for.
//!
//! Filters, routes and upstreams see one kind of upgrade, whatever the client speaks: `GET` with `upgrade`. Only the first line of the answer is
//! translated back, 101 to 200 (section 5).

use data_encoding::BASE64;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE},
};
use hyper::{body::Incoming, ext::Protocol};

/// Makes an upgrade of an extended CONNECT. Returns the protocol, if it was one.
pub(super) fn translate(request: &mut Request<Incoming>) -> Option<HeaderValue> {
    if request.method() != Method::CONNECT || request.version() != Version::HTTP_2 {
        return None;
    }
    let protocol = request.extensions_mut().remove::<Protocol>()?;
    let protocol = HeaderValue::from_str(protocol.as_str()).ok().filter(may_be_forwarded)?;
    *request.method_mut() = Method::GET;
    if protocol.as_bytes().eq_ignore_ascii_case(b"websocket") {
        complete(request.headers_mut());
    }
    Some(protocol)
}

/// One token (RFC 8441, section 4), and not cleartext HTTP/2, which would be a way past the filters. What may not stays a CONNECT, which is
/// refused.
fn may_be_forwarded(protocol: &HeaderValue) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let bytes = protocol.as_bytes();
    !bytes.is_empty() && bytes.iter().all(token) && !bytes.eq_ignore_ascii_case(b"h2c")
}

/// What HTTP/1.1 asks for and HTTP/2 leaves out (RFC 6455, section 4.1).
fn complete(fields: &mut HeaderMap) {
    let mut nonce = [0; 16];
    fastrand::fill(&mut nonce);
    if let Ok(key) = HeaderValue::try_from(BASE64.encode(&nonce)) {
        fields.insert(SEC_WEBSOCKET_KEY, key);
    }
    fields.entry(SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
}

/// The answer's first line and fields as an HTTP/2 client wants them.
pub(super) fn answer(version: Version, status: StatusCode, fields: &mut HeaderMap) -> StatusCode {
    if version != Version::HTTP_2 || status != StatusCode::SWITCHING_PROTOCOLS {
        return status;
    }
    static HTTP1: [HeaderName; 3] = [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT];
    for name in &HTTP1 {
        fields.remove(name);
    }
    StatusCode::OK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_of_protocols_is_a_200_over_http2_only() {
        let fields = || {
            HeaderMap::from_iter([
                (UPGRADE, HeaderValue::from_static("websocket")),
                (SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static("x")),
            ])
        };
        let (mut old, mut new) = (fields(), fields());
        let switching = StatusCode::SWITCHING_PROTOCOLS;
        assert_eq!((answer(Version::HTTP_11, switching, &mut old), old.len()), (switching, 2));
        assert_eq!((answer(Version::HTTP_2, switching, &mut new), new.len()), (StatusCode::OK, 0));
        assert_eq!(answer(Version::HTTP_2, StatusCode::FORBIDDEN, &mut old), StatusCode::FORBIDDEN);
    }

    #[test]
    fn only_a_single_protocol_that_is_not_http2_is_forwarded() {
        for (protocol, good) in
            [("websocket", true), ("connect-udp", true), ("h2c", false), ("H2C", false), ("x, h2c", false), ("", false)]
        {
            assert_eq!(may_be_forwarded(&HeaderValue::from_static(protocol)), good, "{protocol}");
        }
    }

    #[test]
    fn a_websocket_has_a_key_and_a_version() {
        let mut fields = HeaderMap::new();
        complete(&mut fields);
        assert_eq!(BASE64.decode(fields[SEC_WEBSOCKET_KEY].as_bytes()).unwrap().len(), 16);
        assert_eq!(fields[SEC_WEBSOCKET_VERSION], "13");
    }
}
