//! Where a message ends is the host's to say, whatever filters do to heads and bodies.

use http::HeaderValue;

use crate::chain::{calling, chain, official};
use crate::support::{
    Proxy, Reply, Upstream,
    h2::{Client, request, whole},
};

#[tokio::test]
async fn a_body_that_flows_past_filters_of_headers_is_whole() {
    let upstream = Upstream::echo().await;
    let authz = Upstream::says("alice").await;
    let only = "headers_pause: headers_only, callbacks: [request_headers, http_call_response], ";
    let yaml = chain(upstream.address, &[("auth", calling("auth authz", "authz", only))])
        + &format!("  authz: {{ endpoints: ['{}'] }}\n", authz.address);
    let proxy = Proxy::start(yaml).await;
    let mut client = proxy.connect().await;
    for framing in [
        "content-length: 10\r\n\r\n0123456789",
        "transfer-encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n",
    ] {
        for _ in 0..20 {
            let answer = client.exchange(&format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}")).await;
            assert_eq!((answer.status(), answer.text().as_str()), (200, "0123456789"));
        }
    }
}

#[tokio::test]
async fn a_get_keeps_its_body_although_nobody_says_how_long_it_is() {
    let upstream = Upstream::echo().await;
    let proxies = [
        Proxy::plain(upstream.address).await,
        Proxy::start(chain(upstream.address, &[("f", official("upper", ""))])).await,
    ];
    for (proxy, expected) in proxies.iter().zip(["query", "QUERY"]) {
        let mut client = proxy.connect().await;
        let chunked = "GET /_search HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nquery\r\n0\r\n\r\n";
        assert_eq!(client.exchange(chunked).await.text(), expected);
        let mut client = Client::to(proxy.web()).await;
        let (response, mut body) = client.begin(request("GET", "/_search"), false).await;
        crate::support::h2::push(&mut body, &b"query"[..], true).await;
        assert_eq!(whole(response).await.unwrap().body, expected.as_bytes());
    }
}

#[tokio::test]
async fn a_length_that_a_filter_claims_means_nothing() {
    for (more, exact) in [("", false), ("callbacks: [request_headers, response_headers], ", true)] {
        let upstream = Upstream::echo().await;
        let proxy = Proxy::start(chain(upstream.address, &[("liar", official("length 10", more))])).await;
        let mut client = proxy.connect().await;
        for (framing, body) in [
            ("\r\n", ""),
            ("content-length: 3\r\n\r\nabc", "abc"),
            ("transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc"),
        ] {
            let answer = client.exchange(&format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}")).await;
            assert_eq!((answer.status(), answer.text().as_str()), (200, body));
            // A guest that could change the body may leave its length unknown, but never wrong.
            let request = upstream.last();
            for said in [request.all("content-length"), answer.all("content-length")] {
                assert!(said.is_empty() || said == [body.len().to_string()], "{said:?}");
                assert!(!exact || !said.is_empty() || framing.contains("chunked"), "the length was known");
            }
        }
        assert_eq!(upstream.connections(), 1, "every message ended where the next one began");
    }
}

#[tokio::test]
async fn a_local_answer_to_head_has_no_body_in_either_version() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::start(chain(upstream.address, &[("f", official("respond 403 no", ""))])).await;
    let mut client = Client::to(proxy.web()).await;
    let (response, _) = client.begin(request("HEAD", "/"), true).await;
    let answer = whole(response).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (403, 0));
    assert_eq!(answer.headers["content-length"], "2");
    let mut client = proxy.connect().await;
    client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.response("HEAD").await.status(), 403);
    assert_eq!(client.response("GET").await.text(), "no");
    proxy.metric_reaches("fyke_listener_requests_total", &[("listener", "web"), ("class", "4xx")], 3.0).await;
}

#[tokio::test]
async fn cookies_in_crumbs_reach_an_http1_upstream_whole() {
    let upstream = Upstream::http(|request| Reply::ok(request.all("cookie").join("|"))).await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut client = Client::to(proxy.web()).await;
    let mut get = request("GET", "/");
    for crumb in ["a=1", "b=2"] {
        get.headers_mut().append("cookie", HeaderValue::from_static(crumb));
    }
    let (response, _) = client.begin(get, true).await;
    assert_eq!(whole(response).await.unwrap().body, b"a=1; b=2");
}

/// Ends every answer at its head (action 2 of a headers callback).
const BEHEADS: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
    (func (export "proxy_on_context_create") (param i32 i32))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 2)))"#;

#[tokio::test]
async fn an_answer_that_a_filter_ends_at_its_head_has_no_body() {
    let upstream = Upstream::http(|_| Reply::ok(vec![b'x'; 300_000])).await;
    let yaml = chain(upstream.address, &[("f", "{ module: beheads.wasm }".to_owned())]);
    let proxy = crate::support::Launch::new(yaml).file("beheads.wasm", wat::parse_str(BEHEADS).unwrap()).start().await;
    let mut client = proxy.connect().await;
    for _ in 0..3 {
        let answer = client.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!((answer.status(), answer.body.len(), answer.header("content-length")), (200, 0, Some("0")));
    }
    let mut client = Client::to(proxy.web()).await;
    assert_eq!(client.get("/").await.body, b"");
    proxy.metric_reaches("fyke_listener_requests_total", &[("class", "2xx")], 4.0).await;
}
