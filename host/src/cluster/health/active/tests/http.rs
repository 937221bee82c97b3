use ::http::{
    HeaderValue, Method,
    header::{ACCEPT, USER_AGENT},
    uri::{Authority, PathAndQuery},
};

use super::{
    super::{Exclusion, HttpCheck, HttpProtocol},
    *,
};

fn check() -> HttpCheck {
    HttpCheck::new(PathAndQuery::from_static("/healthz?deep"), Authority::from_static("users.internal:80"))
}

fn get() -> Kind {
    Kind::Http(check())
}

#[tokio::test]
async fn an_expected_status_passes_and_the_connection_is_kept() {
    let host = Host::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let mut probe = host.probe(get());
    for _ in 0..3 {
        assert_eq!(probe.check().await, Verdict::Passed);
    }
    assert_eq!(host.connections(), 1);
}

#[tokio::test]
async fn a_connection_is_not_kept_where_either_side_does_not_want_it() {
    let host = Host::answering(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    let mut probe = host.probe(get());
    for _ in 0..2 {
        assert_eq!(probe.check().await, Verdict::Passed);
    }
    assert_eq!(host.connections(), 2);

    let host = Host::answering(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let kind = Kind::Http(HttpCheck { expected: vec![200..=299], ..check() });
    let mut probe = host.probe_with(Settings { reuse_connection: false, ..Settings::new(kind) });
    for _ in 0..2 {
        assert_eq!(probe.check().await, Verdict::Passed);
    }
    assert_eq!(host.connections(), 2);
}

#[tokio::test]
async fn a_host_that_closes_idle_connections_passes_all_the_same() {
    let host = Host::closing_after(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let mut probe = host.probe(get());
    for _ in 0..5 {
        assert_eq!(probe.check().await, Verdict::Passed);
    }
    assert_eq!(host.connections(), 5);
}

#[tokio::test]
async fn the_request_is_the_one_that_was_asked_for() {
    let (sent, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let host = Host::start(move |mut socket| {
        let sent = sent.clone();
        async move {
            sent.send(String::from_utf8(received(&mut socket).await.unwrap()).unwrap()).unwrap();
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    })
    .await;
    assert_eq!(host.probe(get()).check().await, Verdict::Passed);
    assert_eq!(
        requests.recv().await.unwrap(),
        "GET /healthz?deep HTTP/1.1\r\nuser-agent: Fyke/HC\r\nhost: users.internal:80\r\n\r\n"
    );
    let mut other = HttpCheck { method: Method::HEAD, ..check() };
    other.headers.insert(USER_AGENT, HeaderValue::from_static("mine"));
    other.headers.append(ACCEPT, HeaderValue::from_static("a"));
    other.headers.append(ACCEPT, HeaderValue::from_static("b"));
    assert_eq!(host.probe(Kind::Http(other)).check().await, Verdict::Passed);
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("HEAD /healthz?deep HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("user-agent: mine\r\n") && !request.contains("Fyke"), "{request}");
    assert!(request.contains("accept: a\r\naccept: b\r\n"), "{request}");
}

#[tokio::test]
async fn an_unexpected_status_fails_at_once_and_a_retriable_one_does_not() {
    let host = Host::answering(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n").await;
    let words = "GET /healthz?deep answered 500, expected 200";
    assert_eq!(failed(host.probe(get()).check().await), active(words));

    let kind = Kind::Http(HttpCheck { expected: vec![200..=299, 404..=404], retriable: vec![500..=502], ..check() });
    let words = "GET /healthz?deep answered 500, expected 200-299, 404";
    assert_eq!(failed(host.probe(kind).check().await), (FailureKind::Retriable, words.into()));
}

#[tokio::test]
async fn headers_ask_to_be_spared_or_left_out() {
    let host = Host::answering(b"HTTP/1.1 200 OK\r\nx-envoy-degraded: \r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(host.probe(get()).check().await, Verdict::Degraded);

    let host =
        Host::answering(b"HTTP/1.1 503 No\r\nx-envoy-immediate-health-check-fail: 1\r\ncontent-length: 0\r\n\r\n")
            .await;
    let failure = failure(host.probe(get()).check().await);
    assert_eq!((failure.kind, failure.exclusion), (FailureKind::Active, Exclusion::Exclude));
    assert_eq!(
        failure.words,
        "GET /healthz?deep answered 503, expected 200; the host asked to be left out \
         (x-envoy-immediate-health-check-fail)"
    );

    let host =
        Host::answering(b"HTTP/1.1 200 OK\r\nx-envoy-immediate-health-check-fail: 1\r\ncontent-length: 0\r\n\r\n")
            .await;
    assert_eq!(host.probe(get()).check().await, Verdict::Passed);
}

#[tokio::test]
async fn a_host_that_hangs_before_or_in_its_answer_times_out() {
    let host = Host::silent().await;
    assert_eq!(failed(host.hasty_probe(get()).check().await), timed_out());
    let host = Host::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhal").await;
    assert_eq!(failed(host.hasty_probe(get()).check().await), timed_out());
    let http2 = Kind::Http(HttpCheck { protocol: HttpProtocol::Http2, ..check() });
    assert_eq!(failed(Host::silent().await.hasty_probe(http2).check().await), timed_out());
}

#[tokio::test]
async fn a_host_that_closes_half_way_is_a_failure_of_the_network() {
    let half = "connection closed before the answer was complete";
    for answer in [&b""[..], b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhal"] {
        let host = Host::closing_after(answer).await;
        let (kind, words) = failed(host.probe(get()).check().await);
        assert_eq!(kind, FailureKind::Network);
        assert_eq!(words, half);
    }
}

#[tokio::test]
async fn what_is_not_http_is_a_failure_of_the_network() {
    let host = Host::closing_after(b"+PONG and more of it\r\n").await;
    let (kind, words) = failed(host.probe(get()).check().await);
    assert_eq!(kind, FailureKind::Network);
    assert!(words.starts_with("the answer is not HTTP"), "{words}");
    let http2 = Kind::Http(HttpCheck { protocol: HttpProtocol::Http2, ..check() });
    let host = Host::closing_after(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
    assert_eq!(failed(host.probe(http2).check().await).0, FailureKind::Network);
}

#[tokio::test]
async fn headers_without_end_are_cut_off_and_a_body_without_end_costs_only_the_connection() {
    let host = Host::endless(b"HTTP/1.1 200 OK\r\n", b"x-more: and more\r\n").await;
    assert_eq!(failed(host.probe(get()).check().await).0, FailureKind::Network);
    let host = Host::endless(b"HTTP/1.1 200 OK\r\nx-long: ", &[b'x'; 4096]).await;
    assert_eq!(failed(host.probe(get()).check().await), network("the answer's headers are too long"));

    let host = Host::endless(b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 4096]).await;
    let mut probe = host.probe(get());
    for _ in 0..2 {
        assert_eq!(probe.check().await, Verdict::Passed);
    }
    assert_eq!(host.connections(), 2);
}
