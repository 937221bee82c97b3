//! Endpoints say how busy they are, and get requests accordingly (ORCA).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::Response;
use tokio::sync::Notify;

use crate::support::{Proxy, Reply, Upstream, eventually, h2};

/// Everything to two endpoints by what they report, which counts at once.
fn by_load(protocol: &str, endpoints: [SocketAddr; 2], more: &str) -> String {
    let [a, b] = endpoints;
    format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app }}\n\
         clusters:\n  app:\n    protocol: {protocol}\n    endpoints: ['{a}', '{b}']\n    \
         load_balancer: {{ client_side_weighted_round_robin: {{ blackout: 0s, update: 100ms{more} }} }}\n"
    )
}

/// Answers with this report in its head.
async fn reporting(report: &'static str) -> Upstream {
    Upstream::http(move |_| Reply::ok("here").header("endpoint-load-metrics", report)).await
}

/// Asks until the last forty answers came from both as one would expect of weights of four to one.
async fn settles(proxy: &Proxy, mut counts: impl FnMut() -> (usize, usize)) {
    eventually("four requests for one", async || {
        let before = counts();
        for _ in 0..40 {
            assert_eq!(proxy.get("/").await.status(), 200);
        }
        let after = counts();
        ((after.0 - before.0, after.1 - before.1) == (32, 8)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_says_that_its_requests_cost_more_gets_fewer() {
    for (idle, busy) in [
        ("TEXT cpu_utilization=0.2, rps_fractional=100", "TEXT cpu_utilization=0.8, rps_fractional=100"),
        (
            r#"JSON {"application_utilization": 0.1, "rps_fractional": 80}"#,
            r#"JSON {"cpu_utilization": 0.1, "rps_fractional": 80, "eps": 24}"#,
        ),
    ] {
        let (idle, busy) = (reporting(idle).await, reporting(busy).await);
        let proxy = Proxy::start(by_load("http1", [idle.address, busy.address], "")).await;
        settles(&proxy, || (idle.seen().len(), busy.seen().len())).await;
    }
}

#[tokio::test]
async fn a_report_may_come_in_trailers() {
    async fn trailing(report: &'static str) -> Upstream {
        Upstream::scripted(move |mut conn, _, recorder| async move {
            while let Some(request) = conn.request().await {
                recorder.saw(&request);
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: endpoint-load-metrics\r\n\r\n";
                conn.send(format!("{head}1\r\na\r\n0\r\nendpoint-load-metrics: {report}\r\n\r\n")).await;
            }
        })
        .await
    }
    let idle = trailing("TEXT cpu_utilization=0.2, rps_fractional=100").await;
    let busy = trailing("TEXT cpu_utilization=0.8, rps_fractional=100").await;
    let proxy = Proxy::start(by_load("http1", [idle.address, busy.address], "")).await;
    let mut client = proxy.connect().await;
    eventually("four requests for one", async || {
        let before = (idle.seen().len(), busy.seen().len());
        for _ in 0..40 {
            client.exchange("GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n").await;
        }
        (idle.seen().len() - before.0, busy.seen().len() - before.1).eq(&(32, 8)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nonsense_changes_nothing() {
    let (one, other) = (reporting("TEXT cpu_utilization=-1, rps_fractional=100").await, reporting("JSON {").await);
    let proxy = Proxy::start(by_load("http1", [one.address, other.address], "")).await;
    for _ in 0..40 {
        assert_eq!(proxy.get("/").await.text(), "here");
    }
    assert_eq!((one.seen().len(), other.seen().len()), (20, 20));
}

/// An endpoint whose answers say nothing, and that is asked: `asked` counts that. Each report is this one.
async fn asked(report: Option<&'static [u8]>) -> (h2::Upstream, Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<Notify>) {
    let (served, asked, go_on) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (served_here, asked_here, go_on_here) = (Arc::clone(&served), Arc::clone(&asked), Arc::clone(&go_on));
    let upstream = h2::Upstream::scripted(move |request, mut respond| {
        let (served, asked, go_on) = (Arc::clone(&served_here), Arc::clone(&asked_here), Arc::clone(&go_on_here));
        async move {
            if request.uri().path() != "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics" {
                served.fetch_add(1, Ordering::SeqCst);
                let _ = respond.send_response(Response::new(()), true);
                return;
            }
            asked.fetch_add(1, Ordering::SeqCst);
            let head = Response::builder().header("content-type", "application/grpc");
            let Some(report) = report else {
                let head = head.header("grpc-status", "12").body(()).unwrap();
                let _ = respond.send_response(head, true);
                return;
            };
            let mut out = respond.send_response(head.body(()).unwrap(), false).unwrap();
            let mut message = vec![0, 0, 0, 0, u8::try_from(report.len()).unwrap()];
            message.extend_from_slice(report);
            h2::push(&mut out, Bytes::from(message), false).await;
            // The stream breaks when it is told to.
            go_on.notified().await;
            out.send_reset(::h2::Reason::INTERNAL_ERROR);
        }
    })
    .await;
    (upstream, served, asked, go_on)
}

/// `cpu_utilization` and `rps_fractional` of a report: 0.25 and 64, then 1 and 64.
const IDLE: &[u8] = &[0x09, 0, 0, 0, 0, 0, 0, 0xd0, 0x3f, 0x31, 0, 0, 0, 0, 0, 0, 0x50, 0x40];
const BUSY: &[u8] = &[0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x31, 0, 0, 0, 0, 0, 0, 0x50, 0x40];

#[tokio::test]
async fn endpoints_whose_answers_say_nothing_can_be_asked() {
    let (idle, served_idle, asked_idle, go_on) = asked(Some(IDLE)).await;
    let (busy, served_busy, _, _still) = asked(Some(BUSY)).await;
    let proxy = Proxy::start(by_load("http2", [idle.address, busy.address], ", out_of_band: 1s")).await;
    settles(&proxy, || (served_idle.load(Ordering::SeqCst), served_busy.load(Ordering::SeqCst))).await;
    // A stream that breaks is made anew.
    go_on.notify_one();
    eventually("another question", async || (asked_idle.load(Ordering::SeqCst) == 2).then_some(())).await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_know_the_question_serves_all_the_same() {
    let (one, served_one, asked_one, _) = asked(None).await;
    let (other, served_other, ..) = asked(None).await;
    let proxy = Proxy::start(by_load("http2", [one.address, other.address], ", out_of_band: 100ms")).await;
    proxy.logged(&["does not offer", &one.address.to_string()]).await;
    for _ in 0..10 {
        assert_eq!(proxy.get("/").await.status(), 200);
    }
    assert_eq!((served_one.load(Ordering::SeqCst), served_other.load(Ordering::SeqCst)), (5, 5));
    assert_eq!(asked_one.load(Ordering::SeqCst), 1, "once and no more");
}
