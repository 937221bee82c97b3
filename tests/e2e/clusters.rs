//! Choosing endpoints, and what clients and operators are told when there is no answer.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::support::{Message, Proxy, Reply, Upstream, eventually, faulty::full, soon, upstream::Refusing};

/// A router before one cluster, and an access log with status, details and where it went.
fn logged(route: &str, cluster: &str) -> String {
    format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [access-log, router] }}\n\
         filters:\n  \
           router: {{ module: builtin:router, config: {{ routes: [{{ {route} }}] }} }}\n  \
           access-log: {{ module: builtin:access-log, config: {{ sink: log, format: json, fields: {{ path: request.path, status: response.code, why: response.code_details, to: upstream.address, cluster: cluster_name, failure: upstream.transport_failure_reason }} }} }}\n\
         sinks:\n  log: {{ file: access.log }}\n\
         clusters:\n  app: {{ {cluster} }}\n"
    )
}

fn endpoints(addresses: &[SocketAddr]) -> String {
    let list: Vec<_> = addresses.iter().map(|address| format!("'{address}'")).collect();
    format!("endpoints: [{}]", list.join(", "))
}

/// Asks once, and expects a status whose cause is in the answer, in the access log and in the proxy's log.
async fn explained(proxy: &Proxy, path: &str, status: u16, details: &str) -> Message {
    let answer = proxy.get(path).await;
    assert_eq!(answer.status(), status, "{answer:?}");
    assert!(answer.text().contains(details), "{answer:?}");
    let line = proxy.written("access.log", &[&format!("\"path\":\"{path}\"")]).await;
    let record: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((record["status"].as_u64(), record["why"].as_str()), (Some(u64::from(status)), Some(details)), "{line}");
    proxy.logged(&[details, path, "no answer from upstream"]).await;
    answer
}

#[tokio::test]
async fn round_robin_takes_turns() {
    let (a, b, c) = (Upstream::says("a").await, Upstream::says("b").await, Upstream::says("c").await);
    let cluster = format!("load_balancer: round_robin, {}", endpoints(&[a.address, b.address, c.address]));
    let proxy = Proxy::start(logged("cluster: app", &cluster)).await;
    let mut turns = String::new();
    for _ in 0..9 {
        turns.push_str(&proxy.get("/").await.text());
    }
    let turn = &turns[..3];
    assert_eq!(turns, turn.repeat(3));
    assert!(["abc", "bca", "cab", "acb", "bac", "cba"].contains(&turn));
}

#[tokio::test]
async fn weights_divide_the_requests() {
    let (a, b) = (Upstream::says("a").await, Upstream::says("b").await);
    let cluster =
        format!("load_balancer: round_robin, endpoints: [{{ address: '{}', weight: 3 }}, '{}']", a.address, b.address);
    let proxy = Proxy::start(logged("cluster: app", &cluster)).await;
    for _ in 0..12 {
        assert_eq!(proxy.get("/").await.status(), 200);
    }
    assert_eq!((a.seen().len(), b.seen().len()), (9, 3));
}

#[tokio::test]
async fn least_request_avoids_a_busy_endpoint() {
    let stuck = Upstream::scripted(|mut conn, _, recorder| async move {
        while let Some(request) = conn.request().await {
            recorder.saw(&request);
            std::future::pending::<()>().await;
        }
    })
    .await;
    let quick = Upstream::says("quick").await;
    let proxy = Proxy::start(logged("cluster: app, timeout: 0s", &endpoints(&[stuck.address, quick.address]))).await;
    let mut hanging = Vec::new();
    eventually("a request that hangs", async || {
        let mut client = proxy.connect().await;
        let before = (stuck.seen().len(), quick.seen().len());
        client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        eventually("either to be asked", async || ((stuck.seen().len(), quick.seen().len()) != before).then_some(()))
            .await;
        hanging.push(client);
        (stuck.seen().len() == 1).then_some(())
    })
    .await;
    for _ in 0..20 {
        assert_eq!(proxy.get("/").await.text(), "quick");
    }
    assert_eq!(stuck.seen().len(), 1);
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_503_and_named() {
    let refusing = Refusing::new();
    let proxy = Proxy::start(logged("cluster: app", &endpoints(&[refusing.address]))).await;
    explained(&proxy, "/refused", 503, "upstream_connect_failure").await;
    let line = proxy.logged(&["upstream_connect_failure", "refused"]).await;
    assert!(line.contains(&refusing.address.to_string()), "{line}");
    assert_eq!(proxy.metric("fyke_cluster_connect_failures_total", &[("cluster", "app")]).await, 1.0);
    assert_eq!(proxy.metric("fyke_cluster_requests_total", &[("cluster", "app"), ("class", "unreachable")]).await, 1.0);
}

#[tokio::test]
async fn an_endpoint_that_does_not_accept_is_503_after_the_connect_timeout() {
    let (full, _held) = full().await;
    let address = full.local_addr().unwrap();
    let cluster = format!("connect_timeout: 300ms, {}", endpoints(&[address]));
    let proxy = Proxy::start(logged("cluster: app", &cluster)).await;
    explained(&proxy, "/slow", 503, "upstream_connect_timeout").await;
    assert_eq!(proxy.metric("fyke_cluster_connect_timeouts_total", &[("cluster", "app")]).await, 1.0);
}

#[tokio::test]
async fn no_endpoints_is_503_and_says_so() {
    let proxy = Proxy::start(logged("cluster: app", "endpoints: []")).await;
    explained(&proxy, "/none", 503, "no_endpoint").await;
    proxy.logged(&["no endpoint of cluster \\\"app\\\": the cluster has no endpoints"]).await;
    assert_eq!(proxy.metric("fyke_cluster_no_endpoint_total", &[("cluster", "app")]).await, 1.0);
}

#[tokio::test]
async fn a_cluster_that_does_not_exist_is_503() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::start(logged("cluster_header: x-to", &endpoints(&[upstream.address]))).await;
    assert_eq!(proxy.get_with("/", "x-to: app\r\n").await.text(), "x");
    let answer = proxy.get_with("/unknown", "x-to: nowhere\r\n").await;
    assert_eq!((answer.status(), answer.text().contains("cluster_not_found")), (503, true), "{answer:?}");
    proxy.written("access.log", &["/unknown", "cluster_not_found"]).await;
}

#[tokio::test]
async fn a_listener_without_a_route_is_404() {
    let yaml = "listeners:\n  web: { address: '127.0.0.1:0', filters: [access-log] }\nfilters:\n  access-log: { module: builtin:access-log, config: { template: '%REQ(:path)% %RESPONSE_CODE_DETAILS%' } }\n";
    let proxy = Proxy::start(yaml).await;
    let answer = proxy.get("/x").await;
    assert_eq!((answer.status(), answer.text().contains("not_routed")), (404, true), "{answer:?}");
    // Without a sink the record goes to standard output.
    proxy.printed(&["/x not_routed"]).await;
}

#[tokio::test]
async fn an_upstream_that_takes_too_long_is_504() {
    let upstream = Upstream::scripted(|mut conn, _, recorder| async move {
        recorder.saw(&conn.request().await.unwrap());
        assert!(conn.closed().await, "the request that nobody waits for should be given up");
        recorder.saw(&Message::default());
    })
    .await;
    let proxy = Proxy::start(logged("cluster: app, timeout: 300ms", &endpoints(&[upstream.address]))).await;
    explained(&proxy, "/late", 504, "upstream_timeout").await;
    upstream.received(2).await;
    assert_eq!(proxy.metric("fyke_cluster_requests_total", &[("class", "timeout")]).await, 1.0);
}

#[tokio::test]
async fn an_answer_that_stalls_is_cut_off_at_the_timeout() {
    let upstream = Upstream::scripted(|mut conn, _, _| async move {
        conn.request().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
        conn.rest().await;
    })
    .await;
    let proxy = Proxy::start(logged("cluster: app, timeout: 1s", &endpoints(&[upstream.address]))).await;
    let mut client = proxy.connect().await;
    client.send("GET /stall HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert_eq!(head.status(), 200);
    assert!(client.body(head).await.is_none(), "a stalled answer was made whole");
    proxy.written("access.log", &["/stall", "upstream_timeout"]).await;
}

#[tokio::test]
async fn the_timeout_runs_from_the_end_of_the_request() {
    let upstream = Upstream::echo().await;
    let proxy = Proxy::start(logged("cluster: app, timeout: 1s", &endpoints(&[upstream.address]))).await;
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n").await;
    for byte in ["a", "b", "c", "d"] {
        assert!(client.silent(std::time::Duration::from_millis(450)).await, "answered before the request had ended");
        client.send(byte).await;
    }
    assert_eq!(client.response("POST").await.text(), "abcd");
}

#[tokio::test]
async fn an_endpoint_that_closes_without_an_answer_is_503() {
    let upstream = Upstream::scripted(|mut conn, _, _| async move {
        conn.request().await.unwrap();
    })
    .await;
    let proxy = Proxy::start(logged("cluster: app", &endpoints(&[upstream.address]))).await;
    explained(&proxy, "/gone", 503, "upstream_reset").await;
    // The first request on a fresh connection: nothing says that the endpoint did not act on it.
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn the_access_log_tells_where_a_good_request_went() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let upstream = Upstream::http(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        Reply::new(404)
    })
    .await;
    let proxy = Proxy::start(logged("cluster: app", &endpoints(&[upstream.address]))).await;
    assert_eq!(soon("an answer", proxy.get("/fine")).await.status(), 404);
    let line = proxy.written("access.log", &["/fine"]).await;
    let record: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(record["why"], "via_upstream");
    assert_eq!(record["to"], upstream.address.to_string());
    assert_eq!((record["cluster"].as_str(), record["status"].as_u64()), (Some("app"), Some(404)));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}
