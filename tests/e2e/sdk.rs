//! What the SDK promises, in a real proxy: futures, timers, tasks, gRPC, labels, TCP.

use std::net::SocketAddr;

use crate::{
    guests,
    support::{Proxy, Reply, Upstream, eventually, h2},
};

/// `/never` is never answered; everything else with its path.
async fn echo() -> Upstream {
    Upstream::scripted(|mut conn, _, recorder| async move {
        while let Some(request) = conn.request().await {
            recorder.saw(&request);
            if request.path() == "/never" {
                conn.rest().await;
                return;
            }
            let path = request.path();
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len())).await;
        }
    })
    .await
}

async fn busy(upstream: SocketAddr, echo: SocketAddr, grpc: SocketAddr, config: &str) -> Proxy {
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [busy], cluster: app }}\n\
         filters:\n  busy: {{ module: {:?}, config: {config}, allow: {{ clusters: [echo, grpc] }} }}\n\
         clusters:\n  app: {{ endpoints: ['{upstream}'] }}\n  echo: {{ endpoints: ['{echo}'] }}\n  \
         grpc: {{ protocol: http2, endpoints: ['{grpc}'] }}\n",
        guests::BUSY
    );
    Proxy::start(yaml).await
}

#[tokio::test]
async fn a_method_waits_for_calls_time_and_streams_in_every_way() {
    let (upstream, echo, grpc) = (Upstream::says("through").await, echo().await, h2::Upstream::echo().await);
    let proxy = busy(upstream.address, echo.address, grpc.address, "{}").await;
    for (what, said) in [
        ("join", "/slow/quick"),
        ("select", "/quick"),
        ("timeout", "the time was up"),
        ("sleep", "rested"),
        ("unary", "hi"),
        ("stream", "one,two"),
        ("else", "nothing"),
    ] {
        let answer = proxy.get_with("/", &format!("x-do: {what}\r\n")).await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "through"), "{what}");
        assert_eq!(upstream.last().header("x-said"), Some(said), "{what}");
    }
    proxy.logged(&["WARN", "asked for else"]).await;
    assert_eq!(proxy.metric("told_total", &[("how", "join"), ("what", "x")]).await, 1.0);
    assert_eq!(proxy.metric("told_total", &[("how", "stream"), ("what", "x")]).await, 1.0);
}

#[tokio::test]
async fn streams_that_wait_for_time_do_not_wait_for_each_other() {
    let (upstream, echo, grpc) = (Upstream::says("through").await, echo().await, h2::Upstream::echo().await);
    let proxy = busy(upstream.address, echo.address, grpc.address, "{}").await;
    let asked = (0..20).map(|number| {
        let what = if number % 2 == 0 { "sleep" } else { "timeout" };
        let proxy = &proxy;
        async move { proxy.get_with("/", &format!("x-do: {what}\r\n")).await.status() }
    });
    assert_eq!(futures_util::future::join_all(asked).await, [200; 20]);
}

#[tokio::test]
async fn a_task_runs_beside_the_streams() {
    let (upstream, echo, grpc) = (Upstream::says("through").await, echo().await, h2::Upstream::echo().await);
    let proxy = busy(upstream.address, echo.address, grpc.address, "{ refresh_ms: 10 }").await;
    echo.received(3).await;
    assert!(echo.seen().iter().all(|request| request.path() == "/refresh"));
    eventually("a refresh is seen by a stream", async || {
        (proxy.get("/").await.header("x-refreshed")?.parse::<u32>().ok()? >= 2).then_some(())
    })
    .await;
}

/// Answers with this status, and names the cluster.
async fn gate(status: u16) -> Upstream {
    Upstream::http(move |_| Reply::new(status).header("x-cluster", "app")).await
}

async fn frames(upstream: SocketAddr, gate: SocketAddr) -> Proxy {
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', protocol: tcp, cluster: none, filters: [frames] }}\n\
         filters:\n  frames: {{ module: {:?}, allow: {{ clusters: [gate] }} }}\n\
         clusters:\n  none: {{ endpoints: [] }}\n  app: {{ endpoints: ['{upstream}'] }}\n  gate: {{ endpoints: ['{gate}'] }}\n",
        guests::FRAMES
    );
    Proxy::start(yaml).await
}

/// Sends back what it gets.
async fn mirror() -> Upstream {
    Upstream::scripted(|mut conn, _, _| async move {
        loop {
            let piece = conn.some().await;
            if piece.is_empty() || conn.patient_send(&piece).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_filter_of_connections_waits_holds_skips_writes_and_closes() {
    let (upstream, gate) = (mirror().await, gate(200).await);
    let proxy = frames(upstream.address, gate.address).await;
    let mut client = proxy.connect().await;
    // Before the gate has answered; in pieces.
    client.send(b"\x03a").await;
    client.send(b"b").await;
    assert!(client.silent(std::time::Duration::from_millis(50)).await);
    client.send(b"c\x02de").await;
    assert_eq!(client.bytes(7).await, b"\x03abc\x02de");
    // A long one passes as it comes, and what follows it is looked at again.
    let mut long = vec![250];
    long.extend([b'x'; 100]);
    client.send(&long).await;
    assert_eq!(client.bytes(101).await, long);
    client.send([b'y'; 149]).await;
    assert_eq!(client.bytes(149).await, [b'y'; 149]);
    client.send(b"y").await;
    assert_eq!(client.bytes(1).await, b"y");
    client.send(b"\x01?").await;
    assert_eq!(client.bytes(5).await, b"pong\n");
    client.send(b"\x01!").await;
    assert!(client.closed().await);
    proxy.logged(&["seen: gate 200, up", "close"]).await;
    for (kind, count) in [("short", 2.0), ("long", 1.0), ("ping", 1.0)] {
        assert_eq!(proxy.metric("frames_total", &[("kind", kind)]).await, count, "{kind}");
    }
    assert!(gate.last().header("x-from").unwrap().starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn a_connection_that_is_not_let_in_or_that_fails_is_closed() {
    let (upstream, shut) = (mirror().await, gate(403).await);
    let proxy = frames(upstream.address, shut.address).await;
    let mut client = proxy.connect().await;
    assert!(client.closed().await);
    proxy.logged(&["seen: gate 403"]).await;
    let open = gate(200).await;
    let proxy = frames(upstream.address, open.address).await;
    let mut client = proxy.connect().await;
    client.send(b"\x00").await;
    assert!(client.closed().await);
    proxy.logged(&["an empty frame"]).await;
    // The instance goes on.
    let mut client = proxy.connect().await;
    client.send(b"\x01a").await;
    assert_eq!(client.bytes(2).await, b"\x01a");
}

#[tokio::test]
async fn the_shortest_filter_does_what_it_says() {
    let upstream = Upstream::says("fine").await;
    let proxy = Proxy::start(&format!(
        "listeners: {{ web: {{ address: '127.0.0.1:0', filters: [f], cluster: app }} }}\n\
         filters: {{ f: {{ module: '{}' }} }}\nclusters: {{ app: {{ endpoints: ['{}'] }} }}\n",
        guests::HELLO,
        upstream.address
    ))
    .await;
    let answer = proxy.get("/").await;
    assert_eq!((answer.status(), answer.header("x-hello")), (200, Some("world")));
}

#[tokio::test]
async fn a_hundred_megabytes_for_a_filter_that_takes_one_are_refused_and_not_kept() {
    const SIZE: usize = 100 << 20;
    let upstream = Upstream::says("fine").await;
    let proxy = Proxy::start(format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [f], cluster: app }}\n\
         filters:\n  f: {{ module: 'builtin:body-transform', config: {{ request: {{ remove: [a] }} }} }}\n\
         clusters:\n  app: {{ endpoints: ['{}'] }}\n",
        upstream.address
    ))
    .await;
    let before = proxy.resident();
    let mut client = proxy.connect().await;
    let head =
        format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {SIZE}\r\n\r\n");
    client.send(head).await;
    let megabyte = vec![b' '; 1 << 20];
    // Nobody has to read the rest: what does not go through any more is no failure.
    for _ in 0..SIZE / megabyte.len() {
        if client.try_send(&megabyte).await.is_err() {
            break;
        }
    }
    let answer = String::from_utf8_lossy(&client.rest().await).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(proxy.resident() < before + (32 << 20), "{} KiB more", (proxy.resident() - before) >> 10);
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn half_an_answer_of_a_service_is_none() {
    let upstream = Upstream::says("fine").await;
    let authz = Upstream::scripted(|mut conn, number, _| async move {
        conn.request().await;
        let half = match number {
            1 => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
            2 => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
            _ => "HTTP/1.1 200 O",
        };
        conn.send(half).await;
    })
    .await;
    let proxy = Proxy::start(format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [f], cluster: app }}\n\
         filters:\n  f: {{ module: 'builtin:ext-authz', allow: {{ clusters: [authz] }}, config: {{ http: {{ cluster: authz, timeout: 10s }} }} }}\n\
         clusters:\n  app: {{ endpoints: ['{}'] }}\n  authz: {{ endpoints: ['{}'] }}\n",
        upstream.address, authz.address
    ))
    .await;
    for _ in 0..3 {
        assert_eq!(proxy.get("/").await.status(), 403);
    }
    assert_eq!(proxy.metric("ext_authz_total", &[("verdict", "failure_denied")]).await, 3.0);
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn an_authorisation_service_may_see_the_body_and_holds_no_upload_back_otherwise() {
    let upstream = Upstream::says("ok").await;
    let authz = Upstream::http(|request| {
        Reply::new(if request.body.starts_with(b"bad") { 403 } else { 200 })
            .header("x-shown", &request.body.len().to_string())
    })
    .await;
    let proxy = async |body: &str| {
        Proxy::start(format!(
            "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [f], cluster: app }}\n\
             filters:\n  f: {{ module: 'builtin:ext-authz', allow: {{ clusters: [authz] }}, config: {{ {body}http: {{ cluster: authz, timeout: 10s }} }} }}\n\
             clusters:\n  app: {{ endpoints: ['{}'] }}\n  authz: {{ endpoints: ['{}'] }}\n",
            upstream.address, authz.address
        ))
        .await
    };
    let post = async |proxy: &Proxy, body: &[u8]| {
        let mut client = proxy.connect().await;
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
        let _ = client.try_send([head.as_bytes(), body].concat()).await;
        client.response("POST").await
    };
    let came = || upstream.seen().pop().unwrap().body;
    let large: Vec<u8> = (0..3 << 20).map(|at: u32| at.to_le_bytes()[at as usize % 3]).collect();
    let without = proxy("").await;
    let answer = post(&without, &large).await;
    assert!(answer.status() == 200 && came() == large, "{answer:?}");
    assert_eq!(authz.seen()[0].body.len(), 0);
    let with = proxy("body: { max: 64KiB }, ").await;
    let small = &large[..60_000];
    let answer = post(&with, small).await;
    assert!(answer.status() == 200 && came() == small, "{answer:?}");
    assert_eq!(authz.seen()[1].body, small);
    assert_eq!(post(&with, b"bad").await.status(), 403);
    assert_eq!(post(&with, &large).await.status(), 413);
    let partial = proxy("body: { max: 1KiB, partial: true }, ").await;
    let answer = post(&partial, small).await;
    assert!(answer.status() == 200 && came() == small, "{answer:?}");
    let shown = authz.seen().pop().unwrap();
    assert_eq!((shown.body.len(), shown.header("x-envoy-auth-partial-body")), (1024, Some("true")));
}
