//! Copies of a configured instance: what they may use, how many there may be, and of what there are none.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use fyke_engine::{Image, InstanceOptions, LoadError, TrapKind};

use crate::guest::{module, on_headers};
use crate::images::{compile, configured, engine, headers, image};
use crate::recorder::Recorder;

fn refused(text: &str) -> String {
    match compile(&engine(1), text) {
        Err(error @ LoadError::NotForImages(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// The trap of a copy's request headers.
fn trap(text: &str, options: &InstanceOptions) -> (fyke_engine::Trap, usize) {
    let (image, root) = image(&engine(1), text, options);
    let mut copy = image.instantiate().unwrap();
    let mut host = Recorder::default();
    let cx = copy.create_stream(&mut host, root).unwrap();
    (copy.on_request_headers(&mut host, cx, 1, true).unwrap_err(), copy.memory_size())
}

#[test]
fn an_endless_loop_in_a_copy_ends_at_its_deadline() {
    let started = Instant::now();
    let (trap, _) = trap(&on_headers("(loop $again (br $again))"), &InstanceOptions::default());
    assert_eq!((trap.kind, trap.callback), (TrapKind::Deadline, "request_headers"));
    assert!(trap.message.contains("10ms"), "{}", trap.message);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_copy_has_no_more_memory_than_the_original_may_have() {
    let options = InstanceOptions { memory: 1 << 20, ..InstanceOptions::default() };
    let grow = "(loop $again (if (i32.eq (i32.const -1) (memory.grow (i32.const 1))) (then unreachable)) (br $again))";
    let (trap, size) = trap(&on_headers(grow), &options);
    assert_eq!((trap.kind, size), (TrapKind::Memory, 1 << 20));
}

#[test]
fn a_copy_may_grow_beyond_the_image() {
    let options = InstanceOptions { memory: 128 << 20, ..InstanceOptions::default() };
    let grow = "(drop (memory.grow (i32.const 2000))) (i32.store8 (i32.const 131000000) (i32.const 65))
        (call $say (i32.const 131000000) (i32.const 1))";
    let (image, root) = image(&engine(1), &on_headers(grow), &options);
    for _ in 0..3 {
        let mut copy = image.instantiate().unwrap();
        assert_eq!(copy.memory_size(), 2 << 16);
        assert_eq!(headers(&mut copy, root), ["A"]);
    }
}

#[test]
fn memory_that_is_written_at_both_ends_is_copied_whole() {
    let ends = module(
        "0_2_1",
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
            (drop (memory.grow (i32.const 900)))
            (i32.store8 (i32.const 59000000) (i32.const 66)) (i32.const 1))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $say (i32.const 59000000) (i32.const 1)) (i32.const 0))"#,
    );
    let (image, root) = image(&engine(1), &ends, &InstanceOptions::default());
    assert_eq!(headers(&mut image.instantiate().unwrap(), root), ["B"]);
}

#[test]
fn there_are_no_more_instances_than_there_may_be() {
    let engine = engine(3);
    let (first, root) = image(&engine, &on_headers(""), &InstanceOptions::default());
    let (second, _) = image(&engine, &on_headers("(nop)"), &InstanceOptions::default());
    let mut live = vec![first.instantiate().unwrap(), second.instantiate().unwrap(), first.instantiate().unwrap()];
    for image in [&first, &second] {
        let error = image.instantiate().unwrap_err();
        assert!(matches!(error, LoadError::TooManyInstances { limit: 3 }), "{error}");
    }
    // Those that are there do not notice.
    headers(&mut live[0], root);
    live.pop();
    headers(&mut second.instantiate().unwrap(), root);
    live.push(first.instantiate().unwrap());
    assert!(matches!(second.instantiate(), Err(LoadError::TooManyInstances { .. })));
    drop(live);
    let _live: Vec<_> = (0..3).map(|_| second.instantiate().unwrap()).collect();
}

#[test]
fn images_are_used_from_many_threads() {
    let engine = engine(8);
    let (image, root) =
        image(&engine, &on_headers("(call $say (i32.const 100) (i32.const 3))"), &InstanceOptions::default());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    assert_eq!(headers(&mut image.instantiate().unwrap(), root), ["key"]);
                }
            });
        }
    });
}

#[test]
fn a_live_copy_takes_four_mappings_at_most_even_when_it_grows() {
    const COUNT: usize = 500;
    let engine = engine(COUNT);
    let grow = r"(loop $again
        (drop (memory.grow (i32.const 1)))
        (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)) (i32.const 1))
        (br_if $again (i32.lt_u (memory.size) (i32.const 20))))";
    let (image, root) = image(&engine, &on_headers(grow), &InstanceOptions::default());
    let mappings = || fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let fill = |image: &Image| -> Vec<_> {
        let each = |_| {
            let mut copy = image.instantiate().unwrap();
            headers(&mut copy, root);
            copy
        };
        (0..COUNT).map(each).collect()
    };
    let before = mappings();
    for _ in 0..3 {
        let live = fill(&image);
        // Other tests run meanwhile, in this process.
        assert!(mappings() < before + 4 * COUNT + 400, "{} mappings, {before} before", mappings());
        drop(live);
    }
}

#[test]
fn modules_whose_state_cannot_be_copied_are_refused_in_words() {
    let with = |fields: &str, body: &str| module("0_2_1", &format!(r#"{fields} (func (export "f") {body})"#));
    let table = "(table $t 10 funcref)";
    for (body, instruction) in [
        ("(table.set $t (i32.const 0) (ref.null func))", "table.set"),
        ("(drop (table.grow $t (ref.null func) (i32.const 1)))", "table.grow"),
        ("(table.fill $t (i32.const 0) (ref.null func) (i32.const 1))", "table.fill"),
        ("(table.copy $t $t (i32.const 0) (i32.const 0) (i32.const 1))", "table.copy"),
    ] {
        let message = refused(&with(table, body));
        assert!(message.starts_with("`isolation: stream` needs a module that does not use"), "{message}");
        assert!(message.contains(&format!("`{instruction}`")), "{message}");
    }
    let message = refused(&with(r#"(data $d "x")"#, "(data.drop $d)"));
    assert!(message.contains("`data.drop`"), "{message}");
    let message = refused(&with("(global $g (mut funcref) (ref.null func))", ""));
    assert!(message.contains("reference types"), "{message}");
    let message = refused(&module("0_2_1", r#"(func (export "__wizer_memory_0"))"#));
    assert!(message.contains("__wizer_"), "{message}");
}

#[test]
fn names_in_front_of_code_are_refused() {
    let mut bytes = wat::parse_str(on_headers("")).unwrap();
    // An empty custom section "name" behind the header.
    bytes.splice(8..8, [0, 5, 4, b'n', b'a', b'm', b'e']);
    engine(1).compile(&bytes).unwrap();
    let error = engine(1).compile_for_images(&bytes).unwrap_err();
    assert!(matches!(error, LoadError::NotForImages(_)), "{error}");
}

#[test]
fn bytes_that_are_no_module_are_refused_without_a_panic() {
    let engine = engine(1);
    let good = wat::parse_str(on_headers("")).unwrap();
    for length in 0..good.len() {
        let _ = engine.compile_for_images(&good[..length]);
    }
    for at in 8..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x41;
        let _ = engine.compile_for_images(&bytes);
    }
}

#[test]
fn an_instance_that_is_not_at_rest_or_does_not_fit_has_no_image() {
    let engine = engine(2);
    let mut host = Recorder::default();
    let text = on_headers("unreachable");
    let (mut instance, root) = configured(&engine, &text, &InstanceOptions::default(), &mut host);
    let cx = instance.create_stream(&mut host, root).unwrap();
    let reason = |instance: &mut fyke_engine::Instance| match instance.image(&engine) {
        Err(LoadError::Image(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert!(reason(&mut instance).contains("streams"));
    instance.on_delete(&mut host, cx).unwrap();
    let mut copy = instance.image(&engine).unwrap().instantiate().unwrap();
    assert!(reason(&mut copy).contains("itself a copy"));
    let cx = instance.create_stream(&mut host, root).unwrap();
    instance.on_request_headers(&mut host, cx, 0, true).unwrap_err();
    instance.on_delete(&mut host, cx).unwrap();
    assert!(reason(&mut instance).contains("failed"));

    let large = module("0_2_1", "(table 70000 funcref)");
    let (mut instance, _) = configured(&engine, &large, &InstanceOptions::default(), &mut host);
    let reason = reason(&mut instance);
    assert!(reason.contains("table") && reason.contains("65536"), "{reason}");
}

#[test]
fn room_that_cannot_be_reserved_is_an_error() {
    // 12,000 TiB, if the kernel's limit on mappings did not come first.
    let engine = engine(3_000_000);
    let (mut instance, root) =
        configured(&engine, &on_headers(""), &InstanceOptions::default(), &mut Recorder::default());
    match instance.image(&engine) {
        Ok(image) => drop(headers(&mut image.instantiate().unwrap(), root)),
        Err(error) => assert!(matches!(error, LoadError::Pool { .. }), "{error}"),
    }
}
