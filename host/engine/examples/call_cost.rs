//! What a call into a guest and a hostcall cost.
//!
//! ```text
//! cargo run --release -p fyke-engine --example call_cost
//! ```
//!
//! Prints nanoseconds per operation, the best of several rounds.

#![allow(clippy::print_stdout, reason = "this is what it is for")]

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use fyke_engine::{Engine, EngineOptions, Instance, InstanceOptions};

use self::nothing::Nothing;

mod nothing;

const GUEST: &str = r#"(module
    (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_effective_context" (func $switch (param i32) (result i32)))
    (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
    (memory (export "memory") 2)
    (data (i32.const 100) "user-agent")
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 4096))
    (func (export "proxy_on_context_create") (param i32 i32))
    (func (export "proxy_on_delete") (param i32))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
    (func (export "proxy_on_request_trailers") (param i32 i32) (result i32)
        (loop $again
            (drop (call $get (i32.const 0) (i32.const 100) (i32.const 10) (i32.const 16) (i32.const 20)))
            (br_if $again (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
        (i32.const 0))
    (func (export "proxy_on_response_trailers") (param i32 i32) (result i32)
        (loop $again
            (drop (call $set (i32.const 0) (i32.const 100) (i32.const 10) (i32.const 100) (i32.const 10)))
            (br_if $again (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
        (i32.const 0))
    (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
        (loop $again
            (drop (call $increment (i32.const 1) (i64.const 1)))
            (br_if $again (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
        (i32.const 0)))"#;

/// Operations of one round.
const COUNT: u32 = 100_000;

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::new(EngineOptions::default())?;
    let module = engine.compile(&wat::parse_str(GUEST)?)?;
    let mut host = Nothing::default();
    let options = InstanceOptions { call_time: Duration::from_secs(1), ..InstanceOptions::default() };
    let mut instance = Instance::new(&module, &options, &mut host)?;
    let root = instance.configure_root(&mut host, b"")?;
    let cx = instance.create_stream(&mut host, root)?;

    measure("call of an empty callback", COUNT, || {
        for _ in 0..COUNT {
            black_box(instance.on_request_headers(&mut host, cx, 10, true)?);
        }
        Ok(())
    })?;
    measure("stream context, created and deleted", COUNT, || {
        for _ in 0..COUNT {
            let cx = instance.create_stream(&mut host, root)?;
            instance.on_delete(&mut host, cx)?;
        }
        Ok(())
    })?;
    measure("hostcall: increment a metric", COUNT, || {
        instance.on_response_body(&mut host, cx, COUNT as usize, true)?;
        Ok(())
    })?;
    measure("hostcall: replace a header", COUNT, || {
        instance.on_response_trailers(&mut host, cx, COUNT as usize)?;
        Ok(())
    })?;
    measure("hostcall: get a header (calls the allocator)", COUNT, || {
        instance.on_request_trailers(&mut host, cx, COUNT as usize)?;
        Ok(())
    })?;
    measure("instance, made and dropped", 100, || {
        for _ in 0..100 {
            black_box(Instance::new(&module, &options, &mut host)?);
        }
        Ok(())
    })?;
    Ok(())
}

fn measure(
    what: &str,
    operations: u32,
    mut round: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut best = Duration::MAX;
    for _ in 0..15 {
        let started = Instant::now();
        round()?;
        best = best.min(started.elapsed());
    }
    println!("{:10.1} ns  {what}", best.as_secs_f64() * 1e9 / f64::from(operations));
    Ok(())
}
