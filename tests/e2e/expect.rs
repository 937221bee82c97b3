//! `Expect: 100-continue` end to end.

use std::time::Duration;

use crate::support::{Proxy, Upstream};

const HEAD: &str = "POST /upload HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";

#[tokio::test]
async fn the_client_is_asked_for_the_body_when_the_upstream_asks() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        let head = conn.head().await.unwrap();
        assert_eq!(head.header("expect"), Some("100-continue"));
        assert!(conn.silent(Duration::from_millis(200)).await, "the body came before it was asked for");
        conn.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        let whole = conn.body(head).await.unwrap();
        recorder.saw(&whole);
        conn.send("HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok").await;
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    client.send(HEAD).await;
    assert_eq!(client.head().await.unwrap().status(), 100);
    client.send("hello").await;
    let answer = client.response("POST").await;
    assert_eq!((answer.status(), answer.text().as_str()), (201, "ok"));
    assert_eq!(upstream.last().text(), "hello");
}

#[tokio::test]
async fn an_upstream_that_refuses_spares_the_client_the_body() {
    for status in [417, 401, 200] {
        let upstream = Upstream::scripted(move |mut conn, _, recorder| async move {
            recorder.saw(&conn.head().await.unwrap());
            conn.send(format!("HTTP/1.1 {status} Final\r\ncontent-length: 5\r\n\r\nfinal")).await;
            let rest = conn.rest().await;
            assert!(rest.is_empty(), "the upstream refused and was sent {rest:?}");
        })
        .await;
        let proxy = Proxy::plain(upstream.address).await;
        let mut client = proxy.connect().await;
        client.send(HEAD).await;
        let head = client.head().await.unwrap();
        assert_eq!(head.status(), status, "no 100 before a refusal");
        assert_eq!(client.body(head).await.unwrap().text(), "final");
        // The client never sent the body: nothing else can follow on this connection.
        assert!(client.closed().await);
    }
}

#[tokio::test]
async fn an_upstream_that_knows_no_expectation_gets_the_body_after_a_while() {
    let upstream = Upstream::echo().await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    client.send(HEAD).await;
    assert_eq!(client.head().await.unwrap().status(), 100);
    client.send("hello").await;
    assert_eq!(client.response("POST").await.text(), "hello");
}

#[tokio::test]
async fn a_client_that_does_not_wait_is_served() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        let head = conn.head().await.unwrap();
        conn.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        recorder.saw(&conn.body(head).await.unwrap());
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    client.send(format!("{HEAD}hello")).await;
    let mut answer = client.response("POST").await;
    if answer.status() == 100 {
        answer = client.response("POST").await;
    }
    assert_eq!(answer.status(), 200);
    assert_eq!(upstream.last().text(), "hello");
}

#[tokio::test]
async fn other_expectations_fail_here() {
    let upstream = Upstream::echo().await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    let answer = client.exchange("POST / HTTP/1.1\r\nhost: a\r\nexpect: 200-maybe\r\ncontent-length: 5\r\n\r\n").await;
    assert_eq!(answer.status(), 417);
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn nothing_is_expected_of_http10() {
    let upstream = Upstream::echo().await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello").await;
    let answer = client.response("POST").await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
    assert_eq!(upstream.last().header("expect"), None);
}
