//! HTTP/1.1 end to end: framing, connections, methods and statuses with rules of their own.

use crate::support::{Conn, Message, Proxy, Reply, Upstream, eventually};

#[tokio::test]
async fn a_connection_serves_many_requests_over_one_upstream_connection() {
    let upstream = Upstream::http(|request| Reply::ok(format!("you asked {}", request.path()))).await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    for number in 0..20 {
        let answer = client.exchange(&format!("GET /{number} HTTP/1.1\r\nhost: a.example\r\n\r\n")).await;
        assert_eq!((answer.status(), answer.text()), (200, format!("you asked /{number}")));
        assert_eq!(answer.header("connection"), None);
    }
    assert_eq!(upstream.connections(), 1);
    assert_eq!(upstream.last().header("host"), Some("a.example"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::http(|request| Reply::ok(request.path().repeat(3))).await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    let all: String = (0..10).map(|number| format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
    client.send(all).await;
    for number in 0..10 {
        assert_eq!(client.response("GET").await.text(), format!("/{number}").repeat(3));
    }
}

#[tokio::test]
async fn connection_close_is_honoured_on_each_side_alone() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    let answer = client.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.closed().await);
    // The upstream's connection is not the client's to close.
    assert_eq!(proxy.get("/").await.status(), 200);
    assert_eq!(upstream.connections(), 1);
    assert_eq!(upstream.last().header("connection"), None);
}

#[tokio::test]
async fn an_upstream_that_closes_does_not_close_the_client() {
    let upstream = Upstream::scripted(|mut conn, _, _| async move {
        conn.request().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end").await;
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    for _ in 0..3 {
        let answer = client.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(answer.text(), "until the end");
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        assert_eq!(answer.header("connection"), None);
    }
    assert_eq!(upstream.connections(), 3);
}

#[tokio::test]
async fn chunked_bodies_pass_in_both_directions_as_they_come() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        let head = conn.head().await.unwrap();
        assert_eq!(head.header("content-length"), None);
        recorder.saw(&head);
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        loop {
            let chunk = conn.chunk().await.unwrap();
            let reply = [format!("{:x}\r\n", chunk.len()).as_bytes(), &chunk, b"\r\n"].concat();
            conn.send(reply).await;
            if chunk.is_empty() {
                return;
            }
        }
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let answer = client.head().await.unwrap();
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    for word in ["one", "two", "three"] {
        // The next chunk is sent when the last one has come back: nothing waits for the body to be whole.
        client.send(format!("{:X};ext=1\r\n{word}\r\n", word.len())).await;
        assert_eq!(client.chunk().await.unwrap(), word.as_bytes());
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.chunk().await.unwrap(), b"");
}

#[tokio::test]
async fn declared_trailers_pass_in_both_directions() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        let request = conn.request().await.unwrap();
        recorder.saw(&request);
        conn.send(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 9\r\n\r\n",
        )
        .await;
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    let request = "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\ntrailer: x-check\r\ntransfer-encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\nx-check: 7\r\n\r\n";
    let answer = client.exchange(request).await;
    assert_eq!((answer.text().as_str(), answer.trailer("x-sum")), ("abc", Some("9")));
    let seen = upstream.last();
    assert_eq!((seen.text().as_str(), seen.trailer("x-check")), ("xyz", Some("7")));
    assert_eq!(seen.header("te"), Some("trailers"));
}

#[tokio::test]
async fn a_content_length_passes_unchanged() {
    let upstream = Upstream::echo().await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    let answer = client.exchange("PUT /x HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\nhello world").await;
    assert_eq!((answer.text().as_str(), answer.header("content-length")), ("hello world", Some("11")));
    let seen = upstream.last();
    assert_eq!(
        (seen.method(), seen.header("content-length"), seen.header("transfer-encoding")),
        ("PUT", Some("11"), None)
    );
}

#[tokio::test]
async fn head_204_and_304_have_no_body_and_keep_the_connection() {
    let upstream = Upstream::http(|request| match request.path() {
        "/204" => Reply::new(204),
        "/304" => Reply::new(304).header("etag", "\"v1\"").header("content-length", "77"),
        _ => Reply::ok("twelve bytes"),
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    let head = client.exchange("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((head.status(), head.header("content-length")), (200, Some("12")));
    let none = client.exchange("GET /204 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((none.status(), none.header("content-length"), none.header("transfer-encoding")), (204, None, None));
    let same = client.exchange("GET /304 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((same.status(), same.header("etag"), same.header("transfer-encoding")), (304, Some("\"v1\""), None));
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.text(), "twelve bytes");
    assert_eq!(upstream.connections(), 1, "all went over one connection");
}

#[tokio::test]
async fn other_informational_answers_are_dropped() {
    let upstream = Upstream::scripted(|mut conn, _, _| async move {
        while conn.request().await.is_some() {
            conn.send("HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
                .await;
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    for _ in 0..2 {
        let answer = client.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!((answer.status(), answer.text().as_str(), answer.header("link")), (200, "ok", None));
    }
}

#[tokio::test]
async fn http10_is_answered_in_its_own_terms() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        while let Some(request) = conn.request().await {
            recorder.saw(&request);
            conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").await;
        }
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    client.send("GET /old HTTP/1.0\r\n\r\n").await;
    let answer = client.response("GET").await;
    // Chunks are unknown to HTTP/1.0: the end of the connection ends the body.
    assert_eq!((answer.status(), answer.text().as_str(), answer.header("transfer-encoding")), (200, "hello", None));
    assert_eq!(upstream.last().start, "GET /old HTTP/1.1");
}

#[tokio::test]
async fn an_absolute_target_names_the_host() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    let answer =
        client.exchange("GET http://real.example:8080/a/../b?q=1 HTTP/1.1\r\nhost: other.example\r\n\r\n").await;
    assert_eq!(answer.status(), 200);
    let seen = upstream.last();
    assert_eq!((seen.start.as_str(), seen.all("host")), ("GET /b?q=1 HTTP/1.1", vec!["real.example:8080"]));
}

#[tokio::test]
async fn what_belongs_to_one_hop_goes() {
    let upstream = Upstream::http(|_| {
        Reply::ok("x")
            .header("connection", "x-secret")
            .header("x-secret", "1")
            .header("keep-alive", "timeout=5")
            .header("x-kept", "1")
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: x-private\r\nx-private: 1\r\nkeep-alive: 5\r\nproxy-connection: close\r\nte: gzip\r\nupgrade: h2c\r\nx-kept: 1\r\n\r\n";
    let answer = client.exchange(request).await;
    assert_eq!(
        (answer.header("x-secret"), answer.header("keep-alive"), answer.header("x-kept")),
        (None, None, Some("1"))
    );
    let seen = upstream.last();
    let hop: Vec<_> = ["connection", "x-private", "keep-alive", "proxy-connection", "te", "upgrade"]
        .into_iter()
        .filter(|name| seen.header(name).is_some())
        .collect();
    assert!(hop.is_empty(), "{hop:?} were forwarded");
    assert_eq!(seen.header("x-kept"), Some("1"));
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_ends_is_passed_on() {
    let upstream = Upstream::scripted(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.bytes(10).await;
        conn.send("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno\n").await;
        conn.rest().await;
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n0123456789").await;
    let answer = client.response("POST").await;
    assert_eq!((answer.status(), answer.text().as_str()), (413, "no\n"));
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_upstream_request() {
    let upstream = Upstream::scripted(|mut conn, number, recorder| async move {
        recorder.saw(&conn.head().await.unwrap());
        conn.rest().await;
        recorder.saw(&Message { start: format!("connection {number} ended"), ..Message::default() });
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = Conn::to(proxy.web()).await;
    client.send("GET /while-waiting HTTP/1.1\r\nhost: a\r\n\r\n").await;
    upstream.received(1).await;
    drop(client);
    assert_eq!(upstream.received(2).await[1].start, "connection 1 ended");
    proxy.metric_reaches("fyke_listener_requests_total", &[("class", "reset")], 1.0).await;
    let mut client = Conn::to(proxy.web()).await;
    client.send("POST /while-sending HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf").await;
    upstream.received(3).await;
    drop(client);
    assert_eq!(upstream.received(4).await[3].start, "connection 2 ended");
    eventually("no request in flight", async || {
        (proxy.metric("fyke_listener_requests_active", &[]).await == 0.0).then_some(())
    })
    .await;
    assert_eq!(proxy.metric("fyke_cluster_requests_active", &[]).await, 0.0);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_made_whole() {
    let upstream = Upstream::scripted(|mut conn, _, _| async move {
        let request = conn.request().await.unwrap();
        let framing = if request.path() == "/chunked" {
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
        } else {
            "content-length: 100\r\n\r\nhello"
        };
        conn.send(format!("HTTP/1.1 200 OK\r\n{framing}")).await;
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    for path in ["/chunked", "/length"] {
        let mut client = proxy.connect().await;
        client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let head = client.head().await.unwrap();
        assert_eq!(head.status(), 200);
        assert!(client.body(head).await.is_none(), "{path}: the client was told that the answer is whole");
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_body_is_no_fault_of_the_cluster() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        if let Some(head) = conn.head().await {
            recorder.saw(&head);
            conn.rest().await;
        }
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf").await;
    upstream.received(1).await;
    drop(client);
    proxy.logged(&["request broken off", "downstream_body_error"]).await;
    assert_eq!(proxy.metric("fyke_cluster_requests_total", &[("cluster", "app"), ("class", "reset")]).await, 0.0);
    assert!(!proxy.has_logged(&["WARN", "upstream"]));
}
