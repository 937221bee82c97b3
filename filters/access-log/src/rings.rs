//! Tests in all rings.

use fyke_sdk::testing::{TestHost, TestRequest, TestResponse};

use crate::filter::AccessLog;

#[test]
fn one_stream_is_one_record() {
    let mut host = TestHost::<AccessLog>::configure(
        "{ format: json, fields: { method: request.method, path: request.path, status: response.code, agent: request.headers.user-agent } }",
    )
    .unwrap();
    host.upstream(|_| TestResponse::new(201));
    let _ = host.send(TestRequest::get("/a?b=%221%22").header("user-agent", "te\"st"));
    let _ = host.send(TestRequest::post("/two").body("x"));
    assert_eq!(
        host.records(),
        [
            r#"{"method":"GET","path":"/a?b=%221%22","status":201,"agent":"te\"st"}"#,
            r#"{"method":"POST","path":"/two","status":201,"agent":null}"#,
        ]
    );
}

#[test]
fn text_is_one_line_whatever_comes() {
    let mut host =
        TestHost::<AccessLog>::configure(r#"{ template: "%REQ(:METHOD)% %REQ(X-RAW?:AUTHORITY)% %RESPONSE_CODE%" }"#)
            .unwrap();
    let _ = host.send(TestRequest::get("/").header("x-raw", b"\xff\"a"));
    let _ = host.send(TestRequest::get("/"));
    assert_eq!(host.records(), [r"GET \xFF\x22a 200", "GET test.example 200"]);
}

#[test]
fn mistakes_are_refused() {
    for configuration in ["{ template: '%NOTHING%' }", "{ format: xml }", "{ sink: nowhere }", "{ forms: text }"] {
        assert!(TestHost::<AccessLog>::configure(configuration).is_err(), "{configuration}");
    }
}
