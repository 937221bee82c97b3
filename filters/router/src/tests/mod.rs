//! The router as the host sees it.

use fyke_sdk::testing::{Host, World};

use crate::Router;

mod conditions;
mod explain;
mod headers;
mod many;
mod policies;
mod refusals;
mod rings;
mod selections;

fn router(configuration: &str) -> Host<Router> {
    Host::configure(configuration).unwrap_or_else(|error| panic!("{error}"))
}

fn get(host: &Host<Router>, path: &str) -> u32 {
    send(host, path, &[])
}

fn send(host: &Host<Router>, path: &str, more: &[(&str, &str)]) -> u32 {
    let mut headers = vec![(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", "a.example")];
    headers.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    headers.extend(more);
    host.request(&headers)
}

/// The name of the selected route.
fn route(host: &Host<Router>, stream: u32) -> Option<String> {
    let (handle, _, _) = host.stream(stream, |stream| stream.route.clone())?;
    World::with(|world| world.routes[handle as usize]["name"].as_str().map(str::to_owned))
}

fn location(host: &Host<Router>, path: &str) -> String {
    let stream = get(host, path);
    host.reply(stream).unwrap().header("location").unwrap()
}

#[test]
fn one_route_takes_everything_without_reading_the_authority() {
    let host = router(r#"{"routes": [{"cluster": "app"}]}"#);
    let stream = get(&host, "/any?x=1");
    assert_eq!(route(&host, stream).unwrap(), "routes[0]");
    assert_eq!(World::with(|world| world.header_reads), 1);
    let defined = World::with(|world| world.routes[0].clone());
    assert_eq!(
        defined,
        serde_json::json!({"name": "routes[0]", "virtual_host": "*", "cluster": "app", "timeout_ms": 15000})
    );
}

#[test]
fn what_a_route_carries_reaches_the_host() {
    let host = router(
        r#"{"virtual_hosts": [{"domains": ["a.example"], "routes": [{
            "weighted_clusters": [{"cluster": "a", "weight": 90}, {"cluster": "b", "weight": 10}],
            "timeout": "0s", "metadata": {"team": "x"}, "filters": {"rate-limit": {"n": 1}}}]}]}"#,
    );
    let defined = World::with(|world| world.routes[0].clone());
    assert_eq!(
        defined,
        serde_json::json!({
            "name": "virtual_hosts[0].routes[0]", "virtual_host": "a.example", "timeout_ms": 0,
            "weighted_clusters": [{"cluster": "a", "weight": 90}, {"cluster": "b", "weight": 10}],
            "metadata": {"team": "x"}, "filters": {"rate-limit": {"n": 1}},
        })
    );
    assert!(route(&host, get(&host, "/")).is_some());
}

#[test]
fn nothing_that_matches_is_404() {
    let host = router(r#"{"virtual_hosts": [{"domains": ["b.example"], "routes": [{"cluster": "app"}]}]}"#);
    let reply = host.reply(get(&host, "/")).unwrap();
    assert_eq!((reply.status, reply.details.as_str()), (404, "route_not_found"));
    let stream = send(&host, "/", &[(":authority", "B.example:80")]);
    assert!(host.reply(stream).is_none());
}

#[test]
fn the_first_match_wins_in_order() {
    let host = router(
        r#"{"routes": [
            {"name": "exact", "match": {"path": "/a"}, "cluster": "c"},
            {"name": "separated", "match": {"path_separated_prefix": "/a"}, "cluster": "c"},
            {"name": "regex", "match": {"path_regex": "/a[0-9]|/a[0-9]+/x"}, "cluster": "c"},
            {"name": "prefix", "match": {"path_prefix": "/a"}, "cluster": "c"},
            {"name": "rest", "cluster": "c"}]}"#,
    );
    for (path, name) in [
        ("/a", "exact"),
        ("/a?q", "exact"),
        ("/a/b", "separated"),
        ("/a1", "regex"),
        ("/a12/x", "regex"),
        ("/a12", "prefix"),
        ("/b", "rest"),
        ("", "rest"),
    ] {
        assert_eq!(route(&host, get(&host, path)).unwrap(), name, "{path}");
    }
}

#[test]
fn many_routes_keep_their_order() {
    let mut routes: Vec<serde_json::Value> = Vec::new();
    for n in 0..200 {
        let condition = match n % 4 {
            0 => serde_json::json!({"path": format!("/{}", n % 40)}),
            1 => serde_json::json!({"path_prefix": format!("/{}", n % 30)}),
            2 => serde_json::json!({"path_separated_prefix": format!("/{}", n % 50)}),
            _ => serde_json::json!({"path_regex": format!("/{n}[a-z]*")}),
        };
        routes.push(serde_json::json!({"name": n.to_string(), "match": condition, "cluster": "c"}));
    }
    let host = router(&serde_json::json!({"routes": routes}).to_string());
    for path in (0..60).flat_map(|n| [format!("/{n}"), format!("/{n}/x"), format!("/{n}y")]) {
        // The same, without an index.
        let expected = routes.iter().find(|route| {
            let condition = &route["match"];
            let text = |key: &str| condition[key].as_str();
            text("path").is_some_and(|exact| exact == path)
                || text("path_prefix").is_some_and(|prefix| path.starts_with(prefix))
                || text("path_separated_prefix").is_some_and(|prefix| {
                    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                })
                || text("path_regex").is_some_and(|regex| crate::values::whole_match(regex).unwrap().is_match(&path))
        });
        assert_eq!(
            route(&host, get(&host, &path)).as_deref(),
            expected.map(|route| route["name"].as_str().unwrap()),
            "{path}"
        );
    }
}

#[test]
fn conditions_on_method_headers_query_and_cookies_must_all_hold() {
    let host = router(
        r#"{"routes": [{"match": {"method": ["GET", "HEAD"], "headers": [{"name": "X-Beta", "exact": "1,2"}],
            "query": [{"name": "v", "present": true}], "cookies": [{"name": "who", "prefix": "a"}]}, "cluster": "c"}]}"#,
    );
    let good = [("x-beta", "1"), ("x-beta", "2"), ("cookie", "x=1"), ("cookie", "who=alice")];
    assert!(route(&host, send(&host, "/?v", &good)).is_some());
    assert!(route(&host, send(&host, "/?w", &good)).is_none());
    assert!(route(&host, send(&host, "/?v", &good[1..])).is_none());
    assert!(route(&host, send(&host, "/?v", &good[..3])).is_none());
    let post = [(":method", "POST"), good[0], good[1], good[2], good[3]];
    assert!(route(&host, send(&host, "/?v", &post)).is_none());
}

#[test]
fn a_fraction_takes_its_share() {
    let host = router(
        r#"{"routes": [{"name": "some", "match": {"fraction": "25%"}, "cluster": "c"}, {"name": "rest", "cluster": "c"}]}"#,
    );
    let taken = (0..2000).filter(|_| route(&host, get(&host, "/")).unwrap() == "some").count();
    assert!((400..600).contains(&taken), "{taken}");
}

#[test]
fn a_header_names_the_cluster() {
    let host = router(r#"{"routes": [{"cluster_header": "X-To"}]}"#);
    let stream = send(&host, "/", &[("x-to", "blue")]);
    let (_, flags, fields) = host.stream(stream, |stream| stream.route.clone()).unwrap();
    assert_eq!((flags, fields.as_slice()), (1, &b"\x04\0\0\0blue"[..]));
    let reply = host.reply(get(&host, "/")).unwrap();
    assert_eq!((reply.status, reply.details.as_str()), (503, "cluster_not_found"));
}

#[test]
fn rewrites_keep_the_query_and_name_the_host() {
    let host = router(
        r#"{"routes": [
            {"match": {"path_prefix": "/users"}, "cluster": "c", "rewrite": {"prefix": "/", "host": "users.internal"}},
            {"match": {"path": "/p"}, "cluster": "c", "rewrite": {"path": "/q", "host_header": "x-host"}},
            {"match": {"path_prefix": "/v"}, "cluster": "c", "rewrite": {"regex": {"pattern": "^/v([0-9])/", "substitution": "/\\1-"}}}]}"#,
    );
    let stream = get(&host, "/users/1?x=/users");
    assert_eq!(host.request_header(stream, ":path").unwrap(), "/1?x=/users");
    let (_, flags, fields) = host.stream(stream, |stream| stream.route.clone()).unwrap();
    assert_eq!((flags, fields.as_slice()), (4, &b"\x0e\0\0\0users.internal"[..]));
    let stream = send(&host, "/p?x", &[("x-host", "h")]);
    assert_eq!(host.request_header(stream, ":path").unwrap(), "/q?x");
    assert_eq!(host.stream(stream, |stream| stream.route.clone()).unwrap().1, 4);
    assert_eq!(host.request_header(get(&host, "/v2/x"), ":path").unwrap(), "/2-x");
}

#[test]
fn headers_are_removed_set_and_added() {
    let host = router(
        r#"{"routes": [{"cluster": "c",
            "request_headers": {"remove": ["X-Debug"], "set": {"X-Route": "u"}, "add": {"x-many": "2"}},
            "response_headers": {"remove": ["server"], "set": {"x-frame-options": "DENY"}}}]}"#,
    );
    let stream = send(&host, "/", &[("x-debug", "1"), ("x-route", "evil"), ("x-many", "1")]);
    assert_eq!(host.request_header(stream, "x-debug"), None);
    assert_eq!(host.request_header(stream, "x-route").unwrap(), "u");
    let many = host.stream(stream, |stream| stream.maps[0].iter().filter(|(name, _)| name == b"x-many").count());
    assert_eq!(many, 2);
    host.response_headers(stream, &[(":status", "200"), ("server", "x")], true);
    assert_eq!(host.response_header(stream, "server"), None);
    assert_eq!(host.response_header(stream, "x-frame-options").unwrap(), "DENY");
}

#[test]
fn redirects_change_what_they_name() {
    for (redirect, path, expected) in [
        (r#"{"path": "/new"}"#, "/old?a=1", "http://a.example/new?a=1"),
        (r#"{"path": "/new?b=2"}"#, "/old?a=1", "http://a.example/new?b=2"),
        (r#"{"scheme": "https"}"#, "/old", "https://a.example/old"),
        (r#"{"host": "b.example", "strip_query": true}"#, "/old?a", "http://b.example/old"),
        (r#"{"port": 8443, "scheme": "https"}"#, "/old", "https://a.example:8443/old"),
        (r#"{"prefix": "/new/"}"#, "/old/x?y", "http://a.example/new/x?y"),
        (r#"{"regex": {"pattern": "o(.)d", "substitution": "\\1"}}"#, "/old?o1d", "http://a.example/l?o1d"),
    ] {
        let host =
            router(&format!(r#"{{"routes": [{{"match": {{"path_prefix": "/old"}}, "redirect": {redirect}}}]}}"#));
        assert_eq!(location(&host, path), expected);
        assert_eq!(host.reply(get(&host, path)).unwrap().status, 301);
    }
    let host = router(r#"{"routes": [{"redirect": {"scheme": "https", "code": 308}}]}"#);
    for (authority, expected) in [("a:80", "https://a/"), ("a:8080", "https://a:8080/")] {
        let reply = host.reply(send(&host, "/", &[(":authority", authority)])).unwrap();
        assert_eq!((reply.status, reply.header("location").unwrap().as_str()), (308, expected));
    }
}

#[test]
fn responses_carry_their_headers_once() {
    let host = router(
        r#"{"routes": [{"match": {"path": "/ping"}, "respond": {"status": 200, "body": "pong", "headers": {"x-a": "1"}},
            "response_headers": {"add": {"x-b": "2"}}}]}"#,
    );
    let stream = get(&host, "/ping");
    let reply = host.reply(stream).unwrap();
    assert_eq!((reply.status, reply.body.as_slice(), reply.details.as_str()), (200, &b"pong"[..], "direct_response"));
    assert_eq!(reply.header("content-type").unwrap(), "text/plain");
    assert_eq!((reply.header("x-a").unwrap(), reply.header("x-b").unwrap()), ("1".to_owned(), "2".to_owned()));
    // Hosts that show a filter its own reply.
    host.response_headers(stream, &[(":status", "200"), ("x-b", "2")], false);
    assert_eq!(host.stream(stream, |stream| stream.maps[2].len()), 2);
}

#[test]
fn a_cleared_route_is_decided_anew() {
    let host = router(
        r#"{"routes": [
            {"name": "beta", "match": {"path_prefix": "/a", "headers": [{"name": "x-beta"}]}, "cluster": "c"},
            {"name": "stable", "match": {"path_prefix": "/a"}, "cluster": "c", "rewrite": {"prefix": "/x"},
             "request_headers": {"add": {"x-n": "1"}}}]}"#,
    );
    let stream = get(&host, "/a/1");
    assert_eq!(host.request_header(stream, ":path").unwrap(), "/x/1");
    // Nothing changed: the same route, the same path, and no header twice.
    host.reroute(stream);
    assert_eq!(
        (route(&host, stream).unwrap().as_str(), host.request_header(stream, ":path").unwrap().as_str()),
        ("stable", "/x/1")
    );
    assert_eq!(host.stream(stream, |stream| stream.maps[0].iter().filter(|(name, _)| name == b"x-n").count()), 1);
    // A filter added the header: the other route, which gets the path that the client sent.
    host.stream(stream, |stream| stream.maps[0].push((b"x-beta".to_vec(), b"1".to_vec())));
    host.reroute(stream);
    assert_eq!(
        (route(&host, stream).unwrap().as_str(), host.request_header(stream, ":path").unwrap().as_str()),
        ("beta", "/a/1")
    );
    // A filter changed the path itself: that one counts.
    host.stream(stream, |stream| stream.maps[0].retain(|(name, _)| name != b":path"));
    host.stream(stream, |stream| stream.maps[0].push((b":path".to_vec(), b"/b".to_vec())));
    host.reroute(stream);
    assert_eq!(host.reply(stream).unwrap().status, 404);
}

#[test]
fn what_is_too_long_for_an_expression_is_refused_and_not_taken_for_no_match() {
    let host = router(
        r#"{"routes": [
            {"match": {"path": "/exact"}, "cluster": "app"},
            {"match": {"path_prefix": "/a", "headers": [{"name": "x-a", "regex": "a+"}]}, "respond": {"status": 403}},
            {"match": {"path_prefix": "/b", "query": [{"name": "q", "regex": "b+", "invert": true}]}, "respond": {"status": 403}},
            {"match": {"path_prefix": "/c"}, "cluster": "app", "rewrite": {"regex": {"pattern": "c", "substitution": "d"}}},
            {"match": {"path_prefix": "/d"}, "redirect": {"regex": {"pattern": "c", "substitution": "d"}}},
            {"match": {"path_regex": "/e.*"}, "respond": {"status": 403}},
            {"cluster": "app"}]}"#,
    );
    let long = "e".repeat(crate::scan::LONGEST);
    let sent = |path: &str, header: &str| {
        let reply = host.reply(send(&host, path, &[("x-a", header)]));
        reply.map(|reply| (reply.status, reply.details == "too_long_for_expression"))
    };
    assert_eq!(sent("/exact", &format!("{long}e")), None, "no expression has to look");
    assert_eq!(sent("/a", &long), None);
    assert_eq!(sent("/a", &format!("{long}e")), Some((431, true)));
    assert_eq!(sent(&format!("/b?q={long}"), ""), Some((403, false)));
    assert_eq!(sent(&format!("/b?q={long}e"), ""), Some((414, true)));
    assert_eq!(sent(&format!("/c{long}"), ""), Some((414, true)));
    assert_eq!(sent(&format!("/d{long}"), ""), Some((414, true)));
    assert_eq!(sent(&format!("/{long}"), ""), Some((414, true)));
    assert_eq!(sent("/e", ""), Some((403, false)));
}

/// Of a table that changes nothing, the host need not keep what streams remember.
#[test]
fn only_a_table_that_does_things_once_needs_a_memory() {
    let remembers = |configuration: &str| {
        let _host = router(configuration);
        let skipped = World::with(|world| world.skipped.take()).unwrap_or_default();
        !skipped.split(',').any(|callback| callback == "context_create")
    };
    for plain in [
        r#"{"routes": [{"cluster": "app"}]}"#,
        r#"{"routes": [{"match": {"path": "/a"}, "redirect": {"path": "/b"}}, {"match": {"path": "/c"}, "respond": {"status": 200}}]}"#,
        r#"{"routes": [{"cluster_header": "x-to", "timeout": "1s", "retry": {"on": ["5xx"]}}]}"#,
    ] {
        assert!(!remembers(plain), "{plain}");
    }
    for busy in [
        r#"{"routes": [{"cluster": "app", "request_headers": {"add": {"x-n": "1"}}}]}"#,
        r#"{"routes": [{"cluster": "app", "response_headers": {"add": {"x-n": "1"}}}]}"#,
        r#"{"routes": [{"cluster": "app"}, {"match": {"path_prefix": "/a"}, "cluster": "app", "rewrite": {"prefix": "/b"}}]}"#,
        r#"{"routes": [{"weighted_clusters": [{"cluster": "app", "weight": 1, "response_headers": {"set": {"x-n": "1"}}}, {"cluster": "b", "weight": 1}]}]}"#,
        r#"{"envoy_headers": {}, "routes": [{"cluster": "app"}]}"#,
        r#"{"routes": [{"cluster": "app", "hash": [{"cookie": {"name": "c", "ttl": "1h"}}]}]}"#,
    ] {
        assert!(remembers(busy), "{busy}");
    }
}
