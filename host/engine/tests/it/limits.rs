//! Deadlines, memory, pointers, and what happens after a trap.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use fyke_engine::{Callback, ConfigureError, Instance, InstanceOptions, LoadError, MapKind, TrapKind};

use crate::guest::{ALLOCATOR, Guest, compile, module, on_headers, prelude, run, trap};
use crate::recorder::Recorder;

fn host() -> Recorder {
    Recorder::default().with_map(MapKind::RequestHeaders, &[("key", "value")])
}

const GET_KEY: &str = "(drop (call $proxy_get_header_map_value (i32.const 0) (i32.const 100) (i32.const 3) (i32.const 16) (i32.const 20)))";

/// A module whose allocator does `body`, and which gets a header value.
fn with_allocator(body: &str) -> String {
    format!(
        r#"(module {} (global $n (mut i32) (i32.const 0))
        (func (export "proxy_on_memory_allocate") (param $size i32) (result i32) {body})
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {GET_KEY} (call $value) (i32.const 0)))"#,
        prelude("0_2_1")
    )
}

fn allocator_trap(body: &str) -> fyke_engine::Trap {
    let mut host = host();
    Guest::new(&with_allocator(body), &mut host).headers(&mut host).expect_err("a trap")
}

#[test]
fn an_endless_loop_ends_at_its_deadline() {
    let started = Instant::now();
    let trap = trap("(loop $again (br $again))", host());
    assert_eq!((trap.kind, trap.callback), (TrapKind::Deadline, "request_headers"));
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(trap.message.contains("10ms"), "{}", trap.message);
    assert!(trap.backtrace.contains("wasm"), "{}", trap.backtrace);
}

#[test]
fn an_endless_loop_of_hostcalls_ends_at_its_deadline() {
    let trap = trap(&format!("(loop $again {GET_KEY} (global.set $heap (i32.const 65536)) (br $again))"), host());
    assert_eq!(trap.kind, TrapKind::Deadline);
}

#[test]
fn a_row_of_slow_hostcalls_without_a_loop_ends_at_its_deadline() {
    // Compiled code looks at the epoch at loops, function entries and bulk work, of which this has none.
    let log = "(drop (call $proxy_log (i32.const 2) (i32.const 0) (i32.const 0)))";
    let mut host = Recorder { busy: true, ..host() };
    let mut guest = Guest::new(&on_headers(&log.repeat(40)), &mut host);
    let begun = host.logs.len();
    assert_eq!(guest.headers(&mut host).expect_err("a trap").kind, TrapKind::Deadline);
    assert!(host.logs.len() - begun < 20, "{} calls of 5 ms each", host.logs.len() - begun);
}

#[test]
fn an_endless_loop_in_the_allocator_ends_at_its_deadline() {
    assert_eq!(allocator_trap("(loop $again (br $again)) unreachable").kind, TrapKind::Deadline);
}

#[test]
fn endless_recursion_is_a_trap() {
    let text = module(
        "0_2_1",
        r#"(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))
           (func (export "proxy_on_tick") (param i32) (drop (call $deep (i32.const 1))))"#,
    );
    let mut host = host();
    let mut guest = Guest::new(&text, &mut host);
    let trap = guest.instance.on_tick(&mut host, guest.root).unwrap_err();
    assert_eq!(trap.kind, TrapKind::Other);
    assert!(trap.message.contains("stack"), "{}", trap.message);
}

#[test]
fn configuring_has_a_budget_of_its_own() {
    // Takes longer than a call may.
    let busy = "(local $n i64) (local.set $n (i64.const 60000000))
        (loop $again (br_if $again (i64.ne (i64.const 0) (local.tee $n (i64.sub (local.get $n) (i64.const 1))))))";
    let options = InstanceOptions { call_time: Duration::ZERO, ..InstanceOptions::default() };
    let text = module(
        "0_2_1",
        &format!(r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) {busy} (i32.const 1))"#),
    );
    Guest::with(&text, &options, &mut host());

    let endless =
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) (loop $again (br $again)) unreachable)"#;
    let options = InstanceOptions { configure_time: Duration::from_millis(20), ..InstanceOptions::default() };
    let mut instance = Instance::new(&compile(&module("0_2_1", endless)).unwrap(), &options, &mut host()).unwrap();
    let Err(ConfigureError::Trap(trap)) = instance.configure_root(&mut host(), b"") else { panic!("no trap") };
    assert_eq!((trap.kind, trap.callback), (TrapKind::Deadline, "configure"));

    let endless = module("0_2_1", r#"(func (export "_initialize") (loop $again (br $again)))"#);
    let Err(LoadError::Start(trap)) = Instance::new(&compile(&endless).unwrap(), &options, &mut host()) else {
        panic!("no trap")
    };
    assert_eq!((trap.kind, trap.callback), (TrapKind::Deadline, "_initialize"));
}

#[test]
fn deadlines_hold_after_the_ticker_has_napped() {
    let mut host = host();
    let engine = fyke_engine::Engine::new(fyke_engine::EngineOptions::default()).unwrap();
    let module = engine.compile(&wat::parse_str(on_headers("(loop $again (br $again))")).unwrap()).unwrap();
    let mut instance = Instance::new(&module, &InstanceOptions::default(), &mut host).unwrap();
    let root = instance.configure_root(&mut host, b"").unwrap();
    // The thread of this engine of ours has nothing else to do: after twenty quiet ticks it naps.
    let begun = Instant::now();
    while !engine.is_napping() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never naps");
        std::thread::yield_now();
    }
    let cx = instance.create_stream(&mut host, root).unwrap();
    let started = Instant::now();
    assert_eq!(instance.on_request_headers(&mut host, cx, 1, true).unwrap_err().kind, TrapKind::Deadline);
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_memory_bomb_meets_the_cap() {
    let options = InstanceOptions { memory: 1 << 20, ..InstanceOptions::default() };
    let grow = "(loop $again (if (i32.eq (i32.const -1) (memory.grow (i32.const 1))) (then unreachable)) (br $again))";
    let mut host = host();
    let mut guest = Guest::with(&on_headers(grow), &options, &mut host);
    let trap = guest.headers(&mut host).unwrap_err();
    assert_eq!(trap.kind, TrapKind::Memory);
    assert!(trap.message.contains("memory"));
    assert_eq!(guest.instance.memory_size(), 1 << 20);
}

#[test]
fn growth_that_is_denied_is_minus_one_and_no_trap() {
    let host = run("(call $status (i32.add (i32.const 1) (memory.grow (i32.const 65000))))", host());
    assert_eq!(host.said(), ["0"]);
}

#[test]
fn a_table_bomb_meets_the_cap() {
    let text = module(
        "0_2_1",
        r#"(table $t 1 funcref)
           (func (export "proxy_on_tick") (param i32)
               (call $status (i32.add (i32.const 1) (table.grow $t (ref.null func) (i32.const 100000000)))))"#,
    );
    let mut host = host();
    let mut guest = Guest::new(&text, &mut host);
    guest.instance.on_tick(&mut host, guest.root).unwrap();
    assert_eq!(host.said(), ["0"]);
}

#[test]
fn a_module_that_starts_too_large_is_refused() {
    let module = compile(&module("0_2_1", "")).unwrap();
    let options = InstanceOptions { memory: 65536, ..InstanceOptions::default() };
    let error = Instance::new(&module, &options, &mut host()).unwrap_err();
    assert!(matches!(error, LoadError::MemoryTooLarge { size: 131_072, limit: 65536 }), "{error}");
}

#[test]
fn an_abort_condemns_the_instance_which_is_not_entered_again() {
    let mut host = host();
    let text = on_headers("(call $status (i32.const 1)) unreachable");
    let mut guest = Guest::new(&text, &mut host);
    let trap = guest.headers(&mut host).unwrap_err();
    assert_eq!((trap.kind, trap.callback), (TrapKind::Unreachable, "request_headers"));
    assert!(guest.instance.is_condemned());
    let trap = guest.headers(&mut host).unwrap_err();
    assert_eq!(trap.kind, TrapKind::Condemned);
    assert_eq!(guest.instance.create_stream(&mut host, guest.root).unwrap_err().kind, TrapKind::Condemned);
    assert!(guest.instance.configure_root(&mut host, b"").is_err());
    assert_eq!(host.said(), ["1"]);
}

#[test]
fn a_panic_of_the_host_condemns_the_instance_too() {
    let mut host = Recorder::default();
    let mut guest = Guest::new(&on_headers("(call $status (i32.const 1))"), &mut host);
    host.panic_on_log = true;
    assert!(catch_unwind(AssertUnwindSafe(|| guest.headers(&mut host))).is_err());
    assert_eq!(guest.headers(&mut host).unwrap_err().kind, TrapKind::Condemned);
}

#[test]
fn the_backtrace_has_the_guest_s_names() {
    let text = module(
        "0_2_1",
        r#"(func $deep_inside unreachable) (func (export "proxy_on_tick") (param i32) (call $deep_inside))"#,
    );
    let mut host = host();
    let mut guest = Guest::new(&text, &mut host);
    let trap = guest.instance.on_tick(&mut host, guest.root).unwrap_err();
    assert!(trap.backtrace.starts_with("0:"), "{}", trap.backtrace);
    assert!(trap.backtrace.contains("deep_inside"), "{}", trap.backtrace);
    assert_eq!(trap.callback, Callback::Tick.name());
    assert!(trap.to_string().contains("tick"));
}

#[test]
fn pointers_outside_of_memory_trap_in_every_direction() {
    for call in [
        // Arguments.
        "(drop (call $proxy_log (i32.const 2) (i32.const 131072) (i32.const 1)))",
        "(drop (call $proxy_log (i32.const 2) (i32.const -1) (i32.const -1)))",
        "(drop (call $proxy_log (i32.const 2) (i32.const 131071) (i32.const 2)))",
        "(drop (call $proxy_get_header_map_value (i32.const 0) (i32.const -4) (i32.const 8) (i32.const 16) (i32.const 20)))",
        "(drop (call $proxy_add_header_map_value (i32.const 0) (i32.const 100) (i32.const 3) (i32.const 131070) (i32.const 3)))",
        "(drop (call $proxy_set_header_map_pairs (i32.const 0) (i32.const 200000) (i32.const 3)))",
        "(drop (call $proxy_set_buffer_bytes (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 200000) (i32.const 3)))",
        // Places for results.
        "(drop (call $proxy_get_header_map_value (i32.const 0) (i32.const 100) (i32.const 3) (i32.const 131069) (i32.const 20)))",
        "(drop (call $proxy_get_header_map_value (i32.const 0) (i32.const 100) (i32.const 3) (i32.const 16) (i32.const -1)))",
        "(drop (call $proxy_get_header_map_pairs (i32.const 5) (i32.const 16) (i32.const 131072)))",
        "(drop (call $proxy_get_current_time_nanoseconds (i32.const 131065)))",
        "(drop (call $proxy_define_metric (i32.const 0) (i32.const 100) (i32.const 3) (i32.const -2)))",
    ] {
        let trap = trap(call, host());
        assert_eq!(trap.kind, TrapKind::BadPointer, "{call}");
    }
}

#[test]
fn a_callout_with_a_bad_place_for_its_token_is_not_made() {
    let mut host = host();
    let mut guest = Guest::new(
        &on_headers(
            "(drop (call $proxy_grpc_stream (i32.const 100) (i32.const 3) (i32.const 100) (i32.const 3) (i32.const 100) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const -1)))",
        ),
        &mut host,
    );
    assert_eq!(guest.headers(&mut host).unwrap_err().kind, TrapKind::BadPointer);
    assert!(host.asked.is_empty());
}

#[test]
fn an_empty_slice_may_point_anywhere() {
    let host = run("(call $status (call $proxy_log (i32.const 2) (i32.const -1) (i32.const 0)))", host());
    assert_eq!(host.said(), ["", "0"]);
}

#[test]
fn an_allocator_that_fails_or_lies_is_a_trap() {
    assert_eq!(allocator_trap("(i32.const 0)").kind, TrapKind::Memory);
    assert_eq!(allocator_trap("(i32.const -8)").kind, TrapKind::BadPointer);
    assert_eq!(allocator_trap("(i32.const 131070)").kind, TrapKind::BadPointer);
    assert_eq!(allocator_trap("unreachable").kind, TrapKind::Unreachable);
}

#[test]
fn an_allocator_may_grow_the_memory() {
    let mut host = host();
    let text = with_allocator("(i32.mul (memory.grow (i32.const 1)) (i32.const 65536))");
    let mut guest = Guest::new(&text, &mut host);
    guest.headers(&mut host).unwrap();
    assert_eq!(host.said(), ["value"]);
}

#[test]
fn an_allocator_may_log_and_do_nothing_else() {
    let mut host = host();
    let text = with_allocator("(drop (call $proxy_log (i32.const 2) (i32.const 100) (i32.const 3))) (i32.const 4096)");
    Guest::new(&text, &mut host).headers(&mut host).unwrap();
    assert_eq!(host.said(), ["key", "value"]);
    for call in [
        "(drop (call $proxy_get_current_time_nanoseconds (i32.const 32)))",
        "(drop (call $proxy_get_log_level (i32.const 32)))",
        "(drop (call $proxy_done))",
        "(drop (call $proxy_set_effective_context (i32.const 1)))",
        GET_KEY,
    ] {
        let trap = allocator_trap(&format!("{call} (i32.const 4096)"));
        assert_eq!(trap.kind, TrapKind::Other);
        assert!(trap.message.contains("allocator"), "{}", trap.message);
    }
}

#[test]
fn a_guest_that_starts_may_log_and_nothing_else() {
    for start in [r#"(func (export "_initialize")"#, r#"(func (export "_start")"#, "(start $s) (func $s"] {
        for call in ["proxy_done", "proxy_clear_route_cache"] {
            let text = format!("(module {} {ALLOCATOR} {start} (drop (call ${call}))))", prelude("0_2_1"));
            let error = Instance::new(&compile(&text).unwrap(), &InstanceOptions::default(), &mut host()).unwrap_err();
            let LoadError::Start(trap) = error else { panic!("{error}") };
            assert_eq!(trap.kind, TrapKind::Other);
            assert!(trap.message.contains(call), "{}", trap.message);
        }
    }
}

#[test]
fn a_guest_that_only_waits_for_its_thread_is_not_blamed() {
    // The host takes its time, off the CPU, so that ticks pass; the guest does nothing.
    let loops = "(local $i i32) (loop $again (call $status (i32.const 1))
        (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 6))))";
    // What the thread had used before does not count either.
    let busy = Instant::now();
    while busy.elapsed() < Duration::from_millis(60) {
        std::hint::spin_loop();
    }
    let mut host = Recorder { slow: true, ..host() };
    let mut guest = Guest::new(&on_headers(loops), &mut host);
    let started = Instant::now();
    guest.headers(&mut host).unwrap();
    assert!(started.elapsed() > Duration::from_millis(60));
    assert_eq!(host.said().len(), 6);
}
