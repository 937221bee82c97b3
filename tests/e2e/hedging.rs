//! Attempts beside late ones: the first good answer wins, and the endpoint of the other one is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Response;
use tokio::sync::Notify;

use crate::support::{
    Message, Proxy, Site, Upstream, endpoints, eventually,
    faulty::{answer, silent},
    h2 as frames,
    site::Record,
};

const ROUTE: &str = "hedge: { on_per_try_timeout: true }, timeout: 20s, \
                     retry: { on: [reset, 5xx], per_try_timeout: 200ms, backoff: { base: 1ms } }";

async fn proxy(a: std::net::SocketAddr, b: std::net::SocketAddr, more: &str) -> Proxy {
    Site::app(ROUTE, &format!("load_balancer: round_robin, {more}{}", endpoints(&[a, b]))).start().await
}

/// Nothing is counted as under way.
async fn settled(proxy: &Proxy) {
    eventually("nothing to be under way", async || {
        let text = proxy.ask("/metrics").await.text();
        let metric = |name: &str, labels: &[(&str, &str)]| crate::support::proxy::metric(&text, name, labels);
        let left =
            |limit| metric("fyke_cluster_circuit_breaker_remaining", &[("limit", limit), ("priority", "default")]);
        (metric("fyke_cluster_requests_active", &[]) == 0.0 && left("requests") == 1024.0 && left("retries") == 3.0)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_second_attempt_wins_and_the_late_one_is_closed() {
    let (hanging, good) = (silent().await, Upstream::says("good").await);
    let proxy = proxy(hanging.address, good.address, "").await;
    for number in 0..4 {
        assert_eq!(proxy.get(&format!("/{number}")).await.text(), "good");
    }
    assert!(!hanging.seen().is_empty());
    eventually("the late attempts to be closed", async || (hanging.open() == 0).then_some(())).await;
    settled(&proxy).await;
}

/// Whoever is asked first answers when the other one has been asked too, which never answers.
async fn late_but_first(asked: &Arc<Notify>, number: &Arc<AtomicUsize>) -> Upstream {
    let (asked, number) = (Arc::clone(asked), Arc::clone(number));
    Upstream::scripted(move |mut conn, _, recorder| {
        let (asked, number) = (Arc::clone(&asked), Arc::clone(&number));
        async move {
            recorder.saw(&conn.request().await.unwrap());
            if number.fetch_add(1, Ordering::SeqCst) == 0 {
                asked.notified().await;
                answer(&mut conn, "late but first").await.unwrap();
                conn.rest().await;
            } else {
                asked.notify_one();
                assert!(conn.closed().await);
                recorder.saw(&Message::default());
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_late_attempt_may_still_win() {
    let (asked, number) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (one, other) = (late_but_first(&asked, &number).await, late_but_first(&asked, &number).await);
    let proxy = proxy(one.address, other.address, "").await;
    assert_eq!(proxy.get("/x").await.text(), "late but first");
    eventually("the one that lost to be closed", async || (one.seen().len() + other.seen().len() == 3).then_some(()))
        .await;
    let record = Record::of(&proxy, "/x").await;
    assert_eq!((record.told(), record.attempts()), ((200, "via_upstream", "-"), 2));
    settled(&proxy).await;
}

#[tokio::test]
async fn over_http2_the_late_stream_is_reset_and_the_body_is_whole() {
    let reset = Arc::new(Notify::new());
    let told = Arc::clone(&reset);
    let hanging = frames::Upstream::scripted(move |request, mut respond| {
        let told = Arc::clone(&told);
        async move {
            let (_, mut body) = request.into_parts();
            let _ = frames::drain(&mut body).await;
            let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            assert!(reason.is_ok(), "{reason:?}");
            told.notify_one();
        }
    })
    .await;
    let good = frames::Upstream::scripted(|request, mut respond| async move {
        let (_, mut body) = request.into_parts();
        let (bytes, _) = frames::drain(&mut body).await.unwrap();
        let mut out = respond.send_response(Response::new(()), false).unwrap();
        frames::push(&mut out, bytes, true).await;
    })
    .await;
    let proxy = proxy(hanging.address, good.address, "protocol: http2, ").await;
    let body = crate::support::noise(100_000, 11);
    for number in 0..2 {
        let mut client = proxy.connect().await;
        client.send(format!("POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len())).await;
        client.send(&body).await;
        assert!(client.response("POST").await.body == body);
    }
    crate::support::soon("the late stream to be reset", reset.notified()).await;
    assert_eq!(hanging.connections(), 1, "only the stream is given up, not the connection");
    settled(&proxy).await;
}

#[tokio::test]
async fn when_all_hang_the_routes_timeout_ends_both() {
    let (first, second) = (silent().await, silent().await);
    let cluster = format!("load_balancer: round_robin, {}", endpoints(&[first.address, second.address]));
    let route = "hedge: { on_per_try_timeout: true }, timeout: 800ms, retry: { on: [reset], per_try_timeout: 100ms, backoff: { base: 1ms } }";
    let proxy = Site::app(route, &cluster).start().await;
    assert_eq!(proxy.get("/x").await.status(), 504);
    assert_eq!((first.seen().len(), second.seen().len()), (1, 1));
    let record = Record::of(&proxy, "/x").await;
    assert_eq!((record.told().0, record.told().1), (504, "upstream_timeout"));
    eventually("both to be closed", async || (first.open() + second.open() == 0).then_some(())).await;
    settled(&proxy).await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_both() {
    let (first, second) = (silent().await, silent().await);
    let proxy = proxy(first.address, second.address, "").await;
    let mut client = proxy.connect().await;
    client.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await;
    first.received(1).await;
    second.received(1).await;
    drop(client);
    eventually("both to be closed", async || (first.open() + second.open() == 0).then_some(())).await;
    settled(&proxy).await;
}

#[tokio::test]
async fn an_error_of_the_second_does_not_end_a_late_one_that_is_well() {
    let asked = Arc::new(Notify::new());
    let (wake, wait) = (Arc::clone(&asked), asked);
    let late = Upstream::scripted(move |mut conn, _, _| {
        let wait = Arc::clone(&wait);
        async move {
            while conn.request().await.is_some() {
                wait.notified().await;
                tokio::time::sleep(Duration::from_millis(100)).await;
                answer(&mut conn, "late").await.unwrap();
            }
        }
    })
    .await;
    let failing = Upstream::scripted(move |mut conn, _, recorder| {
        let wake = Arc::clone(&wake);
        async move {
            while let Some(request) = conn.request().await {
                recorder.saw(&request);
                wake.notify_one();
                conn.send("HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno").await;
            }
        }
    })
    .await;
    let proxy = proxy(late.address, failing.address, "").await;
    // The first one meets either; whichever it is, the answer is the good one.
    for number in 0..2 {
        assert_eq!(proxy.get(&format!("/{number}")).await.text(), "late");
    }
    settled(&proxy).await;
}
