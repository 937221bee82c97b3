//! Callbacks of HTTP streams and of plugins (PROXY-WASM.md, 1.2).

use crate::{
    journal,
    stage::{Stage, VERSIONS, shared_vm},
    support::eventually,
    table::Table,
};

pub fn rows(table: &mut Table) {
    table.group("Callbacks");
    table.http(
        "C6",
        "`proxy_on_context_create`: a plugin's context first, with parent 0, then one for each stream, with the plugin's as parent",
        "",
        &["context_create 1 0", "vm_start 1 *", "context_create * 1", "request_headers **"],
    );
    table.http(
        "C7",
        "`proxy_on_vm_start` once, after the plugin's context",
        "",
        &["context_create 1 0", "vm_start 1 0", "once vm_start **"],
    );
    table.http(
        "C8",
        "`proxy_on_configure` with the size of the configuration, which is readable here and not later",
        "vm_start: get_buffer_bytes 7 0 100 &b\nconfigure: get_buffer_bytes 7 0 100 &b\nrequest_headers: get_buffer_bytes 7 0 100 &b",
        &[
            "vm_start> get_buffer_bytes = 1 untouched",
            "configure 1 17",
            "configure> get_buffer_bytes = 0 \"the configuration\"",
            "request_headers> get_buffer_bytes = 1 untouched",
        ],
    );
    refusals(table);
    table.row("C9", "`proxy_on_tick` every period, on the plugin's context; a period of 0 ends it", || async {
        let stage = Stage::http("configure: set_tick_period_milliseconds 20\ntick@2: set_tick_period_milliseconds 0")
            .inner("long", "configure: set_tick_period_milliseconds 20\ntick@12: log 2 \"probe: twelve\"")
            .start()
            .await;
        for version in VERSIONS {
            // While another one went on ticking, this one was silent.
            stage.said(&format!("{}-long", version.listener), "twelve").await;
            let journal = stage.journal(version.listener);
            journal::check(version, &journal, &["tick 1", "tick 1"]);
            assert_eq!(journal.iter().filter(|line| *line == "tick 1").count(), 2, "{journal:?}");
        }
    });
    table.row("C10", "`proxy_on_queue_ready` on the plugin's context when a queue has an entry", || async {
        let stage = Stage::http(
            "configure: register_shared_queue \"q\" &4=queue\nrequest_headers: enqueue_shared_queue $queue \"item\"\n\
             queue_ready: dequeue_shared_queue $1 &b",
        )
        .start()
        .await;
        for version in VERSIONS {
            stage.request(version).await.unwrap();
            let journal = stage.said(version.listener, "queue_ready> dequeue_shared_queue = 0 \"item\"").await;
            journal::check(version, &journal, &["request_headers> enqueue_shared_queue = 0", "queue_ready 1 *"]);
        }
    });
    table.row("C10.last", "`proxy_on_queue_ready` goes to whoever registered the queue last", || async {
        let script = "configure: register_shared_queue \"q\" &4=q\nrequest_headers@1: enqueue_shared_queue $q \"item\"\n\
            queue_ready: dequeue_shared_queue $1 &b";
        // Both stand on one instance, and are configured in the order of their names.
        let (proxy, _upstream) = shared_vm(["one", "two"], script).await;
        assert_eq!(proxy.get("/").await.status(), 200);
        // Each of them has sent one entry; both were announced to the second plugin context.
        for filter in ["one", "two"] {
            proxy.logged(&["probe: request_headers> enqueue_shared_queue = 0", &format!("{filter:?}")]).await;
        }
        eventually("both entries to be taken", async || {
            (proxy.log_lines(&["probe: queue_ready> dequeue_shared_queue = 0 \\\"item\\\""]).len() == 2).then_some(())
        })
        .await;
        assert_eq!(proxy.log_lines(&["probe: queue_ready 2 "]).len(), 2);
        assert!(!proxy.has_logged(&["probe: queue_ready 1 "]));
    });
    table.http(
        "C16",
        "`proxy_on_request_headers` with the number of entries, and `end_of_stream` since 0.2.0",
        "",
        &["@old request_headers * 11", "@new request_headers * 11 0"],
    );
    table.row("C16.end", "`end_of_stream` is true in the headers callback of a request without body", || async {
        let stage = Stage::http("").start().await;
        for version in VERSIONS {
            stage.send(version, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let journal = stage.ended(version).await;
            journal::check(
                version,
                &journal,
                &["@new request_headers * * 1", "absent request_body **", "response_headers **"],
            );
        }
    });
    table.http("C17", "`proxy_on_request_body` with what is held", "", &["request_body * 5 0", "request_trailers * 1"]);
    table.row(
        "C17.paused",
        "`proxy_on_request_body` is called for each piece even while it is paused, with all that was held",
        || async {
            let stage = Stage::http(
                "request_body: get_buffer_bytes 0 0 100 &b\nrequest_body@1: return 1\nrequest_body@2: return 1",
            )
            .start()
            .await;
            for version in VERSIONS {
                let mut conn = crate::support::Conn::to(stage.proxy.listener(version.listener)).await;
                let seen = stage.app.seen().len();
                conn.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc").await;
                stage.said(version.listener, "request_body> get_buffer_bytes = 0 \"abc\"").await;
                conn.send("def").await;
                stage.said(version.listener, "request_body> get_buffer_bytes = 0 \"abcdef\"").await;
                assert_eq!(stage.app.seen().len(), seen, "it went on while it was paused");
                conn.send("ghi").await;
                stage.said(version.listener, "request_body> get_buffer_bytes = 0 \"abcdefghi\"").await;
                let head = conn.head().await.unwrap();
                conn.body(head).await.unwrap();
                assert_eq!(stage.app.last().body, b"abcdefghi");
            }
        },
    );
    table.http(
        "C18",
        "`proxy_on_request_trailers` with the number of entries",
        "request_trailers: get_header_map_pairs 1 &p",
        &["request_trailers * 1", "request_trailers> get_header_map_pairs = 0 [x-t=t]"],
    );
    table.http(
        "C19",
        "`proxy_on_response_headers`, as of the request",
        "response_headers: get_header_map_value 2 \":status\" &b",
        &[
            "@old response_headers * *",
            "@new response_headers * * 0",
            "response_headers> get_header_map_value = 0 \"200\"",
        ],
    );
    table.http(
        "C20",
        "`proxy_on_response_body`, as of the request",
        "response_body: get_buffer_bytes 1 0 100 &b",
        &["response_body * 5 0", "response_body> get_buffer_bytes = 0 \"world\""],
    );
    table.http(
        "C21",
        "`proxy_on_response_trailers`, as of the request",
        "response_trailers: get_header_map_pairs 3 &p",
        &["response_trailers * 1", "response_trailers> get_header_map_pairs = 0 [x-rt=rt]"],
    );
    table
        .http(
            "C27",
            "`proxy_on_done` is once, and its answer `false` holds only plugin contexts",
            "done: return 0",
            &["once done *", "log *", "done *", "delete *"],
        )
        .note("as in Envoy, which the specification does not say");
    table
        .http("C28", "`proxy_on_log` can read the maps of both sides, and cannot write them", 
            "log: get_header_map_value 0 \"x-a\" &b\nlog: get_header_map_value 2 \"x-up\" &b\nlog: get_header_map_pairs 1 &p\nlog: get_header_map_pairs 3 &p\n\
             log: add_header_map_value 0 \"x-new\" \"n\"\nlog: get_header_map_value 0 \"x-new\" &b",
            &[
                "log> get_header_map_value = 0 \"1\"",
                "log> get_header_map_value = 0 \"u\"",
                "log> get_header_map_pairs = 0 [x-t=t]",
                "log> get_header_map_pairs = 0 [x-rt=rt]",
                "log> add_header_map_value = 0",
                "@new log> get_header_map_value = 1 untouched",
                "@old log> get_header_map_value = 0 null:0",
            ],
        )
        .note("a write in the wrong phase changes nothing and says OK: the official SDK would panic at a refusal");
    table.http(
        "C29",
        "`proxy_on_delete` is the last call of a context, once",
        "",
        &["log *", "done *", "delete *", "once delete *"],
    );
    table
        .row("C30", "`proxy_on_foreign_function`: events of the host, with their arguments in buffer 8", || async {
            let stage = Stage::http(
                "configure: call_foreign_function \"fyke.route.define.v1\" \"{\\\"cluster\\\":\\\"app\\\"}\" &b\n\
                 request_headers: call_foreign_function \"fyke.route.select.v1\" \"\\0\\0\\0\\0\\0\\0\\0\\0\" &b\n\
                 foreign_function: get_buffer_bytes 8 0 100 &b",
            )
            .inner("clears", "request_headers: call_foreign_function \"clear_route_cache\" \"\" &b")
            .start()
            .await;
            for version in VERSIONS {
                stage.request(version).await.unwrap();
                let journal = stage.ended(version).await;
                let expected = [
                    "request_headers> call_foreign_function = 0 null:0",
                    "foreign_function * 1 0",
                    "foreign_function> get_buffer_bytes = 0 null:0",
                    "response_headers **",
                ];
                journal::check(version, &journal, &expected);
            }
        })
        .note("`fyke.route.again.v1` is function 1; Envoy has no events of this kind");
}

fn refusals(table: &mut Table) {
    for (id, title, script, message) in [
        (
            "C7.false",
            "`proxy_on_vm_start` returning false: the VM is not used, and the load is refused",
            "vm_start: return 0",
            "vm_start",
        ),
        (
            "C8.false",
            "`proxy_on_configure` returning false: the plugin is not used, and the load is refused",
            "configure: return 0",
            "configur",
        ),
    ] {
        table.row(id, title, move || async move {
            let ended = Stage::http(script).refused();
            assert_ne!(ended.code, Some(0), "{ended:?}");
            assert!(ended.stderr.contains(message), "{ended:?}");
        });
    }
}
