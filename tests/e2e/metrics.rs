//! Metrics as they leave the proxy: by StatsD, by OTLP, and in the format that a scraper asks for.

use std::net::UdpSocket;

use fyke_peers::StatsdServer;
use opentelemetry_collector::tonic::{
    common::v1::any_value,
    metrics::v1::{metric::Data, number_data_point},
};
use serde_json::json;

use crate::{
    collector::{Collector, attributes},
    support::{Conn, Message, Proxy, Upstream, eventually, long},
};

/// Lines that a StatsD server got.
struct Statsd {
    socket: UdpSocket,
    lines: Vec<String>,
}

impl Statsd {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, lines: Vec::new() }
    }

    /// The sum of what was counted in lines that begin so, of what has come so far.
    fn counted(&mut self, name: &str, tags: &str) -> f64 {
        let mut datagram = [0; 65_536];
        while let Ok(length) = self.socket.recv(&mut datagram) {
            let text = str::from_utf8(&datagram[..length]).unwrap();
            assert!(!text.ends_with('\n'), "no line is empty");
            self.lines.extend(text.lines().map(str::to_owned));
        }
        let wanted = |line: &&String| line.starts_with(&format!("{name}:")) && line.ends_with(tags);
        let count = |line: &String| line[name.len() + 1..].split('|').next().unwrap().parse::<f64>().unwrap();
        self.lines.iter().filter(wanted).map(count).sum()
    }
}

fn yaml(metrics: &str, upstream: std::net::SocketAddr) -> String {
    format!(
        "node: {{ id: edge-1, cluster: shop }}\nmetrics: {{ {metrics} }}\n\
         listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app }}\nclusters:\n  app: {{ endpoints: ['{upstream}'] }}\n"
    )
}

/// Reads the metrics, with header lines that each end with CRLF.
async fn scrape(admin: std::net::SocketAddr, headers: &str) -> Message {
    let mut conn = Conn::to(admin).await;
    conn.send(&format!("GET /metrics HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n{headers}\r\n")).await;
    conn.response("GET").await
}

const REQUESTS: &str = "fyke_listener_requests_total";

#[tokio::test]
async fn a_statsd_server_is_told_what_was_counted_since_the_last_time() {
    let upstream = Upstream::says("a").await;
    let (mut plain, mut dog) = (Statsd::new(), Statsd::new());
    let to = |server: &Statsd| server.socket.local_addr().unwrap();
    let mut proxy = Proxy::start(yaml(&format!("interval: 100ms, statsd: '{}'", to(&plain)), upstream.address)).await;
    // What was counted before the first reading is not told: count until something is.
    eventually("a counter with its labels in its name", async || {
        proxy.get("/").await;
        Some(()).filter(|()| plain.counted("fyke.listener_requests_total.class.2xx.listener.web", "|c") > 0.0)
    })
    .await;
    let all = upstream.seen().len() as f64;
    proxy.metric_reaches("fyke_export_records_total", &[("signal", "statsd"), ("outcome", "exported")], 1.0).await;
    assert!(plain.counted("fyke.listener_requests_total.class.2xx.listener.web", "|c") <= all);
    // Another dialect is another exporter: with tags, and a distribution for the durations.
    let address = to(&dog);
    let metrics = format!("interval: 100ms, statsd: {{ address: '{address}', dialect: dogstatsd, prefix: edge }}");
    proxy.reload(&yaml(&metrics, upstream.address)).await;
    eventually("a counter with tags", async || {
        proxy.get("/").await;
        Some(()).filter(|()| dog.counted("edge.listener_requests_total", "|c|#class:2xx,listener:web") > 0.0)
    })
    .await;
    let duration = |line: &String| line.starts_with("edge.listener_request_duration_seconds:") && line.contains("|d|");
    assert!(dog.lines.iter().any(duration), "{:?}", dog.lines);
    assert!(dog.lines.iter().all(|line| line.starts_with("edge.")), "{:?}", dog.lines);
}

#[tokio::test]
async fn the_reference_server_of_statsd_understands_every_line() {
    let Some(server) = StatsdServer::start() else { return };
    let upstream = Upstream::says("a").await;
    let statsd = format!("interval: 100ms, statsd: '127.0.0.1:{}'", server.port);
    let proxy = Proxy::start(yaml(&statsd, upstream.address)).await;
    let (mut counted, mut is_timed) = (0.0, false);
    eventually("requests and how long they took", async || {
        proxy.get("/").await;
        for understood in server.understood() {
            let counters = &understood["counters"];
            assert_eq!(counters["statsd.bad_lines_seen"], json!(0), "{understood}");
            counted += counters["fyke.listener_requests_total.class.2xx.listener.web"].as_f64().unwrap_or(0.0);
            let median = &understood["gauges"]["fyke.listener_request_duration_seconds.listener.web.p50"];
            is_timed |= median.as_f64().is_some_and(|seconds| seconds > 0.0);
        }
        (counted > 0.0 && is_timed).then_some(())
    })
    .await;
    assert!(counted <= upstream.seen().len() as f64, "{counted}");
}

#[tokio::test]
async fn a_collector_is_told_of_every_series() {
    let collector = Collector::new().await;
    let upstream = Upstream::says("a").await;
    let metrics = format!("interval: 100ms, otlp: '{}'", collector.address);
    let proxy = Proxy::start(yaml(&metrics, upstream.address)).await;
    for _ in 0..3 {
        proxy.get("/").await;
    }
    let sum = eventually("three requests", async || {
        let Some(Data::Sum(sum)) = collector.metric(REQUESTS)?.data else { panic!("no sum") };
        let of = |class: &str| {
            sum.data_points.iter().find(|point| attributes(&point.attributes).get("class").is_some_and(|c| c == class))
        };
        Some(sum.clone()).filter(|_| {
            of("2xx").is_some_and(|point| {
                point.value == Some(number_data_point::Value::AsInt(3)) && point.start_time_unix_nano > 0
            })
        })
    })
    .await;
    assert!(sum.is_monotonic);
    let Some(Data::Histogram(durations)) = collector.metric("fyke_listener_request_duration_seconds").unwrap().data
    else {
        panic!("no histogram")
    };
    let point = &durations.data_points[0];
    assert_eq!((point.count, point.bucket_counts.iter().sum::<u64>()), (3, 3));
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    let Some(Data::Gauge(generation)) = collector.metric("fyke_process_generation").unwrap().data else {
        panic!("no gauge")
    };
    assert_eq!(generation.data_points[0].value, Some(number_data_point::Value::AsInt(1)));
    proxy.metric_reaches("fyke_export_requests_total", &[("signal", "metrics"), ("outcome", "sent")], 1.0).await;
}

#[tokio::test]
async fn a_dead_collector_costs_nothing_but_counted_drops() {
    let upstream = Upstream::says("a").await;
    // Nobody listens there.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let metrics = format!("interval: 100ms, otlp: '{dead}', statsd: '{dead}'");
    let mut proxy = Proxy::start(yaml(&metrics, upstream.address)).await;
    let failed = [("signal", "metrics"), ("outcome", "failed")];
    proxy.metric_reaches("fyke_export_records_total", &failed, 1.0).await;
    assert_eq!(proxy.get("/").await.text(), "a");
    // Without them there is nothing to wait for.
    proxy.reload(&yaml("series: 5000", upstream.address)).await;
    assert_eq!(proxy.get("/").await.text(), "a");
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
}

#[tokio::test]
async fn a_scraper_gets_the_format_that_it_asks_for_and_examples_of_traced_requests() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let collector = Collector::new().await;
    let upstream = Upstream::says("a").await;
    let proxy = Proxy::start(format!(
        "tracing: {{ otlp: '{}' }}\n\
         listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app, filters: [tracing-context] }}\n\
         filters:\n  tracing-context: {{ module: builtin:tracing-context }}\n\
         clusters:\n  app: {{ endpoints: ['{}'] }}\n",
        collector.address, upstream.address
    ))
    .await;
    proxy.get_with("/", &format!("traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n")).await;
    let accept = "accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n";
    let text = eventually("an example", async || {
        let answer = scrape(proxy.admin(), accept).await;
        let kind = answer.header("content-type").unwrap().to_owned();
        assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        Some(answer.text()).filter(|text| text.contains(TRACE))
    })
    .await;
    assert!(text.ends_with("# EOF\n"));
    let example = text.lines().find(|line| line.contains(TRACE)).unwrap();
    assert!(example.contains("_duration_seconds_bucket{") && example.contains("} 1 # {trace_id="), "{example}");
    assert!(text.contains("# TYPE fyke_listener_requests counter\n"));
    let plain = scrape(proxy.admin(), "accept: */*\r\n").await;
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(!plain.text().contains("# EOF") && plain.text().contains("# TYPE fyke_listener_requests_total counter\n"));
}

#[tokio::test]
async fn what_cannot_be_worked_with_is_refused_with_its_place() {
    let upstream = Upstream::says("a").await;
    let proxy = Proxy::start(yaml("series: 5000", upstream.address)).await;
    for (metrics, problem) in [
        ("statsd: localhost", "has no port"),
        ("statsd: { address: '127.0.0.1:1', histograms: distributions }", "plain StatsD has no distributions"),
        ("statsd: { address: '127.0.0.1:1', prefix: a..b }", "is no prefix"),
        ("otlp: 'ftp://a'", "otlp"),
        ("interval: 1ms, statsd: '127.0.0.1:1'", "100ms"),
        ("series: 10", "series"),
        ("stats: 1", "unknown key"),
    ] {
        proxy.rewrite(&yaml(metrics, upstream.address));
        let (status, answer) = proxy.act("/reload", "").await;
        let text = answer.to_string();
        assert!(status == 422 && text.contains(problem) && text.contains("proxy.yaml:5:"), "{metrics}: {answer}");
    }
    assert_eq!(proxy.page("/status").await["generation"], json!(1));
}

#[tokio::test]
async fn records_of_a_sink_are_log_records_at_a_collector() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let collector = Collector::new().await;
    let upstream = Upstream::says("a").await;
    let mut proxy = Proxy::start(format!(
        "sinks: {{ requests: {{ otlp: {{ address: '{}', delay: 50ms }} }} }}\n\
         listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app, filters: [access-log] }}\n\
         filters:\n  access-log: {{ module: builtin:access-log, config: {{ sink: requests, format: json, \
         fields: {{ path: request.path, status: response.code, trace_id: request.headers.x-trace }} }} }}\n\
         clusters:\n  app: {{ endpoints: ['{}'] }}\n",
        collector.address, upstream.address
    ))
    .await;
    proxy.get_with("/seen?q=1", &format!("x-trace: {TRACE}\r\n")).await;
    let logs = eventually("a log record", async || Some(collector.logs()).filter(|logs| !logs.is_empty())).await;
    let Some(any_value::Value::KvlistValue(body)) = logs[0].body.clone().unwrap().value else { panic!("no map") };
    let body = attributes(&body.values);
    assert_eq!((body["path"].as_str(), body["status"].as_str()), ("/seen?q=1", "200"));
    assert_eq!(attributes(&logs[0].attributes)["fyke.sink"], "requests");
    assert_eq!(logs[0].trace_id[..2], [0x0a, 0xf7]);
    assert_eq!(logs[0].severity_text, "INFO");
    proxy.metric_reaches("fyke_export_records_total", &[("signal", "logs"), ("outcome", "exported")], 1.0).await;
    // The last ones are sent at the end.
    for _ in 0..20 {
        proxy.get("/last").await;
    }
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    assert_eq!(collector.logs().len(), 21);
}

/// A client that sends ever new values of a label costs what the limit says, and is counted. With `FYKE_LONG=1` there are a million of them.
#[tokio::test]
async fn more_values_than_there_may_be_series_share_one() {
    const SERIES: usize = 1000;
    let values = if long() { 1_000_000 } else { 20_000 };
    let proxy = Proxy::start(format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [stats-tags, router] }}\n\
         filters:\n  router: {{ module: builtin:router, config: {{ routes: [{{ respond: {{ status: 200 }} }}] }} }}\n  \
         stats-tags:\n    module: builtin:stats-tags\n    limits: {{ series: {SERIES} }}\n    \
         config:\n      labels: [{{ label: user, from: {{ request_header: x-user }} }}]\n      \
         metrics: {{ duration: {{ enabled: false }}, request_size: {{ enabled: false }}, response_size: {{ enabled: false }} }}\n\
         clusters: {{}}\n"
    ))
    .await;
    let mut conn = proxy.connect().await;
    let mut sent = 0;
    let mut resident = 0;
    while sent < values {
        let many: String = (sent..sent + 100)
            .map(|user| format!("GET / HTTP/1.1\r\nhost: a\r\nx-user: \"{user}\\\u{e9}\r\n\r\n"))
            .collect();
        conn.send(&many).await;
        for _ in 0..100 {
            assert_eq!(conn.response("GET").await.status(), 200);
        }
        sent += 100;
        if sent == 2 * SERIES {
            resident = proxy.resident();
        }
    }
    let grown = proxy.resident().saturating_sub(resident);
    assert!(grown < 8 << 20, "{grown} bytes more after {values} values than after {}", 2 * SERIES);
    let text = proxy.ask("/metrics").await.text();
    let series: Vec<&str> = text.lines().filter(|line| line.starts_with("stats_requests_total{")).collect();
    assert_eq!(series.len(), SERIES + 1);
    assert!(
        series.iter().any(|line| line.starts_with("stats_requests_total{user=\"\\\"7\\\\\u{e9}\"} 1")),
        "{series:?}"
    );
    let over = (values - SERIES) as f64;
    proxy.metric_reaches("stats_requests_total", &[("user", "_overflow")], over).await;
    proxy.metric_reaches("fyke_filter_series_overflow_total", &[], over).await;
}
