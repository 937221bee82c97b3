//! What is accepted only together with something else, and what needs nothing else.

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

#[test]
fn modules_from_elsewhere_are_pinned() {
    let of = |module: &str, more: &str| {
        format!(
            "listeners: {{ w: {{ address: 127.0.0.1:0, filters: [f] }} }}\nfilters: {{ f: {{ module: \"{module}\"{more} }} }}\n"
        )
    };
    let digest = "0123456789abcdef".repeat(4);
    for module in ["https://example.com/f.wasm", "oci://registry/f:1"] {
        let (message, help) = problem(&of(module, ""));
        assert!(message.ends_with("`sha256` is missing") && help.contains("sha256sum"), "{message}");
        assert!(super::yaml(&of(module, &format!(", sha256: {digest}"))).is_ok());
    }
    assert!(super::yaml(&of(&format!("oci://registry/f@sha256:{digest}"), "")).is_ok());
    for (module, reason) in [
        ("http://example.com/f.wasm", "http"),
        ("ftp://example.com/f.wasm", "modules cannot come from ftp://"),
        ("oci://registry", "expected oci://"),
    ] {
        let (message, _) = problem(&of(module, ""));
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn their_defaults_are_accepted() {
    assert!(super::yaml(&listener("proxy_protocol: off, protocol: http")).is_ok());
    assert!(super::yaml(&filter("isolation: worker")).is_ok());
}
