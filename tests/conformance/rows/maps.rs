//! Header and trailer maps (PROXY-WASM.md, 1.4).

use crate::{
    journal,
    stage::{Stage, VERSIONS},
    table::{Row, Table},
};

pub fn rows(table: &mut Table) {
    table.group("Header and trailer maps");
    table.http("H10", "`proxy_get_header_map_size`: the bytes that `proxy_get_header_map_pairs` would give", 
        "request_headers: get_header_map_size 0 &4\nrequest_trailers: get_header_map_size 1 &4\nresponse_headers: get_header_map_size 2 &4",
        &["request_headers> get_header_map_size = 0 247", "request_trailers> get_header_map_size = 0 18", "response_headers> get_header_map_size = 0 106"])
        .note("as the specification has it; Envoy counts names and values only");
    table.http(
        "H11",
        "`proxy_get_header_map_pairs`: pseudo headers first, names in lower case, every value an entry",
        "request_headers: get_header_map_pairs 0 &p\nresponse_headers: get_header_map_pairs 2 &p",
        &[
            "request_headers> get_header_map_pairs = 0 [:method=POST;:path=/path?q=1;:authority=test.example;:scheme=http;x-a=1;x-a=2;**]",
            "response_headers> get_header_map_pairs = 0 [:status=200;x-up=u;set-cookie=a=1;set-cookie=b=2;**]",
        ],
    );
    table
        .http("M1", "a map that does not exist in this phase: OK and empty, or NOT_FOUND", 
            "configure: get_header_map_pairs 0 &p\nconfigure: get_header_map_size 0 &4\nconfigure: get_header_map_value 0 \"x\" &b\nconfigure: add_header_map_value 0 \"x\" \"y\"\n\
             request_headers: get_header_map_pairs 2 &p\nrequest_headers: get_header_map_value 2 \":status\" &b\nrequest_headers: add_header_map_value 2 \"x\" \"y\"\n\
             request_headers: replace_header_map_value 6 \"x\" \"y\"\nrequest_headers: remove_header_map_value 8 \"x\"\nrequest_headers: set_header_map_pairs 4 [a=b]\n\
             request_headers: get_header_map_pairs 8 &p",
            &[
                "configure> get_header_map_pairs = 0 null:0",
                "configure> get_header_map_size = 0 0",
                "@new configure> get_header_map_value = 1 untouched",
                "@old configure> get_header_map_value = 0 null:0",
                "configure> add_header_map_value = 0",
                "request_headers> get_header_map_pairs = 0 null:0",
                "@new request_headers> get_header_map_value = 1 untouched",
                "request_headers> add_header_map_value = 0",
                "request_headers> replace_header_map_value = 0",
                "request_headers> remove_header_map_value = 0",
                "request_headers> set_header_map_pairs = 0",
                "request_headers> get_header_map_pairs = 0 null:0",
            ])
        .note("Envoy's BAD_ARGUMENT makes guests of the official SDK panic (envoy#26485)");
    table.http(
        "H13",
        "`proxy_get_header_map_value`: the first value, in any case of the name",
        "request_headers: get_header_map_value 0 \"x-a\" &b\nrequest_headers: get_header_map_value 0 \"X-A\" &b\nrequest_headers: get_header_map_value 0 \":path\" &b\n\
         request_headers: get_header_map_value 0 \":method\" &b\nrequest_headers: get_header_map_value 0 \"host\" &b\nrequest_headers: get_header_map_value 0 \":authority\" &b",
        &[
            "request_headers> get_header_map_value = 0 \"1\"",
            "request_headers> get_header_map_value = 0 \"1\"",
            "request_headers> get_header_map_value = 0 \"/path?q=1\"",
            "request_headers> get_header_map_value = 0 \"POST\"",
            "request_headers> get_header_map_value = 0 \"test.example\"",
            "request_headers> get_header_map_value = 0 \"test.example\"",
        ],
    )
    .note("`host` and `:authority` are one, however the client wrote it");
    table.http(
        "H13.missing",
        "`proxy_get_header_map_value` of a missing key: NOT_FOUND; in 0.1.0 OK and empty",
        "request_headers: get_header_map_value 0 \"x-missing\" &b\nrequest_headers: get_header_map_value 0 \"\" &b",
        &[
            "@new request_headers> get_header_map_value = 1 untouched",
            "@old request_headers> get_header_map_value = 0 null:0",
            "@new request_headers> get_header_map_value = 1 untouched",
            "@old request_headers> get_header_map_value = 0 null:0",
        ],
    );
    table.http("M2", "an empty value is there, a missing one is not", 
        "request_headers: add_header_map_value 0 \"x-empty\" \"\"\nrequest_headers: get_header_map_value 0 \"x-empty\" &b",
        &["request_headers> add_header_map_value = 0", "request_headers> get_header_map_value = 0 null:0"]);
    writes(table);
    trailers(table);
}

fn writes(table: &mut Table) {
    sent(
        table,
        "H14",
        "`proxy_add_header_map_value` appends an entry",
        "add_header_map_value 0 \"x-a\" \"3\"",
        &[("x-a", &["1", "2", "3"])],
    );
    sent(
        table,
        "H15",
        "`proxy_replace_header_map_value` leaves exactly one",
        "replace_header_map_value 0 \"X-A\" \"9\"",
        &[("x-a", &["9"])],
    );
    sent(
        table,
        "H15.new",
        "`proxy_replace_header_map_value` of a missing key adds it",
        "replace_header_map_value 0 \"x-n\" \"9\"",
        &[("x-n", &["9"])],
    );
    sent(
        table,
        "H16",
        "`proxy_remove_header_map_value` removes every entry of a name",
        "remove_header_map_value 0 \"X-A\"",
        &[("x-a", &[])],
    );
    sent(
        table,
        "H16.missing",
        "`proxy_remove_header_map_value` of a missing key is OK",
        "remove_header_map_value 0 \"x-m\"",
        &[("x-m", &[])],
    );
    sent(
        table,
        "H12",
        "`proxy_set_header_map_pairs` replaces everything, pseudo headers too",
        "set_header_map_pairs 0 [:method=POST;:path=/else;:authority=b;:scheme=http;x-b=1]",
        &[("x-a", &[]), ("x-b", &["1"]), ("host", &["b"]), (":path", &["/else"])],
    );
    sent(
        table,
        "M3",
        "pseudo headers are written like any other",
        "replace_header_map_value 0 \":path\" \"/else?r=2\"",
        &[(":path", &["/else?r=2"])],
    );
    sent(
        table,
        "M3.authority",
        "`:authority` is what the upstream gets as host",
        "replace_header_map_value 0 \":authority\" \"b.example\"",
        &[("host", &["b.example"])],
    );
    sent(
        table,
        "M4",
        "names are written in lower case",
        "add_header_map_value 0 \"X-UPPER\" \"Value\"",
        &[("x-upper", &["Value"])],
    );
    sent(
        table,
        "M5",
        "a name or value that HTTP forbids is not written, and says OK",
        "add_header_map_value 0 \"x-n\" \"a\\r\\nx-evil: 1\"",
        &[("x-n", &[]), ("x-evil", &[])],
    )
    .note("splitting a message is never allowed; the official SDK would panic at a refusal, so the log tells");
    sent(
        table,
        "M5.name",
        "a name with spaces is not written",
        "add_header_map_value 0 \"x n\" \"a\"",
        &[("x n", &[])],
    );
    sent(
        table,
        "M6",
        "malformed serialized pairs are an empty list",
        "set_header_map_pairs 0 \"\\xff\\xff\\xff\\x7f\"",
        &[("x-a", &[]), ("host", &[""]), (":path", &["/path?q=1"])],
    )
    .note("what a request cannot be sent without stays: method and path, and an empty Host (RFC 9112, 3.2)");
    table.row("M7", "response headers are written, `:status` too", || async {
        let stage = Stage::http("response_headers: replace_header_map_value 2 \":status\" \"418\"\nresponse_headers: add_header_map_value 2 \"x-n\" \"n\"").start().await;
        for version in VERSIONS {
            let answer = stage.request(version).await.unwrap();
            assert_eq!((answer.status(), answer.header("x-n"), answer.header("x-up")), (418, Some("n"), Some("u")), "{version:?}");
        }
    });
}

/// One write in the request's headers callback, and what the upstream then gets.
fn sent<'t>(
    table: &'t mut Table,
    id: &'static str,
    title: &'static str,
    call: &'static str,
    expected: &'static [(&'static str, &'static [&'static str])],
) -> &'t mut Row {
    table.row(id, title, move || async move {
        let stage = Stage::http(format!("request_headers: {call}")).start().await;
        for version in VERSIONS {
            stage.request(version).await.unwrap();
            let seen = stage.app.last();
            for (name, values) in expected {
                let got = if *name == ":path" { vec![seen.path()] } else { seen.all(name) };
                assert_eq!(got, *values, "{name} in version {}: {seen:?}", version.name);
            }
            let name = call.split(' ').next().unwrap();
            journal::check(version, &stage.ended(version).await, &[&format!("request_headers> {name} = 0")]);
        }
    })
}

fn trailers(table: &mut Table) {
    table.row("M8", "trailers are read and written on both sides", || async {
        let stage = Stage::http(
            "request_headers: replace_header_map_value 0 \"trailer\" \"x-n\"\nrequest_trailers: add_header_map_value 1 \"x-n\" \"n\"\nrequest_trailers: remove_header_map_value 1 \"x-t\"\n\
             response_trailers: replace_header_map_value 3 \"x-rt\" \"other\"",
        )
        .start()
        .await;
        for version in VERSIONS {
            let answer = stage.request(version).await.unwrap();
            let seen = stage.app.last();
            assert_eq!((seen.trailer("x-n"), seen.trailer("x-t")), (Some("n"), None), "{version:?}");
            assert_eq!(answer.trailer("x-rt"), Some("other"), "{version:?}");
        }
    });
    table.row("M9", "trailers are added in the body callback that ends a message without any", || async {
        let stage =
            Stage::http("request_headers: replace_header_map_value 0 \"trailer\" \"x-n\"\nrequest_body: get_header_map_pairs 1 &p\nrequest_body: add_header_map_value 1 \"x-n\" \"n\"")
                .start()
                .await;
        for version in VERSIONS {
            stage
                .send(version, "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
                .await
                .unwrap();
            let journal = stage.ended(version).await;
            journal::check(
                version,
                &journal,
                &[
                    "request_body * * 1",
                    "request_body> get_header_map_pairs = 0 null:0",
                    "request_body> add_header_map_value = 0",
                ],
            );
            assert_eq!(stage.app.last().trailer("x-n"), Some("n"), "{version:?}");
        }
    });
}
