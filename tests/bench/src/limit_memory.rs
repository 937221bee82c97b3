//! What limits hold: resident memory before and after each of many keys was limited once.
//!
//! A limit of one a day, so no key is forgotten because its limit is whole again. That they are all there is seen in the end:
//! some of them come again and must be refused.

use std::{
    fmt::Write as _,
    io::{BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::json;

use crate::{
    Common,
    client::Head,
    contestant, cpu,
    process::{self, Process},
    report::{self, Section},
    stats::Spread,
    upstream::{self, Static},
};

const START: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(30);
/// Keep-alive connections, and requests that are sent at once on each of them.
const CONNECTIONS: u32 = 16;
const PIPELINED: u32 = 32;
/// Requests without a key before memory is read for the first time: what traffic itself needs is there by then.
const WARM_UP: u32 = 20_000;
/// How many keys come again.
const AGAIN: u32 = 1_000;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Rounds, each with a new proxy
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Distinct keys
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(i64::from(AGAIN)..=100_000_000))]
    keys: u32,
    /// How long memory may settle before it is read
    #[arg(long, default_value = "3s", value_parser = cpu::seconds)]
    settle: Duration,
}

/// What one round came to. Bytes.
struct Round {
    before: u64,
    after: u64,
    seconds: f64,
}

/// Measures, prints, writes.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let common = &options.common;
    ensure!(common.proxy_core != common.load_core, "proxy and load need different cores");
    process::pin_self(common.load_core)?;
    let binary = contestant::fyke(common)?;
    let version = contestant::version_of(&binary, "--version")?;
    let folder = tempfile::Builder::new().prefix("fyke-bench-").tempdir()?;
    let upstream = Static::start(folder.path(), common.load_core)?;
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        let round =
            measure(options, &binary, folder.path(), upstream.address).with_context(|| format!("round {number}"))?;
        eprintln!("round {number}: {:.1} MB more, {:.1} s", grown(&round) / 1e6, round.seconds);
        rounds.push(round);
    }
    let section = Section { name: "limit-memory", text: text(options, &version, &rounds)? };
    println!("{}", section.text);
    if let Some(path) = &common.write {
        section.write(path)?;
    }
    if let Some(path) = &common.json {
        let rounds: Vec<_> = rounds
            .iter()
            .map(|round| json!({ "before_bytes": round.before, "after_bytes": round.after, "seconds": round.seconds }))
            .collect();
        report::write_json(
            path,
            &json!({ "machine": report::machine()?, "version": version, "keys": options.keys, "rounds": rounds }),
        )?;
    }
    Ok(())
}

fn measure(options: &Options, binary: &Path, folder: &Path, upstream: SocketAddr) -> anyhow::Result<Round> {
    let address = upstream::free_address()?;
    let file = folder.join("limits.yaml");
    std::fs::write(
        &file,
        format!(
            "workers: 1\nlisteners:\n  web: {{ address: \"{address}\", filters: [limit], cluster: app }}\nfilters:\n  \
             limit: {{ module: \"builtin:rate-limit\", allow: {{ shared_data: true }}, config: {{ failure_mode: closed, \
             rules: [{{ name: tenant, key: [{{ from: {{ request_header: x-tenant }} }}], limit: 1/d }}] }} }}\nclusters:\n  \
             app: {{ endpoints: [\"{upstream}\"] }}\n"
        ),
    )?;
    let arguments = ["run", &file.to_string_lossy()];
    let mut proxy = Process::start(binary, &arguments, options.common.proxy_core, &folder.join("limits.log"))?;
    proxy.wait_ready(START, || upstream::answers(address))?;

    let mut pipelines = (0..CONNECTIONS).map(|_| Pipeline::open(address)).collect::<anyhow::Result<Vec<_>>>()?;
    send(&mut pipelines, 0..WARM_UP, |_| String::new(), "200")?;
    thread::sleep(options.settle);
    let before = proxy.resident()?;
    let began = Instant::now();
    send(&mut pipelines, 0..options.keys, header, "200")?;
    let seconds = began.elapsed().as_secs_f64();
    thread::sleep(options.settle);
    let after = proxy.resident()?;
    // Some from everywhere: the first of all among them.
    let step = options.keys / AGAIN;
    send(&mut pipelines, 0..AGAIN, |number| header(number * step), "429").context("a key that came again")?;
    Ok(Round { before, after, seconds })
}

fn header(number: u32) -> String {
    format!("x-tenant: tenant-{number:09}\r\n")
}

/// Sends a request for each number over all of them, and expects this status of all.
fn send(
    pipelines: &mut [Pipeline],
    numbers: std::ops::Range<u32>,
    header: impl Fn(u32) -> String,
    status: &str,
) -> anyhow::Result<()> {
    let mut numbers = numbers.peekable();
    while numbers.peek().is_some() {
        for pipeline in &mut *pipelines {
            pipeline.send(numbers.by_ref().take(PIPELINED as usize).map(&header))?;
        }
        for pipeline in &mut *pipelines {
            pipeline.receive(status)?;
        }
    }
    Ok(())
}

/// A connection on which several requests are sent before their answers are read.
struct Pipeline {
    stream: BufReader<TcpStream>,
    under_way: u32,
}

impl Pipeline {
    fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::with_capacity(64 * 1024, stream), under_way: 0 })
    }

    fn send(&mut self, headers: impl Iterator<Item = String>) -> anyhow::Result<()> {
        let mut requests = String::new();
        for header in headers {
            write!(requests, "GET / HTTP/1.1\r\nHost: bench\r\n{header}\r\n")?;
            self.under_way += 1;
        }
        Ok(self.stream.get_mut().write_all(requests.as_bytes())?)
    }

    fn receive(&mut self, status: &str) -> anyhow::Result<()> {
        while self.under_way > 0 {
            let head = Head::read(&mut self.stream)?.context("a connection was closed")?;
            ensure!(head.first.split(' ').nth(1) == Some(status), "answered, in place of {status}: {}", head.first);
            head.body(&mut self.stream, |_| {})?;
            self.under_way -= 1;
        }
        Ok(())
    }
}

fn grown(round: &Round) -> f64 {
    process::precise(round.after.saturating_sub(round.before))
}

fn text(options: &Options, version: &str, rounds: &[Round]) -> anyhow::Result<String> {
    let mut out = format!(
        "Resident memory (`VmRSS`) before and after {} distinct values of a header, of 16 bytes each, were limited once by `builtin:rate-limit` (one a day, local); {} rounds with a new \
         proxy each, one worker on core {}, {CONNECTIONS} connections. {AGAIN} of them came again, and were refused: they are live. Medians, least and most in brackets.\n\n",
        options.keys, options.rounds, options.common.proxy_core,
    );
    out.push_str(&report::facts([version].into_iter())?);
    out.push_str("\n| before | after | more | at most | bytes per key | keys/s |\n|---|---|---|---|---|---|\n");
    let spread = |value: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(value)).context("no rounds");
    let cell = |value: &dyn Fn(&Round) -> f64| -> anyhow::Result<String> {
        let spread = spread(value)?;
        Ok(format!("{:.1} ({:.1}-{:.1})", spread.median, spread.min, spread.max))
    };
    writeln!(
        out,
        "| {} MB | {} MB | {} MB | 150 MB | {:.0} | {:.0} |",
        cell(&|round| process::precise(round.before) / 1e6)?,
        cell(&|round| process::precise(round.after) / 1e6)?,
        cell(&|round| grown(round) / 1e6)?,
        spread(&|round| grown(round) / f64::from(options.keys))?.median,
        spread(&|round| f64::from(options.keys) / round.seconds)?.median,
    )?;
    Ok(out)
}
