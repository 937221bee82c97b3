use std::time::UNIX_EPOCH;

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;

use super::*;
use crate::telemetry::otlp::{
    body,
    connect::Plain,
    record::Record,
    settings::header,
    span::SpanRecord,
    testing::{
        collector::{Collector, Door, Reply, When},
        head, retry_info, span,
    },
};

const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::Http];

fn settings(protocol: Protocol) -> Settings {
    let endpoint = match protocol {
        Protocol::Grpc => "http://collector:4317",
        Protocol::Http => "http://collector:4318/otlp",
    };
    Settings { protocol, ..Settings::new(endpoint.parse().unwrap()) }
}

fn client(collector: &Arc<Collector>, settings: Settings) -> Client {
    Client::new(Arc::new(settings), Arc::clone(collector) as Arc<dyn Connect>, || UNIX_EPOCH)
}

fn request(settings: &Settings) -> Bytes {
    let request = SpanRecord::request(&head(), vec![span("a").into_message()]);
    body::encode(request, settings.protocol, settings.compression)
}

/// One request against a new collector that was prepared.
async fn one(protocol: Protocol, prepare: impl FnOnce(&Collector)) -> Result<PartialSuccess, Failure> {
    let collector = Collector::new();
    prepare(&collector);
    let settings = settings(protocol);
    let body = request(&settings);
    client(&collector, settings).send(Signal::Traces, &body).await
}

fn reason(answer: &Result<PartialSuccess, Failure>) -> FailureReason {
    answer.as_ref().unwrap_err().reason
}

#[tokio::test(start_paused = true)]
async fn a_request_has_the_path_and_headers_of_its_protocol() {
    for (protocol, path) in [
        (Protocol::Grpc, "/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
        (Protocol::Http, "/otlp/v1/traces"),
    ] {
        let collector = Collector::new();
        let mut settings = settings(protocol);
        settings.compression = Compression::Gzip;
        settings.headers = vec![header("authorization", "Bearer x").unwrap()];
        let body = request(&settings);
        client(&collector, settings).send(Signal::Traces, &body).await.unwrap();
        let received = collector.received().remove(0);
        assert_eq!((received.path.as_str(), received.records), (path, vec!["a".to_owned()]));
        assert_eq!(received.headers["authorization"], "Bearer x");
        assert!(received.headers["user-agent"].to_str().unwrap().starts_with("Fyke/"));
        match protocol {
            Protocol::Grpc => {
                assert_eq!(received.headers["content-type"], "application/grpc");
                assert_eq!(received.headers["te"], "trailers");
                assert_eq!(received.headers["grpc-timeout"], "10000m");
            }
            Protocol::Http => {
                assert_eq!(received.headers["content-type"], "application/x-protobuf");
                assert_eq!(received.headers["host"], "collector:4318");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_connection_serves_many_requests() {
    for protocol in BOTH {
        let collector = Collector::new();
        let settings = settings(protocol);
        let body = request(&settings);
        let mut client = client(&collector, settings);
        for _ in 0..10 {
            client.send(Signal::Traces, &body).await.unwrap();
        }
        assert_eq!((collector.connects(), collector.received().len()), (1, 10));
    }
}

#[tokio::test(start_paused = true)]
async fn a_partial_success_is_told() {
    let partial = ExportTracePartialSuccess { rejected_spans: 4, error_message: "too old".into() };
    let message = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    for protocol in BOTH {
        let answer = one(protocol, |collector| collector.replies([Reply::Message(message.clone())])).await;
        assert_eq!(answer, Ok(PartialSuccess { rejected: 4, message: "too old".into() }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_that_breaks_is_replaced_at_once() {
    for protocol in BOTH {
        let collector = Collector::new();
        collector.replies([Reply::Ok, Reply::Cut, Reply::Ok]);
        let settings = settings(protocol);
        let body = request(&settings);
        let mut client = client(&collector, settings);
        client.send(Signal::Traces, &body).await.unwrap();
        client.send(Signal::Traces, &body).await.unwrap();
        assert_eq!((collector.connects(), collector.received().len()), (2, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_way_is_tried_again_later() {
    for protocol in BOTH {
        let refused = one(protocol, |collector| collector.doors([Door::Refuse])).await;
        assert_eq!(reason(&refused), FailureReason::Connect);
        let cut = one(protocol, |collector| collector.replies([Reply::Cut])).await;
        assert_eq!(reason(&cut), FailureReason::Transport);
        for door in [Door::Hang, Door::Silent] {
            let late = one(protocol, |collector| collector.doors([door])).await;
            assert_eq!(reason(&late), FailureReason::Timeout);
        }
        let late = one(protocol, |collector| collector.replies([Reply::Hang])).await;
        assert_eq!(reason(&late), FailureReason::Timeout);
        for failure in [refused, cut, late] {
            assert_eq!(failure.unwrap_err().retry, Retry::Later(None));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_of_grpc_is_read_from_trailers_and_from_the_head() {
    let details = || vec![("grpc-status-details-bin", retry_info(9, 0)), ("grpc-message", "full".to_owned())];
    for reply in [Reply::Trailers(Some(8), details()), Reply::Head(8, details())] {
        let failure = one(Protocol::Grpc, |collector| collector.replies([reply])).await.unwrap_err();
        assert_eq!(failure.retry, Retry::Later(Some(Duration::from_secs(9))));
        assert_eq!(failure.text, "grpc-status 8: full");
    }
    for (code, expected) in [(14, FailureReason::Unavailable), (16, FailureReason::Refused)] {
        let answer = one(Protocol::Grpc, |collector| collector.replies([Reply::Head(code, vec![])])).await;
        assert_eq!(reason(&answer), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_between_here_and_the_collector_answers_in_http() {
    let page = vec![("content-type", "text/html".to_owned())];
    for (status, expected) in [
        (503, FailureReason::Unavailable),
        (429, FailureReason::Unavailable),
        (404, FailureReason::Refused),
        (200, FailureReason::Protocol),
    ] {
        let reply = Reply::Http(status, page.clone(), b"<html>");
        let answer = one(Protocol::Grpc, |collector| collector.replies([reply])).await;
        assert_eq!(reason(&answer), expected, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_of_http_is_read_with_retry_after() {
    let wait = vec![("retry-after", "20".to_owned())];
    let reply = Reply::Http(503, wait, b"");
    let failure = one(Protocol::Http, |collector| collector.replies([reply])).await.unwrap_err();
    assert_eq!(failure.retry, Retry::Later(Some(Duration::from_secs(20))));
    let reply = Reply::Http(400, vec![("content-type", "text/plain".to_owned())], b"no \x1b tenant");
    let failure = one(Protocol::Http, |collector| collector.replies([reply])).await.unwrap_err();
    assert_eq!((failure.retry, failure.text.as_str()), (Retry::Never, "HTTP 400 Bad Request: no \\u{1b} tenant"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_over_http_counts_by_its_status_unless_it_is_something_else() {
    for (kind, body, expected) in [
        ("application/json", b"{}".as_slice(), None),
        ("text/plain", b"OK", None),
        ("text/html", b"<html>", Some(FailureReason::Protocol)),
        ("application/x-protobuf", b"<html>", Some(FailureReason::Protocol)),
    ] {
        let reply = Reply::Http(200, vec![("content-type", kind.to_owned())], body);
        let answer = one(Protocol::Http, |collector| collector.replies([reply])).await;
        assert_eq!(answer.err().map(|failure| failure.reason), expected, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_what_it_should_be_is_never_asked_for_again() {
    let cases = [
        (Protocol::Grpc, Reply::Trailers(None, vec![])),
        (Protocol::Grpc, Reply::Trailers(Some(0), vec![])),
        (Protocol::Grpc, Reply::Trailers(None, vec![("grpc-status", "fine".to_owned())])),
        (Protocol::Grpc, Reply::Message(b"<html>".to_vec())),
        (Protocol::Grpc, Reply::Message(vec![0; 65 * 1024])),
        (Protocol::Grpc, Reply::Endless),
        (Protocol::Http, Reply::Endless),
        (Protocol::Http, Reply::Message(vec![0; 65 * 1024])),
    ];
    for (protocol, reply) in cases {
        let told = format!("{protocol:?} {reply:?}");
        let failure = one(protocol, |collector| collector.replies([reply])).await.unwrap_err();
        let told = told.get(..60).unwrap_or(&told);
        assert_eq!((failure.reason, failure.retry), (FailureReason::Protocol, Retry::Never), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_and_heads_above_the_limit_are_failures() {
    let long = |count: usize| (0..count).map(|_| ("x-long", "x".repeat(8000))).collect::<Vec<_>>();
    for reply in [Reply::Trailers(Some(0), long(1)), Reply::Head(0, long(1))] {
        // Below the limit, and without a message.
        let answer = one(Protocol::Grpc, |collector| collector.replies([reply])).await;
        assert_eq!(reason(&answer), FailureReason::Protocol);
    }
    let huge = vec![("x-long", "x".repeat(100_000))];
    for reply in [Reply::Trailers(Some(0), huge.clone()), Reply::Head(0, huge.clone())] {
        let answer = one(Protocol::Grpc, |collector| collector.replies([reply])).await;
        assert!(answer.is_err());
    }
    let answer = one(Protocol::Http, |collector| collector.replies([Reply::Http(200, huge, b"")])).await;
    assert_eq!(reason(&answer), FailureReason::Protocol);
}

/// In real time: what never ends leaves paused time no moment to move. The limit of time is short instead.
#[tokio::test]
async fn garbage_and_what_never_ends_cost_one_attempt() {
    // An HTTP/2 head that goes on and on: SETTINGS, HEADERS of stream 1 without its end, then CONTINUATION.
    let settings_frame = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let headers = [0, 0, 1, 1, 0, 0, 0, 0, 1, 0x88];
    let literal = [[0x00, 0x01, b'a', 0x7f, 0x81, 0x01].as_slice(), [b'x'; 256].as_slice()].concat();
    let continuation = [[0, 1, 6, 9, 0, 0, 0, 0, 1].as_slice(), literal.as_slice()].concat();
    let pings = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let cases: Vec<(&str, Protocol, Vec<u8>, Vec<u8>)> = vec![
        ("garbage", Protocol::Grpc, b"\xde\xad\xbe\xef".repeat(100), vec![]),
        ("garbage", Protocol::Http, b"\xde\xad\xbe\xef".repeat(100), vec![]),
        ("endless garbage", Protocol::Grpc, vec![], vec![0xff; 4096]),
        ("endless garbage", Protocol::Http, vec![], vec![0xff; 4096]),
        ("HTTP/1 for HTTP/2", Protocol::Grpc, b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), vec![]),
        ("endless head", Protocol::Http, b"HTTP/1.1 200 OK\r\n".to_vec(), b"x-a: b\r\n".to_vec()),
        ("endless line", Protocol::Http, b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 512]),
        ("endless 1xx", Protocol::Http, vec![], b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        (
            "endless trailers",
            Protocol::Http,
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n".to_vec(),
            b"x-a: b\r\n".to_vec(),
        ),
        (
            "a length that is a lie",
            Protocol::Http,
            b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n".to_vec(),
            vec![0; 512],
        ),
        ("endless CONTINUATION", Protocol::Grpc, [&settings_frame[..], &headers].concat(), continuation),
        ("endless pings", Protocol::Grpc, settings_frame.to_vec(), pings.to_vec()),
        ("endless settings", Protocol::Grpc, settings_frame.to_vec(), settings_frame.to_vec()),
    ];
    for ((name, protocol, first, again), when) in
        cases.iter().flat_map(|case| [(case.clone(), When::Connected), (case.clone(), When::Asked)])
    {
        let collector = Collector::new();
        collector.doors([Door::Bytes(when, first, again)]);
        let mut settings = settings(protocol);
        settings.timeout = Duration::from_millis(200);
        let body = request(&settings);
        let mut client = client(&collector, settings);
        let answer = tokio::time::timeout(Duration::from_secs(5), client.send(Signal::Traces, &body)).await;
        assert!(answer.expect(name).is_err(), "{name}, {when:?}");
        // The connection is cut, although the client lives.
        while collector.open() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(client.send(Signal::Traces, &body).await, Ok(PartialSuccess::default()), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_that_were_given_up_leave_no_connection_behind() {
    for protocol in BOTH {
        for (door, reply) in [(Door::Silent, Reply::Ok), (Door::Serve, Reply::Hang)] {
            let collector = Collector::new();
            collector.always(door, reply);
            let settings = settings(protocol);
            let body = request(&settings);
            let mut client = client(&collector, settings);
            for _ in 0..5 {
                assert_eq!(reason(&client.send(Signal::Traces, &body).await), FailureReason::Timeout);
            }
            while collector.open() > 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(collector.connects(), 5);
        }
    }
}

#[tokio::test]
async fn sockets_of_both_kinds_are_connected_to() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("collector");
    let unix = tokio::net::UnixListener::bind(&path).unwrap();
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    for endpoint in [format!("unix:{}", path.display()), format!("localhost:{}", address.port())] {
        Plain.connect(&endpoint.parse().unwrap(), Protocol::Grpc).await.unwrap();
    }
    let (_, _) = (unix.accept().await.unwrap(), tcp.accept().await.unwrap());
    let tls = format!("https://{address}").parse().unwrap();
    assert!(Plain.connect(&tls, Protocol::Grpc).await.is_err());
}
