//! Processor time per request and latency, in interleaved rounds.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::{
    Common,
    contestant::{Candidate, Contestant, Layer, Patience, Task},
    load::{Generator, Load},
    process,
    report::{self, Section},
    stats::Spread,
    upstream::{ANSWER, Static},
};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Rounds; each measures every contestant once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long a contestant is measured in a round, in whole seconds
    #[arg(long, default_value = "5s", value_parser = seconds)]
    duration: Duration,
    /// How long it is loaded before
    #[arg(long, default_value = "1s", value_parser = seconds)]
    warm_up: Duration,
    /// Keep-alive connections of the load generator
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
}

/// `5s` or `5`.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let number =
        text.strip_suffix('s').unwrap_or(text).parse::<u64>().map_err(|_| "whole seconds, such as 5s".to_owned())?;
    if (1..=600).contains(&number) { Ok(Duration::from_secs(number)) } else { Err("between 1s and 600s".to_owned()) }
}

/// One contestant in one round.
struct Sample {
    contestant: Contestant,
    round: u32,
    load: Load,
    /// Processor time of the proxy during the load.
    cpu: Duration,
    /// Processor time of anything else on the proxy's core.
    disturbance: Duration,
    elapsed: Duration,
    resident: u64,
}

impl Sample {
    /// Microseconds of processor time per request.
    fn cost(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / process::precise(self.load.requests)
    }
}

/// Measures, prints, writes.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let common = &options.common;
    ensure!(common.proxy_core != common.load_core, "proxy and load need different cores");
    process::pin_self(common.load_core)?;
    let folder = tempfile::Builder::new().prefix("fyke-bench-").tempdir()?;
    let (candidates, notes) = Candidate::find(common, &Contestant::ALL);
    for note in &notes {
        eprintln!("note: {note}");
    }
    ensure!(!candidates.is_empty(), "nobody is there to be measured");
    let upstream = Static::start(folder.path(), common.load_core)?;
    let generator = Generator::new(folder.path())?;
    let task = Task {
        upstream: upstream.address,
        workers: 1,
        connections: None,
        patience: Patience::Default,
        layer: Layer::Http,
    };

    let mut samples = Vec::new();
    for round in 0..options.rounds {
        // Another one begins each round, so that nobody always follows the same neighbour onto a warm core.
        let first = round as usize % candidates.len();
        for candidate in candidates.iter().cycle().skip(first).take(candidates.len()) {
            let sample = measure(options, candidate, task, &generator, folder.path(), round)
                .with_context(|| format!("{} in round {}", candidate.contestant.name(), round + 1))?;
            eprintln!(
                "round {} {:13} {:6.2} us/request  {:6.0} requests/s  p99 {:5.0} us",
                round + 1,
                candidate.contestant.name(),
                sample.cost(),
                process::precise(sample.load.requests) / sample.load.duration.as_secs_f64(),
                sample.load.latency.get(2).copied().unwrap_or_default(),
            );
            samples.push(sample);
        }
    }

    let section = Section { name: "cpu", text: text(options, &candidates, &samples, &notes)? };
    println!("{}", section.text);
    if let Some(path) = &common.write {
        section.write(path)?;
    }
    if let Some(path) = &common.json {
        let versions: BTreeMap<_, _> =
            candidates.iter().map(|found| (found.contestant.name(), found.version.as_str())).collect();
        let samples: Vec<_> = samples.iter().map(as_json).collect();
        report::write_json(
            path,
            &json!({ "machine": report::machine()?, "versions": versions, "notes": notes, "samples": samples }),
        )?;
    }
    Ok(())
}

fn measure(
    options: &Options,
    candidate: &Candidate,
    task: Task,
    generator: &Generator,
    folder: &Path,
    round: u32,
) -> anyhow::Result<Sample> {
    let core = options.common.proxy_core;
    let proxy = candidate.start(task, folder, core)?;
    let url = format!("http://{}/", proxy.address);
    generator.run(&url, options.connections, options.warm_up)?;
    let (started, cpu, busy) = (Instant::now(), proxy.process.cpu()?, process::core_busy(core)?);
    let load = generator.run(&url, options.connections, options.duration)?;
    let (elapsed, cpu, busy) =
        (started.elapsed(), proxy.process.cpu()? - cpu, process::core_busy(core)?.saturating_sub(busy));
    Ok(Sample {
        contestant: candidate.contestant,
        round,
        load,
        cpu,
        disturbance: busy.saturating_sub(cpu),
        elapsed,
        resident: proxy.process.resident()?,
    })
}

fn text(options: &Options, candidates: &[Candidate], samples: &[Sample], notes: &[String]) -> anyhow::Result<String> {
    let mut out = format!(
        "Small keep-alive GET ({ANSWER} bytes of body from nginx), {} connections, {} rounds of {} s each in rotating order, the proxy alone on core {}, upstream and load on core {}. \
         Medians over the rounds, least and most in brackets; ratios are medians of the ratios within each round.\n\n",
        options.connections,
        options.rounds,
        options.duration.as_secs(),
        options.common.proxy_core,
        options.common.load_core,
    );
    out.push_str(&report::facts(candidates.iter().map(|found| found.version.as_str()))?);
    out.push_str("\n| Proxy | CPU us per request | against HAProxy | against nginx | against Envoy | resident after load |\n|---|---|---|---|---|---|\n");
    for candidate in candidates {
        let own = || samples.iter().filter(|sample| sample.contestant == candidate.contestant);
        let cost = Spread::of(own().map(Sample::cost)).context("no samples")?;
        let resident = Spread::of(own().map(|sample| process::precise(sample.resident) / 1e6)).context("no samples")?;
        let ratios = [Contestant::Haproxy, Contestant::Nginx, Contestant::Envoy]
            .map(|peer| ratio(samples, candidate.contestant, peer));
        let [haproxy, nginx, envoy] = ratios.map(|ratio| {
            ratio.map_or_else(
                || "-".to_owned(),
                |ratio| format!("{:.2} ({:.2}-{:.2})", ratio.median, ratio.min, ratio.max),
            )
        });
        out.push_str(&format!(
            "| {} | {:.1} ({:.1}-{:.1}) | {haproxy} | {nginx} | {envoy} | {:.0} MB |\n",
            candidate.contestant.title(),
            cost.median,
            cost.min,
            cost.max,
            resident.median,
        ));
    }
    out.push_str(&isolation(samples));
    out.push_str("\n| Proxy | p50 us | p90 us | p99 us | p99.9 us | requests/s | proxy's share of its core | others' share of it |\n|---|---|---|---|---|---|---|---|\n");
    for candidate in candidates {
        let own = || samples.iter().filter(|sample| sample.contestant == candidate.contestant);
        let median =
            |value: &dyn Fn(&Sample) -> f64| Spread::of(own().map(value)).map_or(f64::NAN, |spread| spread.median);
        let latency = |index: usize| median(&|sample| sample.load.latency.get(index).copied().unwrap_or(f64::NAN));
        out.push_str(&format!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0}% | {:.0}% |\n",
            candidate.contestant.title(),
            latency(0),
            latency(1),
            latency(2),
            latency(3),
            median(&|sample| process::precise(sample.load.requests) / sample.load.duration.as_secs_f64()),
            median(&|sample| 100.0 * sample.cpu.as_secs_f64() / sample.elapsed.as_secs_f64()),
            median(&|sample| 100.0 * sample.disturbance.as_secs_f64() / sample.elapsed.as_secs_f64()),
        ));
    }
    for note in notes {
        out.push_str(&format!("\nNote: {note}\n"));
    }
    Ok(out)
}

/// What an instance for every stream costs beside one for the worker: within each round, like the ratios.
fn isolation(samples: &[Sample]) -> String {
    let mut out = String::new();
    for (what, filters, stream, worker) in [
        ("one filter", 1.0, Contestant::Fyke1Stream, Contestant::Fyke1),
        ("five filters", 5.0, Contestant::Fyke5Stream, Contestant::Fyke5Sdk),
    ] {
        let (Some(more), Some(ratio)) = (difference(samples, stream, worker), ratio(samples, stream, worker)) else {
            continue;
        };
        out.push_str(&format!(
            "\n`isolation: stream` in place of `worker`, {what}: {:+.1} us ({:+.1} to {:+.1}) per request, {:+.1} us per filter, {:.2} times \
             as much.\n",
            more.median,
            more.min,
            more.max,
            more.median / filters,
            ratio.median,
        ));
    }
    out
}

/// The cost of one beyond a peer's in the same round, in microseconds.
fn difference(samples: &[Sample], one: Contestant, peer: Contestant) -> Option<Spread> {
    Spread::of(pairs(samples, one, peer).map(|(one, peer)| one - peer))
}

/// The cost of one against a peer's in the same round.
fn ratio(samples: &[Sample], one: Contestant, peer: Contestant) -> Option<Spread> {
    Spread::of(pairs(samples, one, peer).map(|(one, peer)| one / peer))
}

/// The costs of two in each round that both have been in.
fn pairs(samples: &[Sample], one: Contestant, peer: Contestant) -> impl Iterator<Item = (f64, f64)> {
    let own = samples.iter().filter(move |sample| sample.contestant == one);
    own.filter_map(move |own| {
        let other = samples.iter().find(|other| other.contestant == peer && other.round == own.round)?;
        Some((own.cost(), other.cost()))
    })
}

fn as_json(sample: &Sample) -> Value {
    let [p50, p90, p99, p999] = sample.load.latency;
    json!({
        "contestant": sample.contestant.name(),
        "round": sample.round,
        "requests": sample.load.requests,
        "seconds": sample.load.duration.as_secs_f64(),
        "cpu_seconds": sample.cpu.as_secs_f64(),
        "cpu_microseconds_per_request": sample.cost(),
        "others_on_core_seconds": sample.disturbance.as_secs_f64(),
        "latency_microseconds": { "p50": p50, "p90": p90, "p99": p99, "p99.9": p999 },
        "resident_bytes": sample.resident,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(contestant: Contestant, round: u32, cpu: u64) -> Sample {
        let load = Load { requests: 1_000, duration: Duration::from_secs(1), latency: [0.0; 4] };
        Sample {
            contestant,
            round,
            load,
            cpu: Duration::from_millis(cpu),
            disturbance: Duration::ZERO,
            elapsed: Duration::from_secs(1),
            resident: 0,
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let samples = [
            sample(Contestant::Fyke0, 0, 20),
            sample(Contestant::Haproxy, 0, 20),
            sample(Contestant::Haproxy, 1, 40),
            sample(Contestant::Fyke0, 1, 60),
        ];
        let ratio = ratio(&samples, Contestant::Fyke0, Contestant::Haproxy).unwrap();
        assert!((ratio.median - 1.25).abs() < 1e-9 && (ratio.max - 1.5).abs() < 1e-9);
        assert!((samples[0].cost() - 20.0).abs() < 1e-9);
        assert_eq!(super::ratio(&samples, Contestant::Fyke0, Contestant::Envoy), None);
    }

    #[test]
    fn what_isolation_costs_is_the_median_of_the_differences() {
        let samples = [
            sample(Contestant::Fyke1, 0, 20),
            sample(Contestant::Fyke1Stream, 0, 25),
            sample(Contestant::Fyke1Stream, 1, 50),
            sample(Contestant::Fyke1, 1, 40),
            sample(Contestant::Fyke1Stream, 2, 99),
        ];
        let text = isolation(&samples);
        assert!(
            text.contains("one filter: +7.5 us (+5.0 to +10.0) per request, +7.5 us per filter, 1.25 times"),
            "{text}"
        );
        assert!(!text.contains("five filters"), "{text}");
        assert_eq!(isolation(&samples[..1]), "");
    }

    #[test]
    fn durations_are_whole_seconds_within_bounds() {
        assert_eq!(seconds("5s"), Ok(Duration::from_secs(5)));
        assert!(seconds("0").is_err() && seconds("1h").is_err() && seconds("601s").is_err());
    }
}
