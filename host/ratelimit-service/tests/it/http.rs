//! JSON, health, rules and metrics over HTTP/1.1, and what is no request.

use tokio::io::AsyncWriteExt as _;

use super::client::{Client, get, http, metric, raw};
use super::{Running, Stopped};

const RULES: &str = "
domain: dummy
descriptors:
- key: one_per_day
  rate_limit: { unit: day, requests_per_unit: 1, name: daily }
- key: a
  descriptors:
  - key: b
    value: c
    rate_limit: { unit: hour, requests_per_unit: 10 }
- key: seen
  detailed_metric: true
  rate_limit: { unit: hour, requests_per_unit: 10 }
";

#[tokio::test]
async fn a_request_in_json_is_answered_in_json() {
    let change = |settings: &mut fyke_ratelimit_service::Settings| settings.response_headers.enabled = true;
    let running = Running::with_env(RULES, Stopped::new().env(), change).await;
    let body =
        r#"{ "domain": "dummy", "descriptors": [{ "entries": [{ "key": "one_per_day", "value": "something" }] }] }"#;
    let passes = http(running.address(), "POST", "/json", body).await;
    assert_eq!(passes.status, 200);
    assert!(passes.head.contains("content-type: application/json"), "{}", passes.head);
    assert!(passes.head.contains("x-ratelimit-remaining: 0"), "{}", passes.head);
    let over = http(running.address(), "POST", "/json", body).await;
    assert_eq!(over.status, 429);
    let expected = concat!(
        r#"{"overallCode":"OVER_LIMIT","statuses":[{"code":"OVER_LIMIT","currentLimit":{"name":"daily","requestsPerUnit":1,"#,
        r#""unit":"DAY"},"durationUntilReset":"6400s"}],"responseHeadersToAdd":[{"key":"x-ratelimit-limit","value":"1"},"#,
        r#"{"key":"x-ratelimit-remaining","value":"0"},{"key":"x-ratelimit-reset","value":"6400"}]}"#
    );
    assert_eq!(over.body, expected);
}

#[tokio::test]
async fn what_is_no_request_is_told_so() {
    let running = Running::with(RULES, |_| {}).await;
    let address = running.address();
    let broken = http(address, "POST", "/json", "{").await;
    assert_eq!(broken.status, 400);
    assert!(broken.body.starts_with("not a RateLimitRequest: "), "{}", broken.body);
    let empty = http(address, "POST", "/json", "{}").await;
    assert_eq!((empty.status, empty.body.as_str()), (400, "rate limit domain must not be empty\n"));
    let large = http(address, "POST", "/json", &" ".repeat(70_000)).await;
    assert_eq!(large.status, 413);
    let wrong = get(address, "/json").await;
    assert_eq!(wrong.status, 405);
    assert!(wrong.head.contains("allow: POST"), "{}", wrong.head);
    assert_eq!(http(address, "DELETE", "/metrics", "").await.status, 405);
    assert_eq!(get(address, "/other").await.status, 404);
    assert_eq!(raw(address, b"nonsense\r\n\r\n").await.status, 400);
    assert_eq!(get(address, "/healthcheck").await.status, 200, "it goes on");
}

#[tokio::test]
async fn rules_and_health_can_be_read() {
    let running = Running::with(RULES, |_| {}).await;
    let rules = get(running.address(), "/rlconfig").await;
    let expected = "\
dummy.a.b_c: unit=HOUR requests_per_unit=10, shadow_mode: false
dummy.one_per_day: unit=DAY requests_per_unit=1, shadow_mode: false
dummy.seen: unit=HOUR requests_per_unit=10, shadow_mode: false
";
    assert_eq!((rules.status, rules.body.as_str()), (200, expected));
    let health = get(running.address(), "/healthcheck").await;
    assert_eq!(health.body.lines().next(), Some("OK"));
    assert!(health.body.contains("rules: domains: 1, read ") && health.body.contains("counters: in this process"));
}

#[tokio::test]
async fn metrics_are_those_of_rules_and_of_the_service() {
    let running = Running::with_env(RULES, Stopped::new().env(), |_| {}).await;
    let client = Client::connect(running.address()).await;
    for _ in 0..12 {
        client.passes("dummy", &[("a", "x\"y"), ("b", "c")]).await;
    }
    client.passes("dummy", &[("seen", "x\"\\\ny")]).await;
    let metrics = get(running.address(), "/metrics").await;
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{}", metrics.head);
    let stat = |stat: &str, labels: &str| {
        metric(&metrics.body, &format!("ratelimit_service_rate_limit_{stat}{{domain=\"dummy\",{labels}}}"))
    };
    let nested = "key1=\"a\",key2=\"b_c\"";
    assert_eq!(stat("total_hits", nested), Some(12.0));
    assert_eq!(stat("within_limit", nested), Some(10.0));
    assert_eq!(stat("near_limit", nested), Some(2.0));
    assert_eq!(stat("over_limit", nested), Some(2.0));
    assert_eq!(stat("total_hits", "key1=\"one_per_day\""), Some(0.0));
    assert_eq!(stat("total_hits", r#"key1="seen_x\"\\\ny""#), Some(1.0), "{}", metrics.body);
    let count = "ratelimit_service_response_time_seconds_count{grpc_method=\"ShouldRateLimit\"}";
    assert_eq!(metric(&metrics.body, count), Some(13.0));
    assert_eq!(metric(&metrics.body, "ratelimit_service_config_load_success"), Some(1.0));
    assert_eq!(metric(&metrics.body, "fyke_ratelimit_counters"), Some(2.0));
}

#[tokio::test]
async fn connections_are_bounded() {
    let running = Running::with(RULES, |settings| settings.limits.connections = 2).await;
    let mut first = tokio::net::TcpStream::connect(running.address()).await.unwrap();
    let mut second = tokio::net::TcpStream::connect(running.address()).await.unwrap();
    let refused = || metric(&running.handle.metrics(), "fyke_ratelimit_connections_refused");
    super::until(async || {
        let third = raw_or_nothing(running.address()).await;
        third && refused() >= Some(1.0)
    })
    .await;
    first.shutdown().await.unwrap();
    second.shutdown().await.unwrap();
    drop((first, second));
    super::until(async || !raw_or_nothing(running.address()).await).await;
}

/// Whether a connection was closed without an answer.
async fn raw_or_nothing(address: std::net::SocketAddr) -> bool {
    use tokio::io::AsyncReadExt as _;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let asked = stream.write_all(b"GET /healthcheck HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    let mut text = Vec::new();
    let read = super::soon(stream.read_to_end(&mut text)).await;
    asked.is_err() || read.is_err() || text.is_empty()
}
