//! What a request must be before anything else looks at it, and what belongs to one hop only.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version,
    header::{self, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE},
    uri::{PathAndQuery, Scheme},
};

use super::path;
use crate::{
    transport::End,
    wasm::{exchange::Connection, maps::RequestHead},
};

/// Why a request is not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Answer.
    pub status: StatusCode,
    /// `response.code_details`
    pub details: &'static str,
}

const fn refused(status: StatusCode, details: &'static str) -> Refused {
    Refused { status, details }
}

/// An extended CONNECT with a protocol that cannot be forwarded (RFC 8441, section 4).
pub(super) const UNKNOWN_PROTOCOL: Refused = refused(StatusCode::NOT_IMPLEMENTED, "protocol_not_supported");

/// An admitted request.
#[derive(Debug)]
pub struct Admitted {
    /// Its head, without what belongs to this hop.
    pub head: RequestHead,
    /// The client wants to change the protocol to what `upgrade` says, which filters see and may take away.
    pub upgrades: bool,
    /// The client waits for `100 Continue`.
    pub expects: bool,
}

/// Checks a request's head and takes off what belongs to this hop (RFC 9110, section 7.6.1).
///
/// # Errors
/// [`Refused`].
pub fn request(
    method: Method,
    uri: Uri,
    version: Version,
    mut fields: HeaderMap,
    connection: &Connection,
    most: usize,
) -> Result<Admitted, Refused> {
    if version >= Version::HTTP_2 {
        join_cookies(&mut fields);
    }
    if fields.len() > most {
        return Err(refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too_many_headers"));
    }
    let connects = method == Method::CONNECT;
    if connects {
        tunnel(&uri, &fields)?;
    }
    let uri = uri.into_parts();
    let mut hosts = fields.get_all(HOST).iter();
    let mut named = hosts.next().is_some();
    if hosts.next().is_some() {
        return Err(refused(StatusCode::BAD_REQUEST, "several_hosts"));
    }
    if version < Version::HTTP_2 {
        // RFC 9112, section 3.2.3: a target that is nothing but an authority belongs to CONNECT.
        if !connects && uri.authority.is_some() && uri.scheme.is_none() {
            return Err(refused(StatusCode::BAD_REQUEST, "bad_target"));
        }
        // Section 3.2: a Host, whatever the form of the target.
        if version == Version::HTTP_11 && !named {
            return Err(refused(StatusCode::BAD_REQUEST, "missing_host"));
        }
        // Section 6.1: such a message from an HTTP/1.0 client has no framing that both sides agree on.
        if version == Version::HTTP_10 && fields.contains_key(TRANSFER_ENCODING) {
            return Err(refused(StatusCode::BAD_REQUEST, "transfer_encoding_in_http10"));
        }
    }
    if let Some(authority) = &uri.authority {
        // An absolute target, or HTTP/2's :authority, is the one that counts (RFC 9112, 3.2.2; RFC 9113, 8.3.1).
        let host =
            HeaderValue::from_str(authority.as_str()).map_err(|_| refused(StatusCode::BAD_REQUEST, "bad_authority"))?;
        if authority.as_str().contains('@') {
            return Err(refused(StatusCode::BAD_REQUEST, "userinfo_in_authority"));
        }
        fields.insert(HOST, host);
        named = true;
    }
    if !named {
        if version >= Version::HTTP_2 {
            return Err(refused(StatusCode::BAD_REQUEST, "missing_host"));
        }
        // HTTP/1.0 may leave it out, HTTP/1.1 towards the upstream may not: the address that was asked stands in.
        let host = match connection.local.end {
            End::Ip(_) => HeaderValue::from_str(connection.local.text()),
            End::Unix(_) => Ok(HeaderValue::from_static("localhost")),
        };
        if let Ok(host) = host {
            fields.insert(HOST, host);
        }
    }
    if let Some(host) = fields.get(HOST)
        && !legal_host(host.as_bytes())
    {
        return Err(refused(StatusCode::BAD_REQUEST, "bad_host"));
    }
    let target = uri.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let target = match path::normalize(&target) {
        Ok(None) => target,
        Ok(Some(normal)) => normal,
        Err(path::Escapes) => return Err(refused(StatusCode::BAD_REQUEST, "bad_path")),
    };
    let mut admitted = Admitted {
        head: RequestHead::new(
            method,
            target,
            if connection.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP },
            fields,
        ),
        upgrades: false,
        expects: false,
    };
    let fields = &mut admitted.head.fields;
    if connects {
        // It asks for another protocol in a way of its own, and has no body that could be waited for.
        fields.remove(header::EXPECT);
        fields.remove(CONTENT_LENGTH);
    }
    if !connects && version == Version::HTTP_11 && fields.contains_key(UPGRADE) && lists(fields, &CONNECTION, "upgrade")
    {
        // Cleartext HTTP/2 would be a way past the filters, and RFC 9113 has dropped it (section 3.1).
        admitted.upgrades = !lists(fields, &UPGRADE, "h2c");
    }
    let protocol = if admitted.upgrades { fields.get(UPGRADE).cloned() } else { None };
    let trailers = lists(fields, &TE, "trailers");
    strip_hop(fields);
    if trailers {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = protocol {
        fields.insert(UPGRADE, protocol);
    }
    if let Some(expect) = fields.get(header::EXPECT) {
        if !expect.as_bytes().eq_ignore_ascii_case(b"100-continue") {
            return Err(refused(StatusCode::EXPECTATION_FAILED, "unknown_expectation"));
        }
        admitted.expects = version == Version::HTTP_11;
        if !admitted.expects {
            fields.remove(header::EXPECT);
        }
    }
    Ok(admitted)
}

/// Checks what a CONNECT must be: an authority with a port, and no body (RFC 9110, section 9.3.6; RFC 9113, section 8.5).
fn tunnel(uri: &Uri, fields: &HeaderMap) -> Result<(), Refused> {
    let bad = |details| Err(refused(StatusCode::BAD_REQUEST, details));
    let port = uri.authority().and_then(http::uri::Authority::port_u16);
    if uri.scheme().is_some() || uri.path_and_query().is_some() || port.is_none_or(|port| port == 0) {
        return bad("bad_target");
    }
    // Two readers could take what follows for different things.
    let length = fields.get_all(CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0");
    if length || fields.contains_key(TRANSFER_ENCODING) { bad("connect_with_body") } else { Ok(()) }
}

/// HTTP/2 clients may send a cookie in crumbs; anything else wants it whole (RFC 9113, section 8.2.3).
fn join_cookies(fields: &mut HeaderMap) {
    let mut crumbs = fields.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let mut whole = [first.as_bytes(), b"; ", second.as_bytes()].concat();
    for crumb in crumbs {
        whole.extend_from_slice(b"; ");
        whole.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(whole) = HeaderValue::from_bytes(&whole) {
        fields.insert(COOKIE, whole);
    }
}

/// Whether a list header has a member, in any case.
fn lists(fields: &HeaderMap, name: &HeaderName, member: &str) -> bool {
    fields.get_all(name).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|item| {
            item.split(|byte| *byte == b';')
                .next()
                .unwrap_or_default()
                .trim_ascii()
                .eq_ignore_ascii_case(member.as_bytes())
        })
    })
}

/// Takes off what belongs to one hop: `Connection`, what it names, and the usual suspects.
pub fn strip_hop(fields: &mut HeaderMap) {
    let plain = fields.get(CONNECTION).map(|value| {
        value.as_bytes().eq_ignore_ascii_case(b"keep-alive") || value.as_bytes().eq_ignore_ascii_case(b"close")
    });
    if plain == Some(true) && fields.get_all(CONNECTION).iter().nth(1).is_none() {
        // What nearly every server says: it names nothing that has to go.
        fields.remove(CONNECTION);
    } else if plain.is_some() {
        let named: Vec<HeaderName> = fields
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            // What frames or routes the message is not the sender's to remove (desync, host removal).
            .filter(|name| name != CONTENT_LENGTH && name != HOST)
            .collect();
        for name in named {
            fields.remove(name);
        }
        fields.remove(CONNECTION);
    }
    static HOP: [HeaderName; 6] = [
        TRANSFER_ENCODING,
        UPGRADE,
        TE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        HeaderName::from_static("http2-settings"),
    ];
    // Most messages have none of them, and few fields: one look at each is cheaper than six hashes.
    let any = fields.keys().any(|name| HOP.contains(name));
    if any {
        for name in &HOP {
            fields.remove(name);
        }
    }
}

fn legal_host(host: &[u8]) -> bool {
    // RFC 3986: reg-name, IPv4 or bracketed IPv6, and a port; no separators that other parsers could read as something else.
    host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn connection() -> Connection {
        let address = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        Connection {
            id: 1,
            remote: address(50_000).into(),
            local: address(80).into(),
            listener: "web".into(),
            listener_metadata: std::sync::Arc::default(),
            tls: None,
            alarm: crate::wasm::alarm::Alarm::default(),
            answers: crate::wasm::under_way::Answers::default(),
            place: Box::new(()),
        }
    }

    fn admit(version: Version, target: &str, list: &[(&'static str, &'static str)]) -> Result<Admitted, Refused> {
        request(Method::GET, target.parse().unwrap(), version, fields(list), &connection(), 100)
    }

    #[test]
    fn http11_needs_exactly_one_host() {
        assert_eq!(admit(Version::HTTP_11, "/", &[]).unwrap_err().details, "missing_host");
        assert_eq!(admit(Version::HTTP_11, "/", &[("host", "a"), ("host", "b")]).unwrap_err().details, "several_hosts");
        assert_eq!(admit(Version::HTTP_2, "/", &[("host", "a"), ("host", "b")]).unwrap_err().details, "several_hosts");
        assert_eq!(admit(Version::HTTP_2, "/", &[]).unwrap_err().details, "missing_host");
        assert_eq!(admit(Version::HTTP_10, "/", &[]).unwrap().head.authority(), b"127.0.0.1:80");
    }

    #[test]
    fn a_target_that_is_only_an_authority_belongs_to_connect() {
        assert_eq!(admit(Version::HTTP_11, "a.example:80", &[("host", "a")]).unwrap_err().details, "bad_target");
    }

    #[test]
    fn a_connect_has_an_authority_with_a_port_and_nothing_else() {
        let connect = |version, target: &str, list: &[(&'static str, &'static str)]| {
            let uri = target.parse().unwrap();
            request(Method::CONNECT, uri, version, fields(list), &connection(), 100).map_err(|refused| refused.details)
        };
        let host = ("host", "other");
        let upgrade =
            [host, ("connection", "upgrade"), ("upgrade", "x"), ("expect", "100-continue"), ("content-length", "0")];
        let admitted = connect(Version::HTTP_11, "a.example:443", &upgrade).unwrap();
        assert_eq!(
            (admitted.head.authority(), admitted.upgrades, admitted.expects),
            (&b"a.example:443"[..], false, false)
        );
        assert_eq!(admitted.head.fields.len(), 1, "{:?}", admitted.head.fields);
        assert!(connect(Version::HTTP_2, "[::1]:1", &[]).is_ok());
        assert_eq!(connect(Version::HTTP_11, "a.example:443", &[]).unwrap_err(), "missing_host");
        for target in ["a.example", "a.example:0", "a.example:65536", "/", "*", "http://a.example:80/"] {
            if let Ok(uri) = target.parse::<Uri>() {
                let refused = request(Method::CONNECT, uri, Version::HTTP_11, fields(&[host]), &connection(), 100);
                assert_eq!(refused.unwrap_err().details, "bad_target", "{target}");
            }
        }
        for body in [("content-length", "5"), ("transfer-encoding", "chunked")] {
            assert_eq!(connect(Version::HTTP_11, "a.example:443", &[host, body]).unwrap_err(), "connect_with_body");
        }
        assert_eq!(connect(Version::HTTP_11, "u@a.example:443", &[host]).unwrap_err(), "userinfo_in_authority");
    }

    #[test]
    fn crumbs_of_cookies_are_joined_for_http2_only() {
        let crumbs = [("host", "a"), ("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")];
        let joined = admit(Version::HTTP_2, "/", &crumbs).unwrap().head.fields;
        assert_eq!(joined.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
        let apart = admit(Version::HTTP_11, "/", &crumbs).unwrap().head.fields;
        assert_eq!(apart.get_all(COOKIE).iter().count(), 3);
    }

    #[test]
    fn an_absolute_target_wins_over_the_host_field() {
        let admitted = admit(Version::HTTP_11, "http://real.example:8080/x?y", &[("host", "other.example")]).unwrap();
        assert_eq!(admitted.head.authority(), b"real.example:8080");
        assert_eq!(admitted.head.path.as_str(), "/x?y");
    }

    #[test]
    fn hop_by_hop_fields_go_and_named_ones_with_them() {
        let admitted = admit(
            Version::HTTP_11,
            "/",
            &[
                ("host", "a"),
                ("connection", "close, X-Private, host, content-length"),
                ("x-private", "1"),
                ("keep-alive", "5"),
                ("x-kept", "1"),
                ("content-length", "3"),
            ],
        )
        .unwrap();
        let names: Vec<_> = admitted.head.fields.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["host", "x-kept", "content-length"]);
    }

    #[test]
    fn te_keeps_trailers_and_nothing_else() {
        let admitted = admit(Version::HTTP_11, "/", &[("host", "a"), ("te", "gzip, trailers;q=1")]).unwrap();
        assert_eq!(admitted.head.fields[TE], "trailers");
        let admitted = admit(Version::HTTP_11, "/", &[("host", "a"), ("te", "gzip")]).unwrap();
        assert!(!admitted.head.fields.contains_key(TE));
    }

    #[test]
    fn an_upgrade_needs_both_fields() {
        let both = admit(
            Version::HTTP_11,
            "/",
            &[("host", "a"), ("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")],
        )
        .unwrap();
        assert!(both.upgrades);
        assert_eq!(both.head.fields[UPGRADE], "websocket", "filters see it");
        let one = admit(Version::HTTP_11, "/", &[("host", "a"), ("upgrade", "websocket")]).unwrap();
        assert!(!one.upgrades && !one.head.fields.contains_key(UPGRADE));
        let h2c = [("host", "a"), ("connection", "upgrade"), ("upgrade", "websocket, h2c")];
        let none = admit(Version::HTTP_11, "/", &h2c).unwrap();
        assert!(!none.upgrades && !none.head.fields.contains_key(UPGRADE));
    }

    #[test]
    fn expectations_other_than_continue_fail() {
        assert!(admit(Version::HTTP_11, "/", &[("host", "a"), ("expect", "100-Continue")]).unwrap().expects);
        assert_eq!(
            admit(Version::HTTP_11, "/", &[("host", "a"), ("expect", "200-ok")]).unwrap_err().status,
            StatusCode::EXPECTATION_FAILED
        );
    }

    #[test]
    fn odd_hosts_are_refused() {
        for host in ["a b", "a/b", "a@b", "a\\b", "a,b?"] {
            let mut list = HeaderMap::new();
            list.insert(HOST, HeaderValue::from_str(host).unwrap());
            let result = request(Method::GET, Uri::from_static("/"), Version::HTTP_11, list, &connection(), 100);
            assert_eq!(result.unwrap_err().details, "bad_host", "{host}");
        }
    }
}
