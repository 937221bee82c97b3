//! Bodies of requests that are sent again: exactly as they were, or not at all.

use crate::support::{
    Message, Proxy, Site, Upstream, endpoints, eventually,
    faulty::{answer, breaks_off},
    noise,
    site::Record,
};

/// The first endpoint reads requests and closes; the second one answers. Asked in turn.
struct Pair {
    bad: Upstream,
    good: Upstream,
    proxy: Proxy,
}

async fn pair(retry: &str, listener: &str) -> Pair {
    let (bad, good) = (breaks_off("").await, Upstream::says("good").await);
    let cluster = format!("load_balancer: round_robin, {}", endpoints(&[bad.address, good.address]));
    let route = format!("retry: {{ on: [reset], backoff: {{ base: 1ms }}{retry} }}");
    let mut site = Site::app(&route, &cluster);
    if !listener.is_empty() {
        site = site.listener(listener);
    }
    let proxy = site.start().await;
    Pair { bad, good, proxy }
}

impl Pair {
    /// Sends requests until the bad endpoint has had one. Returns what it and then the good one saw of it.
    async fn both(&self, send: impl AsyncFn(&str)) -> (Message, Message) {
        let before = self.bad.seen().len();
        for number in 0..2 {
            send(&format!("/{before}/{number}")).await;
        }
        let bad = self.bad.received(before + 1).await.pop().unwrap();
        let good = eventually("the same at the other one", async || {
            self.good.seen().into_iter().rfind(|seen| seen.path() == bad.path())
        });
        (bad.clone(), good.await)
    }
}

#[tokio::test]
async fn a_body_of_known_length_is_repeated_byte_for_byte() {
    let pair = pair("", "").await;
    for length in [1, 1000, 200_000] {
        let body = noise(length, 7);
        let (bad, good) = pair
            .both(async |path| {
                let mut client = pair.proxy.connect().await;
                client.send(format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n")).await;
                client.send(&body).await;
                assert_eq!(client.response("POST").await.text(), "good");
            })
            .await;
        assert!(bad.body == body && good.body == body, "{length} bytes");
        assert_eq!(good.header("content-length"), Some(&*length.to_string()));
    }
    assert!(pair.proxy.metric("fyke_cluster_retries_total", &[("reason", "reset")]).await >= 3.0);
}

#[tokio::test]
async fn chunks_and_trailers_are_repeated_too() {
    let pair = pair("", "").await;
    let (bad, good) = pair
        .both(async |path| {
            let mut client = pair.proxy.connect().await;
            client
                .send(format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nabc\r\n"))
                .await;
            client.send("4\r\ndefg\r\n0\r\nx-sum: 42\r\n\r\n").await;
            assert_eq!(client.response("POST").await.text(), "good");
        })
        .await;
    for seen in [bad, good] {
        assert_eq!((seen.text().as_str(), seen.trailer("x-sum")), ("abcdefg", Some("42")), "{seen:?}");
    }
}

#[tokio::test]
async fn an_attempt_that_breaks_in_the_middle_of_the_body_costs_none_of_it() {
    // Reads some and closes, while the client is still sending.
    let bad = Upstream::scripted(|mut conn, _, recorder| async move {
        let head = conn.head().await.unwrap();
        conn.bytes(10).await;
        recorder.saw(&head);
    })
    .await;
    let good = Upstream::says("good").await;
    let cluster = format!("load_balancer: round_robin, {}", endpoints(&[bad.address, good.address]));
    let proxy = Site::app("retry: { on: [reset], backoff: { base: 1ms } }", &cluster).start().await;
    let body = noise(100_000, 3);
    for number in 0..2 {
        let before = bad.seen().len();
        let mut client = proxy.connect().await;
        client.send(format!("POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len())).await;
        client.send(&body[..50_000]).await;
        eventually("one of them to have it", async || (bad.seen().len() > before || good.open() > 0).then_some(()))
            .await;
        client.send(&body[50_000..]).await;
        assert_eq!(client.response("POST").await.text(), "good");
        assert!(good.last().body == body);
    }
    assert!(!bad.seen().is_empty());
}

#[tokio::test]
async fn a_body_beyond_the_buffer_is_not_sent_again_and_the_metric_says_so() {
    for (retry, listener, length) in [(", buffer: 1KiB", "", 4096), ("", "limits: { buffer: 64KiB }", 100_000)] {
        let pair = pair(retry, listener).await;
        let body = noise(length, 5);
        let mut answers = Vec::new();
        for number in 0..2 {
            let mut client = pair.proxy.connect().await;
            client.send(format!("POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n")).await;
            client.send(&body).await;
            answers.push(client.response("POST").await.status());
        }
        answers.sort_unstable();
        assert_eq!(answers, [200, 503], "one of them met the bad endpoint");
        assert_eq!(pair.proxy.metric("fyke_cluster_retries_refused_total", &[("reason", "body")]).await, 1.0);
        assert_eq!(pair.proxy.metric("fyke_cluster_retries_total", &[]).await, 0.0);
        assert!(pair.good.last().body == body, "the one that was not retried is whole");
        let failed = pair.bad.last().path().to_owned();
        assert_eq!(Record::of(&pair.proxy, &failed).await.told(), (503, "upstream_reset", "UC"));
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_its_body_is_not_retried() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        let head = conn.head().await.unwrap();
        recorder.saw(&head);
        conn.rest().await;
        recorder.saw(&Message::default());
    })
    .await;
    let proxy = Site::app("retry: { on: [5xx, reset], attempts: 3 }", &endpoints(&[upstream.address])).start().await;
    let mut client = proxy.connect().await;
    client.send("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf").await;
    upstream.received(1).await;
    drop(client);
    upstream.received(2).await;
    let record = Record::of(&proxy, "/x").await;
    assert!(["downstream_disconnected", "downstream_body_error"].contains(&record.told().1), "{record:?}");
    assert_eq!(proxy.metric("fyke_cluster_retries_total", &[]).await, 0.0);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_does_not_lose_the_rest() {
    // Echoes what comes while it comes; with a retry policy the body goes through the buffer, and beyond it.
    let upstream = Upstream::scripted(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        while let Some(chunk) = conn.chunk().await {
            let end = chunk.is_empty();
            conn.send(format!("{:x}\r\n", chunk.len())).await;
            conn.send(&chunk).await;
            conn.send("\r\n").await;
            if end {
                return;
            }
        }
    })
    .await;
    let route = "retry: { on: [5xx, reset], buffer: 4KiB }, timeout: 30s";
    let proxy = Site::app(route, &endpoints(&[upstream.address])).start().await;
    let mut client = proxy.connect().await;
    client.send("POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let mut sent = Vec::new();
    let mut head = None;
    let mut back = Vec::new();
    for round in 0..40 {
        let piece = noise(1000, round);
        client.send(format!("{:x}\r\n", piece.len())).await;
        client.send(&piece).await;
        client.send("\r\n").await;
        sent.extend_from_slice(&piece);
        if head.is_none() {
            head = client.head().await;
        }
        while back.len() < sent.len() {
            back.extend(client.chunk().await.unwrap());
        }
    }
    assert_eq!(head.unwrap().status(), 200);
    assert!(back == sent);
}

#[tokio::test]
async fn a_retried_upload_reaches_an_endpoint_that_answers_early() {
    let bad = breaks_off("").await;
    let early = Upstream::scripted(|mut conn, _, recorder| async move {
        while let Some(head) = conn.head().await {
            recorder.saw(&head);
            answer(&mut conn, "early").await.unwrap();
            conn.bytes(3).await;
        }
    })
    .await;
    let cluster = format!("load_balancer: round_robin, {}", endpoints(&[bad.address, early.address]));
    let proxy = Site::app("retry: { on: [reset] }", &cluster).start().await;
    for number in 0..2 {
        let mut client = proxy.connect().await;
        let answer =
            client.exchange(&format!("POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc")).await;
        assert_eq!(answer.text(), "early");
    }
    assert!(!bad.seen().is_empty() && early.seen().len() == 2);
}
