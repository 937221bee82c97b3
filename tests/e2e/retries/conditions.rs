//! Each condition over the failure that it is about: where there is another endpoint, the client notices nothing.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::Reason;
use http::Response;

use crate::support::{
    Reply, Site, Upstream, endpoints,
    faulty::{Resetting, breaks_off, stale},
    h2 as frames,
    site::Record,
    upstream::Refusing,
};

/// A route for `/NAME/` to a cluster of its own: the bad endpoint and a good one, in turn.
fn case(site: Site, name: &str, retry: &str, bad: SocketAddr, good: SocketAddr, more: &str) -> Site {
    let cluster = format!("load_balancer: round_robin, {more}{}", endpoints(&[bad, good]));
    site.route(&format!("match: {{ path_prefix: /{name}/ }}, cluster: {name}, retry: {{ {retry} }}"))
        .cluster(name, &cluster)
}

async fn answers(status: u16, header: (&'static str, &'static str)) -> Upstream {
    Upstream::http(move |_| Reply::new(status).header(header.0, header.1)).await
}

#[tokio::test]
async fn an_answer_that_the_policy_does_not_want_is_asked_for_elsewhere() {
    let good = Upstream::says("good").await;
    let mut site = Site::default();
    let mut bad = Vec::new();
    for (name, retry, status, header) in [
        ("a5xx", "on: [5xx]", 500, ("x-a", "1")),
        ("gateway", "on: [gateway-error]", 502, ("x-a", "1")),
        ("conflict", "on: [retriable-4xx]", 409, ("x-a", "1")),
        ("limited", "on: [envoy-ratelimited]", 429, ("x-envoy-ratelimited", "true")),
        ("teapot", "on: [retriable-status-codes], statuses: [418]", 418, ("x-a", "1")),
        (
            "header",
            "on: [retriable-headers], headers: [{ name: x-again, exact: yes-please }]",
            200,
            ("x-again", "yes-please"),
        ),
    ] {
        let upstream = answers(status, header).await;
        site = case(site, name, retry, upstream.address, good.address, "");
        bad.push((name, upstream));
    }
    let proxy = site.start().await;
    for (name, upstream) in &bad {
        for number in 0..4 {
            let path = format!("/{name}/{number}");
            let answer = proxy.get(&path).await;
            assert_eq!((answer.status(), answer.text().as_str()), (200, "good"), "{path}");
            assert_eq!(Record::of(&proxy, &path).await.told(), (200, "via_upstream", "-"), "{path}");
        }
        let asked = upstream.seen().len();
        assert!((1..=4).contains(&asked), "{name}: the bad endpoint was asked {asked} times");
        let retries = proxy.metric("fyke_cluster_retries_total", &[("cluster", name)]).await;
        assert!((retries - asked as f64).abs() < 0.5, "{name}: {retries} retries after {asked} failures");
    }
}

#[tokio::test]
async fn a_failure_to_answer_is_retried_under_the_name_of_its_condition() {
    let good = Upstream::says("good").await;
    let refusing = Refusing::new();
    let resetting = Resetting::new().await;
    let closing = breaks_off("").await;
    let half = breaks_off("HTTP/1.1 200 OK\r\ncontent-le").await;
    let noise = breaks_off("what? who?\r\n\r\n").await;
    let cases = [
        ("connect", "connect-failure", refusing.address),
        ("before", "reset-before-request", refusing.address),
        ("reset", "reset", resetting.address),
        ("closed", "reset", closing.address),
        ("half", "reset", half.address),
        ("noise", "reset", noise.address),
        ("all", "5xx", resetting.address),
        ("gateway", "gateway-error", refusing.address),
    ];
    let mut site = Site::default();
    for (name, on, bad) in cases {
        site = case(site, name, &format!("on: [{on}]"), bad, good.address, "");
    }
    let proxy = site.start().await;
    for (name, on, _) in cases {
        for number in 0..4 {
            let path = format!("/{name}/{number}");
            assert_eq!(proxy.get(&path).await.text(), "good", "{path}");
        }
        let retries = proxy.metric("fyke_cluster_retries_total", &[("cluster", name), ("reason", on)]).await;
        assert!((1.0..=4.0).contains(&retries), "{name}: {retries} retries");
    }
    assert!(resetting.count() > 0);
}

#[tokio::test]
async fn a_failure_that_the_policy_does_not_speak_of_stands() {
    let good = Upstream::says("good").await;
    let (refusing, closing) = (Refusing::new(), breaks_off("").await);
    let site = case(Site::default(), "refused", "on: [refused-stream]", refusing.address, good.address, "");
    let site = case(site, "closed", "on: [connect-failure, reset-before-request]", closing.address, good.address, "");
    let proxy = site.start().await;
    for (name, why, flags) in [("refused", "upstream_connect_failure", "UF"), ("closed", "upstream_reset", "UC")] {
        let mut failed = 0;
        for number in 0..4 {
            let path = format!("/{name}/{number}");
            if proxy.get(&path).await.status() == 503 {
                failed += 1;
                assert_eq!(Record::of(&proxy, &path).await.told(), (503, why, flags));
            }
        }
        assert_eq!(failed, 2, "{name}: every second request meets the bad one");
        assert_eq!(proxy.metric("fyke_cluster_retries_total", &[("cluster", name)]).await, 0.0);
    }
}

#[tokio::test]
async fn an_http2_stream_that_was_refused_goes_elsewhere() {
    let bad =
        frames::Upstream::scripted(|_, mut respond| async move { respond.send_reset(Reason::REFUSED_STREAM) }).await;
    let good = frames::Upstream::echo().await;
    let site = case(Site::default(), "stream", "on: [refused-stream]", bad.address, good.address, "protocol: http2, ");
    let proxy = site.start().await;
    for number in 0..4 {
        assert_eq!(proxy.get(&format!("/stream/{number}")).await.status(), 200);
    }
    assert!(proxy.metric("fyke_cluster_retries_total", &[("reason", "refused-stream")]).await >= 1.0);
}

#[tokio::test]
async fn a_refused_stream_without_a_policy_is_503_and_named() {
    let bad =
        frames::Upstream::scripted(|_, mut respond| async move { respond.send_reset(Reason::REFUSED_STREAM) }).await;
    let proxy = Site::app("", &format!("protocol: http2, {}", endpoints(&[bad.address]))).start().await;
    assert_eq!(proxy.get("/x").await.status(), 503);
    assert_eq!(Record::of(&proxy, "/x").await.told(), (503, "upstream_refused_stream", "UC"));
}

#[tokio::test]
async fn a_grpc_status_in_the_head_of_an_answer_is_a_condition() {
    let good = frames::Upstream::echo().await;
    let codes =
        [("cancelled", 1), ("deadline-exceeded", 4), ("resource-exhausted", 8), ("internal", 13), ("unavailable", 14)];
    let mut site = Site::default();
    let mut bad = Vec::new();
    for (on, code) in codes {
        let upstream = frames::Upstream::scripted(move |_, mut respond| async move {
            let head = Response::builder().header("content-type", "application/grpc").header("grpc-status", code);
            respond.send_response(head.body(()).unwrap(), true).unwrap();
        })
        .await;
        site = case(site, on, &format!("on: [{on}]"), upstream.address, good.address, "protocol: http2, ");
        bad.push(upstream);
    }
    let proxy = site.start().await;
    let mut client = frames::Client::to(proxy.web()).await;
    for (on, _) in codes {
        for number in 0..4 {
            let mut request = frames::request("POST", &format!("/{on}/{number}"));
            request.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
            let (answer, mut body) = client.begin(request, false).await;
            frames::push(&mut body, Bytes::from_static(b"\0\0\0\0\x02hi"), true).await;
            let answer = frames::whole(answer).await.unwrap();
            assert_eq!(answer.body, b"\0\0\0\0\x02hi", "{on}");
            assert_eq!(answer.trailers.unwrap()["grpc-status"], "0", "{on}");
        }
        assert!(proxy.metric("fyke_cluster_retries_total", &[("cluster", on), ("reason", on)]).await >= 1.0, "{on}");
    }
}

#[tokio::test]
async fn endpoints_that_were_tried_are_avoided() {
    let (first, second) = (Upstream::http(|_| Reply::new(503)).await, Upstream::http(|_| Reply::new(503)).await);
    let good = Upstream::says("good").await;
    let cluster = endpoints(&[first.address, second.address, good.address]);
    let proxy = Site::app("retry: { on: [5xx], attempts: 2, backoff: { base: 1ms } }", &cluster).start().await;
    // With two attempts beyond the first, every one of the three is asked where it must be, and none twice.
    for number in 0..20 {
        assert_eq!(proxy.get(&format!("/{number}")).await.text(), "good");
    }
}

#[tokio::test]
async fn further_tries_go_to_other_priorities_and_not_where_labels_say() {
    let bad = [Upstream::http(|_| Reply::new(503)).await, Upstream::http(|_| Reply::new(503)).await];
    let (spare, canary) = (Upstream::says("spare").await, Upstream::http(|_| Reply::new(503)).await);
    let priorities = format!(
        "endpoints: [{{ address: '{}' }}, {{ address: '{}' }}, {{ address: '{}', priority: 1 }}]",
        bad[0].address, bad[1].address, spare.address
    );
    let labels = format!(
        "endpoints: [{{ address: '{}' }}, {{ address: '{}', labels: {{ stage: canary }} }}, {{ address: '{}' }}]",
        bad[0].address, canary.address, spare.address
    );
    let retry = |more: &str| format!("retry: {{ on: [5xx], backoff: {{ base: 1ms }}, {more} }}");
    let proxy = Site::default()
        .route(&format!("match: {{ path_prefix: /p }}, cluster: p, {}", retry("avoid_previous_priorities: true")))
        .route(&format!(
            "match: {{ path_prefix: /l }}, cluster: l, {}",
            retry("attempts: 2, avoid_labels: { stage: canary }")
        ))
        .cluster("p", &priorities)
        .cluster("l", &format!("load_balancer: round_robin, {labels}"))
        .start()
        .await;
    for number in 0..12 {
        // The first try fails; the other endpoint of its priority would, too.
        assert_eq!(proxy.get(&format!("/p/{number}")).await.text(), "spare");
        // Whoever it began with, the canary is asked first, if at all.
        assert_eq!(proxy.get(&format!("/l/{number}")).await.text(), "spare");
    }
    assert!(bad[0].seen().len() + bad[1].seen().len() >= 12);
}

#[tokio::test]
async fn a_post_over_a_stale_connection_is_sent_again_where_the_policy_says_so() {
    let upstream = stale().await;
    let proxy = Site::app("retry: { on: [reset] }", &endpoints(&[upstream.address])).start().await;
    assert_eq!(proxy.get("/1").await.status(), 200);
    let mut client = proxy.connect().await;
    let answer = client.exchange("POST /pay HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc").await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    let paid: Vec<_> = upstream.seen().into_iter().filter(|seen| seen.path() == "/pay").collect();
    assert_eq!(
        paid.iter().map(|seen| (seen.connection, seen.text())).collect::<Vec<_>>(),
        [(1, "abc".to_owned()), (2, "abc".to_owned())]
    );
}
