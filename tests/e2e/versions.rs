//! Filters that are loaded, tried out and taken back while the proxy runs.

use std::{collections::BTreeMap, net::SocketAddr};

use serde_json::{Value, json};

use crate::{
    chain::{chain, official},
    guests,
    support::{
        Conn, Proxy, Reply, Upstream,
        load::{Load, Turn},
        process::run,
    },
};

/// One filter `f`, which says that it has seen a response.
fn yaml(upstream: SocketAddr, more: &str) -> String {
    format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [f], cluster: app }}\nfilters:\n  f: {{ module: {:?}{more} }}\nclusters:\n  \
         app: {{ endpoints: ['{upstream}'] }}\n",
        guests::HEADER_FYKE
    )
}

/// The same with a canary that breaks where a request tells it to.
fn with_canary(upstream: SocketAddr, settings: &str) -> String {
    yaml(upstream, &format!(", canary: {{ module: {:?}, config: x, {settings} }}", guests::MISBEHAVE))
}

/// Whether an answer comes through the version that stands.
fn is_stable(answer: &crate::support::Message) -> bool {
    answer.header("x-guest-response") == Some("seen")
}

fn get(id: &str, more: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\nx-request-id: {id}\r\n{more}\r\n")
}

async fn canary(proxy: &Proxy) -> Value {
    proxy.page("/filters").await["f"]["canary"].clone()
}

#[tokio::test]
async fn a_share_of_the_requests_meets_the_canary_and_always_the_same_ones() {
    let upstream = Upstream::says("hi").await;
    let proxy = Proxy::start(with_canary(upstream.address, "percent: 30")).await;
    let mut conn = proxy.connect().await;
    let mut sides = BTreeMap::new();
    for number in 0..400 {
        let id = format!("id-{number}");
        sides.insert(id.clone(), is_stable(&conn.exchange(&get(&id, "")).await));
    }
    let tried = sides.values().filter(|stable| !**stable).count();
    assert!((80..160).contains(&tried), "{tried} of 400 met the canary");
    for (id, stable) in &sides {
        assert_eq!(is_stable(&conn.exchange(&get(id, "")).await), *stable, "{id}");
    }
    proxy.metric_reaches("fyke_filter_streams_total", &[("filter", "f@canary")], 2.0 * tried as f64).await;
    let page = canary(&proxy).await;
    assert_eq!((&page["percent"], &page["trial"]["canary"]["streams"]), (&json!(30.0), &json!(2 * tried)));
    assert_eq!(page["trial"]["stable"]["streams"], json!(2 * (400 - tried)));
}

/// Two of a hundred streams trap. The canary goes by itself, and nobody notices who has not met it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_traps_goes_and_the_others_do_not_notice() {
    let upstream = Upstream::says("hi").await;
    let proxy = Proxy::start(with_canary(upstream.address, "percent: 50, min_streams: 50")).await;
    let mut conn = proxy.connect().await;
    let mut stable = Vec::new();
    let mut tried = Vec::new();
    for number in 0..60 {
        let id = format!("id-{number}");
        if is_stable(&conn.exchange(&get(&id, "")).await) { stable.push(id) } else { tried.push(id) }
    }
    // One bad stream, even of the first few, is no reason.
    assert_eq!(conn.exchange(&get(&tried[0], "x-misbehave: request_headers panic\r\n")).await.status(), 503);
    for id in tried.iter().cycle().take(100) {
        assert_eq!(conn.exchange(&get(id, "")).await.status(), 200);
    }
    assert_eq!(canary(&proxy).await["trial"]["canary"]["failed"], 1);
    let web = proxy.web();
    let mut load = Load::default();
    load.client(async move |turn: Turn| {
        let mut conn = Conn::to(web).await;
        for id in stable.iter().cycle().take_while(|_| turn.goes_on()) {
            let answer = conn.exchange(&get(id, "x-misbehave: request_headers panic\r\n")).await;
            assert!(answer.status() == 200 && is_stable(&answer), "{}", answer.status());
            turn.answered();
        }
    });
    for number in 0.. {
        let id = &tried[number % tried.len()];
        let order = if number % 50 == 0 { "x-misbehave: request_headers panic\r\n" } else { "" };
        if is_stable(&conn.exchange(&get(id, order)).await) {
            break;
        }
        assert!(number < 1_000_000, "it is still there");
    }
    assert!(load.end().await > 0);
    proxy.metric_reaches("fyke_filter_canaries_rolled_back_total", &[("filter", "f")], 1.0).await;
    assert_eq!(canary(&proxy).await, Value::Null);
    let audit = proxy.page("/audit").await;
    let last = audit.as_array().unwrap().last().unwrap();
    assert_eq!((last["who"].as_str(), last["outcome"].as_str()), (Some("canary"), Some("applied")));
    assert!(last["what"].as_str().unwrap().contains("streams met a trap"), "{last:#}");
    proxy.logged(&["the canary was taken back", "met a trap"]).await;
    // It is not tried again until it changes.
    let (_, value) = proxy.act("/reload", "").await;
    assert_eq!(value["outcome"], "unchanged");
}

#[tokio::test]
async fn a_canary_whose_answers_are_errors_goes() {
    let upstream = Upstream::says("hi").await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [r] }}\nfilters:\n  r: {{ module: 'builtin:router', config: {{ routes: [{{ \
         cluster: app }}] }} }}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n",
        upstream.address
    );
    let proxy = Proxy::start(yaml).await;
    let body = json!({ "module": "builtin:router", "config": { "routes": [{ "respond": { "status": 500 } }] } });
    let (status, value) =
        proxy.change("PUT", "/filters/r?canary=50%25&min_streams=20", "application/json", body.to_string()).await;
    assert_eq!(status, 200, "{value:#}");
    let mut conn = proxy.connect().await;
    let mut seen = [0, 0];
    for number in 0..100_000 {
        let answer = conn.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        seen[usize::from(answer.status() == 500)] += 1;
        if number % 100 == 99 && proxy.page("/filters").await["r"]["canary"].is_null() {
            break;
        }
    }
    assert!(seen[1] >= 20 && seen[0] > 0, "{seen:?}");
    proxy.logged(&["the canary was taken back", "of its streams ended in errors"]).await;
}

/// What operators type, one after the other.
#[tokio::test]
async fn filters_change_by_command() {
    let upstream = Upstream::http(|_| Reply::ok("hi")).await;
    let proxy = Proxy::start(yaml(upstream.address, "")).await;
    let (admin, token) = (proxy.admin().to_string(), proxy.path("token").display().to_string());
    let fyke = |arguments: &[&str]| {
        let mut all = vec!["filter"];
        all.extend(arguments);
        all.extend(["--admin", &admin, "--token-file", &token]);
        let ended = run(all);
        (ended.code, ended.stdout, ended.stderr)
    };
    let misbehaves = guests::MISBEHAVE.to_string();
    let seen = async || is_stable(&proxy.get("/").await);
    assert!(seen().await);

    let (code, out, err) = fyke(&["load", "f", &misbehaves, "--dry-run"]);
    assert_eq!((code, out.trim()), (Some(0), "filter f changed"), "{err}");
    assert!(seen().await, "a dry run changes nothing");

    let (code, out, err) = fyke(&["load", "f", &misbehaves]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("generation 2 runs") && out.contains("fyke filter rollback f"), "{out}");
    assert!(!seen().await);
    let (_, out, _) = fyke(&["list"]);
    assert!(out.lines().any(|line| line.starts_with("f ") && line.contains("loaded:")), "{out}");

    // A reload of the same file does not take it away.
    assert_eq!(proxy.act("/reload", "").await.1["outcome"], "unchanged");
    assert_eq!(fyke(&["rollback", "f"]).0, Some(0));
    assert!(seen().await);
    let (code, _, err) = fyke(&["rollback", "f"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("is as the configuration says"), "{err}");

    let (code, out, err) =
        fyke(&["load", "f", &misbehaves, "--canary", "100%", "--rollback-on", "traps=50%,latency=+500%"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("fyke filter promote f"), "{out}");
    assert!(!seen().await);
    assert_eq!(fyke(&["abort", "f"]).0, Some(0));
    assert!(seen().await);
    let (code, _, err) = fyke(&["promote", "f"]);
    assert_eq!((code, err.trim()), (Some(1), "error: filter \"f\" has no canary"));

    assert_eq!(fyke(&["load", "f", &misbehaves, "--canary", "0%"]).0, Some(0));
    assert!(seen().await);
    assert_eq!(fyke(&["promote", "f"]).0, Some(0));
    assert!(!seen().await);
    assert_eq!(proxy.page("/filters").await["f"]["changes"], 4);

    assert_eq!(fyke(&["remove", "f"]).0, Some(0));
    assert_eq!(proxy.page("/filters").await["f"]["listeners"], json!([]));

    // One that the configuration does not have needs a place.
    let (code, _, err) = fyke(&["load", "g", "builtin:headers"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("--listener"), "{err}");
    std::fs::write(proxy.path("g.yaml"), "response: { set: { x-g: 'yes' } }\n").unwrap();
    let config = proxy.path("g.yaml").display().to_string();
    let (code, _, err) = fyke(&["load", "g", "builtin:headers", "--config", &config, "--listener", "web"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(proxy.get("/").await.header("x-g"), Some("yes"));
    assert_eq!(fyke(&["remove", "g"]).0, Some(0));
    assert_eq!(proxy.get("/").await.header("x-g"), None);

    // What the configuration says later counts.
    proxy.rewrite(&yaml(upstream.address, ", environment: { A: b }"));
    assert_eq!(proxy.act("/reload", "").await.1["outcome"], "applied");
    assert!(seen().await);
    let audit = proxy.page("/audit").await;
    let what: Vec<&str> = audit.as_array().unwrap().iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert!(what.contains(&"filter promote f"), "{what:?}");
}

#[tokio::test]
async fn bad_uploads_are_refused_and_what_ran_goes_on() {
    let upstream = Upstream::says("hi").await;
    let proxy = Proxy::start(yaml(upstream.address, "")).await;
    let wasm = "application/wasm";
    let module = std::fs::read(guests::MISBEHAVE).unwrap();
    let put = async |path: &str, kind: &str, body: Vec<u8>| proxy.change("PUT", path, kind, body).await;

    let (status, value) = put("/filters/f", wasm, b"\x7fELF".to_vec()).await;
    assert_eq!((status, value["error"].as_str().unwrap().contains("not a WebAssembly module")), (422, true));
    let (status, value) = put("/filters/f", wasm, b"\0asm\x01\0\0\0\x63".to_vec()).await;
    assert_eq!(status, 422, "{value:#}");
    assert_eq!(put("/filters/f", "application/json", b"{\"wasm\":\"???\"}".to_vec()).await.0, 422);
    assert_eq!(put("/filters/f", "application/json", b"{".to_vec()).await.0, 400);
    assert_eq!(put("/filters/f?canary=lots", wasm, module.clone()).await.0, 400);
    let (status, value) = put("/filters/ff", wasm, module.clone()).await;
    assert_eq!((status, value["error"].as_str().unwrap().contains("did you mean \"f\"")), (404, true), "{value}");
    // Its configuration is refused by the module itself.
    let refuses = json!({ "module": "builtin:router", "config": { "routes": 7 } });
    assert_eq!(put("/filters/f", "application/json", refuses.to_string().into()).await.0, 422);

    // What is announced as too large need not be sent.
    let mut conn = Conn::to(proxy.admin()).await;
    let token = std::fs::read_to_string(proxy.path("token")).unwrap();
    conn.send(format!(
        "PUT /filters/f HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-length: 99999999\r\n\r\n",
        proxy.admin(),
        token.trim()
    ))
    .await;
    assert_eq!(conn.head().await.unwrap().status(), 413);

    let without = format!("PUT /filters/f HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n", proxy.admin());
    assert_eq!(Conn::to(proxy.admin()).await.exchange(&format!("{without}\r\n")).await.status(), 401);
    let foreign = format!("{without}authorization: Bearer {}\r\norigin: http://evil.example\r\n\r\n", token.trim());
    assert_eq!(Conn::to(proxy.admin()).await.exchange(&foreign).await.status(), 403);
    let stale = format!("{without}authorization: Bearer {}\r\nif-match: \"7\"\r\n\r\n", token.trim());
    assert_eq!(Conn::to(proxy.admin()).await.exchange(&stale).await.status(), 412);

    assert!(is_stable(&proxy.get("/").await));
    assert_eq!(proxy.page("/config").await["generation"], 1);
}

#[tokio::test]
async fn what_is_not_granted_is_refused_counted_and_said_once() {
    let upstream = Upstream::says("hi").await;
    let filters = |allow: &str| {
        let steps = "metric official_requests; put mine.own x";
        let f = format!("{{ allow: {{ {allow} }}, module: {:?}, config: {steps:?} }}", guests::OFFICIAL);
        chain(upstream.address, &[("f", f), ("reader", official("properties mine.own", ""))])
    };
    let proxy = Proxy::start(filters("metrics: false, set_properties: false")).await;
    for _ in 0..3 {
        let answer = proxy.get("/").await;
        assert_eq!((answer.status(), answer.header("x-request-mine.own")), (200, None));
    }
    let metrics = proxy.ask("/metrics").await.text();
    assert!(!metrics.contains("official_requests"), "{metrics}");
    let counted = async |capability| {
        proxy.metric("fyke_filter_denied_calls_total", &[("filter", "f"), ("capability", capability)]).await
    };
    assert_eq!(counted("set_properties").await, 3.0);
    assert!(counted("metrics").await >= 1.0);
    assert_eq!(proxy.log_lines(&["set properties refused", "allow: { set_properties: true }"]).len(), 1);

    let granted = Proxy::start(filters("")).await;
    assert_eq!(granted.get("/").await.header("x-request-mine.own"), Some("x"));
    assert!(granted.ask("/metrics").await.text().contains("official_requests"));
}

#[tokio::test]
async fn a_filter_without_the_clock_lives_in_1970() {
    let upstream = Upstream::says("hi").await;
    let filter = format!(
        "{{ limits: {{ call_time: 10s }}, allow: {{ clock: false, shared_data: true }}, module: {:?} }}",
        guests::COST
    );
    let proxy = Proxy::start(chain(upstream.address, &[("f", filter)])).await;
    let answer = proxy.get("/").await;
    assert!(answer.text().contains("header get: 0.0\n"), "no time passes: {}", answer.text());
}
