//! What clients and upstreams send that is wrong: refused, or framed anew, and never passed on as it came.

use crate::support::{Proxy, Upstream};

async fn proxy() -> (Upstream, Proxy) {
    let upstream = Upstream::echo().await;
    let proxy = Proxy::plain(upstream.address).await;
    (upstream, proxy)
}

/// Sends bytes followed by a request that a smuggler would like to see answered, and returns all that came back.
async fn attack(proxy: &Proxy, bytes: &str) -> String {
    let mut client = proxy.connect().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let _ = client.try_send(format!("{bytes}{smuggled}")).await;
    String::from_utf8_lossy(&client.rest().await).into_owned()
}

#[tokio::test]
async fn malformed_requests_get_400_and_the_connection_is_closed() {
    let (upstream, proxy) = proxy().await;
    let shapes = [
        ("differing lengths", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd"),
        ("a list of differing lengths", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 4\r\n\r\nabcd"),
        ("a signed length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc"),
        ("a negative length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n"),
        ("a hexadecimal length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x3\r\n\r\nabc"),
        ("a length that overflows", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n"),
        ("a folded line", "GET / HTTP/1.1\r\nhost: a\r\nx-a: b\r\n c\r\n\r\n"),
        ("a folded first field", "GET / HTTP/1.1\r\n host: a\r\n\r\n"),
        ("a bare CR in a value", "GET / HTTP/1.1\r\nhost: a\r\nx-a: b\rc\r\n\r\n"),
        ("a NUL in a value", "GET / HTTP/1.1\r\nhost: a\r\nx-a: b\0c\r\n\r\n"),
        ("a space before the colon", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length : 3\r\n\r\nabc"),
        ("a field without a colon", "GET / HTTP/1.1\r\nhost: a\r\nnothing\r\n\r\n"),
        ("a field without a name", "GET / HTTP/1.1\r\nhost: a\r\n: x\r\n\r\n"),
        ("no host", "GET / HTTP/1.1\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n"),
        ("a host with a path", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n"),
        ("a host with a user", "GET / HTTP/1.1\r\nhost: x@a\r\n\r\n"),
        ("a target with a user", "GET http://x@a/ HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("a target with a space", "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("a NUL in the path", "GET /a%00b HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("an escape that is none", "GET /a%zz HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("an unknown version", "GET / HTTP/3.7\r\nhost: a\r\n\r\n"),
        ("no version", "GET /\r\n\r\n"),
        ("an unknown coding", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: rot13\r\n\r\n"),
        ("chunked not last", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
        ("chunks from HTTP/1.0", "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("no HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n"),
    ];
    for (name, bytes) in shapes {
        let got = attack(&proxy, bytes).await;
        assert!(got.starts_with("HTTP/1.1 400 ") || got.starts_with("HTTP/1.0 400 "), "{name}: {got:?}");
        assert_eq!(got.matches("HTTP/1.").count(), 1, "{name}: something was answered after the refusal: {got:?}");
        assert_eq!(upstream.seen().len(), 0, "{name}: it was forwarded");
    }
    let malformed = [("reason", "malformed")];
    proxy.metric_reaches("fyke_listener_protocol_errors_total", &malformed, shapes.len() as f64).await;
    assert_eq!(proxy.metric("fyke_listener_protocol_errors_total", &[]).await, shapes.len() as f64);
}

#[tokio::test]
async fn bad_chunks_end_the_request_and_nothing_behind_them_is_served() {
    let (upstream, proxy) = proxy().await;
    for (name, chunks) in [
        ("not hexadecimal", "xyz\r\nabc\r\n0\r\n\r\n"),
        ("empty size", "\r\nabc\r\n0\r\n\r\n"),
        ("negative size", "-3\r\nabc\r\n0\r\n\r\n"),
        ("a prefix", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("a size that overflows", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        ("data longer than its size", "3\r\nabcdef\r\n0\r\n\r\n"),
        ("a bare LF after the size", "3\nabc\r\n0\r\n\r\n"),
    ] {
        let got =
            attack(&proxy, &format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")).await;
        assert!(!got.contains("/smuggled") && !got.contains(" 200 "), "{name}: {got:?}");
        assert_eq!(upstream.seen().len(), 0, "{name}: it arrived as a whole request");
    }
}

#[tokio::test]
async fn length_and_chunks_together_are_forwarded_by_chunks_and_the_connection_ends() {
    let (upstream, proxy) = proxy().await;
    let got = attack(
        &proxy,
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 30\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    )
    .await;
    assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "{got:?}");
    assert!(got.starts_with("HTTP/1.1 400 ") || upstream.seen().len() == 1, "neither refused nor forwarded: {got:?}");
    for seen in upstream.seen() {
        assert_eq!((seen.header("content-length"), seen.text().as_str()), (None, "abc"));
        assert_ne!(seen.path(), "/smuggled");
    }
}

#[tokio::test]
async fn odd_but_legal_framing_is_framed_anew() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        let head = conn.head().await.unwrap();
        recorder.saw(&head);
        let mut raw = conn.bytes("3\r\nabc\r\n".len()).await;
        raw.extend(conn.bytes("0\r\n\r\n".len()).await);
        assert_eq!(raw, b"3\r\nabc\r\n0\r\n\r\n");
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = proxy.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHOST:a\r\ntransfer-encoding: Chunked\r\n\r\n0003;ext=\"x\"\r\nabc\r\n00\r\n\r\n")
        .await;
    assert_eq!(client.response("POST").await.status(), 200);
    assert_eq!(upstream.last().header("transfer-encoding"), Some("chunked"));
    let mut client = proxy.connect().await;
    client.send("GET /lf HTTP/1.1\nhost: a\n\n").await;
    // A bare LF ends a line (RFC 9112, 2.2); what is forwarded has CRLF, which this upstream insists on.
    upstream.received(2).await;
    assert_eq!(upstream.last().path(), "/lf");
}

#[tokio::test]
async fn equal_lengths_are_one_length() {
    let (upstream, proxy) = proxy().await;
    let mut client = proxy.connect().await;
    let answer =
        client.exchange("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc").await;
    match answer.status() {
        200 => assert_eq!(upstream.last().all("content-length"), ["3"]),
        status => assert_eq!(status, 400),
    }
}

#[tokio::test]
async fn paths_are_made_safe_before_anything_looks_at_them() {
    let (upstream, proxy) = proxy().await;
    for (written, forwarded) in [
        ("/a/../secret", "/secret"),
        ("/%2e%2e/secret", "/secret"),
        ("/a\\..\\b", "/b"),
        ("/a%2Fb", "/a%2Fb"),
        ("/%61?x=/../y", "/a?x=/../y"),
    ] {
        assert_eq!(proxy.get(written).await.status(), 200);
        assert_eq!(upstream.last().path(), forwarded, "{written}");
    }
}

#[tokio::test]
async fn a_connect_that_no_route_allows_is_refused_and_nothing_behind_it_is_a_request() {
    let (upstream, proxy) = proxy().await;
    for (target, fields, status) in [
        ("internal:22", "", "403"),
        ("internal", "", "400"),
        ("internal:0", "", "400"),
        ("/", "", "400"),
        ("http://internal:22/", "", "400"),
        ("internal:22", "content-length: 5\r\n", "400"),
        ("internal:22", "transfer-encoding: chunked\r\n", "400"),
    ] {
        let request = format!("CONNECT {target} HTTP/1.1\r\nhost: internal:22\r\n{fields}\r\n");
        let got = attack(&proxy, &request).await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(got.starts_with(&expected) && got.matches("HTTP/1.1").count() == 1, "{target} {fields}: {got:?}");
    }
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn upstreams_that_speak_no_http_are_a_bad_gateway() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nx-a: b\r\n c\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
    ] {
        let upstream = Upstream::scripted(move |mut conn, _, _| async move {
            conn.request().await.unwrap();
            let _ = conn.try_send(garbage).await;
            conn.rest().await;
        })
        .await;
        let proxy = Proxy::plain(upstream.address).await;
        let answer = proxy.get("/").await;
        assert_eq!(answer.status(), 502, "{garbage:?}");
        proxy.logged(&["upstream_protocol_error", "not HTTP"]).await;
    }
}

#[tokio::test]
async fn a_response_with_length_and_chunks_cannot_desynchronise_the_pool() {
    let upstream = Upstream::scripted(|mut conn, number, recorder| async move {
        while let Some(mut request) = conn.request().await {
            request.connection = number;
            recorder.saw(&request);
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 40\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison").await;
        }
    })
    .await;
    let proxy = Proxy::plain(upstream.address).await;
    for number in 1..=3 {
        let mut client = proxy.connect().await;
        client.send(format!("GET /{number} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await;
        // Whole, broken off or refused: all are safe, as long as the poison reaches nobody.
        let got = String::from_utf8_lossy(&client.rest().await).into_owned();
        assert!(got.starts_with("HTTP/1.1 ") && !got.contains("poison"), "{got:?}");
    }
    let connections: Vec<_> = upstream.received(3).await.iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [1, 2, 3], "a connection with bytes that nobody asked for was used again");
}
