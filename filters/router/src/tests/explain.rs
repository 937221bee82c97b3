//! What the router says of a request is what it does to it.

use fyke_sdk::testing::Host;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{route, router, send};
use crate::Router;

/// A condition over few words, so that some hold and some do not.
fn condition() -> impl Strategy<Value = Value> {
    let path = prop_oneof![
        Just(json!({})),
        "/[ab]{0,2}".prop_map(|text| json!({ "path": text })),
        "/[ab]{0,2}".prop_map(|text| json!({ "path_prefix": text })),
        "/[ab]{1,2}".prop_map(|text| json!({ "path_separated_prefix": text })),
        "/[ab]{0,2}".prop_map(|text| json!({ "path_regex": format!("{text}[ab]*") })),
        "/[ab]{1,2}".prop_map(|text| json!({ "path": text, "ignore_case": true })),
    ];
    let word = "[12]".prop_map(|text| text);
    let value = prop_oneof![
        word.clone().prop_map(|text| json!({ "exact": text })),
        word.clone().prop_map(|text| json!({ "prefix": text, "invert": true })),
        any::<bool>().prop_map(|present| json!({ "present": present })),
        Just(json!({ "regex": "1+" })),
        Just(json!({ "range": { "start": 1, "end": 2 } })),
    ];
    let named = |mut value: Value| {
        value["name"] = json!("x");
        value
    };
    (path, prop::option::of(value.clone()), prop::option::of(value), prop::option::of("(GET|POST)"), any::<bool>())
        .prop_map(move |(mut condition, header, query, method, https)| {
            if let Some(header) = header {
                condition["headers"] = json!([named(header)]);
            }
            if let Some(query) = query {
                condition["query"] = json!([named(query)]);
            }
            if let Some(method) = method {
                condition["method"] = json!(method);
            }
            if https {
                condition["scheme"] = json!("http");
            }
            condition
        })
}

/// The name of the route that an explanation ends with.
fn explained(lines: &[String]) -> Option<String> {
    let (route, rest) = lines.last()?.strip_prefix("route \"")?.split_once('"')?;
    rest.starts_with(" matches: ").then(|| route.to_owned())
}

proptest! {
    /// More routes than are simply walked, and fewer.
    #[test]
    fn the_route_that_it_names_is_the_route_that_is_taken(
        conditions in prop::collection::vec(condition(), 1..40),
        path in "/[abA/]{0,3}",
        header in prop::option::of("[12]{1,2}"),
        query in prop::option::of("[12]"),
        method in "(GET|POST)",
    ) {
        let routes: Vec<Value> = conditions
            .into_iter()
            .enumerate()
            .map(|(at, condition)| json!({ "name": format!("r{at}"), "match": condition, "cluster": "c" }))
            .collect();
        let host: Host<Router> = router(&json!({ "routes": routes }).to_string());
        let path = query.map_or(path.clone(), |query| format!("{path}?x={query}"));
        let mut headers = vec![(":method", method.as_str()), (":path", path.as_str())];
        headers.extend(header.as_deref().map(|value| ("x", value)));
        let stream = send(&host, "/", &headers);
        let taken = route(&host, stream);
        // It has not been rewritten: what it is asked about is what it saw.
        let lines = host.explain(stream);
        prop_assert_eq!(explained(&lines), taken, "{:#?}", lines);
    }
}

#[test]
fn each_step_says_why() {
    let host = router(
        r#"{"virtual_hosts": [
            {"domains": ["b.example"], "routes": [{"cluster": "b"}]},
            {"name": "a", "domains": ["*.example"], "routes": [
                {"name": "users", "match": {"path_prefix": "/users"}, "cluster": "users"},
                {"name": "write", "match": {"method": ["PUT", "POST"]}, "cluster": "users"},
                {"name": "beta", "match": {"headers": [{"name": "x-beta", "exact": "1"}]}, "cluster": "beta"},
                {"name": "some", "match": {"fraction": "25%"}, "cluster": "beta"},
                {"name": "rest", "respond": {"status": 204}}]}]}"#,
    );
    let stream = send(&host, "/nope?q=1", &[("x-beta", "2")]);
    assert_eq!(
        host.explain(stream),
        [
            r#"virtual host "a" takes the host "a.example""#,
            r#"route "users" does not match: path: expected one that begins with "/users", was "/nope""#,
            r#"route "write" does not match: method: expected PUT or POST, was "GET""#,
            r#"route "beta" does not match: header x-beta: expected "1", was "2""#,
            r#"route "some" matches 25% of such requests, by lot"#,
            r#"route "rest" matches: an answer with 204"#,
        ]
    );
    let stream = send(&host, "/", &[(":authority", "example.org")]);
    assert_eq!(host.explain(stream), [r#"no virtual host has a domain for "example.org": 404 (route_not_found)"#]);
}
