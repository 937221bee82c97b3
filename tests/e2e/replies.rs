//! Answers in place of other answers: who may give them, and that nobody waits for ever.

use crate::chain::{chain, misbehave, official};
use crate::support::{Proxy, Upstream, upstream::Refusing};

#[tokio::test]
async fn a_filter_may_answer_in_place_of_the_hosts_own_error() {
    let nobody = Refusing::new();
    let proxy = Proxy::start(chain(nobody.address, &[("page", official("replace 503 sorry", ""))])).await;
    for _ in 0..3 {
        let answer = proxy.get("/").await;
        assert_eq!((answer.status(), answer.text().as_str()), (503, "sorry"));
    }
}

#[tokio::test]
async fn of_two_filters_that_answer_the_outer_one_wins() {
    let upstream = Upstream::says("x").await;
    for inner in ["respond 403 inner", "replace 403 inner"] {
        let filters = [("outer", official("replace 502 outer", "")), ("inner", official(inner, ""))];
        let proxy = Proxy::start(chain(upstream.address, &filters)).await;
        let answer = proxy.get("/").await;
        assert_eq!((answer.status(), answer.text().as_str()), (502, "outer"), "{inner}");
    }
}

#[tokio::test]
async fn an_outer_filter_that_has_seen_the_head_lets_the_replacement_pass() {
    let upstream = Upstream::says("a body").await;
    let filters = [("outer", official("tag outer", "")), ("inner", misbehave("response_body trap", ""))];
    let proxy = Proxy::start(chain(upstream.address, &filters)).await;
    let mut client = proxy.connect().await;
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        // The answer is replaced where it has not begun, and cut off where it has.
        match client.head().await {
            Some(head) if head.status() == 503 => assert!(client.body(head).await.is_some()),
            Some(head) => {
                assert!(client.body(head).await.is_none(), "a whole answer past a filter that trapped");
                client = proxy.connect().await;
            }
            None => client = proxy.connect().await,
        }
    }
}

#[tokio::test]
async fn a_filter_that_is_left_out_lets_go_of_the_headers_it_held() {
    let upstream = Upstream::echo().await;
    let filter = misbehave("request_body trap", "on_failure: open, ");
    let proxy = Proxy::start(chain(upstream.address, &[("f", filter)])).await;
    let mut client = proxy.connect().await;
    let answer = client.exchange("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc").await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, "abc"));
}

#[tokio::test]
async fn a_head_that_is_held_past_the_routes_timeout_is_504() {
    let upstream = Upstream::says("x").await;
    let router = "{ module: 'builtin:router', config: { routes: [{ cluster: app, timeout: 200ms }] } }".to_owned();
    let filters = [("hold", official("hold", "")), ("router", router)];
    let proxy = Proxy::start(chain(upstream.address, &filters).replace(", cluster: app }", " }")).await;
    assert_eq!(proxy.get("/").await.status(), 504);
    proxy.metric_reaches("fyke_cluster_requests_total", &[("cluster", "app"), ("class", "timeout")], 1.0).await;
}
