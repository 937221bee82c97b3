//! What endpoints can do wrong, one by one: what the client gets, what the log says, what is counted. And that a retry policy hides it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::support::{
    Conn, Launch, Proxy, Site, Upstream, endpoints, eventually,
    faulty::{Resetting, breaks_off, full, silent, slow},
    site::Record,
    tls::Authority,
    upstream::Refusing,
};

/// One kind of bad endpoint: its name, what is told of it, and a metric with a label that counts it.
struct Fault {
    name: &'static str,
    address: SocketAddr,
    status: u16,
    why: &'static str,
    flags: &'static str,
    metric: (&'static str, (&'static str, &'static str)),
    cluster: &'static str,
}

impl Fault {
    fn new(name: &'static str, address: SocketAddr, (status, why, flags): (u16, &'static str, &'static str)) -> Self {
        let class = match status {
            504 => "timeout",
            _ => "reset",
        };
        Self {
            name,
            address,
            status,
            why,
            flags,
            metric: ("fyke_cluster_requests_total", ("class", class)),
            cluster: "",
        }
    }

    fn metric(self, name: &'static str, label: (&'static str, &'static str)) -> Self {
        Self { metric: (name, label), ..self }
    }

    fn cluster(self, cluster: &'static str) -> Self {
        Self { cluster, ..self }
    }
}

/// A server with a certificate whose time is over.
async fn expired(authority: &Authority) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let certificate = authority.issue_expired("app.example");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(authority.server(&certificate, false, &["http/1.1"])));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move { acceptor.accept(stream).await.is_ok() });
        }
    });
    (address, task)
}

#[tokio::test]
async fn each_fault_has_its_status_its_cause_its_flag_and_its_metric() {
    let authority = Authority::new();
    let refusing = Refusing::new();
    let resetting = Resetting::new().await;
    let (closing, half, noise) =
        (breaks_off("").await, breaks_off("HTTP/1.1 200 O").await, breaks_off("hello there\r\n\r\n").await);
    let half_body = breaks_off("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    let half_chunk = breaks_off("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhal").await;
    let switching = breaks_off("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await;
    let (hanging, late) = (silent().await, slow(Duration::from_secs(1), "late").await);
    let (queue, _held) = full().await;
    let (tls, _serving) = expired(&authority).await;
    let connect = "fyke_cluster_connect_failures_total";
    let app = |name| ("cluster", name);
    let faults = [
        Fault::new("refuse", refusing.address, (503, "upstream_connect_failure", "UF")).metric(connect, app("refuse")),
        Fault::new("syn", queue.local_addr().unwrap(), (503, "upstream_connect_timeout", "UF"))
            .metric("fyke_cluster_connect_timeouts_total", app("syn"))
            .cluster("connect_timeout: 300ms, "),
        Fault::new("expired", tls, (503, "upstream_tls_failure", "UF"))
            .metric(connect, app("expired"))
            .cluster("tls: { ca: ca.pem, sni: app.example }, "),
        Fault::new("reset", resetting.address, (503, "upstream_reset", "UC")),
        Fault::new("close", closing.address, (503, "upstream_reset", "UC")),
        Fault::new("half-head", half.address, (503, "upstream_reset", "UC")),
        Fault::new("noise", noise.address, (502, "upstream_protocol_error", "UPE")),
        Fault::new("switch", switching.address, (502, "unexpected_upgrade", "UPE"))
            .metric("fyke_cluster_connections_total", app("switch")),
        Fault::new("freeze", hanging.address, (504, "upstream_timeout", "UT")),
        Fault::new("half-body", half_body.address, (200, "upstream_reset_after_response", "UC"))
            .metric("fyke_listener_requests_total", ("class", "reset")),
        Fault::new("half-chunk", half_chunk.address, (200, "upstream_reset_after_response", "UC"))
            .metric("fyke_listener_requests_total", ("class", "reset")),
        Fault::new("slow", late.address, (200, "via_upstream", "-"))
            .metric("fyke_cluster_requests_total", ("class", "2xx")),
    ];
    let mut site = Site::default();
    for fault in &faults {
        let patience = if fault.name == "freeze" { "400ms" } else { "20s" };
        site = site
            .route(&format!("match: {{ path: /{} }}, cluster: {}, timeout: {patience}", fault.name, fault.name))
            .cluster(fault.name, &format!("{}{}", fault.cluster, endpoints(&[fault.address])));
    }
    let proxy = Launch::new(site.yaml()).file("ca.pem", authority.pem()).start().await;
    for fault in &faults {
        let path = format!("/{}", fault.name);
        let mut client = proxy.connect().await;
        client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let head = client.head().await.unwrap();
        assert_eq!(head.status(), fault.status, "{path}");
        let whole = client.body(head).await;
        assert_eq!(whole.is_none(), fault.why == "upstream_reset_after_response", "{path}: {whole:?}");
        let record = Record::of(&proxy, &path).await;
        assert_eq!(record.told(), (u64::from(fault.status), fault.why, fault.flags), "{path}");
        let (metric, label) = fault.metric;
        let labels =
            if metric == "fyke_cluster_requests_total" { vec![("cluster", fault.name), label] } else { vec![label] };
        proxy.metric_reaches(metric, &labels, 1.0).await;
    }
}

/// An endpoint that is a process of its own: it can be stopped and killed.
async fn child() -> (Proxy, Upstream) {
    let behind = Upstream::says("child").await;
    (Proxy::plain(behind.address).await, behind)
}

/// Whether every thread of a process is stopped: a signal is sent before it has arrived everywhere.
fn is_stopped(pid: u32) -> bool {
    let states = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().filter_map(|task| {
        let stat = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
        // Behind the name, which is in parentheses and may have anything in it.
        stat.rsplit(") ").next()?.chars().next()
    });
    states.into_iter().all(|state| state == 'T')
}

const POLICY: &str =
    "timeout: 20s, retry: { on: [reset, connect-failure], attempts: 2, per_try_timeout: 1s, backoff: { base: 1ms } }";

#[tokio::test]
async fn an_endpoint_that_freezes_and_thaws_loses_no_request() {
    let ((child, _behind), good) = (child().await, Upstream::says("good").await);
    let cluster = format!("load_balancer: round_robin, {}", endpoints(&[child.web(), good.address]));
    let proxy = Site::app(POLICY, &cluster).start().await;
    for number in 0..4 {
        assert_eq!(proxy.get(&format!("/before/{number}")).await.status(), 200);
    }
    child.signal(rustix::process::Signal::STOP);
    eventually("all of its threads to stand still", async || is_stopped(child.pid()).then_some(())).await;
    for number in 0..6 {
        assert_eq!(proxy.get(&format!("/frozen/{number}")).await.text(), "good");
    }
    child.signal(rustix::process::Signal::CONT);
    eventually("it to answer again", async || (proxy.get("/thawed").await.text() == "child").then_some(())).await;
    assert_eq!(proxy.metric("fyke_listener_requests_total", &[("class", "5xx")]).await, 0.0);
}

#[tokio::test]
async fn an_endpoint_that_is_killed_under_load_loses_no_request_that_may_be_repeated() {
    let ((child, _behind), good) = (child().await, Upstream::says("good").await);
    // All of them fail at the same moment: more than the usual budget allows.
    let cluster = format!(
        "circuit_breakers: {{ retries: 100 }}, load_balancer: round_robin, {}",
        endpoints(&[child.web(), good.address])
    );
    let proxy = Site::app(POLICY, &cluster).workers(2).await;
    let mut load = crate::support::load::Load::default();
    for _ in 0..6 {
        let web = proxy.web();
        load.client(async move |turn| {
            let mut conn = Conn::to(web).await;
            while turn.goes_on() {
                let answer = conn.exchange("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").await;
                assert_eq!(answer.status(), 200, "{answer:?}");
                turn.answered();
            }
        });
    }
    proxy.metric_reaches("fyke_listener_requests_total", &[("class", "2xx")], 50.0).await;
    child.signal(rustix::process::Signal::KILL);
    let now = proxy.metric("fyke_listener_requests_total", &[("class", "2xx")]).await;
    proxy.metric_reaches("fyke_listener_requests_total", &[("class", "2xx")], now + 200.0).await;
    assert!(load.end().await > 200);
    assert!(proxy.metric("fyke_cluster_retries_total", &[]).await >= 1.0);
}

#[tokio::test]
async fn a_retry_policy_hides_each_fault_that_it_covers() {
    let good = Upstream::says("good").await;
    let authority = Authority::new();
    let refusing = Refusing::new();
    let resetting = Resetting::new().await;
    let (closing, half, noise) =
        (breaks_off("").await, breaks_off("HTTP/1.1 200 O").await, breaks_off("hello\r\n\r\n").await);
    let hanging = silent().await;
    let (queue, _held) = full().await;
    let faults = [
        ("refuse", refusing.address),
        ("syn", queue.local_addr().unwrap()),
        ("reset", resetting.address),
        ("close", closing.address),
        ("half", half.address),
        ("noise", noise.address),
        ("freeze", hanging.address),
    ];
    let mut site = Site::default();
    for (name, address) in faults {
        site = site.route(&format!("match: {{ path_prefix: /{name}/ }}, cluster: {name}, {POLICY}")).cluster(
            name,
            &format!("connect_timeout: 300ms, load_balancer: round_robin, {}", endpoints(&[address, good.address])),
        );
    }
    let proxy = Launch::new(site.yaml()).file("ca.pem", authority.pem()).start().await;
    for (name, _) in faults {
        for number in 0..4 {
            let mut client = proxy.connect().await;
            let answer = client
                .exchange(&format!("PUT /{name}/{number} HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"))
                .await;
            assert_eq!(answer.text(), "good", "{name}");
            assert_eq!(good.last().text(), "hello");
        }
    }
}
