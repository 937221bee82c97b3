//! What the host is told of a route.

use fyke_sdk::testing::World;
use serde_json::{Value, json};

use super::router;

fn defined(configuration: &str) -> Vec<Value> {
    let _host = router(configuration);
    World::with(|world| world.routes.clone())
}

#[test]
fn everything_that_a_route_says_reaches_the_host() {
    let route = &defined(
        r#"{"virtual_hosts": [{"domains": ["*"], "include_request_attempt_count": true, "routes": [{"name": "r", "cluster": "c",
            "idle_timeout": "5m", "max_stream_duration": "1h", "auto_host": true, "priority": "high",
            "retry": {"on": ["5xx", "retriable-headers", "retriable-status-codes", "unavailable"], "attempts": 2, "per_try_timeout": "2s",
                "per_try_idle_timeout": "1s", "statuses": [418], "headers": [{"name": "X-Again", "present": false}, {"name": "x", "suffix": "y"}],
                "backoff": {"base": "10ms"}, "rate_limited_backoff": {"headers": [{"name": "Retry-After"}]},
                "avoid_previous_hosts": false, "avoid_previous_priorities": true, "avoid_labels": {"stage": "old"}, "host_attempts": 5,
                "buffer": "64KiB"},
            "hedge": {"on_per_try_timeout": true},
            "mirror": [{"cluster": "m"}, {"cluster": "n", "fraction": "7%"}, {"cluster_header": "X-Copy", "keep_host": true}],
            "endpoint_labels": {"stage": "canary"}, "upgrades": ["websocket", {"type": "connect", "enabled": false}],
            "internal_redirect": {"codes": [302, 307], "max_hops": 2, "cross_scheme": true, "safe_cross_scheme": true,
                "copy_headers": ["X-Token"]}}]}]}"#,
    )[0];
    assert_eq!(
        *route,
        json!({
            "name": "r", "virtual_host": "*", "cluster": "c", "timeout_ms": 15000, "idle_timeout_ms": 300_000, "max_stream_duration_ms": 3_600_000,
            "retry": {"on": ["5xx", "retriable-headers", "retriable-status-codes", "unavailable"], "attempts": 2,
                "per_try_timeout_ms": 2000, "per_try_idle_timeout_ms": 1000, "statuses": [418],
                "headers": [{"name": "x-again", "present": true, "invert": true}, {"name": "x", "suffix": "y"}],
                "backoff": {"base_ms": 10, "max_ms": 100},
                "rate_limited_backoff": {"headers": [{"name": "retry-after", "format": "seconds"}], "max_ms": 300_000},
                "avoid_previous_hosts": false, "avoid_previous_priorities": true, "avoid_labels": {"stage": "old"}, "host_attempts": 5,
                "buffer": 65536},
            "hedge": {"on_per_try_timeout": true},
            "mirror": [{"cluster": "m", "percent": 100.0}, {"cluster": "n", "percent": 7.0},
                {"cluster_header": "x-copy", "percent": 100.0, "keep_host": true}],
            "endpoint_labels": {"stage": "canary"}, "priority": "high",
            "upgrades": [{"type": "websocket", "enabled": true}, {"type": "connect", "enabled": false}],
            "internal_redirect": {"codes": [302, 307], "max_hops": 2, "cross_scheme": true, "safe_cross_scheme": true,
                "copy_headers": ["x-token"]},
            "auto_host": true, "attempt_count_header": true,
        })
    );
}

#[test]
fn a_route_for_connect_allows_it() {
    let routes = defined(
        r#"{"routes": [
            {"match": {"connect": true}, "cluster": "c"},
            {"match": {"connect": true}, "cluster": "c", "connect": {}, "upgrades": ["websocket"]},
            {"match": {"connect": true}, "cluster": "c", "upgrades": [{"type": "CONNECT", "enabled": false}]},
            {"match": {"connect": false}, "cluster": "c"}]}"#,
    );
    let (connect, websocket) =
        (json!({"type": "connect", "enabled": true}), json!({"type": "websocket", "enabled": true}));
    assert_eq!((&routes[0]["upgrades"], &routes[0]["connect"]), (&json!([connect]), &Value::Null));
    assert_eq!((&routes[1]["upgrades"], &routes[1]["connect"]), (&json!([websocket, connect]), &json!({})));
    assert_eq!(routes[2]["upgrades"], json!([{"type": "connect", "enabled": false}]));
    assert_eq!(routes[3]["upgrades"], Value::Null);
}

#[test]
fn routes_inherit_what_they_do_not_say() {
    let routes = defined(
        r#"{"virtual_hosts": [{"domains": ["*"], "retry": {"on": ["reset"], "per_try_timeout": "1s"}, "hedge": {"on_per_try_timeout": true},
            "mirror": [{"cluster": "m"}], "filters": {"a": {"n": 1}, "b": {"n": 1}}, "routes": [
            {"cluster": "c"},
            {"cluster": "c", "retry": {"on": []}, "hedge": {}, "mirror": [], "filters": {"b": {"n": 2}}},
            {"respond": {"status": 200}}]}]}"#,
    );
    assert_eq!(routes[0]["retry"]["on"], json!(["reset"]));
    assert_eq!(routes[0]["retry"]["avoid_previous_hosts"], true);
    assert_eq!(routes[0]["hedge"], json!({"on_per_try_timeout": true}));
    assert_eq!(routes[0]["mirror"], json!([{"cluster": "m", "percent": 100.0}]));
    assert_eq!(routes[0]["filters"], json!({"a": {"n": 1}, "b": {"n": 1}}));
    assert_eq!(routes[1]["retry"]["on"], json!([]));
    assert_eq!(routes[1]["hedge"], json!({"on_per_try_timeout": false}));
    assert_eq!(routes[1].get("mirror"), None);
    assert_eq!(routes[1]["filters"], json!({"a": {"n": 1}, "b": {"n": 2}}));
    assert_eq!((routes[2].get("retry"), routes[2].get("filters")), (None, None));
}

#[test]
fn a_bare_route_says_nothing_new() {
    assert_eq!(
        defined(r#"{"routes": [{"cluster": "c"}]}"#)[0],
        json!({"name": "routes[0]", "virtual_host": "*", "cluster": "c", "timeout_ms": 15000})
    );
}
