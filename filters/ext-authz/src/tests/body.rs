//! Checks that carry a body.

use std::cell::RefCell;
use std::rc::Rc;

use fyke_sdk::testing::{GrpcAnswer, Outcome};
use prost::Message as _;

use super::*;
use crate::messages::{CheckRequest, CheckedHttp};

const PARTIAL: &str = "x-envoy-auth-partial-body";
const TOO_LARGE: u16 = 413;

/// What a service was shown: the body, and whether there was more.
type Seen = Rc<RefCell<Vec<(Vec<u8>, Option<String>)>>>;

fn by_http(host: &mut TestHost<ExtAuthz>) -> Seen {
    let seen = Seen::default();
    let writes = seen.clone();
    host.cluster("authz", move |asked| {
        let mark = asked.values(PARTIAL).first().map(|mark| String::from_utf8_lossy(mark.bytes()).into_owned());
        writes.borrow_mut().push((asked.body().bytes().to_vec(), mark));
        TestResponse::ok()
    });
    seen
}

fn by_grpc(host: &mut TestHost<ExtAuthz>) -> Rc<RefCell<Vec<CheckedHttp>>> {
    let seen: Rc<RefCell<Vec<CheckedHttp>>> = Rc::default();
    let writes = seen.clone();
    host.grpc("authz", move |call| {
        let attributes = CheckRequest::decode(&call.messages()[0][..]).unwrap().attributes.unwrap();
        writes.borrow_mut().push(attributes.request.unwrap().http.unwrap());
        GrpcAnswer::message([])
    });
    seen
}

fn refused(out: &Outcome) {
    assert_eq!((out.status(), out.reached_upstream()), (TOO_LARGE, false));
}

#[test]
fn a_service_of_http_gets_the_body_and_so_does_the_upstream() {
    let mut host = host("{ http: { cluster: authz }, body: { max: 6B } }");
    let seen = by_http(&mut host);
    let request = TestRequest::post("/").header(PARTIAL, "true").body("\0äbc\n");
    host.every_chunking(request, |out| assert_eq!(out.upstream().body(), "\0äbc\n"));
    assert!(seen.borrow().len() > 30);
    let whole = ("\0äbc\n".as_bytes().to_vec(), Some("false".to_owned()));
    assert!(seen.borrow().iter().all(|shown| *shown == whole), "{seen:?}");
}

#[test]
fn a_service_of_grpc_gets_the_body_as_text_or_bytes() {
    for (as_bytes, text, bytes) in [(false, "a\u{fffd}b", &b""[..]), (true, "", &b"a\xffb"[..])] {
        let mut host = host(&format!("{{ grpc: {{ cluster: authz }}, body: {{ as_bytes: {as_bytes} }} }}"));
        let seen = by_grpc(&mut host);
        let request = TestRequest::post("/").header(PARTIAL, "true").body(b"a\xffb");
        host.every_chunking(request, |out| assert_eq!(out.upstream().body().bytes(), b"a\xffb"));
        for shown in seen.take() {
            assert_eq!((shown.body.as_str(), &shown.raw_body[..], shown.size), (text, bytes, 3));
            assert_eq!(shown.headers[PARTIAL], "false");
        }
    }
}

#[test]
fn a_longer_body_is_refused_before_anybody_is_asked() {
    for configuration in
        ["{ http: { cluster: authz }, body: { max: 4B } }", "{ grpc: { cluster: authz }, body: { max: 4B } }"]
    {
        // Also where failures may pass: too much is none.
        let mut host = host(&configuration.replace(" }, body", " }, failure_mode: allow, body"));
        host.every_chunking(TestRequest::post("/").body("12345"), refused);
        // One that announces its length is refused by its head.
        refused(&host.send(TestRequest::post("/").body("12345")));
        refused(&host.send(TestRequest::post("/").chunks(["123", "45"]).trailer("x", "y")));
        assert_eq!(host.counter("ext_authz_total", [("verdict", "failure_allowed")]), 0);
    }
}

#[test]
fn the_first_bytes_of_a_longer_body_may_be_enough_and_none_is_lost() {
    for (body, shown, mark) in [("123", "123", "false"), ("1234", "1234", "false"), ("1234567", "1234", "true")] {
        let mut host = host("{ http: { cluster: authz }, body: { max: 4B, partial: true } }");
        let seen = by_http(&mut host);
        host.every_chunking(TestRequest::post("/").body(body), |out| assert_eq!(out.upstream().body(), body));
        let expected = (shown.as_bytes().to_vec(), Some(mark.to_owned()));
        assert!(seen.take().iter().all(|shown| *shown == expected), "{body}");

        let mut host = super::host("{ grpc: { cluster: authz }, body: { max: 4B, partial: true } }");
        let seen = by_grpc(&mut host);
        host.every_chunking(TestRequest::post("/").body(body), |out| assert_eq!(out.upstream().body(), body));
        for http in seen.take() {
            assert_eq!((http.body.as_str(), http.headers[PARTIAL].as_str()), (shown, mark));
            assert_eq!(http.size, i64::try_from(body.len()).unwrap());
        }
    }
}

#[test]
fn a_body_with_trailers_is_whole_and_they_go_on() {
    let mut host = host("{ http: { cluster: authz }, body: {} }");
    let seen = by_http(&mut host);
    let out = host.send(TestRequest::post("/").chunks(["ab", "cd"]).trailer("x-end", "1"));
    assert_eq!((out.upstream().body().bytes(), out.upstream().trailer("x-end").bytes()), (&b"abcd"[..], &b"1"[..]));
    assert_eq!(seen.take(), [(b"abcd".to_vec(), Some("false".to_owned()))]);
}

#[test]
fn what_has_no_body_is_asked_about_at_once() {
    let mut host = host("{ http: { cluster: authz }, body: {} }");
    let seen = by_http(&mut host);
    assert_eq!(host.send(TestRequest::get("/").header(PARTIAL, "true")).status(), 200);
    if host.ring() == Ring::Native {
        // What follows an upgrade is its protocol, and may be longer than any body.
        let talk = vec![b'x'; 10_000];
        let out = host.send(TestRequest::get("/").header("upgrade", "websocket").chunks([&talk]));
        assert_eq!(out.upstream().body().bytes(), talk);
        let out = host.send(TestRequest::new("CONNECT", "").chunks([&talk]));
        assert_eq!(out.upstream().body().bytes(), talk);
    }
    assert!(seen.take().iter().all(|shown| *shown == (Vec::new(), None)));
}

#[test]
fn nobody_gets_past_the_service_by_saying_that_it_upgrades() {
    let mut host = host("{ http: { cluster: authz }, body: {} }");
    if host.ring() != Ring::Native {
        return;
    }
    let seen = by_http(&mut host);
    for request in [
        TestRequest::get("/").body("bad"),
        TestRequest::get("/").chunks(["bad"]).header("transfer-encoding", "chunked"),
        TestRequest::post("/").chunks(["bad"]),
    ] {
        let _ = host.send(request.header("upgrade", "websocket"));
    }
    assert_eq!(seen.take(), vec![(b"bad".to_vec(), Some("false".to_owned())); 3]);
}

#[test]
fn a_verdict_counts_for_a_body_that_is_held() {
    let mut host = host("{ http: { cluster: authz, upstream_headers: [x-user] }, body: {} }");
    host.cluster("authz", |asked| match asked.body().bytes() {
        b"good" => TestResponse::ok().header("x-user", "alice"),
        _ => TestResponse::new(401).body("no"),
    });
    host.every_chunking(TestRequest::post("/").header("x-user", "root").body("good"), |out| {
        assert_eq!((out.upstream().body().bytes(), out.upstream().values("x-user").len()), (&b"good"[..], 1));
        assert_eq!(out.upstream().header("x-user"), "alice");
    });
    host.every_chunking(TestRequest::post("/").body("evil"), |out| {
        assert_eq!((out.status(), out.body().bytes(), out.reached_upstream()), (401, &b"no"[..], false));
    });
}

#[test]
fn a_service_that_fails_while_a_body_is_held_denies_or_lets_all_of_it_go() {
    for (mode, status, body) in [("deny", 403, None), ("allow", 200, Some("1234567"))] {
        let mut host = host(&format!(
            "{{ http: {{ cluster: authz, timeout: 2s }}, failure_mode: {mode}, body: {{ max: 4B, partial: true }} }}"
        ));
        host.cluster("authz", |_| TestResponse::reset());
        host.every_chunking(TestRequest::post("/").body("1234567"), |out| {
            assert_eq!(out.status(), status);
            assert_eq!(out.reached_upstream().then(|| out.upstream().body().bytes()), body.map(str::as_bytes));
        });
        host.cluster("authz", |_| TestResponse::hang());
        let flight = host.start(TestRequest::post("/").chunks(["123", "4567"]));
        assert!(!host.is_done(&flight));
        host.advance(Duration::from_millis(2100));
        let out = host.finish(flight);
        assert_eq!(out.reached_upstream().then(|| out.upstream().body().bytes()), body.map(str::as_bytes));
        // Nor is anything left where the client goes first.
        let flight = host.start(TestRequest::post("/").body("1234567"));
        host.cancel(flight);
    }
}

#[test]
fn without_a_key_no_body_is_shown() {
    let mut host = host("http: { cluster: authz }");
    let seen = by_http(&mut host);
    host.every_chunking(TestRequest::post("/").body("12345678"), |out| assert_eq!(out.upstream().body(), "12345678"));
    assert!(seen.take().iter().all(|shown| *shown == (Vec::new(), None)));
}
