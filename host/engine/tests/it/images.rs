//! Copies of a configured instance: what they have of it, and what they do not share.

use std::fs;

use fyke_engine::{
    Callback, ConfigureError, ContextId, Engine, EngineOptions, Image, Instance, InstanceOptions, LoadError, LogLevel,
    Module, TrapKind,
};

use crate::guest::{module, on_headers};
use crate::recorder::Recorder;

/// An engine with room for so many instances of images.
pub fn engine(images: usize) -> Engine {
    Engine::new(EngineOptions { images, ..EngineOptions::default() }).unwrap()
}

pub fn compile(engine: &Engine, text: &str) -> Result<Module, LoadError> {
    engine.compile_for_images(&wat::parse_str(text).expect("valid WAT"))
}

/// A configured instance and its root.
pub fn configured(
    engine: &Engine,
    text: &str,
    options: &InstanceOptions,
    host: &mut Recorder,
) -> (Instance, ContextId) {
    let mut instance = Instance::new(&compile(engine, text).expect("a module"), options, host).expect("an instance");
    let root = instance.configure_root(host, b"configuration").expect("a root");
    (instance, root)
}

/// The image of a configured instance, and its root.
pub fn image(engine: &Engine, text: &str, options: &InstanceOptions) -> (Image, ContextId) {
    let (mut instance, root) = configured(engine, text, options, &mut Recorder::default());
    (instance.image(engine).expect("an image"), root)
}

/// Makes a stream and lets its request headers come; what the guest said.
pub fn headers(instance: &mut Instance, root: ContextId) -> Vec<String> {
    let mut host = Recorder::default();
    let cx = instance.create_stream(&mut host, root).expect("a stream");
    instance.on_request_headers(&mut host, cx, 1, true).expect("no trap");
    host.said().into_iter().map(str::to_owned).collect()
}

/// Counts in memory and in a global: both start at `0`, configuring adds five, and each request says them and adds one.
fn counter() -> String {
    module(
        "0_2_1",
        r#"(global $n (mut i32) (i32.const 0))
        (func $add (param $by i32)
            (global.set $n (i32.add (global.get $n) (local.get $by)))
            (i32.store (i32.const 70000) (i32.add (i32.load (i32.const 70000)) (local.get $by))))
        (func (export "proxy_on_configure") (param i32 i32) (result i32) (call $add (i32.const 5)) (i32.const 1))
        (func (export "proxy_on_tick") (param i32)
            (call $status (global.get $n)) (call $status (i32.load (i32.const 70000))))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $status (global.get $n)) (call $status (i32.load (i32.const 70000)))
            (call $add (i32.const 1)) (i32.const 0))"#,
    )
}

#[test]
fn a_copy_has_what_configuring_left_and_shares_nothing() {
    let engine = engine(4);
    let (mut original, root) = configured(&engine, &counter(), &InstanceOptions::default(), &mut Recorder::default());
    let image = original.image(&engine).unwrap();
    let (mut one, mut two) = (image.instantiate().unwrap(), image.instantiate().unwrap());
    assert_eq!(headers(&mut one, root), ["5", "5"]);
    assert_eq!(headers(&mut one, root), ["6", "6"]);
    assert_eq!(headers(&mut two, root), ["5", "5"]);
    assert_eq!(headers(&mut image.instantiate().unwrap(), root), ["5", "5"]);

    // The original goes on, and its changes are its own as well.
    let mut host = Recorder::default();
    original.on_tick(&mut host, root).unwrap();
    assert_eq!(host.said(), ["5", "5"]);
    assert_eq!(headers(&mut original, root), ["5", "5"]);
    assert_eq!(headers(&mut original, root), ["6", "6"]);
    assert_eq!(headers(&mut image.instantiate().unwrap(), root), ["5", "5"]);
}

#[test]
fn the_slot_of_a_copy_is_as_new_for_the_next_one() {
    let engine = engine(1);
    let (image, root) = image(&engine, &counter(), &InstanceOptions::default());
    for _ in 0..1000 {
        assert_eq!(headers(&mut image.instantiate().unwrap(), root), ["5", "5"]);
    }
}

#[test]
fn two_images_take_turns_in_a_slot() {
    let engine = engine(1);
    let (first, root) = image(&engine, &counter(), &InstanceOptions::default());
    let (second, _) =
        image(&engine, &on_headers("(call $say (i32.const 100) (i32.const 3))"), &InstanceOptions::default());
    for _ in 0..20 {
        assert_eq!(headers(&mut first.instantiate().unwrap(), root), ["5", "5"]);
        assert_eq!(headers(&mut second.instantiate().unwrap(), root), ["key"]);
    }
}

#[test]
fn ids_of_contexts_go_on_and_roots_are_known() {
    let engine = engine(2);
    let text = on_headers(
        "(call $status (call $proxy_set_effective_context (i32.const 1)))
        (drop (call $proxy_log (i32.const 2) (i32.const 100) (i32.const 3)))",
    );
    let (mut original, root) = configured(&engine, &text, &InstanceOptions::default(), &mut Recorder::default());
    let second = original.configure_root(&mut Recorder::default(), b"").unwrap();
    assert_eq!((root, second), (ContextId(1), ContextId(2)));
    let mut copy = original.image(&engine).unwrap().instantiate().unwrap();
    let mut host = Recorder::default();
    let cx = copy.create_stream(&mut host, root).unwrap();
    assert_eq!(cx, ContextId(3));
    copy.on_request_headers(&mut host, cx, 0, true).unwrap();
    assert_eq!(host.logs.last(), Some(&(root, LogLevel::Info, "key".to_owned())));
    assert_eq!(original.create_stream(&mut host, second).unwrap(), ContextId(3), "each counts for itself");
}

#[test]
fn a_copy_does_not_start_again_and_can_be_configured_further() {
    let engine = engine(2);
    let text = module(
        "0_2_1",
        r#"(func $begin (call $say (i32.const 100) (i32.const 3))) (start $begin)
        (func (export "_initialize") (call $say (i32.const 103) (i32.const 3)))
        (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
            (call $say (i32.const 106) (i32.const 5)) (i32.const 1))
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (call $status (local.get 1)) (i32.ne (local.get 1) (i32.const 7)))"#,
    );
    let mut host = Recorder::default();
    let (mut original, _) = configured(&engine, &text, &InstanceOptions::default(), &mut host);
    assert_eq!(host.said(), ["key", "KEY", "value", "="]);
    let mut copy = original.image(&engine).unwrap().instantiate().unwrap();
    let mut host = Recorder::default();
    assert_eq!(copy.configure_root(&mut host, b"four").unwrap(), ContextId(2));
    assert_eq!(host.said(), ["4"]);
    assert!(matches!(copy.configure_root(&mut host, b"sevenXX"), Err(ConfigureError::Refused)));
}

#[test]
fn limits_environment_and_callbacks_are_those_of_the_original() {
    let engine = engine(2);
    let fields = r#"(import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))"#;
    let body = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $environ (i32.const 200) (i32.const 300))) (call $say (i32.const 300) (i32.const 5)) (i32.const 0))
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (drop (memory.grow (i32.const 3))) (i32.const 1))
        (func (export "proxy_on_log") (param i32))"#;
    let text = module("0_2_1", body).replacen("(module ", &format!("(module {fields}"), 1);
    let options = InstanceOptions {
        environment: vec![("KEY".into(), "v".into())],
        callbacks: Some([Callback::RequestHeaders].into_iter().collect()),
        ..InstanceOptions::default()
    };
    let (mut original, root) = configured(&engine, &text, &options, &mut Recorder::default());
    let mut copy = original.image(&engine).unwrap().instantiate().unwrap();
    assert_eq!(headers(&mut copy, root), ["KEY=v"]);
    assert_eq!(copy.callbacks(), original.callbacks());
    assert!(!copy.callbacks().contains(Callback::Log));
    assert_eq!((original.memory_size(), copy.memory_size()), (5 << 16, 5 << 16));
}

#[test]
fn copies_ask_the_host_for_randomness_and_do_not_repeat_each_other() {
    let engine = engine(2);
    let import = r#"(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))"#;
    let text =
        on_headers("(drop (call $random (i32.const 300) (i32.const 1))) (call $say (i32.const 300) (i32.const 1))")
            .replacen("(module ", &format!("(module {import}"), 1);
    let (image, root) = image(&engine, &text, &InstanceOptions::default());
    let said = |random: u8| {
        let mut host = Recorder { random: Some(random), ..Recorder::default() };
        let mut copy = image.instantiate().unwrap();
        let cx = copy.create_stream(&mut host, root).unwrap();
        copy.on_request_headers(&mut host, cx, 0, true).unwrap();
        host.said().join("")
    };
    assert_eq!((said(b'x'), said(b'y')), ("x".to_owned(), "y".to_owned()));
}

#[test]
fn a_trap_ends_one_copy_and_no_other() {
    let engine = engine(2);
    let text = module(
        "0_2_1",
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (if (local.get 1) (then unreachable)) (i32.const 0))"#,
    );
    let (image, root) = image(&engine, &text, &InstanceOptions::default());
    let mut host = Recorder::default();
    let (mut one, mut two) = (image.instantiate().unwrap(), image.instantiate().unwrap());
    let cx = one.create_stream(&mut host, root).unwrap();
    let trap = one.on_request_headers(&mut host, cx, 1, true).unwrap_err();
    assert_eq!(trap.kind, TrapKind::Unreachable);
    assert!(trap.backtrace.contains("wasm"), "{}", trap.backtrace);
    assert_eq!(one.on_request_headers(&mut host, cx, 0, true).unwrap_err().kind, TrapKind::Condemned);
    let cx = two.create_stream(&mut host, root).unwrap();
    two.on_request_headers(&mut host, cx, 0, true).unwrap();
    // The slot of the trapped one is free again, and clean.
    drop(one);
    let mut three = image.instantiate().unwrap();
    let cx = three.create_stream(&mut host, root).unwrap();
    three.on_request_headers(&mut host, cx, 0, true).unwrap();
}

#[test]
fn an_image_and_its_copies_outlive_everything_that_they_were_made_from() {
    let (image, root) = {
        let engine = engine(2);
        image(&engine, &on_headers("(loop $again (br_if $again (local.get $n)))"), &InstanceOptions::default())
    };
    let mut copy = image.instantiate().unwrap();
    drop(image);
    let mut host = Recorder::default();
    let cx = copy.create_stream(&mut host, root).unwrap();
    copy.on_request_headers(&mut host, cx, 0, true).unwrap();
    // There is still somebody who moves the epoch.
    assert_eq!(copy.on_request_headers(&mut host, cx, 1, true).unwrap_err().kind, TrapKind::Deadline);
}

#[test]
fn a_module_for_images_says_of_itself_what_the_plain_one_says() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    let engine =
        Engine::new(EngineOptions { cache: Some(cache.clone()), images: 1, ..EngineOptions::default() }).unwrap();
    let bytes = wat::parse_str(counter()).unwrap();
    let (plain, module) = (engine.compile(&bytes).unwrap(), engine.compile_for_images(&bytes).unwrap());
    assert_eq!((plain.hash(), plain.size(), plain.abi()), (module.hash(), module.size(), module.abi()));
    assert_eq!((plain.callbacks(), plain.imports()), (module.callbacks(), module.imports()));
    assert_eq!(plain.exports(), module.exports());
    let files = || fs::read_dir(&cache).unwrap().count();
    assert_eq!(files(), 2, "each has a file of its own");
    let mut instance = Instance::new(&module, &InstanceOptions::default(), &mut Recorder::default()).unwrap();
    instance.configure_root(&mut Recorder::default(), b"").unwrap();
    instance.image(&engine).unwrap();
    assert_eq!(files(), 2, "images are not kept");

    let mut plain = Instance::new(&plain, &InstanceOptions::default(), &mut Recorder::default()).unwrap();
    plain.configure_root(&mut Recorder::default(), b"").unwrap();
    let error = plain.image(&engine).unwrap_err();
    assert!(matches!(error, LoadError::Image(_)), "{error}");
}
