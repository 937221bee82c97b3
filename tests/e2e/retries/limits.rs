//! How often and how soon: attempts, budgets, waits, time limits, and what ends all of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::support::{
    Message, Proxy, Reply, Site, Upstream, endpoints, eventually,
    faulty::{answer, silent, slow},
    site::Record,
};

async fn always(status: u16) -> Upstream {
    Upstream::http(move |_| Reply::new(status)).await
}

/// Every counter of what is under way is back where it was.
async fn settled(proxy: &Proxy) {
    eventually("nothing to be under way", async || {
        let text = proxy.ask("/metrics").await.text();
        let metric = |name: &str, labels: &[(&str, &str)]| crate::support::proxy::metric(&text, name, labels);
        let left = |limit| metric("fyke_cluster_circuit_breaker_remaining", &[("cluster", "app"), ("limit", limit)]);
        let idle =
            metric("fyke_cluster_requests_active", &[]) == 0.0 && metric("fyke_cluster_pending_requests", &[]) == 0.0;
        (idle && left("requests") == 1024.0 && left("pending") == 1024.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn attempts_are_limited_counted_and_flagged() {
    let upstream = always(503).await;
    let site = Site::app("retry: { on: [5xx], attempts: 3, backoff: { base: 1ms } }", &endpoints(&[upstream.address]))
        .host("include_request_attempt_count: true");
    let proxy = site.start().await;
    assert_eq!(proxy.get("/x").await.status(), 503);
    let counts: Vec<_> =
        upstream.seen().iter().map(|seen| seen.header("x-envoy-attempt-count").unwrap_or("none").to_owned()).collect();
    assert_eq!(counts, ["1", "2", "3", "4"]);
    let record = Record::of(&proxy, "/x").await;
    assert_eq!((record.told(), record.attempts()), ((503, "via_upstream", "URX"), 4));
    assert_eq!(proxy.metric("fyke_cluster_retries_refused_total", &[("reason", "attempts")]).await, 1.0);
    assert_eq!(proxy.metric("fyke_cluster_retries_total", &[("reason", "5xx")]).await, 3.0);
    settled(&proxy).await;
}

#[tokio::test]
async fn a_limit_of_retries_under_way_is_not_one_of_retries_in_a_row() {
    let upstream = always(503).await;
    let cluster = format!("circuit_breakers: {{ retries: 1 }}, {}", endpoints(&[upstream.address]));
    let proxy = Site::app("retry: { on: [5xx], attempts: 4, backoff: { base: 1ms } }", &cluster).start().await;
    assert_eq!(proxy.get("/x").await.status(), 503);
    assert_eq!(upstream.seen().len(), 5);
    let left =
        proxy.metric("fyke_cluster_circuit_breaker_remaining", &[("limit", "retries"), ("priority", "default")]).await;
    assert_eq!(left, 1.0);
}

#[tokio::test]
async fn the_default_budget_lets_a_single_request_have_all_of_its_attempts() {
    let upstream = always(503).await;
    let proxy = Site::app("retry: { on: [5xx], attempts: 8, backoff: { base: 1ms } }", &endpoints(&[upstream.address]))
        .start()
        .await;
    assert_eq!(proxy.get("/x").await.status(), 503);
    assert_eq!(upstream.seen().len(), 9);
}

#[tokio::test]
async fn an_exhausted_budget_leaves_the_first_answer_standing() {
    let upstream = always(503).await;
    let cluster = format!("circuit_breakers: {{ retries: 0 }}, {}", endpoints(&[upstream.address]));
    let proxy = Site::app("retry: { on: [5xx], attempts: 4 }", &cluster).start().await;
    assert_eq!(proxy.get("/x").await.status(), 503);
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(Record::of(&proxy, "/x").await.told(), (503, "via_upstream", "UO"));
    assert_eq!(proxy.metric("fyke_cluster_retries_refused_total", &[("reason", "budget")]).await, 1.0);
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_given_up_for_another_endpoint() {
    let (hanging, good) = (silent().await, Upstream::says("good").await);
    let cluster = format!("load_balancer: round_robin, {}", endpoints(&[hanging.address, good.address]));
    let proxy =
        Site::app("retry: { on: [reset], per_try_timeout: 1s, backoff: { base: 1ms } }", &cluster).start().await;
    for number in 0..4 {
        assert_eq!(proxy.get(&format!("/{number}")).await.text(), "good");
    }
    assert!(!hanging.seen().is_empty());
    eventually("the attempts that nobody waits for to be closed", async || (hanging.open() == 0).then_some(())).await;
    settled(&proxy).await;
}

#[tokio::test]
async fn the_last_attempt_that_takes_too_long_is_504_and_named() {
    let hanging = silent().await;
    let route = "retry: { on: [reset], attempts: 1, per_try_timeout: 200ms, backoff: { base: 1ms } }";
    let proxy = Site::app(route, &endpoints(&[hanging.address])).start().await;
    assert_eq!(proxy.get("/x").await.status(), 504);
    assert_eq!(hanging.seen().len(), 2);
    assert_eq!(Record::of(&proxy, "/x").await.told(), (504, "upstream_per_try_timeout", "UT,URX"));
    settled(&proxy).await;
}

#[tokio::test]
async fn an_attempt_that_stalls_without_a_byte_is_given_up_too() {
    let (hanging, good) = (silent().await, Upstream::says("good").await);
    let cluster = format!("load_balancer: round_robin, {}", endpoints(&[hanging.address, good.address]));
    let route = "retry: { on: [reset], per_try_idle_timeout: 1s, backoff: { base: 1ms } }";
    let proxy = Site::app(route, &cluster).start().await;
    for number in 0..2 {
        assert_eq!(proxy.get(&format!("/{number}")).await.text(), "good");
    }
    assert!(!hanging.seen().is_empty());
}

#[tokio::test]
async fn the_routes_timeout_ends_all_attempts() {
    let upstream = slow(Duration::from_millis(150), "late").await;
    let route = "timeout: 1s, retry: { on: [reset], attempts: 100, per_try_timeout: 100ms, backoff: { base: 1ms } }";
    let proxy = Site::app(route, &endpoints(&[upstream.address])).start().await;
    assert_eq!(proxy.get("/x").await.status(), 504);
    let record = Record::of(&proxy, "/x").await;
    assert_eq!(record.told(), (504, "upstream_timeout", "UT"));
    assert!((2..=11).contains(&record.attempts()), "{record:?}");
    settled(&proxy).await;
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let upstream = Upstream::http(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(503).header("retry-after", "1"),
        _ => Reply::ok("good"),
    })
    .await;
    let route =
        "retry: { on: [5xx], backoff: { base: 1ms }, rate_limited_backoff: { headers: [{ name: retry-after }] } }";
    let proxy = Site::app(route, &endpoints(&[upstream.address])).start().await;
    let begun = Instant::now();
    assert_eq!(proxy.get("/x").await.text(), "good");
    assert!(begun.elapsed() >= Duration::from_secs(1), "it came back after {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_wait_longer_than_the_policy_allows_is_not_waited_for() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let upstream = Upstream::http(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(503).header("retry-after", "86400"),
        _ => Reply::ok("good"),
    })
    .await;
    let route = "retry: { on: [5xx], backoff: { base: 1ms }, rate_limited_backoff: { max: 2s, headers: [{ name: retry-after }] } }";
    let proxy = Site::app(route, &endpoints(&[upstream.address])).start().await;
    assert_eq!(proxy.get("/x").await.text(), "good");
}

#[tokio::test]
async fn requests_may_bring_their_own_policy_where_the_router_honours_it() {
    let upstream = always(503).await;
    let hanging = silent().await;
    let site = Site::default()
        .route("match: { path_prefix: /hang }, cluster: hang")
        .route("cluster: app")
        .cluster("app", &endpoints(&[upstream.address]))
        .cluster("hang", &endpoints(&[hanging.address]));
    let proxy = site.router("envoy_headers: {}").start().await;
    let wanted = "x-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 2\r\n";
    assert_eq!(proxy.get_with("/x", wanted).await.status(), 503);
    assert_eq!(upstream.seen().len(), 3);
    assert_eq!(upstream.last().header("x-envoy-retry-on"), None, "they are for the proxy");
    let begun = Instant::now();
    assert_eq!(proxy.get_with("/hang/1", "x-envoy-upstream-rq-timeout-ms: 200\r\n").await.status(), 504);
    let instead = "x-envoy-upstream-rq-timeout-ms: 200\r\nx-envoy-upstream-rq-timeout-alt-response: true\r\n";
    let answer = proxy.get_with("/hang/2", instead).await;
    assert_eq!((answer.status(), answer.body.len()), (204, 0));
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(Record::of(&proxy, "/hang/2").await.told(), (204, "upstream_timeout", "UT"));
    for nonsense in [
        "x-envoy-max-retries: 99999999999999999999999\r\n",
        "x-envoy-upstream-rq-timeout-ms: -1\r\n",
        "x-envoy-retry-on: ,,what\r\n",
    ] {
        assert_eq!(proxy.get_with("/x", nonsense).await.status(), 503, "{nonsense}");
    }
}

#[tokio::test]
async fn without_the_switch_such_headers_are_like_any_other() {
    let upstream = always(503).await;
    let proxy = Site::app("", &endpoints(&[upstream.address])).start().await;
    assert_eq!(proxy.get_with("/x", "x-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 9\r\n").await.status(), 503);
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(upstream.last().header("x-envoy-max-retries"), Some("9"));
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_attempts() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        recorder.saw(&conn.request().await.unwrap());
        assert!(conn.closed().await);
        recorder.saw(&Message::default());
    })
    .await;
    let route = "timeout: 0s, retry: { on: [5xx, reset], attempts: 5 }";
    let proxy = Site::app(route, &endpoints(&[upstream.address])).start().await;
    let mut client = proxy.connect().await;
    client.send("GET /gone HTTP/1.1\r\nhost: a\r\n\r\n").await;
    upstream.received(1).await;
    drop(client);
    upstream.received(2).await;
    assert_eq!(Record::of(&proxy, "/gone").await.told().1, "downstream_disconnected");
    settled(&proxy).await;
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_client_that_goes_away_between_attempts_leaves_nothing_behind() {
    let upstream = always(503).await;
    let route = "retry: { on: [5xx], attempts: 9, backoff: { base: 60s, max: 60s } }";
    let proxy = Site::app(route, &endpoints(&[upstream.address])).start().await;
    for number in 0..5 {
        let mut client = proxy.connect().await;
        client.send(format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        upstream.received(number + 1).await;
        drop(client);
    }
    settled(&proxy).await;
    let left =
        proxy.metric("fyke_cluster_circuit_breaker_remaining", &[("limit", "retries"), ("priority", "default")]).await;
    assert_eq!(left, 3.0, "the budget is whole again");
}

#[tokio::test]
async fn once_the_head_is_with_the_client_nothing_is_sent_again() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        recorder.saw(&conn.request().await.unwrap());
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    })
    .await;
    let route = "retry: { on: [5xx, reset, gateway-error], attempts: 3 }";
    let proxy = Site::app(route, &endpoints(&[upstream.address])).start().await;
    let mut client = proxy.connect().await;
    client.send("GET /half HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert_eq!(head.status(), 200);
    assert!(client.body(head).await.is_none());
    assert_eq!(Record::of(&proxy, "/half").await.told(), (200, "upstream_reset_after_response", "UC"));
    assert_eq!(upstream.seen().len(), 1);
    settled(&proxy).await;
}

#[tokio::test]
async fn an_unwanted_answer_does_not_cost_its_connection() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let upstream = Upstream::scripted(move |mut conn, _, _| {
        let count = Arc::clone(&count);
        async move {
            while conn.request().await.is_some() {
                if count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                    conn.send("HTTP/1.1 503 No\r\ncontent-length: 5\r\n\r\nsorry").await;
                } else {
                    answer(&mut conn, "good").await.unwrap();
                }
            }
        }
    })
    .await;
    let proxy = Site::app("retry: { on: [5xx], backoff: { base: 20ms, max: 20ms } }", &endpoints(&[upstream.address]))
        .start()
        .await;
    for number in 0..10 {
        assert_eq!(proxy.get(&format!("/{number}")).await.text(), "good");
    }
    assert!(upstream.connections() <= 5, "{} connections for ten requests", upstream.connections());
    settled(&proxy).await;
}
