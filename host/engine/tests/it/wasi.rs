//! PROXY-WASM.md 1.5.

use fyke_engine::{InstanceOptions, LogLevel, TrapKind};

use crate::guest::{ALLOCATOR, Guest, prelude};
use crate::recorder::Recorder;

const WASI: &[(&str, &str, &str)] = &[
    ("fd_write", "i32 i32 i32 i32", "i32"),
    ("clock_time_get", "i32 i64 i32", "i32"),
    ("random_get", "i32 i32", "i32"),
    ("environ_sizes_get", "i32 i32", "i32"),
    ("environ_get", "i32 i32", "i32"),
    ("args_sizes_get", "i32 i32", "i32"),
    ("args_get", "i32 i32", "i32"),
    ("proc_exit", "i32", ""),
    ("sched_yield", "", "i32"),
    ("poll_oneoff", "i32 i32 i32 i32", "i32"),
    ("fd_close", "i32", "i32"),
    ("fd_fdstat_get", "i32 i32", "i32"),
    ("fd_fdstat_set_flags", "i32 i32", "i32"),
    ("fd_prestat_get", "i32 i32", "i32"),
    ("fd_prestat_dir_name", "i32 i32 i32", "i32"),
    ("fd_seek", "i32 i64 i32 i32", "i32"),
    ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32", "i32"),
];

/// `$digits` says a number below 100.
const DIGITS: &str = "(func $digits (param i32)
    (i32.store8 (i32.const 40) (i32.add (i32.const 48) (i32.div_u (local.get 0) (i32.const 10))))
    (i32.store8 (i32.const 41) (i32.add (i32.const 48) (i32.rem_u (local.get 0) (i32.const 10))))
    (call $say (i32.const 40) (i32.const 2)))";

fn guest(module: &str, where_: &str, body: &str) -> String {
    let mut imports = String::new();
    for (name, parameters, result) in WASI {
        let result = if result.is_empty() { String::new() } else { format!("(result {result})") };
        imports += &format!("(import \"{module}\" \"{name}\" (func ${name} (param {parameters}) {result}))");
    }
    imports += r#"(import "env" "emscripten_notify_memory_growth" (func $notify (param i32)))"#;
    format!(
        r#"(module {imports} {} {ALLOCATOR} {DIGITS} (data (i32.const 200) "one two\0a")
            (data (i32.const 240) "\c8\00\00\00\04\00\00\00\cc\00\00\00\04\00\00\00") {where_} {body})
            (func (export "proxy_on_vm_start") (param i32 i32) (result i32) i32.const 1))"#,
        prelude("0_2_1")
    )
}

fn says_at_start(body: &str) -> Recorder {
    says_with(body, Recorder::default)
}

fn says_with(body: &str, recorder: impl Fn() -> Recorder) -> Recorder {
    let mut host = recorder();
    let options = InstanceOptions {
        environment: vec![("A".to_owned(), "1".to_owned()), ("LONG".to_owned(), "x=y".to_owned())],
        ..InstanceOptions::default()
    };
    for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
        host = recorder();
        Guest::with(&guest(module, r#"(func (export "_initialize")"#, body), &options, &mut host);
    }
    host
}

#[test]
fn output_becomes_log_lines_without_their_newline() {
    let host = says_at_start(
        "(call $digits (call $fd_write (i32.const 1) (i32.const 240) (i32.const 2) (i32.const 24)))
         (call $digits (i32.load (i32.const 24)))
         (call $digits (call $fd_write (i32.const 2) (i32.const 240) (i32.const 1) (i32.const 24)))
         (call $digits (call $fd_write (i32.const 3) (i32.const 240) (i32.const 2) (i32.const 24)))
         (call $digits (call $fd_write (i32.const 1) (i32.const 240) (i32.const 0) (i32.const 24)))
         (call $digits (i32.load (i32.const 24)))",
    );
    assert_eq!(host.said(), ["one two", "00", "08", "one ", "00", "08", "00", "00"]);
    assert_eq!((host.logs[0].1, host.logs[3].1), (LogLevel::Info, LogLevel::Error));
}

#[test]
fn only_two_clocks_run() {
    let host = says_at_start(
        "(call $digits (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 32))) (call $digits (i32.load8_u (i32.const 32)))
         (call $digits (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 32))) (call $digits (i32.load8_u (i32.const 32)))
         (call $digits (call $clock_time_get (i32.const 2) (i64.const 1) (i32.const 32)))",
    );
    assert_eq!(host.said(), ["00", "08", "00", "07", "58"]);
}

#[test]
fn randomness_is_capped() {
    let host = says_at_start(
        "(call $digits (call $random_get (i32.const 400) (i32.const 3))) (call $say (i32.const 400) (i32.const 4))
         (call $digits (call $random_get (i32.const 400) (i32.const 65536)))
         (call $digits (call $random_get (i32.const 400) (i32.const 65537)))",
    );
    assert_eq!(host.said(), ["00", "rrr\0", "00", "28"]);
}

#[test]
fn a_guest_that_may_have_no_randomness_is_told() {
    let asks = "(call $digits (call $random_get (i32.const 400) (i32.const 3)))";
    let host = says_with(asks, || Recorder { predictable: true, ..Recorder::default() });
    assert_eq!(host.said(), ["76"]);
}

#[test]
fn the_environment_is_the_options_and_there_are_no_arguments() {
    let host = says_at_start(
        "(call $digits (call $environ_sizes_get (i32.const 32) (i32.const 36)))
         (call $digits (i32.load (i32.const 32))) (call $digits (i32.load (i32.const 36)))
         (call $digits (call $environ_get (i32.const 400) (i32.const 500)))
         (call $say (i32.load (i32.const 400)) (i32.const 4)) (call $say (i32.load (i32.const 404)) (i32.const 9))
         (call $digits (call $args_sizes_get (i32.const 32) (i32.const 36)))
         (call $digits (i32.load (i32.const 32))) (call $digits (i32.load (i32.const 36)))
         (call $digits (call $args_get (i32.const 32) (i32.const 36)))",
    );
    assert_eq!(host.said(), ["00", "02", "13", "00", "A=1\0", "LONG=x=y\0", "00", "00", "00", "00"]);
}

#[test]
fn there_are_no_files() {
    let host = says_at_start(
        "(call $digits (call $fd_prestat_get (i32.const 3) (i32.const 32)))
         (call $digits (call $fd_prestat_dir_name (i32.const 3) (i32.const 32) (i32.const 9)))
         (call $digits (call $fd_fdstat_get (i32.const 0) (i32.const 400)))
         (call $digits (call $fd_fdstat_get (i32.const 1) (i32.const 400))) (call $digits (i32.load8_u (i32.const 408)))
         (call $digits (call $fd_fdstat_set_flags (i32.const 2) (i32.const 0)))
         (call $digits (call $fd_fdstat_set_flags (i32.const 9) (i32.const 0)))
         (call $digits (call $fd_close (i32.const 9))) (call $digits (call $fd_close (i32.const 2)))
         (call $digits (call $fd_seek (i32.const 1) (i64.const 0) (i32.const 0) (i32.const 32)))
         (call $digits (call $path_open (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 0)))
         (call $digits (call $sched_yield))
         (call $digits (call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
         (call $notify (i32.const 0))",
    );
    assert_eq!(host.said(), ["08", "08", "08", "00", "64", "00", "08", "08", "00", "08", "52", "00", "00"]);
}

#[test]
fn exit_is_a_trap() {
    let mut host = Recorder::default();
    let text = guest(
        "wasi_snapshot_preview1",
        r#"(func (export "proxy_on_tick") (param i32)"#,
        "(call $proc_exit (i32.const 3))",
    );
    let mut guest = Guest::new(&text, &mut host);
    let trap = guest.instance.on_tick(&mut host, guest.root).unwrap_err();
    assert_eq!((trap.kind, trap.message.as_str()), (TrapKind::Exit, "it exited with code 3"));
}

#[test]
fn an_allocator_may_write_ask_for_the_time_and_grow() {
    for (call, permitted) in [
        ("(drop (call $fd_write (i32.const 1) (i32.const 240) (i32.const 2) (i32.const 24)))", true),
        ("(drop (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 32)))", true),
        ("(drop (call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))", true),
        ("(call $notify (i32.const 0))", true),
        ("(drop (call $random_get (i32.const 400) (i32.const 3)))", false),
        ("(drop (call $fd_close (i32.const 1)))", false),
        ("(drop (call $fd_seek (i32.const 1) (i64.const 0) (i32.const 0) (i32.const 32)))", false),
        ("(call $proc_exit (i32.const 0))", false),
    ] {
        let mut host = Recorder::default();
        let text = guest(
            "wasi_snapshot_preview1",
            r#"(func (export "proxy_on_tick") (param i32)"#,
            "(drop (call $proxy_get_property (i32.const 100) (i32.const 3) (i32.const 16) (i32.const 20))) (call $value)",
        )
        .replace("(drop (call $proxy_log (i32.const 0) (i32.const 0) (i32.const 5)))", call);
        let mut guest = Guest::new(&text, &mut host);
        let result = guest.instance.on_tick(&mut host, guest.root);
        assert_eq!(result.is_ok(), permitted, "{call}");
        if permitted {
            assert_eq!(*host.said().last().unwrap(), "property", "{call}");
        }
    }
}
