//! Connections that a filter borrows for each exchange (`fyke.upstream.lease.v1`), with the guest `lines`.

use std::{net::SocketAddr, sync::Arc};

use tokio::{io::AsyncWriteExt, net::TcpStream, sync::Notify};

use crate::{
    guests,
    support::{Conn, Launch, Proxy, Upstream, eventually, noise, soon},
};

/// A proxy whose clients share at most `connections` to these servers, and wait at most `wait` milliseconds for one.
fn yaml(servers: &[SocketAddr], connections: usize, wait: u64, more: &str) -> String {
    let endpoints: Vec<_> = servers.iter().map(|address| format!("'{address}'")).collect();
    format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', protocol: tcp, cluster: servers, filters: [lines] }}\n\
         filters:\n  lines: {{ module: {:?}, config: {wait}, allow: {{ clusters: [servers] }} }}\n\
         clusters:\n  servers: {{ endpoints: [{}], circuit_breakers: {{ connections: {connections} }}{more} }}\n",
        guests::LINES,
        endpoints.join(", "),
    )
}

/// A connection that is read line by line.
struct Talk {
    conn: Conn,
    unread: Vec<u8>,
}

impl Talk {
    fn new(conn: Conn) -> Self {
        Self { conn, unread: Vec::new() }
    }

    async fn to(proxy: &Proxy) -> Self {
        Self::new(proxy.connect().await)
    }

    async fn fill(&mut self) -> bool {
        let more = self.conn.some().await;
        self.unread.extend_from_slice(&more);
        !more.is_empty()
    }

    /// `None` at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line = self.unread.drain(..=end).collect::<Vec<_>>();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn line(&mut self) -> String {
        self.next().await.expect("a line")
    }

    async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            assert!(self.fill().await, "the connection ended");
        }
        self.unread.drain(..count).collect()
    }

    async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.conn.send(text).await;
    }

    async fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n")).await;
        self.line().await
    }
}

/// Answers each line with the connection's number, as whom it is known, and the line itself. `go` lets go of a line `wait`.
async fn server(go: &Arc<Notify>) -> Upstream {
    let go = Arc::clone(go);
    Upstream::scripted(move |conn, number, _| {
        let number = number - 1;
        let go = Arc::clone(&go);
        async move {
            let mut conn = Talk::new(conn);
            let Some(hello) = conn.next().await else { return };
            let Some(name) = hello.strip_prefix("user ") else { return };
            if name == "nobody" {
                conn.send("no\n").await;
                return;
            }
            let name = name.to_owned();
            conn.send("ok\n").await;
            while let Some(line) = conn.next().await {
                let words: Vec<&str> = line.split(' ').collect();
                match words.as_slice() {
                    ["put", count] => {
                        let body = conn.bytes(count.parse().unwrap()).await;
                        conn.send(format!("got {}\n", body.len())).await;
                    }
                    ["get", count] => {
                        let count: usize = count.parse().unwrap();
                        conn.send(format!("data {count}\n")).await;
                        if conn.conn.patient_send(&noise(count, 7)).await.is_err() {
                            return;
                        }
                    }
                    ["wait", ..] => {
                        go.notified().await;
                        let _ = conn.conn.try_send(format!("{number} {name} {line}\n")).await;
                    }
                    ["cut", count] => {
                        conn.bytes(count.parse::<usize>().unwrap() / 2).await;
                        return;
                    }
                    ["die"] => return,
                    ["half"] => {
                        conn.send("no end").await;
                        return;
                    }
                    ["chatty"] => conn.send("answer\nand more\n").await,
                    _ => conn.send(format!("{number} {name} {line}\n")).await,
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn clients_share_a_connection_one_exchange_at_a_time() {
    let server = server(&Arc::default()).await;
    let proxy = Launch::new(yaml(&[server.address], 1, 5000, "")).workers(1).start().await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Talk::to(&proxy).await);
    }
    for round in 0..5 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(format!("{round} {number}\n")).await;
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.line().await, format!("0  {round} {number}"));
        }
    }
    assert_eq!(server.connections(), 1);
    // The last client reads its line before the connection is given back.
    eventually("no connection to be lent", async || {
        (proxy.metric("fyke_cluster_leases_active", &[("cluster", "servers")]).await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn requests_of_one_client_in_one_piece_are_exchanges_one_after_the_other() {
    let server = server(&Arc::default()).await;
    let proxy = Launch::new(yaml(&[server.address], 1, 5000, "")).workers(1).start().await;
    let mut client = Talk::to(&proxy).await;
    client.send("a\nb\nme x\nc\nput 3\nxyz").await;
    client.send("d\n").await;
    for expected in ["0  a", "0  b"] {
        assert_eq!(client.line().await, expected);
    }
    assert!(client.line().await.ends_with(" x c"));
    assert_eq!(client.line().await, "got 3");
    assert!(client.line().await.ends_with(" x d"));
    // An end is no end of the exchanges that are under way.
    client.send("e\nf\n").await;
    client.conn.finish().await;
    assert!(client.line().await.ends_with(" x e"));
    assert!(client.line().await.ends_with(" x f"));
    assert_eq!(client.conn.rest().await, b"");
}

#[tokio::test]
async fn connections_are_never_shared_between_identities() {
    let server = server(&Arc::default()).await;
    let proxy = Launch::new(yaml(&[server.address], 4, 5000, "")).workers(1).start().await;
    let (mut one, mut other) = (Talk::to(&proxy).await, Talk::to(&proxy).await);
    one.send("me one\n").await;
    other.send("me other\n").await;
    for _ in 0..3 {
        assert_eq!(one.ask("x").await.split(' ').nth(1), Some("one"));
        assert_eq!(other.ask("y").await.split(' ').nth(1), Some("other"));
    }
    assert_eq!(server.connections(), 2);
    // Where there is room for one only, an idle connection of somebody else makes room.
    let proxy = Launch::new(yaml(&[server.address], 1, 5000, "")).workers(1).start().await;
    let mut client = Talk::to(&proxy).await;
    for name in ["a", "b", "a"] {
        client.send(format!("me {name}\n")).await;
        assert_eq!(client.ask("z").await.split(' ').nth(1), Some(name));
    }
}

#[tokio::test]
async fn large_requests_and_answers_pass_unseen_and_whole() {
    const SIZE: usize = 3 << 20;
    let server = server(&Arc::default()).await;
    let proxy = Launch::new(yaml(&[server.address], 1, 5000, "")).workers(1).start().await;
    let (mut client, mut other) = (Talk::to(&proxy).await, Talk::to(&proxy).await);
    for _ in 0..2 {
        client.send(format!("put {SIZE}\n")).await;
        client.conn.patient_send(&noise(SIZE, 3)).await.unwrap();
        assert_eq!(client.line().await, format!("got {SIZE}"));
        client.send(format!("get {SIZE}\nnext\n")).await;
        assert_eq!(client.line().await, format!("data {SIZE}"));
        assert!(client.bytes(SIZE).await == noise(SIZE, 7));
        assert_eq!(client.line().await, "0  next");
        assert_eq!(other.ask("between").await, "0  between");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn who_waits_for_too_long_is_told_and_may_ask_again() {
    let go = Arc::new(Notify::new());
    let server = server(&go).await;
    let proxy = Launch::new(yaml(&[server.address], 1, 100, "")).workers(1).start().await;
    let (mut holder, mut client) = (Talk::to(&proxy).await, Talk::to(&proxy).await);
    holder.send("wait 1\n").await;
    proxy.metric_reaches("fyke_cluster_leases_active", &[("cluster", "servers")], 1.0).await;
    assert_eq!(client.ask("a").await, "refused Timeout");
    go.notify_one();
    assert_eq!(holder.line().await, "0  wait 1");
    assert_eq!(client.ask("b").await, "0  b");
    let refused = [("cluster", "servers"), ("reason", "timeout")];
    assert_eq!(proxy.metric("fyke_cluster_leases_refused_total", &refused).await, 1.0);
}

#[tokio::test]
async fn a_queue_that_is_full_refuses_at_once() {
    let go = Arc::new(Notify::new());
    let server = server(&go).await;
    let yaml = yaml(&[server.address], 1, 60_000, "").replace("connections: 1", "connections: 1, pending: 1");
    let proxy = Launch::new(yaml).workers(1).start().await;
    let (mut holder, mut waiting, mut client) =
        (Talk::to(&proxy).await, Talk::to(&proxy).await, Talk::to(&proxy).await);
    holder.send("wait 1\n").await;
    proxy.metric_reaches("fyke_cluster_leases_active", &[("cluster", "servers")], 1.0).await;
    waiting.send("w\n").await;
    proxy.metric_reaches("fyke_cluster_pending_requests", &[("cluster", "servers")], 1.0).await;
    assert_eq!(soon("a refusal", client.ask("a")).await, "refused Busy");
    go.notify_one();
    assert_eq!(holder.line().await, "0  wait 1");
    assert_eq!(waiting.line().await, "0  w");
}

#[tokio::test]
async fn a_connection_that_ends_in_an_exchange_is_told_of_and_the_client_goes_on() {
    let server = server(&Arc::default()).await;
    let proxy = Launch::new(yaml(&[server.address], 1, 5000, "")).workers(1).start().await;
    let mut client = Talk::to(&proxy).await;
    assert_eq!(client.ask("a").await, "0  a");
    assert_eq!(client.ask("die").await, "lost");
    assert_eq!(client.ask("b").await, "1  b");
    // Half of an answer is none: it was held, and goes with its connection.
    assert_eq!(client.ask("half").await, "lost");
    assert_eq!(client.ask("c").await, "2  c");
}

#[tokio::test]
async fn the_rest_of_a_request_whose_connection_is_gone_goes_nowhere() {
    let server = server(&Arc::default()).await;
    let proxy = Launch::new(yaml(&[server.address], 1, 5000, "")).workers(1).start().await;
    let mut client = Talk::to(&proxy).await;
    // The server reads the first half and hangs up.
    client.send("cut 200000\n").await;
    client.send(noise(100_000, 1)).await;
    assert_eq!(client.line().await, "lost");
    client.send(noise(100_000, 2)).await;
    assert_eq!(client.ask("a").await, "1  a");
}

#[tokio::test]
async fn what_nobody_asked_for_reaches_nobody() {
    let server = server(&Arc::default()).await;
    let proxy = Launch::new(yaml(&[server.address], 1, 5000, "")).workers(1).start().await;
    let (mut client, mut other) = (Talk::to(&proxy).await, Talk::to(&proxy).await);
    assert_eq!(client.ask("chatty").await, "answer");
    assert_eq!(other.ask("a").await, "1  a");
    assert_eq!(client.ask("b").await, "1  b");
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_exchange_with_it() {
    let go = Arc::new(Notify::new());
    let server = server(&go).await;
    let proxy = Launch::new(yaml(&[server.address], 1, 5000, "")).workers(1).start().await;
    let mut client = TcpStream::connect(proxy.web()).await.unwrap();
    let mut other = Talk::to(&proxy).await;
    client.write_all(b"wait secret\n").await.unwrap();
    proxy.metric_reaches("fyke_cluster_leases_active", &[("cluster", "servers")], 1.0).await;
    client.set_zero_linger().unwrap();
    drop(client);
    // Its connection is closed: the answer that is still to come is for nobody.
    assert_eq!(other.ask("a").await, "1  a");
    go.notify_one();
    assert_eq!(other.ask("b").await, "1  b");
}

#[tokio::test]
async fn an_endpoint_that_lets_nobody_in_lends_nothing() {
    let server = server(&Arc::default()).await;
    let proxy = Launch::new(yaml(&[server.address], 1, 5000, "")).workers(1).start().await;
    let mut client = Talk::to(&proxy).await;
    client.send("me nobody\n").await;
    assert_eq!(client.ask("a").await, "refused Handshake");
    client.send("me somebody\n").await;
    assert!(client.ask("b").await.ends_with("somebody b"));
    drop(server);
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_no_reason_to_wait() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let proxy = Launch::new(yaml(&[gone], 1, 60_000, "")).workers(1).start().await;
    let mut client = Talk::to(&proxy).await;
    assert_eq!(soon("a refusal", client.ask("a")).await, "refused Connect");
}

#[tokio::test]
async fn an_exchange_goes_to_the_endpoint_that_was_asked_for() {
    let (first, second) = (server(&Arc::default()).await, server(&Arc::default()).await);
    let proxy = Launch::new(yaml(&[first.address, second.address], 4, 5000, "")).workers(1).start().await;
    let mut client = Talk::to(&proxy).await;
    client.send(format!("at {}\n", second.address)).await;
    for _ in 0..4 {
        assert_eq!(client.ask("a").await, "0  a");
    }
    assert_eq!((first.connections(), second.connections()), (0, 1));
    client.send("at 127.0.0.1:1\n").await;
    assert_eq!(client.ask("b").await, "refused NoEndpoint");
}

#[tokio::test]
async fn an_exchange_goes_to_an_endpoint_with_the_label_that_was_asked_for() {
    let (first, second) = (server(&Arc::default()).await, server(&Arc::default()).await);
    let proxy = Launch::new(yaml(&[first.address, second.address], 4, 5000, "")).workers(1).start().await;
    let mut client = Talk::to(&proxy).await;
    client.send(format!("label {} primary\nlabel {} secondary\n", first.address, second.address)).await;
    for (role, expected) in [("primary", (1, 0)), ("secondary", (1, 1))] {
        client.send(format!("with {role}\n")).await;
        for _ in 0..4 {
            assert_eq!(client.ask("a").await, "0  a");
        }
        assert_eq!((first.connections(), second.connections()), expected);
    }
    // An election, and nobody who has won it yet.
    client.send(format!("label {} secondary\nwith primary\n", first.address)).await;
    assert_eq!(client.ask("b").await, "refused NoEndpoint");
}

#[tokio::test]
async fn idle_connections_are_closed_in_time_and_those_that_the_server_closed_are_not_lent() {
    let server = server(&Arc::default()).await;
    let more = ", pool: { idle_timeout: 200ms }";
    let proxy = Launch::new(yaml(&[server.address], 2, 5000, more)).workers(1).start().await;
    let mut client = Talk::to(&proxy).await;
    assert_eq!(client.ask("a").await, "0  a");
    eventually("the idle connection is closed", async || (server.open() == 0).then_some(())).await;
    assert_eq!(client.ask("b").await, "1  b");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_share_what_there_may_be() {
    let server = server(&Arc::default()).await;
    let proxy = Launch::new(yaml(&[server.address], 4, 20_000, "")).workers(2).start().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..40 {
        let mut client = Talk::to(&proxy).await;
        tasks.spawn(async move {
            for round in 0..50 {
                let line = format!("{number}/{round}");
                assert!(client.ask(&line).await.ends_with(&format!("  {line}")));
            }
        });
    }
    soon("everybody is served", async {
        while let Some(done) = tasks.join_next().await {
            done.unwrap()
        }
    })
    .await;
    assert!(server.open() <= 4, "{}", server.open());
    assert_eq!(proxy.metric("fyke_cluster_leases_active", &[("cluster", "servers")]).await, 0.0);
}

#[tokio::test]
async fn a_filter_that_is_swapped_keeps_its_exchanges_and_its_connections() {
    let go = Arc::new(Notify::new());
    let server = server(&go).await;
    let first = yaml(&[server.address], 2, 5000, "");
    let mut proxy = Launch::new(first.clone()).workers(1).start().await;
    let (mut client, mut other) = (Talk::to(&proxy).await, Talk::to(&proxy).await);
    assert_eq!(other.ask("a").await, "0  a");
    client.send("wait 1\n").await;
    proxy.metric_reaches("fyke_cluster_leases_active", &[("cluster", "servers")], 1.0).await;
    proxy.reload(&first.replace("config: 5000", "config: 4000")).await;
    go.notify_one();
    assert_eq!(client.line().await, "0  wait 1");
    let mut fresh = Talk::to(&proxy).await;
    assert_eq!(fresh.ask("b").await, "0  b");
    // A cluster that has changed is new; who was connected before uses it too.
    proxy.reload(&yaml(&[server.address], 3, 4000, "")).await;
    for _ in 0..3 {
        assert!(other.ask("c").await.ends_with("  c"));
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_filter_may_close_a_client_that_waits() {
    let go = Arc::new(Notify::new());
    let server = server(&go).await;
    let proxy = Launch::new(yaml(&[server.address], 1, 60_000, "")).workers(1).start().await;
    let mut holder = Talk::to(&proxy).await;
    holder.send("wait 1\n").await;
    proxy.metric_reaches("fyke_cluster_leases_active", &[("cluster", "servers")], 1.0).await;
    let mut client = Talk::to(&proxy).await;
    client.send("close\n").await;
    assert_eq!(soon("the end", client.conn.rest()).await, b"");
    go.notify_one();
    assert_eq!(holder.line().await, "0  wait 1");
}
