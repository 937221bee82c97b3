//! Limits of time beyond the route's timeout: idle streams, long streams, upgraded ones, and the status of a timeout.

use std::time::Duration;

use crate::support::{Site, Upstream, endpoints, eventually, faulty::silent, site::Record};

#[tokio::test]
async fn a_stream_in_which_nothing_moves_is_ended() {
    let hanging = silent().await;
    let proxy = Site::app("timeout: 0s, idle_timeout: 300ms", &endpoints(&[hanging.address])).start().await;
    assert_eq!(proxy.get("/x").await.status(), 504);
    assert_eq!(Record::of(&proxy, "/x").await.told(), (504, "stream_idle_timeout", "SI"));
    eventually("the request to be given up", async || (hanging.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn an_answer_that_stalls_is_cut_off_and_one_that_moves_is_not() {
    let upstream = Upstream::scripted(|mut conn, _, _| async move {
        while let Some(request) = conn.request().await {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n").await;
            for byte in 0..8 {
                if byte == 6 && request.path() == "/stall" {
                    conn.rest().await;
                    return;
                }
                conn.send("x").await;
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
        }
    })
    .await;
    let proxy = Site::app("timeout: 0s, idle_timeout: 1500ms", &endpoints(&[upstream.address])).start().await;
    assert_eq!(proxy.get("/moves").await.text(), "xxxxxxxx");
    let mut client = proxy.connect().await;
    client.send("GET /stall HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert!(client.body(head).await.is_none());
    assert_eq!(Record::of(&proxy, "/stall").await.told(), (200, "stream_idle_timeout", "SI"));
}

#[tokio::test]
async fn a_slow_upload_counts_as_movement() {
    let upstream = Upstream::echo().await;
    let proxy = Site::app("timeout: 0s, idle_timeout: 1500ms", &endpoints(&[upstream.address])).start().await;
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\n").await;
    for byte in ["a", "b", "c", "d", "e", "f"] {
        assert!(client.silent(Duration::from_millis(200)).await);
        client.send(byte).await;
    }
    assert_eq!(client.response("POST").await.text(), "abcdef");
}

#[tokio::test]
async fn a_stream_lasts_no_longer_than_its_route_allows() {
    let hanging = silent().await;
    let dripping = Upstream::scripted(|mut conn, _, _| async move {
        conn.request().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        while conn.try_send("1\r\nx\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let site = Site::default()
        .route("match: { path: /drip }, cluster: drip, timeout: 0s, max_stream_duration: 500ms")
        .route("cluster: hang, timeout: 0s, max_stream_duration: 300ms")
        .cluster("drip", &endpoints(&[dripping.address]))
        .cluster("hang", &endpoints(&[hanging.address]));
    let proxy = site.start().await;
    assert_eq!(proxy.get("/x").await.status(), 504);
    assert_eq!(Record::of(&proxy, "/x").await.told(), (504, "upstream_timeout", "UT"));
    let mut client = proxy.connect().await;
    client.send("GET /drip HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert!(client.body(head).await.is_none());
    assert_eq!(Record::of(&proxy, "/drip").await.told(), (200, "upstream_timeout", "UT"));
    eventually("the endpoint to be told", async || (dripping.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_tunnel_lasts_no_longer_than_its_route_allows_and_only_where_it_may() {
    let upstream = Upstream::scripted(|mut conn, _, _| async move {
        let Some(request) = conn.request().await else { return };
        let protocol = request.header("upgrade").unwrap_or("none").to_owned();
        conn.send(format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n"))
            .await;
        conn.echo().await;
    })
    .await;
    let route = "timeout: 0s, max_stream_duration: 700ms, upgrades: [websocket, { type: other, enabled: false }]";
    let proxy = Site::app(route, &endpoints(&[upstream.address])).start().await;
    let mut client = proxy.connect().await;
    client.send("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status(), 101);
    client.send("ping").await;
    assert_eq!(client.bytes(4).await, b"ping");
    assert!(client.closed().await);
    eventually("the endpoint to be told", async || (upstream.open() == 0).then_some(())).await;
    for protocol in ["other", "third"] {
        let mut client = proxy.connect().await;
        let answer = client
            .exchange(&format!(
                "GET /{protocol} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n"
            ))
            .await;
        assert_eq!(answer.status(), 403, "{protocol}");
        assert_eq!(Record::of(&proxy, &format!("/{protocol}")).await.told(), (403, "upgrade_not_allowed", "-"));
    }
    assert_eq!(upstream.connections(), 1);
    eventually("nothing to be under way", async || {
        (proxy.metric("fyke_cluster_requests_active", &[]).await == 0.0).then_some(())
    })
    .await;
}
