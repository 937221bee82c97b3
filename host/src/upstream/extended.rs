//! An upgrade towards an HTTP/2 endpoint: extended CONNECT (RFC 8441).
//!
//! HTTP/2 has no `Upgrade` (RFC 9113, section 8.6). What asks for one goes as CONNECT with the protocol in `:protocol`, if the endpoint's
//! SETTINGS allow that; otherwise it is refused, because an endpoint that was not asked would answer something else.

use std::sync::Arc;

use http::{
    Extensions, HeaderMap, HeaderValue, Method,
    header::{CONNECTION, SEC_WEBSOCKET_KEY, UPGRADE},
};
use hyper::ext::Protocol;

use super::{Outgoing, UpstreamError, dispatch::Purpose};
use crate::cluster::{RequestBody, lease::Lease, settings::ExtendedConnect};

/// What extended CONNECT leaves out, for the case that the request goes over HTTP/1.1 after all.
#[derive(Debug, Clone)]
struct Key(Arc<HeaderValue>);

/// Whether it is the name of one protocol (RFC 8441, section 4), and not of cleartext HTTP/2, which would be a way past the filters.
#[must_use]
pub fn is_protocol(name: &HeaderValue) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let bytes = name.as_bytes();
    !bytes.is_empty() && bytes.iter().all(token) && !bytes.eq_ignore_ascii_case(b"h2c")
}

/// Makes sure that a request which asks for another protocol can ask for it on this connection. One that HTTP/2 has no words for (with a
/// body, another method, or a choice of protocols) goes without: a server may ignore an upgrade (RFC 9110, section 7.8).
pub(super) async fn check(lease: &Lease, outgoing: &mut Outgoing) -> Result<(), UpstreamError> {
    let single = outgoing.fields.get(UPGRADE).is_some_and(is_protocol);
    if outgoing.method != Method::GET || !single || !matches!(outgoing.body, RequestBody::Empty) {
        outgoing.fields.remove(UPGRADE);
        outgoing.purpose = Purpose::Answer;
        return Ok(());
    }
    match lease.extended_connect().await? {
        // Of a connection that is gone, sending tells as of any other.
        ExtendedConnect::Allow | ExtendedConnect::Gone => Ok(()),
        ExtendedConnect::Refuse => Err(UpstreamError::NoExtendedConnect { address: lease.address() }),
    }
}

/// Puts the protocol where HTTP/2 has it. Returns the method.
pub(super) fn ask(fields: &mut HeaderMap, extensions: &mut Extensions) -> Method {
    fields.remove(CONNECTION);
    if let Some(protocol) = fields.remove(UPGRADE)
        && let Ok(protocol) = protocol.to_str()
    {
        extensions.insert(Protocol::from(protocol));
    }
    if let Some(key) = fields.remove(SEC_WEBSOCKET_KEY) {
        extensions.insert(Key(Arc::new(key)));
    }
    Method::CONNECT
}

/// Undoes [`ask`]. Returns whether there was something to undo.
pub(super) fn unask(fields: &mut HeaderMap, extensions: &mut Extensions) -> bool {
    let Some(protocol) = extensions.remove::<Protocol>() else { return false };
    if let Ok(protocol) = HeaderValue::from_str(protocol.as_str()) {
        fields.insert(UPGRADE, protocol);
    }
    if let Some(Key(key)) = extensions.remove() {
        fields.insert(SEC_WEBSOCKET_KEY, Arc::unwrap_or_clone(key));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_single_protocol_that_is_not_http2_is_forwarded() {
        for (protocol, good) in
            [("websocket", true), ("connect-udp", true), ("h2c", false), ("H2C", false), ("x, h2c", false), ("", false)]
        {
            assert_eq!(is_protocol(&HeaderValue::from_static(protocol)), good, "{protocol}");
        }
    }
}
