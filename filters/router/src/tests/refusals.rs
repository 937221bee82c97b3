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
        (r#""cluster": "a", "retry": {"on": ["5xx"]}"#, "retry", "is not supported yet"),
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
        (r#"{"virtual_hosts": [{"domains": ["a:80"], "routes": []}]}"#, "virtual_hosts[0].domains[0]"),
        (r#"{"routes": [{"cluster": "a"}, {"route": "b"}]}"#, "routes[1].route"),
    ] {
        assert_eq!(refused(whole).path(), path, "{whole}");
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
