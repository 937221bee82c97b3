//! Configurations that are refused, and where.

use fyke_sdk::ConfigError;
use fyke_sdk::testing::{Host, World};

use crate::Router;

fn refused(configuration: &str) -> ConfigError {
    Host::<Router>::configure(configuration).err().unwrap_or_else(|| panic!("accepted: {configuration}"))
}

#[test]
fn what_is_wrong_is_said_where() {
    let in_route = |inside: &str| {
        format!(r#"{{"virtual_hosts": [{{"domains": ["*"], "routes": [{{"cluster": "a"}}, {{{inside}}}]}}]}}"#)
    };
    for (inside, path, message) in [
        (r#""match": {}"#, "", "needs one of cluster, weighted_clusters, cluster_header, redirect and respond"),
        (r#""cluster": "a", "respond": {"status": 200}"#, "", "needs only one of cluster, respond"),
        (r#""cluster": """#, "cluster", "must not be empty"),
        (r#""cluster": "a", "match": {"path": "/a", "path_prefix": "/b"}"#, "match", "needs only one of path, "),
        (r#""cluster": "a", "match": {"path": "a"}"#, "match.path", "must begin with '/'"),
        (r#""cluster": "a", "match": {"path_prefix": "/a?b"}"#, "match.path_prefix", "is compared without the query"),
        (
            r#""cluster": "a", "match": {"path_separated_prefix": "/a/"}"#,
            "match.path_separated_prefix",
            "must not end with '/'",
        ),
        (r#""cluster": "a", "match": {"path_regex": "("}"#, "match.path_regex", "is not a regular expression"),
        (
            r#""cluster": "a", "match": {"headers": [{"name": "x", "regex": "("}]}"#,
            "match.headers[0].regex",
            "is not a regular",
        ),
        (
            r#""cluster": "a", "match": {"headers": [{"name": "x", "exakt": "("}]}"#,
            "match.headers[0].exakt",
            "unknown field",
        ),
        (r#""cluster": "a", "match": {"fraction": "101%"}"#, "match.fraction", "expected a percentage"),
        (r#""cluster": "a", "match": {"method": []}"#, "match.method", "must not be empty"),
        (r#""weighted_clusters": []"#, "weighted_clusters", "at least one cluster needs a weight"),
        (
            r#""weighted_clusters": [{"cluster": "a", "weight": 0}]"#,
            "weighted_clusters",
            "at least one cluster needs a weight",
        ),
        (r#""cluster_header": "a b""#, "cluster_header", "\"a b\" is not the name of a header"),
        (r#""cluster": "a", "timeout": "15""#, "timeout", "expected a whole number and a unit"),
        (r#""cluster": "a", "rewrite": {"prefix": "/"}"#, "rewrite.prefix", "replaces what path_prefix"),
        (
            r#""cluster": "a", "rewrite": {"path": "/", "regex": {"pattern": "", "substitution": ""}}"#,
            "rewrite",
            "needs only one of",
        ),
        (
            r#""cluster": "a", "rewrite": {"regex": {"pattern": "x", "substitution": "\\1"}}"#,
            "rewrite.regex.substitution",
            "\\1 refers",
        ),
        (r#""cluster": "a", "rewrite": {"host": "a", "host_header": "b"}"#, "rewrite", "needs only one of host"),
        (
            r#""cluster": "a", "request_headers": {"set": {":path": "/"}}"#,
            "request_headers.set.:path",
            "pseudo headers are changed by",
        ),
        (
            r#""cluster": "a", "request_headers": {"set": {"Host": "a"}}"#,
            "request_headers.set.Host",
            "is `rewrite: { host: ... }`",
        ),
        (
            r#""cluster": "a", "request_headers": {"add": {"x": "a\nb"}}"#,
            "request_headers.add.x",
            "must not contain line breaks",
        ),
        (r#""redirect": {"code": 304, "path": "/"}"#, "redirect.code", "must be 301, 302, 303, 307 or 308, not 304"),
        (r#""redirect": {}"#, "redirect", "changes nothing"),
        (r#""redirect": {"scheme": "ftp"}"#, "redirect.scheme", "must be http or https"),
        (r#""redirect": {"path": "/"}, "timeout": "1s""#, "timeout", "means nothing with `redirect`"),
        (r#""respond": {"status": 199}"#, "respond.status", "must be from 200 to 599, not 199"),
        (r#""respond": {"status": 200}, "filters": {"a": {}}"#, "filters", "means nothing with `respond`"),
    ] {
        let error = refused(&in_route(inside));
        let place = if path.is_empty() {
            "virtual_hosts[0].routes[1]".to_owned()
        } else {
            format!("virtual_hosts[0].routes[1].{path}")
        };
        assert_eq!(error.path(), place, "{inside}: {error}");
        assert!(error.message().starts_with(message), "{inside}: {error}");
    }
    for (whole, path) in [
        ("{}", ""),
        (r#"{"routes": [], "virtual_hosts": []}"#, ""),
        (r#"{"virtual_hosts": []}"#, "virtual_hosts"),
        (r#"{"virtual_hosts": [{"domains": [], "routes": []}]}"#, "virtual_hosts[0].domains"),
        (r#"{"virtual_hosts": [{"domains": ["a", "A"], "routes": []}]}"#, "virtual_hosts[0].domains[1]"),
        (r#"{"virtual_hosts": [{"domains": ["a:*"], "routes": []}]}"#, "virtual_hosts[0].domains[0]"),
        (r#"{"routes": [{"cluster": "a"}, {"route": "b"}]}"#, "routes[1].route"),
    ] {
        assert_eq!(refused(whole).path(), path, "{whole}");
    }
}

/// In a route that has a cluster: what is inside, where it is wrong, and what is said.
const POLICIES: &[(&str, &str, &str)] = &[
    (r#""match": {"path_template": "/**/a"}"#, "match.path_template", "\"**\" must be in the last segment"),
    (r#""match": {"path_template": "/{a}", "path": "/a"}"#, "match", "needs only one of"),
    (r#""match": {"ignore_case": true}"#, "match.ignore_case", "means nothing without a path"),
    (r#""match": {"path_regex": "/a", "ignore_case": true}"#, "match.ignore_case", "is (?i) at"),
    (r#""match": {"scheme": "ftp"}"#, "match.scheme", "must be http or https"),
    (r#""match": {"tls": {}}"#, "match.tls", "needs presented or validated"),
    (r#""match": {"tls": {"presented": true, "validated": false}}"#, "match.tls", "never holds"),
    (r#""match": {"headers": [{"name": "a", "any_of": []}]}"#, "match.headers[0].any_of", "must not be empty"),
    (r#""match": {"properties": [{"path": []}]}"#, "match.properties[0].path", "\"\" is not a property path"),
    (r#""match": {"properties": [{"path": ["a"], "regex": "("}]}"#, "match.properties[0].regex", "is not a regular"),
    (r#""rewrite": {"path_template": "/{a}"}"#, "rewrite.path_template", "needs `match.path_template`"),
    (
        r#""match": {"path_template": "/{a}"}, "rewrite": {"path_template": "/{b}"}"#,
        "rewrite.path_template",
        "`match.path_template` has no",
    ),
    (r#""match": {"path_template": "/{a}"}, "rewrite": {"prefix": "/"}"#, "rewrite.prefix", "replaces what"),
    (
        r#""rewrite": {"host": "a", "host_regex": {"pattern": "a", "substitution": "b"}}"#,
        "rewrite",
        "needs only one of host",
    ),
    (
        r#""rewrite": {"host_regex": {"pattern": "(", "substitution": "b"}}"#,
        "rewrite.host_regex.pattern",
        "is not a regular",
    ),
    (r#""rewrite": {"host": "a"}, "auto_host": true"#, "auto_host", "excludes host"),
    (r#""append_x_forwarded_host": true"#, "append_x_forwarded_host", "needs a host that changes"),
    (r#""weighted_by": "random""#, "weighted_by", "means nothing with `cluster`"),
    (r#""idle_timeout": "1""#, "idle_timeout", "expected a whole number"),
    (r#""grpc_timeout": {"max": 1}"#, "grpc_timeout.max", "invalid type"),
    (r#""retry": {"on": ["5xx", "sometimes"]}"#, "retry.on[1]", "\"sometimes\" is none of 5xx, gateway-error"),
    (r#""retry": {"on": ["http3-post-connect-failure"]}"#, "retry.on[0]", "is about HTTP/3"),
    (r#""retry": {"on": ["reset", "reset"]}"#, "retry.on[1]", "is there already"),
    (r#""retry": {"on": ["retriable-status-codes"]}"#, "retry.on[0]", "needs `statuses`"),
    (r#""retry": {"on": ["5xx"], "statuses": [500]}"#, "retry.statuses", "mean nothing without"),
    (r#""retry": {"on": ["retriable-status-codes"], "statuses": [500, 99]}"#, "retry.statuses[1]", "must be from 100"),
    (
        r#""retry": {"on": ["retriable-headers"], "headers": [{"name": "a", "range": {"start": 1, "end": 2}}]}"#,
        "retry.headers[0].range",
        "is not possible",
    ),
    (
        r#""retry": {"on": ["retriable-headers"], "headers": [{"name": "a", "regex": "("}]}"#,
        "retry.headers[0].regex",
        "is not a regular",
    ),
    (r#""retry": {"on": ["5xx"], "backoff": {"base": "0s"}}"#, "retry.backoff.base", "must be above zero"),
    (r#""retry": {"on": ["5xx"], "backoff": {"base": "2s", "max": "1s"}}"#, "retry.backoff.max", "must not be below"),
    (
        r#""retry": {"on": ["5xx"], "rate_limited_backoff": {"headers": []}}"#,
        "retry.rate_limited_backoff.headers",
        "must not be empty",
    ),
    (
        r#""retry": {"on": ["5xx"], "rate_limited_backoff": {"headers": [{"name": "a b"}]}}"#,
        "retry.rate_limited_backoff.headers[0].name",
        "\"a b\" is not",
    ),
    (
        r#""retry": {"on": ["5xx"], "rate_limited_backoff": {"headers": [{"name": "a", "format": "days"}]}}"#,
        "retry.rate_limited_backoff.headers[0].format",
        "unknown variant",
    ),
    (r#""retry": {"on": ["5xx"], "buffer": "64"}"#, "retry.buffer", "expected a whole number and a unit"),
    (r#""retry": {}"#, "retry", "missing field `on`"),
    (r#""hedge": {"on_per_try_timeout": true}"#, "hedge.on_per_try_timeout", "needs `retry.per_try_timeout`"),
    (r#""mirror": [{"cluster": ""}]"#, "mirror[0].cluster", "must not be empty"),
    (r#""mirror": [{"cluster": "a", "cluster_header": "b"}]"#, "mirror[0]", "needs one of cluster and cluster_header"),
    (r#""mirror": [{"cluster_header": "a b"}]"#, "mirror[0].cluster_header", "\"a b\" is not"),
    (r#""mirror": [{"cluster": "a", "fraction": "101%"}]"#, "mirror[0].fraction", "expected a percentage"),
    (r#""hash": [{"terminal": true}]"#, "hash[0]", "needs exactly one of"),
    (r#""hash": [{"header": "a", "query": "b"}]"#, "hash[0]", "needs exactly one of"),
    (r#""hash": [{"header": "a b"}]"#, "hash[0].header", "\"a b\" is not"),
    (r#""hash": [{"source_address": false}]"#, "hash[0].source_address", "must be true"),
    (r#""hash": [{"cookie": {"name": "a b", "ttl": "1s"}}]"#, "hash[0].cookie", "\"a b\" is no name of a cookie"),
    (r#""hash": [{"cookie": {"name": "a", "path": "/"}}]"#, "hash[0].cookie", "sets no cookie without `ttl`"),
    (
        r#""hash": [{"cookie": {"name": "a", "ttl": "1s", "path": "/;x"}}]"#,
        "hash[0].cookie.path",
        "must not contain ';'",
    ),
    (
        r#""hash": [{"cookie": {"name": "a", "ttl": "1s", "attributes": {"Domain": "a;b"}}}]"#,
        "hash[0].cookie.attributes",
        "\"Domain\" is not",
    ),
    (r#""endpoint_labels": {"": "a"}"#, "endpoint_labels", "a label needs a name"),
    (r#""endpoint_header": ":path""#, "endpoint_header", "\":path\" is not the name"),
    (r#""priority": "low""#, "priority", "unknown variant `low`"),
    (r#""upgrades": ["web socket"]"#, "upgrades[0]", "\"web socket\" is not a protocol"),
    (
        r#""upgrades": ["websocket", {"type": "WebSocket", "enabled": false}]"#,
        "upgrades[1]",
        "\"websocket\" is there already",
    ),
    (r#""connect": {}"#, "connect", "means nothing without `match: { connect: true }`"),
    (r#""match": {"connect": true}, "connect": {"allow_post": true}"#, "connect.allow_post", "unknown field"),
    (r#""internal_redirect": {"codes": [302, 304]}"#, "internal_redirect.codes[1]", "must be 301"),
    (r#""internal_redirect": {"max_hops": 0}"#, "internal_redirect.max_hops", "must be above zero"),
    (
        r#""internal_redirect": {"safe_cross_scheme": true}"#,
        "internal_redirect.safe_cross_scheme",
        "means nothing without `cross_scheme: true`",
    ),
    (
        r#""internal_redirect": {"copy_headers": ["x", "Host"]}"#,
        "internal_redirect.copy_headers[1]",
        "\"host\" belongs to one message",
    ),
    (r#""retry": {"on": ["reset"], "avoid_labels": {"": "x"}}"#, "retry.avoid_labels", "a label needs a name"),
    (
        r#""retry": {"on": ["reset"], "request_headers": [{"name": "x", "regex": "("}]}"#,
        "retry.request_headers[0].regex",
        "is not a regular expression",
    ),
    (
        r#""hash": [{"query": "q", "header_regex": {"pattern": "a", "substitution": "b"}}]"#,
        "hash[0].header_regex",
        "means nothing",
    ),
    (r#""request_headers": {"set": {"x": "%REQ(x"}}"#, "request_headers.set.x", "\"%REQ(x\" has no end"),
    (
        r#""request_headers": {"add_if_absent": {"x": "%NOTHING%"}}"#,
        "request_headers.add_if_absent.x",
        "%NOTHING% is not a command",
    ),
    (r#""response_headers": {"set_if_present": {"x": "5%"}}"#, "response_headers.set_if_present.x", "\"%\" has no end"),
];

#[test]
fn what_is_wrong_with_a_policy_is_said_where() {
    for (inside, path, message) in POLICIES {
        let error = refused(&format!(r#"{{"routes": [{{"cluster": "a", {inside}}}]}}"#));
        assert_eq!(error.path(), format!("routes[0].{path}"), "{inside}: {error}");
        assert!(error.message().starts_with(message), "{inside}: {error}");
    }
}

#[test]
fn what_is_wrong_around_routes_is_said_where() {
    let route = r#"{"cluster": "a"}"#;
    let host = |inside: &str| format!(r#"{{"virtual_hosts": [{{"domains": ["*"], "routes": [{route}], {inside}}}]}}"#);
    let two = r#""weighted_clusters": [{"cluster": "a", "weight": 1}]"#;
    let long = "x".repeat(4097);
    for (whole, path, message) in [
        (host(r#""retry": {"on": ["5x"]}"#), "virtual_hosts[0].retry.on[0]", "\"5x\" is none of"),
        (host(r#""mirror": [{"cluster": ""}]"#), "virtual_hosts[0].mirror[0].cluster", "must not be empty"),
        (host(r#""request_headers": {"set": {"Host": "x"}}"#), "virtual_hosts[0].request_headers.set.Host", "is `rewrite"),
        (host(r#""require_tls": "some""#), "virtual_hosts[0].require_tls", "unknown variant"),
        (format!(r#"{{"routes": [{route}], "response_headers": {{"remove": ["a b"]}}}}"#), "response_headers.remove[0]", "\"a b\" is not"),
        (format!(r#"{{"routes": [{route}], "envoy_headers": {{"x": 1}}}}"#), "envoy_headers.x", "unknown field"),
        (format!(r#"{{"routes": [{{{two}, "weighted_by": "hash"}}]}}"#), "routes[0].weighted_by", "needs the route's `hash`"),
        (format!(r#"{{"routes": [{{{two}, "weighted_by": {{"header": ""}}}}]}}"#), "routes[0].weighted_by.header", "\"\" is not the name"),
        (
            r#"{"routes": [{"weighted_clusters": [{"cluster": "a", "weight": 1, "request_headers": {"add": {"x y": "1"}}}]}]}"#.to_owned(),
            "routes[0].weighted_clusters[0].request_headers.add.x y",
            "\"x y\" is not",
        ),
        (
            r#"{"routes": [{"weighted_clusters": [{"cluster": "a", "weight": 1, "host": "/"}]}]}"#.to_owned(),
            "routes[0].weighted_clusters[0].host",
            "\"/\" is not a host",
        ),
        (format!(r#"{{"routes": [{{"respond": {{"status": 200, "body": "{long}"}}}}]}}"#), "routes[0].respond.body", "has 4097 bytes"),
        (
            format!(r#"{{"max_direct_response_body": "5KiB", "routes": [{{"respond": {{"status": 200, "body": "{long}{long}"}}}}]}}"#),
            "routes[0].respond.body",
            "has 8194 bytes, more than `max_direct_response_body` (5120 bytes)",
        ),
        (r#"{"routes": [{"respond": {"status": 200, "body": "a", "body_format": "b"}}]}"#.to_owned(), "routes[0].respond", "needs only one of body"),
        (r#"{"routes": [{"respond": {"status": 200, "body_format": "5%"}}]}"#.to_owned(), "routes[0].respond.body_format", "\"%\" has no end"),
        (r#"{"routes": [{"redirect": {"https": true, "scheme": "https"}}]}"#.to_owned(), "routes[0].redirect", "needs only one of https"),
        (r#"{"routes": [{"redirect": {"https": true}, "hash": [{"header": "a"}]}]}"#.to_owned(), "routes[0].hash", "means nothing with `redirect`"),
        (r#"{"routes": [{"respond": {"status": 200}, "retry": {"on": []}}]}"#.to_owned(), "routes[0].retry", "means nothing with `respond`"),
    ] {
        let error = refused(&whole);
        assert_eq!(error.path(), path, "{whole}: {error}");
        assert!(error.message().starts_with(message), "{whole}: {error}");
    }
}

#[test]
fn a_host_without_routes_is_named() {
    let error = Host::<Router>::configure_in(r#"{"routes": [{"cluster": "a"}]}"#, |world| world.knows_fyke = false)
        .err()
        .unwrap();
    // Such a host does not know the refusal either; it has the log.
    assert_eq!(error.message(), "");
    assert!(World::with(|world| world.logs.pop()).unwrap().1.contains("routes[0].cluster: this host has no routes"));
}
