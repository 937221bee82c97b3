//! What `builtin:mongo` costs beyond TCP proxying: per small operation, per byte of large documents, and per idle connection.

pub mod bson;
pub mod clients;
mod large;
pub mod proxy;
pub mod serve;
mod text;
pub mod wire;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::{
    Common, contestant, cpu, hold,
    open_loop::Pace,
    process,
    report::{self, Section},
};
use clients::Clients;
use proxy::{Kind, Place, Proxy};
use serve::Server;

const KINDS: [Kind; 2] = [Kind::Plain, Kind::Statistics];
/// Idle connections are asked so many times in a second.
const GENTLY: u32 = 2_000;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Rounds; each measures both once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long small operations are measured in a round, in whole seconds
    #[arg(long, default_value = "5s", value_parser = cpu::seconds)]
    duration: Duration,
    /// How long they come before
    #[arg(long, default_value = "1s", value_parser = cpu::seconds)]
    warm_up: Duration,
    /// Clients of small operations; each asks again when it is answered
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Clients of documents of 16 MB, half of them down, half up
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=64))]
    large_connections: u32,
    /// Such documents for each of them in a round
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    documents: u32,
    /// Idle connections
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    idle: u32,
    /// How long memory may settle before it is read
    #[arg(long, default_value = "3s", value_parser = cpu::seconds)]
    settle: Duration,
}

/// One of the two in one round. `units`: operations, or MiB.
struct Sample {
    kind: Kind,
    round: u32,
    units: f64,
    cpu: Duration,
    seconds: f64,
    /// Median and 99th percentile of latency in microseconds, of small operations.
    latency: Option<[f64; 2]>,
}

impl Sample {
    /// Microseconds of processor time per unit.
    fn cost(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.units
    }

    fn rate(&self) -> f64 {
        self.units / self.seconds
    }
}

/// Resident bytes.
struct Holding {
    kind: Kind,
    empty: u64,
    with_idle: u64,
}

/// All that was measured.
struct Results {
    small: Vec<Sample>,
    large: Vec<Sample>,
    holdings: Vec<Holding>,
}

/// Measures, prints, writes.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let common = &options.common;
    ensure!(common.proxy_core != common.load_core, "proxy and load need different cores");
    process::pin_self(common.load_core)?;
    // The proxy has one more for each connection, to the server.
    hold::raise_open_files(options.idle as usize * 2 + 256)?;
    let binary = contestant::fyke(common)?;
    let version = contestant::version_of(&binary, "--version")?;
    let folder = tempfile::Builder::new().prefix("fyke-bench-").tempdir()?;
    let place = Place { binary: &binary, folder: folder.path(), core: common.proxy_core };
    let server = Server::start(folder.path(), common.load_core)?;
    let large_server = large::serve()?;

    let small = rounds(options, "us/operation", |kind, round| small(options, &place, kind, &server, round))?;
    let large = rounds(options, "us/MiB", |kind, round| {
        let proxy = Proxy::start(&place, kind, large_server, options.large_connections)?;
        large::pass(proxy.address, options.large_connections, 1)?;
        let (started, cpu) = (Instant::now(), proxy.process.cpu()?);
        let bytes = large::pass(proxy.address, options.large_connections, options.documents)?;
        let (cpu, seconds) = (proxy.process.cpu()? - cpu, started.elapsed().as_secs_f64());
        // Every other client asks for documents, in the pass before, too.
        proxy.check((options.large_connections.div_ceil(2) * (options.documents + 1)) as usize)?;
        let units = process::precise(bytes) / f64::from(1 << 20);
        Ok(Sample { kind, round, units, cpu, seconds, latency: None })
    })?;
    let holdings =
        KINDS.map(|kind| idle(options, &place, kind, &server)).into_iter().collect::<anyhow::Result<Vec<_>>>()?;

    let results = Results { small, large, holdings };
    let section = Section { name: "mongo", text: text::markdown(options, &version, &results)? };
    println!("{}", section.text);
    if let Some(path) = &common.write {
        section.write(path)?;
    }
    if let Some(path) = &common.json {
        report::write_json(path, &text::json(options, &version, &results)?)?;
    }
    Ok(())
}

/// Both in each round, in rotating order.
fn rounds(
    options: &Options,
    unit: &str,
    mut measure: impl FnMut(Kind, u32) -> anyhow::Result<Sample>,
) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for round in 0..options.rounds {
        for kind in KINDS.iter().cycle().skip(round as usize % KINDS.len()).take(KINDS.len()) {
            let title = kind.title();
            let sample = measure(*kind, round).with_context(|| format!("{title} in round {}", round + 1))?;
            eprintln!("round {} {title:28} {:7.2} {unit}  {:7.0}/s", round + 1, sample.cost(), sample.rate());
            samples.push(sample);
        }
    }
    Ok(samples)
}

fn small(options: &Options, place: &Place<'_>, kind: Kind, server: &Server, round: u32) -> anyhow::Result<Sample> {
    let proxy = Proxy::start(place, kind, server.address, options.connections)?;
    let mut clients = Clients::connect(proxy.address, options.connections)?;
    let most = options.connections as usize;
    clients.run(Pace::Closed, most, options.warm_up)?.check()?;
    let (started, cpu) = (Instant::now(), proxy.process.cpu()?);
    let outcome = clients.run(Pace::Closed, most, options.duration)?;
    let (cpu, seconds) = (proxy.process.cpu()? - cpu, started.elapsed().as_secs_f64());
    outcome.check()?;
    let seen = outcome.seen;
    proxy.check(seen.count())?;
    let latency = Some([seen.latency(500), seen.latency(990)]);
    Ok(Sample { kind, round, units: process::precise(seen.count() as u64), cpu, seconds, latency })
}

/// Resident memory without connections, and with many that have asked once.
fn idle(options: &Options, place: &Place<'_>, kind: Kind, server: &Server) -> anyhow::Result<Holding> {
    eprintln!("{}: {} idle connections", kind.title(), options.idle);
    let proxy = Proxy::start(place, kind, server.address, options.idle)?;
    thread::sleep(options.settle);
    let empty = proxy.process.resident()?;
    let mut clients = Clients::connect(proxy.address, options.idle)?;
    let long_enough = Duration::from_secs_f64(f64::from(options.idle) / f64::from(GENTLY));
    let mut ask_each = || -> anyhow::Result<()> {
        let outcome = clients.run(Pace::Open(f64::from(GENTLY)), options.idle as usize, long_enough)?;
        outcome.check()
    };
    ask_each()?;
    thread::sleep(options.settle);
    let with_idle = proxy.process.resident()?;
    ask_each().context("connections that were idle")?;
    Ok(Holding { kind, empty, with_idle })
}
