//! Properties (PROXY-WASM.md, section 4), in Envoy's encodings.

use crate::{
    journal,
    stage::{Stage, VERSIONS},
    table::Table,
};

/// A number as eight bytes, the way the probe shows them.
fn number(value: u64) -> String {
    format!("\"{}\"", value.to_le_bytes().escape_ascii())
}

fn text(value: &str) -> String {
    format!("{value:?}")
}

const ABSENT: &str = "!";

pub fn rows(table: &mut Table) {
    table.group("Properties");
    table.http(
        "H37",
        "`proxy_get_property`: a path of segments separated by NUL; NOT_FOUND for what there is not",
        "request_headers: get_property \"request\\0method\" &b\nrequest_headers: get_property \"request\\0nonsense\" &b",
        &["request_headers> get_property = 0 \"POST\"", "request_headers> get_property = 1 untouched"],
    );
    let eight = "\"**".to_owned();
    for (path, phase, expected) in [
        ("request.path", "request_headers", text("/path?q=1")),
        ("request.url_path", "request_headers", text("/path")),
        ("request.query", "request_headers", text("q=1")),
        ("request.host", "request_headers", text("test.example")),
        ("request.scheme", "request_headers", text("http")),
        ("request.method", "request_headers", text("POST")),
        ("request.headers.x-a", "request_headers", text("1,2")),
        ("request.headers.X-A", "request_headers", text("1,2")),
        ("request.headers.missing", "request_headers", ABSENT.to_owned()),
        ("request.headers", "request_headers", eight.clone()),
        ("request.referer", "request_headers", text("http://a/")),
        ("request.useragent", "request_headers", text("tests")),
        ("request.time", "request_headers", eight.clone()),
        ("request.id", "request_headers", text("id-1")),
        ("request.protocol", "request_headers", text("HTTP/1.1")),
        ("request.duration", "request_headers", ABSENT.to_owned()),
        ("request.duration", "log", eight.clone()),
        ("request.size", "log", number(5)),
        ("request.total_size", "log", eight.clone()),
        ("request.headers_bytes", "log", eight.clone()),
        ("response.code", "log", number(200)),
        ("response.code", "request_headers", ABSENT.to_owned()),
        ("response.code_details", "log", text("via_upstream")),
        ("response.flags", "log", number(0)),
        ("response.grpc_status", "log", ABSENT.to_owned()),
        ("response.headers.x-up", "log", text("u")),
        ("response.headers.set-cookie", "log", text("a=1,b=2")),
        ("response.trailers.x-rt", "log", text("rt")),
        ("response.size", "log", number(5)),
        ("response.total_size", "log", eight.clone()),
        ("response.headers_bytes", "log", eight.clone()),
        ("source.address", "request_headers", "\"127.0.0.1:*".to_owned()),
        ("source.port", "request_headers", eight.clone()),
        ("destination.address", "request_headers", "\"127.0.0.1:*".to_owned()),
        ("destination.port", "request_headers", eight.clone()),
        ("connection.id", "request_headers", eight.clone()),
        ("connection.mtls", "request_headers", "\"\\x00\"".to_owned()),
        ("connection.requested_server_name", "request_headers", ABSENT.to_owned()),
        ("connection.tls_version", "request_headers", ABSENT.to_owned()),
        ("upstream.address", "log", "\"127.0.0.1:*".to_owned()),
        ("upstream.port", "log", eight.clone()),
        ("upstream.local_address", "log", "\"127.0.0.1:*".to_owned()),
        ("upstream.address", "request_headers", ABSENT.to_owned()),
        ("upstream.transport_failure_reason", "log", ABSENT.to_owned()),
        ("plugin_name", "request_headers", "\"v*\"".to_owned()),
        ("plugin_root_id", "request_headers", "\"v*\"".to_owned()),
        ("plugin_vm_id", "request_headers", "\"v*\"".to_owned()),
        ("plugin_name", "configure", "\"v*\"".to_owned()),
        ("cluster_name", "log", text("app")),
        ("route_name", "request_headers", ABSENT.to_owned()),
        ("xds.cluster_name", "log", text("app")),
        ("xds.filter_chain_name", "log", "\"v*\"".to_owned()),
        ("xds.listener_direction", "log", number(0)),
        ("node.id", "configure", text("node-1")),
        ("node.cluster", "request_headers", text("shop")),
        ("node.locality.zone", "request_headers", text("eu-1a")),
        ("node.metadata.team", "request_headers", text("blue")),
        ("node.metadata.nested.deep", "request_headers", text("yes")),
        ("node.metadata.count", "request_headers", format!("\"{}\"", 3f64.to_le_bytes().escape_ascii())),
        ("node.metadata.flag", "request_headers", "\"\\x01\"".to_owned()),
        ("nonsense", "request_headers", ABSENT.to_owned()),
        ("", "request_headers", ABSENT.to_owned()),
    ] {
        let id: &'static str = format!(
            "Q.{}{}",
            if path.is_empty() { "(empty)" } else { path },
            if phase == "log" {
                " (log)"
            } else if phase == "configure" {
                " (configure)"
            } else {
                ""
            }
        )
        .leak();
        let title: &'static str = if expected == ABSENT {
            format!("`{path}` is NOT_FOUND in `{phase}`").leak()
        } else {
            format!("`{path}` in `{phase}`").leak()
        };
        table.row(id, title, move || {
            let expected = expected.clone();
            async move {
                let path = path.replace('.', "\\0");
                let stage = Stage::http(format!("{phase}: get_property \"{path}\" &b"))
                    .more("node: { id: node-1, cluster: shop, zone: eu-1a, metadata: { team: blue, nested: { deep: 'yes' }, count: 3, flag: true } }\n")
                    .start()
                    .await;
                let line = match expected.as_str() {
                    ABSENT => format!("{phase}> get_property = 1 untouched"),
                    expected => format!("{phase}> get_property = 0 {expected}"),
                };
                for version in VERSIONS {
                    stage.request(version).await.unwrap();
                    journal::check(version, &stage.ended(version).await, &[&line]);
                }
            }
        });
    }
    custom(table);
}

fn custom(table: &mut Table) {
    table.row("Q.root_id", "`plugin_root_id` is `root_id:` of the filter, where there is one", || async {
        let stage = Stage::http(
            "configure: get_property \"plugin_root_id\" &b\nrequest_headers: get_property \"plugin_root_id\" &b",
        )
        .settings("root_id: add_header, limits: { call_time: 2s }, ")
        .start()
        .await;
        for version in VERSIONS {
            stage.request(version).await.unwrap();
            let expected =
                ["configure> get_property = 0 \"add_header\"", "request_headers> get_property = 0 \"add_header\""];
            journal::check(version, &stage.ended(version).await, &expected);
        }
    });
    table.http(
        "H38",
        "`proxy_set_property`: a key of one's own, read back in any later callback of the stream",
        "request_headers: set_property \"my\\0key\" \"value\"\nrequest_headers: get_property \"my\\0key\" &b\nlog: get_property \"my\\0key\" &b\nlog: get_property \"my\" &b",
        &[
            "request_headers> set_property = 0",
            "request_headers> get_property = 0 \"value\"",
            "log> get_property = 0 \"value\"",
            "log> get_property = 1 untouched",
        ],
    );
    table.row("H38.across", "every filter of the stream reads what another has set; other streams do not", || async {
        let stage = Stage::http("request_headers: get_property \"k\" &b\nrequest_headers: set_property \"k\" \"v\"")
            .inner("in", "request_headers: get_property \"k\" &b\nrequest_headers: get_property \"filter_state\\0k\" &b\nrequest_headers: get_property \"wasm.k\" &b")
            .start()
            .await;
        for version in VERSIONS {
            for _ in 0..2 {
                stage.request(version).await.unwrap();
            }
            stage.said(version.listener, "delete 3").await;
            let outer = stage.journal(version.listener);
            assert_eq!(outer.iter().filter(|line| *line == "request_headers> get_property = 1 untouched").count(), 2, "{outer:?}");
            let inner = stage.said(&format!("{}-in", version.listener), "delete 3").await;
            journal::check(version, &inner, &["request_headers> get_property = 0 \"v\""; 6]);
        }
    });
    table
        .http(
            "H38.outside",
            "`proxy_set_property` outside of a stream",
            "configure: set_property \"k\" \"v\"",
            &["configure> set_property = 0"],
        )
        .note("changes nothing; Envoy's NOT_FOUND makes guests of the official SDK panic");
    table.http(
        "Q.metadata",
        "`metadata.filter_metadata.<namespace>.<key>`: what a filter has set there",
        "request_headers: set_property \"metadata\\0filter_metadata\\0ns\\0key\" \"v\"\nrequest_headers: get_property \"metadata\\0filter_metadata\\0ns\\0key\" &b",
        &["request_headers> get_property = 0 \"v\""],
    );
    table.http(
        "Q.trailing",
        "a path that ends with NUL is the same path",
        "request_headers: get_property \"request\\0method\\0\" &b",
        &["request_headers> get_property = 0 \"POST\""],
    );
}
