//! Traces: which spans a request leaves at a collector, and what its upstreams hear.

use opentelemetry_collector::tonic::trace::v1::{span::SpanKind, status::StatusCode};

use crate::collector::{Collector, Told};
use crate::support::{Proxy, Reply, Upstream, eventually, upstream::Refusing};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A proxy that traces, with more of `tracing:`, of the filter, and one route.
fn yaml(collector: std::net::SocketAddr, tracing: &str, filter: &str, route: &str, endpoints: &str) -> String {
    format!(
        "node: {{ id: edge-1, cluster: shop, zone: eu-1a }}\n\
         tracing: {{ otlp: {{ address: '{collector}', delay: 50ms }}{tracing} }}\n\
         listeners:\n  web: {{ address: '127.0.0.1:0', filters: [tracing-context, router, access-log] }}\n\
         filters:\n  tracing-context: {{ module: builtin:tracing-context, config: {{ {filter} }} }}\n  \
         router: {{ module: builtin:router, config: {{ routes: [{{ name: all, cluster: app{route} }}] }} }}\n  \
         access-log: {{ module: builtin:access-log, config: {{ format: json, fields: {{ trace: fyke.trace.id, span: fyke.trace.span_id }} }} }}\n\
         clusters:\n  app: {{ load_balancer: round_robin, endpoints: [{endpoints}] }}\n"
    )
}

#[tokio::test]
async fn a_recorded_request_leaves_a_span_of_its_own_and_one_for_each_attempt() {
    let collector = Collector::new().await;
    let (refusing, good) = (Refusing::new(), Upstream::says("good").await);
    let endpoints = format!("'{}', '{}'", refusing.address, good.address);
    let route = ", retry: { on: [connect-failure], attempts: 2, backoff: { base: 1ms } }";
    let tags = "sample: 100%, tags: { team: { literal: a }, agent: { header: x-agent } }";
    let proxy = Proxy::start(yaml(collector.address, "", tags, route, &endpoints)).await;
    // In turn: one of two requests meets the endpoint that refuses.
    for _ in 0..2 {
        assert_eq!(proxy.get_with("/users/7?q=1", "x-agent: curl\r\n").await.text(), "good");
    }
    // The attempts that reached it are the last spans of their streams.
    let reached = |told: &&Told| told.attribute("server.port") == Some(good.address.port().to_string());
    let told = eventually("both requests", async || {
        Some(collector.seen()).filter(|seen| seen.iter().filter(reached).count() == 2)
    })
    .await;
    let of_kind = |kind: SpanKind| told.iter().filter(move |told| told.span.kind() == kind);
    let servers: Vec<_> = of_kind(SpanKind::Server).collect();
    assert_eq!(servers.len(), 2, "{told:?}");
    for server in &servers {
        let attribute = |key: &str| server.attribute(key).unwrap_or_default();
        assert_eq!(server.span.name, "GET all");
        assert_eq!(server.parent(), "", "it is the root of its trace");
        assert_eq!(
            (attribute("http.request.method"), attribute("url.path")),
            ("GET".to_owned(), "/users/7".to_owned())
        );
        assert_eq!(
            (attribute("http.response.status_code"), attribute("fyke.route")),
            ("200".to_owned(), "all".to_owned())
        );
        assert_eq!((attribute("team"), attribute("agent")), ("a".to_owned(), "curl".to_owned()));
        assert_eq!((attribute("fyke.cluster"), attribute("fyke.listener")), ("app".to_owned(), "web".to_owned()));
        assert_eq!(server.resource["service.name"], "shop");
        assert_eq!(server.resource["service.instance.id"], "edge-1");
        assert!(server.span.end_time_unix_nano >= server.span.start_time_unix_nano);
        proxy.printed(&[&format!("\"trace\":\"{}\"", server.trace()), &format!("\"span\":\"{}\"", server.id())]).await;
    }
    let attempts: Vec<_> = of_kind(SpanKind::Client).collect();
    // Turns go on over attempts: one request or both met the endpoint that refuses first.
    assert!((3..=4).contains(&attempts.len()), "{attempts:?}");
    for attempt in &attempts {
        let server = servers.iter().find(|server| server.trace() == attempt.trace()).unwrap();
        assert_eq!(attempt.parent(), server.id());
        let status = attempt.span.status.clone().unwrap_or_default().code();
        if reached(attempt) {
            assert_eq!(attempt.attribute("http.response.status_code").unwrap(), "200");
            assert_eq!(status, StatusCode::Unset);
        } else {
            assert_eq!(attempt.attribute("error.type").unwrap(), "upstream_connect_failure");
            assert_eq!(status, StatusCode::Error);
        }
    }
    // The endpoint is called from the attempt that reached it.
    for seen in good.seen() {
        let header = seen.header("traceparent").unwrap().to_owned();
        let parts: Vec<_> = header.split('-').collect();
        let attempt = attempts.iter().find(|attempt| attempt.id() == parts[2]).unwrap();
        assert_eq!((parts[1], parts[3]), (&*attempt.trace(), "03"), "sampled, and random");
    }
    let exported = [("signal", "traces"), ("outcome", "exported")];
    proxy.metric_reaches("fyke_export_records_total", &exported, told.len() as f64).await;
}

#[tokio::test]
async fn a_trace_goes_on_and_its_decision_stands() {
    let collector = Collector::new().await;
    let good = Upstream::says("good").await;
    let proxy = Proxy::start(yaml(collector.address, ", sample: 0%", "", "", &format!("'{}'", good.address))).await;
    for flags in ["00", "01"] {
        let header = format!("traceparent: 00-{TRACE}-{PARENT}-{flags}\r\n");
        assert_eq!(proxy.get_with("/", &header).await.text(), "good");
        let told = good.last().header("traceparent").unwrap().to_owned();
        assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with(flags) && !told.contains(PARENT), "{told}");
    }
    let told = collector.gets(2).await;
    assert!(told.iter().all(|told| told.trace() == TRACE), "{told:?}");
    let server = told.iter().find(|told| told.span.kind() == SpanKind::Server).unwrap();
    assert_eq!(server.parent(), PARENT);
    // Nothing is recorded of the one that was not sampled, nor of a request without a trace.
    proxy.get("/").await;
    proxy.get_with("/", &format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n")).await;
    assert_eq!(collector.gets(4).await.len(), 4);
}

#[tokio::test]
async fn a_failure_and_who_made_it_are_told() {
    let collector = Collector::new().await;
    let bad = Upstream::http(|_| Reply::new(503)).await;
    let proxy = Proxy::start(yaml(collector.address, ", sample: 100%", "", "", &format!("'{}'", bad.address))).await;
    assert_eq!(proxy.get("/").await.status(), 503);
    let told = collector.gets(2).await;
    assert!(
        told.iter().all(|told| told.span.status.clone().unwrap_or_default().code() == StatusCode::Error),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_filter_that_holds_a_request_has_a_span() {
    let collector = Collector::new().await;
    let (good, judge) = (Upstream::says("good").await, Upstream::says("yes").await);
    let yaml = yaml(collector.address, ", sample: 100%, filter_threshold: 1us", "", "", &format!("'{}'", good.address))
        .replace("[tracing-context, router,", "[tracing-context, authz, router,")
        .replace(
            "  router:",
            "  authz: { module: builtin:ext-authz, config: { http: { cluster: judge } }, allow: { clusters: [judge] } }\n  router:",
        )
        + &format!("  judge: {{ endpoints: ['{}'] }}\n", judge.address);
    let proxy = Proxy::start(yaml).await;
    assert_eq!(proxy.get("/").await.text(), "good");
    let told = eventually("the filter's span", async || {
        collector.seen().into_iter().find(|told| told.span.name == "filter authz request")
    })
    .await;
    assert_eq!(told.span.kind(), SpanKind::Internal);
    assert_eq!(told.attribute("fyke.filter").unwrap(), "authz");
}

#[tokio::test]
async fn a_collector_that_is_gone_costs_spans_and_nothing_else() {
    let refusing = Refusing::new();
    let good = Upstream::says("good").await;
    let mut proxy =
        Proxy::start(yaml(refusing.address, ", sample: 100%", "", "", &format!("'{}'", good.address))).await;
    for _ in 0..20 {
        assert_eq!(proxy.get("/").await.text(), "good");
    }
    proxy.metric_reaches("fyke_export_requests_total", &[("signal", "traces"), ("outcome", "connect")], 1.0).await;
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
}

#[tokio::test]
async fn what_waits_is_sent_at_the_end_and_a_reload_changes_what_is_sampled() {
    let collector = Collector::new().await;
    let good = Upstream::says("good").await;
    let endpoint = format!("'{}'", good.address);
    let late = |sample: &str| yaml(collector.address, sample, "", "", &endpoint).replace("delay: 50ms", "delay: 10m");
    let mut proxy = Proxy::start(late(", sample: 0%")).await;
    proxy.get("/").await;
    proxy.reload(&late(", sample: 100%")).await;
    proxy.get("/").await;
    assert!(collector.seen().is_empty());
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    assert_eq!(collector.gets(2).await.len(), 2);
}

#[tokio::test]
async fn a_collector_may_be_written_in_many_ways_and_mistakes_are_told() {
    let proxy = |otlp: &str| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("proxy.yaml");
        let yaml = format!(
            "tracing: {{ otlp: {otlp} }}\nlisteners:\n  web: {{ address: '127.0.0.1:0', cluster: c }}\nclusters:\n  c: {{ endpoints: [] }}\n"
        );
        std::fs::write(&file, yaml).unwrap();
        crate::support::process::run(["validate", file.to_str().unwrap()])
    };
    for good in
        ["collector:4317", "{ address: 'http://c:4318', protocol: http, compression: gzip }", "'unix:/run/otel.sock'"]
    {
        assert_eq!(proxy(good).code, Some(0), "{good}");
    }
    for (bad, reason) in [
        ("collector", "has no port"),
        ("'http://user:pw@c:4317'", "no user or password"),
        ("{ address: 'c:4317', tls: {} }", "have no TLS"),
        ("{ address: 'http://c:4317/path' }", "path"),
        ("{ address: 'c:4317', headers: { host: x } }", "host"),
    ] {
        let ended = proxy(bad);
        assert_eq!(ended.code, Some(2), "{bad}");
        assert!(ended.stderr.contains(reason) && ended.stderr.contains("proxy.yaml:1:"), "{}", ended.stderr);
    }
}

/// Certificates are renewed in place: what is written is the same, and what it means is not.
#[tokio::test]
async fn a_renewed_certificate_of_a_collector_is_another_generation() {
    use crate::support::{Launch, tls::Authority};
    let yaml = "tracing: { otlp: { address: 'https://127.0.0.1:1', tls: { ca: ca.pem } } }\nlisteners: { web: { address: '127.0.0.1:0', cluster: app } }\nclusters: { app: { endpoints: ['127.0.0.1:1'] } }\n";
    let mut proxy = Launch::new(yaml).file("ca.pem", Authority::new().pem()).start().await;
    assert_eq!(proxy.reload(yaml).await, 1);
    std::fs::write(proxy.path("ca.pem"), Authority::new().pem()).unwrap();
    assert_eq!(proxy.reload(yaml).await, 2);
    assert_eq!(proxy.reload(yaml).await, 2);
}

#[tokio::test]
async fn what_was_exported_stays_counted_when_the_configuration_changes() {
    let collector = Collector::new().await;
    let upstream = Upstream::says("x").await;
    let endpoints = format!("'{}'", upstream.address);
    // Filters have no spans, whatever the machine does meanwhile.
    let before = yaml(collector.address, ", filter_threshold: 10s", "sample: 100%", "", &endpoints);
    let mut proxy = Proxy::start(before.clone()).await;
    proxy.get("/").await;
    let exported = [("signal", "traces"), ("outcome", "exported")];
    proxy.metric_reaches("fyke_export_records_total", &exported, 2.0).await;
    let after = yaml(collector.address, ", filter_threshold: 20s", "sample: 100%", "", &endpoints);
    assert_eq!(proxy.reload(&after).await, 2);
    assert_eq!(proxy.metric("fyke_export_records_total", &exported).await, 2.0);
    proxy.get("/").await;
    proxy.metric_reaches("fyke_export_records_total", &exported, 4.0).await;
}

/// Nobody has waited for its end: it is told where it went, and why it came to nothing.
#[tokio::test]
async fn an_attempt_that_is_dropped_has_an_endpoint_and_an_error() {
    let collector = Collector::new().await;
    let silent = crate::support::faulty::silent().await;
    let endpoints = format!("'{}'", silent.address);
    let proxy = Proxy::start(yaml(collector.address, "", "sample: 100%", ", timeout: 300ms", &endpoints)).await;
    assert_eq!(proxy.get("/").await.status(), 504);
    let told = eventually("the attempt", async || {
        collector.seen().into_iter().find(|told| told.span.kind() == SpanKind::Client)
    })
    .await;
    assert_eq!(told.attribute("server.port"), Some(silent.address.port().to_string()));
    assert_eq!(told.attribute("error.type").as_deref(), Some("upstream_timeout"));
}

/// The span of a filter that replies is over when it has.
#[tokio::test]
async fn a_filter_that_replies_holds_the_stream_no_longer() {
    let collector = Collector::new().await;
    let upstream = Upstream::says("x").await;
    let endpoints = format!("'{}'", upstream.address);
    let text = yaml(collector.address, ", filter_threshold: 0s", "sample: 100%", "", &endpoints).replace(
        "{ routes: [{ name: all, cluster: app }] }",
        "{ routes: [{ name: all, respond: { status: 200, body: hello } }] }",
    );
    let proxy = Proxy::start(text).await;
    assert_eq!(proxy.get("/").await.text(), "hello");
    let told = eventually("the router's span", async || {
        let seen = collector.seen();
        let of = |name: &str| seen.iter().find(|told| told.span.name == name).map(|told| told.span.clone());
        Some((of("GET all").or_else(|| of("GET"))?, of("filter router request")?))
    })
    .await;
    assert!(told.1.end_time_unix_nano < told.0.end_time_unix_nano, "{told:?}");
}
