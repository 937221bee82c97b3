//! What happens, as it happens: events, rates, the tap.

use serde_json::Value;

use crate::chain::{chain, misbehave, official};
use crate::support::{Conn, Launch, Proxy, Reply, Upstream, eventually, soon, tls::Authority};

/// Server-sent events of the admin endpoint.
struct Stream {
    conn: Conn,
    /// Without the framing of chunks.
    text: String,
}

impl Stream {
    /// With the token.
    async fn open(proxy: &Proxy, path: &str, headers: &str) -> Self {
        let token = std::fs::read_to_string(proxy.path("token")).unwrap();
        let mut conn = Conn::to(proxy.admin()).await;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n{headers}\r\n",
            proxy.admin(),
            token.trim()
        );
        conn.send(request).await;
        let mut stream = Self { conn, text: String::new() };
        stream.until(|text| text.contains("\r\n\r\n")).await;
        assert!(
            stream.text.starts_with("HTTP/1.1 200") && stream.text.contains("text/event-stream"),
            "{}",
            stream.text
        );
        // The comment at the beginning: from here on it is told what happens.
        stream.until(|text| text.contains("\n: ")).await;
        stream
    }

    async fn until(&mut self, found: impl Fn(&str) -> bool) {
        while !found(&self.text) {
            let bytes = soon("more of the stream", self.conn.some()).await;
            assert!(!bytes.is_empty(), "the stream has ended: {}", self.text);
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    /// The data of the next event of this kind, and its id.
    async fn next(&mut self, kind: &str) -> (Value, Option<u64>) {
        let head = format!("event: {kind}\n");
        self.until(|text| text.find(&head).is_some_and(|at| text[at..].contains("\n\n"))).await;
        let at = self.text.find(&head).unwrap();
        let end = at + self.text[at..].find("\n\n").unwrap();
        let event = self.text[at..end].to_owned();
        self.text.drain(..end);
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
        (serde_json::from_str(field("data: ").unwrap()).unwrap(), field("id: ").map(|id| id.parse().unwrap()))
    }
}

#[tokio::test]
async fn what_happens_is_told_and_told_again_to_who_missed_it() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut stream = Stream::open(&proxy, "/v1/events", "").await;
    proxy.metric_reaches("fyke_admin_streams_open", &[("stream", "events")], 1.0).await;
    let wish = r#"{ "target": "fyke::x", "level": "debug", "for": "1m" }"#;
    assert_eq!(proxy.change("POST", "/v1/logging", "application/json", wish).await.0, 200);
    let (event, id) = stream.next("log_level").await;
    assert_eq!((&event["subject"], event["id"].as_u64()), (&"fyke::x".into(), id), "{event}");
    proxy.rewrite("listeners: {");
    assert_eq!(proxy.act("/reload", "").await.0, 422);
    let (refused, last) = stream.next("reload_refused").await;
    assert_eq!((&refused["level"], &refused["fields"]["what"]), (&"error".into(), &"reload".into()), "{refused}");
    drop(stream);
    eventually("the stream to be gone", async || {
        (proxy.metric("fyke_admin_streams_open", &[("stream", "events")]).await == 0.0).then_some(())
    })
    .await;
    // Whoever comes back hears of what was meanwhile, and of nothing twice.
    let mut again = Stream::open(&proxy, "/v1/events", &format!("last-event-id: {}\r\n", id.unwrap())).await;
    assert_eq!(again.next("reload_refused").await.1, last);
    assert!(!again.text.contains("log_level"));
    let list = proxy.page("/v1/events?format=json&kind=reload_refused,started").await;
    let kinds: Vec<&str> =
        list["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["started", "reload_refused"], "{list}");
    assert_eq!(proxy.ask("/v1/events?kind=nothing").await.status(), 400);
    let status = proxy.command(&["status"]);
    assert!(status.code == Some(3) && status.stdout.contains("NOT HEALTHY"), "{}{}", status.stdout, status.stderr);
    assert!(status.stdout.contains("the last change (reload) was refused"), "{}", status.stdout);
}

#[tokio::test]
async fn rates_are_those_of_the_last_second() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::start(chain(upstream.address, &[("f", official("tag a", ""))])).await;
    let mut stream = Stream::open(&proxy, "/v1/live?part=listeners,filters,endpoints", "").await;
    eventually("rates of traffic", async || {
        for _ in 0..5 {
            proxy.get("/").await;
        }
        let (rates, _) = stream.next("rates").await;
        assert!(rates.get("workers").is_none());
        let [web, filter] = [&rates["listeners"]["web"], &rates["filters"]["f"]];
        let seen = web["requests"].as_f64().unwrap() > 0.0 && filter["streams"].as_f64().unwrap() > 0.0;
        (seen && web["p50"].is_f64() && rates["endpoints"][0]["health"] == "healthy").then_some(())
    })
    .await;
    let top = proxy.command(&["top", "--once"]);
    assert_eq!(top.code, Some(0), "{}", top.stderr);
    for words in ["LISTENERS\nLISTENER", "\nweb ", "ENDPOINTS\nENDPOINT", &upstream.address.to_string(), "WORKERS\n"] {
        assert!(top.stdout.contains(words), "{words}: {}", top.stdout);
    }
    let top = proxy.command(&["top", "--output", "json"]);
    assert!(serde_json::from_str::<Value>(&top.stdout).unwrap()["clusters"]["app"].is_object(), "{}", top.stdout);
}

#[tokio::test]
async fn the_tap_shows_what_fits_and_what_filters_did_and_no_credentials() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::start(chain(upstream.address, &[("f", official("tag a", ""))])).await;
    // It shows what users send, so it is nobody's without the token.
    assert_eq!(proxy.ask("/v1/tap").await.status(), 401);
    let mut stream =
        Stream::open(&proxy, "/v1/tap?path_prefix=/wanted&header=x-user:alice&status=2xx&limit=2", "").await;
    proxy.get_with("/other", "x-user: alice\r\n").await;
    proxy.get_with("/wanted/1", "x-user: bob\r\n").await;
    proxy.get_with("/wanted/2?token=s3cret", "x-user: alice\r\nauthorization: Bearer s3cret\r\n").await;
    let (seen, _) = stream.next("request").await;
    assert_eq!(
        (&seen["path"], &seen["status"], &seen["listener"]),
        (&"/wanted/2?token=***".into(), &200.into(), &"web".into())
    );
    assert_eq!(seen["upstream"], upstream.address.to_string(), "{seen}");
    assert_eq!(seen["filters"][0]["filter"], "f", "{seen}");
    assert!(seen["filters"][0]["notes"].as_array().is_some_and(|notes| !notes.is_empty()), "{seen}");
    proxy.get_with("/wanted/3", "x-user: alice\r\n").await;
    assert_eq!(stream.next("request").await.0["path"], "/wanted/3");
    assert!(!stream.text.contains("s3cret"));
    // The second was the last one; from here on nobody looks.
    eventually("the stream to end", async || {
        (proxy.metric("fyke_admin_streams_open", &[("stream", "tap")]).await == 0.0).then_some(())
    })
    .await;
}

/// A filter that has waited for an answer replies outside of every call that the tap looks at.
#[tokio::test]
async fn the_tap_shows_who_replied_after_a_wait() {
    let (upstream, authz) = (Upstream::says("x").await, Upstream::http(|_| Reply::new(403)).await);
    let filter = "{ module: 'builtin:ext-authz', allow: { clusters: [authz] }, config: { http: { cluster: authz } } }";
    let clusters = format!("  authz: {{ endpoints: ['{}'] }}\n", authz.address);
    let proxy = Proxy::start(chain(upstream.address, &[("ask", filter.to_owned())]) + &clusters).await;
    let mut stream = Stream::open(&proxy, "/v1/tap", "").await;
    assert_eq!(proxy.get("/").await.status(), 403);
    let (seen, _) = stream.next("request").await;
    let notes = seen["filters"][0]["notes"].as_array().unwrap();
    assert!(notes.iter().any(|note| note.as_str().is_some_and(|note| note.starts_with("replied 403"))), "{seen}");
}

#[tokio::test]
async fn a_listener_without_filters_can_be_tapped_on_the_command_line() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::plain(upstream.address).await;
    let words: Vec<String> = ["tap", "--limit", "1", "--path-prefix", "/seen"].map(str::to_owned).to_vec();
    let options = proxy.admin_options();
    let tapped = tokio::task::spawn_blocking(move || crate::support::process::run(words.into_iter().chain(options)));
    proxy.metric_reaches("fyke_admin_streams_open", &[("stream", "tap")], 1.0).await;
    // The watch begins a moment after the stream.
    eventually("the command to end", async || {
        proxy.get("/seen/by/tap").await;
        tapped.is_finished().then_some(())
    })
    .await;
    let ended = tapped.await.unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let address = upstream.address;
    assert!(
        ended.stdout.contains("GET /seen/by/tap 200 in ")
            && ended.stdout.contains(&format!("[web -> app -> {address}]")),
        "{}",
        ended.stdout
    );
}

#[tokio::test]
async fn there_are_only_so_many_streams() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(Stream::open(&proxy, "/v1/events", "").await);
    }
    let refused = proxy.ask("/v1/events").await;
    assert_eq!((refused.status(), refused.header("retry-after")), (429, Some("1")));
    open.pop();
    eventually("room for another one", async || {
        let status = proxy.ask("/v1/live?format=json").await.status();
        assert_eq!(status, 200, "what does not last is answered");
        (proxy.metric("fyke_admin_streams_open", &[("stream", "events")]).await < 16.0).then_some(())
    })
    .await;
    Stream::open(&proxy, "/v1/events", "").await;
}

#[tokio::test]
async fn a_trap_and_an_expired_certificate_are_events() {
    let upstream = Upstream::says("x").await;
    let own = Authority::new().issue_expired("old.example");
    let yaml = chain(upstream.address, &[("bad", misbehave("", ""))]);
    let yaml = yaml.replace(
        "listeners:\n",
        "listeners:\n  old: { address: '127.0.0.1:0', cluster: app, tls: { certificates: [{ certificate: c.pem, key: k.pem }] } }\n",
    );
    let proxy = Launch::new(yaml).file("c.pem", &own.pem).file("k.pem", &own.key).start().await;
    for _ in 0..3 {
        proxy.get_with("/", "x-misbehave: request_headers trap\r\n").await;
    }
    let list = eventually("both events", async || {
        let list = proxy.page("/v1/events?format=json&kind=trap,certificate_expires").await;
        (list["events"].as_array().unwrap().len() >= 2).then_some(list)
    })
    .await;
    let of = |kind: &str| list["events"].as_array().unwrap().iter().find(|event| event["kind"] == kind).unwrap();
    let trap = of("trap");
    assert_eq!((&trap["subject"], &trap["fields"]["reason"]), (&"bad".into(), &"unreachable".into()), "{list}");
    let expired = of("certificate_expires");
    assert!(expired["subject"] == "old" && expired["message"].as_str().unwrap().contains("has expired"), "{list}");
    let status = proxy.page("/v1/status").await;
    assert_eq!(status["trouble"][0]["filter"], "bad", "{status}");
}
