//! Buffers (PROXY-WASM.md, 1.4).

use crate::{
    journal,
    stage::{Stage, VERSIONS},
    table::{Row, Table},
};

pub fn rows(table: &mut Table) {
    table.group("Buffers");
    table.http(
        "H7",
        "`proxy_get_buffer_bytes`: any range; a start behind the end is empty, a length beyond it is clipped",
        "request_body: get_buffer_bytes 0 1 3 &b\nrequest_body: get_buffer_bytes 0 3 100 &b\nrequest_body: get_buffer_bytes 0 5 1 &b\n\
         request_body: get_buffer_bytes 0 100 1 &b\nrequest_body: get_buffer_bytes 0 1 0xffffffff &b\nrequest_body: get_buffer_bytes 0 0 0 &b",
        &[
            "request_body> get_buffer_bytes = 0 \"ell\"",
            "request_body> get_buffer_bytes = 0 \"lo\"",
            "request_body> get_buffer_bytes = 0 null:0",
            "request_body> get_buffer_bytes = 0 null:0",
            "request_body> get_buffer_bytes = 0 \"ello\"",
            "request_body> get_buffer_bytes = 0 null:0",
        ],
    )
    .note("start and length are added in 64 bits, so nothing overflows; Envoy says BAD_ARGUMENT there");
    table
        .http(
            "H7.phase",
            "a buffer that does not exist in this phase: NOT_FOUND",
            "request_headers: get_buffer_bytes 1 0 10 &b\nrequest_body: get_buffer_bytes 1 0 10 &b\nrequest_body: get_buffer_bytes 4 0 10 &b\n\
             request_body: get_buffer_bytes 2 0 10 &b\nrequest_body: get_buffer_bytes 9 0 10 &b\nconfigure: get_buffer_bytes 0 0 10 &b",
            &[
                "configure> get_buffer_bytes = 1 untouched",
                "request_headers> get_buffer_bytes = 1 untouched",
                "request_body> get_buffer_bytes = 1 untouched",
                "request_body> get_buffer_bytes = 1 untouched",
                "request_body> get_buffer_bytes = 1 untouched",
                "request_body> get_buffer_bytes = 1 untouched",
            ],
        )
        .note("a buffer that no version knows reads as NOT_FOUND too: the official SDK does not survive BAD_ARGUMENT");
    table.http(
        "H9",
        "`proxy_get_buffer_status`: how many bytes there are",
        "request_body: get_buffer_status 0 &4 &4\nrequest_body: get_buffer_status 1 &4 &4\nrequest_body: get_buffer_status 9 &4 &4",
        &[
            "request_body> get_buffer_status = 0 5 0",
            "request_body> get_buffer_status = 1 untouched untouched",
            "request_body> get_buffer_status = 2 untouched untouched",
        ],
    );
    set(table, "H8", "`proxy_set_buffer_bytes` replaces what there is", "0 0 100 \"other\"", "other");
    for (id, title, call, expected) in [
        ("H8.replace", "`proxy_set_buffer_bytes` from 0 to the end or beyond replaces", "0 0 5 \"HELLO!\"", "HELLO!"),
        ("H8.max", "`proxy_set_buffer_bytes` with the largest size replaces", "0 0 0xffffffff \"x\"", "x"),
        ("H8.prepend", "`proxy_set_buffer_bytes` at 0 with size 0 prepends", "0 0 0 \"oh, \"", "oh, hello"),
        ("H8.append", "`proxy_set_buffer_bytes` at the end or behind it appends", "0 0xffffffff 0 \"!\"", "hello!"),
        ("H8.end", "`proxy_set_buffer_bytes` exactly at the end appends", "0 5 0 \"!\"", "hello!"),
        (
            "H8.head",
            "`proxy_set_buffer_bytes` from 0 with a smaller size replaces the first bytes",
            "0 0 1 \"J\"",
            "Jello",
        ),
        ("H8.empty", "`proxy_set_buffer_bytes` with nothing removes", "0 0 5 \"\"", ""),
    ] {
        set(table, id, title, call, expected);
    }
    set(table, "H8.middle", "`proxy_set_buffer_bytes` in the middle replaces the range", "0 1 3 \"ipp\"", "hippo")
        .note("as the specification has it; Envoy says BAD_ARGUMENT");
    table
        .http("H8.phase", "`proxy_set_buffer_bytes` of a buffer that does not exist in this phase changes nothing", 
            "request_headers: set_buffer_bytes 1 0 10 \"x\"\nrequest_body: set_buffer_bytes 6 0 10 \"x\"\nrequest_body: set_buffer_bytes 9 0 10 \"x\"",
            &["request_headers> set_buffer_bytes = 0", "request_body> set_buffer_bytes = 0", "request_body> set_buffer_bytes = 0"])
        .note("and says OK: the official SDK would panic at anything else");
    table.row("B1", "a response body is replaced before its client sees it", || async {
        let stage = Stage::http("response_body: set_buffer_bytes 1 0 100 \"WORLD!\"").start().await;
        for version in VERSIONS {
            assert_eq!(stage.request(version).await.unwrap().text(), "WORLD!", "{version:?}");
        }
    });
    table.row("B.held", "what is held while paused is read and written as one, and goes on once it is continued", || async {
        let stage = Stage::http(
            "request_body: return 1\nrequest_trailers: get_buffer_bytes 0 0 100 &b\nrequest_trailers: set_buffer_bytes 0 5 0 \" you\"",
        )
        .start()
        .await;
        for version in VERSIONS {
            stage.request(version).await.unwrap();
            assert_eq!(stage.app.last().body, b"hello you", "{version:?}");
            journal::check(version, &stage.ended(version).await, &["request_trailers> get_buffer_bytes = 0 \"hello\""]);
        }
    });
}

fn set<'t>(
    table: &'t mut Table,
    id: &'static str,
    title: &'static str,
    call: &'static str,
    expected: &'static str,
) -> &'t mut Row {
    table.row(id, title, move || async move {
        let stage =
            Stage::http(format!("request_body: set_buffer_bytes {call}\nrequest_body: get_buffer_bytes 0 0 100 &b"))
                .start()
                .await;
        for version in VERSIONS {
            stage.request(version).await.unwrap();
            assert_eq!(stage.app.last().text(), expected, "{version:?}");
            let shown = if expected.is_empty() { "null:0".to_owned() } else { format!("{expected:?}") };
            let expected =
                ["request_body> set_buffer_bytes = 0", &*format!("request_body> get_buffer_bytes = 0 {shown}")];
            journal::check(version, &stage.ended(version).await, &expected);
        }
    })
}
