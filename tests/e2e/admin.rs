//! The admin endpoint, and the end of a process.

mod api;
mod bundle;
mod dashboard;
mod logging;
mod operators;
mod rotation;
mod streams;
mod tokens;
mod told;

use std::time::Duration;

use rustix::process::Signal;

use crate::chain::{chain, official};
use crate::support::{Conn, Launch, Proxy, Upstream, eventually, h2, proxy::post};

#[tokio::test]
async fn each_page_tells_what_runs() {
    let upstream = Upstream::says("x").await;
    let yaml = chain(upstream.address, &[("f", official("tag a", ""))]) + "sinks: { log: { file: a.log } }\n";
    let proxy = Proxy::start(yaml).await;
    assert_eq!(proxy.listeners(), ["web"]);
    for page in ["/live", "/ready"] {
        assert_eq!(proxy.ask(page).await.status(), 200);
    }
    for _ in 0..3 {
        assert_eq!(proxy.get("/").await.status(), 200);
    }
    proxy.metric_reaches("fyke_cluster_requests_total", &[("class", "2xx")], 3.0).await;
    let config = proxy.page("/config").await;
    assert_eq!(
        (config["generation"].as_u64(), config["bound"]["web"].as_str()),
        (Some(1), Some(proxy.web().to_string().as_str()))
    );
    let clusters = proxy.page("/clusters").await;
    let app = &clusters["app"];
    assert_eq!(app["endpoints"][0]["address"], upstream.address.to_string());
    assert_eq!((app["requests"]["2xx"].as_u64(), app["connections"]["opened"].as_u64()), (Some(3), Some(1)));
    let filters = proxy.page("/filters").await;
    let f = &filters["f"];
    assert_eq!((f["streams"].as_u64(), f["instances"].as_u64(), f["traps"].as_u64()), (Some(3), Some(1), Some(0)));
    assert!(f["callbacks"].as_array().unwrap().iter().any(|name| name == "request_headers"), "{f}");
    assert_eq!(f["sha256"].as_str().unwrap().len(), 64);
    let missing = proxy.ask("/nothing").await;
    assert_eq!((missing.status(), missing.text().contains("/metrics")), (404, true));
    let answer = Conn::to(proxy.admin())
        .await
        .exchange("POST /config HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!((answer.status(), answer.header("allow")), (405, Some("GET, HEAD")));
}

#[tokio::test]
async fn metrics_are_prometheus_text_and_add_up() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::plain(upstream.address).await;
    for _ in 0..5 {
        proxy.get("/").await;
    }
    proxy.metric_reaches("fyke_listener_requests_total", &[("listener", "web"), ("class", "2xx")], 5.0).await;
    let page = proxy.ask("/metrics").await;
    assert!(page.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = page.text();
    let mut typed = std::collections::BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(typed.insert(name.to_owned(), kind.to_owned()), None, "{name} is described twice");
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap_or_else(|_| panic!("{line:?} has no value"));
            let name = series.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .filter(|base| typed.contains_key(*base))
                .unwrap_or(name);
            assert!(typed.contains_key(base), "{name} has no type");
        }
    }
    for part in ["fyke_listener_", "fyke_cluster_", "fyke_worker_", "fyke_process_"] {
        assert!(typed.keys().any(|name| name.starts_with(part)), "nothing of {part}");
    }
    proxy.metric_reaches("fyke_listener_request_duration_seconds_count", &[("listener", "web")], 5.0).await;
}

#[tokio::test]
async fn secrets_are_not_shown() {
    let upstream = Upstream::says("x").await;
    let yaml = chain(upstream.address, &[("f", official("tag visible", "environment: { TOKEN: !env PATH }, "))]);
    let proxy = Proxy::start(yaml).await;
    let text = proxy.ask("/config").await.text();
    assert!(text.contains("tag visible"), "{text}");
    let secret = std::env::var("PATH").unwrap();
    assert!(!text.contains(&secret), "the value of an environment variable is on the page");
}

/// An upstream that answers when the test says so.
async fn slow() -> (Upstream, std::sync::Arc<tokio::sync::Semaphore>) {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let hold = gate.clone();
    let upstream = Upstream::scripted(move |mut conn, _, recorder| {
        let hold = hold.clone();
        async move {
            while let Some(request) = conn.request().await {
                recorder.saw(&request);
                hold.acquire().await.unwrap().forget();
                if conn.try_send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (upstream, gate)
}

#[tokio::test]
async fn sigterm_lets_requests_finish_and_takes_no_more() {
    let (upstream, gate) = slow().await;
    let mut proxy = Launch::new(crate::support::proxy::plain(upstream.address)).workers(2).start().await;
    let mut idle = proxy.connect().await;
    gate.add_permits(1);
    assert_eq!(idle.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.text(), "done");
    let mut busy = proxy.connect().await;
    busy.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut second = h2::Client::to(proxy.web()).await;
    let (answer, _) = second.begin(h2::request("GET", "/"), true).await;
    upstream.received(3).await;
    proxy.signal(Signal::TERM);
    eventually("/ready to say so", async || (proxy.ask("/ready").await.status() == 503).then_some(())).await;
    assert_eq!(proxy.ask("/live").await.status(), 200);
    assert!(idle.closed().await, "an idle connection is kept open");
    let web = proxy.web();
    eventually("the port to be closed", async || tokio::net::TcpStream::connect(web).await.err()).await;
    assert!(proxy.is_running());
    gate.add_permits(2);
    let last = busy.response("GET").await;
    assert_eq!((last.status(), last.text().as_str()), (200, "done"));
    assert!(busy.closed().await);
    assert_eq!(h2::whole(answer).await.unwrap().body, b"done");
    assert_eq!(proxy.ended().await, Some(0));
    proxy.logged(&["ended"]).await;
}

#[tokio::test]
async fn a_drain_does_not_last_longer_than_it_may() {
    let (upstream, _gate) = slow().await;
    let yaml = crate::support::proxy::plain(upstream.address).replace("cluster: app }", "cluster: app, drain: 1s }");
    let mut proxy = Proxy::start(yaml).await;
    let mut stuck = proxy.connect().await;
    stuck.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    upstream.received(1).await;
    let begun = std::time::Instant::now();
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    assert!(stuck.closed().await);
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let (upstream, _gate) = slow().await;
    let mut proxy = Proxy::plain(upstream.address).await;
    let mut stuck = proxy.connect().await;
    stuck.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    upstream.received(1).await;
    proxy.signal(Signal::INT);
    proxy.logged(&["draining"]).await;
    eventually("/ready to say so", async || (proxy.ask("/ready").await.status() == 503).then_some(())).await;
    let begun = std::time::Instant::now();
    proxy.signal(Signal::INT);
    assert_eq!(proxy.ended().await, Some(0));
    // The drain itself would take thirty seconds.
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn access_logs_are_written_before_the_end() {
    let upstream = Upstream::says("x").await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [access-log], cluster: app }}\nfilters:\n  access-log: {{ module: builtin:access-log, config: {{ sink: log, template: '%REQ(:path)%' }} }}\nsinks:\n  log: {{ file: access.log }}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n",
        upstream.address
    );
    let mut proxy = Proxy::start(yaml).await;
    let mut client = proxy.connect().await;
    for number in 0..200 {
        client.exchange(&format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    }
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    let log = std::fs::read_to_string(proxy.path("access.log")).unwrap();
    assert_eq!(log.lines().collect::<Vec<_>>(), (0..200).map(|number| format!("/{number}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn parameters_that_are_not_understood_change_nothing() {
    let upstream = Upstream::says("x").await;
    let mut proxy = Proxy::plain(upstream.address).await;
    proxy.rewrite(
        &crate::support::proxy::plain(upstream.address).replace("cluster: app }", "cluster: app, drain: 1s }"),
    );
    for path in ["/reload?dry_run=1", "/reload?dryrun=true", "/rollback?to", "/rollback?generation=1", "/drain?after=1"]
    {
        let (status, value) = proxy.act(path, "").await;
        let (key, _) = path.split_once('?').map(|(_, pair)| pair.split_once('=').unwrap_or((pair, ""))).unwrap();
        assert!(status == 400 && value["error"].as_str().unwrap().contains(key), "{path}: {status} {value}");
    }
    assert_eq!(proxy.page("/config").await["generation"], 1);
    assert!(proxy.is_running());
    assert_eq!(proxy.ask("/ready").await.status(), 200);
    assert_eq!(proxy.act("/reload?dry_run=false", "").await.1["generation"], 2);
}

#[tokio::test]
async fn a_host_that_nobody_can_read_and_a_wrong_token_are_refused() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::plain(upstream.address).await;
    for host in [&b"\xe9vil.example"[..], b"[::1].evil.example", b"evil.example"] {
        let mut conn = Conn::to(proxy.admin()).await;
        conn.send([b"GET /config HTTP/1.1\r\nhost: ", host, b"\r\n\r\n"].concat()).await;
        assert_eq!(conn.response("GET").await.status(), 403, "{:?}", String::from_utf8_lossy(host));
    }
    for _ in 0..20 {
        assert_eq!(post(proxy.admin(), "/reload", "authorization: Bearer guess\r\n").await.status(), 403);
    }
    proxy.logged(&["fyke::audit", "wrong token", "127.0.0.1"]).await;
    assert!(proxy.log_lines(&["wrong token"]).len() < 20);
    assert!(!proxy.has_logged(&["guess"]));
}

#[tokio::test]
async fn connections_are_few_and_the_newest_is_served() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut idle = Vec::new();
    for _ in 0..150 {
        idle.push(Conn::to(proxy.admin()).await);
    }
    assert_eq!(proxy.ask("/live").await.status(), 200);
    assert!(idle[0].closed().await, "the oldest makes room");
    let mut last = idle.pop().unwrap();
    let mut open = 0;
    for mut conn in idle {
        let sent = conn.try_send("GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        open += usize::from(sent.is_ok() && conn.head().await.is_some());
    }
    assert!((32..=64).contains(&open), "{open} are open");
    assert_eq!(last.exchange("GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.status(), 200);
}

#[tokio::test]
async fn changes_that_wait_are_few_although_nobody_waits_for_them() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::plain(upstream.address).await;
    // A configuration that takes as long to read as the test likes.
    let (file, whole) = (proxy.path("proxy.yaml"), proxy.path("whole.yaml"));
    std::fs::rename(&file, &whole).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RWXU).unwrap();
    let pipe = std::fs::OpenOptions::new().read(true).write(true).open(&file).unwrap();
    let token = std::fs::read_to_string(proxy.path("token")).unwrap();
    let request = |path: &str| {
        let token = token.trim();
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: 0\r\n\r\n")
    };
    let threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", proxy.pid())).unwrap();
        let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        tasks.flatten().map(name).filter(|name| name.trim() == "fyke-reload").count()
    };
    for _ in 0..40 {
        Conn::to(proxy.admin()).await.send(request("/reload")).await;
    }
    eventually("eight changes to wait", async || (threads() == 8).then_some(())).await;
    let answer = Conn::to(proxy.admin()).await.exchange(&request("/rollback")).await;
    assert_eq!((answer.status(), answer.header("retry-after")), (429, Some("1")));
    assert_eq!(threads(), 8);
    assert_eq!(proxy.ask("/status").await.status(), 200);
    std::fs::rename(&whole, &file).unwrap();
    drop(pipe);
    eventually("changes to be made again", async || (proxy.act("/reload", "").await.0 == 200).then_some(())).await;
    // What waits keeps nobody from ending the process.
    assert_eq!(proxy.act("/drain", "").await.0, 202);
}
