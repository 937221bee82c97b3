use ::bytes::Bytes;
use ::http::uri::{Authority, PathAndQuery};
use tokio::net::TcpSocket;

use super::{
    super::{AgentCheck, AgentReply, GrpcCheck, HttpCheck, HttpProtocol, Operation, TcpCheck, mongo::tests::reply},
    *,
};

fn tcp(send: &'static [u8], receive: &[&'static [u8]]) -> Kind {
    let receive = receive.iter().map(|bytes| Bytes::from_static(bytes)).collect();
    Kind::Tcp(TcpCheck { send: Bytes::from_static(send), receive })
}

const PING: Kind = Kind::Redis { key: None };

fn exists() -> Kind {
    Kind::Redis { key: Some(Bytes::from_static(b"out")) }
}

fn agent(send: &'static [u8]) -> Kind {
    Kind::Agent(AgentCheck { port: 0, send: Bytes::from_static(send) })
}

#[tokio::test]
async fn whom_nobody_listens_for_has_refused() {
    // Bound, so that no other test gets the port, but not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut probe = Probe::new(Dial(socket.local_addr().unwrap()), Arc::new(Settings::new(PING)));
    assert_eq!(failed(probe.check().await), network("connection refused"));
}

#[tokio::test]
async fn every_kind_gives_up_on_a_host_that_says_nothing() {
    let host = Host::silent().await;
    for kind in [tcp(b"x", &[b"y"]), PING, exists(), Kind::Mongo, agent(b"")] {
        assert_eq!(failed(host.hasty_probe(kind).check().await), timed_out());
    }
}

#[tokio::test]
async fn a_check_that_is_given_up_closes_its_connection() {
    let (closed, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let host = Host::start(move |mut socket| {
        let closed = closed.clone();
        async move {
            while received(&mut socket).await.is_some() {}
            closed.send(()).unwrap();
        }
    })
    .await;
    let http = || HttpCheck::new(PathAndQuery::from_static("/"), Authority::from_static("a"));
    let http2 = HttpCheck { protocol: HttpProtocol::Http2, ..http() };
    let grpc = GrpcCheck::new(Authority::from_static("a"));
    for kind in [PING, Kind::Mongo, Kind::Http(http()), Kind::Http(http2), Kind::Grpc(grpc)] {
        let mut probe = host.hasty_probe(kind);
        failed(probe.check().await);
        ends.recv().await.unwrap();
    }
}

#[tokio::test]
async fn connecting_passes_where_nothing_is_to_come_back() {
    let host = Host::silent().await;
    assert_eq!(host.probe(tcp(b"", &[])).check().await, Verdict::Passed);
    assert_eq!(host.probe(tcp(b"hello", &[])).check().await, Verdict::Passed);
}

#[tokio::test]
async fn patterns_are_found_in_order_with_anything_in_between_and_in_pieces() {
    let host = Host::start(|mut socket| async move {
        received(&mut socket).await;
        for piece in [&b"noise one no"[..], b"ise t", b"wo noise"] {
            socket.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        received(&mut socket).await;
    })
    .await;
    assert_eq!(host.probe(tcp(b"x", &[b"one", b"two"])).check().await, Verdict::Passed);
}

#[tokio::test]
async fn patterns_that_do_not_come_before_the_end_are_shown() {
    let host = Host::closing_after(b"two one").await;
    assert_eq!(
        failed(host.probe(tcp(b"x", &[b"one", b"two"])).check().await),
        network("connection closed before \"two\" was answered; it answered \"two one\"")
    );
}

#[tokio::test]
async fn a_host_that_sends_without_end_is_cut_off() {
    let host = Host::endless(b"", &[b'x'; 4096]).await;
    let too_long = |limit: usize| network(&format!("the answer is longer than {limit} bytes"));
    assert_eq!(failed(host.probe(tcp(b"x", &[b"y"])).check().await), too_long(65_536));
    assert_eq!(failed(host.probe(PING).check().await), too_long(512));
    assert_eq!(failed(host.probe(agent(b"x")).check().await), too_long(1024));
    let garbage = "hello was not answered in MongoDB's protocol: its message has an impossible length";
    assert_eq!(failed(host.probe(Kind::Mongo).check().await), network(garbage));
}

#[tokio::test]
async fn redis_passes_with_a_pong_and_keeps_its_connection() {
    let host = Host::answering(b"+PONG\r\n").await;
    let mut probe = host.probe(PING);
    for _ in 0..3 {
        assert_eq!(probe.check().await, Verdict::Passed);
    }
    assert_eq!(host.connections(), 1);

    let settings = Settings { reuse_connection: false, ..Settings::new(PING) };
    let mut probe = host.probe_with(settings);
    for _ in 0..2 {
        assert_eq!(probe.check().await, Verdict::Passed);
    }
    assert_eq!(host.connections(), 3);
}

#[tokio::test]
async fn redis_commands_are_what_the_protocol_says() {
    let (sent, mut commands) = tokio::sync::mpsc::unbounded_channel();
    let host = Host::start(move |mut socket| {
        let sent = sent.clone();
        async move {
            sent.send(received(&mut socket).await.unwrap()).unwrap();
            socket.write_all(b":0\r\n").await.unwrap();
        }
    })
    .await;
    assert_eq!(host.probe(exists()).check().await, Verdict::Passed);
    assert_eq!(commands.recv().await.unwrap(), b"*2\r\n$6\r\nEXISTS\r\n$3\r\nout\r\n");
}

#[tokio::test]
async fn redis_fails_at_once_with_what_it_answered() {
    let rows: [(Kind, &[u8], &str); 4] = [
        (PING, b"-LOADING dataset in memory\r\n", "PING answered an error: -LOADING dataset in memory"),
        (PING, b"HTTP/1.1 400 Bad Request\r\n", "PING answered \"HTTP/1.1 400 Bad Request\", expected \"+PONG\""),
        (exists(), b":1\r\n", "the key out exists: this host is taken out"),
        (exists(), b":2\r\n", "EXISTS out answered \":2\", expected \":0\""),
    ];
    for (kind, answer, words) in rows {
        let host = Host::answering(answer).await;
        assert_eq!(failed(host.probe(kind).check().await), active(words));
    }
}

#[tokio::test]
async fn a_connection_that_closed_while_it_was_idle_is_replaced_and_says_nothing_of_the_host() {
    let host = Host::closing_after(b"+PONG\r\n").await;
    let mut probe = host.probe(PING);
    for checks in 1..4 {
        assert_eq!(probe.check().await, Verdict::Passed);
        assert_eq!(host.connections(), checks);
    }
}

#[tokio::test]
async fn half_an_answer_is_a_failure_of_the_network() {
    for (kind, half) in [(PING, "+PO"), (Kind::Mongo, "\x26\0\0\0"), (agent(b"x"), "")] {
        let host = Host::closing_after(half.as_bytes()).await;
        let words = match half.len() {
            0 => "connection closed before an answer".to_owned(),
            length => format!("connection closed after {length} bytes of an answer"),
        };
        assert_eq!(failed(host.probe(kind).check().await), network(&words));
    }
}

fn leaked(bytes: Vec<u8>) -> &'static [u8] {
    bytes.leak()
}

#[tokio::test]
async fn mongo_passes_with_ok_one_and_keeps_its_connection() {
    let host = Host::answering(leaked(reply(0, b"\x08isWritablePrimary\0\x01\x10ok\0\x01\0\0\0"))).await;
    let mut probe = host.probe(Kind::Mongo);
    for _ in 0..3 {
        assert_eq!(probe.check().await, Verdict::Passed);
    }
    assert_eq!(host.connections(), 1);
}

#[tokio::test]
async fn mongo_fails_at_once_when_it_refuses_and_by_the_threshold_when_it_is_not_mongo() {
    let host = Host::answering(leaked(reply(0, b"\x10ok\0\0\0\0\0\x02errmsg\0\x03\0\0\0no\0"))).await;
    assert_eq!(failed(host.probe(Kind::Mongo).check().await), active("hello was not answered with ok: 1: no"));
    let host = Host::answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let words = "hello was not answered in MongoDB's protocol: its message has an impossible length";
    assert_eq!(failed(host.probe(Kind::Mongo).check().await), network(words));
}

#[tokio::test]
async fn an_agent_is_heard_with_and_without_an_end_of_line() {
    for answer in [&b"down 50%#backup\n"[..], b"down 50%#backup\r\nignored", b"down 50%#backup"] {
        let host = Host::closing_after(answer).await;
        let reply = AgentReply {
            operation: Some(Operation::Down),
            weight: Some(50),
            reason: Some("backup".into()),
            ..AgentReply::default()
        };
        assert_eq!(host.probe(agent(b"state\n")).check().await, Verdict::Agent(reply));
    }
}

#[tokio::test]
async fn an_agent_that_says_nothing_that_is_known_fails() {
    let host = Host::closing_after(b"hello\n").await;
    let words = "the agent said \"hello\", which has no word that is known";
    assert_eq!(failed(host.probe(agent(b"x")).check().await), network(words));
}
