//! What a selection changes about its route.

use std::collections::BTreeMap;

use fyke_sdk::testing::{Host, World};
use serde_json::{Value, json};
use xxhash_rust::xxh64::xxh64;

use super::{get, router, send};
use crate::Router;

/// The fields of a stream's selection by the numbers of their bits.
fn fields(host: &Host<Router>, stream: u32) -> BTreeMap<u32, Vec<u8>> {
    let (_, flags, bytes) = host.stream(stream, |stream| stream.route.clone()).unwrap();
    let mut rest = bytes.as_slice();
    let mut take = |length: usize| {
        let (field, others) = rest.split_at(length);
        rest = others;
        field.to_vec()
    };
    let fields = (0..8).filter(|bit| flags & (1 << bit) != 0).map(|bit| {
        let length = match bit {
            1 | 3 => 8,
            6 | 7 => 4,
            _ => u32::from_le_bytes(take(4).try_into().unwrap()) as usize,
        };
        (bit, take(length))
    });
    let fields = fields.collect();
    assert!(rest.is_empty());
    fields
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[test]
fn a_plain_route_overrides_nothing() {
    let host = router(r#"{"routes": [{"cluster": "c", "retry": {"on": ["5xx"]}}]}"#);
    assert!(fields(&host, send(&host, "/", &[("x-envoy-max-retries", "9")])).is_empty());
}

#[test]
fn hashes_are_envoys() {
    let host = router(
        r#"{"routes": [
            {"match": {"path": "/one"}, "cluster": "c", "hash": [{"header": "X-A"}]},
            {"match": {"path": "/two"}, "cluster": "c", "hash": [{"header": "x-a"}, {"query": "q"}, {"cookie": {"name": "s"}}]},
            {"match": {"path": "/end"}, "cluster": "c", "hash": [{"header": "x-a", "terminal": true}, {"query": "q"}]},
            {"match": {"path": "/from"}, "cluster": "c", "hash": [{"source_address": true}]}]}"#,
    );
    let hash =
        |path: &str, more: &[(&str, &str)]| fields(&host, send(&host, path, more)).get(&3).map(|bytes| number(bytes));
    let of = |text: &str| xxh64(text.as_bytes(), 0);
    assert_eq!(of(""), 0xef46_db37_51d8_e999, "the reference's value for nothing");
    assert_eq!(hash("/one", &[("x-a", "1")]), Some(of("1")));
    assert_eq!(hash("/one", &[]), None);
    let two = Some(xxh64(b"2", of("1")));
    assert_eq!(hash("/one", &[("x-a", "1"), ("x-a", "2")]), two);
    assert_eq!(hash("/one", &[("x-a", "2"), ("x-a", "1")]), two);
    assert_eq!(
        hash("/two?q=7", &[("x-a", "1"), ("cookie", "s=9")]),
        Some((of("1").rotate_left(1) ^ of("7")).rotate_left(1) ^ of("9"))
    );
    assert_eq!(hash("/two?q=7", &[]), Some(of("7")));
    assert_eq!(hash("/end?q=7", &[("x-a", "1")]), Some(of("1")));
    assert_eq!(hash("/end?q=7", &[]), Some(of("7")));
    let stream = host.open();
    host.stream(stream, |stream| stream.set_property("source.address", "10.0.0.1:4000"));
    host.request_headers(stream, &[(":method", "GET"), (":path", "/from"), (":authority", "a")], true);
    assert_eq!(fields(&host, stream).get(&3).map(|bytes| number(bytes)), Some(of("10.0.0.1")));
}

#[test]
fn a_cookie_that_is_missing_is_made_once_and_set() {
    let host = router(
        r#"{"routes": [{"cluster": "c", "hash": [{"cookie": {"name": "sticky", "ttl": "1m", "path": "/", "attributes": {"SameSite": "Lax", "Secure": ""}}}]}]}"#,
    );
    let stream = get(&host, "/");
    let before = fields(&host, stream)[&3].clone();
    host.reroute(stream);
    assert_eq!(fields(&host, stream)[&3], before);
    host.response_headers(stream, &[(":status", "200")], true);
    let cookie = host.response_header(stream, "set-cookie").unwrap();
    let (value, attributes) = cookie.strip_prefix("sticky=").unwrap().split_once(';').unwrap();
    assert_eq!(attributes, " Max-Age=60; Path=/; SameSite=Lax; Secure");
    assert_eq!(number(&before), xxh64(value.as_bytes(), 0));
    // Who has one keeps it.
    let stream = send(&host, "/", &[("cookie", &format!("sticky={value}"))]);
    assert_eq!(fields(&host, stream)[&3], before);
    host.response_headers(stream, &[(":status", "200")], true);
    assert_eq!(host.response_header(stream, "set-cookie"), None);
}

#[test]
fn a_header_names_the_endpoint_if_it_is_one() {
    let host = router(r#"{"routes": [{"cluster": "c", "endpoint_header": "X-Host"}]}"#);
    for (value, taken) in [("10.0.0.1:80", true), ("[::1]:80", true), ("10.0.0.1", false), ("a:80", false), ("", false)]
    {
        let fields = fields(&host, send(&host, "/", &[("x-host", value)]));
        assert_eq!(fields.get(&4).map(Vec::as_slice), taken.then_some(value.as_bytes()), "{value}");
    }
}

#[test]
fn hosts_are_made_of_paths() {
    let host = router(
        r#"{"routes": [{"cluster": "c", "rewrite": {"host_regex": {"pattern": "^/([^/]*)/.*$", "substitution": "\\1.internal"}, "path": "/"}}]}"#,
    );
    assert_eq!(fields(&host, get(&host, "/users/1?x"))[&2], b"users.internal");
    // What would be no host changes none.
    assert!(fields(&host, get(&host, "/u$ers/1")).is_empty());
    assert!(fields(&host, get(&host, "/users")).is_empty());
}

#[test]
fn grpc_timeouts_are_taken_within_bounds() {
    let host = router(r#"{"routes": [{"cluster": "c", "grpc_timeout": {"max": "10s", "offset": "100ms"}}]}"#);
    for (value, milliseconds) in [
        ("2S", Some(1900)),
        ("1M", Some(10_000)),
        ("100m", Some(100)),
        ("0S", Some(1)),
        ("1u", Some(1)),
        ("soon", None),
    ] {
        let fields = fields(&host, send(&host, "/", &[("grpc-timeout", value)]));
        assert_eq!(fields.get(&1).map(|bytes| number(bytes)), milliseconds, "{value}");
    }
    assert!(fields(&host, get(&host, "/")).is_empty());
}

#[test]
fn the_router_chooses_where_something_hangs_on_it() {
    let host = router(
        r#"{"routes": [{"weighted_by": {"header": "x-random"}, "hash": [{"header": "x-user"}], "weighted_clusters": [
            {"cluster": "a", "weight": 90, "request_headers": {"set": {"x-to": "a"}}},
            {"cluster": "b", "weight": 10, "host": "b.internal", "response_headers": {"set": {"x-from": "b"}}}]}]}"#,
    );
    for (random, cluster) in [("0", "a"), ("89", "a"), ("90", "b"), ("199", "b"), ("18446744073709551615", "a")] {
        let stream = send(&host, "/", &[("x-random", random)]);
        let fields = fields(&host, stream);
        assert_eq!(fields[&0], cluster.as_bytes(), "{random}");
        assert_eq!(fields.contains_key(&2), cluster == "b");
        assert_eq!(host.request_header(stream, "x-to").is_some(), cluster == "a");
        host.response_headers(stream, &[(":status", "200")], true);
        assert_eq!(host.response_header(stream, "x-from").is_some(), cluster == "b");
    }
    let mut seen: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for _ in 0..1000 {
        let stream = get(&host, "/");
        let chosen = fields(&host, stream)[&0].clone();
        // Whoever asks again gets the same.
        host.reroute(stream);
        assert_eq!(fields(&host, stream)[&0], chosen);
        *seen.entry(chosen).or_default() += 1;
    }
    // Mean 100, standard deviation 9.5: five of them on each side.
    assert!((52..=148).contains(&seen[&b"b"[..]]), "{seen:?}");
}

#[test]
fn a_share_may_go_where_a_header_says() {
    let host = router(
        r#"{"routes": [{"weighted_by": {"header": "x-random"}, "weighted_clusters": [
            {"cluster": "a", "weight": 0}, {"cluster_header": "X-To", "weight": 1}]}]}"#,
    );
    assert_eq!(fields(&host, send(&host, "/", &[("x-random", "0"), ("x-to", "blue")]))[&0], b"blue");
    let reply = host.reply(send(&host, "/", &[("x-random", "0")])).unwrap();
    assert_eq!((reply.status, reply.details.as_str()), (503, "cluster_not_found"));
    // Only the one with a name can be known beforehand.
    let defined = World::with(|world| world.routes.clone());
    assert_eq!(defined[0]["weighted_clusters"], json!([{"cluster": "a", "weight": 1}]));
}

/// What the router told the host of the route that a stream has.
fn definition(host: &Host<Router>, stream: u32) -> Value {
    let (handle, _, _) = host.stream(stream, |stream| stream.route.clone()).unwrap();
    World::with(|world| world.routes[handle as usize].clone())
}

#[test]
fn a_share_may_be_a_route_of_its_own() {
    let host = router(
        r#"{"routes": [{"weighted_by": {"header": "x-random"}, "endpoint_labels": {"zone": "1", "stage": "live"}, "filters": {"a": {"n": 1}},
            "weighted_clusters": [{"cluster": "a", "weight": 1}, {"cluster": "b", "weight": 1, "endpoint_labels": {"stage": "canary"},
                "filters": {"a": {"n": 2}, "b": {}}}]}]}"#,
    );
    for (random, cluster, stage, filters) in
        [("0", "a", "live", json!({"a": {"n": 1}})), ("1", "b", "canary", json!({"a": {"n": 2}, "b": {}}))]
    {
        let stream = send(&host, "/", &[("x-random", random)]);
        assert_eq!(fields(&host, stream)[&0], cluster.as_bytes());
        let definition = definition(&host, stream);
        assert_eq!(definition["endpoint_labels"], json!({"zone": "1", "stage": stage}));
        assert_eq!(definition["filters"], filters);
    }
}

#[test]
fn only_some_requests_are_sent_again() {
    let host = router(
        r#"{"envoy_headers": {}, "routes": [{"cluster": "a", "retry": {"on": ["5xx"], "attempts": 3,
            "request_headers": [{"name": "x-safe"}, {"name": ":method", "exact": "GET"}]}}]}"#,
    );
    let retry = |method: &str, headers: &[(&str, &str)]| {
        let all = [&[(":method", method)], headers].concat();
        fields(&host, send(&host, "/", &all)).get(&5).map(|json| serde_json::from_slice::<Value>(json).unwrap())
    };
    assert_eq!(retry("GET", &[]), None);
    assert_eq!(retry("POST", &[("x-safe", "1")]), None);
    assert_eq!(retry("POST", &[]).unwrap()["on"], json!([]));
    // Whatever the request asks for besides.
    assert_eq!(retry("POST", &[("x-envoy-retry-on", "reset")]).unwrap()["on"], json!([]));
    assert_eq!(retry("GET", &[("x-envoy-retry-on", "reset")]).unwrap()["on"], json!(["5xx", "reset"]));
}

#[test]
fn a_part_of_a_header_is_hashed() {
    let host = router(
        r#"{"routes": [{"cluster": "a", "hash": [{"header": "x-user", "header_regex": {"pattern": "^([^:]*):.*$", "substitution": "\\1"}}]}]}"#,
    );
    let hash = |value: &str| fields(&host, send(&host, "/", &[("x-user", value)]))[&3].clone();
    assert_eq!(hash("tom:1"), hash("tom:2"));
    assert_eq!(hash("tom"), hash("tom:2"));
    assert_ne!(hash("tom:1"), hash("tim:1"));
    assert_eq!(number(&hash("tom:1")), xxh64(b"tom", 0));
}

#[test]
fn equal_hashes_choose_equal_clusters() {
    let host = router(
        r#"{"routes": [{"weighted_by": "hash", "hash": [{"header": "x-user"}], "weighted_clusters": [
            {"cluster": "a", "weight": 1}, {"cluster": "b", "weight": 1}]}]}"#,
    );
    for user in ["u1", "u2", "u3"] {
        let of = || fields(&host, send(&host, "/", &[("x-user", user)]))[&0].clone();
        assert_eq!(of(), of());
    }
}

#[test]
fn envoys_headers_are_consumed_where_they_are_honoured() {
    let host = router(
        r#"{"envoy_headers": {}, "routes": [{"match": {"path": "/retry"}, "cluster": "c", "retry": {"on": ["reset"], "attempts": 3}},
            {"cluster": "c"}]}"#,
    );
    let all = [
        ("x-envoy-upstream-rq-timeout-ms", "5000"),
        ("x-envoy-upstream-rq-per-try-timeout-ms", "100"),
        ("x-envoy-max-retries", "2"),
        ("x-envoy-retry-on", "5xx, nonsense,retriable-status-codes,unavailable"),
        ("x-envoy-retry-grpc-on", "unavailable, 5xx"),
        ("x-envoy-retriable-status-codes", "404, 9999, x, 404"),
        ("x-envoy-retriable-header-names", "X-Again, a b"),
        ("x-envoy-hedge-on-per-try-timeout", "true"),
        ("x-envoy-upstream-rq-timeout-alt-response", "1"),
    ];
    let stream = send(&host, "/", &all);
    let expected: Value = json!({"on": ["5xx", "retriable-status-codes", "unavailable"], "attempts": 2, "per_try_timeout_ms": 100,
        "statuses": [404], "headers": [{"name": "x-again", "present": true}], "avoid_previous_hosts": true, "host_attempts": 3});
    let check = |stream: u32| {
        let fields = fields(&host, stream);
        assert_eq!(number(&fields[&1]), 5000);
        assert_eq!(serde_json::from_slice::<Value>(&fields[&5]).unwrap(), expected);
        assert_eq!((number(&fields[&6]), number(&fields[&7])), (1, 204));
    };
    check(stream);
    for (name, _) in all {
        assert_eq!(host.request_header(stream, name), None, "{name}");
    }
    // The headers are gone, what they asked for is not.
    host.reroute(stream);
    check(stream);
    let stream = send(&host, "/retry", &[("x-envoy-retry-on", "5xx"), ("x-envoy-upstream-rq-timeout-ms", "never")]);
    let both = fields(&host, stream);
    let policy: Value = serde_json::from_slice(&both[&5]).unwrap();
    assert_eq!((both.len(), &policy["on"], &policy["attempts"]), (1, &json!(["reset", "5xx"]), &json!(3)));
    assert!(fields(&host, get(&host, "/")).is_empty());
}

#[test]
fn envoys_headers_pass_where_they_are_not() {
    let host = router(r#"{"routes": [{"cluster": "c"}]}"#);
    let stream = send(&host, "/", &[("x-envoy-retry-on", "5xx")]);
    assert!(fields(&host, stream).is_empty());
    assert_eq!(host.request_header(stream, "x-envoy-retry-on").unwrap(), "5xx");
    assert_eq!(World::with(|world| world.header_reads), 1);
}
