//! Modules that load, and modules that are refused: versions, imports, allocators, start functions.

use std::ffi::OsStr;

use crate::{
    support::{
        Launch, Proxy, Upstream,
        process::{Ended, run, scratch},
    },
    table::Table,
};

/// What every module of these rows has: its marker, a memory, an allocator named like this, and `$reply` (status) to answer with.
pub fn module(marker: &str, allocator: &str, fields: &str) -> String {
    format!(
        r#"(module
            (import "env" "proxy_send_local_response" (func $send (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_get_header_map_value" (func $value (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_fdstat_get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_fdstat_set_flags" (func $fd_fdstat_set_flags (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_prestat_dir_name" (func $fd_prestat_dir_name (param i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_seek" (func $fd_seek (param i32 i64 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
            (import "wasi_snapshot_preview1" "sched_yield" (func $sched_yield (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
            (import "env" "emscripten_notify_memory_growth" (func $notify (param i32)))
            (memory (export "memory") 2)
            (global $heap (mut i32) (i32.const 65536))
            (global $seen (mut i32) (i32.const 0))
            (func (export "{marker}"))
            (func (export "{allocator}") (param $size i32) (result i32)
                (global.get $heap)
                (global.set $heap (i32.add (global.get $heap) (local.get $size))))
            (func $reply (param $status i32)
                (drop (call $send (local.get $status) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                    (i32.const 0) (i32.const 0) (i32.const -1))))
            {fields})"#
    )
}

/// The body of a request headers callback of 0.2.1.
pub fn on_headers(body: &str) -> String {
    format!(r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {body} (i32.const 0))"#)
}

fn yaml(address: std::net::SocketAddr, settings: &str) -> String {
    format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [it], cluster: app }}\n\
         filters:\n  it: {{ {settings}module: it.wasm, environment: {{ A: '1', LONG: x=y }} }}\n\
         clusters:\n  app: {{ endpoints: ['{address}'] }}\n"
    )
}

/// A proxy with this module.
pub async fn serve(wat: &str, settings: &str) -> (Proxy, Upstream) {
    let upstream = Upstream::says("up").await;
    let proxy =
        Launch::new(yaml(upstream.address, settings)).file("it.wasm", wat::parse_str(wat).unwrap()).start().await;
    (proxy, upstream)
}

/// What `fyke run` says about a module that it is expected to refuse.
pub fn refused(module: &[u8], settings: &str) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.yaml");
    let yaml = yaml("127.0.0.1:1".parse().unwrap(), settings);
    std::fs::write(&file, format!("workers: 1\nstate: {:?}\n{yaml}", scratch())).unwrap();
    std::fs::write(folder.path().join("it.wasm"), module).unwrap();
    run([OsStr::new("run"), file.as_os_str()])
}

pub fn rows(table: &mut Table) {
    table.group("Loading");
    accepted(table);
    bad(table);
}

fn accepted(table: &mut Table) {
    let loads =
        |table: &mut Table, id, title, marker: &'static str, allocator: &'static str, fields: String, status: u16| {
            table.row(id, title, move || {
                let wat = module(marker, allocator, &fields);
                async move {
                    let (proxy, _upstream) = serve(&wat, "").await;
                    assert_eq!(proxy.get("/").await.status(), status);
                }
            });
        };
    let seen = |status| on_headers(&format!("(call $reply (i32.add (i32.const {status}) (global.get $seen)))"));
    let mark = "(global.set $seen (i32.add (global.get $seen) (i32.const 1)))";
    let marker = "proxy_abi_version_0_2_1";
    let allocate = "proxy_on_memory_allocate";
    loads(
        table,
        "C1",
        "`_initialize` is called once, before everything else",
        marker,
        allocate,
        format!(r#"(func (export "_initialize") {mark}) {}"#, seen(430)),
        431,
    );
    loads(
        table,
        "C2",
        "`main` is called after `_initialize`",
        marker,
        allocate,
        format!(
            r#"(func (export "_initialize") {mark}) (func (export "main") (param i32 i32) (result i32) (global.set $seen (i32.mul (global.get $seen) (i32.const 5))) (i32.const 0)) {}"#,
            seen(430)
        ),
        435,
    );
    loads(
        table,
        "C2.alone",
        "`main` without `_initialize` is not called",
        marker,
        allocate,
        format!(r#"(func (export "main") (param i32 i32) (result i32) unreachable) {}"#, seen(430)),
        430,
    );
    loads(
        table,
        "C3",
        "`_start` is called where there is no `_initialize`",
        marker,
        allocate,
        format!(r#"(func (export "_start") {mark}) {}"#, seen(430)),
        431,
    );
    loads(
        table,
        "C3.reactor",
        "`_start` is not called where there is `_initialize`",
        marker,
        allocate,
        format!(r#"(func (export "_initialize") {mark}) (func (export "_start") unreachable) {}"#, seen(430)),
        431,
    );
    loads(table, "C3.none", "a module with none of them runs", marker, allocate, seen(430), 430);
    loads(
        table,
        "C5",
        "`malloc` is the allocator where there is no `proxy_on_memory_allocate`",
        marker,
        "malloc",
        asks(),
        431,
    );
    loads(
        table,
        "C4",
        "`proxy_on_memory_allocate` is the allocator where there are both",
        marker,
        allocate,
        format!(r#"(func (export "malloc") (param i32) (result i32) unreachable) {}"#, asks()),
        431,
    );
    loads(table, "R11", "a callback that is not exported is not called", marker, allocate, String::new(), 200);
    loads(
        table,
        "V1.unknown_exports",
        "exports that no version knows do not matter",
        marker,
        allocate,
        r#"(func (export "proxy_on_something_new") (param i32)) (func (export "x"))"#.to_owned(),
        200,
    );
    loads(table, "V0.1.0", "0.1.0: headers callbacks have two parameters", "proxy_abi_version_0_1_0", allocate, r#"(func (export "proxy_on_request_headers") (param i32 i32) (result i32) (call $reply (i32.const 430)) (i32.const 0))"#.to_owned(), 430);
    for (id, version) in [("V0.2.0", "0_2_0"), ("V0.2.1", "0_2_1"), ("V0.2.100", "0_2_100"), ("V0.x.x", "0_x_x")] {
        let marker: &'static str = format!("proxy_abi_version_{version}").leak();
        let title: &'static str = format!("`{marker}`: headers callbacks have three parameters").leak();
        loads(table, id, title, marker, allocate, on_headers("(call $reply (i32.const 430))"), 430);
    }
    table.row("V2", "every hostcall of every version links for every module", || async {
        // The probe imports all 43, and runs for each version in all other rows; here is the one of 0.1.0 in a module of 0.2.1.
        let wat = module(
            "proxy_abi_version_0_2_1",
            "malloc",
            &on_headers("(call $reply (i32.add (i32.const 430) (call $clear)))"),
        )
        .replacen(
            "(module",
            r#"(module (import "env" "proxy_clear_route_cache" (func $clear (result i32)))"#,
            1,
        );
        let (proxy, _upstream) = serve(&wat, "").await;
        assert_eq!(proxy.get("/").await.status(), 430);
    });
    table.row("V3", "WASI is there under both of its names", || async {
        let wat = module(
            "proxy_abi_version_0_2_1",
            "malloc",
            &on_headers("(call $reply (i32.add (i32.const 430) (call $fd_close (i32.const 1))))"),
        )
        .replace("wasi_snapshot_preview1", "wasi_unstable");
        let (proxy, _upstream) = serve(&wat, "").await;
        assert_eq!(proxy.get("/").await.status(), 430);
    });
}

/// Asks for a header, so that the host must allocate, and answers with 430 and the value's length.
pub fn asks() -> String {
    on_headers(
        "(drop (call $value (i32.const 0) (i32.const 100) (i32.const 5) (i32.const 16) (i32.const 20)))
         (call $reply (i32.add (i32.const 430) (i32.load (i32.const 20))))",
    ) + r#"(data (i32.const 100) ":path")"#
}

fn bad(table: &mut Table) {
    let text = |fields: &str| wat::parse_str(module("proxy_abi_version_0_2_1", "malloc", fields)).unwrap();
    let bare = |text: &str| wat::parse_str(text).unwrap();
    let cases: Vec<(&'static str, &'static str, Vec<u8>, &'static [&'static str])> = vec![
        ("X1", "what is no WebAssembly is refused", b"hello, world".to_vec(), &["it.wasm"]),
        (
            "X2",
            "a component is refused, and the message says what filters are",
            b"\0asm\x0d\0\x01\0".to_vec(),
            &["component", "wasm32-wasip1"],
        ),
        (
            "X3",
            "a module without a marker is refused",
            bare(
                r#"(module (memory (export "memory") 1) (func (export "malloc") (param i32) (result i32) i32.const 8))"#,
            ),
            &["proxy_abi_version"],
        ),
        (
            "X4",
            "a marker of a version that there is not is refused",
            bare(
                r#"(module (memory (export "memory") 1) (func (export "malloc") (param i32) (result i32) i32.const 8) (func (export "proxy_abi_version_9_9_9")))"#,
            ),
            &["9_9_9"],
        ),
        (
            "X5",
            "an unknown import is refused by name",
            bare(
                r#"(module (import "env" "proxy_make_coffee" (func)) (memory (export "memory") 1) (func (export "malloc") (param i32) (result i32) i32.const 8) (func (export "proxy_abi_version_0_2_1")))"#,
            ),
            &["proxy_make_coffee"],
        ),
        (
            "X6",
            "an import with another signature is refused by name",
            bare(
                r#"(module (import "env" "proxy_log" (func (param i64))) (memory (export "memory") 1) (func (export "malloc") (param i32) (result i32) i32.const 8) (func (export "proxy_abi_version_0_2_1")))"#,
            ),
            &["proxy_log"],
        ),
        (
            "X7",
            "a module without an allocator is refused",
            bare(r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1")))"#),
            &["proxy_on_memory_allocate"],
        ),
        (
            "X8",
            "a module without a memory is refused",
            bare(
                r#"(module (func (export "malloc") (param i32) (result i32) i32.const 8) (func (export "proxy_abi_version_0_2_1")))"#,
            ),
            &["memory"],
        ),
        (
            "X9",
            "a start function that traps is refused",
            text(r#"(func (export "_initialize") unreachable)"#),
            &["_initialize", "aborted"],
        ),
        (
            "X10",
            "a start function that never ends is refused",
            text(r#"(func (export "_initialize") (loop $l (br $l)))"#),
            &["_initialize"],
        ),
        ("X11", "a start section that traps is refused", text("(func $s unreachable) (start $s)"), &["start"]),
        (
            "X12",
            "a callback with another signature is refused by name",
            text(r#"(func (export "proxy_on_tick") (param i64))"#),
            &["proxy_on_tick"],
        ),
        (
            "X13",
            "a guest that exits while it starts is refused",
            text(r#"(func (export "_initialize") (call $proc_exit (i32.const 3)))"#),
            &["_initialize", "exit"],
        ),
        (
            "X14",
            "`proxy_*` while a module starts is refused, but for `proxy_log`",
            text(r#"(func (export "_initialize") (call $reply (i32.const 430)))"#),
            &["proxy_send_local_response"],
        ),
        (
            "X15",
            "a memory that begins larger than the limit is refused",
            bare(
                r#"(module (memory (export "memory") 2000) (func (export "malloc") (param i32) (result i32) i32.const 8) (func (export "proxy_abi_version_0_2_1")))"#,
            ),
            &["memory"],
        ),
    ];
    for (id, title, module, words) in cases {
        table.row(id, title, move || {
            let module = module.clone();
            async move {
                let ended = refused(&module, "limits: { configure_time: 1s }, ");
                assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
                for word in words {
                    assert!(ended.stderr.contains(word), "no {word:?} in {}", ended.stderr);
                }
                assert!(
                    ended.stderr.contains("it.wasm") || ended.stderr.contains("\"it\""),
                    "it does not say which filter: {}",
                    ended.stderr
                );
            }
        });
    }
}
