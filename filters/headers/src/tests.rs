//! In all rings.

use fyke_sdk::testing::{TestHost, TestRequest, TestResponse};

use crate::HeadersFilter;

#[test]
fn changes_are_made_in_their_order_on_both_ways() {
    let mut host = TestHost::<HeadersFilter>::configure(
        r#"
        request: { remove: [X-Secret], set: { X-Env: prod }, add: { x-hop: fyke } }
        response: { remove: [server], set: { x-frame-options: DENY }, add: { x-many: b } }
        "#,
    )
    .unwrap();
    host.upstream(|_| TestResponse::ok().header("server", "ancient").header("x-many", "a"));
    let out = host.send(
        TestRequest::get("/")
            .header("x-secret", "1")
            .header("x-secret", "2")
            .header("x-env", "dev")
            .header("x-hop", "a"),
    );
    assert!(!out.upstream().has_header("x-secret"));
    assert_eq!(out.upstream().values("x-env"), ["prod"]);
    assert_eq!(out.upstream().values("x-hop"), ["a", "fyke"]);
    assert_eq!(out.header("x-frame-options"), "DENY");
    assert_eq!(out.values("x-many"), ["a", "b"]);
    assert!(!out.values("server").iter().any(|server| *server == "ancient"));
}

#[test]
fn values_speak_of_the_stream_as_it_arrived() {
    let mut host = TestHost::<HeadersFilter>::configure(
        r#"
        request:
          set: { x-path: "%{request.path}", x-was: "%{request.headers.x-path}", x-part: "100%% %{request.method}", x-claim: "%{request.headers.x-absent}" }
          add: { x-none: "%{request.headers.x-absent}" }
        response: { set: { x-status: "%{response.code}" } }
        "#,
    )
    .unwrap();
    host.upstream(|_| TestResponse::new(202));
    let out = host.send(TestRequest::get("/a?b").header("x-path", "before").header("x-claim", "root"));
    assert!(!out.upstream().has_header("x-claim"), "nothing to set, and nobody else may");
    assert_eq!(out.upstream().values("x-path"), ["/a?b"]);
    assert_eq!(out.upstream().header("x-was"), "before");
    assert_eq!(out.upstream().header("x-part"), "100% GET");
    assert!(!out.upstream().has_header("x-none"));
    assert_eq!(out.header("x-status"), "202");
}

#[test]
fn values_need_not_be_text() {
    let mut host =
        TestHost::<HeadersFilter>::configure(r#"request: { set: { x-copy: "%{request.headers.x-raw}" } }"#).unwrap();
    let out = host.send(TestRequest::get("/").header("x-raw", b"\xff\xfe"));
    assert_eq!(out.upstream().header("x-copy"), b"\xff\xfe");
}

#[test]
fn nothing_to_do_is_nothing_done() {
    let mut host = TestHost::<HeadersFilter>::configure("").unwrap();
    let out = host.send(TestRequest::get("/").header("x-a", "1"));
    assert_eq!((out.upstream().header("x-a").bytes(), out.status()), (&b"1"[..], 200));
}

#[test]
fn mistakes_are_refused_at_their_place() {
    for (configuration, path) in [
        ("request: { remove: [a, 'b c'] }", "request.remove[1]"),
        ("response: { set: { ':status': '200' } }", "response.set.:status"),
        ("request: { set: { host: x } }", "request.set.host"),
        ("request: { add: { content-length: '3' } }", "request.add.content-length"),
        ("request: { set: { x: \"a\\nb\" } }", "request.set.x"),
        ("request: { set: { x: 50% } }", "request.set.x"),
        ("requests: {}", "requests"),
    ] {
        let error = TestHost::<HeadersFilter>::configure(configuration).err();
        assert_eq!(error.as_ref().map(|error| error.path()), Some(path), "{configuration}: {error:?}");
    }
}

#[test]
fn a_new_configuration_is_for_the_streams_to_come_and_a_refused_one_for_none() {
    let mut host = TestHost::<HeadersFilter>::configure("request: { set: { x-version: '1' } }").unwrap();
    assert_eq!(host.send(TestRequest::get("/")).upstream().header("x-version"), "1");
    host.reload("request: { set: { x-version: '2' } }").unwrap();
    assert_eq!(host.send(TestRequest::get("/")).upstream().header("x-version"), "2");
    assert_eq!(host.reload("request: { remove: [''] }").unwrap_err().path(), "request.remove[0]");
    assert_eq!(host.send(TestRequest::get("/")).upstream().header("x-version"), "2");
}
