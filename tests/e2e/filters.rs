//! Chains of filters: order, what they may change, and what they may use.

use crate::chain::{chain, official};
use crate::{
    guests,
    support::{Launch, Proxy, Reply, Upstream, eventually, h2},
};

#[tokio::test]
async fn requests_meet_the_outermost_filter_first_and_responses_last() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::start(chain(
        upstream.address,
        &[("a", official("tag a", "")), ("b", official("tag b", "")), ("c", official("tag c", ""))],
    ))
    .await;
    let answer = proxy.get("/").await;
    assert_eq!(upstream.last().all("x-chain"), ["a", "b", "c"]);
    assert_eq!(answer.all("x-chain"), ["c", "b", "a"]);
}

#[tokio::test]
async fn an_official_sdk_filter_works_in_a_chain_with_the_builtin_ones() {
    let upstream = Upstream::http(|_| Reply::ok("hello")).await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [request-id, access-log, router, header, official] }}\n\
         filters:\n  \
           request-id: {{ module: builtin:request-id, config: {{ response: true }} }}\n  \
           access-log: {{ module: builtin:access-log, config: {{ sink: log, format: json, fields: {{ id: request.headers.x-request-id, route: route_name, guest: request.headers.x-guest-request, chain: response.headers.x-chain, status: response.code }} }} }}\n  \
           router: {{ module: builtin:router, config: {{ routes: [{{ name: main, cluster: app, rewrite: {{ path: /rewritten }} }}] }} }}\n  \
           header: {{ module: {:?} }}\n  \
           official: {}\n\
         sinks:\n  log: {{ file: access.log }}\n\
         clusters:\n  app: {{ endpoints: ['{}'] }}\n",
        guests::HEADER,
        official("tag guest; upper; log done", ""),
        upstream.address
    );
    let proxy = Proxy::start(yaml).await;
    let mut client = proxy.connect().await;
    let answer = client.exchange("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody").await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, "HELLO"));
    assert_eq!((answer.header("x-guest-response"), answer.header("x-chain")), (Some("seen"), Some("guest")));
    let seen = upstream.last();
    assert_eq!((seen.path(), seen.text().as_str()), ("/rewritten", "BODY"));
    assert_eq!((seen.header("x-guest-request"), seen.header("x-chain")), (Some("seen"), Some("guest")));
    let id = seen.header("x-request-id").unwrap();
    assert_eq!(answer.header("x-request-id"), Some(id));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    let record: serde_json::Value = serde_json::from_str(&proxy.written("access.log", &["main"]).await).unwrap();
    assert_eq!(
        record,
        serde_json::json!({ "id": id, "route": "main", "guest": "seen", "chain": "guest", "status": 200 })
    );
    proxy.logged(&["done /rewritten 200", "official"]).await;
}

/// Envoy's `request.size` is what the client sent, `response.size` what it got.
#[tokio::test]
async fn sizes_are_those_of_what_the_client_sent_and_got() {
    let upstream =
        Upstream::http(|_| Reply::ok(r#"{"user":"alice","password":"x"}"#).header("content-type", "application/json"))
            .await;
    for (filters, answer) in [
        ("log", r#"{"user":"alice","password":"x"}"#),
        ("log, less", r#"{"user":"alice"}"#),
        ("log, less, no", "teapot"),
    ] {
        let yaml = format!(
            "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [{filters}], cluster: app }}\n\
             filters:\n  \
               log: {{ module: builtin:access-log, config: {{ sink: log, format: json, fields: {{ asked: request.size, answered: response.size }} }} }}\n  \
               less: {{ module: builtin:body-transform, config: {{ request: {{ remove: [secret] }}, response: {{ remove: [password] }} }} }}\n  \
               no: {}\n\
             sinks:\n  log: {{ file: access.log }}\n\
             clusters:\n  app: {{ endpoints: ['{}'] }}\n",
            official("respond 418 teapot", ""),
            upstream.address
        );
        let proxy = Proxy::start(yaml).await;
        let body = r#"{"a":1,"secret":"y"}"#;
        let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n";
        let answered = proxy.connect().await.exchange(&format!("{head}{body}")).await;
        assert_eq!(answered.text(), answer);
        let record: serde_json::Value = serde_json::from_str(&proxy.written("access.log", &["asked"]).await).unwrap();
        assert_eq!(record, serde_json::json!({ "asked": body.len(), "answered": answer.len() }), "{filters}");
    }
}

#[tokio::test]
async fn a_local_reply_passes_the_filters_outside_of_it_and_no_upstream() {
    let upstream = Upstream::says("x").await;
    let filters = [
        ("outer", official("tag outer", "")),
        ("replier", official("respond 418 teapot", "")),
        ("inner", official("tag inner", "")),
    ];
    let proxy = Proxy::start(chain(upstream.address, &filters)).await;
    let mut client = proxy.connect().await;
    for _ in 0..2 {
        let answer = client.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(
            (answer.status(), answer.text().as_str(), answer.header("x-replied-by")),
            (418, "teapot", Some("respond"))
        );
        assert_eq!(answer.all("x-chain"), ["outer"]);
        assert_eq!(answer.all("content-length"), ["6"], "the host frames what it sends");
    }
    assert_eq!(upstream.seen().len(), 0);
    assert_eq!(proxy.metric("fyke_filter_local_replies_total", &[("filter", "replier")]).await, 2.0);
}

#[tokio::test]
async fn a_filter_can_answer_in_the_upstreams_place() {
    let upstream = Upstream::says("a long answer from upstream").await;
    let filters = [("outer", official("tag outer", "")), ("replier", official("replace 503 sorry", ""))];
    let proxy = Proxy::start(chain(upstream.address, &filters)).await;
    for _ in 0..3 {
        let answer = proxy.get("/").await;
        assert_eq!((answer.status(), answer.text().as_str(), answer.all("x-chain")), (503, "sorry", vec!["outer"]));
    }
    assert_eq!(upstream.seen().len(), 3);
}

#[tokio::test]
async fn bodies_can_be_changed_chunk_by_chunk_or_whole() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        while let Some(request) = conn.request().await {
            recorder.saw(&request);
            conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n").await;
        }
    })
    .await;
    for (step, there, back) in [("upper", "ABCDEF", "ONETWO"), ("double", "abcdefabcdef", "onetwoonetwo")] {
        let proxy = Proxy::start(chain(upstream.address, &[("f", official(step, ""))])).await;
        for framing in
            ["content-length: 6\r\n\r\nabcdef", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"]
        {
            let mut client = proxy.connect().await;
            let answer = client.exchange(&format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}")).await;
            assert_eq!((upstream.last().text().as_str(), answer.text().as_str()), (there, back), "{step}, {framing:?}");
        }
    }
}

#[tokio::test]
async fn trailers_pass_through_filters_that_add_to_them() {
    let upstream = h2::Upstream::echo().await;
    let yaml = chain(upstream.address, &[("f", official("trailers; upper", ""))])
        .replace("endpoints", "protocol: http2, endpoints");
    let proxy = Proxy::start(yaml).await;
    let mut client = h2::Client::to(proxy.web()).await;
    let (response, mut body) = client.begin(h2::request("POST", "/"), false).await;
    h2::push(&mut body, "hello", false).await;
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-client", http::HeaderValue::from_static("1"));
    body.send_trailers(trailers).unwrap();
    let answer = h2::whole(response).await.unwrap();
    let trailers = answer.trailers.unwrap();
    assert_eq!(answer.body, b"HELLO");
    // The request's trailers had one field and got another; the echo sends both back beside its own, and the guest counts them.
    assert_eq!(trailers.get_all("x-guest-trailer").iter().collect::<Vec<_>>(), ["1", "3"]);
    assert_eq!(
        (&trailers["x-client"], &trailers["grpc-status"]),
        (&http::HeaderValue::from_static("1"), &http::HeaderValue::from_static("0"))
    );
}

#[tokio::test]
async fn only_the_callbacks_that_are_wanted_are_called() {
    let upstream = Upstream::says("quiet").await;
    let steps = "tag t; upper; log ended";
    let proxy = Proxy::start(chain(
        upstream.address,
        &[("f", official(steps, "callbacks: [request_headers, response_body], "))],
    ))
    .await;
    let mut client = proxy.connect().await;
    let answer = client.exchange("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc").await;
    let seen = upstream.last();
    assert_eq!(
        (seen.text().as_str(), seen.header("x-chain")),
        ("abc", Some("t")),
        "request_headers is called, request_body is not"
    );
    assert_eq!(
        (answer.text().as_str(), answer.header("x-chain")),
        ("QUIET", None),
        "response_body is called, response_headers is not"
    );
    proxy.metric_reaches("fyke_listener_requests_total", &[("class", "2xx")], 1.0).await;
    assert!(!proxy.has_logged(&["ended"]), "log was called");
}

#[tokio::test]
async fn set_property_chooses_the_cluster() {
    let (app, other) = (Upstream::says("app").await, Upstream::says("other").await);
    let yaml = chain(app.address, &[("f", official("cluster other", ""))])
        + &format!("  other: {{ endpoints: ['{}'] }}\n", other.address);
    assert_eq!(Proxy::start(yaml).await.get("/").await.text(), "other");
    let nowhere = Proxy::start(chain(app.address, &[("f", official("cluster nowhere", ""))])).await.get("/").await;
    assert_eq!((nowhere.status(), nowhere.text().contains("cluster_not_found")), (503, true), "{nowhere:?}");
}

#[tokio::test]
async fn properties_tell_about_the_stream() {
    let upstream = Upstream::says("x").await;
    let list = "request.path,request.method,request.host,request.scheme,request.query,request.headers.x-a,source.address,destination.port,response.code,response.code_details,upstream.address,cluster_name,plugin_name,request.protocol,mine.own,node.id";
    let filters =
        [("setter", official("put mine.own value", "")), ("reader", official(&format!("properties {list}"), ""))];
    let proxy = Proxy::start(format!("node: {{ id: me }}\n{}", chain(upstream.address, &filters))).await;
    let answer = proxy.get_with("/p?q=1", "x-a: 1\r\nx-a: 2\r\n").await;
    for (name, value) in [
        ("request-request.path", "/p?q=1"),
        ("request-request.method", "GET"),
        ("request-request.host", "test.example"),
        ("request-request.scheme", "http"),
        ("request-request.query", "q=1"),
        ("request-request.headers.x-a", "1,2"),
        ("request-request.protocol", "HTTP/1.1"),
        ("request-plugin_name", "reader"),
        ("request-mine.own", "value"),
        ("request-node.id", "me"),
        ("response-response.code_details", "via_upstream"),
        ("response-upstream.address", &upstream.address.to_string()),
        ("response-cluster_name", "app"),
    ] {
        assert_eq!(answer.header(&format!("x-{name}")), Some(value), "{name}");
    }
    assert!(answer.header("x-request-source.address").unwrap().starts_with("127.0.0.1:"));
    assert_eq!(answer.header("x-request-response.code"), None, "there is no response yet");
}

#[tokio::test]
async fn shared_data_counts_across_workers() {
    let upstream = Upstream::says("x").await;
    let proxy = Launch::new(chain(upstream.address, &[("f", official("count visits", ""))])).workers(2).start().await;
    let mut counts = Vec::new();
    for _ in 0..40 {
        counts.push(proxy.get("/").await.header("x-count").unwrap().parse::<usize>().unwrap());
    }
    counts.sort_unstable();
    assert_eq!(counts, (1..=40).collect::<Vec<_>>());
    for worker in ["0", "1"] {
        assert!(
            proxy.metric("fyke_worker_streams_total", &[("worker", worker)]).await > 0.0,
            "worker {worker} had no stream"
        );
    }
}

#[tokio::test]
async fn metrics_and_ticks_of_filters_are_exposed() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::start(chain(upstream.address, &[("f", official("metric visits; tick heartbeats", ""))])).await;
    for _ in 0..3 {
        proxy.get("/").await;
    }
    let value = |text: &str, word: &str| -> f64 {
        text.lines()
            .filter(|line| !line.starts_with('#') && line.contains(word))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    };
    eventually("ticks without any request", async || {
        (value(&proxy.ask("/metrics").await.text(), "heartbeats") >= 3.0).then_some(())
    })
    .await;
    assert_eq!(value(&proxy.ask("/metrics").await.text(), "visits"), 3.0);
}

#[tokio::test]
async fn shared_data_is_not_granted_by_default() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::start(chain(
        upstream.address,
        &[("f", format!("{{ module: {:?}, config: count visits }}", guests::OFFICIAL))],
    ))
    .await;
    assert_eq!(proxy.get("/").await.status(), 503);
    proxy.logged(&["shared data refused", "allow: { shared_data: true }", "\"filter\":\"f\""]).await;
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn a_filter_of_whole_bodies_needs_no_setting() {
    let upstream = Upstream::echo().await;
    let whole = format!("{{ module: {:?}, config: {{}} }}", guests::WHOLE);
    let proxy = Proxy::start(chain(upstream.address, &[("whole", whole)])).await;
    let mut client = proxy.connect().await;
    for framing in [
        "content-length: 10\r\n\r\n0123456789",
        "transfer-encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n",
    ] {
        let answer = client.exchange(&format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}")).await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "9876543210"));
        assert_eq!((upstream.last().header("x-length"), answer.header("x-length")), (Some("10"), Some("10")));
    }
}

#[tokio::test]
async fn claims_of_a_trusted_proxy_are_kept_and_those_of_a_client_are_not() {
    let upstream = Upstream::says("x").await;
    for (hops, sent_for, sent_proto) in [(0, "127.0.0.1", "http"), (1, "6.6.6.6, 127.0.0.1", "https")] {
        let filter = format!("{{ module: 'builtin:request-id', config: {{ trusted_hops: {hops} }} }}");
        let proxy = Proxy::start(chain(upstream.address, &[("request-id", filter)])).await;
        let claims = "x-forwarded-for: 6.6.6.6\r\nx-forwarded-proto: https\r\nx-request-id: abc\r\n";
        assert_eq!(proxy.get_with("/", claims).await.status(), 200);
        let seen = upstream.last();
        assert_eq!(seen.all("x-forwarded-for"), [sent_for]);
        assert_eq!((seen.header("x-forwarded-proto"), seen.header("x-request-id")), (Some(sent_proto), Some("abc")));
    }
}

#[tokio::test]
async fn compiled_modules_are_kept_for_the_next_start() {
    let upstream = Upstream::says("x").await;
    let state = tempfile::tempdir().unwrap();
    std::fs::set_permissions(state.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let file = state.path().join("proxy.yaml");
    let config = chain(upstream.address, &[("f", official("tag a", ""))]);
    std::fs::write(&file, format!("state: {:?}\n{config}", state.path())).unwrap();
    let modules = || {
        let folder = std::fs::read_dir(state.path().join("modules")).unwrap();
        let mut found: Vec<_> = folder
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name(), entry.metadata().unwrap().modified().unwrap()))
            .collect();
        found.sort();
        found
    };
    assert_eq!(crate::support::process::run(["validate".as_ref(), file.as_os_str()]).code, Some(0));
    let first = modules();
    assert!(!first.is_empty());
    assert_eq!(crate::support::process::run(["validate".as_ref(), file.as_os_str()]).code, Some(0));
    assert_eq!(modules(), first, "nothing was compiled again");
}

#[tokio::test]
async fn entries_of_a_queue_reach_whoever_registered_it_on_whatever_worker() {
    let upstream = Upstream::http(|request| Reply::ok(request.header("x-queue").unwrap_or("-"))).await;
    let filters = [("jobs", official("listen work", "")), ("sender", official("enqueue jobs work", ""))];
    let proxy = Launch::new(chain(upstream.address, &filters)).workers(2).start().await;
    for path in ["/one", "/two", "/three"] {
        assert_eq!(proxy.get(path).await.text(), "done");
        proxy.logged(&[&format!("dequeued {path}"), "jobs"]).await;
    }
    let filters =
        [("jobs", official("listen work; enqueue - work", "")), ("sender", official("enqueue other work", ""))];
    let proxy = Launch::new(chain(upstream.address, &filters)).workers(2).start().await;
    assert_eq!(proxy.get("/own").await.text(), "unknown", "the second filter finds none of that VM");
    proxy.logged(&["dequeued /own"]).await;
}

#[tokio::test]
async fn queues_are_granted_with_shared_data() {
    let upstream = Upstream::http(|request| Reply::ok(request.header("x-queue").unwrap_or("-"))).await;
    let sender = official("enqueue jobs work", "").replace("shared_data: true", "shared_data: false");
    let proxy =
        Proxy::start(chain(upstream.address, &[("jobs", official("listen work", "")), ("sender", sender)])).await;
    assert_eq!(proxy.get("/").await.text(), "unknown");
    proxy.logged(&["queues refused", "sender"]).await;
}

#[tokio::test]
async fn what_hostcalls_cost_can_be_measured_from_inside() {
    let upstream = Upstream::says("x").await;
    let cost =
        format!("{{ module: {:?}, allow: {{ shared_data: true }}, limits: {{ call_time: 10s }} }}", guests::COST);
    let proxy = Proxy::start(chain(upstream.address, &[("cost", cost)])).await;
    let text = proxy.get("/").await.text();
    let nanoseconds: Vec<f64> = text.lines().map(|line| line.split_once(": ").unwrap().1.parse().unwrap()).collect();
    assert_eq!(nanoseconds.len(), 8, "{text}");
    assert!(nanoseconds.iter().all(|each| *each > 0.0), "{text}");
}
