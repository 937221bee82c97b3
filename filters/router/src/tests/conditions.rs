//! Which requests match.

use fyke_sdk::testing::Host;

use super::{get, route, router, send};
use crate::Router;

fn name(host: &Host<Router>, path: &str, more: &[(&str, &str)]) -> String {
    route(host, send(host, path, more)).unwrap_or_default()
}

#[test]
fn templates_match_and_rewrite() {
    let host = router(
        r#"{"routes": [
            {"name": "user", "match": {"path_template": "/users/{id}/posts/{rest=**}"}, "cluster": "c",
             "rewrite": {"path_template": "/v2/{rest}/of/{id}"}},
            {"name": "video", "match": {"path_template": "/*/**.mpd"}, "cluster": "c"}]}"#,
    );
    let stream = get(&host, "/users/42/posts/a/b?x=1");
    assert_eq!(route(&host, stream).unwrap(), "user");
    assert_eq!(host.request_header(stream, ":path").unwrap(), "/v2/a/b/of/42?x=1");
    assert_eq!(name(&host, "/a/b/c.mpd", &[]), "video");
    assert_eq!(name(&host, "/users//posts/a", &[]), "");
}

#[test]
fn case_is_ignored_where_that_was_asked_for() {
    let host = router(
        r#"{"routes": [
            {"name": "exact", "match": {"path": "/A", "ignore_case": true}, "cluster": "c"},
            {"name": "prefix", "match": {"path_prefix": "/Pre", "ignore_case": true}, "cluster": "c", "rewrite": {"prefix": "/new"}},
            {"name": "separated", "match": {"path_separated_prefix": "/Sep", "ignore_case": true}, "cluster": "c"},
            {"name": "template", "match": {"path_template": "/T/{x}", "ignore_case": true}, "cluster": "c"},
            {"name": "strict", "match": {"path_prefix": "/S"}, "cluster": "c"}]}"#,
    );
    for (path, expected) in
        [("/a", "exact"), ("/pREfix", "prefix"), ("/sEP/x", "separated"), ("/t/1", "template"), ("/s", "")]
    {
        assert_eq!(name(&host, path, &[]), expected, "{path}");
    }
    assert_eq!(host.request_header(get(&host, "/PRE/x"), ":path").unwrap(), "/new/x");
}

#[test]
fn kinds_of_requests_are_told_apart() {
    let host = router(
        r#"{"routes": [
            {"name": "connect", "match": {"connect": true}, "cluster": "c"},
            {"name": "grpc", "match": {"grpc": true}, "cluster": "c"},
            {"name": "https", "match": {"scheme": "https"}, "cluster": "c"},
            {"name": "rest", "match": {"grpc": false, "connect": false}, "cluster": "c"}]}"#,
    );
    assert_eq!(name(&host, "/", &[(":method", "CONNECT"), (":protocol", "websocket")]), "connect");
    for (kind, expected) in [
        ("application/grpc", "grpc"),
        ("application/grpc+proto", "grpc"),
        ("Application/GRPC; a", "grpc"),
        ("application/grpc-web", "rest"),
        ("text/plain", "rest"),
    ] {
        assert_eq!(name(&host, "/", &[("content-type", kind)]), expected, "{kind}");
    }
    assert_eq!(name(&host, "/", &[(":scheme", "https")]), "https");
}

#[test]
fn what_has_no_path_matches_only_routes_for_connect() {
    let all = r#"{"name": "all", "cluster": "c"}, {"name": "root", "match": {"path_prefix": "/"}, "cluster": "c"}"#;
    let connect = |host: &Host<Router>, authority: &str| {
        let stream = host.open();
        host.request_headers(stream, &[(":method", "CONNECT"), (":authority", authority), (":scheme", "http")], true);
        (route(host, stream), host.reply(stream).map(|reply| reply.status))
    };
    let host = router(&format!(r#"{{"routes": [{all}]}}"#));
    assert_eq!(connect(&host, "a:443"), (None, Some(404)));
    let host = router(&format!(
        r#"{{"virtual_hosts": [{{"domains": ["db.internal"], "routes": [{all}, {{"name": "db", "match": {{"connect": true}}, "cluster": "c", "connect": {{}}}}]}},
            {{"domains": ["*"], "routes": [{all}]}}]}}"#
    ));
    assert_eq!(connect(&host, "db.internal:5432"), (Some("db".to_owned()), None));
    assert_eq!(connect(&host, "elsewhere:5432"), (None, Some(404)));
}

#[test]
fn certificates_and_properties_are_conditions() {
    let host = router(
        r#"{"routes": [
            {"name": "mtls", "match": {"tls": {"presented": true, "validated": true}}, "cluster": "c"},
            {"name": "team", "match": {"properties": [{"path": ["envoy.jwt", "team"], "any_of": ["a", "b"]}]}, "cluster": "c"},
            {"name": "none", "match": {"tls": {"presented": false}}, "cluster": "c"}]}"#,
    );
    let with = |property: &str, value: &[u8]| {
        let stream = host.open();
        host.stream(stream, |stream| stream.set_property(property, value));
        host.request_headers(stream, &[(":method", "GET"), (":path", "/"), (":authority", "a")], true);
        route(&host, stream).unwrap()
    };
    assert_eq!(with("connection.mtls", &[1]), "mtls");
    assert_eq!(with("connection.mtls", &[0]), "none");
    assert_eq!(with("envoy.jwt.team", b"b"), "team");
    assert_eq!(with("envoy.jwt.team", b"c"), "none");
}

#[test]
fn tls_is_required_before_a_route_is_looked_at() {
    let host = router(
        r#"{"response_headers": {"set": {"x-all": "1"}}, "virtual_hosts": [
            {"domains": ["all.example"], "require_tls": "all", "routes": [{"cluster": "c"}]},
            {"domains": ["some.example"], "require_tls": "external_only", "routes": [{"cluster": "c"}]}]}"#,
    );
    let reply = host.reply(send(&host, "/a?b", &[(":authority", "all.example:80")])).unwrap();
    assert_eq!((reply.status, reply.header("location").unwrap().as_str()), (301, "https://all.example/a?b"));
    assert_eq!(reply.header("x-all").unwrap(), "1");
    assert!(host.reply(send(&host, "/", &[(":authority", "all.example"), (":scheme", "https")])).is_none());
    let inside = ("x-envoy-internal", "true");
    assert!(host.reply(send(&host, "/", &[(":authority", "all.example"), inside])).is_some());
    assert!(host.reply(send(&host, "/", &[(":authority", "some.example")])).is_some());
    assert!(host.reply(send(&host, "/", &[(":authority", "some.example"), inside])).is_none());
}
