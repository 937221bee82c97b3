//! TCP connections.

use crate::{
    journal,
    stage::{LATEST, Stage, VERSIONS},
    support::{Conn, eventually},
    table::Table,
};

const TICK: &str = "configure: set_tick_period_milliseconds 20\n";

pub fn rows(table: &mut Table) {
    table.group("TCP");
    table.tcp(
        "C11",
        "`proxy_on_new_connection`, before any data",
        "",
        &["context_create * 1", "new_connection *", "downstream_data **", "once new_connection *"],
    );
    table.tcp(
        "C12",
        "`proxy_on_downstream_data` with what is held and whether it is the end",
        "downstream_data: get_buffer_bytes 2 0 100 &b",
        &["downstream_data * 4 *", "downstream_data> get_buffer_bytes = 0 \"ping\"", "downstream_data * * 1"],
    );
    table.tcp(
        "C13",
        "`proxy_on_upstream_data`, the other way",
        "upstream_data: get_buffer_bytes 3 0 100 &b",
        &["upstream_data * * 0", "upstream_data> get_buffer_bytes = 0 \"welcome;**", "upstream_data * * 1"],
    );
    table.row("C12.paused", "data callbacks are called for each piece even while they pause, with all that was held", || async {
        let stage = Stage::tcp(
            "downstream_data: get_buffer_bytes 2 0 100 &b\ndownstream_data@1: return 1\ndownstream_data@2: return 1\ndownstream_data@3: set_buffer_bytes 2 0 3 \"X\"",
        )
        .start()
        .await;
        for version in VERSIONS {
            let mut conn = Conn::to(stage.proxy.listener(version.listener)).await;
            conn.send("abc").await;
            stage.said(version.listener, "downstream_data> get_buffer_bytes = 0 \"abc\"").await;
            conn.send("def").await;
            stage.said(version.listener, "downstream_data> get_buffer_bytes = 0 \"abcdef\"").await;
            conn.send("ghi").await;
            stage.said(version.listener, "downstream_data> get_buffer_bytes = 0 \"abcdefghi\"").await;
            conn.finish().await;
            assert_eq!(String::from_utf8_lossy(&conn.rest().await), "welcome;Xdefghi", "{version:?}");
        }
    });
    table.tcp(
        "C14",
        "`proxy_on_downstream_connection_close` when the client has ended, by REMOTE (2)",
        "",
        &["downstream_connection_close * 2", "once downstream_connection_close **"],
    );
    table
        .tcp(
            "C15",
            "`proxy_on_upstream_connection_close` when the upstream has ended",
            "",
            &["upstream_data * * 1", "upstream_connection_close * 2", "once upstream_connection_close **"],
        )
        .note("by REMOTE (2); Envoy says UNKNOWN (0)");
    table.tcp(
        "R8",
        "the end of a TCP stream: done, log, delete, each once",
        "",
        &["done *", "log *", "delete *", "once done *", "once log *", "once delete *"],
    );
    for (id, title, script) in [
        (
            "H17.new",
            "`proxy_continue_stream(DOWNSTREAM)` lets a paused connection in",
            "new_connection: return 1\ntick: set_effective_context 2\ntick: continue_stream 2",
        ),
        (
            "H17.downstream",
            "`proxy_continue_stream(DOWNSTREAM)` resumes paused data of the client",
            "downstream_data: return 1\ntick: set_effective_context 2\ntick: continue_stream 2",
        ),
        (
            "H17.upstream",
            "`proxy_continue_stream(UPSTREAM)` resumes paused data of the upstream",
            "upstream_data: return 1\ntick: set_effective_context 2\ntick: continue_stream 3",
        ),
    ] {
        let row = table.row(id, title, move || async move {
            let stage = Stage::tcp(format!("{TICK}{script}")).start().await;
            for version in VERSIONS {
                assert_eq!(stage.dialog(version).await, "welcome;ping", "{version:?}");
            }
        });
        if id == "H17.upstream" {
            row.note("Envoy answers UNIMPLEMENTED");
        }
    }
    table.row(
        "H18.downstream",
        "`proxy_close_stream(DOWNSTREAM)` closes the client's connection; what has passed is still delivered",
        || async {
            let stage = Stage::tcp("upstream_data@1: close_stream 2").start().await;
            for version in VERSIONS {
                let mut conn = Conn::to(stage.proxy.listener(version.listener)).await;
                assert_eq!(String::from_utf8_lossy(&conn.rest().await), "welcome;", "{version:?}");
                stage.ended(version).await;
            }
        },
    );
    table.row("H18.upstream", "`proxy_close_stream(UPSTREAM)` closes the upstream's connection", || async {
        let stage = Stage::tcp("downstream_data@1: close_stream 3").start().await;
        for version in VERSIONS {
            let mut conn = Conn::to(stage.proxy.listener(version.listener)).await;
            conn.send("ping").await;
            conn.rest().await;
            stage.ended(version).await;
        }
        eventually("the upstream's connections to be closed", async || (stage.app.open() == 0).then_some(())).await;
    });
    table.row("H18.new", "`proxy_close_stream` of a new connection: no upstream is connected", || async {
        let stage = Stage::tcp("new_connection: close_stream 2").start().await;
        for version in VERSIONS {
            let mut conn = Conn::to(stage.proxy.listener(version.listener)).await;
            assert_eq!(conn.rest().await, b"", "{version:?}");
            journal::check(version, &stage.ended(version).await, &["new_connection *", "done *", "delete *"]);
        }
        assert_eq!(stage.app.connections(), 0);
    });
    table.row("H8.tcp", "data is rewritten on its way, in both directions", || async {
        let stage = Stage::tcp(
            "downstream_data@1: set_buffer_bytes 2 0 100 \"PONG\"\nupstream_data@1: set_buffer_bytes 3 0 0 \">\"",
        )
        .start()
        .await;
        for version in VERSIONS {
            let mut conn = Conn::to(stage.proxy.listener(version.listener)).await;
            conn.send("ping").await;
            stage.said(version.listener, "downstream_data> **").await;
            stage.said(version.listener, "upstream_data> **").await;
            conn.finish().await;
            assert_eq!(String::from_utf8_lossy(&conn.rest().await), ">welcome;PONG", "{version:?}");
        }
    });
    table.row(
        "T1",
        "half-close: the client ends its half, and still gets what the upstream says afterwards",
        || async {
            let stage = Stage::tcp("").start().await;
            for version in VERSIONS {
                assert_eq!(stage.dialog(version).await, "welcome;ping", "{version:?}");
            }
        },
    );
    table.tcp(
        "T2",
        "properties of a TCP stream: addresses, the connection, bytes and times; nothing of HTTP",
        "new_connection: get_property \"source\\0port\" &b\nnew_connection: get_property \"request\\0path\" &b\nnew_connection: get_property \"connection\\0id\" &b\nlog: get_property \"upstream\\0address\" &b\nlog: get_property \"request\\0size\" &b\nlog: get_property \"response\\0size\" &b\nlog: get_property \"response\\0code_details\" &b\nlog: get_property \"response\\0code\" &b\nlog: get_property \"request\\0duration\" &b",
        &[
            "new_connection> get_property = 0 \"**",
            "new_connection> get_property = 1 untouched",
            "new_connection> get_property = 0 \"**",
            "log> get_property = 0 \"127.0.0.1:*",
            "log> get_property = 0 \"\\x04\\x00\\x00\\x00\\x00\\x00\\x00\\x00\"",
            "log> get_property = 0 \"\\x0c\\x00\\x00\\x00\\x00\\x00\\x00\\x00\"",
            "log> get_property = 0 \"closed\"",
            "log> get_property = 1 untouched",
            "log> get_property = 0 \"**\\x00\"",
        ],
    );
    table.row("F.skip_bytes", "`fyke.stream.skip.v1`: so many bytes pass without a call; the end is shown", || async {
        let stage = Stage::tcp(
            "new_connection: call_foreign_function \"fyke.stream.skip.v1\" \"\\x02\\0\\0\\0\\x06\\0\\0\\0\\0\\0\\0\\0\" &b\n\
             new_connection: call_foreign_function \"fyke.stream.skip.v1\" \"\\x02\\0\\0\\0\\x06\" &b\n\
             downstream_data: get_buffer_bytes 2 0 100 &b",
        )
        .start()
        .await;
        for version in VERSIONS {
            let mut conn = Conn::to(stage.proxy.listener(version.listener)).await;
            conn.send("abcd").await;
            conn.send("efgh").await;
            let journal = stage.said(version.listener, "downstream_data> **").await;
            let expected = [
                "new_connection> call_foreign_function = 0 null:0",
                "new_connection> call_foreign_function = 2 untouched",
                "downstream_data * 2 0",
                "downstream_data> get_buffer_bytes = 0 \"gh\"",
                "absent downstream_data> get_buffer_bytes = 0 \"a**",
                "absent downstream_data> get_buffer_bytes = 0 \"e**",
            ];
            journal::check(version, &journal, &expected);
            conn.finish().await;
            assert_eq!(String::from_utf8_lossy(&conn.rest().await), "welcome;abcdefgh", "{version:?}");
            journal::check(version, &stage.ended(version).await, &["downstream_data * 0 1"]);
        }
    });
    table.http(
        "F.skip_body",
        "`fyke.stream.skip.v1` on bodies of HTTP",
        "request_headers: call_foreign_function \"fyke.stream.skip.v1\" \"\\0\\0\\0\\0\\x02\\0\\0\\0\\0\\0\\0\\0\" &b\nrequest_body: get_buffer_bytes 0 0 100 &b\n\
         request_headers: call_foreign_function \"fyke.stream.skip.v1\" \"\\x02\\0\\0\\0\\x02\\0\\0\\0\\0\\0\\0\\0\" &b",
        &[
            "request_headers> call_foreign_function = 0 null:0",
            "request_headers> call_foreign_function = 2 untouched",
            "request_body * 3 0",
            "request_body> get_buffer_bytes = 0 \"llo\"",
            "response_headers **",
        ],
    );
    table.row(
        "F.write",
        "`fyke.stream.write.v1`: bytes of the filter's own, towards either side, past the filters after it",
        || async {
            let stage = Stage::tcp(
                "new_connection: call_foreign_function \"fyke.stream.write.v1\" \"\\x03\\0\\0\\0hello;\" &b\n\
             new_connection: call_foreign_function \"fyke.stream.write.v1\" \"\\x02\\0\\0\\0banner;\" &b\n\
             new_connection: call_foreign_function \"fyke.stream.write.v1\" \"\\0\\0\\0\\0x\" &b\n\
             downstream_data@1: call_foreign_function \"fyke.stream.write.v1\" \"\\x02\\0\\0\\0(noted)\" &b",
            )
            .inner("in", "downstream_data@1: get_buffer_bytes 2 0 100 &b")
            .start()
            .await;
            for version in VERSIONS {
                let mut conn = Conn::to(stage.proxy.listener(version.listener)).await;
                stage
                    .said(&format!("{}-in", version.listener), "downstream_data> get_buffer_bytes = 0 \"hello;\"")
                    .await;
                conn.send("ping").await;
                let journal = stage.said(version.listener, "downstream_data> **").await;
                let expected = [
                    "new_connection> call_foreign_function = 0 null:0",
                    "new_connection> call_foreign_function = 0 null:0",
                    "new_connection> call_foreign_function = 2 untouched",
                    "downstream_data> call_foreign_function = 0 null:0",
                ];
                journal::check(version, &journal, &expected);
                conn.finish().await;
                let heard = String::from_utf8_lossy(&conn.rest().await).into_owned();
                assert!(
                    ["banner;welcome;(noted)hello;ping", "banner;(noted)welcome;hello;ping"].contains(&&*heard),
                    "{heard}"
                );
            }
        },
    );
    table.row("F.skip_held", "`fyke.stream.skip.v1`: what is shown while the filter holds counts, and nothing after it is missed", || async {
        let stage = Stage::tcp(
            "downstream_data@1: call_foreign_function \"fyke.stream.skip.v1\" \"\\x02\\0\\0\\0\\x04\\0\\0\\0\\0\\0\\0\\0\" &b\ndownstream_data@1: return 1\n\
             downstream_data: get_buffer_bytes 2 0 100 &b",
        )
        .start()
        .await;
        for version in VERSIONS {
            let mut conn = Conn::to(stage.proxy.listener(version.listener)).await;
            for (sent, shown) in [("head", "head"), ("1234", "head1234"), ("next", "next")] {
                conn.send(sent).await;
                stage.said(version.listener, &format!("downstream_data> get_buffer_bytes = 0 {shown:?}")).await;
            }
            conn.finish().await;
            assert_eq!(String::from_utf8_lossy(&conn.rest().await), "welcome;head1234next", "{version:?}");
        }
    });
    table.row("F.write.outer", "what an inner filter wrote before it closed passes the outer ones, and is delivered", || async {
        let stage = Stage::tcp("upstream_data@1: set_buffer_bytes 3 0 0 \"outer: \"")
            .inner("in", "new_connection: call_foreign_function \"fyke.stream.write.v1\" \"\\x02\\0\\0\\0go away\" &b\nnew_connection: close_stream 2")
            .start()
            .await;
        for version in VERSIONS {
            let mut conn = Conn::to(stage.proxy.listener(version.listener)).await;
            assert_eq!(String::from_utf8_lossy(&conn.rest().await), "outer: go away", "{version:?}");
        }
    });
    table.row("F.write.end", "`fyke.stream.write.v1` after the end of a direction: BAD_ARGUMENT", || async {
        // Nobody looks at what comes from the upstream here, which ends at once.
        let stage = Stage::tcp("log: call_foreign_function \"fyke.stream.write.v1\" \"\\x03\\0\\0\\0late\" &b")
            .settings("callbacks: [new_connection, log, delete], limits: { call_time: 2s }, ")
            .start()
            .await;
        for version in VERSIONS {
            assert_eq!(stage.dialog(version).await, "welcome;ping");
            journal::check(version, &stage.ended(version).await, &["log> call_foreign_function = 2 untouched"]);
        }
    });
    table.row("F.write.close", "what a filter wrote is delivered before it closes the connection", || async {
        let stage = Stage::tcp("new_connection: call_foreign_function \"fyke.stream.write.v1\" \"\\x02\\0\\0\\0go away\" &b\nnew_connection: close_stream 2").start().await;
        for version in VERSIONS {
            let mut conn = Conn::to(stage.proxy.listener(version.listener)).await;
            assert_eq!(conn.rest().await, b"go away", "{version:?}");
        }
        assert_eq!(stage.app.connections(), 0);
    });
    table.row("Q.termination", "`connection.termination_details`: why the host has ended a connection", || async {
        let stage =
            Stage::tcp("downstream_data@1: close_stream 2\nlog: get_property \"connection\\0termination_details\" &b")
                .start()
                .await;
        for version in VERSIONS {
            stage.dialog(version).await;
            journal::check(version, &stage.ended(version).await, &["log> get_property = 0 \"closed_by_filter\""]);
        }
    });
    table.row("T4", "a client that breaks off a connection which a filter holds is noticed at once", || async {
        let stage = Stage::tcp("new_connection: return 1").start().await;
        for version in VERSIONS {
            let client = tokio::net::TcpStream::connect(stage.proxy.listener(version.listener)).await.unwrap();
            stage.said(version.listener, "new_connection 2").await;
            client.set_zero_linger().unwrap();
            drop(client);
            journal::check(
                version,
                &stage.ended(version).await,
                &["new_connection 2", "downstream_connection_close 2 2", "done 2", "log 2", "delete 2"],
            );
        }
        assert_eq!(stage.app.connections(), 0);
    });
    table.row("T3", "`fyke.cluster` sends the connection to another cluster", || async {
        let stage = Stage::tcp("new_connection: set_property \"fyke\\0cluster\" \"nobody\"").start().await;
        assert_eq!(stage.dialog(LATEST).await, "");
        journal::check(LATEST, &stage.ended(LATEST).await, &["new_connection> set_property = 0", "delete *"]);
        assert_eq!(stage.app.connections(), 0);
    });
}
