//! Processor time per byte of proxies that do not look at what they carry, in interleaved rounds.

use std::{path::Path, thread, time::Duration};

use anyhow::{Context as _, anyhow, ensure};
use clap::Args;
use serde_json::json;

use crate::{
    Common,
    client::{Connection, Framing},
    contestant::{Candidate, Contestant, Layer, Patience, Task},
    process,
    report::{self, Section},
    stats::Spread,
    upstream::Streams,
};

const MEBIBYTE: u64 = 1 << 20;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Rounds; each measures every contestant once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Connections at the same time, half of them down, half of them up
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=64))]
    connections: u32,
    /// Bytes that each of them carries in a round, in MiB
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    size: u32,
}

/// One contestant in one round.
struct Sample {
    contestant: Contestant,
    round: u32,
    mebibytes: f64,
    cpu: Duration,
    seconds: f64,
    resident: u64,
}

impl Sample {
    /// Microseconds of processor time per MiB.
    fn cost(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.mebibytes
    }
}

/// Measures, prints, writes.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let common = &options.common;
    ensure!(common.proxy_core != common.load_core, "proxy and load need different cores");
    process::pin_self(common.load_core)?;
    let folder = tempfile::Builder::new().prefix("fyke-bench-").tempdir()?;
    let (candidates, notes) = Candidate::find(common, &[Contestant::Fyke0, Contestant::Haproxy, Contestant::Envoy]);
    ensure!(!candidates.is_empty(), "nobody is there to be measured");
    let streams = Streams::start()?;
    let task = Task {
        upstream: streams.address,
        workers: 1,
        connections: None,
        patience: Patience::Long,
        layer: Layer::Tcp,
        redis: None,
    };
    let mut samples = Vec::new();
    for round in 0..options.rounds {
        let first = round as usize % candidates.len();
        for candidate in candidates.iter().cycle().skip(first).take(candidates.len()) {
            let name = candidate.contestant.name();
            let sample = measure(options, candidate, task, folder.path(), round)
                .with_context(|| format!("{name} in round {}", round + 1))?;
            eprintln!(
                "round {} {name:8} {:6.1} us/MiB  {:6.0} MiB/s",
                round + 1,
                sample.cost(),
                sample.mebibytes / sample.seconds
            );
            samples.push(sample);
        }
    }
    let section = Section { name: "tcp", text: text(options, &candidates, &samples, &notes)? };
    println!("{}", section.text);
    if let Some(path) = &common.write {
        section.write(path)?;
    }
    if let Some(path) = &common.json {
        let samples: Vec<_> = samples
            .iter()
            .map(|sample| json!({ "contestant": sample.contestant.name(), "round": sample.round, "mebibytes": sample.mebibytes, "cpu_seconds": sample.cpu.as_secs_f64(), "seconds": sample.seconds, "resident_bytes": sample.resident }))
            .collect();
        report::write_json(path, &json!({ "machine": report::machine()?, "notes": notes, "samples": samples }))?;
    }
    Ok(())
}

fn measure(options: &Options, candidate: &Candidate, task: Task, folder: &Path, round: u32) -> anyhow::Result<Sample> {
    let proxy = candidate.start(task, folder, options.common.proxy_core)?;
    let address = proxy.address;
    let length = u64::from(options.size) * MEBIBYTE;
    let (started, cpu) = (std::time::Instant::now(), proxy.process.cpu()?);
    let transfers: Vec<_> = (0..options.connections)
        .map(|number| {
            thread::spawn(move || -> anyhow::Result<u64> {
                let mut connection = Connection::open(address)?;
                if number % 2 == 0 {
                    connection.get(&format!("/source/{length}"))
                } else {
                    Ok(connection.post("/sink", length, Framing::Length)?.parse()?)
                }
            })
        })
        .collect();
    for transfer in transfers {
        let passed = transfer.join().map_err(|_| anyhow!("a transfer panicked"))??;
        ensure!(passed == length, "{passed} of {length} bytes arrived");
    }
    Ok(Sample {
        contestant: candidate.contestant,
        round,
        mebibytes: f64::from(options.size) * f64::from(options.connections),
        cpu: proxy.process.cpu()? - cpu,
        seconds: started.elapsed().as_secs_f64(),
        resident: proxy.process.resident()?,
    })
}

fn text(options: &Options, candidates: &[Candidate], samples: &[Sample], notes: &[String]) -> anyhow::Result<String> {
    let mut out = format!(
        "TCP, no filters: {} connections at once carry {} MiB each, half of them down, half up; {} rounds in rotating order, the proxy alone on core {}, both ends on core {}. \
         Medians over the rounds, least and most in brackets; ratios are medians of the ratios within each round.\n\n",
        options.connections, options.size, options.rounds, options.common.proxy_core, options.common.load_core,
    );
    out.push_str(&report::facts(candidates.iter().map(|found| found.version.as_str()))?);
    out.push_str(
        "\n| Proxy | CPU us per MiB | against HAProxy | MiB/s | resident after load |\n|---|---|---|---|---|\n",
    );
    for candidate in candidates {
        let own = || samples.iter().filter(|sample| sample.contestant == candidate.contestant);
        let spread = |value: &dyn Fn(&Sample) -> f64| Spread::of(own().map(value)).context("no samples");
        let cost = spread(&Sample::cost)?;
        let ratio = Spread::of(own().filter_map(|sample| {
            let peer =
                samples.iter().find(|peer| peer.contestant == Contestant::Haproxy && peer.round == sample.round)?;
            Some(sample.cost() / peer.cost())
        }));
        let ratio = ratio
            .map_or_else(|| "-".to_owned(), |ratio| format!("{:.2} ({:.2}-{:.2})", ratio.median, ratio.min, ratio.max));
        let title = match candidate.contestant {
            Contestant::Haproxy => "HAProxy, mode tcp, one thread",
            Contestant::Envoy => "Envoy, tcp_proxy, concurrency 1",
            _ => "Fyke, one worker",
        };
        out.push_str(&format!(
            "| {title} | {:.0} ({:.0}-{:.0}) | {ratio} | {:.0} | {:.0} MB |\n",
            cost.median,
            cost.min,
            cost.max,
            spread(&|sample| sample.mebibytes / sample.seconds)?.median,
            spread(&|sample| process::precise(sample.resident) / 1e6)?.median,
        ));
    }
    for note in notes {
        out.push_str(&format!("\nNote: {note}\n"));
    }
    Ok(out)
}
