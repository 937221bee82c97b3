//! The next generation: what changes, what stays, and what is refused.

mod addresses;
mod hangs;
mod watched;

use std::{net::SocketAddr, sync::Arc};

use rustix::process::Signal;
use tokio::sync::Notify;

use crate::{
    guests,
    support::{
        Conn, Launch, Proxy, Reply, Upstream, eventually,
        h2::{self, whole},
        proxy::post,
    },
    tcp,
};

/// A listener whose answers carry `x-generation: NAME`.
fn marked(upstream: SocketAddr, name: &str) -> String {
    format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [mark], cluster: app }}\nfilters:\n  mark: {{ module: \
         'builtin:headers', config: {{ response: {{ set: {{ x-generation: {name} }} }} }} }}\nclusters:\n  app: {{ endpoints: \
         ['{upstream}'] }}\n"
    )
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// Waits until this generation runs.
async fn runs(proxy: &Proxy, generation: f64) {
    proxy.metric_reaches("fyke_process_generation", &[], generation).await;
}

#[tokio::test]
async fn open_connections_are_on_the_new_generation_with_their_next_request() {
    let upstream = Upstream::says("hi").await;
    let mut proxy = Proxy::start(marked(upstream.address, "one")).await;
    let mut http1 = proxy.connect().await;
    let mut http2 = h2::Client::to(proxy.web()).await;
    assert_eq!(http1.exchange(GET).await.header("x-generation"), Some("one"));
    assert_eq!(http2.get("/").await.headers["x-generation"], "one");
    let address = proxy.web();
    assert_eq!(proxy.reload(&marked(upstream.address, "two")).await, 2);
    assert_eq!(proxy.web(), address);
    assert_eq!(http1.exchange(GET).await.header("x-generation"), Some("two"));
    assert_eq!(http2.get("/").await.headers["x-generation"], "two");
    // The cluster has not changed: neither have its connections.
    assert_eq!(upstream.connections(), 1);
    assert_eq!(proxy.metric("fyke_process_reloads_total", &[("outcome", "applied")]).await, 1.0);
}

#[tokio::test]
async fn a_stream_ends_on_the_generation_on_which_it_began() {
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let upstream = Upstream::scripted(move |mut conn, _, _| {
        let wait = Arc::clone(&wait);
        async move {
            conn.request().await.unwrap();
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n12").await;
            wait.notified().await;
            conn.send("34").await;
            conn.rest().await;
        }
    })
    .await;
    let mut proxy = Proxy::start(marked(upstream.address, "one")).await;
    let mut slow = proxy.connect().await;
    slow.send(GET).await;
    let head = slow.head().await.unwrap();
    assert_eq!(head.header("x-generation"), Some("one"));
    proxy.reload(&marked(upstream.address, "two")).await;
    let mut other = proxy.connect().await;
    other.send(GET).await;
    assert_eq!(other.head().await.unwrap().header("x-generation"), Some("two"));
    go.notify_waiters();
    assert_eq!(slow.bytes(4).await, b"1234");
}

#[tokio::test]
async fn the_old_instances_go_with_their_last_stream() {
    let upstream = tcp::counting().await;
    let config = |words: &str| tcp::listener(upstream.address, &[("a", words)], "");
    let mut proxy = Proxy::start(config("")).await;
    let mut old = proxy.connect().await;
    assert_eq!(old.bytes(6).await, b"hello\n");
    proxy.reload(&config("upper")).await;
    let instances = |count: f64| {
        let proxy = &proxy;
        eventually(format!("{count} instances"), async move || {
            (proxy.metric("fyke_filter_instances", &[("filter", "a")]).await == count).then_some(())
        })
    };
    instances(2.0).await;
    // A TCP connection keeps its filters.
    old.send("abc").await;
    assert_eq!(old.bytes(2).await, b"3\n");
    old.finish().await;
    assert_eq!(old.rest().await, b"end\n");
    instances(1.0).await;
}

#[tokio::test]
async fn listeners_come_and_go_and_the_others_do_not_notice() {
    let upstream = Upstream::says("hi").await;
    let listeners = |names: &[&str]| {
        let lines: String = names
            .iter()
            .map(|name| format!("  {name}: {{ address: '127.0.0.1:0', cluster: app, drain: 100ms }}\n"))
            .collect();
        format!("listeners:\n{lines}clusters:\n  app: {{ endpoints: ['{}'] }}\n", upstream.address)
    };
    let mut proxy = Proxy::start(listeners(&["web", "gone"])).await;
    let (mut stays, mut goes) = (proxy.connect().await, Conn::to(proxy.listener("gone")).await);
    let gone = proxy.listener("gone");
    assert_eq!(stays.exchange(GET).await.status(), 200);
    assert_eq!(goes.exchange(GET).await.status(), 200);
    proxy.reload(&listeners(&["web", "new"])).await;
    assert!(goes.closed().await);
    eventually("nobody listens there", async || tokio::net::TcpStream::connect(gone).await.err()).await;
    assert_eq!(stays.exchange(GET).await.status(), 200);
    assert_eq!(Conn::to(proxy.listener("new")).await.exchange(GET).await.status(), 200);
}

#[tokio::test]
async fn an_address_keeps_its_socket_whatever_its_listener_is_called_and_speaks() {
    let upstream = Upstream::says("hi").await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = |name: &str, protocol: &str| {
        format!(
            "listeners:\n  {name}: {{ address: '{port}', protocol: {protocol}, cluster: app }}\nclusters:\n  app: {{ endpoints: \
             ['{}'] }}\n",
            upstream.address
        )
    };
    let mut proxy = Proxy::start(config("web", "http")).await;
    assert_eq!(Conn::to(port).await.exchange(GET).await.status(), 200);
    proxy.reload(&config("other", "http")).await;
    assert_eq!(Conn::to(port).await.exchange(GET).await.status(), 200);
    proxy.reload(&config("other", "tcp")).await;
    // The upstream's own answer, which no proxy has touched.
    assert_eq!(Conn::to(port).await.exchange(GET).await.header("server"), None);
    assert_eq!(proxy.metric("fyke_listener_connections_accepted_total", &[("listener", "other")]).await, 2.0);
}

#[tokio::test]
async fn what_stays_for_too_long_is_ended_and_the_rest_goes_on() {
    let upstream = tcp::echo().await;
    let config = |number: usize| tcp::listener(upstream.address, &[("a", &format!("g{number}"))], "");
    let mut proxy = Proxy::start(config(0)).await;
    let mut connections = Vec::new();
    for number in 0..18 {
        if number > 0 {
            proxy.reload(&config(number)).await;
        }
        let mut conn = proxy.connect().await;
        conn.send("x").await;
        assert_eq!(conn.bytes(1).await, b"x");
        connections.push(conn);
    }
    // One runs, and sixteen older ones may stay: the first one's connection had to go.
    let mut kept = connections.split_off(1);
    assert!(connections[0].closed().await);
    assert_eq!(proxy.metric("fyke_filter_generations_expired_total", &[("filter", "a")]).await, 1.0);
    for conn in &mut kept {
        conn.send("y").await;
        assert_eq!(conn.bytes(1).await, b"y");
    }
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_what_ran_goes_on() {
    let upstream = Upstream::says("hi").await;
    let proxy = Launch::new(marked(upstream.address, "one")).file("broken.wasm", b"\0asm no").start().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let good = marked(upstream.address, "two");
    let bad = [
        (good.replace("cluster: app }", "cluster: app "), "expected"),
        (good.replace("cluster: app", "cluster: ap"), "did you mean \"app\""),
        (good.replace("'builtin:headers'", "broken.wasm"), "not a valid WebAssembly module"),
        (good.replace("'builtin:headers'", "missing.wasm"), "missing.wasm"),
        (good.replace("response:", "responses:"), "responses"),
        (good.replace("'127.0.0.1:0'", &format!("'{}'", taken.local_addr().unwrap())), "cannot listen"),
    ];
    for (count, (yaml, why)) in bad.iter().enumerate() {
        proxy.rewrite(yaml);
        let (status, value) = proxy.act("/reload", "").await;
        assert_eq!(status, 422, "{yaml}\n{value:#}");
        assert!(value["error"].as_str().unwrap().contains(why), "{why}: {value:#}");
        let refused = proxy.metric("fyke_process_reloads_total", &[("outcome", "refused")]).await;
        assert_eq!(refused as usize, count + 1);
        assert_eq!(proxy.get("/").await.header("x-generation"), Some("one"));
    }
    let audit = proxy.page("/audit").await;
    assert_eq!(audit.as_array().unwrap().len(), bad.len());
    assert_eq!(audit[0]["who"], "admin (127.0.0.1)");
    assert_eq!(proxy.metric("fyke_process_generation", &[]).await, 1.0);
    // What cannot change says so.
    std::fs::write(
        proxy.path("proxy.yaml"),
        std::fs::read_to_string(proxy.path("proxy.yaml")).unwrap().replace("workers: 1", "workers: 2"),
    )
    .unwrap();
    let (status, value) = proxy.act("/reload", "").await;
    assert_eq!(status, 422);
    assert!(value["error"].as_str().unwrap().contains("`workers` cannot change while the process runs"), "{value:#}");
}

#[tokio::test]
async fn nothing_new_is_no_generation() {
    let upstream = Upstream::says("hi").await;
    let mut proxy = Proxy::start(marked(upstream.address, "one")).await;
    let same = format!("# a remark\n{}", marked(upstream.address, "one"));
    assert_eq!(proxy.reload(&same).await, 1);
    assert_eq!(proxy.metric("fyke_process_reloads_total", &[("outcome", "unchanged")]).await, 1.0);
    assert_eq!(proxy.page("/generations").await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn sighup_reads_the_file_again() {
    let upstream = Upstream::says("hi").await;
    let proxy = Proxy::start(marked(upstream.address, "one")).await;
    proxy.rewrite(&marked(upstream.address, "two"));
    proxy.signal(Signal::HUP);
    runs(&proxy, 2.0).await;
    assert_eq!(proxy.get("/").await.header("x-generation"), Some("two"));
    let line = proxy.logged(&["a new generation runs", "signal"]).await;
    assert!(line.contains("filter mark changed"), "{line}");
}

#[tokio::test]
async fn a_watched_file_takes_effect_however_it_is_replaced() {
    let upstream = Upstream::says("hi").await;
    let yaml = |name: &str| format!("reload: watch\n{}", marked(upstream.address, name));
    let proxy = Proxy::start(yaml("g1")).await;
    let file = proxy.path("proxy.yaml");
    // Written in place.
    proxy.rewrite(&yaml("g2"));
    runs(&proxy, 2.0).await;
    // As editors do: another file in its place.
    let whole = std::fs::read_to_string(&file).unwrap();
    std::fs::write(proxy.path("proxy.yaml~"), whole.replace("g2", "g3")).unwrap();
    std::fs::rename(proxy.path("proxy.yaml~"), &file).unwrap();
    runs(&proxy, 3.0).await;
    // As orchestrators do: a link in the path leads elsewhere.
    for name in ["a", "b"] {
        std::fs::create_dir(proxy.path(name)).unwrap();
        std::fs::write(proxy.path(name).join("proxy.yaml"), whole.replace("g2", &format!("g-{name}"))).unwrap();
    }
    std::os::unix::fs::symlink("a", proxy.path("data")).unwrap();
    std::os::unix::fs::symlink("data/proxy.yaml", proxy.path("link")).unwrap();
    std::fs::rename(proxy.path("link"), &file).unwrap();
    runs(&proxy, 4.0).await;
    std::os::unix::fs::symlink("b", proxy.path("data-next")).unwrap();
    std::fs::rename(proxy.path("data-next"), proxy.path("data")).unwrap();
    runs(&proxy, 5.0).await;
    assert_eq!(proxy.get("/").await.header("x-generation"), Some("g-b"));
    // Half of a file is refused, the whole one is not.
    std::fs::write(proxy.path("b/proxy.yaml"), &whole[..whole.len() / 2]).unwrap();
    proxy.metric_reaches("fyke_process_reloads_total", &[("outcome", "refused")], 1.0).await;
    std::fs::write(proxy.path("b/proxy.yaml"), whole.replace("g2", "g6")).unwrap();
    runs(&proxy, 6.0).await;
    assert_eq!(proxy.get("/").await.header("x-generation"), Some("g6"));
}

#[tokio::test]
async fn a_watched_module_is_swapped_and_an_unwatched_one_waits() {
    let upstream = Upstream::says("hi").await;
    let yaml = |reload: &str| {
        format!(
            "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [f], cluster: app }}\nfilters:\n  f: {{ module: \
             f.wasm{reload} }}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n",
            upstream.address
        )
    };
    let header = std::fs::read(guests::HEADER_FYKE).unwrap();
    let hello = std::fs::read(guests::HELLO).unwrap();
    let mut proxy = Launch::new(yaml("")).file("f.wasm", &header).start().await;
    assert_eq!(proxy.get("/").await.header("x-guest-response"), Some("seen"));
    std::fs::write(proxy.path("f.wasm"), &hello).unwrap();
    assert_eq!(proxy.get("/").await.header("x-guest-response"), Some("seen"));
    // Asked for, the module is read again although not a word of the configuration has changed.
    assert_eq!(proxy.reload(&yaml("")).await, 2);
    assert_eq!(proxy.get("/").await.header("x-guest-response"), None);
    let audit = proxy.page("/audit").await;
    assert!(audit[0]["changes"][0].as_str().unwrap().starts_with("module of filter f changed"), "{audit:#}");
    proxy.reload(&yaml(", reload: watch")).await;
    std::fs::write(proxy.path("f.wasm"), &header).unwrap();
    runs(&proxy, 4.0).await;
    assert_eq!(proxy.get("/").await.header("x-guest-response"), Some("seen"));
}

#[tokio::test]
async fn a_rollback_brings_an_older_generation_back() {
    let upstream = Upstream::says("hi").await;
    let mut proxy = Proxy::start(marked(upstream.address, "one")).await;
    let (status, _) = proxy.act("/rollback", "").await;
    assert_eq!(status, 409);
    proxy.reload(&marked(upstream.address, "two")).await;
    proxy.reload(&marked(upstream.address, "three")).await;
    let (status, value) = proxy.act("/rollback", "").await;
    assert_eq!((status, &value["outcome"], value["generation"].as_u64()), (200, &"rolled_back".into(), Some(4)));
    assert_eq!(proxy.get("/").await.header("x-generation"), Some("two"));
    let (status, _) = proxy.act("/rollback?to=1", "").await;
    assert_eq!(status, 200);
    assert_eq!(proxy.get("/").await.header("x-generation"), Some("one"));
    assert_eq!(proxy.act("/rollback?to=99", "").await.0, 404);
    assert_eq!(proxy.act("/rollback?to=x", "").await.0, 400);
}

#[tokio::test]
async fn changes_need_the_token_and_the_generation_that_was_seen() {
    let upstream = Upstream::says("hi").await;
    let proxy = Proxy::start(marked(upstream.address, "one")).await;
    assert_eq!(post(proxy.admin(), "/reload", "").await.status(), 401);
    assert_eq!(post(proxy.admin(), "/reload", "authorization: Bearer no\r\n").await.status(), 403);
    assert_eq!(proxy.act("/reload", "origin: http://evil.example\r\n").await.0, 403);
    assert_eq!(proxy.act("/reload", "if-match: \"7\"\r\n").await.0, 412);
    assert_eq!(proxy.ask("/config").await.header("etag"), Some("\"1\""));
    proxy.rewrite(&marked(upstream.address, "two"));
    let (status, value) = proxy.act("/reload?dry_run=true", "if-match: \"1\"\r\n").await;
    assert_eq!((status, &value["changes"][0]), (200, &"filter mark changed".into()));
    assert_eq!(proxy.get("/").await.header("x-generation"), Some("one"));
    let (status, value) = proxy.act("/reload", "if-match: \"1\"\r\n").await;
    assert_eq!((status, value["generation"].as_u64()), (200, Some(2)));
    assert_eq!(proxy.ask("/reload").await.status(), 405);
}

#[tokio::test]
async fn a_thousand_clients_requests_survive_fifty_swaps() {
    let upstream = Upstream::http(|_| Reply::ok("hi")).await;
    let mut proxy = Proxy::start(marked(upstream.address, "g0")).await;
    let address = proxy.web();
    let clients: Vec<_> = (0..4)
        .map(|number| {
            tokio::spawn(async move {
                let mut answers = 0;
                if number % 2 == 0 {
                    let mut conn = Conn::to(address).await;
                    for _ in 0..250 {
                        assert_eq!(conn.exchange(GET).await.status(), 200);
                        answers += 1;
                    }
                } else {
                    let mut client = h2::Client::to(address).await;
                    for _ in 0..250 {
                        let (response, _) = client.begin(h2::request("GET", "/"), true).await;
                        assert_eq!(whole(response).await.unwrap().status, 200);
                        answers += 1;
                    }
                }
                answers
            })
        })
        .collect();
    for generation in 1..=50 {
        proxy.reload(&marked(upstream.address, &format!("g{generation}"))).await;
    }
    let mut answers = 0;
    for client in clients {
        answers += client.await.unwrap();
    }
    assert_eq!(answers, 1000);
    assert_eq!(proxy.get("/").await.header("x-generation"), Some("g50"));
    // What is left of fifty generations is one.
    let proxy = &proxy;
    eventually("one instance", async move || {
        (proxy.metric("fyke_filter_instances", &[("filter", "mark")]).await == 1.0).then_some(())
    })
    .await;
}
