//! Ten thousand clients over a hundred connections: what those that share wait, against the same load with a connection for each.
//!
//! Half of the rate at which proxy, server and load together are saturated, as an open loop, one proxy after the other in alternating
//! order. Each client asks for markers of its own and looks at each reply.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, ensure};
use clap::Args;
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use crate::{
    Common, contestant, cpu, hold,
    mongo::{
        clients::{Clients, Outcome},
        proxy::{Kind, Place, Proxy},
        serve::Server,
        wire,
    },
    open_loop::Pace,
    process,
    report::{self, Section},
    stats::Spread,
};

/// Files that the proxy needs beside those of connections.
const SPARE_FILES: u64 = 256;
/// How many are under way at the same time while saturation is looked for.
const TOGETHER: usize = 200;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Rounds; each measures both once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long each is measured in a round, in whole seconds
    #[arg(long, default_value = "10s", value_parser = cpu::seconds)]
    duration: Duration,
    /// How long it is loaded before, and how long its saturation is looked for
    #[arg(long, default_value = "3s", value_parser = cpu::seconds)]
    warm_up: Duration,
    /// Clients
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    clients: u32,
    /// Connections that they share
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Operations per second [default: half of what both attain]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
}

/// One of the two in one round.
struct Sample {
    kind: Kind,
    round: u32,
    outcome: Outcome,
    cpu: Duration,
    /// Connections to the server that were opened.
    opened: f64,
    resident: u64,
}

/// What is compared.
struct Load {
    kinds: [(Kind, u32); 2],
    saturation: Vec<(Kind, f64)>,
    rate: f64,
}

/// Measures, prints, writes.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let common = &options.common;
    ensure!(common.proxy_core != common.load_core, "proxy and load need different cores");
    process::pin_self(common.load_core)?;
    hold::raise_open_files(options.clients as usize + 256)?;
    let binary = contestant::fyke(common)?;
    let version = contestant::version_of(&binary, "--version")?;
    let folder = tempfile::Builder::new().prefix("fyke-bench-").tempdir()?;
    let place = Place { binary: &binary, folder: folder.path(), core: common.proxy_core };
    let server = Server::start(folder.path(), common.load_core)?;

    // Without sharing the proxy has two files for each client.
    let files = getrlimit(Resource::Nofile).current.map_or(u64::MAX, |files| files.saturating_sub(SPARE_FILES) / 2);
    let plain = u32::try_from(files).unwrap_or(u32::MAX).min(options.clients);
    let kinds = [(Kind::Plain, plain), (Kind::Pool(options.connections), options.clients)];
    let mut saturation = Vec::new();
    for (kind, clients) in kinds {
        let proxy = Proxy::start(&place, kind, server.address, clients)?;
        let mut clients = Clients::connect(proxy.address, clients)?;
        for _ in 0..2 {
            let outcome = clients.run(Pace::Closed, TOGETHER, options.warm_up)?;
            outcome.check().with_context(|| kind.title())?;
            saturation.retain(|(other, _)| *other != kind);
            saturation.push((kind, outcome.seen.rate()));
        }
    }
    let attained = saturation.iter().map(|(_, rate)| *rate).fold(f64::INFINITY, f64::min);
    let rate = options.rate.map_or(attained / 2.0, f64::from);
    for (kind, rate) in &saturation {
        eprintln!("{}: {rate:.0} operations/s at most", kind.title());
    }
    let load = Load { kinds, saturation, rate };

    let mut samples = Vec::new();
    for round in 0..options.rounds {
        for (kind, clients) in load.kinds.iter().cycle().skip(round as usize % 2).take(2) {
            let sample = measure(options, &place, *kind, *clients, &server, &load, round)
                .with_context(|| format!("{} in round {}", kind.title(), round + 1))?;
            let (seen, outcome) = (&sample.outcome.seen, &sample.outcome);
            eprintln!(
                "round {} {:26} p50 {:5.0} us  p99 {:6.0} us  {} errors, {} strange replies",
                round + 1,
                kind.title(),
                seen.latency(500),
                seen.latency(990),
                outcome.errors,
                outcome.strange,
            );
            samples.push(sample);
        }
    }
    let section = Section { name: "mongo-pool", text: text(options, &version, &load, &samples)? };
    println!("{}", section.text);
    for sample in &samples {
        sample.outcome.check().with_context(|| format!("{} in round {}", sample.kind.title(), sample.round + 1))?;
        if let Kind::Pool(most) = sample.kind {
            ensure!(sample.opened <= f64::from(most), "{} connections were opened", sample.opened);
        }
    }
    if let Some(path) = &common.write {
        section.write(path)?;
    }
    if let Some(path) = &common.json {
        let samples: Vec<Value> = samples.iter().map(as_json).collect();
        let saturation: Vec<f64> = load.saturation.iter().map(|(_, rate)| *rate).collect();
        report::write_json(
            path,
            &json!({ "machine": report::machine()?, "version": version, "saturation": saturation, "rate": load.rate, "samples": samples }),
        )?;
    }
    Ok(())
}

fn measure(
    options: &Options,
    place: &Place<'_>,
    kind: Kind,
    clients: u32,
    server: &Server,
    load: &Load,
    round: u32,
) -> anyhow::Result<Sample> {
    let proxy = Proxy::start(place, kind, server.address, clients)?;
    let most = clients as usize;
    let mut clients = Clients::connect(proxy.address, clients)?;
    clients.run(Pace::Open(load.rate), most, options.warm_up)?.check().context("before it is measured")?;
    let cpu = proxy.process.cpu()?;
    let outcome = clients.run(Pace::Open(load.rate), most, options.duration)?;
    let cpu = proxy.process.cpu()? - cpu;
    proxy.check(outcome.seen.count())?;
    Ok(Sample { kind, round, outcome, cpu, opened: proxy.opened()?, resident: proxy.process.resident()? })
}

fn text(options: &Options, version: &str, load: &Load, samples: &[Sample]) -> anyhow::Result<String> {
    let [(_, plain), (_, pool)] = load.kinds;
    let mut out = format!(
        "{pool} MongoDB clients over at most {} connections to the server, and {plain} over as many as they are; an open loop of {:.0} finds of {} bytes per second over all of \
         them in turn, latency counted from when a find was due. {} rounds of {} s each in alternating order, one worker alone on core {}, server and clients on core {}. \
         Medians over the rounds, least and most in brackets.\n\n",
        options.connections,
        load.rate,
        wire::SMALL,
        options.rounds,
        options.duration.as_secs(),
        options.common.proxy_core,
        options.common.load_core,
    );
    out.push_str(&report::facts([version].into_iter())?);
    out.push_str(
        "\n| Proxy | at most, operations/s | p50 us | p99 us | p99.9 us | sent late, p99 us | CPU us per operation | errors | replies to the wrong client | \
         connections to the server | resident |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (kind, attained) in &load.saturation {
        let own = || samples.iter().filter(|sample| sample.kind == *kind);
        let spread = |value: &dyn Fn(&Sample) -> f64| Spread::of(own().map(value)).context("no samples");
        let cell = |value: &dyn Fn(&Sample) -> f64, digits: usize| -> anyhow::Result<String> {
            let spread = spread(value)?;
            Ok(format!("{:.digits$} ({:.digits$}-{:.digits$})", spread.median, spread.min, spread.max))
        };
        let latency = |per_mille| cell(&|sample: &Sample| sample.outcome.seen.latency(per_mille), 0);
        writeln!(
            out,
            "| {} | {attained:.0} | {} | {} | {} | {:.0} | {} | {} | {} | {:.0} | {:.0} MB |",
            kind.title(),
            latency(500)?,
            latency(990)?,
            latency(999)?,
            spread(&|sample| sample.outcome.seen.lateness(990))?.median,
            cell(&|sample| sample.cpu.as_secs_f64() * 1e6 / process::precise(sample.outcome.seen.count() as u64), 1)?,
            own().map(|sample| sample.outcome.errors).sum::<u64>(),
            own().map(|sample| sample.outcome.strange).sum::<u64>(),
            spread(&|sample| sample.opened)?.max,
            spread(&|sample| process::precise(sample.resident) / 1e6)?.median,
        )?;
    }
    let of = |plain: bool| samples.iter().filter(move |sample| (sample.kind == Kind::Plain) == plain);
    let pairs = of(false).filter_map(|pool| {
        let plain = of(true).find(|plain| plain.round == pool.round)?;
        Some((pool.outcome.seen.latency(990) - plain.outcome.seen.latency(990)) / 1e3)
    });
    let more = Spread::of(pairs).context("no pairs")?;
    writeln!(
        out,
        "\nThose that share wait {:+.2} ms ({:+.2} to {:+.2}) longer at p99, within each round; at most 5.",
        more.median, more.min, more.max,
    )?;
    if plain < pool {
        writeln!(
            out,
            "\nNote: without sharing there are {plain} clients: a process may open {} files here, and the proxy needs two for each.",
            getrlimit(Resource::Nofile).current.unwrap_or_default(),
        )?;
    }
    Ok(out)
}

fn as_json(sample: &Sample) -> Value {
    let seen = &sample.outcome.seen;
    let [p50, p90, p99, p999, max] = [500, 900, 990, 999, 1000].map(|per_mille| seen.latency(per_mille));
    json!({
        "proxy": sample.kind.title(),
        "round": sample.round,
        "operations": seen.count(),
        "operations_per_second": seen.rate(),
        "latency_microseconds": { "p50": p50, "p90": p90, "p99": p99, "p99.9": p999, "max": max },
        "sent_late_microseconds": { "p99": seen.lateness(990) },
        "errors": sample.outcome.errors,
        "replies_to_the_wrong_client": sample.outcome.strange,
        "cpu_seconds": sample.cpu.as_secs_f64(),
        "connections_to_the_server": sample.opened,
        "resident_bytes": sample.resident,
    })
}
