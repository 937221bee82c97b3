//! What clients are told.

use fyke_sdk::testing::{Ring, TestRequest};

use super::{header, host, of, rule};

#[test]
fn refusals_say_what_and_when() {
    let mut host = rule("limit: { rate: 1/10s, burst: 2 }");
    let passed = host.send(of("a"));
    assert_eq!(header(&passed, "ratelimit-policy").as_deref(), Some("\"r\";q=2;w=20"));
    assert_eq!(header(&passed, "ratelimit").as_deref(), Some("\"r\";r=1;t=10"));
    assert!(!passed.has_header("x-ratelimit-limit") && !passed.has_header("retry-after"));
    assert_eq!(host.send(of("a")).status(), 200);
    let refused = host.send(of("a"));
    assert_eq!((refused.status(), refused.body().bytes()), (429, &b"rate limited"[..]));
    assert_eq!(header(&refused, "content-type").as_deref(), Some("text/plain"));
    assert_eq!(header(&refused, "retry-after").as_deref(), Some("10"));
    assert_eq!(header(&refused, "ratelimit").as_deref(), Some("\"r\";r=0;t=20"));
    assert_eq!(refused.values("ratelimit").len(), 1);
}

#[test]
fn the_limit_that_has_the_say_is_the_one_that_is_told() {
    let mut host = host(
        "
rules:
  - { name: wide, limit: { rate: 100/s, quota: 4/h } }
  - { name: open, limit: { concurrency: 50 } }
",
    );
    let said = host.send(of("a"));
    assert_eq!(header(&said, "ratelimit-policy").as_deref(), Some("\"wide-quota\";q=4;w=3600"));
    assert!(header(&said, "ratelimit").unwrap().starts_with("\"wide-quota\";r=3;t="));
    let mut host = rule("limit: { concurrency: 50 }");
    let said = host.send(of("a"));
    assert_eq!(header(&said, "ratelimit-policy").as_deref(), Some("\"r-concurrency\";q=50"));
    assert_eq!(header(&said, "ratelimit").as_deref(), Some("\"r-concurrency\";r=49"));
}

#[test]
fn everything_can_be_said_otherwise() {
    let mut host = host(
        "
rules: [{ name: r, limit: 1/m }]
answer:
  status: 503
  body: '{\"error\":\"slow down\"}'
  content_type: application/json
  headers: { x-why: limits }
  retry_after: false
  ratelimit: never
  x_ratelimit: refused
",
    );
    let passed = host.send(of("a"));
    assert!(!passed.has_header("ratelimit") && !passed.has_header("x-ratelimit-limit"));
    let refused = host.send(of("a"));
    assert_eq!((refused.status(), refused.body().bytes()), (503, &b"{\"error\":\"slow down\"}"[..]));
    for (name, value) in [
        ("content-type", Some("application/json")),
        ("x-why", Some("limits")),
        ("retry-after", None),
        ("ratelimit", None),
        ("x-ratelimit-limit", Some("1")),
        ("x-ratelimit-remaining", Some("0")),
        ("x-ratelimit-reset", Some("60")),
    ] {
        assert_eq!(header(&refused, name).as_deref(), value, "{name}");
    }
}

#[test]
fn grpc_is_refused_in_its_own_way() {
    let call = |content_type: &str| TestRequest::post("/a.B/C").header("content-type", content_type).body("12345");
    let mut host = rule("limit: 1/m");
    assert_eq!(host.send(of("a")).status(), 200);
    for content_type in ["application/grpc", "application/grpc+proto", "application/grpc;x=y"] {
        let refused = host.send(call(content_type));
        assert_eq!(refused.status(), 200);
        assert_eq!(header(&refused, "grpc-status").as_deref(), Some("8"), "{content_type}");
        assert_eq!(header(&refused, "retry-after").as_deref(), Some("60"));
    }
    assert_eq!(host.send(call("application/grpc-web")).status(), 429);
    if host.ring() != Ring::Native {
        // The host's own word, where the filter has none.
        let configuration = "{ rules: [{ name: r, limit: 1/m }], answer: { grpc_resource_exhausted: false } }";
        let mut host = super::host(configuration);
        assert_eq!(host.send(of("a")).status(), 200);
        assert_eq!(header(&host.send(call("application/grpc")), "grpc-status").as_deref(), Some("14"));
    }
}
