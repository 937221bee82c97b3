//! The API over real sockets: what is answered, and what is refused.
#![cfg(test)]
#![allow(missing_docs, reason = "tests")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proptest::prelude::*;
use serde_json::json;
use support::{Answer, Running, start, until};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const USERS: &str = "/v1/registration/users";

async fn open() -> Running {
    start(json!({"open": true, "host_ttl": "10m"})).await
}

#[tokio::test]
async fn hosts_register_as_forms_and_as_json_and_are_shown_in_the_shape_of_lyft_discovery() {
    let registry = start(json!({"open": true, "env": "test"})).await;
    let tags =
        r#"{"az":"us-east-1a","region":"us-east-1","instance_id":"i-1","canary":"true","load_balancing_weight":"3"}"#;
    let tags: String = form_urlencoded::byte_serialize(tags.as_bytes()).collect();
    let form = format!("ip=10.0.0.1&port=9211&revision=abc&service_repo_name=users-repo&tags={tags}");
    let registered = registry.form(USERS, &form).await;
    assert_eq!(registered.status, StatusCode::OK);
    assert_eq!((&registered.json()["result"], &registered.json()["ttl"]), (&json!("registered"), &json!(600)));
    registry.post(USERS, json!({"ip": "fd00::1", "port": 80, "tags": {"x": "y"}})).await;
    let answer = registry.get(USERS).await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(
        answer.json(),
        json!({"env": "test", "service": "users", "hosts": [
            {
                "ip_address": "10.0.0.1", "last_check_in": "2026-01-02T03:04:05.000Z", "port": 9211, "revision": "abc",
                "service": "users", "service_repo_name": "users-repo",
                "tags": {"az": "us-east-1a", "canary": true, "instance_id": "i-1", "load_balancing_weight": 3, "region": "us-east-1"},
            },
            {
                "ip_address": "fd00::1", "last_check_in": "2026-01-02T03:04:05.000Z", "port": 80, "revision": "",
                "service": "users", "tags": {"x": "y"},
            },
        ]})
    );
    registry.stop().await.unwrap();
}

#[tokio::test]
async fn hosts_leave_by_address_by_port_or_by_silence() {
    let registry = open().await;
    for (ip, port) in [("10.0.0.1", 80), ("10.0.0.1", 81), ("10.0.0.2", 80), ("fd00::1", 80)] {
        registry.post(USERS, json!({"ip": ip, "port": port})).await;
    }
    assert_eq!(registry.delete("/v1/registration/users/10.0.0.1:81").await.json(), json!({"removed": 1}));
    assert_eq!(registry.delete("/v1/registration/users/10.0.0.1:81").await.status, StatusCode::NOT_FOUND);
    assert_eq!(registry.delete("/v1/registration/users/%5Bfd00::1%5D:80").await.status, StatusCode::OK);
    assert_eq!(registry.get(USERS).await.hosts(), ["10.0.0.1:80", "10.0.0.2:80"]);
    registry.clock.advance(Duration::from_secs(300));
    assert_eq!(registry.form(USERS, "ip=10.0.0.2&port=80").await.json()["result"], "unchanged");
    registry.clock.advance(Duration::from_secs(300));
    assert_eq!(registry.get(USERS).await.hosts(), ["10.0.0.2:80"]);
    assert_eq!(registry.delete("/v1/registration/users/10.0.0.2/").await.status, StatusCode::OK);
    let nobody = registry.get(USERS).await;
    assert_eq!((nobody.status, nobody.json()), (StatusCode::OK, json!({"hosts": [], "service": "users"})));
    assert_eq!(registry.metric("fyke_registry_expirations_total").await, 1);
    assert_eq!(registry.metric("fyke_registry_deregistrations_total").await, 3);
}

#[tokio::test]
async fn what_expires_is_swept_without_anybody_asking() {
    let registry = start(json!({"open": true, "host_ttl": "5s"})).await;
    registry.form(USERS, "ip=10.0.0.1&port=80").await;
    let etag = registry.get(USERS).await.header("etag").to_owned();
    let waits = wait_for(&registry, &format!("{USERS}?wait=60s"), &etag).await;
    registry.clock.advance(Duration::from_secs(5));
    let answer = waits.await.unwrap();
    assert_eq!((answer.status, answer.hosts().len()), (StatusCode::OK, 0));
}

/// A reader that waits; back when it does.
async fn wait_for(registry: &Running, path: &str, etag: &str) -> tokio::task::JoinHandle<Answer> {
    let before = registry.metric("fyke_registry_waiters").await;
    let stream = TcpStream::connect(registry.address).await.unwrap();
    let mut request = Request::get(path).header("host", "registry");
    if !etag.is_empty() {
        request = request.header("if-none-match", etag);
    }
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let task = tokio::spawn(async move {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let _connection = tokio::spawn(connection);
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        Answer { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
    });
    until("it waits", || async { registry.metric("fyke_registry_waiters").await == before + 1 }).await;
    task
}

#[tokio::test]
async fn readers_have_what_they_have_and_wait_for_what_they_have_not() {
    let registry = open().await;
    registry.form(USERS, "ip=10.0.0.1&port=80").await;
    let first = registry.get(USERS).await;
    let (etag, index) = (first.header("etag").to_owned(), first.header("x-registry-index").to_owned());
    assert!(etag.starts_with("W/\""));
    for value in [etag.as_str(), etag.trim_start_matches("W/"), &format!("\"x\", {etag}"), "*"] {
        let same = registry.request(Method::GET, USERS, &[("if-none-match", value)], "").await;
        assert_eq!((same.status, same.header("etag"), same.body.len()), (StatusCode::NOT_MODIFIED, etag.as_str(), 0));
    }
    assert_eq!(registry.get(&format!("{USERS}?index={index}")).await.status, StatusCode::NOT_MODIFIED);
    // Nobody waits who has something else, or nothing.
    for path in [format!("{USERS}?wait=30s"), format!("{USERS}?wait=30s&index=7")] {
        assert_eq!(registry.get(&path).await.status, StatusCode::OK);
    }

    let by_tag = wait_for(&registry, &format!("{USERS}?wait=30s"), &etag).await;
    let by_index = wait_for(&registry, &format!("{USERS}?wait=30&index={index}"), "").await;
    let elsewhere = wait_for(
        &registry,
        "/v1/registration/orders?wait=30s",
        registry.get("/v1/registration/orders").await.header("etag"),
    )
    .await;
    // Heartbeats and other services are no change.
    registry.form(USERS, "ip=10.0.0.1&port=80").await;
    registry.form("/v1/registration/payments", "ip=10.0.0.1&port=80").await;
    assert_eq!(registry.metric("fyke_registry_waiters").await, 3);
    registry.form(USERS, "ip=10.0.0.2&port=80").await;
    for waits in [by_tag, by_index] {
        let answer = waits.await.unwrap();
        assert_eq!((answer.status, answer.hosts().len()), (StatusCode::OK, 2));
        assert_ne!(answer.header("etag"), etag);
    }
    assert!(!elsewhere.is_finished());
    registry.clock.advance(Duration::from_secs(30));
    assert_eq!(elsewhere.await.unwrap().status, StatusCode::NOT_MODIFIED);
    assert_eq!(registry.metric("fyke_registry_waiters").await, 0);
}

#[tokio::test]
async fn waiting_has_limits_and_ends_with_the_registry() {
    let registry = start(json!({"open": true, "limits": {"waiters": 1, "wait": "10s"}})).await;
    let etag = registry.get(USERS).await.header("etag").to_owned();
    let path = format!("{USERS}?wait=1h");
    let waits = wait_for(&registry, &path, &etag).await;
    let refused = registry.request(Method::GET, &path, &[("if-none-match", &etag)], "").await;
    assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    assert_eq!(registry.metric("fyke_registry_refused_total{reason=\"waiters\"}").await, 1);
    registry.clock.advance(Duration::from_secs(10));
    assert_eq!(waits.await.unwrap().status, StatusCode::NOT_MODIFIED);
    // A reader that goes gives its place back.
    wait_for(&registry, &path, &etag).await.abort();
    until("the place is free", || async { registry.metric("fyke_registry_waiters").await == 0 }).await;
    let waits = wait_for(&registry, &path, &etag).await;
    registry.stop().await.unwrap();
    assert_eq!(waits.await.unwrap().status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn operators_set_weights() {
    let registry = open().await;
    for port in [80, 81] {
        registry.post(USERS, json!({"ip": "10.0.0.1", "port": port, "tags": {"load_balancing_weight": 50}})).await;
    }
    registry.post(USERS, json!({"ip": "fd00::1", "port": 80})).await;
    let set = |path: &str, weight: u8| {
        let (path, form) = (format!("/v1/loadbalancing/users{path}"), format!("load_balancing_weight={weight}"));
        let registry = &registry;
        async move { registry.form(&path, &form).await.status }
    };
    let weights = || async {
        let body = registry.get(USERS).await.json();
        let hosts = body["hosts"].as_array().unwrap().iter();
        hosts.map(|host| host["tags"]["load_balancing_weight"].as_u64()).collect::<Vec<_>>()
    };
    assert_eq!(set("", 10).await, StatusCode::NO_CONTENT);
    assert_eq!(weights().await, [Some(10), Some(10), Some(10)]);
    assert_eq!(set("/10.0.0.1", 20).await, StatusCode::NO_CONTENT);
    assert_eq!(set("/fd00::1", 30).await, StatusCode::NO_CONTENT);
    assert_eq!(set("/10.0.0.1:81", 40).await, StatusCode::NO_CONTENT);
    // A heartbeat does not undo it.
    registry.post(USERS, json!({"ip": "10.0.0.1", "port": 80, "tags": {"load_balancing_weight": 50}})).await;
    assert_eq!(weights().await, [Some(20), Some(40), Some(30)]);
    assert_eq!(set("/10.0.0.9", 20).await, StatusCode::NOT_FOUND);
    assert_eq!(registry.delete("/v1/loadbalancing/users").await.status, StatusCode::NO_CONTENT);
    assert_eq!(weights().await, [Some(50), Some(50), None]);
}

#[tokio::test]
async fn the_same_hosts_are_endpoints_in_envoys_words() {
    let registry = open().await;
    registry.post(USERS, json!({"ip": "10.0.0.2", "port": 80, "tags": {"az": "b", "region": "r"}})).await;
    let tags = json!({"az": "a", "region": "r", "canary": true, "load_balancing_weight": 7, "x": 1});
    registry.post(USERS, json!({"ip": "10.0.0.1", "port": 80, "revision": "abc", "tags": tags})).await;
    registry.post("/v1/registration/orders", json!({"ip": "fd00::1", "port": 80})).await;
    let path = "/v3/discovery:endpoints";
    let kind = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    let answer = registry
        .post(path, json!({"node": {"id": "n"}, "resource_names": ["users", "nobody"], "type_url": kind}))
        .await;
    let version = answer.json()["version_info"].as_str().unwrap().to_owned();
    let socket = |address: &str| json!({"address": {"socket_address": {"address": address, "port_value": 80}}});
    assert_eq!(
        answer.json(),
        json!({"version_info": version, "type_url": kind, "resources": [{
            "@type": kind, "cluster_name": "users",
            "endpoints": [
                {"locality": {"region": "r", "zone": "a"}, "lb_endpoints": [{
                    "endpoint": socket("10.0.0.1"), "load_balancing_weight": 7,
                    "metadata": {"filter_metadata": {"envoy.lb": {"canary": true, "revision": "abc", "x": 1}}},
                }]},
                {"locality": {"region": "r", "zone": "b"}, "lb_endpoints": [{"endpoint": socket("10.0.0.2")}]},
            ],
        }]})
    );

    let again = json!({"versionInfo": version, "resourceNames": ["users", "nobody"]});
    assert_eq!(registry.post(path, again.clone()).await.status, StatusCode::NOT_MODIFIED);
    registry.post(USERS, json!({"ip": "10.0.0.2", "port": 80, "tags": {"az": "b", "region": "r"}})).await;
    assert_eq!(registry.post(path, again.clone()).await.status, StatusCode::NOT_MODIFIED);
    registry.delete("/v1/registration/users/10.0.0.2").await;
    assert_eq!(registry.post(path, again).await.status, StatusCode::OK);
    let all = registry.post(path, json!({})).await.json();
    assert_eq!(all["resources"].as_array().unwrap().len(), 2);
    let refused = registry.post(path, json!({"resource_names": ["a b"]})).await;
    assert_eq!((refused.status, &refused.json()["field"]), (StatusCode::BAD_REQUEST, &json!("resource_names[0]")));
}

#[tokio::test]
async fn every_refusal_says_what_and_where() {
    let registry = open().await;
    let json_type = [("content-type", "application/json")];
    let form_type = [("content-type", "application/x-www-form-urlencoded")];
    let large = "x".repeat(65 * 1024);
    for (method, path, headers, body, status, field) in [
        ("POST", USERS, &json_type[..], r#"{"ip":"10.0.0.1","port":70000}"#, 400, "port"),
        ("POST", USERS, &form_type, "ip=10.0.0.1&port=0", 400, "port"),
        ("POST", USERS, &form_type, "ip=10.0.0.1", 400, "port"),
        ("POST", USERS, &form_type, "ip=10.0.0.1&port=1&port=2", 400, "port"),
        ("POST", USERS, &form_type, "port=1&ip=10.0.0.256", 400, "ip"),
        ("POST", USERS, &form_type, "port=1&ip=10.0.0.1&tags=[]", 400, "tags"),
        ("POST", USERS, &json_type, "{", 400, ""),
        ("POST", USERS, &json_type, "[]", 400, ""),
        ("POST", "/v1/registration/a%20b", &form_type, "", 400, "service"),
        ("DELETE", "/v1/registration/users/nowhere", &[], "", 400, "ip"),
        ("GET", "/v1/registration/users?wait=soon", &[], "", 400, "wait"),
        ("GET", "/v1/registration/users?index=-1", &[], "", 400, "index"),
        ("POST", "/v1/loadbalancing/users", &form_type, "load_balancing_weight=101", 400, "load_balancing_weight"),
        ("POST", "/v1/loadbalancing/users", &form_type, "", 400, "load_balancing_weight"),
        ("GET", "/v1/registration", &[], "", 404, ""),
        ("GET", "/v1/loadbalancing/users", &[], "", 405, ""),
        ("PUT", USERS, &[], "", 405, ""),
        ("POST", USERS, &json_type, &large, 413, ""),
        ("POST", USERS, &[], "ip=10.0.0.1&port=80", 415, ""),
        ("POST", USERS, &[("content-type", "multipart/form-data; boundary=x")], "", 415, ""),
        ("POST", "/v3/discovery:endpoints", &form_type, "", 415, ""),
    ] {
        let answer = registry.request(method.parse().unwrap(), path, headers, body).await;
        let said = answer.json();
        assert_eq!(answer.status.as_u16(), status, "{method} {path} {body}: {said}");
        assert_eq!(said["field"].as_str().unwrap_or_default(), field, "{method} {path} {body}: {said}");
        assert!(said["error"].as_str().unwrap().starts_with(field), "{said}");
    }
    let put = registry.request(Method::PUT, USERS, &[], "").await;
    assert_eq!(put.header("allow"), "GET, HEAD, POST");
    let port = registry.request(Method::POST, USERS, &json_type, r#"{"ip":"10.0.0.1","port":70000}"#).await;
    assert_eq!(port.text(), r#"{"error":"port: must be 1 to 65535, not 70000","field":"port"}"#);
    assert_eq!(registry.metric("fyke_registry_refused_total{reason=\"media_type\"}").await, 3);
    assert!(registry.get("/v1/services").await.json()["services"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_off_at_its_limit() {
    let registry = open().await;
    let mut stream = TcpStream::connect(registry.address).await.unwrap();
    let head = format!(
        "POST {USERS} HTTP/1.1\r\nhost: r\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    for _ in 0..5 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn http2_without_tls_is_understood() {
    let registry = open().await;
    registry.form(USERS, "ip=10.0.0.1&port=80").await;
    let stream = TcpStream::connect(registry.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for method in [Method::GET, Method::HEAD] {
        let request = Request::builder().method(&method).uri(format!("http://registry{USERS}"));
        let answer = sender.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
        assert_eq!(answer.version(), http::Version::HTTP_2);
        let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), if method == Method::HEAD { 0 } else { length });
        assert!(length > 0);
    }
}

#[tokio::test]
async fn what_it_does_can_be_looked_at() {
    let registry = open().await;
    registry.form(USERS, "ip=10.0.0.1&port=80").await;
    registry.form(USERS, "ip=10.0.0.1&port=80").await;
    registry.form("/v1/registration/orders", "ip=10.0.0.1&port=80").await;
    assert_eq!(
        registry.get("/v1/services").await.json(),
        json!({"services": [{"service": "orders", "hosts": 1}, {"service": "users", "hosts": 1}]})
    );
    assert_eq!(registry.get("/healthz").await.json(), json!({"status": "ready"}));
    let head = registry.request(Method::HEAD, "/healthz", &[], "").await;
    assert_eq!((head.status, head.header("content-length")), (StatusCode::OK, "18"));
    assert_eq!(registry.metric("fyke_registry_hosts{service=\"users\"}").await, 1);
    assert_eq!(registry.metric("fyke_registry_registrations_total").await, 2);
    assert_eq!(registry.metric("fyke_registry_heartbeats_total").await, 1);
    let metrics = registry.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4");
}

#[tokio::test]
async fn loads_become_weights_for_everybody_else() {
    let registry = start(json!({"open": true, "load_weights": true, "host_ttl": "10m"})).await;
    for _ in 0..40 {
        registry.clock.advance(Duration::from_secs(60));
        registry.post(USERS, json!({"ip": "10.0.0.1", "port": 80, "load": {"cpu": 0.9, "memory": 0.5}})).await;
        registry.form(USERS, "ip=10.0.0.2&port=80&load={\"cpu\":0.1}").await;
    }
    let weights = || async {
        let body = registry.get(USERS).await.json();
        [0, 1].map(|index| body["hosts"][index]["tags"]["load_balancing_weight"].as_u64().unwrap())
    };
    let [busy, idle] = weights().await;
    assert!((12..=16).contains(&busy) && (76..=83).contains(&idle), "{busy} {idle}");
    registry.form("/v1/loadbalancing/users/10.0.0.1", "load_balancing_weight=99").await;
    assert_eq!(weights().await, [99, idle]);
}

#[tokio::test]
async fn the_state_comes_over_a_restart_and_gives_everybody_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.json");
    let settings = json!({"open": true, "host_ttl": "60s", "state": path});
    let registry = start(settings.clone()).await;
    let tags = json!({"az": "a", "load_balancing_weight": 5});
    registry.post(USERS, json!({"ip": "10.0.0.1", "port": 80, "revision": "abc", "tags": tags})).await;
    registry.post(USERS, json!({"ip": "fd00::1", "port": 80})).await;
    registry.form("/v1/loadbalancing/users/fd00::1", "load_balancing_weight=9").await;
    registry.clock.advance(Duration::from_secs(1));
    until("it is written", || async {
        std::fs::read_to_string(&path).is_ok_and(|text| text.contains("operator_weight"))
    })
    .await;
    let before = registry.get(USERS).await;
    registry.kill().await;

    let registry = start(settings.clone()).await;
    let after = registry.get(USERS).await;
    assert_eq!(after.json(), before.json());
    assert_eq!(after.header("etag"), before.header("etag"));
    registry.clock.advance(Duration::from_secs(59));
    assert_eq!(registry.get(USERS).await.hosts().len(), 2);
    registry.clock.advance(Duration::from_secs(1));
    assert_eq!(registry.get(USERS).await.hosts().len(), 0);
    registry.stop().await.unwrap();

    // A file that is broken is put aside, and nothing is lost that heartbeats do not bring back.
    std::fs::write(&path, r#"{"version":1,"services":{"users":[{"ip":"10.0.0.1","port":0}]}}"#).unwrap();
    let registry = start(settings).await;
    assert_eq!(registry.get(USERS).await.hosts().len(), 0);
    assert!(path.with_extension("broken").exists());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn garbage_is_answered_and_harms_nobody(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0_usize..120) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let registry = open().await;
            let valid = format!("POST {USERS} HTTP/1.1\r\nhost: r\r\ncontent-type: application/json\r\ncontent-length: 30\r\n\r\n");
            for head in [&b""[..], valid.as_bytes().get(..cut).unwrap_or(valid.as_bytes()), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
                let mut stream = TcpStream::connect(registry.address).await.unwrap();
                let _ = stream.write_all(&[head, &bytes].concat()).await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
            assert_eq!(registry.form(USERS, "ip=10.0.0.1&port=80").await.status, StatusCode::OK);
            registry.stop().await.unwrap();
        });
    }
}
