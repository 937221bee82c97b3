//! Processor time per request and latency, in interleaved rounds.

mod text;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::{
    Common,
    contestant::{Candidate, Contestant, Layer, Patience, Task},
    limited,
    load::{Generator, Load},
    process,
    redis::Redis,
    report::{self, Section},
    upstream::Static,
};

/// Who is compared, where `--only` does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Fyke and its peers.
    Proxies,
    /// A local rate limit, a filter that does nothing, and neither.
    Limit,
    /// A rate limit in Redis, and a local one.
    RedisLimit,
}

impl What {
    fn contestants(self) -> Vec<Contestant> {
        use Contestant::{Fyke1, FykeEmpty, FykeLimit, FykeLimitRedis, FykeLimitSilent};
        match self {
            Self::Proxies => Contestant::ALL.into_iter().filter(|contestant| !contestant.is_about_limits()).collect(),
            Self::Limit => vec![Fyke1, FykeEmpty, FykeLimitSilent, FykeLimit],
            Self::RedisLimit => vec![FykeLimitSilent, FykeLimitRedis],
        }
    }

    fn section(self) -> &'static str {
        match self {
            Self::Proxies => "cpu",
            Self::Limit => "cpu limit",
            Self::RedisLimit => "cpu redis-limit",
        }
    }
}

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Who is compared, where `--only` does not say
    #[arg(long, value_enum, default_value = "proxies")]
    what: What,
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
    /// The median latency of requests that are alone, in microseconds, where that was asked.
    alone: Option<f64>,
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
    let (candidates, notes) = Candidate::find(common, &options.what.contestants());
    for note in &notes {
        eprintln!("note: {note}");
    }
    ensure!(!candidates.is_empty(), "nobody is there to be measured");
    let upstream = Static::start(folder.path(), common.load_core)?;
    // Everybody is sent the same, also those who do not look at it.
    let limits = candidates.iter().any(|candidate| candidate.contestant.is_about_limits());
    let generator = Generator::new(folder.path(), limits.then_some(limited::HEADER))?;
    let counted_in_redis = candidates.iter().any(|candidate| candidate.contestant == Contestant::FykeLimitRedis);
    let redis = counted_in_redis.then(|| Redis::start(folder.path(), common.load_core)).transpose()?;
    let task = Task {
        upstream: upstream.address,
        workers: 1,
        connections: None,
        patience: Patience::Default,
        layer: Layer::Http,
        redis: redis.as_ref().map(|redis| redis.address),
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

    let section =
        Section { name: options.what.section(), text: text::markdown(options, &candidates, &samples, &notes)? };
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
    if candidate.contestant.limits() {
        limited::check(proxy.admin, load.requests)?;
    }
    let alone = match options.what {
        What::RedisLimit => generator.run(&url, 1, options.warm_up)?.latency.first().copied(),
        What::Proxies | What::Limit => None,
    };
    Ok(Sample {
        contestant: candidate.contestant,
        round,
        load,
        alone,
        cpu,
        disturbance: busy.saturating_sub(cpu),
        elapsed,
        resident: proxy.process.resident()?,
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
        "latency_alone_microseconds": sample.alone,
        "resident_bytes": sample.resident,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_seconds_within_bounds() {
        assert_eq!(seconds("5s"), Ok(Duration::from_secs(5)));
        assert!(seconds("0").is_err() && seconds("1h").is_err() && seconds("601s").is_err());
    }
}
