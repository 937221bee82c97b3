//! What modules import of WASI (PROXY-WASM.md, 1.5).

use super::loading::{module, on_headers, serve};
use crate::table::Table;

pub fn rows(table: &mut Table) {
    table.group("WASI");
    // Each answers with 430 and what the call returned.
    for (id, title, call, status) in [
        ("W.fd_close", "`fd_close` of an output", "(call $fd_close (i32.const 1))", 430),
        ("W.fd_close.bad", "`fd_close` of anything else: EBADF", "(call $fd_close (i32.const 3))", 438),
        ("W.fd_fdstat_get", "`fd_fdstat_get` of an output", "(call $fd_fdstat_get (i32.const 1) (i32.const 64))", 430),
        (
            "W.fd_fdstat_set_flags",
            "`fd_fdstat_set_flags` of an output",
            "(call $fd_fdstat_set_flags (i32.const 2) (i32.const 0))",
            430,
        ),
        (
            "W.fd_prestat_get",
            "`fd_prestat_get`: EBADF, so that libraries stop looking for folders",
            "(call $fd_prestat_get (i32.const 3) (i32.const 64))",
            438,
        ),
        (
            "W.fd_prestat_dir_name",
            "`fd_prestat_dir_name`: EBADF",
            "(call $fd_prestat_dir_name (i32.const 3) (i32.const 64) (i32.const 8))",
            438,
        ),
        (
            "W.fd_seek",
            "`fd_seek`: EBADF",
            "(call $fd_seek (i32.const 1) (i64.const 0) (i32.const 0) (i32.const 64))",
            438,
        ),
        (
            "W.fd_write.bad",
            "`fd_write` to an unknown descriptor: EBADF",
            "(call $fd_write (i32.const 7) (i32.const 240) (i32.const 1) (i32.const 64))",
            438,
        ),
        (
            "W.clock.real",
            "`clock_time_get` of the wall clock",
            "(i32.add (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 64)) (i64.eqz (i64.load (i32.const 64))))",
            430,
        ),
        (
            "W.clock.monotonic",
            "`clock_time_get` of the monotonic clock",
            "(call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 64))",
            430,
        ),
        (
            "W.clock.bad",
            "`clock_time_get` of another clock: ENOTSUP",
            "(call $clock_time_get (i32.const 2) (i64.const 0) (i32.const 64))",
            488,
        ),
        (
            "W.random",
            "`random_get` fills the memory",
            "(i32.add (call $random_get (i32.const 64) (i32.const 32)) (i64.eqz (i64.load (i32.const 64))))",
            430,
        ),
        ("W.random.max", "`random_get` of 64 KiB", "(call $random_get (i32.const 1024) (i32.const 65536))", 430),
        (
            "W.random.more",
            "`random_get` of more than 64 KiB: EINVAL",
            "(call $random_get (i32.const 1024) (i32.const 65537))",
            458,
        ),
        (
            "W.environ_sizes_get",
            "`environ_sizes_get`: two variables, 13 bytes",
            "(i32.add (call $environ_sizes_get (i32.const 64) (i32.const 68)) (i32.add (i32.load (i32.const 64)) (i32.load (i32.const 68))))",
            445,
        ),
        (
            "W.environ_get",
            "`environ_get`: addresses and `NAME=value`, ended by NUL",
            "(i32.add (call $environ_get (i32.const 64) (i32.const 80)) (i32.load8_u (i32.load (i32.const 64))))",
            430 + 'A' as u16,
        ),
        (
            "W.args_sizes_get",
            "`args_sizes_get`: none",
            "(i32.add (call $args_sizes_get (i32.const 64) (i32.const 68)) (i32.load (i32.const 64)))",
            430,
        ),
        ("W.args_get", "`args_get`: nothing to do", "(call $args_get (i32.const 64) (i32.const 68))", 430),
        ("W.sched_yield", "`sched_yield` returns at once", "(call $sched_yield)", 430),
        (
            "W.poll_oneoff",
            "`poll_oneoff` returns 0 at once",
            "(call $poll_oneoff (i32.const 64) (i32.const 96) (i32.const 1) (i32.const 128))",
            430,
        ),
    ] {
        let wat = module(
            "proxy_abi_version_0_2_1",
            "malloc",
            &on_headers(&format!("(call $reply (i32.add (i32.const 430) {call}))")),
        );
        table.row(id, title, move || {
            let wat = wat.clone();
            async move {
                let (proxy, _upstream) = serve(&wat, "").await;
                assert_eq!(proxy.get("/").await.status(), status);
            }
        });
    }
    for (id, title, descriptor, level) in [
        ("W.fd_write.out", "`fd_write` to standard output is a line at INFO, without its newline", 1, "INFO"),
        ("W.fd_write.err", "`fd_write` to standard error is a line at ERROR", 2, "ERROR"),
    ] {
        table.row(id, title, move || async move {
            let body = format!("(drop (call $fd_write (i32.const {descriptor}) (i32.const 240) (i32.const 2) (i32.const 64))) (call $reply (i32.add (i32.const 430) (i32.load (i32.const 64))))");
            let data = r#"(data (i32.const 200) "one two\0a") (data (i32.const 240) "\c8\00\00\00\04\00\00\00\cc\00\00\00\04\00\00\00")"#;
            let wat = module("proxy_abi_version_0_2_1", "malloc", &(on_headers(&body) + data));
            let (proxy, _upstream) = serve(&wat, "").await;
            assert_eq!(proxy.get("/").await.status(), 438);
            proxy.logged(&["\"one two\"", &format!("\"{level}\""), "\"it\""]).await;
        });
    }
    table.row(
        "W.proc_exit",
        "`proc_exit` in a callback is a trap of that instance; the next stream has a new one",
        || async {
            let body = "(if (i32.eqz (global.get $seen)) (then (call $proc_exit (i32.const 0))))";
            let wat = module("proxy_abi_version_0_2_1", "malloc", &on_headers(body));
            let (proxy, _upstream) = serve(&wat, "").await;
            assert_eq!(proxy.get("/").await.status(), 503);
            proxy.metric_reaches("fyke_filter_traps_total", &[("filter", "it")], 1.0).await;
        },
    );
    table.row("W.emscripten", "`emscripten_notify_memory_growth` may be called", || async {
        let wat = module(
            "proxy_abi_version_0_2_1",
            "malloc",
            &on_headers("(call $notify (i32.const 0)) (call $reply (i32.const 430))"),
        );
        let (proxy, _upstream) = serve(&wat, "").await;
        assert_eq!(proxy.get("/").await.status(), 430);
    });
}
