//! What weights from load reports are worth beside counting requests, where a host is skewed: the same hosts and the same load, two balancers in
//! turn.

mod host;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::json;

use self::host::{Host, SERVERS};
use crate::{
    Common, contestant, cpu,
    open_loop::{Clients, Pace, Seen},
    process,
    report::{self, Section},
    stats::Spread,
    subject::Subject,
};

/// Hosts; the first is the skewed one.
const HOSTS: u32 = 8;
/// The mean of what a request takes.
const SERVICE: Duration = Duration::from_millis(10);
/// So many times as long at the skewed host.
const SLOWNESS: u32 = 4;
/// Of what the hosts can do together.
const SHARE: f64 = 0.65;
/// Each has a balancer of its own, so what one counts says little.
const WORKERS: u32 = 8;
const CONNECTIONS: u32 = 256;
/// Before anything is measured: reports count when they have come for two seconds.
const WARM_UP: Duration = Duration::from_secs(6);

/// The balancers, and how they are told.
const BALANCERS: [(&str, &str); 2] = [
    ("least_request", "least_request"),
    ("client_side_weighted_round_robin", "{ client_side_weighted_round_robin: { blackout: 2s } }"),
];

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Rounds, in each of which every balancer has its turn; the order alternates
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each is measured, in whole seconds
    #[arg(long, default_value = "10s", value_parser = cpu::seconds)]
    duration: Duration,
}

/// One balancer's turn.
struct Turn {
    seen: Seen,
    /// The skewed host's share of the requests, second by second.
    shares: Vec<f64>,
}

/// Measures, prints, writes.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let common = &options.common;
    let binary = contestant::fyke(common)?;
    let version = contestant::version_of(&binary, "--version")?;
    let folder = tempfile::Builder::new().prefix("fyke-bench-").tempdir()?;
    let mut turns: [Vec<Turn>; 2] = [Vec::new(), Vec::new()];
    for round in 0..options.rounds {
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for number in order {
            let Some(((name, yaml), turns)) = BALANCERS.get(number).zip(turns.get_mut(number)) else { continue };
            let turn = one(options, &binary, folder.path(), yaml)?;
            eprintln!("round {}: p99 {:.0} ms with {name}", round + 1, turn.seen.latency(990) / 1e3);
            turns.push(turn);
        }
    }
    let section = Section { name: "loads", text: markdown(options, &version, &turns)? };
    println!("{}", section.text);
    if let Some(path) = &common.write {
        section.write(path)?;
    }
    if let Some(path) = &common.json {
        let turn = |turn: &Turn| {
            let [p50, p90, p99, p999] = [500, 900, 990, 999].map(|per_mille| turn.seen.latency(per_mille));
            json!({ "microseconds": { "p50": p50, "p90": p90, "p99": p99, "p99.9": p999 }, "shares_of_skewed_host": turn.shares })
        };
        let all = BALANCERS.iter().zip(&turns);
        let all: Vec<_> = all
            .map(|((name, _), turns)| json!({ "balancer": name, "rounds": turns.iter().map(turn).collect::<Vec<_>>() }))
            .collect();
        report::write_json(path, &json!({ "machine": report::machine()?, "version": version, "balancers": all }))?;
    }
    Ok(())
}

fn rate() -> f64 {
    let able = f64::from(HOSTS - 1) + 1.0 / f64::from(SLOWNESS);
    SHARE * able * f64::from(SERVERS) / SERVICE.as_secs_f64()
}

/// Starts hosts and proxy, lets them warm up, and measures.
fn one(options: &Options, binary: &Path, folder: &Path, balancer: &str) -> anyhow::Result<Turn> {
    let hosts = (0..HOSTS).map(|number| {
        let service = if number == 0 { SERVICE * SLOWNESS } else { SERVICE };
        Host::start(service, u64::from(number) + 1)
    });
    let hosts: Vec<Arc<Host>> = hosts.collect::<anyhow::Result<_>>()?;
    let addresses: Vec<String> = hosts.iter().map(|host| format!("\"{}\"", host.address)).collect();
    let configuration = format!(
        "listeners:\n  web: {{ address: \"127.0.0.1:0\", cluster: app }}\nclusters:\n  app:\n    load_balancer: {balancer}\n    endpoints: [{}]\n",
        addresses.join(", ")
    );
    let subject = Subject::start(binary, &process::cores()?, folder, WORKERS, &configuration)?;
    let clients = Clients::connect(subject.address, CONNECTIONS)?;
    clients.run(Pace::Open(rate()), WARM_UP)?;
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let watches = scope.spawn(|| shares(&hosts, &ended));
        let seen = clients.run(Pace::Open(rate()), options.duration);
        ended.store(true, Relaxed);
        let shares = watches.join().map_err(|_| anyhow!("a thread panicked"))?;
        Ok(Turn { seen: seen?, shares })
    })
}

/// The skewed host's share of what was asked in each second.
fn shares(hosts: &[Arc<Host>], ended: &AtomicBool) -> Vec<f64> {
    let asked = || hosts.iter().map(|host| host.asked.load(Relaxed)).collect::<Vec<u64>>();
    let (mut before, mut shares) = (asked(), Vec::new());
    while !ended.load(Relaxed) {
        thread::sleep(Duration::from_secs(1));
        let now = asked();
        let new: Vec<f64> = now.iter().zip(&before).map(|(now, before)| process::precise(now - before)).collect();
        let all: f64 = new.iter().sum();
        if all > 0.0 {
            shares.extend(new.first().map(|skewed| skewed / all));
        }
        before = now;
    }
    shares
}

fn markdown(options: &Options, version: &str, turns: &[Vec<Turn>; 2]) -> anyhow::Result<String> {
    let able = 1.0 / f64::from(SLOWNESS) / (f64::from(HOSTS - 1) + 1.0 / f64::from(SLOWNESS));
    let mut out = format!(
        "{HOSTS} hosts of {SERVERS} servers each, which take {} ms for a request in the mean (exponentially distributed), and the first one {SLOWNESS} times as long: it can do {:.1}% of the whole. \
         Open loop of {:.0} requests/s, {:.0}% of what they can do, over {CONNECTIONS} connections; {WORKERS} workers, each with a balancer of its own. Hosts say `rps_fractional` and `cpu_utilization` of the last second in each answer. \
         {} rounds of {} s after {} s of warming up, in alternating order; medians, least and most in brackets.\n\n",
        SERVICE.as_millis(),
        100.0 * able,
        rate(),
        100.0 * SHARE,
        options.rounds,
        options.duration.as_secs(),
        WARM_UP.as_secs(),
    );
    out.push_str(&report::facts([version].into_iter())?);
    out.push_str(
        "\n| balancer | p50 ms | p90 ms | p99 ms | share of the skewed host in a second |\n|---|---|---|---|---|\n",
    );
    for ((name, _), turns) in BALANCERS.iter().zip(turns) {
        let cell = |values: Vec<f64>| {
            let Spread { median, min, max } = Spread::of(values).context("no samples")?;
            anyhow::Ok(format!("{median:.1} ({min:.1}-{max:.1})"))
        };
        out.push_str(&format!("| `{name}` |"));
        for per_mille in [500, 900, 990] {
            let of = turns.iter().map(|turn| turn.seen.latency(per_mille) / 1e3);
            out.push_str(&format!(" {} |", cell(of.collect())?));
        }
        let shares = turns.iter().flat_map(|turn| turn.shares.iter().map(|share| 100.0 * share));
        out.push_str(&format!(" {}% |\n", cell(shares.collect())?));
    }
    Ok(out)
}
