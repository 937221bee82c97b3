//! What an instance of a prepared image costs.
//!
//! ```text
//! cargo run --release -p fyke-engine --example image_cost -- MODULE [CONFIGURATION]
//! ```
//!
//! Prints microseconds per operation, the best of several rounds.

#![allow(clippy::print_stdout, reason = "this is what it is for")]

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use fyke_engine::{Engine, EngineOptions, Image, Instance, InstanceOptions};

use self::nothing::Nothing;

mod nothing;

/// Operations of one round.
const COUNT: u32 = 2_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which module?")?;
    let configuration = arguments.next().unwrap_or_default();
    let bytes = fs::read(&path)?;
    let engine = Engine::new(EngineOptions::default())?;
    let options = InstanceOptions { call_time: Duration::from_secs(1), ..InstanceOptions::default() };
    let mut host = Nothing::default();

    let started = Instant::now();
    let module = engine.compile_for_images(&bytes)?;
    println!("{:10.1} ms  compiled, {} bytes", started.elapsed().as_secs_f64() * 1e3, bytes.len());
    let mut instance = Instance::new(&module, &options, &mut host)?;
    let root = instance.configure_root(&mut host, configuration.as_bytes())?;
    let started = Instant::now();
    let image = instance.image(&engine)?;
    println!("{:10.1} ms  frozen and compiled", started.elapsed().as_secs_f64() * 1e3);

    measure("ordinary instance, made, started, configured and dropped", 200, || {
        let mut instance = Instance::new(&module, &options, &mut host)?;
        black_box(instance.configure_root(&mut host, configuration.as_bytes())?);
        Ok(())
    })?;
    measure("instance of the image, made and dropped", COUNT, || {
        black_box(image.instantiate()?);
        Ok(())
    })?;
    measure("the same with a stream and its request headers", COUNT, || {
        let mut instance = image.instantiate()?;
        let cx = instance.create_stream(&mut host, root)?;
        black_box(instance.on_request_headers(&mut host, cx, 1, true)?);
        Ok(())
    })?;
    measure("a stream and its request headers in the shared instance", COUNT, || {
        let cx = instance.create_stream(&mut host, root)?;
        black_box(instance.on_request_headers(&mut host, cx, 1, true)?);
        instance.on_delete(&mut host, cx)?;
        Ok(())
    })?;
    live(&image, 5_000)
}

fn measure(
    what: &str,
    operations: u32,
    mut operation: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut best = Duration::MAX;
    for _ in 0..15 {
        let started = Instant::now();
        for _ in 0..operations {
            operation()?;
        }
        best = best.min(started.elapsed());
    }
    println!("{:10.2} us  {what}", best.as_secs_f64() * 1e6 / f64::from(operations));
    Ok(())
}

/// What many instances take that are alive together.
fn live(image: &Image, count: u32) -> Result<(), Box<dyn Error>> {
    let (mappings, memory) = (mappings()?, resident()?);
    let started = Instant::now();
    let live = (0..count).map(|_| image.instantiate()).collect::<Result<Vec<_>, _>>()?;
    println!(
        "{:10.2} us  each of {count} that live together",
        started.elapsed().as_secs_f64() * 1e6 / f64::from(count)
    );
    println!("{:10.2} mappings each", (self::mappings()? - mappings) / f64::from(count));
    println!("{:10.2} KiB each", (resident()? - memory) / f64::from(count));
    drop(live);
    Ok(())
}

fn mappings() -> Result<f64, Box<dyn Error>> {
    Ok(f64::from(u32::try_from(fs::read_to_string("/proc/self/maps")?.lines().count())?))
}

/// KiB.
fn resident() -> Result<f64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
