//! What running traffic notices of modules that are swapped, of a large one that is compiled, and of what a control plane says: pairs of intervals
//! with and without.

mod module;
mod plane;
mod scrape;
mod text;

use module::Module;
use plane::Plane;

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::anyhow;
use clap::{Args, ValueEnum};

use crate::{
    Common, contestant, cpu, heavy,
    open_loop::{Clients, Pace, Seen},
    process,
    report::{self, Section},
    subject::Subject,
    upstream::Streams,
};

/// Of what the machine can do with proxy, upstream and load on it.
const SHARE: f64 = 0.3;
/// From one swap to the next, where it takes effect sooner.
const EVERY: Duration = Duration::from_millis(300);
/// The same of what a control plane says.
const PUSHES: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_secs(1);
const SATURATION: Duration = Duration::from_secs(3);
const ROLLBACKS: u32 = 20;
/// That of the threads that compile (host/src/reload/compilers.rs).
const NICE: i32 = 15;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// What is done to the proxy while it serves
    #[arg(long, value_enum, default_value_t = What::Swaps)]
    what: What,
    /// Pairs of intervals, one with and one without; every other pair begins with the one with
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long an interval is, in whole seconds
    #[arg(long, default_value = "10s", value_parser = cpu::seconds)]
    duration: Duration,
    /// Keep-alive connections of the load
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Requests in a second [default: 30% of what this machine can do]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Cores of the proxy, such as 0,1 [default: all that this program may use]; upstream and load go where they want
    #[arg(long, value_name = "LIST")]
    cores: Option<String>,
}

/// What is done to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// A small filter is replaced every 300 ms.
    Swaps,
    /// A module of 3 MB is compiled again and again, each time with another hash.
    Compile,
    /// A control plane replaces all but one of the 10,000 endpoints of the cluster that requests go to, every second. `FYKE_PYTHON` names a Python
    /// that has what `tests/e2e/requirements.txt` asks for.
    Endpoints,
    /// A control plane changes 2,000 clusters, every second.
    Clusters,
    /// All metrics are read every second, with 100,000 series of a filter among them.
    Scrape,
    /// Nothing; a thread of this program computes at the niceness of the proxy's compilers: how far this machine's scheduler lets traffic
    /// notice that, whoever's thread it is.
    Control,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::Swaps => "swaps",
            Self::Compile => "compile",
            Self::Endpoints => "endpoints",
            Self::Clusters => "clusters-pushed",
            Self::Scrape => "scrape",
            Self::Control => "control",
        }
    }
}

/// What is changed.
enum Change {
    Module(Module),
    Plane(Box<Plane>),
    /// It is looked at, and nothing changes.
    Scrape,
}

impl Change {
    fn module(&self) -> Option<usize> {
        match self {
            Self::Module(module) => Some(module.size()),
            Self::Plane(_) | Self::Scrape => None,
        }
    }

    /// Changes it as often as it should, or as fast as it takes effect, until `end`. How long each took, in milliseconds.
    fn until(&mut self, subject: &Subject, end: Instant) -> anyhow::Result<Vec<f64>> {
        let pace = if matches!(self, Self::Module(_)) { EVERY } else { PUSHES };
        let mut took = Vec::new();
        let mut due = Instant::now();
        while due < end {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            took.push(match self {
                Self::Module(module) => module.swap(subject)?,
                Self::Plane(plane) => plane.push()?,
                Self::Scrape => scrape::read(subject)?,
            });
            due = (due + pace).max(Instant::now());
        }
        Ok(took)
    }
}

/// One interval.
struct Interval {
    seen: Seen,
    /// p99.9 of the workers' loops, in microseconds.
    lag: Option<f64>,
    /// Milliseconds of each reload.
    reloads: Vec<f64>,
}

/// Two intervals, one after the other.
struct Pair {
    quiet: Interval,
    swaps: Interval,
}

/// All that was measured.
struct Results {
    saturation: f64,
    rate: f64,
    /// Bytes of the module, where one is swapped.
    module: Option<usize>,
    pairs: Vec<Pair>,
    rollbacks: Vec<f64>,
}

/// Measures, prints, writes.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let common = &options.common;
    let binary = contestant::fyke(common)?;
    let version = contestant::version_of(&binary, "--version")?;
    let cores = options.cores.clone().map_or_else(process::cores, Ok)?;
    let folder = tempfile::Builder::new().prefix("fyke-bench-").tempdir()?;
    let results = measure(options, &binary, &cores, folder.path())?;

    let name = options.what.name();
    let section = Section { name, text: text::markdown(options, &cores, &version, &results)? };
    println!("{}", section.text);
    if let Some(path) = &common.write {
        section.write(path)?;
    }
    if let Some(path) = &common.json {
        report::write_json(path, &text::json(name, &version, &results)?)?;
    }
    Ok(())
}

fn measure(options: &Options, binary: &Path, cores: &str, folder: &Path) -> anyhow::Result<Results> {
    let upstream = Streams::start()?.address;
    let (mut change, configuration) = match options.what {
        What::Endpoints | What::Clusters => {
            let plane = Plane::start(options.what == What::Endpoints, upstream)?;
            let configuration = plane.configuration();
            (Change::Plane(Box::new(plane)), configuration)
        }
        What::Compile => (Change::Module(Module::new(heavy::module(), folder)?), Module::configuration(upstream)),
        What::Scrape => (Change::Scrape, scrape::configuration(upstream)),
        What::Swaps | What::Control => {
            let guest = ("header-fyke", "filter", "guest_header_fyke.wasm");
            let small = std::fs::read(contestant::header_filter(options.common.header_filter.as_deref(), guest)?)?;
            (Change::Module(Module::new(small, folder)?), Module::configuration(upstream))
        }
    };
    let subject = Subject::start(binary, cores, folder, 2, &configuration)?;
    match &change {
        Change::Plane(plane) => plane.settle(&subject)?,
        Change::Scrape => scrape::fill(&subject)?,
        Change::Module(_) => {}
    }
    let clients = Clients::connect(subject.address, options.connections)?;
    clients.run(Pace::Closed, WARM_UP)?;
    let saturation = clients.run(Pace::Closed, SATURATION)?.rate();
    let rate = options.rate.map_or(saturation * SHARE, f64::from);
    eprintln!("{saturation:.0} requests/s at most, {rate:.0} from now on");
    clients.run(Pace::Open(rate), WARM_UP)?;
    let mut pairs = Vec::new();
    for round in 0..options.rounds {
        let mut interval =
            |with: bool| one(&subject, &clients, rate, options.duration, with.then_some((options.what, &mut change)));
        let pair = if round % 2 == 0 {
            let quiet = interval(false)?;
            Pair { quiet, swaps: interval(true)? }
        } else {
            let swaps = interval(true)?;
            Pair { quiet: interval(false)?, swaps }
        };
        eprintln!(
            "pair {}: p99 {:.0} us without, {:.0} us with; {} reloads",
            round + 1,
            pair.quiet.seen.latency(990),
            pair.swaps.seen.latency(990),
            pair.swaps.reloads.len(),
        );
        pairs.push(pair);
    }
    let rollbacks = if matches!(options.what, What::Swaps | What::Compile) { ROLLBACKS } else { 0 };
    let rollbacks = (0..rollbacks).map(|_| subject.roll_back()).collect::<anyhow::Result<_>>()?;
    Ok(Results { saturation, rate, module: change.module(), pairs, rollbacks })
}

/// One interval, with something done or without. Ends when the last reload that began in it has, too.
fn one(
    subject: &Subject,
    clients: &Clients,
    rate: f64,
    duration: Duration,
    what: Option<(What, &mut Change)>,
) -> anyhow::Result<Interval> {
    let before = subject.loops()?;
    let end = Instant::now() + duration;
    let (seen, reloads) = thread::scope(|scope| {
        let other = what.map(|(what, change)| {
            scope.spawn(move || match what {
                What::Control => compute_until(end).map(|()| Vec::new()),
                _ => change.until(subject, end),
            })
        });
        let seen = clients.run(Pace::Open(rate), duration);
        let reloads = other.map(|other| other.join().map_err(|_| anyhow!("a thread panicked"))?).transpose();
        anyhow::Ok((seen?, reloads?.unwrap_or_default()))
    })?;
    let lag = before.zip(subject.loops()?).and_then(|(before, after)| after.since(&before).quantile(999));
    Ok(Interval { seen, lag, reloads })
}

/// On Linux, niceness is of the thread.
fn compute_until(end: Instant) -> anyhow::Result<()> {
    rustix::process::setpriority_process(None, NICE)?;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
    Ok(())
}
