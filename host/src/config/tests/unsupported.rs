//! Words of the format that this version cannot honour are refused by name, apart from words that nobody knows.

use super::problem;

fn listener(extra: &str) -> String {
    format!(
        "listeners: {{ w: {{ address: 127.0.0.1:0, cluster: c, {extra} }} }}\nclusters: {{ c: {{ endpoints: [] }} }}\n"
    )
}

fn filter(extra: &str) -> String {
    format!(
        "listeners: {{ w: {{ address: 127.0.0.1:0, filters: [f] }} }}\nfilters: {{ f: {{ module: m.wasm, {extra} }} }}\n"
    )
}

fn cluster(extra: &str) -> String {
    format!(
        "listeners: {{ w: {{ address: 127.0.0.1:0, cluster: c }} }}\nclusters: {{ c: {{ endpoints: [{{ address: 127.0.0.1:1 }}], {extra} }} }}\n"
    )
}

fn endpoint(extra: &str) -> String {
    format!(
        "listeners: {{ w: {{ address: 127.0.0.1:0, cluster: c }} }}\nclusters: {{ c: {{ endpoints: [{{ address: 127.0.0.1:1, {extra} }}] }} }}\n"
    )
}

fn top(extra: &str) -> String {
    format!(
        "listeners: {{ w: {{ address: 127.0.0.1:0, cluster: c }} }}\nclusters: {{ c: {{ endpoints: [] }} }}\n{extra}\n"
    )
}

#[test]
fn they_are_refused_by_name() {
    let cases = [
        (listener("proxy_protocol: accept"), "accept"),
        (listener("proxy_protocol: require"), "require"),
        (listener("chains: [{ match: { sni: [a] }, filters: [] }]"), "chains"),
        (filter("signed_by: [team.pub]"), "signed_by"),
        (filter("isolation: stream"), "stream"),
        (filter("canary: { module: ./next.wasm, percent: 5 }"), "canary"),
        (top("limits: { memory: 2GiB }"), "memory"),
        (cluster("discovery: { dns: users.internal:8080, refresh: 5s }"), "discovery"),
        (cluster("circuit_breakers: { connections: 1024 }"), "circuit_breakers"),
        (cluster("health_check: { http: /healthz }"), "health_check"),
        (cluster("outlier_detection: {}"), "outlier_detection"),
        (cluster("load_balancer: ring_hash"), "ring_hash"),
        (cluster("load_balancer: maglev"), "maglev"),
        (cluster("load_balancer: { peak_ewma: { decay: 10s } }"), "peak_ewma"),
        (endpoint("zone: eu-1b"), "zone"),
        (top("control_planes: {}"), "control_planes"),
        (top("register: {}"), "register"),
        (top("tracing: {}"), "tracing"),
        (top("metrics: {}"), "metrics"),
        (top("tests: []"), "tests"),
        (top("sinks: { a: { otlp: 127.0.0.1:4317 } }"), "otlp"),
        (top("sinks: { a: otlp }"), "otlp"),
    ];
    for (text, word) in cases {
        let (message, help) = problem(&text);
        assert_eq!(message.split_once(' ').unwrap().1, format!("{word:?} is not supported by this version"), "{text}");
        assert!(help.contains("refused rather than ignored"));
    }
}

#[test]
fn modules_from_elsewhere_are_refused() {
    for (module, scheme) in [("https://example.com/f.wasm", "https"), ("oci://registry/f:1", "oci")] {
        let text = format!(
            "listeners: {{ w: {{ address: 127.0.0.1:0, filters: [f] }} }}\nfilters: {{ f: {{ module: \"{module}\" }} }}\n"
        );
        let (message, _) = problem(&text);
        assert!(message.ends_with(&format!("modules from {scheme}:// are not supported by this version")), "{message}");
    }
}

#[test]
fn their_defaults_are_accepted() {
    assert!(super::yaml(&listener("proxy_protocol: off, protocol: http")).is_ok());
    assert!(super::yaml(&filter("isolation: worker")).is_ok());
}
