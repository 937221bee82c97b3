//! WebSocket and other protocols over HTTP/2: extended CONNECT (RFC 8441), told as the upgrade of HTTP/1.1 that it stands for.
//!
//! Filters and routes see one kind of upgrade, whatever client and endpoint speak: `GET` with `upgrade`, answered by 101. On the side that speaks
//! HTTP/2 the request is made of a CONNECT, or made one ([`crate::upstream::extended`]), and 101 is 200 (section 5).

use data_encoding::BASE64;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE},
};
use hyper::{body::Incoming, ext::Protocol};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use crate::upstream::extended::is_protocol;

/// What a request's pseudo headers make of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// No extended CONNECT.
    Nothing,
    /// An upgrade to this protocol, which the request is now.
    Upgrade(HeaderValue),
    /// An extended CONNECT with something that is not forwarded. It stays one, and must go no further.
    Unknown,
}

/// Makes an upgrade of an extended CONNECT.
pub(super) fn translate(request: &mut Request<Incoming>) -> Said {
    if request.method() != Method::CONNECT || request.version() != Version::HTTP_2 {
        return Said::Nothing;
    }
    let Some(protocol) = request.extensions_mut().remove::<Protocol>() else { return Said::Nothing };
    let protocol = HeaderValue::from_str(protocol.as_str()).ok().filter(is_protocol);
    let Some(protocol) = protocol else { return Said::Unknown };
    *request.method_mut() = Method::GET;
    if is_websocket(&protocol) {
        complete(request.headers_mut());
    }
    Said::Upgrade(protocol)
}

fn is_websocket(protocol: &HeaderValue) -> bool {
    protocol.as_bytes().eq_ignore_ascii_case(b"websocket")
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

/// What an upgrade asks for, as far as its answer has to say it again.
#[derive(Debug)]
pub(super) struct Asked {
    protocol: HeaderValue,
    key: Option<HeaderValue>,
}

impl Asked {
    /// Of the request as it is sent.
    pub(super) fn of(fields: &HeaderMap) -> Option<Self> {
        let protocol = fields.get(UPGRADE)?.clone();
        Some(Self { protocol, key: fields.get(SEC_WEBSOCKET_KEY).cloned() })
    }

    /// Makes the switch of protocols of an HTTP/2 endpoint's 200 that everybody else expects.
    pub(super) fn switched(self, fields: &mut HeaderMap) -> StatusCode {
        if is_websocket(&self.protocol)
            && let Some(key) = &self.key
            && let Ok(accept) = HeaderValue::try_from(accept(key.as_bytes()))
        {
            fields.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        fields.insert(UPGRADE, self.protocol);
        StatusCode::SWITCHING_PROTOCOLS
    }
}

/// `Sec-WebSocket-Accept` (RFC 6455, section 4.2.2).
fn accept(key: &[u8]) -> String {
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(hash.finish().as_ref())
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
    fn a_websocket_has_a_key_and_a_version() {
        let mut fields = HeaderMap::new();
        complete(&mut fields);
        assert_eq!(BASE64.decode(fields[SEC_WEBSOCKET_KEY].as_bytes()).unwrap().len(), 16);
        assert_eq!(fields[SEC_WEBSOCKET_VERSION], "13");
    }

    #[test]
    fn an_http2_endpoints_200_is_a_switch_of_protocols_to_everybody_else() {
        let asked = HeaderMap::from_iter([
            (UPGRADE, HeaderValue::from_static("WebSocket")),
            // The example of RFC 6455, section 1.3.
            (SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==")),
        ]);
        let mut fields = HeaderMap::new();
        assert_eq!(Asked::of(&asked).unwrap().switched(&mut fields), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(fields[UPGRADE], asked[UPGRADE]);
        assert_eq!(fields[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(Asked::of(&HeaderMap::new()).is_none());
    }
}
