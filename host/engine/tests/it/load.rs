//! What is refused before it runs, and why.

use fyke_engine::{AbiVersion, Callback, EngineOptions, Instance, InstanceOptions, LoadError, TrapKind};

use crate::guest::{ALLOCATOR, compile, engine, module, prelude};
use crate::recorder::Recorder;

fn refused(text: &str) -> LoadError {
    compile(text).expect_err("a refusal")
}

const BASIC: &str = r#"(memory (export "memory") 1) (func (export "malloc") (param i32) (result i32) i32.const 8)
    (func (export "proxy_abi_version_0_2_1"))"#;

#[test]
fn the_version_is_read_from_the_marker() {
    for (marker, version) in [
        ("0_1_0", AbiVersion::V0_1_0),
        ("0_2_0", AbiVersion::V0_2_0),
        ("0_2_1", AbiVersion::V0_2_1),
        ("0_2_100", AbiVersion::V0_2_100),
    ] {
        assert_eq!(compile(&module(marker, "")).unwrap().abi(), version);
    }
    assert_eq!(AbiVersion::V0_2_100.to_string(), "0.2.100");
}

#[test]
fn a_module_without_a_marker_or_with_an_unknown_one_is_refused() {
    let text = r#"(module (memory (export "memory") 1) (func (export "malloc") (param i32) (result i32) i32.const 8))"#;
    assert!(matches!(refused(text), LoadError::NoAbiMarker));
    let error = refused(&module("0_9_9", ""));
    assert!(matches!(&error, LoadError::UnknownAbi(name) if name == "proxy_abi_version_0_9_9"), "{error}");
}

#[test]
fn all_unknown_imports_are_named_with_their_signatures() {
    let error = refused(&format!(
        r#"(module (import "env" "proxy_redis_init" (func (param i32 i64) (result i32)))
        (import "elsewhere" "thing" (func)) (import "env" "table" (table 1 funcref)) {BASIC})"#
    ));
    let text = error.to_string();
    for part in ["env.proxy_redis_init (i32, i64) -> i32", "elsewhere.thing ()", "env.table (a table)"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn hostcalls_and_callbacks_with_other_signatures_are_refused() {
    let error = refused(&format!(r#"(module (import "env" "proxy_log" (func (param i32) (result i32))) {BASIC})"#));
    assert_eq!(
        error.to_string(),
        "import env.proxy_log has the signature (i32) -> i32, the ABI says (i32, i32, i32) -> i32"
    );
    let error = refused(&module(
        "0_1_0",
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) i32.const 0)"#,
    ));
    assert_eq!(
        error.to_string(),
        "export proxy_on_request_headers has the signature (i32, i32, i32) -> i32, its ABI version says (i32, i32) -> i32"
    );
    let error = refused(&module("0_2_1", r#"(func (export "_initialize") (param i32))"#));
    assert!(matches!(error, LoadError::ExportSignature { .. }), "{error}");
}

#[test]
fn a_module_without_allocator_or_memory_is_refused() {
    let text = r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1")))"#;
    assert!(matches!(refused(text), LoadError::NoAllocator));
    let text = r#"(module (func (export "malloc") (param i32) (result i32) i32.const 8) (func (export "proxy_abi_version_0_2_1")))"#;
    assert!(matches!(refused(text), LoadError::NoMemory));
}

#[test]
fn bytes_that_are_no_module_are_refused_without_a_panic() {
    for bytes in [&b""[..], b"hello", b"\0asm", b"\0asm\x01\0\0\0\x01", b"\0asm\x0d\0\x01\0"] {
        assert!(matches!(
            engine().compile(bytes),
            Err(LoadError::Invalid(_) | LoadError::NoAbiMarker | LoadError::NoAllocator)
        ));
    }
    let good = wat::parse_str(module("0_2_1", r#"(func (export "proxy_on_tick") (param i32))"#)).unwrap();
    for at in 0..good.len() {
        let _ = engine().compile(&good[..at]);
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        let _ = engine().compile(&bad);
    }
}

#[test]
fn a_body_that_does_not_validate_is_refused() {
    let mut text = wat::parse_str(format!("(module {BASIC} (func (result i32) i32.const 77))")).unwrap();
    let at = text.windows(2).rposition(|pair| pair == [0x41, 0xcd]).unwrap();
    text[at] = 0x1a;
    assert!(matches!(engine().compile(&text), Err(LoadError::Invalid(_))));
}

#[test]
fn a_module_that_is_too_large_is_refused() {
    assert!(matches!(engine().compile(&vec![0; (64 << 20) + 1]), Err(LoadError::TooLarge { .. })));
}

#[test]
fn proposals_that_no_filter_needs_are_off() {
    let error = refused(&format!("(module {BASIC} (memory i64 1))"));
    assert!(matches!(error, LoadError::Invalid(_)), "{error}");
}

#[test]
fn what_compilers_of_today_emit_is_on() {
    let text = module(
        "0_2_1",
        r#"(table $t 1 funcref) (elem declare func $f)
        (func $f (param i32) (result i32 i32) (local.get 0) (local.get 0))
        (func (export "proxy_on_tick") (param i32)
            (memory.fill (i32.const 0) (i32.const 0) (i32.const 8))
            (drop (i32.extend8_s (local.get 0)))
            (drop (i32.trunc_sat_f64_s (f64.const 1e300)))
            (drop (i8x16.popcnt (v128.const i64x2 1 2)))
            (table.set $t (i32.const 0) (ref.func $f))
            (call $f (i32.const 1)) (drop) (drop))"#,
    );
    compile(&text).unwrap();
}

#[test]
fn the_manifest_and_the_exports_are_read_without_running_anything() {
    let module = compile(&module(
        "0_2_1",
        r#"(func (export "proxy_on_log") (param i32)) (@custom "fyke.manifest" "{\"name\":\"x\"}")"#,
    ))
    .unwrap();
    assert_eq!(module.manifest(), Some(&br#"{"name":"x"}"#[..]));
    assert_eq!(module.callbacks(), [Callback::Log].into_iter().collect());
    assert_eq!(module.hash().len(), 64);
    assert!(module.size() > 100);
}

#[test]
fn the_same_bytes_are_one_module() {
    let bytes = wat::parse_str(module("0_2_1", r#"(func (export "proxy_on_delete") (param i32))"#)).unwrap();
    let engine = fyke_engine::Engine::new(EngineOptions::default()).unwrap();
    let started = std::time::Instant::now();
    let first = engine.compile(&bytes).unwrap();
    let compiling = started.elapsed();
    let started = std::time::Instant::now();
    let second = engine.compile(&bytes).unwrap();
    assert_eq!(first.hash(), second.hash());
    assert!(started.elapsed() < compiling);
}

#[test]
fn a_guest_that_traps_or_exits_while_it_starts_is_refused() {
    for (start, kind, callback) in [
        (r#"(func (export "_initialize") unreachable)"#, TrapKind::Unreachable, "_initialize"),
        (r#"(func (export "_start") (call $exit (i32.const 0)))"#, TrapKind::Exit, "_start"),
        (
            r#"(func (export "_initialize")) (func (export "main") (param i32 i32) (result i32) unreachable)"#,
            TrapKind::Unreachable,
            "main",
        ),
        ("(func $s unreachable) (start $s)", TrapKind::Unreachable, "start"),
    ] {
        let text = format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) {} {ALLOCATOR} {start})"#,
            prelude("0_2_1")
        );
        let error =
            Instance::new(&compile(&text).unwrap(), &InstanceOptions::default(), &mut Recorder::default()).unwrap_err();
        let LoadError::Start(trap) = error else { panic!("{error}") };
        assert_eq!((trap.kind, trap.callback), (kind, callback));
    }
}
