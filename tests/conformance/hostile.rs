//! Guests that mean harm: they trap or get a status from the table, and nobody else notices.

use crate::{
    journal,
    rows::loading::{asks, module, on_headers, serve},
    stage::{LATEST, Running, Stage, VERSIONS},
    support::{Conn, Neighbour, eventually},
    table::Table,
};

/// What the hostcalls below refer to.
const PREPARED: &str = "context_create@1: register_shared_queue \"q\" &4=q\ncontext_create@1: enqueue_shared_queue $q \"item\"\n\
    context_create@1: define_metric 0 \"m\" &4=m\ncontext_create@1: set_shared_data \"k\" \"v\" 0\n";

/// Every hostcall with arguments that are good in a request's headers callback, or in its body callback where they are of buffers.
const HOSTCALLS: &[(&str, &str)] = &[
    ("log", "2 \"x\""),
    ("get_log_level", "&4"),
    ("get_current_time_nanoseconds", "&8"),
    ("set_tick_period_milliseconds", "0"),
    ("set_effective_context", "$ctx"),
    ("done", ""),
    ("get_buffer_bytes", "0 0 10 &b"),
    ("set_buffer_bytes", "0 0 0 \"x\""),
    ("get_buffer_status", "0 &4 &4"),
    ("get_header_map_size", "0 &4"),
    ("get_header_map_pairs", "0 &b"),
    ("set_header_map_pairs", "0 [:method=GET;:path=/;:authority=a;:scheme=http]"),
    ("get_header_map_value", "0 \"x-a\" &b"),
    ("add_header_map_value", "0 \"x-b\" \"1\""),
    ("replace_header_map_value", "0 \"x-b\" \"1\""),
    ("remove_header_map_value", "0 \"x-b\""),
    ("continue_stream", "0"),
    ("close_stream", "0"),
    ("get_status", "&4 &b"),
    ("send_local_response", "403 \"d\" \"b\" [x-b=1] -1"),
    ("http_call", "\"callout\" [:method=GET;:path=/;:authority=a] \"body\" [x-t=1] 1000 &4"),
    ("grpc_call", "\"grpc\" \"s\" \"m\" [a=b] \"message\" 1000 &4"),
    ("grpc_stream", "\"grpc\" \"s\" \"m\" [a=b] &4"),
    ("grpc_send", "1 \"x\" 0"),
    ("grpc_cancel", "1"),
    ("grpc_close", "1"),
    ("set_shared_data", "\"k\" \"v\" 0"),
    ("get_shared_data", "\"k\" &b &4"),
    ("register_shared_queue", "\"q\" &4"),
    ("resolve_shared_queue", "\"\" \"q\" &4"),
    ("enqueue_shared_queue", "$q \"x\""),
    ("dequeue_shared_queue", "$q &b"),
    ("define_metric", "0 \"m\" &4"),
    ("record_metric", "$m 1"),
    ("increment_metric", "$m 1"),
    ("get_metric", "$m &8"),
    ("get_property", "\"request\\0path\" &b"),
    ("set_property", "\"k\" \"v\""),
    ("call_foreign_function", "\"fyke.features.v1\" \"\" &b"),
    ("get_configuration", "&b"),
    ("continue_request", ""),
    ("continue_response", ""),
    ("clear_route_cache", ""),
];

/// What no pointer, length or number should be.
const EVIL: &[&str] = &["0xffffffff", "0xfffffff8", "0x80000000", "0x7fffffff", "0x04000001"];

pub fn rows(table: &mut Table) {
    table.group("Hostile guests");
    table.row("E1", "out-of-bounds, wrapping and huge values in every parameter of every hostcall", || async {
        let stage = Stage::http(format!("{PREPARED}dynamic\nquiet")).start().await;
        let neighbour = Neighbour::of(stage.proxy.listener("v0-2-0"));
        ask(&stage, "log 2 \"warm\"").await;
        let before = stage.proxy.resident();
        let mut calls = 0;
        for (name, arguments) in HOSTCALLS {
            let good = words(arguments);
            let count: usize = good.iter().map(|word| width(word)).sum();
            for parameter in 0..count {
                for evil in EVIL {
                    let call = format!("{name} {}", spoil(&good, parameter, evil));
                    ask(&stage, &call).await;
                    calls += 1;
                    // A new instance serves, whatever the last one did.
                    let answer = stage.send(LATEST, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
                    assert_eq!(answer.map(|answer| answer.status()), Some(200), "after {call}");
                }
            }
        }
        assert!(calls > 500, "{calls} calls");
        let trapped = stage.proxy.metric("fyke_filter_traps_total", &[("filter", LATEST.listener)]).await as usize;
        let journal = eventually(format!("{calls} calls to return or to trap, {trapped} have trapped"), async || {
            let journal = stage.journal(LATEST.listener);
            let returned = journal.iter().filter(|line| line.starts_with("request_")).count();
            (returned + trapped == calls + 1).then_some(journal)
        })
        .await;
        // Whatever did not trap has a status that SDKs survive.
        journal::check(LATEST, &journal, &[]);
        let grown = stage.proxy.resident().saturating_sub(before);
        assert!(grown < 64 << 20, "the host has grown by {grown} bytes");
        neighbour.unhurt().await;
    });
    table.row(
        "E2",
        "every hostcall in every callback: a status from the table and no trap, whatever the phase",
        || async {
            let mut script = PREPARED.to_owned();
            for callback in [
                "context_create",
                "vm_start",
                "configure",
                "tick@1",
                "request_headers",
                "request_body",
                "response_body",
                "log",
                "done",
                "delete",
            ] {
                for (name, arguments) in HOSTCALLS {
                    // These would end what is being looked at.
                    let ends = ["close_stream", "send_local_response", "set_header_map_pairs"].contains(name);
                    let alive = callback.starts_with("req") || callback.starts_with("res");
                    // The last word of the script on ticks is that there is one.
                    if !(ends && alive) && *name != "set_tick_period_milliseconds" {
                        script += &format!("{callback}: {name} {arguments}\n");
                    }
                }
            }
            script += "configure: set_tick_period_milliseconds 20\n";
            let stage = Stage::http(script).start().await;
            for version in VERSIONS {
                stage.request(version).await.unwrap();
                stage.ended(version).await;
                stage.said(version.listener, "tick> clear_route_cache = 0").await;
                let journal = stage.said(version.listener, "delete> clear_route_cache = 0").await;
                journal::check(version, &journal, &[]);
                assert_eq!(stage.proxy.metric("fyke_filter_traps_total", &[("filter", version.listener)]).await, 0.0);
            }
        },
    );
    allocators(table);
    exhaustion(table);
}

/// One request whose headers callback makes one call. An answer or none: either is fine, as long as there is an end.
async fn ask(stage: &Running, call: &str) {
    let mut conn = Conn::to(stage.proxy.listener(LATEST.listener)).await;
    let call = call.replace('\n', " ");
    let phase = if call.contains("_buffer_") { "request_body@1" } else { "request_headers" };
    conn.send(format!(
        "POST / HTTP/1.1\r\nhost: a\r\nx-a: 1\r\nx-probe: {phase}: {call}\r\ncontent-length: 5\r\n\r\nhello"
    ))
    .await;
    if let Some(head) = conn.head().await {
        conn.body(head).await;
    }
}

fn words(arguments: &str) -> Vec<String> {
    arguments.split_whitespace().map(str::to_owned).collect()
}

/// Parameters that an argument stands for.
fn width(word: &str) -> usize {
    if word.starts_with(['"', '[']) || word == "&b" { 2 } else { 1 }
}

/// The arguments with one parameter spoilt: of a pair, the other half stays plausible.
fn spoil(good: &[String], parameter: usize, evil: &str) -> String {
    let mut at = 0;
    let mut out = Vec::new();
    for word in good {
        let width = width(word);
        if (at..at + width).contains(&parameter) {
            out.push(match (width, parameter - at, word.as_str()) {
                (1, _, _) => evil.to_owned(),
                (_, 0, "&b") => format!("{evil} &4"),
                (_, _, "&b") => format!("&4 {evil}"),
                (_, 0, _) => format!("{evil} 8"),
                (_, _, _) => format!("1024 {evil}"),
            });
        } else {
            out.push(word.clone());
        }
        at += width;
    }
    out.join(" ")
}

fn allocators(table: &mut Table) {
    // What the allocator does, and what becomes of a stream that needs it: 503 is a trap.
    for (id, title, body, status) in [
        ("E3", "an allocator that returns 0 is a trap", "(i32.const 0)", 503),
        ("E4", "an allocator that returns an address outside of the memory is a trap", "(i32.const -16)", 503),
        ("E5", "an allocator that returns the end of the memory is a trap", "(i32.const 131072)", 503),
        ("E6", "an allocator that returns memory in use gets what it asked for, there", "(i32.const 100)", 431),
        ("E7", "an allocator that traps is a trap", "(unreachable)", 503),
        ("E8", "an allocator that never ends is stopped", "(loop $l (br $l)) (i32.const 8)", 503),
        ("E9", "an allocator that recurses without end is a trap", "(call $value (i32.const 0) (i32.const 100) (i32.const 5) (i32.const 16) (i32.const 20))", 503),
        ("E10", "an allocator that makes the memory larger, and move, is fine", "(drop (memory.grow (i32.const 16))) (i32.const 262144)", 431),
        (
            "E11",
            "an allocator may log, write to its outputs and ask for the time (cpp-host's list)",
            "(drop (call $log (i32.const 2) (i32.const 100) (i32.const 5))) (drop (call $fd_write (i32.const 1) (i32.const 100) (i32.const 0) (i32.const 64)))
             (drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 64))) (drop (call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))) (i32.const 262)",
            431,
        ),
        ("E12", "an allocator that answers the request is a trap: no other hostcall during one", "(call $reply (i32.const 430)) (i32.const 262)", 503),
    ] {
        table.row(id, title, move || async move {
            let wat = module("proxy_abi_version_0_2_1", "unused", &asks()).replace(
                r#"(func (export "unused")"#,
                &format!(r#"(func (export "proxy_on_memory_allocate") (param i32) (result i32) {body}) (func (export "unused")"#),
            );
            let (proxy, _upstream) = serve(&wat, "").await;
            for _ in 0..2 {
                assert_eq!(proxy.get("/").await.status(), status);
            }
            let traps = proxy.metric("fyke_filter_traps_total", &[("filter", "it")]).await;
            assert_eq!(traps, if status == 503 { 2.0 } else { 0.0 });
        });
    }
}

fn exhaustion(table: &mut Table) {
    for (id, title, body, reason) in [
        ("E13", "a loop without end is stopped at `call_time`", "(loop $l (br $l))", Some("deadline")),
        ("E14", "recursion without end is a trap", "(call $deep)", Some("other")),
        (
            "E15",
            "growing the memory beyond its limit fails in the guest (-1), and nothing else happens",
            "(if (i32.ne (memory.grow (i32.const 60000)) (i32.const -1)) (then unreachable)) (call $reply (i32.const 430))",
            None,
        ),
        (
            "E16",
            "growing a table without end fails in the guest (-1)",
            "(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 1000000)) (i32.const -1)))) (call $reply (i32.const 430))",
            None,
        ),
        ("E17", "an integer division by zero is a trap", "(drop (i32.div_u (i32.const 1) (i32.const 0)))", Some("")),
        (
            "E18",
            "an indirect call of nothing is a trap",
            "(call_indirect $t (param i32) (i32.const 0) (i32.const 5))",
            Some(""),
        ),
        ("E19", "a read outside of the memory is a trap", "(drop (i32.load (i32.const -4)))", Some("")),
    ] {
        table.row(id, title, move || async move {
            let fields = format!("(table $t 10 funcref) (func $deep (call $deep)) {}", on_headers(body));
            let (proxy, _upstream) = serve(&module("proxy_abi_version_0_2_1", "malloc", &fields), "").await;
            let before = proxy.resident();
            for round in 1..=3 {
                let status = proxy.get("/").await.status();
                assert_eq!(status, if reason.is_some() { 503 } else { 430 });
                if let Some(reason) = reason {
                    let labels: &[(&str, &str)] = if reason.is_empty() { &[] } else { &[("reason", reason)] };
                    proxy.metric_reaches("fyke_filter_traps_total", labels, f64::from(round)).await;
                }
            }
            assert!(proxy.resident().saturating_sub(before) < 64 << 20);
        });
    }
    table.row("E20", "contexts of another filter cannot be reached", || async {
        // Both VMs count from 1; the second stream of this one is nobody else's second stream.
        let stage =
            Stage::http("request_headers: set_effective_context 3\nrequest_headers: get_header_map_value 0 \"x-a\" &b")
                .start()
                .await;
        stage.request(VERSIONS[1]).await.unwrap();
        stage.request(VERSIONS[1]).await.unwrap();
        stage.request(LATEST).await.unwrap();
        journal::check(
            LATEST,
            &stage.ended(LATEST).await,
            &["request_headers> set_effective_context = 2", "request_headers> get_header_map_value = 0 \"1\""],
        );
    });
    table.row(
        "E21",
        "a trap costs one instance: its streams get its policy, the next stream a new instance",
        || async {
            let stage = Stage::http("dynamic").start().await;
            let neighbour = Neighbour::of(stage.proxy.listener("v0-2-0"));
            for kind in ["trap", "recurse", "grow"] {
                let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-probe: request_headers: {kind}\r\n\r\n");
                assert_eq!(stage.send(LATEST, &request).await.unwrap().status(), 503, "{kind}");
                assert_eq!(stage.request(LATEST).await.unwrap().status(), 200, "after {kind}");
            }
            assert_eq!(stage.proxy.metric("fyke_filter_traps_total", &[("filter", LATEST.listener)]).await, 3.0);
            neighbour.unhurt().await;
        },
    );
}
