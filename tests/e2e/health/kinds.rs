//! Each kind of check, against an endpoint that changes its mind.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};

use super::{SOON, becomes, endpoint};
use crate::support::{Conn, Launch, Proxy, Site, Upstream, endpoints, eventually, h2 as frames, tls::Authority};

/// What an endpoint says to whoever asks.
#[derive(Clone, Default)]
struct Words(Arc<Mutex<Vec<u8>>>);

impl Words {
    fn of(words: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(words.to_vec())))
    }

    fn are(&self, words: &[u8]) {
        *self.0.lock().unwrap() = words.to_vec();
    }

    fn now(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

/// Says its words to everything that comes.
async fn speaker(words: &Words) -> Upstream {
    let words = words.clone();
    Upstream::scripted(move |mut conn, _, _| {
        let words = words.clone();
        async move { while !conn.some().await.is_empty() && conn.try_send(words.now()).await.is_ok() {} }
    })
    .await
}

async fn checked(check: &str, upstream: &Upstream) -> Proxy {
    let cluster = format!("health_check: {{ {check}, {SOON} }}, {}", endpoints(&[upstream.address]));
    Site::app("", &cluster).start().await
}

/// Well, then not, then well again.
async fn goes_and_comes(proxy: &Proxy, words: &Words, bad: &[u8], good: &[u8], why: &str) {
    proxy.metric_reaches("fyke_cluster_health_checks_total", &[("outcome", "passed")], 1.0).await;
    becomes(proxy, 0, "healthy").await;
    words.are(bad);
    let page = becomes(proxy, 0, "unhealthy").await;
    assert!(page["last_check"].as_str().unwrap().contains(why), "{page}");
    words.are(good);
    becomes(proxy, 0, "healthy").await;
}

#[tokio::test]
async fn bytes_are_sent_and_expected() {
    let words = Words::of(b"xx PONG yy");
    let upstream = speaker(&words).await;
    let proxy = checked("tcp: { send: PING, receive: [PONG] }", &upstream).await;
    // What never comes is waited for, until the time is over.
    let cluster = format!(
        "health_check: {{ tcp: {{ send: PING, receive: [PONG] }}, interval: 50ms, no_traffic_interval: 50ms, timeout: 100ms }}, {}",
        endpoints(&[upstream.address])
    );
    goes_and_comes(&Site::app("", &cluster).start().await, &words, b"what?", b"PONG", "").await;
    becomes(&proxy, 0, "healthy").await;
}

#[tokio::test]
async fn redis_answers_a_ping_and_has_no_key_that_takes_it_out() {
    let words = Words::of(b"+PONG\r\n");
    let upstream = speaker(&words).await;
    let proxy = checked("redis: {}", &upstream).await;
    goes_and_comes(&proxy, &words, b"-LOADING Redis is loading\r\n", b"+PONG\r\n", "LOADING").await;
    let words = Words::of(b":0\r\n");
    let upstream = speaker(&words).await;
    let proxy = checked("redis: { key: out }", &upstream).await;
    goes_and_comes(&proxy, &words, b":1\r\n", b":0\r\n", "the key out exists").await;
}

#[tokio::test]
async fn mongo_answers_a_hello() {
    let ok = |value: f64| {
        let mut message = 38_i32.to_le_bytes().to_vec();
        message.extend_from_slice(&1_i32.to_le_bytes());
        let mut rest = 2013_i32.to_le_bytes().to_vec();
        rest.extend_from_slice(&[0; 5]);
        rest.extend_from_slice(&17_i32.to_le_bytes());
        rest.extend_from_slice(b"\x01ok\0");
        rest.extend_from_slice(&value.to_le_bytes());
        rest.push(0);
        (message, rest)
    };
    let value = Arc::new(Mutex::new(1.0));
    let now = Arc::clone(&value);
    let upstream = Upstream::scripted(move |mut conn: Conn, _, _| {
        let now = Arc::clone(&now);
        async move {
            loop {
                let asked = conn.some().await;
                let Some(id) = asked.get(4..8) else { return };
                let (head, rest) = ok(*now.lock().unwrap());
                if conn.try_send([head, id.to_vec(), rest].concat()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let proxy = checked("mongo: {}", &upstream).await;
    proxy.metric_reaches("fyke_cluster_health_checks_total", &[("outcome", "passed")], 1.0).await;
    *value.lock().unwrap() = 0.0;
    let page = becomes(&proxy, 0, "unhealthy").await;
    assert!(page["last_check"].as_str().unwrap().contains("ok: 1"), "{page}");
    *value.lock().unwrap() = 1.0;
    becomes(&proxy, 0, "healthy").await;
}

#[tokio::test]
async fn grpc_says_whether_it_serves() {
    let status = Words::of(&[1]);
    let now = status.clone();
    let upstream = frames::Upstream::scripted(move |request, mut respond| {
        let now = now.clone();
        async move {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut out = respond.send_response(head, false).unwrap();
            let message = Bytes::from(vec![0, 0, 0, 0, 2, 8, now.now()[0]]);
            frames::push(&mut out, message, false).await;
            let trailers =
                HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
            let _ = out.send_trailers(trailers);
        }
    })
    .await;
    let cluster = format!(
        "protocol: http2, health_check: {{ grpc: 'some.Service', {SOON} }}, {}",
        endpoints(&[upstream.address])
    );
    let proxy = Site::app("", &cluster).start().await;
    goes_and_comes(&proxy, &status, &[2], &[1], "NOT_SERVING").await;
    assert_eq!(upstream.connections(), 1, "one connection serves all checks");
}

#[tokio::test]
async fn an_agent_says_it_in_words() {
    let words = Words::of(b"up\n");
    let (agent, upstream) = (agent(&words).await, Upstream::says("x").await);
    let check = format!("agent: {{ port: {} }}", agent.address.port());
    let proxy = checked(&check, &upstream).await;
    proxy.metric_reaches("fyke_cluster_health_checks_total", &[("outcome", "passed")], 1.0).await;
    words.are(b"drain\n");
    becomes(&proxy, 0, "draining").await;
    assert_eq!(proxy.get("/x").await.text(), "x", "there is nobody else");
    words.are(b"ready 25%\n");
    let page = becomes(&proxy, 0, "healthy").await;
    assert_eq!(page["weight_percent"], 25);
    words.are(b"down # the disk is full\n");
    becomes(&proxy, 0, "unhealthy").await;
    words.are(b"up 100%\n");
    becomes(&proxy, 0, "healthy").await;
    // Whoever says nothing that can be read has failed.
    words.are(&[0xff; 2000]);
    becomes(&proxy, 0, "unhealthy").await;
}

/// Says what its words are now to whoever connects.
async fn agent(words: &Words) -> Upstream {
    let words = words.clone();
    Upstream::scripted(move |mut conn, _, _| {
        let words = words.clone();
        async move {
            let _ = conn.try_send(words.now()).await;
        }
    })
    .await
}

#[tokio::test]
async fn an_agent_beside_the_checks_says_what_its_operator_wants() {
    let words = Words::of(b"up\n");
    let (agent, upstream) = (agent(&words).await, Upstream::says("x").await);
    let cluster = format!(
        "health_check: {{ http: /, {SOON} }}, agent_check: {{ port: {}, interval: 50ms }}, {}",
        agent.address.port(),
        endpoints(&[upstream.address])
    );
    let proxy = Site::app("", &cluster).start().await;
    proxy.metric_reaches("fyke_cluster_health_checks_total", &[("outcome", "passed")], 1.0).await;
    words.are(b"50% drain\n");
    let page = becomes(&proxy, 0, "draining").await;
    assert_eq!(page["weight_percent"], 50);
    // Checks that pass do not take back what the agent wants.
    let passed = proxy.metric("fyke_cluster_health_checks_total", &[("outcome", "passed")]).await;
    proxy.metric_reaches("fyke_cluster_health_checks_total", &[("outcome", "passed")], passed + 3.0).await;
    assert_eq!(endpoint(&proxy, 0).await["health"], "draining");
    words.are(b"ready down # the disk is full\n");
    let page = becomes(&proxy, 0, "unhealthy").await;
    assert!(page["reasons"].to_string().contains("its agent says that it is down"), "{page}");
    // Nor does an agent that says nothing that is known.
    let asked = agent.connections();
    words.are(b"good morning\n");
    eventually("the agent is asked again", async || (agent.connections() > asked + 2).then_some(())).await;
    assert_eq!(endpoint(&proxy, 0).await["health"], "unhealthy");
    words.are(b"up 100%\n");
    let page = becomes(&proxy, 0, "healthy").await;
    assert!(page["weight_percent"].is_null(), "what is written: {page}");
}

#[tokio::test]
async fn endpoints_with_tls_are_checked_with_tls() {
    let authority = Authority::new();
    let (good, foreign) = (authority.issue(&["app.example"]), Authority::new());
    let bad = foreign.issue(&["app.example"]);
    let mut addresses = Vec::new();
    for config in [authority.server(&good, false, &["http/1.1"]), foreign.server(&bad, false, &["http/1.1"])] {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(socket.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let mut conn = Conn::patient(stream);
                    while conn.request().await.is_some() {
                        if conn.try_send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
    }
    let cluster = format!(
        "tls: {{ ca: ca.pem, sni: app.example }}, health_check: {{ http: /healthz, {SOON} }}, {}",
        endpoints(&addresses)
    );
    let proxy = Launch::new(Site::app("", &cluster).yaml()).file("ca.pem", authority.pem()).start().await;
    let page = becomes(&proxy, 1, "unhealthy").await;
    assert!(page["last_check"].as_str().unwrap().contains("certificate"), "{page}");
    for _ in 0..5 {
        assert_eq!(proxy.get("/x").await.text(), "ok");
    }
}
