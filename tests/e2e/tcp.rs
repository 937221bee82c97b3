//! `protocol: tcp`: bytes both ways, with and without filters.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    guests,
    support::{
        Conn, Launch, Proxy, Reply, Upstream, eventually, noise, soon,
        tls::{self, Authority},
    },
};

/// A listener with these filters (the guest `stream`, by name and words), and more of the listener's settings.
pub fn listener(upstream: SocketAddr, filters: &[(&str, &str)], more: &str) -> String {
    let names: Vec<_> = filters.iter().map(|(name, _)| *name).collect();
    let mut yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', protocol: tcp, cluster: app, filters: [{}]{more} }}\n",
        names.join(", ")
    );
    if !filters.is_empty() {
        yaml.push_str("filters:\n");
    }
    for (name, words) in filters {
        let allow = if words.contains("judge") { ", allow: { clusters: [judge] }" } else { "" };
        yaml.push_str(&format!("  {name}: {{ module: {:?}, config: {words:?}{allow} }}\n", guests::STREAM));
    }
    yaml + &format!("clusters:\n  app: {{ endpoints: ['{upstream}'] }}\n")
}

/// Answers every piece with itself, and the end with the end.
pub async fn echo() -> Upstream {
    Upstream::scripted(|mut conn, _, _| async move {
        loop {
            let piece = conn.some().await;
            if piece.is_empty() {
                break;
            }
            if conn.patient_send(&piece).await.is_err() {
                return;
            }
        }
        conn.finish().await;
    })
    .await
}

/// Says something first, then answers each piece with its length and the end with `end`.
pub async fn counting() -> Upstream {
    Upstream::scripted(|mut conn, _, _| async move {
        conn.send("hello\n").await;
        loop {
            let piece = conn.some().await;
            if piece.is_empty() {
                break;
            }
            conn.send(format!("{}\n", piece.len())).await;
        }
        let _ = conn.try_send("end\n").await;
        conn.finish().await;
    })
    .await
}

#[tokio::test]
async fn bytes_pass_unchanged_and_each_half_ends_alone() {
    let upstream = counting().await;
    let proxy = Proxy::start(listener(upstream.address, &[], "")).await;
    let mut client = proxy.connect().await;
    // The server speaks first.
    assert_eq!(client.bytes(6).await, b"hello\n");
    client.send("12345").await;
    assert_eq!(client.bytes(2).await, b"5\n");
    client.finish().await;
    assert_eq!(client.rest().await, b"end\n");
    // They are counted when the connection is over.
    proxy.metric_reaches("fyke_listener_received_bytes_total", &[("listener", "web")], 5.0).await;
    proxy.metric_reaches("fyke_listener_sent_bytes_total", &[("listener", "web")], 12.0).await;
    eventually("no connection is open", async || {
        (proxy.metric("fyke_cluster_connections_active", &[("cluster", "app")]).await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn many_bytes_pass_both_ways_at_once_with_and_without_filters() {
    let upstream = echo().await;
    for filters in [&[][..], &[("a", "")], &[("a", "events"), ("b", "line")]] {
        let proxy = Proxy::start(listener(upstream.address, filters, ", limits: { buffer: 256KiB }")).await;
        let mut body = noise(20_000_000, 7);
        body.push(b'\n');
        let client = tokio::net::TcpStream::connect(proxy.web()).await.unwrap();
        let (mut reading, mut writing) = client.into_split();
        let sent = body.clone();
        let sender = tokio::spawn(async move {
            writing.write_all(&sent).await.unwrap();
            writing.shutdown().await.unwrap();
        });
        let mut received = Vec::new();
        soon("the echo", reading.read_to_end(&mut received)).await.unwrap();
        sender.await.unwrap();
        assert!(received == body, "{} bytes of {} with {filters:?}", received.len(), body.len());
    }
}

#[tokio::test]
async fn a_connection_has_a_record_of_its_own() {
    let upstream = counting().await;
    let proxy = Proxy::start(format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', protocol: tcp, cluster: app, filters: [log] }}\n\
         filters:\n  log: {{ module: builtin:access-log, config: {{ format: json }} }}\n\
         clusters:\n  app: {{ protocol: tcp, endpoints: ['{}'] }}\n",
        upstream.address
    ))
    .await;
    let mut client = proxy.connect().await;
    client.send("12345").await;
    assert_eq!(client.bytes(8).await, b"hello\n5\n");
    client.finish().await;
    client.rest().await;
    let record = proxy.printed(&["bytes_received"]).await;
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!((&record["bytes_received"], &record["bytes_sent"]), (&5.into(), &12.into()), "{record}");
    assert_eq!((&record["details"], &record["cluster"]), (&"closed".into(), &"app".into()), "{record}");
    assert!(record["time"].is_string() && record["duration"].is_number() && record["status"].is_null(), "{record}");
}

#[tokio::test]
async fn who_does_not_read_is_waited_for() {
    let upstream = Upstream::scripted(|mut conn, _, _| async move {
        let block = vec![b'x'; 1 << 20];
        for _ in 0..300 {
            if conn.patient_send(&block).await.is_err() {
                return;
            }
        }
        conn.finish().await;
    })
    .await;
    for filters in [&[][..], &[("a", "")]] {
        let proxy = Proxy::start(listener(upstream.address, filters, "")).await;
        let before = proxy.resident();
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(proxy.connect().await);
        }
        for client in &mut clients {
            client.bytes(1).await;
        }
        assert!(proxy.resident() < before + 24 * 1024 * 1024, "{} before, {} now", before, proxy.resident());
        let mut client = clients.pop().unwrap();
        assert_eq!(client.rest().await.len(), 300 * (1 << 20) - 1);
    }
}

#[tokio::test]
async fn filters_see_and_change_both_directions() {
    let upstream = echo().await;
    let proxy = Proxy::start(listener(upstream.address, &[("a", "upper"), ("b", "tag=<")], "")).await;
    let mut client = proxy.connect().await;
    client.send("abc").await;
    assert_eq!(client.bytes(4).await, b"<ABC");
}

#[tokio::test]
async fn what_a_filter_holds_is_shown_again_with_what_is_new() {
    let upstream = echo().await;
    let proxy = Proxy::start(listener(upstream.address, &[("a", "line events upper")], "")).await;
    let mut client = proxy.connect().await;
    client.send("ab").await;
    proxy.logged(&["event: downstream 2 false"]).await;
    client.send("cd\n").await;
    assert_eq!(client.bytes(5).await, b"ABCD\n");
    proxy.logged(&["event: downstream 5 false"]).await;
    client.send("x").await;
    client.finish().await;
    assert_eq!(client.rest().await, b"X");
    proxy.logged(&["event: downstream 1 true"]).await;
}

#[tokio::test]
async fn callbacks_come_in_the_order_of_the_specification() {
    let upstream = echo().await;
    let proxy = Proxy::start(listener(upstream.address, &[("a", "events")], "")).await;
    let mut client = proxy.connect().await;
    client.send("1").await;
    client.bytes(1).await;
    client.finish().await;
    assert!(client.closed().await);
    proxy.logged(&["event: delete"]).await;
    let events: Vec<_> = proxy
        .log_lines(&["event: "])
        .iter()
        .filter_map(|line| Some(line.split_once("event: ")?.1.split('"').next()?.to_owned()))
        .collect();
    let mut expected = vec!["new connection", "downstream 1 false", "upstream 1 false", "downstream 0 true"];
    expected.extend(["upstream 0 true", "upstream closed by Remote", "downstream closed by Remote"]);
    expected.extend(["done", "log", "delete"]);
    assert_eq!(events, expected);
}

/// Answers a callout once, with this status, after a line has been said to it.
async fn judge(status: u16) -> Upstream {
    Upstream::http(move |_| Reply::new(status)).await
}

#[tokio::test]
async fn a_filter_may_ask_before_a_connection_or_its_bytes_go_on() {
    let upstream = echo().await;
    for words in ["ask=judge", "down=judge", "up=judge"] {
        let judge = judge(200).await;
        let yaml = listener(upstream.address, &[("a", words)], "")
            + &format!("  judge: {{ endpoints: ['{}'] }}\n", judge.address);
        let proxy = Proxy::start(yaml).await;
        let mut client = proxy.connect().await;
        client.send("one").await;
        assert_eq!(client.bytes(3).await, b"one", "{words}");
        client.send("two").await;
        client.finish().await;
        assert_eq!(client.rest().await, b"two", "{words}");
        assert_eq!(judge.seen().len(), 1, "{words}");
    }
}

#[tokio::test]
async fn a_filter_that_refuses_closes_before_anything_reaches_the_upstream() {
    let (upstream, judge) = (echo().await, judge(403).await);
    let yaml = listener(upstream.address, &[("a", "ask=judge events")], "")
        + &format!("  judge: {{ endpoints: ['{}'] }}\n", judge.address);
    let proxy = Proxy::start(yaml).await;
    let mut client = proxy.connect().await;
    assert!(client.closed().await);
    assert_eq!(upstream.connections(), 0);
    proxy.logged(&["event: downstream closed by Local"]).await;
    proxy.logged(&["event: delete"]).await;
    assert!(!proxy.has_logged(&["event: upstream closed"]), "there was none");
}

#[tokio::test]
async fn either_side_can_be_closed_from_a_filter_and_what_passed_arrives() {
    let upstream = echo().await;
    let proxy = Proxy::start(listener(upstream.address, &[("a", "bye stop events")], "")).await;
    let mut client = proxy.connect().await;
    client.send("quit now").await;
    assert_eq!(client.rest().await, b"quit now", "what upstream said is delivered first");
    proxy.logged(&["event: upstream closed by Local"]).await;
    proxy.logged(&["event: downstream closed by Local"]).await;
    let mut client = proxy.connect().await;
    client.send("stop").await;
    client.rest().await;
    eventually("the upstream's end", async || (upstream.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_filter_chooses_the_cluster() {
    let (first, second) = (echo().await, counting().await);
    let yaml = listener(first.address, &[("a", "route=other")], "")
        + &format!("  other: {{ protocol: tcp, endpoints: ['{}'] }}\n", second.address);
    let proxy = Proxy::start(yaml).await;
    assert_eq!(proxy.connect().await.bytes(6).await, b"hello\n");
    let proxy = Proxy::start(listener(first.address, &[("a", "route=nowhere")], "")).await;
    assert!(proxy.connect().await.closed().await);
    proxy.logged(&["nowhere", "cluster_not_found"]).await;
}

/// An address at which nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn the_next_endpoint_is_tried_and_the_last_failure_is_told() {
    let upstream = echo().await;
    let (dead, also) = (nobody().await, nobody().await);
    let endpoints = |list: &str| {
        format!(
            "listeners:\n  web: {{ address: '127.0.0.1:0', protocol: tcp, cluster: app }}\nclusters:\n  app: {{ load_balancer: round_robin, endpoints: [{list}] }}\n"
        )
    };
    let proxy = Proxy::start(endpoints(&format!("'{dead}', '{also}', '{}'", upstream.address))).await;
    for _ in 0..6 {
        let mut client = proxy.connect().await;
        client.send("x").await;
        assert_eq!(client.bytes(1).await, b"x");
    }
    let failures = proxy.metric("fyke_cluster_connect_failures_total", &[("cluster", "app")]).await;
    assert!(failures >= 4.0, "{failures}");
    let proxy = Proxy::start(endpoints(&format!("'{dead}'"))).await;
    assert!(proxy.connect().await.closed().await);
    proxy.logged(&["upstream_connect_failure", &dead.to_string()]).await;
    let proxy = Proxy::start(endpoints("")).await;
    assert!(proxy.connect().await.closed().await);
    proxy.logged(&["no_endpoint"]).await;
}

#[tokio::test]
async fn idle_connections_are_closed_and_busy_ones_are_not() {
    let upstream = echo().await;
    let proxy = Proxy::start(listener(upstream.address, &[], ", limits: { idle_timeout: 300ms }")).await;
    let mut client = proxy.connect().await;
    for _ in 0..10 {
        client.send("x").await;
        assert_eq!(client.bytes(1).await, b"x");
        assert!(client.silent(Duration::from_millis(100)).await);
    }
    assert!(client.closed().await);
    proxy.metric_reaches("fyke_listener_idle_timeouts_total", &[("listener", "web")], 1.0).await;
}

#[tokio::test]
async fn a_trap_costs_its_connection_and_no_other() {
    let upstream = echo().await;
    let proxy = Proxy::start(listener(upstream.address, &[("a", "boom")], "")).await;
    let (mut one, mut other) = (proxy.connect().await, proxy.connect().await);
    for client in [&mut one, &mut other] {
        client.send("x").await;
        client.bytes(1).await;
    }
    one.send("boom").await;
    assert!(one.closed().await);
    proxy.metric_reaches("fyke_filter_traps_total", &[("filter", "a")], 1.0).await;
    let mut third = proxy.connect().await;
    third.send("y").await;
    assert_eq!(third.bytes(1).await, b"y", "on a new instance");
    // The second one stood on the instance that is gone: it meets the policy when it needs it.
    let _ = other.try_send("z").await;
    assert!(other.closed().await);
}

#[tokio::test]
async fn tls_ends_here_and_begins_anew_towards_the_upstream() {
    let authority = Authority::new();
    let (own, behind) = (authority.issue(&["db.example"]), authority.issue(&["db.example"]));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(authority.server(&behind, false, &[])));
    let server = tokio::spawn(async move {
        let (stream, _) = socket.accept().await.unwrap();
        let mut conn = Conn::over(acceptor.accept(stream).await.unwrap());
        conn.send("hi\n").await;
        let heard = conn.rest().await;
        conn.send(heard).await;
        conn.finish().await;
    });
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', protocol: tcp, cluster: app, filters: [a], tls: {{ certificates: [{{ certificate: own.pem, key: own.key }}] }} }}\n\
         filters:\n  a: {{ module: {:?}, config: 'property=connection.requested_server_name property=cluster_name property=request.path' }}\n\
         clusters:\n  app: {{ protocol: tcp, endpoints: ['{address}'], tls: {{ ca: ca.pem }} }}\n",
        guests::STREAM
    );
    let launch = Launch::new(yaml).file("ca.pem", authority.pem()).file("own.pem", &own.pem).file("own.key", &own.key);
    let proxy = launch.start().await;
    // The name that the client asked for is the one that the upstream is asked for.
    let mut client = Conn::over(tls::connect(proxy.web(), authority.client(None, &[]), "db.example").await.unwrap());
    assert_eq!(client.bytes(3).await, b"hi\n");
    client.send("over and out").await;
    client.finish().await;
    assert_eq!(client.rest().await, b"over and out");
    server.await.unwrap();
    proxy.logged(&["property connection.requested_server_name is", "db.example"]).await;
    proxy.logged(&["property request.path is", "\\\"\\\""]).await;
}

#[tokio::test]
async fn what_an_upstream_said_before_it_hung_up_is_delivered() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            // It has read a little, says no, and closes with much unread.
            stream.read_exact(&mut [0; 8]).await.unwrap();
            stream.write_all(b"no").await.unwrap();
        }
    });
    for filters in [&[][..], &[("a", "")]] {
        let proxy = Proxy::start(listener(address, filters, "")).await;
        for _ in 0..20 {
            let mut client = proxy.connect().await;
            let _ = client.try_send(vec![b'x'; 8]).await;
            assert_eq!(client.bytes(2).await, b"no", "{filters:?}");
            let _ = client.try_send(vec![b'x'; 100_000]).await;
            client.rest().await;
        }
    }
}

#[tokio::test]
async fn a_client_that_still_sends_reads_the_last_words_of_a_filter_that_closes() {
    let upstream = echo().await;
    let proxy = Proxy::start(listener(upstream.address, &[("a", "bye")], "")).await;
    for _ in 0..20 {
        let mut client = proxy.connect().await;
        client.send("quit").await;
        let _ = client.try_send(vec![b'x'; 200_000]).await;
        assert!(client.rest().await.starts_with(b"quit"));
    }
}
